/** Reference decoders of the 4-bit floating-point types with block scales. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/half.h"

/* E2M1 doubled, so that all values are integers; the scales below are halved in return. */
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/** Half of the power of two 2^(e - 127); the two smallest are subnormal. */
static float e8m0_half(uint8_t e) {
    return optk_bits_f32(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

/** Half of an unsigned E4M3 number; the code 0x7f (NaN) counts as zero, the top bit is ignored
 * otherwise. */
static float ue4m3_half(uint8_t b) {
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

void optk_decode_mxfp4__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_mxfp4 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = e8m0_half(b->e);
        for (int j = 0; j < 16; j++) {
            dst[i + j] = d * (float)e2m1_doubled[b->qs[j] & 15];
            dst[i + j + 16] = d * (float)e2m1_doubled[b->qs[j] >> 4];
        }
    }
}

void optk_decode_nvfp4__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_nvfp4 *b = src;
    for (int64_t i = 0; i < n; i += 64, b++) {
        for (int g = 0; g < 4; g++) {
            const float d = ue4m3_half(b->d[g]);
            for (int j = 0; j < 8; j++) {
                const uint8_t q = b->qs[g * 8 + j];
                dst[i + g * 16 + j] = d * (float)e2m1_doubled[q & 15];
                dst[i + g * 16 + j + 8] = d * (float)e2m1_doubled[q >> 4];
            }
        }
    }
}
