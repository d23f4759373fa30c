/* Several sequences in one session: each gets the bits that it gets alone, whatever else is in the
 * pass; what is refused; and the scheduler on top of it. */
#include "checkpoint.h"
#include "golden/golden.h"
#include "golden/rewrite.h"

#include "runtime/batch.h"

#define STORIES OPT_TESTDATA "/stories260K"

enum { N_CTX = 48, N_IDS = 40, MAX_SEQS = 64 };

/* Ids of sequence i. */
static void fill_ids(int32_t *ids, int i, int64_t n_vocab) {
    for (int64_t t = 0; t < N_IDS; t++) {
        ids[t] = (int32_t)((t * t * 31 + t * (7 + i) + 3 * i) % n_vocab);
    }
}

/* Logits behind each sequence's tokens of the last pass. */
typedef struct sink {
    float *rows; /* [MAX_SEQS, n_vocab] */
    int64_t n_vocab;
    const opt_seq_piece *pieces;
} sink;

static opt_status collect(void *user, int piece, const float *logits) {
    sink *s = user;
    memcpy(s->rows + s->pieces[piece].seq * s->n_vocab, logits,
           (size_t)s->n_vocab * sizeof *logits);
    return OPT_OK;
}

static opt_session *open_seqs(rig *r, opt_compute compute, opt_cache_type cache, int n_seqs,
                              int64_t n_batch) {
    const opt_session_options o = {
        .compute = compute, .cache = cache, .n_ctx = N_CTX, .n_seqs = n_seqs, .n_batch = n_batch};
    opt_session *s = NULL;
    GOLDEN_OK(r->ctx, opt_session_new(r->ctx, r->model, &o, &s));
    return s;
}

/* What the last of the first `n` ids gives, alone. */
static void alone(rig *r, const int32_t *ids, int64_t n, float *out) {
    logits_sink to = {out, rig_n_vocab(r)};
    opt_session_truncate(r->session, 0);
    GOLDEN_OK(r->ctx, opt_session_eval(r->session, ids, n - 1, n - 1, NULL, NULL));
    GOLDEN_OK(r->ctx, opt_session_eval(r->session, ids + n - 1, 1, 0, collect_logits, &to));
}

/* Sequences of different lengths, read in pieces of different sizes, together. */
static void check_seqs(const char *path, opt_compute compute, opt_cache_type cache, int n_seqs,
                       int n_threads) {
    rig r = rig_open_cache(path, compute, cache, N_CTX, 0, n_threads);
    const int64_t n_vocab = rig_n_vocab(&r);
    opt_session *s = open_seqs(&r, compute, cache, n_seqs, 512);
    int32_t ids[MAX_SEQS][N_IDS];
    float *found = calloc((size_t)(MAX_SEQS * n_vocab), sizeof *found);
    float *expected = calloc((size_t)n_vocab, sizeof *expected);
    assert_non_null(found);
    assert_non_null(expected);
    for (int i = 0; i < n_seqs; i++) {
        fill_ids(ids[i], i, n_vocab);
    }
    for (int pass = 0; pass < 9; pass++) {
        opt_seq_piece pieces[MAX_SEQS];
        int n_pieces = 0;
        for (int k = 0; k < n_seqs; k++) {
            const int i = pass % 2 == 0 ? k : n_seqs - 1 - k; /* in any order */
            const int64_t past = opt_session_seq_past(s, i);
            const int64_t n = pass == 0 ? 1 + (3 * i) % 8 : 1 + (i + pass) % 4;
            if ((i + pass) % 5 == 4 || past + n > N_IDS) {
                continue; /* not all of them every time */
            }
            pieces[n_pieces++] = (opt_seq_piece){
                .seq = i, .tokens = ids[i] + past, .n = n, .logits = (i + pass) % 3 != 0};
        }
        sink to = {found, n_vocab, pieces};
        GOLDEN_OK(r.ctx, opt_session_eval_seqs(s, pieces, n_pieces, collect, &to));
        for (int p = 0; p<n_pieces; p += n_pieces> 9 ? 5 : 1) {
            const int i = pieces[p].seq;
            if (!pieces[p].logits) {
                continue;
            }
            alone(&r, ids[i], opt_session_seq_past(s, i), expected);
            if (memcmp(expected, found + i * n_vocab, (size_t)n_vocab * sizeof *found) != 0) {
                fail_msg("%s: %d sequences, pass %d, sequence %d: other bits", path, n_seqs, pass,
                         i);
            }
        }
    }
    free(found);
    free(expected);
    opt_session_free(s);
    rig_close(&r);
}

static void test_exec_seqs__the_same_bits_as_alone(void **state) {
    static const int n_seqs[] = {1, 2, 8, 9, 64};
    char dir[256], path[300];
    (void)state;
    test_make_dir(dir, sizeof dir);
    for (int i = 0; i < COUNT_OF(n_seqs); i++) {
        for (int cache = OPT_CACHE_AUTO; cache <= OPT_CACHE_I8; cache += OPT_CACHE_I8) {
            check_seqs(STORIES, i % 2 == 0 ? OPT_COMPUTE_FAST : OPT_COMPUTE_EXACT,
                       (opt_cache_type)cache, n_seqs[i], 1 + i % 3);
            check_seqs(OPT_TESTDATA "/families/qwen2-sliding", OPT_COMPUTE_FAST,
                       (opt_cache_type)cache, n_seqs[i], 2);
        }
    }
    static const char *const formats[] = {"q4_0", "q8_0", "int4_g64_zp", "bf16"};
    for (int i = 0; i < COUNT_OF(formats); i++) {
        snprintf(path, sizeof path, "%s/model.gguf", dir);
        rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 16, 0, 1);
        rewrite_as_gguf(r.ctx, r.model, path, opt_format_by_name(formats[i]));
        rig_close(&r);
        check_seqs(path, OPT_COMPUTE_FAST, OPT_CACHE_AUTO, 9, 2);
        check_seqs(path, OPT_COMPUTE_FAST, OPT_CACHE_I8, 64, 3);
    }
    test_remove_dir(dir);
}

static void test_exec_seqs__what_is_refused(void **state) {
    static const int32_t ids[N_CTX + 1] = {1, 2, 3};
    static const int32_t bad_ids[] = {1, 9999};
    static const struct {
        opt_seq_piece pieces[2];
        const char *message;
    } rows[] = {
        {{{.seq = 0, .tokens = ids, .n = 1}, {.seq = 0, .tokens = ids, .n = 1}}, "piece 1"},
        {{{.seq = 0, .tokens = ids, .n = 1}, {.seq = 2, .tokens = ids, .n = 1}}, "piece 1"},
        {{{.seq = -1, .tokens = ids, .n = 1}, {.seq = 1, .tokens = ids, .n = 1}}, "piece 0"},
        {{{.seq = 0, .tokens = ids, .n = 0}, {.seq = 1, .tokens = ids, .n = 1}}, "piece 0"},
        {{{.seq = 0, .tokens = ids, .n = 9}, {.seq = 1, .tokens = ids, .n = 8}}, "piece 1"},
        {{{.seq = 0, .tokens = ids, .n = 1, .logits = true}, {.seq = 1, .tokens = ids, .n = 1}},
         "piece 0"},
        {{{.seq = 0, .tokens = ids, .n = 1}, {.seq = 1, .tokens = bad_ids, .n = 2}},
         "token 1 is 9999"},
    };
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    opt_session *s = open_seqs(&r, OPT_COMPUTE_FAST, OPT_CACHE_AUTO, 2, 16);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(opt_session_eval_seqs(s, rows[i].pieces, 2, NULL, NULL), OPT_ERR_USAGE);
        if (strstr(opt_ctx_error_message(r.ctx), rows[i].message) == NULL) {
            fail_msg("row %d: %s", i, opt_ctx_error_message(r.ctx));
        }
        assert_int_equal(opt_session_seq_past(s, 0), 0);
        opt_ctx_clear_error(r.ctx);
    }
    for (int i = 0; i < 3; i++) { /* 16 tokens a time: 48 positions */
        const opt_seq_piece p = {.seq = 1, .tokens = ids, .n = 16};
        GOLDEN_OK(r.ctx, opt_session_eval_seqs(s, &p, 1, NULL, NULL));
    }
    const opt_seq_piece p = {.seq = 1, .tokens = ids, .n = 1};
    assert_int_equal(opt_session_eval_seqs(s, &p, 1, NULL, NULL), OPT_ERR_USAGE);
    assert_non_null(strstr(opt_ctx_error_message(r.ctx), "is full: 48 used"));
    opt_ctx_clear_error(r.ctx);
    opt_session_free(s);
    const opt_session_options o = {.n_ctx = 8, .n_seqs = OPT_MAX_SEQS + 1};
    assert_int_equal(opt_session_new(r.ctx, r.model, &o, &s), OPT_ERR_USAGE);
    rig_close(&r);
}

/* ---- the scheduler ---- */

enum { N_REQUESTS = 12 };

static opt_status count_done(void *user, size_t i) {
    int *done = user;
    done[i]++;
    return OPT_OK;
}

/* Runs the requests in sequences of a session; ids to out [N_REQUESTS, N_CTX], their number to n.
 */
static void run_batch(int n_seqs, int64_t n_batch, int32_t (*out)[N_CTX + 1], size_t *n) {
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 2);
    opt_session *s = open_seqs(&r, OPT_COMPUTE_FAST, OPT_CACHE_AUTO, n_seqs, n_batch);
    opt_batch_request requests[N_REQUESTS] = {0}, *pointers[N_REQUESTS];
    int done[N_REQUESTS] = {0};
    opt_batch_counts counts;
    for (int i = 0; i < N_REQUESTS; i++) {
        int32_t ids[N_IDS];
        fill_ids(ids, i, rig_n_vocab(&r));
        for (int t = 0; t < 1 + 3 * i; t++) {
            GOLDEN_OK(r.ctx, opt_tokens_push(r.ctx, &requests[i].tokens, ids[t]));
        }
        requests[i].max_tokens = 1 + 5 * i; /* the last ones meet the end of the context */
        requests[i].sampling = (opt_sampling){.temperature = i % 3 == 0 ? 0 : 0.9,
                                              .seed = (uint64_t)i,
                                              .repetition_penalty = i % 4 == 0 ? 1.2 : 1};
        pointers[i] = &requests[i];
    }
    const opt_batch_job job = {.session = s,
                               .n_vocab = rig_n_vocab(&r),
                               .requests = pointers,
                               .n = N_REQUESTS,
                               .on_done = count_done,
                               .user = done};
    GOLDEN_OK(r.ctx, opt_batch_run(r.ctx, &job, &counts));
    for (int i = 0; i < N_REQUESTS; i++) {
        assert_int_equal(done[i], 1);
        assert_true(requests[i].tokens.n <= N_CTX + 1);
        memcpy(out[i], requests[i].tokens.ids, requests[i].tokens.n * sizeof *out[i]);
        n[i] = requests[i].tokens.n;
        assert_string_equal(
            requests[i].outcome.stop_reason,
            n[i] - (size_t)(1 + 3 * i) == (size_t)requests[i].max_tokens ? "length" : "context");
        opt_tokens_free(r.ctx, &requests[i].tokens);
        opt_str_free(r.ctx, &requests[i].text);
    }
    assert_true(counts.largest <= n_batch);
    opt_session_free(s);
    rig_close(&r);
}

static void test_batch__outputs_do_not_depend_on_the_company(void **state) {
    static const struct {
        int n_seqs;
        int64_t n_batch;
    } rows[] = {{2, 512}, {5, 7}, {12, 512}, {64, 16}, {8, 8}};
    static int32_t expected[N_REQUESTS][N_CTX + 1], found[N_REQUESTS][N_CTX + 1];
    size_t n_expected[N_REQUESTS], n_found[N_REQUESTS];
    (void)state;
    run_batch(1, 512, expected, n_expected);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        run_batch(rows[i].n_seqs, rows[i].n_batch, found, n_found);
        for (int k = 0; k < N_REQUESTS; k++) {
            assert_int_equal(n_found[k], n_expected[k]);
            assert_memory_equal(found[k], expected[k], n_found[k] * sizeof *found[k]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_seqs__the_same_bits_as_alone),
        cmocka_unit_test(test_exec_seqs__what_is_refused),
        cmocka_unit_test(test_batch__outputs_do_not_depend_on_the_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
