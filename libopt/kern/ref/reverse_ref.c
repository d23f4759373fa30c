/* Reference rows of what the reverse pass needs: double accumulation, written for reading. */
#include <math.h>

#include "kern/rows.h"

void optk_swiglu_grad__ref(const float *gate, const float *up, const float *dy, float *d_gate,
                           float *d_up, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double z = (double)gate[i], s = 1.0 / (1.0 + exp(-z));
        const double d = (double)dy[i];
        d_gate[i] = (float)((double)d_gate[i] + d * (double)up[i] * s * (1.0 + z * (1.0 - s)));
        d_up[i] = (float)((double)d_up[i] + d * z * s);
    }
}

void optk_softmax__ref(float *x, int64_t n, float scale) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        max = fmax(max, (double)x[i] * (double)scale);
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp((double)x[i] * (double)scale - max);
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(exp((double)x[i] * (double)scale - max) / sum);
    }
}
