/* Checks of attention over f32 and half-precision keys and values. */
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

/** Arrays of one case; halves are NULL for f32. */
typedef struct attend_data {
    float *q;
    float *k;
    float *v;
    uint16_t *k16;
    uint16_t *v16;
    int64_t k_stride;
    int64_t v_stride;
} attend_data;

static void halve(float *x, uint16_t *h, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        h[i] = optk_f32_to_f16(x[i]);
        x[i] = optk_f16_to_f32(h[i]);
    }
}

static attend_data make_data(const attend_case *c, bool half) {
    const int64_t n_keys = c->n_keys + (c->n - 1) * c->n_more;
    attend_data t = {.k_stride = c->d + c->gap, .v_stride = c->d_v + c->gap};
    const int64_t nk = extent(n_keys, t.k_stride, c->d);
    const int64_t nv = extent(n_keys, t.v_stride, c->d_v);
    t.q = normals(extent(c->n, c->d + c->gap, c->d), 1);
    t.k = normals(nk, 2);
    t.v = normals(nv, 3);
    if (half) {
        t.k16 = exact(nk, sizeof *t.k16);
        t.v16 = exact(nv, sizeof *t.v16);
        halve(t.k, t.k16, nk);
        halve(t.v, t.v16, nv);
    }
    return t;
}

static void free_data(attend_data *t) {
    free(t->q);
    free(t->k);
    free(t->v);
    free(t->k16);
    free(t->v16);
}

/** A row under test: one of both functions is NULL. */
typedef struct attend_row {
    opt_kern_attend_f32_fn *f32;
    opt_kern_attend_f16_fn *f16;
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
    attend_data t = make_data(c, row->f16 != NULL);
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
    const attend_row tested = {fn, NULL, row->name};
    const attend_row ref = {row->ref->attend_f32, NULL, row->name};
    for (int i = 0; i < N_CASES; i++) {
        check_case(&tested, &ref, &cases[i]);
    }
    check_known(fn);
}

void check_attend_f16(opt_kern_attend_f16_fn *fn, const row_info *row) {
    const attend_row tested = {NULL, fn, row->name};
    const attend_row ref = {NULL, row->ref->attend_f16, row->name};
    for (int i = 0; i < N_CASES; i++) {
        check_case(&tested, &ref, &cases[i]);
    }
}
