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

/* Whether a format is tested at n columns: at CASE_COLS, which leaves partial blocks, if it can. */
static bool solvable(const opt_format *f, int64_t n) {
    return (f->flags & OPT_FORMAT_QUANT) != 0 && (f->flags & OPT_FORMAT_ENCODES) != 0 &&
           opt_rows_supports(f) && opt_format_fits(f, n) &&
           (n == CASE_COLS || !opt_format_fits(f, CASE_COLS));
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
        float back[CASE_WIDE];
        double d[CASE_WIDE];
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
    for (uint64_t seed = 10; seed < 16; seed++) {
        solve_case *c = case_sized(seed, seed < 13 ? CASE_COLS : CASE_WIDE);
        opt_hessian *h = NULL;
        assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, c->n, 100, &h), OPT_OK);
        for (int i = 0; opt_formats[i] != NULL; i++) {
            const opt_format *f = opt_formats[i];
            if (!solvable(f, c->n)) {
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
    assert_true(n_formats >= 3 * 40);
    free(dst);
    opt_ctx_free(ctx);
}

static void test_solve__rows_do_not_depend_on_each_other(void **state) {
    static const char *const names[] = {"q4_0",  "q4_1", "int3_g64", "int4_g128_zp",
                                        "nvfp4", "q4_k", "q3_k",     "iq4_xs"};
    opt_ctx *ctx = test_ctx(1);
    uint8_t *all = malloc(1 << 16), *one = malloc(1 << 16);
    (void)state;
    assert_true(all != NULL && one != NULL);
    for (int i = 0; i < COUNT_OF(names); i++) {
        const opt_format *f = opt_format_by_name(names[i]);
        solve_case *c = case_sized(20, opt_format_fits(f, CASE_COLS) ? CASE_COLS : CASE_WIDE);
        opt_hessian *h = NULL;
        size_t row_bytes = 0;
        assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, c->n, 100, &h), OPT_OK);
        assert_true(opt_format_row_bytes(f, c->n, &row_bytes));
        (void)solve(ctx, &opt_quant_gptq, f, h, c->w, CASE_ROWS, 3, all, NULL);
        for (int r = 0; r < CASE_ROWS; r++) {
            (void)solve(ctx, &opt_quant_gptq, f, h, c->w + r * c->n, 1, 3, one, NULL);
            assert_memory_equal(one, all + (size_t)r * row_bytes, row_bytes);
        }
        opt_hessian_free(h);
        free(c);
    }
    free(all);
    free(one);
    opt_ctx_free(ctx);
}

/* ---- moving ---- */

/* Half the widest step between the values of part `part` of a block's grid, found by sending a fine
 * ramp over [low, high] through it. */
static float half_step(const opt_format *f, const void *params, int64_t i, float low, float high) {
    float last = 0.0F, widest = 0.0F;
    for (int k = 0; k <= 2000; k++) {
        const float x = low + (high - low) * (float)k / 2000.0F;
        int32_t code;
        float value;
        f->grid->round(f, params, i, &x, &code, &value);
        widest = k > 0 && value - last > widest ? value - last : widest;
        last = value;
    }
    return 0.5F * widest;
}

/* How far a scale may be from where it was sent: a power of two, 3 mantissa bits, integers. */
static float coarseness(const opt_format *f) {
    return f->kfmt == OPT_KFMT_MXFP4                ? 0.34F
           : f->kfmt == OPT_KFMT_NVFP4              ? 0.0625F
           : f->kfmt == OPT_KFMT_Q2_K               ? 0.1F
           : (f->flags & OPT_FORMAT_TWO_LEVEL) != 0 ? 0.02F
                                                    : 2e-3F;
}

/* Moves one part, or all of them: values of it go where they were sent, up to half a step and what
 * the scale cannot store, if that is within the range; the others stay. */
static void check_move(const opt_format *f, const void *params, const float *w, int64_t part,
                       float scale, float shift) {
    _Alignas(16) uint8_t moved[OPT_GRID_PARAMS_MAX];
    const int64_t size = opt_format_part_elems(f);
    f->grid->move(f, params, part, scale, shift, moved);
    for (int64_t i = 0; i < f->block_elems; i++) {
        const bool moves = part == OPT_GRID_ALL_PARTS || i / size == part;
        int32_t code, again;
        float value, now;
        f->grid->round(f, params, i, &w[i], &code, &value);
        const float target = moves ? scale * value + shift : value;
        f->grid->round(f, moved, i, &target, &again, &now);
        const float far = 0.08F + fabsf(shift);
        const float step = half_step(f, moved, i, -far, far);
        const float allowed = step * 1.01F + coarseness(f) * (0.05F + fabsf(target));
        if (!(fabsf(now - target) <= (moves ? allowed : 0.0F))) {
            fail_msg("%s, part %d by %g, %g: %g became %g, not %g", f->name, (int)part,
                     (double)scale, (double)shift, (double)value, (double)now, (double)target);
        }
        assert_true(scale != 1.0F || shift != 0.0F || (again == code && now == value));
    }
}

static void test_solve__grids_move(void **state) {
    static const float moves[][2] = {{1.0F, 0.0F}, {1.25F, 0.0F}, {0.8F, 0.01F}, {1.1F, -0.02F}};
    solve_case *c = case_sized(40, CASE_WIDE);
    int n_formats = 0;
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        if (f->grid == NULL || f->grid->move == NULL) {
            continue;
        }
        _Alignas(16) uint8_t params[OPT_GRID_PARAMS_MAX];
        const bool offset = (f->flags & OPT_FORMAT_ZERO_POINT) != 0;
        const int64_t n_parts = f->block_elems / opt_format_part_elems(f);
        n_formats++;
        f->grid->fit(f, c->w, NULL, f->block_elems, params);
        for (int m = 0; m < COUNT_OF(moves); m++) {
            const float scale = moves[m][0], shift = offset ? moves[m][1] : 0.0F;
            /* integers have an end: smaller scales and offsets are always there */
            const bool ends = (f->flags & OPT_FORMAT_TWO_LEVEL) != 0;
            check_move(f, params, c->w, n_parts - 1, ends ? fminf(scale, 1.0F / scale) : scale,
                       ends ? fabsf(shift) : shift);
            check_move(f, params, c->w, OPT_GRID_ALL_PARTS, scale, n_parts == 1 ? shift : 0.0F);
        }
    }
    assert_true(n_formats >= 40);
    free(c);
}

/* Parameters read from what encode stored are those of fit, and many elements round as one does. */
static void test_solve__fast_grids_are_the_same_grids(void **state) {
    opt_ctx *ctx = test_ctx(1);
    const opt_kern *k = opt_kern_get(ctx);
    solve_case *c = case_sized(50, CASE_WIDE);
    int n_loads = 0;
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        enum { N_BLOCKS = 3, STRIDE = (OPT_GRID_PARAMS_MAX + 15) / 16 * 16 };
        const opt_format *f = opt_formats[i];
        _Alignas(16) uint8_t params[N_BLOCKS * STRIDE], loaded[STRIDE];
        uint8_t block[1024];
        float values[256], targets[256];
        int32_t codes[256];
        if (f->grid == NULL) {
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
                targets[j] = 1.5F * c->w[(b * 131 + j * 7) % (CASE_ROWS * CASE_WIDE)];
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
        solve_case *c = case_sized(30, r % 2 == 0 ? CASE_COLS : CASE_WIDE);
        opt_hessian *h = NULL;
        for (int t = 0; t < rows[r].n_tokens; t++) {
            memset(c->x + t * c->n, 0, (size_t)rows[r].n_zero * sizeof(float));
        }
        if (rows[r].zero_weights) {
            memset(c->w, 0, sizeof c->w);
        }
        assert_int_equal(case_hessian(ctx, c->x, rows[r].n_tokens, c->n, 512, &h), OPT_OK);
        for (int i = 0; opt_formats[i] != NULL; i++) {
            const opt_format *f = opt_formats[i];
            if (opt_rows_supports(f) && opt_format_fits(f, c->n)) {
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
