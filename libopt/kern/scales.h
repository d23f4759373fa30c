/**
 * How blocks store quantized scales and levels: the small decoders that the decode and linear rows
 * share. Inline, so that each instruction set compiles its own.
 */
#ifndef OPT_KERN_SCALES_H
#define OPT_KERN_SCALES_H

#include "kern/blocks.h"
#include "kern/half.h"

/** E2M1 doubled, so that all values are integers; the scales of mxfp4 and nvfp4 are halved in
 * return. */
static const int8_t optk_e2m1_doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                             0, -1, -2, -3, -4, -6, -8, -12};

/*
 * Levels that are no small integers are multiplied as integers of 16 bits, which the int8 path
 * reads as two planes of bytes. A level is that many OPTK_..._UNIT; stored are codes that are not
 * negative, above which OPTK_CODE16_OFFSET is.
 */
#define OPTK_CODE16_OFFSET 32768
/** Of nf4: 32767 parts of the largest level, to nearest. */
#define OPTK_NF4_UNIT (1.0f / 32767.0f)
static const int16_t optk_nf4_code16[16] = {-32767, -22812, -17205, -12940, -9320, -6054,
                                            -2983,  0,      2608,   5273,   8064,  11072,
                                            14441,  18435,  23689,  32767};
/** Of E4M3: 64th parts, so that all numbers from 1/8 on are exact; smaller ones are cut off. */
#define OPTK_FP8_UNIT 0x1p-6f
/** 0x7f and 0xff, which stand for NaN and are never written, count as 480. */
static inline int optk_fp8_code16(uint8_t b) {
    const int exponent = b >> 3 & 15;
    const int magnitude = exponent == 0 ? 0 : (8 + (b & 7)) << exponent >> 4;
    return b & 0x80 ? -magnitude : magnitude;
}

/** Half of the power of two 2^(e - 127); the two smallest are subnormal. */
static inline float optk_e8m0_half(uint8_t e) {
    return optk_bits_f32(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

/** Half of an unsigned E4M3 number; the code 0x7f (NaN) counts as zero, the top bit is ignored
 * otherwise. */
static inline float optk_ue4m3_half(uint8_t b) {
    const int exponent = b >> 3 & 15;
    const int mantissa = b & 7;
    if (b == 0x7f) {
        return 0.0f;
    }
    if (exponent == 0) {
        return (float)mantissa * 0x1p-10f;
    }
    return (1.0f + (float)mantissa / 8.0f) * optk_bits_f32((uint32_t)(exponent - 8 + 127) << 23);
}

/** The g-th 6-bit scale of q3_k: low nibbles in bytes 0-7, pairs of high bits in bytes 8-11. */
static inline int optk_scale_q3(const uint8_t *scales, int g) {
    const int low = scales[g % 8] >> (g / 8 * 4) & 15;
    const int high = scales[8 + g % 4] >> (g / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

/** The g-th 6-bit scale and minimum of q4_k and q5_k, times those of the block. */
static inline void optk_scale_min_k(const uint8_t *p, int g, float d, float dmin, float *scale,
                                    float *min) {
    int sc = p[g % 4] & 63;
    int m = p[4 + g % 4] & 63;
    if (g >= 4) {
        sc = (p[4 + g] & 15) | p[g - 4] >> 6 << 4;
        m = p[4 + g] >> 4 | p[g] >> 6 << 4;
    }
    *scale = d * (float)sc;
    *min = dmin * (float)m;
}

/** The g-th 6-bit scale of iq4_xs. */
static inline int optk_scale_iq4_xs(const optk_iq4_xs *b, int g) {
    const int low = b->scales_l[g / 2] >> (g % 2 * 4) & 15;
    return (low | (opt_rd_u16le(b->scales_h) >> (2 * g) & 3) << 4) - 32;
}

#endif
