/* Reference rows of the linear layers: double accumulation, written for reading. */
#include "kern/rows.h"

void optk_linear_f32__ref(const float *w, int64_t ldw, const float *x, int64_t ldx, float *y,
                          int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t r = 0; r < n_rows; r++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++) {
                sum += (double)w[r * ldw + i] * (double)x[t * ldx + i];
            }
            y[t * ldy + r] = (float)sum;
        }
    }
}
