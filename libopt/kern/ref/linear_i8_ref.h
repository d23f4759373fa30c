/**
 * The reference of the int8 path: one loop for all formats, which brings a function that reads a
 * group of a stored row. Included by the linear_i8_*_ref.c files.
 */
#ifndef OPT_KERN_REF_LINEAR_I8_H
#define OPT_KERN_REF_LINEAR_I8_H

#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/interleave.h"
#include "kern/ref/iq_tables.h"
#include "kern/rows.h"
#include "kern/scales.h"

/**
 * The part of a row that is multiplied with one group of activations: w[i] = d (code[i] - offset) +
 * m. Where scales belong to 16 elements, the group has two parts with a d and an m each.
 */
typedef struct weights {
    int code[OPT_ACT_GROUP];
    int offset;
    bool has_min;
    bool halves; /* two parts of 16, otherwise one of 32 */
    float d[2];
    float m[2];
} weights;

/** Reads group g (elements 32 g .. 32 g + 31) of a stored row. */
typedef void read_fn(const opt_kspec *s, const void *row, int64_t g, weights *out);

/** Adds the parts of group g, in order, against token t. */
static inline float add_group(float sum, const weights *w, const opt_act_i8 *x, int64_t t,
                              int64_t g) {
    const int8_t *q = x->q + t * x->n_padded + g * OPT_ACT_GROUP;
    const float scale = x->scale[t * (x->n_padded / OPT_ACT_GROUP) + g];
    const int n = w->halves ? OPT_ACT_GROUP / 2 : OPT_ACT_GROUP;
    for (int part = 0; part < OPT_ACT_GROUP / n; part++) {
        int dot = 0;
        int q_sum = 0;
        for (int i = part * n; i < (part + 1) * n; i++) {
            dot += (w->code[i] - w->offset) * q[i];
            q_sum += q[i];
        }
        sum = fmaf((float)dot, w->d[part] * scale, sum);
        sum = w->has_min ? fmaf(w->m[part], scale * (float)q_sum, sum) : sum;
    }
    return sum;
}

/** One output: the row's groups in increasing order against token t. */
static inline float dot_row(const opt_kspec *s, read_fn *read, const void *row, const opt_act_i8 *x,
                            int64_t t, int64_t k) {
    float sum = 0;
    for (int64_t g = 0; g < opt_ceil_div(k, OPT_ACT_GROUP); g++) {
        weights w = {0};
        read(s, row, g, &w);
        sum = add_group(sum, &w, x, t, g);
    }
    return sum;
}

/** The same for one row of a run. */
static inline float dot_run(const opt_kspec *s, read_fn *read, const uint8_t *run, int row,
                            const opt_act_i8 *x, int64_t t, int64_t k) {
    uint8_t block[OPT_RUN_BLOCK_BYTES];
    const int64_t n_in_block = s->group / OPT_ACT_GROUP;
    float sum = 0;
    for (int64_t g = 0; g < k / OPT_ACT_GROUP; g++) {
        weights w = {0};
        if (g % n_in_block == 0) {
            opt_run_take(s, run, row, g / n_in_block, 1, block);
        }
        read(s, block, g % n_in_block, &w);
        sum = add_group(sum, &w, x, t, g);
    }
    return sum;
}

#define LINEAR_RUN(name)                                                                           \
    void optk_linear_run_##name##__ref(const opt_kspec *s, const void *w, size_t row_bytes,        \
                                       const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows, \
                                       int64_t n_tokens, int64_t k) {                              \
        for (int64_t t = 0; t < n_tokens; t++) {                                                   \
            for (int64_t r = 0; r < n_rows; r++) {                                                 \
                const int row = (int)(r % OPT_RUN_ROWS);                                           \
                const uint8_t *run = (const uint8_t *)w + (size_t)(r - row) * row_bytes;           \
                y[t * ldy + r] = dot_run(s, read_##name, run, row, x, t, k);                       \
            }                                                                                      \
        }                                                                                          \
    }

#define LINEAR_I8(name)                                                                            \
    void optk_linear_i8_##name##__ref(const opt_kspec *s, const void *w, size_t row_bytes,         \
                                      const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,  \
                                      int64_t n_tokens, int64_t k) {                               \
        for (int64_t t = 0; t < n_tokens; t++) {                                                   \
            for (int64_t r = 0; r < n_rows; r++) {                                                 \
                const uint8_t *row = (const uint8_t *)w + (size_t)r * row_bytes;                   \
                y[t * ldy + r] = dot_row(s, read_##name, row, x, t, k);                            \
            }                                                                                      \
        }                                                                                          \
    }

#endif
