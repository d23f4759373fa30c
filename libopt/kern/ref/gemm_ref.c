/* Reference rows of the matrix products and of sums of rows: double accumulation, written for
 * reading. */
#include "kern/rows.h"

void optk_gemm_add_f32__ref(const float *a, int64_t a_row, int64_t a_col, const float *b,
                            int64_t ldb, float *y, int64_t ldy, int64_t n_rows, int64_t n_cols,
                            int64_t k) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c = 0; c < n_cols; c++) {
            double sum = (double)y[r * ldy + c];
            for (int64_t i = 0; i < k; i++) {
                sum += (double)a[r * a_row + i * a_col] * (double)b[i * ldb + c];
            }
            y[r * ldy + c] = (float)sum;
        }
    }
}

void optk_gemm_sub_f64__ref(const double *a, int64_t a_row, int64_t a_col, const double *b,
                            int64_t ldb, double *y, int64_t ldy, int64_t n_rows, int64_t n_cols,
                            int64_t k) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t i = 0; i < k; i++) {
            const double ai = a[r * a_row + i * a_col];
            for (int64_t c = 0; c < n_cols; c++) {
                y[r * ldy + c] -= ai * b[i * ldb + c];
            }
        }
    }
}

void optk_add_rows__ref(float *y, int64_t n, const float *a, const int32_t *idx, int64_t n_terms,
                        const float *x, int64_t ldx) {
    for (int64_t c = 0; c < n; c++) {
        double sum = (double)y[c];
        for (int64_t i = 0; i < n_terms; i++) {
            sum += (double)a[i] * (double)x[idx[i] * ldx + c];
        }
        y[c] = (float)sum;
    }
}
