/**
 * The reference of the int8 path: one loop for all formats, which brings a function that reads a
 * group of a stored row. Included by the linear_i8_*_ref.c files.
 *
 * Where a stored scale is infinite or NaN, so are the results of its row; which of the two is left
 * open, as rows of instruction sets make scales in other ways.
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

/* An output while it is added up: first planes, and second planes of the current span. */
typedef struct sums {
    float first, low;
} sums;

/** Adds the second plane of part `part` (n elements) of group g of token t. Returns what the
 * offset is multiplied with for both planes. */
static inline float add_low(sums *s, const weights *w, const opt_act_i8 *x, int64_t t, int64_t g,
                            int part, int n, int q_sum) {
    const int8_t *q = x->q_low + t * x->n_padded + g * OPT_ACT_GROUP;
    const float scale = x->scale[t * (x->n_padded / OPT_ACT_GROUP) + g];
    int dot = 0, low_sum = 0;
    for (int i = part * n; i < (part + 1) * n; i++) {
        dot += (w->code[i] - w->offset) * q[i];
        low_sum += q[i];
    }
    s->low = fmaf((float)dot, w->d[part] * (scale * OPT_ACT_LOW_STEP), s->low);
    return opt_act_both_sums(scale, q_sum, low_sum);
}

/** Adds the parts of group g, in order, against token t. */
static inline void add_group(sums *s, const weights *w, const opt_act_i8 *x, int64_t t, int64_t g) {
    const int64_t group = t * (x->n_padded / OPT_ACT_GROUP) + g, at = group * OPT_ACT_GROUP;
    const float scale = x->scale[group];
    const int n = w->halves ? OPT_ACT_GROUP / 2 : OPT_ACT_GROUP;
    for (int part = 0; part < OPT_ACT_GROUP / n; part++) {
        int dot = 0;
        int q_sum = 0;
        for (int i = part * n; i < (part + 1) * n; i++) {
            dot += (w->code[i] - w->offset) * x->q[at + i];
            q_sum += x->q[at + i];
        }
        float scaled_sum = scale * (float)q_sum;
        if (opt_act_has_low(x, t, g)) {
            scaled_sum = add_low(s, w, x, t, g, part, n, q_sum);
        }
        s->first = fmaf((float)dot, w->d[part] * scale, s->first);
        s->first = w->has_min ? fmaf(w->m[part], scaled_sum, s->first) : s->first;
    }
}

/** Adds up both sums where a span ends: behind group g of n. */
static inline void end_group(sums *s, const opt_act_i8 *x, int64_t g, int64_t n) {
    if (x->low != NULL && ((g + 1) % OPT_ACT_LOW_SPAN == 0 || g + 1 == n)) {
        *s = (sums){.first = s->first + s->low};
    }
}

/** One output: the row's groups in increasing order against token t. */
static inline float dot_row(const opt_kspec *s, read_fn *read, const void *row, const opt_act_i8 *x,
                            int64_t t, int64_t k) {
    const int64_t n = opt_ceil_div(k, OPT_ACT_GROUP);
    sums sum = {0};
    for (int64_t g = 0; g < n; g++) {
        weights w = {0};
        read(s, row, g, &w);
        add_group(&sum, &w, x, t, g);
        end_group(&sum, x, g, n);
    }
    return sum.first;
}

/** The same for one row of a run. */
static inline float dot_run(const opt_kspec *s, read_fn *read, const uint8_t *run, int row,
                            const opt_act_i8 *x, int64_t t, int64_t k) {
    uint8_t block[OPT_RUN_BLOCK_BYTES];
    const int64_t n_in_block = s->group / OPT_ACT_GROUP;
    sums sum = {0};
    for (int64_t g = 0; g < k / OPT_ACT_GROUP; g++) {
        weights w = {0};
        if (g % n_in_block == 0) {
            opt_run_take(s, run, row, g / n_in_block, 1, block);
        }
        read(s, block, g % n_in_block, &w);
        add_group(&sum, &w, x, t, g);
        end_group(&sum, x, g, k / OPT_ACT_GROUP);
    }
    return sum.first;
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
