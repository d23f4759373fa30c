/* Reference rows of the product of 16-bit block integers. */
#include <math.h>

#define ROWS_NAME optk_quantize_i16__ref
#define COLUMNS_NAME optk_quantize_i16_columns__ref
#include "kern/quantize_i16.inc"

static int32_t low(int32_t pair) { return (int16_t)((uint32_t)pair & 0xffffu); }
static int32_t high(int32_t pair) { return (int16_t)((uint32_t)pair >> 16); }

void optk_gemm_i16__ref(const opt_i16 *a, const opt_i16 *b, float *y, int64_t ldy, int64_t n_rows,
                        int64_t n_cols, int64_t k) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c = 0; c < n_cols; c++) {
            float sum = 0.0f;
            for (int64_t g = 0; g < k / OPT_I16_GROUP; g++) {
                int32_t group = 0;
                for (int64_t p = g * OPT_I16_GROUP / 2; p < (g + 1) * OPT_I16_GROUP / 2; p++) {
                    const int32_t ap = a->pairs[r * a->row + p * a->step];
                    const int32_t bp = b->pairs[c * b->row + p * b->step];
                    group += low(ap) * low(bp) + high(ap) * high(bp);
                }
                const float scale = a->scale[r * a->scale_row + g * a->scale_step] *
                                    b->scale[c * b->scale_row + g * b->scale_step];
                sum = fmaf((float)group, scale, sum);
            }
            y[r * ldy + c] = sum;
        }
    }
}
