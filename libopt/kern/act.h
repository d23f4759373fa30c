/**
 * Constants of the int8 activations (opt_act_i8) that all rows of quantize_act and linear_i8 share.
 */
#ifndef OPT_KERN_ACT_H
#define OPT_KERN_ACT_H

#include <float.h>

#include "base/num.h"
#include "kern/kern.h"

#define OPT_ACT_GROUP 32        /* elements that share a scale */
#define OPT_ACT_PAD 64          /* rows are padded to a multiple of this */
#define OPT_ACT_TINY 0x1p-100f  /* groups below it count as zero, so that 127 / max stays finite */
#define OPT_ACT_LARGEST FLT_MAX /* groups above it hold an infinity or a NaN */

#define OPT_ACT_LOW_STEP 0x1p-8f /* of a second plane, in steps of the first */
#define OPT_ACT_LOW_WORD 16      /* groups of a word of opt_act_i8.low */
#define OPT_ACT_LOW_SPAN 256     /* groups whose second planes make one sum */

/** Words of opt_act_i8.low for a row. */
static inline int64_t opt_act_low_words(int64_t n_padded) {
    return opt_ceil_div(n_padded, OPT_ACT_GROUP * OPT_ACT_LOW_WORD);
}

/** Which of groups 16 w .. of token t have a second plane. */
static inline uint32_t opt_act_low(const opt_act_i8 *x, int64_t t, int64_t w) {
    return x->low == NULL ? 0 : x->low[t * opt_act_low_words(x->n_padded) + w];
}
static inline bool opt_act_has_low(const opt_act_i8 *x, int64_t t, int64_t g) {
    return (opt_act_low(x, t, g / OPT_ACT_LOW_WORD) >> g % OPT_ACT_LOW_WORD & 1) != 0;
}

/** Which of groups [g0, g0 + n) of token t have a second plane; they lie in one word. */
static inline uint32_t opt_act_low_groups(const opt_act_i8 *x, int64_t t, int64_t g0, int64_t n) {
    return opt_act_low(x, t, g0 / OPT_ACT_LOW_WORD) >> g0 % OPT_ACT_LOW_WORD & ((1U << n) - 1);
}

/** Sum of q_low over unit u (a group, or one of `units` parts of one) of token t. */
static inline int32_t opt_act_low_sum(const opt_act_i8 *x, int64_t t, int units, int64_t u) {
    const int16_t *sum = x->sum_low + t * (x->n_padded / 16);
    return units == 2 ? sum[u] : sum[2 * u] + sum[2 * u + 1];
}

/** What scaled_sum is of a unit whose planes have these sums. */
static inline float opt_act_both_sums(float scale, int32_t sum, int32_t low) {
    return scale * OPT_ACT_LOW_STEP * (float)(sum * 256 + low);
}

/** Tokens from t on. */
static inline opt_act_i8 opt_act_from(const opt_act_i8 *x, int64_t t) {
    const int64_t at = t * x->n_padded;
    opt_act_i8 out = {.q = x->q + at,
                      .scale = x->scale + at / OPT_ACT_GROUP,
                      .sum4 = x->sum4 + at / 4,
                      .scaled_sum = x->scaled_sum + at / OPT_ACT_GROUP,
                      .n_padded = x->n_padded};
    if (x->low != NULL) {
        out.low = x->low + t * opt_act_low_words(x->n_padded);
        out.q_low = x->q_low + at;
        out.sum_low = x->sum_low + at / 16;
    }
    return out;
}

#endif
