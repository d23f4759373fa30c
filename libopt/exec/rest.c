/*
 * What int8 leaves of activations with outliers. The step of a group is a 127th of its largest
 * magnitude, so one element far above the others takes their precision. A group with an element
 * above OUTLIER times the root mean square of its row gets a second int8 plane, of what the first
 * has left: 16 bits. Outliers are told by their magnitude as by Dettmers et al. 2022 (LLM.int8,
 * section 3.2), who keep whole columns of them in half precision.
 *
 * Which groups these are depends on the row alone, so a token gets the same bits in any company.
 */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "exec/session_impl.h"
#include "kern/act.h"

enum { LANES = 16 };

#define OUTLIER 7.0f

/* Sum of squares in a fixed order. */
static float square_sum(const float *x, int64_t n) {
    float lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += x[i + j] * x[i + j];
        }
    }
    for (int j = 0; i + j < n; j++) {
        lane[j] += x[i + j] * x[i + j];
    }
    for (int j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

/* Nearest even of a small number. */
static float nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* The second plane of n elements x of a group, which q has in steps of `scale`: low [32] and its
 * sums of 16. Returns scaled_sum for both planes. */
static float split(const float *x, int64_t n, float scale, const int8_t *q, int8_t *low,
                   int16_t *sum16) {
    const float inverse = 1.0f / (scale * OPT_ACT_LOW_STEP);
    int32_t sum = 0, sum_low[2] = {0};
    memset(low, 0, OPT_ACT_GROUP);
    for (int64_t i = 0; i < n; i++) {
        const float left = (x[i] - scale * (float)q[i]) * inverse;
        const float below = left > 127.0f ? 127.0f : left;
        low[i] = (int8_t)(int)nearest(below < -127.0f ? -127.0f : below);
    }
    for (int64_t i = 0; i < OPT_ACT_GROUP; i++) {
        sum += q[i];
        sum_low[i / 16] += low[i];
    }
    sum16[0] = (int16_t)sum_low[0];
    sum16[1] = (int16_t)sum_low[1];
    return opt_act_both_sums(scale, sum, sum_low[0] + sum_low[1]);
}

void opt_rest_split(const opt_act_buffer *act, int64_t t, const float *x, int64_t n,
                    int64_t n_padded) {
    const int64_t n_words = opt_act_low_words(n_padded), g0 = t * n_padded / OPT_ACT_GROUP;
    const float limit = OUTLIER * OUTLIER * (square_sum(x, n) / (float)n);
    uint16_t *low = act->low + t * n_words;
    memset(low, 0, (size_t)n_words * sizeof *low);
    for (int64_t g = 0; g < opt_ceil_div(n, OPT_ACT_GROUP); g++) {
        const float scale = act->scale[g0 + g], largest = 127.0f * scale;
        if (largest * largest > limit) { /* never of NaN */
            const int64_t i = g * OPT_ACT_GROUP, at = t * n_padded + i;
            low[g / OPT_ACT_LOW_WORD] |= (uint16_t)(1 << g % OPT_ACT_LOW_WORD);
            act->scaled_sum[g0 + g] = split(x + i, opt_min_i64(OPT_ACT_GROUP, n - i), scale,
                                            act->q + at, act->q_low + at, act->sum_low + at / 16);
        }
    }
}
