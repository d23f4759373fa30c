/** The scale of a run of int8 activations, for the reference rows. */
#ifndef OPT_KERN_REF_ACT_REF_H
#define OPT_KERN_REF_ACT_REF_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "kern/act.h"

/** Scale of x [n] to *scale: a 127th of the largest magnitude, zero for small ones, NaN if x holds
 * an infinity or a NaN. Returns what x is multiplied by before it is rounded; 0: every integer is
 * 0. */
static inline float optk_act_scale(const float *x, int64_t n, float *scale) {
    float max = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        finite = finite && magnitude <= OPT_ACT_LARGEST; /* false for NaN */
        max = magnitude > max ? magnitude : max;
    }
    const bool zero = !finite || max < OPT_ACT_TINY;
    *scale = finite ? (zero ? 0.0f : max / 127.0f) : NAN;
    return zero ? 0.0f : 127.0f / max;
}

#endif
