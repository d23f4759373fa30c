/* Reference rows of the product of bf16 pairs: double accumulation, written for reading. */
#include "kern/half.h"
#include "kern/rows.h"

static double first_of(int32_t pair) {
    return (double)optk_bf16_to_f32((uint16_t)((uint32_t)pair & 0xffffu));
}
static double second_of(int32_t pair) {
    return (double)optk_bf16_to_f32((uint16_t)((uint32_t)pair >> 16));
}

void optk_gemm_bf16__ref(const opt_bf16 *a, const opt_bf16 *b, float *y, int64_t ldy,
                         int64_t n_rows, int64_t n_cols, int64_t k) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c = 0; c < n_cols; c++) {
            double sum = 0.0;
            for (int64_t p = 0; p < k / 2; p++) {
                const int32_t ap = a->pairs[r * a->row + p * a->step];
                const int32_t bp = b->pairs[c * b->row + p * b->step];
                sum += first_of(ap) * first_of(bp) + second_of(ap) * second_of(bp);
            }
            y[r * ldy + c] = (float)sum;
        }
    }
}
