/* The check of the products of bf16 pairs. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#include "kern/half.h"

#define N_OF(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/** Around every edge of the tiles: 2, 8 and 32 rows, 24, 32 and 48 columns, 128 and 256 pairs. */
static const int64_t row_counts[] = {1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 65};
static const int64_t col_counts[] = {1,  7,  8,  9,  15, 16, 17, 23, 24,
                                     25, 31, 32, 33, 47, 48, 49, 97};
static const int64_t group_counts[] = {1, 2, 3, 7, 8, 9, 17};

/** n rows of k numbers as pairs, rows one after the other or elements of a step side by side, and
 * the numbers that they are. */
static int32_t *pairs_of(float *x, int64_t n, int64_t k, bool rows, opt_bf16 *view) {
    int32_t *pairs = exact(n * k / 2, sizeof *pairs);
    *view = rows ? (opt_bf16){pairs, k / 2, 1} : (opt_bf16){pairs, 1, n};
    for (int64_t i = 0; i < n * k; i += 2) {
        const uint16_t first = optk_f32_to_bf16(x[i]), second = optk_f32_to_bf16(x[i + 1]);
        x[i] = optk_bf16_to_f32(first);
        x[i + 1] = optk_bf16_to_f32(second);
        pairs[i / k * view->row + i % k / 2 * view->step] =
            (int32_t)(first | (uint32_t)second << 16);
    }
    return pairs;
}

/** One output alone gives the bits that all of them together gave. */
static void same_alone(opt_kern_gemm_bf16_fn *fn, const opt_bf16 *a, const opt_bf16 *b,
                       int64_t n_rows, int64_t n_cols, int64_t k, const float *y,
                       const char *what) {
    for (int64_t i = 0; i < n_rows * n_cols; i += 13) {
        const int64_t r = i / n_cols, c = i % n_cols;
        const opt_bf16 ar = {a->pairs + r * a->row, a->row, a->step};
        const opt_bf16 bc = {b->pairs + c * b->row, b->row, b->step};
        float one;
        fn(&ar, &bc, &one, 1, 1, 1, k);
        assert_same_floats(&one, &y[i], 1, what);
    }
}

void check_gemm_bf16(opt_kern_gemm_bf16_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 140; i++) {
        const int64_t n_rows = row_counts[i * 3 % N_OF(row_counts)];
        const int64_t n_cols = col_counts[i % N_OF(col_counts)];
        const int64_t k = OPT_BF16_GROUP * group_counts[i * 5 % N_OF(group_counts)];
        const bool exact_data = i % 4 == 3;
        float *x = exact_data ? integers(n_rows * k, 8, 1) : normals(n_rows * k, 1);
        float *w = exact_data ? integers(n_cols * k, 8, 2) : normals(n_cols * k, 2);
        opt_bf16 a, b;
        int32_t *a_pairs = pairs_of(x, n_rows, k, i / 2 % 2 == 0, &a);
        int32_t *b_pairs = pairs_of(w, n_cols, k, i % 2 == 0, &b);
        float *y = exact(n_rows * n_cols, sizeof *y), *expected = exact(n_rows * n_cols, sizeof *y);
        fn(&a, &b, y, n_cols, n_rows, n_cols, k);
        row->ref->gemm_bf16(&a, &b, expected, n_cols, n_rows, n_cols, k);
        for (int64_t at = 0; at < n_rows * n_cols; at++) {
            double size = 0.0;
            for (int64_t j = 0; j < k; j++) {
                size += fabs((double)x[at / n_cols * k + j] * (double)w[at % n_cols * k + j]);
            }
            assert_close((double)y[at], (double)expected[at],
                         exact_data ? 0.0 : size * (double)k * 0x1p-24, row->name, at);
        }
        if (!row->slow || i % 14 == 0) {
            same_alone(fn, &a, &b, n_rows, n_cols, k, y, row->name);
        }
        free(x);
        free(w);
        free(a_pairs);
        free(b_pairs);
        free(y);
        free(expected);
    }
}
