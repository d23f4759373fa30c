/* Reference rows of what surrounds the linear layers in a decoder block: double accumulation,
 * written for reading. */
#include <math.h>

#include "kern/half.h"
#include "kern/rows.h"

void optk_rms_norm__ref(const float *x, const float *w, float *y, int64_t n, float eps) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    const double scale = 1.0 / sqrt(sum / (double)n + (double)eps);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)((double)x[i] * scale * (double)w[i]);
    }
}

void optk_rope__ref(float *x, const float *cos, const float *sin, int64_t n_rot, bool halves) {
    const int64_t n_pairs = n_rot / 2;
    for (int64_t i = 0; i < n_pairs; i++) {
        float *a = halves ? x + i : x + 2 * i;
        float *b = halves ? x + i + n_pairs : x + 2 * i + 1;
        const double a0 = (double)*a;
        const double b0 = (double)*b;
        *a = (float)(a0 * (double)cos[i] - b0 * (double)sin[i]);
        *b = (float)(a0 * (double)sin[i] + b0 * (double)cos[i]);
    }
}

void optk_swiglu__ref(const float *gate, const float *up, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double z = (double)gate[i];
        y[i] = (float)(z / (1.0 + exp(-z)) * (double)up[i]);
    }
}

void optk_add__ref(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

void optk_f32_to_f16__ref(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = optk_f32_to_f16(x[i]);
    }
}

double optk_logsumexp__ref(const float *x, int64_t n, int64_t *argmax) {
    int64_t best = -1;
    bool has_nan = false;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            has_nan = true;
        } else if (best < 0 || x[i] > x[best]) {
            best = i;
        }
    }
    if (argmax != NULL) {
        *argmax = best < 0 ? 0 : best;
    }
    if (has_nan || isinf(x[best])) { /* the differences below would be NaN */
        return has_nan ? (double)NAN : (double)x[best];
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - (double)x[best]);
    }
    return (double)x[best] + log(sum);
}
