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

/** Turns scores [n] into softmax weights in place. */
static void softmax(float *scores, int64_t n) {
    double max = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        max = fmax(max, (double)scores[i]);
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += exp((double)scores[i] - max);
    }
    for (int64_t i = 0; i < n; i++) {
        scores[i] = (float)(exp((double)scores[i] - max) / sum);
    }
}

/** Element i of a key or value. */
static double element(bool half, const void *p, int64_t i) {
    return half ? (double)optk_f16_to_f32(((const uint16_t *)p)[i]) : (double)((const float *)p)[i];
}

static void attend(bool half, const opt_queries *s, const void *k, int64_t k_stride, const void *v,
                   int64_t v_stride, int64_t d, int64_t d_v, float scale) {
    for (int64_t query = 0; query < s->n; query++) {
        const float *q = s->q + query * s->q_stride;
        const int64_t n_keys = s->n_keys + query * s->n_more;
        for (int64_t j = 0; j < n_keys; j++) {
            double dot = 0;
            for (int64_t i = 0; i < d; i++) {
                dot += (double)q[i] * element(half, k, j * k_stride + i);
            }
            s->scores[j] = (float)(dot * (double)scale);
        }
        softmax(s->scores, n_keys);
        for (int64_t i = 0; i < d_v; i++) {
            double sum = 0;
            for (int64_t j = 0; j < n_keys; j++) {
                sum += (double)s->scores[j] * element(half, v, j * v_stride + i);
            }
            s->out[query * s->out_stride + i] = (float)sum;
        }
    }
}

void optk_attend_f32__ref(const opt_queries *s, const float *k, int64_t k_stride, const float *v,
                          int64_t v_stride, int64_t d, int64_t d_v, float scale) {
    attend(false, s, k, k_stride, v, v_stride, d, d_v, scale);
}

void optk_attend_f16__ref(const opt_queries *s, const uint16_t *k, int64_t k_stride,
                          const uint16_t *v, int64_t v_stride, int64_t d, int64_t d_v,
                          float scale) {
    attend(true, s, k, k_stride, v, v_stride, d, d_v, scale);
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
