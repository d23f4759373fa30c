/*
 * Sign-gradient rounding: on every scalar grid, a solution that does not move stays as it is to the
 * byte; steps against a gradient go to the grid points that it points to; and on the quadratic
 * objective of a layer they come below round to nearest.
 */
#include "unit/solve_case.h"

#include "quant/method.h"
#include "solve/signround.h"

enum { ROWS = 4, COLS = 512 };

static bool works(const opt_format *f) {
    return (f->flags & OPT_FORMAT_QUANT) != 0 && (f->flags & OPT_FORMAT_ENCODES) != 0 &&
           opt_signround_supports(f) && opt_format_fits(f, COLS);
}

/* Random weights, rounded to nearest. */
typedef struct rounded {
    opt_ctx *ctx;
    float w[ROWS * COLS];
    opt_signround_tensor t;
    uint8_t *bytes; /* [ROWS, row_bytes] */
    size_t row_bytes;
} rounded;

static void rounded_open(rounded *r, const opt_format *f) {
    const uint64_t key = opt_rng_key(5, f->name, "test");
    r->ctx = test_ctx(1);
    const opt_kern *k = opt_kern_get(r->ctx);
    for (uint64_t i = 0; i < ROWS * COLS; i++) {
        r->w[i] = (float)(0.05 * opt_rng_normal(key, i));
    }
    memset(r->w + COLS, 0, 64 * sizeof *r->w); /* a block of zeros */
    assert_true(opt_format_row_bytes(f, COLS, &r->row_bytes));
    r->bytes = malloc(ROWS * r->row_bytes);
    assert_non_null(r->bytes);
    assert_int_equal(opt_signround_new(r->ctx, f, ROWS, COLS, &r->t), OPT_OK);
    const opt_quant_solution solution = {r->t.params_stride, r->t.params};
    const opt_quant_job job = {.format = f,
                               .kern = k,
                               .w = r->w,
                               .n_rows = ROWS,
                               .n_cols = COLS,
                               .row_bytes = r->row_bytes,
                               .dst = r->bytes,
                               .solution = &solution};
    assert_int_equal(opt_quant_rtn.solve(r->ctx, &job, NULL), OPT_OK);
    for (int64_t row = 0; row < ROWS; row++) {
        f->decode(f, k, r->bytes + (size_t)row * r->row_bytes, r->t.values + row * COLS, COLS);
        opt_signround_begin(&r->t, row, r->w + row * COLS, 0.05F);
    }
}

static void rounded_close(rounded *r) {
    opt_signround_free(r->ctx, &r->t);
    free(r->bytes);
    opt_ctx_free(r->ctx);
}

static uint8_t *emitted(rounded *r) {
    uint8_t *bytes = malloc(ROWS * r->row_bytes);
    assert_non_null(bytes);
    for (int64_t row = 0; row < ROWS; row++) {
        opt_signround_finish(&r->t, row);
        opt_signround_emit(&r->t, row, bytes + (size_t)row * r->row_bytes);
    }
    return bytes;
}

static void test_signround__without_a_gradient_nothing_moves(void **state) {
    int n = 0;
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        if (!works(f)) {
            continue;
        }
        rounded r;
        rounded_open(&r, f);
        for (int step = 0; step < 3; step++) {
            opt_signround_step(&r.t, 0, ROWS, (opt_signround_rates){0.3F, 0.1F});
        }
        uint8_t *bytes = emitted(&r);
        /* Codes of an all-zero block may differ where all of them mean zero: compare values. */
        float *values = malloc(ROWS * COLS * sizeof *values);
        float *expected = malloc(ROWS * COLS * sizeof *values);
        assert_true(values != NULL && expected != NULL);
        for (size_t row = 0; row < ROWS; row++) {
            const opt_kern *k = opt_kern_get(r.ctx);
            f->decode(f, k, bytes + row * r.row_bytes, values + row * COLS, COLS);
            f->decode(f, k, r.bytes + row * r.row_bytes, expected + row * COLS, COLS);
        }
        for (int64_t j = 0; j < ROWS * COLS; j++) {
            if (values[j] != expected[j] || values[j] != r.t.values[j]) {
                fail_msg("%s: element %d is %g, was %g", f->name, (int)j, (double)values[j],
                         (double)expected[j]);
            }
        }
        free(values);
        free(expected);
        free(bytes);
        rounded_close(&r);
        n++;
    }
    assert_true(n >= 10);
}

/* The levels of a part are all values that its grid gives, found by asking for many weights. */
static void check_levels(const rounded *r, int64_t row, int64_t p) {
    const opt_signround_tensor *t = &r->t;
    const float *levels = t->levels + (row * t->n_parts + p) * t->max_levels;
    const int n = t->n_levels[row * t->n_parts + p];
    const int64_t first = p * t->part_elems, block = first / t->format->block_elems;
    const uint8_t *params = t->params + (size_t)(row * t->n_blocks + block) * t->params_stride;
    for (int k = 0; k + 1 < n; k++) {
        assert_true(levels[k] < levels[k + 1]);
    }
    for (int i = -400; i <= 400; i++) {
        const float x = (float)i * 0.0007F;
        int32_t code;
        float value;
        bool found = false;
        t->format->grid->round(t->format, params, first % t->format->block_elems, &x, &code,
                               &value);
        for (int k = 0; k < n; k++) {
            found = found || levels[k] == value;
        }
        if (!found) {
            fail_msg("%s: %g is rounded to %g, which is no level", t->format->name, (double)x,
                     (double)value);
        }
    }
}

static void test_signround__levels_are_the_grid(void **state) {
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        if (works(opt_formats[i])) {
            rounded r;
            rounded_open(&r, opt_formats[i]);
            check_levels(&r, 0, 0);
            check_levels(&r, ROWS - 1, r.t.n_parts - 1);
            rounded_close(&r);
        }
    }
}

/* A step as long as a level, with nothing for the scales: every weight goes to the next level. */
static void test_signround__moves_against_the_gradient(void **state) {
    (void)state;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        if (!works(opt_formats[i])) {
            continue;
        }
        rounded r;
        rounded_open(&r, opt_formats[i]);
        float *before = malloc(ROWS * COLS * sizeof *before);
        assert_non_null(before);
        memcpy(before, r.t.values, ROWS * COLS * sizeof *before);
        for (int64_t j = 0; j < ROWS * COLS; j++) {
            r.t.grads[j] = j % 3 == 0 ? 0.0F : j % 3 == 1 ? 1e-9F : -1e9F;
        }
        opt_signround_step(&r.t, 0, ROWS, (opt_signround_rates){1.0F, 0.0F});
        int64_t n_moved = 0;
        for (int64_t j = 0; j < ROWS * COLS; j++) {
            const float d = r.t.values[j] - before[j];
            assert_true(j % 3 == 0 ? d == 0.0F : j % 3 == 1 ? d <= 0.0F : d >= 0.0F);
            n_moved += d != 0.0F;
        }
        assert_true(n_moved > ROWS * COLS / 3);
        free(before);
        rounded_close(&r);
    }
}

/* The gradient of d H d^T with respect to the values is -2 d H. */
static void test_signround__lowers_the_objective(void **state) {
    static const char *const names[] = {"q4_0", "q4_1", "int4_g64", "int3_g64_zp", "int2_g32"};
    enum { STEPS = 60 };
    (void)state;
    for (int i = 0; i < COUNT_OF(names); i++) {
        opt_ctx *ctx = test_ctx(1);
        const opt_kern *k = opt_kern_get(ctx);
        const opt_format *f = opt_format_by_name(names[i]);
        solve_case *c = case_new(1);
        opt_hessian *h = NULL;
        opt_signround_tensor t;
        static float d[CASE_ROWS * CASE_COLS], g[CASE_ROWS * CASE_COLS];
        uint8_t *bytes = malloc(CASE_ROWS * CASE_COLS * 4);
        size_t row_bytes = 0;
        double energy[2] = {0};
        assert_non_null(bytes);
        assert_true(opt_format_row_bytes(f, CASE_COLS, &row_bytes));
        assert_int_equal(case_hessian(ctx, c->x, CASE_TOKENS, CASE_COLS, 64, &h), OPT_OK);
        assert_int_equal(opt_signround_new(ctx, f, CASE_ROWS, CASE_COLS, &t), OPT_OK);
        const opt_quant_solution solution = {t.params_stride, t.params};
        const opt_quant_job job = {.format = f,
                                   .kern = k,
                                   .w = c->w,
                                   .n_rows = CASE_ROWS,
                                   .n_cols = CASE_COLS,
                                   .row_bytes = row_bytes,
                                   .dst = bytes,
                                   .solution = &solution};
        assert_int_equal(opt_quant_rtn.solve(ctx, &job, NULL), OPT_OK);
        for (int64_t row = 0; row < CASE_ROWS; row++) {
            f->decode(f, k, bytes + (size_t)row * row_bytes, t.values + row * CASE_COLS, CASE_COLS);
            opt_signround_begin(&t, row, c->w + row * CASE_COLS, 0.05F);
        }
        for (int step = 0; step <= STEPS; step++) {
            if (step == STEPS) {
                for (int64_t row = 0; row < CASE_ROWS; row++) {
                    opt_signround_finish(&t, row);
                }
            }
            for (int64_t j = 0; j < CASE_ROWS * CASE_COLS; j++) {
                d[j] = c->w[j] - t.values[j];
            }
            const double e = opt_hessian_energy(h, k, d, CASE_ROWS, g, NULL);
            energy[0] = step == 0 ? e : energy[0];
            energy[1] = e;
            for (int64_t j = 0; j < CASE_ROWS * CASE_COLS; j++) {
                t.grads[j] = -2.0F * g[j];
            }
            const float rate = (1.0F - (float)step / STEPS) / STEPS;
            opt_signround_step(&t, 0, CASE_ROWS, (opt_signround_rates){rate, 0.1F * rate});
        }
        if (!(energy[1] < 0.7 * energy[0])) {
            fail_msg("%s: error %g, was %g", names[i], energy[1], energy[0]);
        }
        opt_signround_free(ctx, &t);
        opt_hessian_free(h);
        free(bytes);
        free(c);
        opt_ctx_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signround__without_a_gradient_nothing_moves),
        cmocka_unit_test(test_signround__levels_are_the_grid),
        cmocka_unit_test(test_signround__moves_against_the_gradient),
        cmocka_unit_test(test_signround__lowers_the_objective),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
