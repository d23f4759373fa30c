/* Reference row of the activation quantizer. All arithmetic is single IEEE operations: fast rows
 * give the same bits. */
#include <math.h>

#include "base/num.h"
#include "kern/ref/act_ref.h"
#include "kern/rows.h"

/** Quantizes x [n], n <= 32, into one group whose rest is zero. */
static void quantize_group(const float *x, int64_t n, int8_t *q, float *scale, int16_t *sum4,
                           float *scaled_sum) {
    const float inverse = optk_act_scale(x, n, scale);
    const bool zero = inverse == 0.0f;
    int sum = 0;
    for (int64_t i = 0; i < OPT_ACT_GROUP; i++) {
        q[i] = i < n && !zero ? (int8_t)lrintf(x[i] * inverse) : 0;
        sum += q[i];
    }
    for (int64_t i = 0; i < OPT_ACT_GROUP / 4; i++) {
        sum4[i] = (int16_t)(q[4 * i] + q[4 * i + 1] + q[4 * i + 2] + q[4 * i + 3]);
    }
    *scaled_sum = *scale * (float)sum;
}

void optk_quantize_act__ref(const float *x, int64_t n, int64_t n_padded, int8_t *q, float *scale,
                            int16_t *sum4, float *scaled_sum) {
    for (int64_t i = 0; i < n_padded; i += OPT_ACT_GROUP) {
        const int64_t n_here = opt_max_i64(0, opt_min_i64(OPT_ACT_GROUP, n - i));
        const int64_t group = i / OPT_ACT_GROUP;
        quantize_group(x + opt_min_i64(i, n), n_here, q + i, scale + group, sum4 + i / 4,
                       scaled_sum + group);
    }
}
