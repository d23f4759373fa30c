/* Reference rows of attention and of what it reads: double accumulation, written for reading. */
#include <math.h>

#include "kern/half.h"
#include "kern/ref/act_ref.h"
#include "kern/rows.h"

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

/** Keys or values: one of the three is not NULL; `scale` only with i8. */
typedef struct rows {
    const float *f32;
    const uint16_t *f16;
    const int8_t *i8;
    const float *scale;
    int64_t stride;
} rows;

/** Element i of row j. */
static double element(const rows *r, int64_t j, int64_t i) {
    const int64_t at = j * r->stride + i;
    if (r->i8 != NULL) {
        return (double)r->scale[j] * r->i8[at];
    }
    return r->f16 != NULL ? (double)optk_f16_to_f32(r->f16[at]) : (double)r->f32[at];
}

static void attend(const opt_queries *s, const rows *k, const rows *v, int64_t d, int64_t d_v,
                   float scale) {
    for (int64_t query = 0; query < s->n; query++) {
        const float *q = s->q + query * s->q_stride;
        const int64_t n_keys = s->n_keys + query * s->n_more;
        for (int64_t j = 0; j < n_keys; j++) {
            double dot = 0;
            for (int64_t i = 0; i < d; i++) {
                dot += (double)q[i] * element(k, j, i);
            }
            s->scores[j] = (float)(dot * (double)scale);
        }
        softmax(s->scores, n_keys);
        for (int64_t i = 0; i < d_v; i++) {
            double sum = 0;
            for (int64_t j = 0; j < n_keys; j++) {
                sum += (double)s->scores[j] * element(v, j, i);
            }
            s->out[query * s->out_stride + i] = (float)sum;
        }
    }
}

void optk_attend_f32__ref(const opt_queries *s, const float *k, int64_t k_stride, const float *v,
                          int64_t v_stride, int64_t d, int64_t d_v, float scale) {
    const rows keys = {.f32 = k, .stride = k_stride}, values = {.f32 = v, .stride = v_stride};
    attend(s, &keys, &values, d, d_v, scale);
}

void optk_attend_f16__ref(const opt_queries *s, const uint16_t *k, int64_t k_stride,
                          const uint16_t *v, int64_t v_stride, int64_t d, int64_t d_v,
                          float scale) {
    const rows keys = {.f16 = k, .stride = k_stride}, values = {.f16 = v, .stride = v_stride};
    attend(s, &keys, &values, d, d_v, scale);
}

void optk_attend_i8__ref(const opt_queries *s, const opt_rows_i8 *k, const opt_rows_i8 *v,
                         int64_t d, int64_t d_v, float scale) {
    const rows keys = {.i8 = k->x, .scale = k->scale, .stride = k->stride};
    const rows values = {.i8 = v->x, .scale = v->scale, .stride = v->stride};
    attend(s, &keys, &values, d, d_v, scale);
}

void optk_quantize_row__ref(const float *x, int64_t n, int8_t *q, float *scale) {
    const float inverse = optk_act_scale(x, n, scale);
    const bool zero = inverse == 0.0f;
    for (int64_t i = 0; i < n; i++) {
        q[i] = zero ? 0 : (int8_t)lrintf(x[i] * inverse);
    }
}
