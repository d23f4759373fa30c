/*
 * Choosing codes: the column loop against golden codes of the published algorithm, and what must
 * hold for every format: GPTQ below round to nearest, refinement never worse, the same bytes
 * however the rows are cut.
 */
#include "unit/solve_case.h"

#include "quant/method.h"

/* ---- a plain symmetric grid, as the goldens use it ---- */

typedef struct plain_params {
    double scale;
} plain_params;

static void plain_fit(const opt_format *f, const float *w, const float *importance, int64_t n,
                      void *params) {
    float peak = 0.0F;
    (void)f;
    (void)importance;
    for (int64_t i = 0; i < n; i++) {
        peak = fabsf(w[i]) > peak ? fabsf(w[i]) : peak;
    }
    ((plain_params *)params)->scale = (double)(2.0F * peak / 15.0F);
}

static void plain_round(const opt_format *f, const void *params, int64_t i, const float *w,
                        int32_t *codes, float *values) {
    const double scale = ((const plain_params *)params)->scale;
    const double q = rint((double)w[0] / scale);
    (void)f;
    (void)i;
    codes[0] = (int32_t)(q < -8.0 ? -8.0 : q > 7.0 ? 7.0 : q);
    values[0] = (float)(codes[0] * scale);
}

static void plain_emit(const opt_format *f, const void *params, const int32_t *codes, int64_t n,
                       void *block) {
    (void)f;
    (void)params;
    for (int64_t i = 0; i < n; i++) {
        ((int8_t *)block)[i] = (int8_t)codes[i];
    }
}

static const opt_grid plain_grid = {.dim = 1,
                                    .params_bytes = sizeof(plain_params),
                                    .fit = plain_fit,
                                    .round = plain_round,
                                    .emit = plain_emit};
static const opt_format plain_format = {
    .name = "plain", .block_elems = 32, .block_bytes = 32, .grid = &plain_grid};

/* ---- helpers ---- */

static bool solvable(const opt_format *f) {
    return (f->flags & OPT_FORMAT_QUANT) != 0 && (f->flags & OPT_FORMAT_ENCODES) != 0 &&
           opt_rows_supports(f) && opt_format_fits(f, CASE_COLS);
}

/* Runs a method over rows of w; returns the sum of its rows' objectives, measured on the bytes. */
static double solve(opt_ctx *ctx, const opt_quant_method *m, const opt_format *f,
                    const opt_hessian *h, const float *w, int64_t n_rows, int sweeps, uint8_t *dst,
                    double *nearest) {
    size_t row_bytes = 0;
    const opt_kern *k = opt_kern_get(ctx);
    assert_true(opt_format_row_bytes(f, h->n, &row_bytes));
    const size_t bytes = m->scratch_bytes != NULL ? m->scratch_bytes(f, n_rows, h->n) : 1;
    void *scratch = opt_alloc(ctx, bytes);
    double unused = 0.0, sum = 0.0;
    const opt_quant_job job = {.format = f,
                               .kern = k,
                               .w = w,
                               .importance = h->diag,
                               .hessian = h,
                               .sweeps = sweeps,
                               .nearest = nearest != NULL ? nearest : &unused,
                               .n_rows = n_rows,
                               .n_cols = h->n,
                               .row_bytes = row_bytes,
                               .dst = dst};
    assert_non_null(scratch);
    assert_int_equal(m->solve(ctx, &job, scratch), OPT_OK);
    opt_free(ctx, scratch);
    for (int64_t r = 0; f->decode != NULL && r < n_rows; r++) {
        float back[CASE_COLS];
        double d[CASE_COLS];
        f->decode(f, k, dst + (size_t)r * row_bytes, back, h->n);
        for (int64_t i = 0; i < h->n; i++) {
            assert_true(isfinite(back[i]));
            d[i] = (double)w[r * h->n + i] - (double)back[i];
        }
        sum += case_energy(h, d);
    }
    return sum;
}

/* ---- goldens ---- */

typedef struct golden {
    int32_t head[4]; /* rows, columns, group, tokens */
    float *w;
    float *x;
    const int8_t *codes, *nearest;
    double error[2][16];
    uint8_t *file;
} golden;

static golden read_golden(void) {
    golden g;
    FILE *f = fopen(OPT_TESTDATA "/gptq/symmetric.bin", "rb");
    assert_non_null(f);
    g.file = malloc(65536);
    assert_non_null(g.file);
    const size_t bytes = fread(g.file, 1, 65536, f);
    (void)fclose(f);
    memcpy(g.head, g.file, sizeof g.head);
    const size_t rows = (size_t)g.head[0], cols = (size_t)g.head[1], n_tokens = (size_t)g.head[3];
    assert_int_equal(bytes, 16 + rows * cols * 6 + n_tokens * cols + rows * 16);
    g.w = malloc(rows * cols * sizeof *g.w);
    g.x = malloc(n_tokens * cols * sizeof *g.x);
    assert_true(g.w != NULL && g.x != NULL && rows <= 16);
    memcpy(g.w, g.file + 16, rows * cols * sizeof *g.w);
    const int8_t *x = (const int8_t *)g.file + 16 + rows * cols * 4;
    for (size_t i = 0; i < n_tokens * cols; i++) {
        g.x[i] = x[i];
    }
    g.codes = x + n_tokens * cols;
    g.nearest = g.codes + rows * cols;
    memcpy(g.error[0], g.nearest + rows * cols, rows * sizeof(double));
    memcpy(g.error[1], g.nearest + rows * cols + rows * sizeof(double), rows * sizeof(double));
    return g;
}

static void test_solve__equals_the_published_algorithm(void **state) {
    opt_ctx *ctx = test_ctx(2);
    golden g = read_golden();
    opt_hessian *h = NULL;
    opt_rows r;
    double e[16];
    (void)state;
    const int64_t rows = g.head[0], cols = g.head[1];
    assert_int_equal(g.head[2], plain_format.block_elems);
    assert_int_equal(case_hessian(ctx, g.x, g.head[3], cols, 512, &h), OPT_OK);
    void *scratch = opt_alloc(ctx, opt_rows_bytes(&plain_format, rows, cols));
    assert_non_null(scratch);
    opt_rows_init(&r, &plain_format, opt_kern_get(ctx), h, g.w, rows, cols, scratch);
    opt_rows_fit(&r);
    for (int which = 0; which < 2; which++) {
        const int8_t *codes = which == 0 ? g.codes : g.nearest;
        for (int64_t row = 0; which == 1 && row < rows; row++) {
            opt_rows_nearest(&r, row);
        }
        if (which == 0) {
            opt_rows_columns(&r);
        }
        opt_rows_objective(&r, e);
        for (int64_t i = 0; i < rows * cols; i++) {
            if (r.codes[i] != codes[i]) {
                fail_msg("row %d, column %d: code %d, expected %d", (int)(i / cols),
                         (int)(i % cols), r.codes[i], codes[i]);
            }
        }
        for (int64_t row = 0; row < rows; row++) {
            assert_true(fabs(e[row] - g.error[which][row]) < 1e-4 * g.error[which][row]);
        }
    }
    opt_free(ctx, scratch);
    opt_hessian_free(h);
    free(g.w);
    free(g.x);
    free(g.file);
    opt_ctx_free(ctx);
}

/* ---- all formats ---- */

static void test_solve__better_than_nearest_on_every_format(void **state) {
    opt_ctx *ctx = test_ctx(2);
    uint8_t *dst = malloc(1 << 16);
    int n_formats = 0;
    (void)state;
    assert_non_null(dst);
    for (uint64_t seed = 10; seed < 13; seed++) {
        solve_case *c = case_new(seed);
        opt_hessian *h = NULL;
        assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, CASE_COLS, 100, &h), OPT_OK);
        for (int i = 0; opt_formats[i] != NULL; i++) {
            const opt_format *f = opt_formats[i];
            if (!solvable(f)) {
                continue;
            }
            double nearest = 0.0, last;
            const double rtn = solve(ctx, &opt_quant_rtn, f, h, c->w, CASE_ROWS, 0, dst, NULL);
            last = solve(ctx, &opt_quant_gptq, f, h, c->w, CASE_ROWS, 0, dst, &nearest);
            n_formats++;
            /* the same grid, measured by the solver and from the bytes */
            assert_true(fabs(nearest - rtn) <= 1e-3 * rtn);
            if (!(last <= 0.6 * rtn)) {
                fail_msg("%s, seed %d: GPTQ %g, nearest %g", f->name, (int)seed, last, rtn);
            }
            for (int sweeps = 1; sweeps <= 4; sweeps++) {
                const double now =
                    solve(ctx, &opt_quant_gptq, f, h, c->w, CASE_ROWS, sweeps, dst, NULL);
                if (!(now <= last * (1.0 + 1e-6))) {
                    fail_msg("%s, seed %d: %g after %d sweeps, %g before", f->name, (int)seed, now,
                             sweeps, last);
                }
                assert_true(sweeps > 1 || now < last);
                last = now;
            }
        }
        opt_hessian_free(h);
        free(c);
    }
    assert_true(n_formats >= 3 * 8);
    free(dst);
    opt_ctx_free(ctx);
}

static void test_solve__rows_do_not_depend_on_each_other(void **state) {
    static const char *const names[] = {"q4_0", "q4_1", "int3_g64", "int4_g64_sym"};
    opt_ctx *ctx = test_ctx(1);
    solve_case *c = case_new(20);
    opt_hessian *h = NULL;
    uint8_t *all = malloc(1 << 16), *one = malloc(1 << 16);
    (void)state;
    assert_true(all != NULL && one != NULL);
    assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, CASE_COLS, 100, &h), OPT_OK);
    for (int i = 0; i < COUNT_OF(names); i++) {
        const opt_format *f = opt_format_by_name(names[i]);
        size_t row_bytes = 0;
        if (f == NULL) {
            continue;
        }
        assert_true(opt_format_row_bytes(f, CASE_COLS, &row_bytes));
        (void)solve(ctx, &opt_quant_gptq, f, h, c->w, CASE_ROWS, 3, all, NULL);
        for (int r = 0; r < CASE_ROWS; r++) {
            (void)solve(ctx, &opt_quant_gptq, f, h, c->w + r * CASE_COLS, 1, 3, one, NULL);
            assert_memory_equal(one, all + (size_t)r * row_bytes, row_bytes);
        }
    }
    opt_hessian_free(h);
    free(c);
    free(all);
    free(one);
    opt_ctx_free(ctx);
}

/* Every grid that can move: values go where they were sent, up to half a step. */
static void test_solve__grids_move(void **state) {
    static const float moves[][2] = {{1.0F, 0.0F}, {1.25F, 0.0F}, {0.8F, 0.01F}, {1.1F, -0.02F}};
    solve_case *c = case_new(40);
    int n_formats = 0;
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        if (!solvable(f) || f->grid->move == NULL) {
            continue;
        }
        n_formats++;
        for (int m = 0; m < COUNT_OF(moves); m++) {
            _Alignas(16) uint8_t params[OPT_GRID_PARAMS_MAX], moved[OPT_GRID_PARAMS_MAX];
            const int64_t n = f->block_elems;
            float low = 0.0F, high = 0.0F;
            f->grid->fit(f, c->w, NULL, n, params);
            for (int64_t k = 0; k < n; k++) {
                low = c->w[k] < low ? c->w[k] : low;
                high = c->w[k] > high ? c->w[k] : high;
            }
            const float step = (high - low) / (float)((1 << f->bits) - 1);
            const float shift = (f->flags & OPT_FORMAT_ZERO_POINT) != 0 ? moves[m][1] : 0.0F;
            f->grid->move(f, params, 0, moves[m][0], moves[m][1], moved);
            for (int64_t k = 0; k < n; k++) {
                int32_t code, again;
                float value, now;
                f->grid->round(f, params, k, &c->w[k], &code, &value);
                const float target = moves[m][0] * value + shift;
                f->grid->round(f, moved, k, &target, &again, &now);
                if (!(fabsf(now - target) <= 0.55F * step + 2e-3F * fabsf(target))) {
                    fail_msg("%s, move %d: %g became %g, not %g", f->name, m, (double)value,
                             (double)now, (double)target);
                }
                assert_true(m > 0 || (again == code && now == value));
            }
        }
    }
    assert_true(n_formats >= 8);
    free(c);
}

/* Parameters read from what encode stored are those of fit, and many elements round as one does. */
static void test_solve__fast_grids_are_the_same_grids(void **state) {
    opt_ctx *ctx = test_ctx(1);
    const opt_kern *k = opt_kern_get(ctx);
    solve_case *c = case_new(50);
    int n_loads = 0;
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        enum { N_BLOCKS = 3, STRIDE = (OPT_GRID_PARAMS_MAX + 15) / 16 * 16 };
        const opt_format *f = opt_formats[i];
        _Alignas(16) uint8_t params[N_BLOCKS * STRIDE], loaded[STRIDE];
        uint8_t block[1024];
        float values[256], targets[256];
        int32_t codes[256];
        if (!solvable(f)) {
            continue;
        }
        const int64_t n = f->block_elems;
        assert_true(n <= 256 && f->block_bytes <= sizeof block);
        for (int b = 0; b < N_BLOCKS; b++) {
            const float *w = c->w + b * 77;
            f->grid->fit(f, w, NULL, n, params + b * STRIDE);
            if (f->grid->load != NULL) {
                f->encode(f, k, w, NULL, block, n);
                f->grid->load(f, block, loaded);
                n_loads++;
            }
            for (int64_t j = 0; j < n; j++) {
                targets[j] = 1.5F * c->w[(b * 131 + j * 7) % (CASE_ROWS * CASE_COLS)];
            }
            opt_grid_round_many(f, k, params + b * STRIDE, 0, 0, n, targets, codes, values);
            for (int64_t j = 0; j < n; j++) {
                int32_t code;
                float value;
                f->grid->round(f, f->grid->load != NULL ? loaded : params + b * STRIDE, j,
                               &targets[j], &code, &value);
                assert_int_equal(code, codes[j]);
                assert_memory_equal(&value, &values[j], sizeof value);
            }
        }
        opt_grid_round_many(f, k, params, STRIDE, n - 1, N_BLOCKS, targets, codes, values);
        for (int b = 0; b < N_BLOCKS; b++) {
            int32_t code;
            float value;
            f->grid->round(f, params + b * STRIDE, n - 1, &targets[b], &code, &value);
            assert_int_equal(code, codes[b]);
            assert_memory_equal(&value, &values[b], sizeof value);
        }
    }
    assert_true(n_loads >= 3 * 20);
    free(c);
    opt_ctx_free(ctx);
}

/* Few tokens, dead columns, zero weights: finite, and never worse than nearest. */
static void test_solve__singular_hessians(void **state) {
    static const struct {
        int n_tokens, n_zero;
        bool zero_weights;
    } rows[] = {{1, 0, false},         {4, 0, false},  {CASE_TOKENS, 50, false},
                {3, CASE_COLS, false}, {1, 100, true}, {CASE_TOKENS, 0, true}};
    opt_ctx *ctx = test_ctx(2);
    uint8_t *dst = malloc(1 << 16);
    (void)state;
    assert_non_null(dst);
    for (int r = 0; r < COUNT_OF(rows); r++) {
        solve_case *c = case_new(30);
        opt_hessian *h = NULL;
        for (int t = 0; t < rows[r].n_tokens; t++) {
            memset(c->x + t * CASE_COLS, 0, (size_t)rows[r].n_zero * sizeof(float));
        }
        if (rows[r].zero_weights) {
            memset(c->w, 0, sizeof c->w);
        }
        assert_int_equal(case_hessian(ctx, c->x, rows[r].n_tokens, CASE_COLS, 512, &h), OPT_OK);
        for (int i = 0; opt_formats[i] != NULL; i++) {
            const opt_format *f = opt_formats[i];
            if (solvable(f)) {
                const double rtn = solve(ctx, &opt_quant_rtn, f, h, c->w, CASE_ROWS, 0, dst, NULL);
                const double e = solve(ctx, &opt_quant_gptq, f, h, c->w, CASE_ROWS, 3, dst, NULL);
                if (!(e <= rtn * (1.0 + 1e-5))) {
                    fail_msg("%s, case %d: %g, nearest %g", f->name, r, e, rtn);
                }
                assert_true(e == 0.0 || !rows[r].zero_weights);
            }
        }
        opt_hessian_free(h);
        free(c);
    }
    free(dst);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_solve__equals_the_published_algorithm),
        cmocka_unit_test(test_solve__better_than_nearest_on_every_format),
        cmocka_unit_test(test_solve__rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_solve__grids_move),
        cmocka_unit_test(test_solve__fast_grids_are_the_same_grids),
        cmocka_unit_test(test_solve__singular_hessians),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
