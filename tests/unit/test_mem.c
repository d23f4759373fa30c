#include "base/mem.h"

#include <pthread.h>

#include "base/num.h"

#include "support.h"

static opt_ctx *limited_ctx(uint64_t max_memory) {
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.n_threads = 1, .max_memory = max_memory};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    return ctx;
}

/** Sizes around every border of the allocator: small, page, huge page. */
static const size_t sizes[] = {0,      1,       63,      64,      65,      4095,    4096,
                               100000, 2097087, 2097088, 2097089, 2097152, 2097153, 6000000};

static void test_mem__blocks_are_aligned_and_usable(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        unsigned char *p = opt_alloc(ctx, sizes[i]);
        unsigned char *z = opt_alloc_zero(ctx, sizes[i]);
        assert_non_null(p);
        assert_non_null(z);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_int_equal((uintptr_t)z % 64, 0);
        memset(p, 0xab, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_int_equal(z[k], 0);
        }
        opt_free(ctx, p);
        opt_free(ctx, z);
    }
    opt_free(ctx, NULL);
    opt_ctx_free(ctx);
}

static void test_mem__realloc_keeps_the_bytes(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        for (int j = 0; j < COUNT_OF(sizes); j++) {
            unsigned char *p = opt_alloc(ctx, sizes[i]);
            assert_non_null(p);
            for (size_t k = 0; k < sizes[i]; k++) {
                p[k] = (unsigned char)(k * 7 + 1);
            }
            p = opt_realloc(ctx, p, sizes[j]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            const size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            for (size_t k = 0; k < kept; k++) {
                assert_int_equal(p[k], (unsigned char)(k * 7 + 1));
            }
            memset(p, 1, sizes[j]);
            opt_free(ctx, p);
        }
    }
    opt_ctx_free(ctx);
}

static void test_mem__peak_counts_what_is_held_at_once(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    void *a = opt_alloc(ctx, 1000000);
    opt_free(ctx, a);
    void *b = opt_alloc(ctx, 3000000);
    a = opt_alloc(ctx, 1000000);
    assert_in_range(opt_ctx_peak_memory(ctx), 4000000, 4020000);
    opt_free(ctx, a);
    opt_free(ctx, b);
    assert_in_range(opt_ctx_peak_memory(ctx), 4000000, 4020000);
    opt_ctx_free(ctx);
}

static void test_mem__limit_is_an_error_and_nothing_is_lost(void **state) {
    (void)state;
    opt_ctx *ctx = limited_ctx(5000000);
    void *a = opt_alloc(ctx, 3000000);
    assert_non_null(a);
    assert_null(opt_alloc(ctx, 3000000));
    assert_error(ctx, OPT_ERR_MEMORY, "", "3000000 bytes needed, but");
    assert_null(opt_realloc(ctx, a, 6000000));
    assert_error(ctx, OPT_ERR_MEMORY, "", "see --max-memory");
    memset(a, 1, 3000000); /* still valid */
    opt_free(ctx, a);
    a = opt_alloc(ctx, 4900000); /* all of it can be had again */
    assert_non_null(a);
    opt_free(ctx, a);
    opt_ctx_free(ctx);
}

static void test_mem__overflow_is_out_of_memory(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    static const struct {
        size_t n, size;
    } rows[] = {{SIZE_MAX, 1},
                {SIZE_MAX, 2},
                {SIZE_MAX / 2 + 2, 2},
                {1, SIZE_MAX - 10},
                {(size_t)1 << 62, 1}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        assert_null(opt_alloc_array(ctx, rows[i].n, rows[i].size));
        assert_error(ctx, OPT_ERR_MEMORY, "", "out of memory");
    }
    unsigned char *p = opt_alloc(ctx, 10);
    assert_null(opt_realloc(ctx, p, SIZE_MAX - 3));
    assert_error(ctx, OPT_ERR_MEMORY, "", "out of memory");
    opt_free(ctx, p);
    opt_ctx_free(ctx);
}

static void test_mem__nth_allocation_can_be_made_to_fail(void **state) {
    (void)state;
    assert_int_equal(setenv("OPT_FAULT_ALLOC", "3", 1), 0);
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(unsetenv("OPT_FAULT_ALLOC"), 0);
    for (int i = 1; i <= 5; i++) {
        void *p = opt_alloc(ctx, 8);
        assert_true((p == NULL) == (i == 3));
        opt_free(ctx, p);
    }
    assert_error(ctx, OPT_ERR_MEMORY, "", "8 bytes needed");
    opt_ctx_free(ctx);
}

static void *alloc_main(void *arg) {
    opt_ctx *ctx = arg;
    for (size_t i = 0; i < 300; i++) {
        char *p = opt_alloc(ctx, i * 1000);
        char *q = p != NULL ? opt_realloc(ctx, p, i * 2000 + 1) : NULL;
        if (q == NULL) {
            return ctx;
        }
        opt_free(ctx, q);
    }
    return NULL;
}

static void test_mem__counting_is_thread_safe(void **state) {
    (void)state;
    opt_ctx *ctx = limited_ctx(100000000);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, alloc_main, ctx), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    void *all = opt_alloc(ctx, 99000000); /* nothing was counted twice */
    assert_non_null(all);
    opt_free(ctx, all);
    opt_ctx_free(ctx);
}

static void test_arena__pieces_are_zero_and_apart(void **state) {
    (void)state;
    enum { N = 2000 };
    static unsigned char *pieces[N];
    opt_ctx *ctx = test_ctx(1);
    opt_arena *arena = NULL;
    assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
    for (size_t i = 0; i < N; i++) {
        const size_t bytes = i % 97 == 0 ? 20000 + i : i % 50;
        pieces[i] = opt_arena_alloc(arena, bytes);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < bytes; k++) {
            assert_int_equal(pieces[i][k], 0);
        }
        memset(pieces[i], (int)(i & 0xff), bytes);
    }
    for (size_t i = 0; i < N; i++) {
        const size_t bytes = i % 97 == 0 ? 20000 + i : i % 50;
        for (size_t k = 0; k < bytes; k++) {
            assert_int_equal(pieces[i][k], i & 0xff);
        }
    }
    opt_arena_free(arena);
    opt_arena_free(NULL);
    opt_ctx_free(ctx);
}

static void test_arena__text(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_arena *arena = NULL;
    assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
    assert_string_equal(opt_arena_strdup(arena, "abc"), "abc");
    assert_string_equal(opt_arena_strdup(arena, ""), "");
    assert_string_equal(opt_arena_strndup(arena, "abcdef", 2), "ab");
    assert_string_equal(opt_arena_strndup(arena, NULL, 0), "");
    assert_string_equal(opt_arena_printf(arena, "%s.%d", "blk", 12), "blk.12");
    assert_null(opt_arena_array(arena, SIZE_MAX / 2, 3));
    assert_error(ctx, OPT_ERR_MEMORY, "", "out of memory");
    assert_null(opt_arena_alloc(arena, SIZE_MAX - 4));
    assert_error(ctx, OPT_ERR_MEMORY, "", "out of memory");
    opt_arena_free(arena);
    opt_ctx_free(ctx);
}

static void test_num__checked_arithmetic(void **state) {
    (void)state;
    size_t s = 0;
    int64_t v = 0;
    assert_true(opt_add_size(SIZE_MAX - 1, 1, &s) && s == SIZE_MAX);
    assert_false(opt_add_size(SIZE_MAX, 1, &s));
    assert_false(opt_mul_size((size_t)1 << 33, (size_t)1 << 31, &s));
    assert_true(opt_align_size(33, 32, &s) && s == 64);
    assert_true(opt_align_size(64, 32, &s) && s == 64);
    assert_false(opt_align_size(SIZE_MAX - 3, 32, &s));
    assert_false(opt_add_i64(INT64_MAX, 1, &v));
    assert_false(opt_mul_i64(INT64_MIN, -1, &v));
    static const struct {
        int64_t dims[3];
        bool ok;
        int64_t product;
    } rows[] = {
        {{2, 3, 4}, true, 24},
        {{0, INT64_MAX, 1}, true, 0},
        {{0, INT64_MAX, 2}, false, 0},
        {{INT64_MAX, 2, 0}, false, 0},
        {{-1, 2, 3}, false, 0},
        {{1, 1, INT64_MAX}, true, INT64_MAX},
        {{INT64_C(1) << 32, INT64_C(1) << 31, 1}, false, 0},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        v = -7;
        assert_int_equal(opt_mul_dims(rows[i].dims, 3, &v), rows[i].ok);
        if (rows[i].ok) {
            assert_true(v == rows[i].product);
        }
    }
    assert_true(opt_ceil_div(0, 32) == 0 && opt_ceil_div(32, 32) == 1 && opt_ceil_div(33, 32) == 2);
    assert_true(opt_ceil_div(INT64_MAX, 2) == (INT64_C(1) << 62));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem__blocks_are_aligned_and_usable),
        cmocka_unit_test(test_mem__realloc_keeps_the_bytes),
        cmocka_unit_test(test_mem__peak_counts_what_is_held_at_once),
        cmocka_unit_test(test_mem__limit_is_an_error_and_nothing_is_lost),
        cmocka_unit_test(test_mem__overflow_is_out_of_memory),
        cmocka_unit_test(test_mem__nth_allocation_can_be_made_to_fail),
        cmocka_unit_test(test_mem__counting_is_thread_safe),
        cmocka_unit_test(test_arena__pieces_are_zero_and_apart),
        cmocka_unit_test(test_arena__text),
        cmocka_unit_test(test_num__checked_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
