/* Caches of layers with a window hold only what the window sees: the same bits as with a cache of
 * the whole context, in any pieces, after cutting back, in less memory. */
#include "support.h"

#include "golden/golden.h"

#include "exec/cache.h"

#define SLIDING                                                                                    \
    OPT_TESTDATA "/families/qwen2-sliding" /* windows of 16 positions in some layers               \
                                            */

enum { N_CTX = 256, WINDOW = 16 };

static void fill_ids(int32_t *ids, int64_t n_vocab) {
    for (int64_t t = 0; t < N_CTX; t++) {
        ids[t] = (int32_t)((t * t * 13 + t * 5 + 1) % n_vocab);
    }
}

static void check_same(const float *found, const float *expected, int64_t n, int64_t n_vocab) {
    for (int64_t t = 0; t < n; t++) {
        if (memcmp(found + t * n_vocab, expected + t * n_vocab, (size_t)n_vocab * sizeof *found) !=
            0) {
            fail_msg("other bits at position %d", (int)t);
        }
    }
}

static void test_exec_window__the_same_bits(void **state) {
    static const int64_t chunks[] = {1, 2, 7, 8, 9, 40, 64, 256};
    static const opt_cache_type types[] = {OPT_CACHE_F16, OPT_CACHE_F32, OPT_CACHE_I8};
    int32_t ids[N_CTX];
    (void)state;
    for (int k = 0; k < COUNT_OF(types); k++) {
        rig full = rig_open_cache(SLIDING, OPT_COMPUTE_FAST, types[k], N_CTX, N_CTX, 1);
        const int64_t n_vocab = rig_n_vocab(&full);
        fill_ids(ids, n_vocab);
        float *expected = rig_logits(&full, ids, N_CTX, N_CTX);
        for (int i = 0; i < COUNT_OF(chunks); i++) {
            for (int64_t n_batch = 1; n_batch <= 64; n_batch *= 8) {
                rig r =
                    rig_open_cache(SLIDING, OPT_COMPUTE_FAST, types[k], N_CTX, n_batch, 1 + i % 3);
                assert_true(opt_session_cache_bytes(r.session) <
                            opt_session_cache_bytes(full.session));
                float *found = rig_logits(&r, ids, N_CTX, chunks[i]);
                check_same(found, expected, N_CTX, n_vocab);
                free(found);
                rig_close(&r);
            }
        }
        free(expected);
        rig_close(&full);
    }
}

/* Cut back by a few positions, it goes on there; by many, it begins again. */
static void test_exec_window__cutting_back(void **state) {
    static const int64_t back[] = {1, 2, 17, OPT_CACHE_SLACK, 200, 250};
    int32_t ids[N_CTX];
    (void)state;
    rig full = rig_open(SLIDING, OPT_COMPUTE_FAST, N_CTX, N_CTX, 1);
    rig r = rig_open(SLIDING, OPT_COMPUTE_FAST, N_CTX, 8, 1);
    const int64_t n_vocab = rig_n_vocab(&r);
    fill_ids(ids, n_vocab);
    float *expected = rig_logits(&full, ids, N_CTX, N_CTX);
    float *found = calloc((size_t)(N_CTX * n_vocab), sizeof *found);
    assert_non_null(found);
    for (int i = 0; i < COUNT_OF(back); i++) {
        for (int64_t end = 250; end <= N_CTX; end++) {
            opt_session_truncate(r.session, 0);
            GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, end, end, NULL, NULL));
            opt_session_truncate(r.session, end - back[i]);
            const int64_t past = opt_session_n_past(r.session);
            assert_int_equal(past, back[i] <= OPT_CACHE_SLACK ? end - back[i] : 0);
            logits_sink to = {found + past * n_vocab, n_vocab};
            GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids + past, N_CTX - past, 0,
                                              collect_logits, &to));
            check_same(found + past * n_vocab, expected + past * n_vocab, N_CTX - past, n_vocab);
        }
    }
    free(found);
    free(expected);
    rig_close(&full);
    rig_close(&r);
}

static void test_exec_window__rows_needed(void **state) {
    (void)state;
    assert_int_equal(opt_cache_rows_needed(0, 4096, 512), 4096);
    assert_int_equal(opt_cache_rows_needed(1024, 4096, 512), 1024 + 512 + OPT_CACHE_SLACK);
    assert_int_equal(opt_cache_rows_needed(4096, 4096, 512), 4096);
    assert_int_equal(opt_cache_rows_needed(WINDOW, 64, 512), 64);
    assert_int_equal(opt_cache_rows_needed(INT64_MAX, 64, 512), 64);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_window__the_same_bits),
        cmocka_unit_test(test_exec_window__cutting_back),
        cmocka_unit_test(test_exec_window__rows_needed),
    };
    return cmocka_run_group_tests_name("exec_window", tests, NULL, NULL);
}
