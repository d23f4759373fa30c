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

/* Inputs of the float model beside those of the quantized one. */
static float *other_inputs(const solve_case *c, int64_t n_tokens) {
    const uint64_t key = opt_rng_key(3, "other", "test");
    float *y = malloc((size_t)(n_tokens * c->n) * sizeof *y);
    assert_non_null(y);
    for (int64_t i = 0; i < n_tokens * c->n; i++) {
        y[i] = 1.05F * c->x[i] + (float)(0.1 * opt_rng_normal(key, (uint64_t)i));
    }
    return y;
}

/* Sum of (y - x) x^T, in calls of `chunk` rows. */
static double *cross_of(opt_ctx *ctx, const solve_case *c, const float *y, int64_t n_tokens,
                        int64_t n, int64_t chunk, bool block16, opt_gram *g) {
    opt_gram_scratch s, own;
    double *sum = calloc((size_t)(n * n), sizeof *sum);
    float *d = malloc((size_t)(n_tokens * n) * sizeof *d);
    assert_true(sum != NULL && d != NULL);
    for (int64_t i = 0; i < n_tokens * n; i++) {
        d[i] = y[i] - c->x[i];
    }
    assert_int_equal(opt_gram_new(ctx, n, g), OPT_OK);
    assert_int_equal(opt_gram_scratch_new(ctx, n, chunk, &s), OPT_OK);
    assert_int_equal(opt_gram_scratch_new(ctx, n, chunk, &own), OPT_OK);
    s.block16 = own.block16 = block16;
    for (int64_t t = 0; t < n_tokens; t += chunk) {
        const int64_t some = n_tokens - t < chunk ? n_tokens - t : chunk;
        const opt_kern *k = opt_kern_get(ctx);
        assert_int_equal(opt_gram_add(ctx, k, g, c->x + t * n, some, &s), OPT_OK);
        assert_int_equal(opt_gram_add_cross(ctx, k, sum, n, d + t * n, some, &s, &own), OPT_OK);
    }
    opt_gram_scratch_free(ctx, &s);
    opt_gram_scratch_free(ctx, &own);
    free(d);
    return sum;
}

static void test_gram__cross_equals_double_sums(void **state) {
    static const struct {
        int64_t n, n_tokens, chunk;
        bool block16;
        double bound; /* over the root of the two columns' squares */
    } rows[] = {{1, 1, 1, false, 1e-6},      {47, 40, 40, false, 1e-6},
                {130, 128, 50, false, 1e-6}, {192, 300, 100, false, 1e-6},
                {47, 40, 40, true, 3e-4},    {130, 128, 50, true, 3e-4},
                {192, 300, 300, true, 3e-4}};
    solve_case *c = case_new(8);
    (void)state;
    for (int r = 0; r < COUNT_OF(rows); r++) {
        const int64_t n = rows[r].n, n_tokens = rows[r].n_tokens;
        float *y = other_inputs(c, n_tokens * n / c->n + 1);
        double *sums[2], dd[CASE_COLS] = {0}, xx[CASE_COLS] = {0};
        for (int i = 0; i < 2; i++) {
            opt_ctx *ctx = test_ctx(i == 0 ? 1 : 3);
            opt_gram g = {0};
            sums[i] = cross_of(ctx, c, y, n_tokens, n, rows[r].chunk, rows[r].block16, &g);
            opt_gram_free(ctx, &g);
            opt_ctx_free(ctx);
        }
        assert_memory_equal(sums[0], sums[1], (size_t)(n * n) * sizeof(double));
        for (int64_t t = 0; t < n_tokens * n; t++) {
            dd[t % n] += pow((double)y[t] - (double)c->x[t], 2.0);
            xx[t % n] += pow((double)c->x[t], 2.0);
        }
        for (int64_t i = 0; i < n * n; i++) {
            double sum = 0.0;
            for (int64_t t = 0; t < n_tokens; t++) {
                sum += ((double)y[t * n + i / n] - (double)c->x[t * n + i / n]) *
                       (double)c->x[t * n + i % n];
            }
            const double off = fabs(sums[0][i] - sum) / sqrt(dd[i / n] * xx[i % n]);
            if (!(off <= rows[r].bound)) {
                fail_msg("case %d: element %d is off by %g", r, (int)i, off);
            }
        }
        free(sums[0]);
        free(sums[1]);
        free(y);
    }
    free(c);
}

static void test_cholesky__solves(void **state) {
    static const int64_t sizes[] = {1, 2, 63, 64, 65, 130, 192};
    (void)state;
    for (int s = 0; s < COUNT_OF(sizes); s++) {
        opt_ctx *ctx = test_ctx(3);
        const int64_t n = sizes[s], n_cols = 70;
        const uint64_t key = opt_rng_key(4, "solve", "test");
        double *a = malloc((size_t)(n * n) * sizeof *a), *l = malloc((size_t)(n * n) * sizeof *l);
        double *b = malloc((size_t)(n * n_cols) * sizeof *b);
        bool positive = false;
        assert_true(a != NULL && l != NULL && b != NULL);
        for (int64_t i = 0; i < n; i++) { /* a strong diagonal: well conditioned */
            for (int64_t j = 0; j <= i; j++) {
                const double v = opt_rng_normal(key, (uint64_t)(i * n + j));
                a[i * n + j] = a[j * n + i] = i == j ? 2.0 * (double)n + v : v;
            }
        }
        memcpy(l, a, (size_t)(n * n) * sizeof *a);
        for (int64_t i = 0; i < n * n_cols; i++) {
            b[i] = opt_rng_normal(key, (uint64_t)(1000000 + i));
        }
        assert_int_equal(opt_cholesky(ctx, l, n, &positive), OPT_OK);
        assert_true(positive);
        assert_int_equal(opt_cholesky_solve(ctx, l, n, b, n_cols), OPT_OK);
        for (int64_t i = 0; i < n * n_cols; i++) {
            double sum = 0.0;
            for (int64_t k = 0; k < n; k++) {
                sum += a[i / n_cols * n + k] * b[k * n_cols + i % n_cols];
            }
            assert_true(fabs(sum - opt_rng_normal(key, (uint64_t)(1000000 + i))) < 1e-11);
        }
        free(a);
        free(l);
        free(b);
        opt_ctx_free(ctx);
    }
}

/* Mean square over the tokens of w y - v x, in double. */
static double asymmetric_error(const solve_case *c, const float *y, const float *w,
                               const double *v) {
    double all = 0.0;
    for (int64_t t = 0; t < CASE_TOKENS; t++) {
        double sum = 0.0;
        for (int64_t i = 0; i < c->n; i++) {
            sum += (double)w[i] * (double)y[t * c->n + i] - v[i] * (double)c->x[t * c->n + i];
        }
        all += sum * sum / CASE_TOKENS;
    }
    return all;
}

/* With u = w + w shift: u (H + damping) = w C + w (H + damping), so that the damped error is least
 * there; and E(v) - (v - u) H (v - u)^T does not depend on v but for the damping. */
static void test_hessian__shift_solves_the_asymmetric_problem(void **state) {
    solve_case *c = case_new(9);
    opt_ctx *ctx = test_ctx(2);
    float *y = other_inputs(c, CASE_TOKENS);
    const int64_t n = c->n;
    opt_gram g = {0};
    opt_hessian *h = NULL;
    double *cross = cross_of(ctx, c, y, CASE_TOKENS, n, 100, false, &g);
    double mean = 0.0, *u = malloc((size_t)n * sizeof *u), *v = malloc((size_t)n * sizeof *v);
    (void)state;
    assert_true(u != NULL && v != NULL);
    assert_int_equal(opt_hessian_new(ctx, "case", g.sum, n, g.n_tokens, true, &h), OPT_OK);
    assert_null(h->shift);
    assert_int_equal(opt_hessian_add_shift("case", cross, h), OPT_OK);
    for (int64_t i = 0; i < n; i++) {
        mean += (double)h->diag[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) { /* rows of shift (H + damping) are those of C */
        double off = 0.0, size = 0.0;
        for (int64_t j = 0; j < n; j++) {
            double sum = h->damping * mean * (double)h->shift[i * n + j];
            for (int64_t k = 0; k < n; k++) {
                sum += (double)h->shift[i * n + k] * (double)h->h[k * n + j];
            }
            off += pow(sum - cross[i * n + j] / CASE_TOKENS, 2.0);
            size += pow(cross[i * n + j] / CASE_TOKENS, 2.0);
        }
        assert_true(off < 1e-9 * size);
    }
    for (int row = 0; row < CASE_ROWS; row++) {
        const float *w = c->w + row * n;
        for (int64_t i = 0; i < n; i++) {
            u[i] = v[i] = (double)w[i];
            for (int64_t k = 0; k < n; k++) {
                u[i] += (double)w[k] * (double)h->shift[k * n + i];
            }
        }
        assert_true(asymmetric_error(c, y, w, u) < 0.2 * asymmetric_error(c, y, w, v));
    }
    cross[5] = NAN;
    opt_free(ctx, h->shift);
    h->shift = NULL;
    assert_int_equal(opt_hessian_add_shift("case", cross, h), OPT_ERR_NUMERIC);
    opt_hessian_free(h);
    opt_gram_free(ctx, &g);
    opt_ctx_free(ctx);
    free(cross);
    free(u);
    free(v);
    free(y);
    free(c);
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
        cmocka_unit_test(test_gram__cross_equals_double_sums),
        cmocka_unit_test(test_cholesky__solves),
        cmocka_unit_test(test_hessian__shift_solves_the_asymmetric_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
