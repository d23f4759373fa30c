/**
 * Scalar conversions between float and its short forms, the same bits as the x86 conversion
 * instructions give.
 */
#ifndef OPT_KERN_HALF_H
#define OPT_KERN_HALF_H

#include <stdint.h>
#include <string.h>

#include "base/num.h"

static inline uint32_t optk_f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float optk_bits_f32(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/** Exact; a signalling NaN becomes quiet. */
static inline float optk_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = (h >> 10) & 31;
    const uint32_t mantissa = h & 1023;
    if (exponent == 0) { /* zero and subnormals: mantissa * 2^-24 is exact */
        const float magnitude = (float)mantissa * 0x1p-24f;
        return optk_bits_f32(sign | optk_f32_bits(magnitude));
    }
    if (exponent == 31) {
        return optk_bits_f32(sign | 0x7f800000u | (mantissa ? 0x400000u | mantissa << 13 : 0));
    }
    return optk_bits_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}

/** Rounds to nearest even; beyond the range to infinity. */
static inline uint16_t optk_f32_to_f16(float f) {
    const uint32_t u = optk_f32_bits(f);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    const uint32_t a = u & 0x7fffffff;
    if (a > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    }
    if (a >= 0x47800000) { /* 2^16 and above */
        return (uint16_t)(sign | 0x7c00);
    }
    if (a < 0x38800000) { /* below 2^-14: the sum's last bit weighs 2^-24, so that adding rounds */
        const float sum = optk_bits_f32(a) + 0.5f;
        return (uint16_t)(sign | (optk_f32_bits(sum) - 0x3f000000));
    }
    /* A carry out of the mantissa moves to the exponent, up to infinity, as it should. */
    const uint32_t rounded = a + 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
}

static inline float optk_bf16_to_f32(uint16_t h) { return optk_bits_f32((uint32_t)h << 16); }

/** Rounds to nearest even; a NaN becomes quiet. */
static inline uint16_t optk_f32_to_bf16(float f) {
    const uint32_t u = optk_f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(u >> 16 | 0x40);
    }
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/** E4M3 without infinities: bias 7, all ones is NaN (Micikevicius et al. 2022, table 1). */
static inline float optk_e4m3_to_f32(uint8_t b) {
    const uint32_t sign = (uint32_t)(b & 0x80) << 24;
    const uint32_t exponent = b >> 3 & 15;
    const uint32_t mantissa = b & 7;
    if ((b & 0x7f) == 0x7f) {
        return optk_bits_f32(sign | 0x7fc00000);
    }
    if (exponent == 0) {
        return optk_bits_f32(sign | optk_f32_bits((float)mantissa * 0x1p-9f));
    }
    return optk_bits_f32(sign | (exponent + 120) << 23 | mantissa << 20);
}

/** Loads and stores a half at any address. */
static inline float optk_ld_f16(const void *p) { return optk_f16_to_f32(opt_rd_u16le(p)); }
static inline void optk_st_f16(void *p, float f) { opt_wr_u16le(p, optk_f32_to_f16(f)); }

#endif
