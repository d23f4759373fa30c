/* Checks of the products of 16-bit block integers. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#define N_OF(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/** Around every edge of the tiles: 4 and 8 rows, bands of 24 and 48 columns, 4 groups. */
static const int64_t row_counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 17, 65};
static const int64_t col_counts[] = {1,  7,  8,  9,  15, 16, 17, 23, 24,
                                     25, 32, 33, 47, 48, 49, 64, 97};
static const int64_t group_counts[] = {1, 2, 3, 4, 5, 8, 9};

/** A side of a product as it is stored: rows one after the other, or columns of a matrix. */
typedef struct side {
    int32_t *pairs;
    float *scale;
    opt_i16 view;
} side;

static side rows_of(const opt_kern *ref, const float *x, int64_t n, int64_t k) {
    side s = {.pairs = exact(n * k / 2, sizeof *s.pairs),
              .scale = exact(n * k / 64, sizeof(float))};
    for (int64_t i = 0; i < n; i++) {
        ref->quantize_i16(x + i * k, k, k, s.pairs + i * k / 2, s.scale + i * k / 64);
    }
    s.view = (opt_i16){s.pairs, k / 2, 1, s.scale, k / 64, 1};
    return s;
}

static side columns_of(const opt_kern *ref, const float *x, int64_t n, int64_t k) {
    side s = {.pairs = exact(n * k / 2, sizeof *s.pairs),
              .scale = exact(n * k / 64, sizeof(float))};
    float *t = exact(n * k, sizeof *t);
    for (int64_t i = 0; i < n * k; i++) {
        t[i % k * n + i / k] = x[i];
    }
    ref->quantize_i16_columns(t, n, k, n, s.pairs, s.scale, n);
    s.view = (opt_i16){s.pairs, 1, n, s.scale, 1, n};
    free(t);
    return s;
}

static void free_side(side *s) {
    free(s->pairs);
    free(s->scale);
}

/** The reference itself against the numbers that were quantized. */
static void within_i16_bound(const float *a, const float *b, int64_t n_rows, int64_t n_cols,
                             int64_t k, const float *y) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c = 0; c < n_cols; c++) {
            double sum = 0.0;
            for (int64_t i = 0; i < k; i++) {
                sum += (double)a[r * k + i] * (double)b[c * k + i];
            }
            /* |a|, |b| < 6, each off by half a step, which is at most 8 * 6 / 46000: k such errors
             */
            const double bound = 2.0 * 36.0 * 8.0 / 46000.0 / 2.0 * (double)k;
            assert_close((double)y[r * n_cols + c], sum, bound, "gemm_i16__ref", c);
        }
    }
}

void check_gemm_i16(opt_kern_gemm_i16_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 170; i++) {
        const int64_t n_rows = row_counts[i * 3 % N_OF(row_counts)], ldy_gap = i % 3;
        const int64_t n_cols = col_counts[i % N_OF(col_counts)], ldy = n_cols + ldy_gap;
        const int64_t k = 64 * group_counts[i * 5 % N_OF(group_counts)];
        float *x = normals(n_rows * k, 1), *w = normals(n_cols * k, 2);
        for (int64_t j = 0; i == 3 && j < 128; j++) { /* the largest sums that a group can have */
            x[j % (n_rows * k)] = 5.0F;
            w[j % (n_cols * k)] = j < 64 ? 5.0F : -5.0F;
        }
        side a =
            i / 2 % 2 == 0 ? rows_of(row->ref, x, n_rows, k) : columns_of(row->ref, x, n_rows, k);
        side b = i % 2 == 0 ? rows_of(row->ref, w, n_cols, k) : columns_of(row->ref, w, n_cols, k);
        const int64_t ny = (n_rows - 1) * ldy + n_cols;
        float *y = integers(ny, 9, 3), *expected = copy_floats(y, ny);
        fn(&a.view, &b.view, y, ldy, n_rows, n_cols, k);
        row->ref->gemm_i16(&a.view, &b.view, expected, ldy, n_rows, n_cols, k);
        assert_same_floats(y, expected, ny, row->name);
        if (fn == row->ref->gemm_i16 && ldy_gap == 0) {
            within_i16_bound(x, w, n_rows, n_cols, k, y);
        }
        free(x);
        free(w);
        free(y);
        free(expected);
        free_side(&a);
        free_side(&b);
    }
}

static void odd_value(float *x, int64_t n, int64_t i) {
    static const float odd[] = {0.0F, -0.0F, 1e-40F, 3e38F, -3e38F, INFINITY, -INFINITY, NAN};
    if (i % 3 == 1) {
        x[i * 5 % n] = odd[i / 3 % 8];
    } else if (i % 6 == 2) {
        memset(x, 0, (size_t)n * sizeof *x);
    }
}

void check_quantize_i16(opt_kern_quantize_i16_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 200; i++) {
        const int64_t n = i < 150 ? i + 1 : 7 * i, n_padded = (n + 63) / 64 * 64 + i % 2 * 64;
        float *x = normals(n, (uint64_t)i);
        odd_value(x, n, i);
        int32_t *pairs = exact(n_padded / 2, sizeof *pairs), *expected = exact(n_padded / 2, 4);
        int16_t *q = exact(n_padded, sizeof *q);
        float *scale = exact(n_padded / 64, sizeof *scale), *scales = exact(n_padded / 64, 4);
        fn(x, n, n_padded, pairs, scale);
        memcpy(q, pairs, (size_t)n_padded * sizeof *q);
        row->ref->quantize_i16(x, n, n_padded, expected, scales);
        assert_memory_equal(pairs, expected, (size_t)n_padded * sizeof *q);
        assert_same_floats(scale, scales, n_padded / 64, row->name);
        for (int64_t j = 0; j < n_padded; j++) {
            const double step = (double)scale[j / 64];
            assert_true(q[j] >= -OPT_I16_MAX && q[j] <= OPT_I16_MAX);
            if (!isnan(step)) {
                assert_close(step * q[j], j < n ? (double)x[j] : 0.0, step * 0.501 + 0x1p-100,
                             row->name, j);
            }
        }
        free(x);
        free(pairs);
        free(q);
        free(expected);
        free(scale);
        free(scales);
    }
}

/** Columns are quantized as rows are. */
void check_quantize_i16_columns(opt_kern_quantize_i16_columns_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 60; i++) {
        const int64_t n_rows = 1 + i * 37 % 200, n_cols = 1 + i * 7 % 53, ld = n_cols + i % 2;
        const int64_t n_padded = (n_rows + 63) / 64 * 64, ldx = n_cols + i % 3;
        const int64_t n = (n_rows - 1) * ldx + n_cols;
        float *x = normals(n, (uint64_t)i), *column = exact(n_rows, sizeof *column);
        odd_value(x, n, i);
        int32_t *pairs = exact(n_padded / 2 * ld, sizeof *pairs);
        float *scale = exact(n_padded / 64 * ld, sizeof *scale), *scales = exact(n_padded / 64, 4);
        int32_t *q = exact(n_padded / 2, sizeof *q);
        fn(x, ldx, n_rows, n_cols, pairs, scale, ld);
        for (int64_t c = 0; c < n_cols; c++) {
            for (int64_t r = 0; r < n_rows; r++) {
                column[r] = x[r * ldx + c];
            }
            row->ref->quantize_i16(column, n_rows, n_padded, q, scales);
            for (int64_t p = 0; p < n_padded / 2; p++) {
                assert_int_equal(pairs[p * ld + c], q[p]);
            }
            for (int64_t g = 0; g < n_padded / 64; g++) {
                assert_same_floats(&scale[g * ld + c], &scales[g], 1, row->name);
            }
        }
        free(x);
        free(column);
        free(pairs);
        free(scale);
        free(scales);
        free(q);
    }
}
