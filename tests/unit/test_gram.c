/* Gram matrices and the factor chain against plain double precision. */
#include "unit/solve_case.h"

#include "solve/cholesky.h"

static void test_gram__equals_double_sums(void **state) {
    static const struct {
        int64_t n, n_tokens, chunk;
    } rows[] = {{1, 1, 1},    {3, 7, 7},      {63, 40, 40},    {64, 100, 64},
                {65, 33, 32}, {130, 128, 50}, {192, 300, 300}, {192, 300, 17}};
    solve_case *c = case_new(1);
    (void)state;
    for (int r = 0; r < COUNT_OF(rows); r++) {
        opt_ctx *ctx = test_ctx(2);
        opt_hessian *h = NULL;
        const int64_t n = rows[r].n, n_tokens = rows[r].n_tokens;
        assert_int_equal(case_hessian(ctx, c->x, n_tokens, n, rows[r].chunk, &h), OPT_OK);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                double sum = 0.0, size = 0.0;
                for (int64_t t = 0; t < n_tokens; t++) {
                    sum += (double)c->x[t * n + i] * (double)c->x[t * n + j];
                    size += fabs((double)c->x[t * n + i] * (double)c->x[t * n + j]);
                }
                const double off = fabs((double)h->h[i * n + j] - sum / (double)n_tokens);
                if (!(off <= 1e-5 * size / (double)n_tokens)) {
                    fail_msg("case %d: element (%d, %d) is off by %g", r, (int)i, (int)j, off);
                }
            }
        }
        opt_hessian_free(h);
        opt_ctx_free(ctx);
    }
    free(c);
}

/* 16-bit block integers: every element is close, for the size of its two columns; the same bits
 * for any number of threads. */
static void test_gram__block_integers_are_close(void **state) {
    static const struct {
        int64_t n, n_tokens, chunk;
        int n_threads;
    } rows[] = {{1, 1, 1, 1},      {3, 7, 7, 2},       {48, 64, 64, 1},    {49, 65, 65, 3},
                {130, 128, 50, 2}, {192, 300, 300, 1}, {192, 300, 300, 3}, {192, 300, 100, 2}};
    solve_case *c = case_new(6);
    double *first = NULL;
    (void)state;
    for (int r = 0; r < COUNT_OF(rows); r++) {
        opt_ctx *ctx = test_ctx(rows[r].n_threads);
        const int64_t n = rows[r].n, n_tokens = rows[r].n_tokens;
        opt_gram g = {0};
        opt_gram_scratch s;
        double diag[CASE_COLS] = {0};
        assert_int_equal(opt_gram_new(ctx, n, &g), OPT_OK);
        assert_int_equal(opt_gram_scratch_new(ctx, n, rows[r].chunk, &s), OPT_OK);
        s.block16 = true;
        for (int64_t t = 0; t < n_tokens; t += rows[r].chunk) {
            const int64_t some = n_tokens - t < rows[r].chunk ? n_tokens - t : rows[r].chunk;
            assert_int_equal(opt_gram_add(ctx, opt_kern_get(ctx), &g, c->x + t * n, some, &s),
                             OPT_OK);
        }
        for (int64_t t = 0; t < n_tokens * n; t++) {
            diag[t % n] += (double)c->x[t] * (double)c->x[t];
        }
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0.0;
                for (int64_t t = 0; t < n_tokens; t++) {
                    sum += (double)c->x[t * n + i] * (double)c->x[t * n + j];
                }
                const double off = fabs(g.sum[i * n + j] - sum) / sqrt(diag[i] * diag[j]);
                if (!(off <= 3e-3 / sqrt((double)n_tokens))) {
                    fail_msg("case %d: element (%d, %d) is off by %g", r, (int)i, (int)j, off);
                }
                if (r == 6) {
                    assert_true(g.sum[i * n + j] == first[i * n + j]);
                }
            }
        }
        if (r == 5) {
            first = malloc((size_t)(n * n) * sizeof *first);
            assert_non_null(first);
            memcpy(first, g.sum, (size_t)(n * n) * sizeof *first);
        }
        opt_gram_scratch_free(ctx, &s);
        opt_gram_free(ctx, &g);
        opt_ctx_free(ctx);
    }
    free(first);
    free(c);
}

static void test_gram__same_bits_for_any_number_of_threads(void **state) {
    static const int threads[] = {1, 2, 3, 7};
    solve_case *c = case_new(2);
    opt_hessian *h[4] = {0};
    opt_ctx *ctx[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        ctx[i] = test_ctx(threads[i]);
        assert_int_equal(case_hessian(ctx[i], c->x, CASE_TOKENS, CASE_COLS, 100, &h[i]), OPT_OK);
        const size_t bytes = sizeof(float) * CASE_COLS * CASE_COLS;
        assert_memory_equal(h[i]->h, h[0]->h, bytes);
        assert_memory_equal(h[i]->factor, h[0]->factor, bytes);
        assert_memory_equal(h[i]->order, h[0]->order, sizeof(int32_t) * CASE_COLS);
    }
    for (int i = 0; i < 4; i++) {
        opt_hessian_free(h[i]);
        opt_ctx_free(ctx[i]);
    }
    free(c);
}

static void test_cholesky__multiplies_back(void **state) {
    static const int64_t sizes[] = {1, 2, 63, 64, 65, 128, 200};
    (void)state;
    for (int s = 0; s < COUNT_OF(sizes); s++) {
        opt_ctx *ctx = test_ctx(3);
        const int64_t n = sizes[s];
        double *a = calloc((size_t)(n * n), sizeof *a), *l = calloc((size_t)(n * n), sizeof *l);
        const uint64_t key = opt_rng_key(3, "a", "test");
        bool positive = false;
        assert_true(a != NULL && l != NULL);
        for (int64_t i = 0; i < n; i++) { /* l l^T of a random l with a strong diagonal */
            for (int64_t j = 0; j <= i; j++) {
                l[i * n + j] = opt_rng_normal(key, (uint64_t)(i * n + j)) + (i == j ? 20.0 : 0.0);
            }
        }
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                for (int64_t k = 0; k <= (i < j ? i : j); k++) {
                    a[i * n + j] += l[i * n + k] * l[j * n + k];
                }
            }
        }
        assert_int_equal(opt_cholesky(ctx, a, n, &positive), OPT_OK);
        assert_true(positive);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                assert_true(fabs(a[i * n + j] - l[i * n + j]) < 1e-9);
            }
        }
        a[0] = s % 2 == 0 ? -1.0 : (double)NAN;
        assert_int_equal(opt_cholesky(ctx, a, n, &positive), OPT_OK);
        assert_false(positive);
        free(a);
        free(l);
        opt_ctx_free(ctx);
    }
}

static void test_hessian__factor_solves_the_steps(void **state) {
    opt_ctx *ctx = test_ctx(2);
    solve_case *c = case_new(4);
    opt_hessian *h = NULL;
    (void)state;
    assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, CASE_COLS, 128, &h), OPT_OK);
    assert_true(h->damping == OPT_DAMPING_FIRST);
    assert_int_equal(h->n_tries, 1);
    assert_int_equal(h->n_dead, 0);
    double mean = 0.0;
    for (int i = 0; i < CASE_COLS; i++) {
        mean += (double)h->diag[i] / CASE_COLS;
        if (i > 0) {
            assert_true(h->diag[h->order[i]] <= h->diag[h->order[i - 1]]);
        }
    }
    /* The last step has all others behind it: with errors d_i fixed, dE/dd_last = 0 at d_last =
     * -sum_i H[last][i] / H[last][last] d_i. */
    const int64_t n = CASE_COLS, last = n - 1;
    double worst = 0.0;
    for (int64_t i = 0; i < last; i++) {
        const double hij = (double)h->h[h->order[last] * n + h->order[i]];
        const double hjj = (double)h->diag[h->order[last]] + h->damping * mean;
        const double off = fabs((double)h->factor[last * n + i] * hjj - hij);
        worst = off > worst ? off : worst;
    }
    assert_true(worst < 1e-4 * mean);
    opt_hessian_free(h);
    opt_ctx_free(ctx);
    free(c);
}

static void test_hessian__singular_inputs(void **state) {
    static const struct {
        int n_tokens, n_zero; /* columns that are always zero */
    } rows[] = {{1, 0}, {5, 0}, {CASE_TOKENS, 7}, {1, CASE_COLS - 1}, {3, CASE_COLS}};
    (void)state;
    for (int r = 0; r < COUNT_OF(rows); r++) {
        opt_ctx *ctx = test_ctx(2);
        solve_case *c = case_new(5);
        opt_hessian *h = NULL;
        for (int t = 0; t < rows[r].n_tokens; t++) {
            memset(c->x + t * CASE_COLS, 0, (size_t)rows[r].n_zero * sizeof(float));
        }
        assert_int_equal(case_hessian(ctx, c->x, rows[r].n_tokens, CASE_COLS, 64, &h), OPT_OK);
        assert_int_equal(h->n_dead, rows[r].n_zero);
        for (int64_t i = 0; i < CASE_COLS * CASE_COLS; i++) {
            assert_true(isfinite(h->factor[i]));
        }
        opt_hessian_free(h);
        opt_ctx_free(ctx);
        free(c);
    }
}

static void test_hessian__refuses_what_cannot_be(void **state) {
    double gram[4] = {1.0, 0.0, 0.0, 1.0};
    opt_ctx *ctx = test_ctx(1);
    opt_hessian *h = NULL;
    (void)state;
    gram[2] = (double)NAN;
    assert_int_equal(opt_hessian_new(ctx, "blk.0.ffn_norm", gram, 2, 1, true, &h), OPT_ERR_NUMERIC);
    assert_error(ctx, OPT_ERR_NUMERIC, "blk.0.ffn_norm", "not finite (columns 1 and 0)");
    gram[2] = 100.0; /* no Gram matrix is like this */
    assert_int_equal(opt_hessian_new(ctx, "blk.0.ffn_norm", gram, 2, 1, true, &h), OPT_ERR_NUMERIC);
    assert_error(ctx, OPT_ERR_NUMERIC, "blk.0.ffn_norm", "not positive definite, even with 1.28");
    assert_null(h);
    gram[2] = 1.2; /* the ladder: 1 + damping must exceed 1.2 */
    assert_int_equal(opt_hessian_new(ctx, "blk.0.ffn_norm", gram, 2, 1, true, &h), OPT_OK);
    assert_int_equal(h->n_tries, 6);
    assert_true(h->damping == 0.32);
    opt_hessian_free(h);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gram__equals_double_sums),
        cmocka_unit_test(test_gram__block_integers_are_close),
        cmocka_unit_test(test_gram__same_bits_for_any_number_of_threads),
        cmocka_unit_test(test_cholesky__multiplies_back),
        cmocka_unit_test(test_hessian__factor_solves_the_steps),
        cmocka_unit_test(test_hessian__singular_inputs),
        cmocka_unit_test(test_hessian__refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
