/* Checks of attention over f32 and half-precision keys and values. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#include "kern/half.h"

typedef struct attend_case {
    int64_t n_keys;
    int64_t d;
    int64_t d_v;
    int64_t gap; /* between rows */
} attend_case;

static const attend_case cases[] = {
    {1, 64, 64, 0},    {2, 64, 64, 0},     {3, 8, 8, 0},       {4, 16, 16, 8},
    {5, 24, 24, 0},    {7, 32, 32, 64},    {15, 40, 40, 1},    {16, 48, 48, 0},
    {17, 64, 64, 128}, {31, 80, 80, 0},    {33, 96, 96, 3},    {63, 100, 100, 0},
    {64, 112, 112, 0}, {65, 128, 128, 64}, {100, 160, 160, 0}, {129, 192, 128, 0},
    {70, 256, 256, 0}, {511, 64, 64, 0},   {512, 64, 64, 128}, {1000, 72, 33, 5},
    {6, 65, 63, 0},    {9, 1, 1, 0},       {10, 3, 129, 0},
};

#define N_CASES ((int)(sizeof cases / sizeof *cases))

static int64_t extent(int64_t n, int64_t stride, int64_t width) { return (n - 1) * stride + width; }

/** Weights are positive and sum to 1: the error is a few ulp of the largest |v| plus that of
 * scores. */
static void close_to(const float *out, const float *expected, const float *v, int64_t stride,
                     const attend_case *c, double score_size, const char *what) {
    for (int64_t i = 0; i < c->d_v; i++) {
        double size = 0;
        for (int64_t j = 0; j < c->n_keys; j++) {
            size = fmax(size, fabs((double)v[j * stride + i]));
        }
        const double bound = size * (16 + (double)c->n_keys / 8 + 4 * score_size) * 0x1p-24;
        assert_close((double)out[i], (double)expected[i], bound, what, i);
    }
}

/** Largest |scale * q k|, times the number of roundings of a dot product. */
static double size_of_scores(const float *q, const float *k, int64_t stride, const attend_case *c,
                             float scale) {
    double largest = 0;
    for (int64_t j = 0; j < c->n_keys; j++) {
        double size = 0;
        for (int64_t i = 0; i < c->d; i++) {
            size += fabs((double)q[i] * (double)k[j * stride + i]);
        }
        largest = fmax(largest, size * (double)scale);
    }
    return largest * ((double)c->d / 16 + 6);
}

static void halve(float *x, uint16_t *h, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        h[i] = optk_f32_to_f16(x[i]);
        x[i] = optk_f16_to_f32(h[i]);
    }
}

/* One of both functions is NULL. */
static void check_attend(opt_kern_attend_f32_fn *f32, opt_kern_attend_f16_fn *f16,
                         const row_info *row) {
    for (int n = 0; n < N_CASES; n++) {
        const attend_case *c = &cases[n];
        const float scale = 1.0f / sqrtf((float)c->d);
        const int64_t ks = c->d + c->gap;
        const int64_t vs = c->d_v + c->gap;
        const int64_t nk = extent(c->n_keys, ks, c->d);
        const int64_t nv = extent(c->n_keys, vs, c->d_v);
        float *q = normals(c->d, 1);
        float *k = normals(nk, 2);
        float *v = normals(nv, 3);
        uint16_t *k16 = exact(nk, sizeof *k16);
        uint16_t *v16 = exact(nv, sizeof *v16);
        float *scores = exact(c->n_keys, sizeof *scores);
        float *out = exact(c->d_v, sizeof *out);
        float *expected = exact(c->d_v, sizeof *out);
        if (f16 != NULL) {
            halve(k, k16, nk);
            halve(v, v16, nv);
            f16(q, k16, ks, v16, vs, c->n_keys, c->d, c->d_v, scale, scores, out);
        } else if (f32 != NULL) {
            f32(q, k, ks, v, vs, c->n_keys, c->d, c->d_v, scale, scores, out);
        }
        row->ref->attend_f32(q, k, ks, v, vs, c->n_keys, c->d, c->d_v, scale, scores, expected);
        close_to(out, expected, v, vs, c, size_of_scores(q, k, ks, c, scale), row->name);
        free(q);
        free(k);
        free(v);
        free(k16);
        free(v16);
        free(scores);
        free(out);
        free(expected);
    }
}

/** Equal scores give the plain mean, and one dominant key its value: known without a reference. */
static void check_known(opt_kern_attend_f32_fn *f32) {
    const float zero[4] = {0, 0, 0, 0};
    const float v[8] = {1, 2, 3, 4, 3, 6, 9, 12};
    const float mean[4] = {2, 4, 6, 8};
    float scores[2];
    float out[4];
    f32(zero, zero, 0, v, 4, 2, 4, 4, 1.0f, scores, out);
    assert_same_floats(out, mean, 4, "equal scores");
    const float q[4] = {100, 0, 0, 0};
    const float k[8] = {-100, 0, 0, 0, 100, 0, 0, 0};
    f32(q, k, 4, v, 4, 2, 4, 4, 1.0f, scores, out);
    assert_same_floats(out, v + 4, 4, "one dominant key");
    const float bad[4] = {NAN, 0, 0, 0};
    f32(bad, k, 4, v, 4, 2, 4, 4, 1.0f, scores, out);
    assert_true(isnan(out[0]) && isnan(out[3]));
}

void check_attend_f32(opt_kern_attend_f32_fn *fn, const row_info *row) {
    check_attend(fn, NULL, row);
    check_known(fn);
}

void check_attend_f16(opt_kern_attend_f16_fn *fn, const row_info *row) {
    check_attend(NULL, fn, row);
}
