/* Checks of attention over keys and values in f32, half precision and int8. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#include "kern/half.h"

typedef struct attend_case {
    int64_t n; /* queries */
    int64_t n_keys;
    int64_t n_more;
    int64_t d;
    int64_t d_v;
    int64_t gap; /* between rows */
} attend_case;

static const attend_case cases[] = {
    {1, 1, 0, 64, 64, 0},     {16, 1, 1, 64, 64, 0},    {2, 2, 1, 64, 64, 0},
    {3, 3, 0, 8, 8, 0},       {4, 4, 1, 16, 16, 8},     {5, 5, 0, 24, 24, 0},
    {6, 7, 1, 32, 32, 64},    {7, 15, 1, 40, 40, 1},    {8, 16, 0, 48, 48, 0},
    {9, 17, 1, 64, 64, 128},  {3, 31, 1, 80, 80, 0},    {2, 33, 0, 96, 96, 3},
    {3, 63, 0, 100, 100, 0},  {4, 64, 2, 112, 112, 0},  {1, 65, 0, 128, 128, 64},
    {5, 100, 3, 160, 160, 0}, {2, 129, 1, 192, 128, 0}, {3, 70, 1, 256, 256, 0},
    {17, 500, 1, 64, 64, 0},  {3, 512, 0, 64, 64, 128}, {2, 1000, 1, 72, 33, 5},
    {7, 6, 1, 65, 63, 0},     {4, 9, 1, 1, 1, 0},       {6, 10, 1, 3, 129, 0},
};

#define N_CASES ((int)(sizeof cases / sizeof *cases))

static int64_t extent(int64_t n, int64_t stride, int64_t width) { return (n - 1) * stride + width; }

/** Arrays of one case; k and v hold what the stored ones mean. */
typedef struct attend_data {
    float *q;
    float *k;
    float *v;
    uint16_t *k16;
    uint16_t *v16;
    int8_t *k8;
    int8_t *v8;
    float *k_scale;
    float *v_scale;
    int64_t k_stride;
    int64_t v_stride;
} attend_data;

static void halve(float *x, uint16_t *h, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        h[i] = optk_f32_to_f16(x[i]);
        x[i] = optk_f16_to_f32(h[i]);
    }
}

/** Rows of integers with the scales of the quantizer, which has a check of its own. */
static void to_int8(float *x, int8_t *q, float *scale, int64_t n_rows, int64_t stride, int64_t n) {
    for (int64_t j = 0; j < n_rows; j++) {
        scale[j] = 0.01f * (float)(1 + j % 7);
        for (int64_t i = 0; i < n; i++) {
            const long whole = lrintf(x[j * stride + i] * 40);
            q[j * stride + i] = (int8_t)(whole > 127 ? 127 : whole < -127 ? -127 : whole);
            x[j * stride + i] = scale[j] * (float)q[j * stride + i];
        }
    }
}

typedef enum store { STORE_F32, STORE_F16, STORE_I8 } store;

static attend_data make_data(const attend_case *c, store how) {
    const int64_t n_keys = c->n_keys + (c->n - 1) * c->n_more;
    attend_data t = {.k_stride = c->d + c->gap, .v_stride = c->d_v + c->gap};
    const int64_t nk = extent(n_keys, t.k_stride, c->d);
    const int64_t nv = extent(n_keys, t.v_stride, c->d_v);
    t.q = normals(extent(c->n, c->d + c->gap, c->d), 1);
    t.k = normals(nk, 2);
    t.v = normals(nv, 3);
    if (how == STORE_F16) {
        t.k16 = exact(nk, sizeof *t.k16);
        t.v16 = exact(nv, sizeof *t.v16);
        halve(t.k, t.k16, nk);
        halve(t.v, t.v16, nv);
    }
    if (how == STORE_I8) {
        t.k8 = exact(nk, 1);
        t.v8 = exact(nv, 1);
        t.k_scale = exact(n_keys, sizeof *t.k_scale);
        t.v_scale = exact(n_keys, sizeof *t.v_scale);
        to_int8(t.k, t.k8, t.k_scale, n_keys, t.k_stride, c->d);
        to_int8(t.v, t.v8, t.v_scale, n_keys, t.v_stride, c->d_v);
    }
    return t;
}

static void free_data(attend_data *t) {
    free(t->q);
    free(t->k);
    free(t->v);
    free(t->k16);
    free(t->v16);
    free(t->k8);
    free(t->v8);
    free(t->k_scale);
    free(t->v_scale);
}

/** A row under test: one of the functions is not NULL. */
typedef struct attend_row {
    opt_kern_attend_f32_fn *f32;
    opt_kern_attend_f16_fn *f16;
    opt_kern_attend_i8_fn *i8;
    const char *name;
} attend_row;

/** Runs queries [i, i + n) of a case with scratch of exactly the size that is asked for. */
static void run(const attend_row *row, const attend_case *c, const attend_data *t, int64_t i,
                int64_t n, float *out) {
    const int64_t n_keys = c->n_keys + i * c->n_more;
    const int64_t n_scratch = n < OPT_ATTEND_QUERIES ? n : OPT_ATTEND_QUERIES;
    const opt_queries s = {.n = n,
                           .q = t->q + i * (c->d + c->gap),
                           .out = out,
                           .q_stride = c->d + c->gap,
                           .out_stride = c->d_v + c->gap,
                           .n_keys = n_keys,
                           .n_more = c->n_more,
                           .scores =
                               exact(n_scratch * (n_keys + (n - 1) * c->n_more), sizeof(float))};
    const float scale = 1.0f / sqrtf((float)c->d);
    if (row->f32 != NULL) {
        row->f32(&s, t->k, t->k_stride, t->v, t->v_stride, c->d, c->d_v, scale);
    } else if (row->f16 != NULL) {
        row->f16(&s, t->k16, t->k_stride, t->v16, t->v_stride, c->d, c->d_v, scale);
    } else if (row->i8 != NULL) {
        const opt_rows_i8 k = {t->k8, t->k_stride, t->k_scale},
                          v = {t->v8, t->v_stride, t->v_scale};
        row->i8(&s, &k, &v, c->d, c->d_v, scale);
    } else {
        fail_msg("a row without a kernel");
    }
    free(s.scores);
}

/**
 * Bound of query i: weights are positive and sum to 1, so the error is a few ulp of the largest
 * |v|, plus that of the scores, which have d / 16 + 6 roundings.
 */
static double bound_of(const attend_case *c, const attend_data *t, int64_t i) {
    double value = 0;
    double score = 0;
    for (int64_t j = 0; j < c->n_keys + i * c->n_more; j++) {
        double size = 0;
        for (int64_t e = 0; e < c->d; e++) {
            size += fabs((double)t->q[i * (c->d + c->gap) + e] * (double)t->k[j * t->k_stride + e]);
        }
        score = fmax(score, size / sqrt((double)c->d) * ((double)c->d / 16 + 6));
        for (int64_t e = 0; e < c->d_v; e++) {
            value = fmax(value, fabs((double)t->v[j * t->v_stride + e]));
        }
    }
    return value * (16 + (double)(c->n_keys + i * c->n_more) / 8 + 4 * score) * 0x1p-24;
}

static void check_case(const attend_row *row, const attend_row *ref, const attend_case *c) {
    attend_data t = make_data(c, row->i8 != NULL    ? STORE_I8
                                 : row->f16 != NULL ? STORE_F16
                                                    : STORE_F32);
    const int64_t stride = c->d_v + c->gap;
    const int64_t n_out = extent(c->n, stride, c->d_v);
    float *out = integers(n_out, 100, 4); /* the gaps must stay as they are */
    float *expected = copy_floats(out, n_out);
    float *alone = exact(c->d_v, sizeof *alone);
    run(row, c, &t, 0, c->n, out);
    run(ref, c, &t, 0, c->n, expected);
    for (int64_t i = 0; i < c->n; i++) {
        const double bound = bound_of(c, &t, i);
        for (int64_t e = 0; e < (i + 1 < c->n ? stride : c->d_v); e++) {
            assert_close((double)out[i * stride + e], (double)expected[i * stride + e],
                         e < c->d_v ? bound : 0, row->name, i * stride + e);
        }
        run(row, c, &t, i, 1, alone);
        assert_same_floats(alone, out + i * stride, c->d_v, row->name);
    }
    free_data(&t);
    free(out);
    free(expected);
    free(alone);
}

/** Equal scores give the plain mean, and one dominant key its value: known without a reference. */
static void check_known(opt_kern_attend_f32_fn *f32) {
    const float zero[4] = {0, 0, 0, 0};
    const float v[8] = {1, 2, 3, 4, 3, 6, 9, 12};
    const float mean[4] = {2, 4, 6, 8};
    float scores[2];
    float out[4];
    opt_queries s = {.n = 1, .q = zero, .out = out, .n_keys = 2, .scores = scores};
    f32(&s, zero, 0, v, 4, 4, 4, 1.0f);
    assert_same_floats(out, mean, 4, "equal scores");
    const float q[4] = {100, 0, 0, 0};
    const float k[8] = {-100, 0, 0, 0, 100, 0, 0, 0};
    s.q = q;
    f32(&s, k, 4, v, 4, 4, 4, 1.0f);
    assert_same_floats(out, v + 4, 4, "one dominant key");
    const float bad[4] = {NAN, 0, 0, 0};
    s.q = bad;
    f32(&s, k, 4, v, 4, 4, 4, 1.0f);
    assert_true(isnan(out[0]) && isnan(out[3]));
}

void check_attend_f32(opt_kern_attend_f32_fn *fn, const row_info *row) {
    const attend_row tested = {.f32 = fn, .name = row->name};
    const attend_row ref = {.f32 = row->ref->attend_f32, .name = row->name};
    for (int i = 0; i < N_CASES; i++) {
        check_case(&tested, &ref, &cases[i]);
    }
    check_known(fn);
}

void check_attend_f16(opt_kern_attend_f16_fn *fn, const row_info *row) {
    const attend_row tested = {.f16 = fn, .name = row->name};
    const attend_row ref = {.f16 = row->ref->attend_f16, .name = row->name};
    for (int i = 0; i < N_CASES; i++) {
        check_case(&tested, &ref, &cases[i]);
    }
}

void check_attend_i8(opt_kern_attend_i8_fn *fn, const row_info *row) {
    const attend_row tested = {.i8 = fn, .name = row->name};
    const attend_row ref = {.i8 = row->ref->attend_i8, .name = row->name};
    for (int i = 0; i < N_CASES; i++) {
        check_case(&tested, &ref, &cases[i]);
    }
}

/** Quantizes x [n] with both rows, which must agree in every bit. */
static void check_row(opt_kern_quantize_row_fn *fn, const row_info *row, const float *x,
                      int64_t n) {
    int8_t *q = exact(n, 1), *expected = exact(n, 1);
    float scale = -1, expected_scale = -1;
    fn(x, n, q, &scale);
    row->ref->quantize_row(x, n, expected, &expected_scale);
    if (memcmp(q, expected, (size_t)n) != 0 || isnan(scale) != isnan(expected_scale) ||
        (!isnan(scale) && scale != expected_scale)) {
        fail_msg("%s: %d elements: other bits", row->name, (int)n);
    }
    for (int64_t i = 0; i < n && isfinite(scale); i++) { /* the nearest multiple of the scale */
        assert_true(fabs((double)x[i] - (double)scale * q[i]) <= 0.50001 * (double)scale + 1e-30);
    }
    free(q);
    free(expected);
}

void check_quantize_row(opt_kern_quantize_row_fn *fn, const row_info *row) {
    static const float special[] = {NAN, INFINITY, -INFINITY, 0x1p-101f, 0, 3e38f, -0.0f};
    for (int64_t n = 1; n <= 200; n += n < 70 ? 1 : 13) {
        float *x = normals(n, (uint64_t)n);
        check_row(fn, row, x, n);
        for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
            for (int64_t k = 0; k < n; k++) {
                x[k] = i >= 3 && i <= 4 ? special[i] : x[k];
            }
            x[(7 * n) % 11 % n] = special[i];
            check_row(fn, row, x, n);
        }
        free(x);
    }
}
