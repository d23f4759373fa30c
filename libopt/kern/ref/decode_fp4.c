/** Reference decoders of the 4-bit floating-point types with block scales. */
#include "kern/rows.h"

#include "kern/scales.h"

void optk_decode_mxfp4__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_mxfp4 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_e8m0_half(b->e);
        for (int j = 0; j < 16; j++) {
            dst[i + j] = d * (float)optk_e2m1_doubled[b->qs[j] & 15];
            dst[i + j + 16] = d * (float)optk_e2m1_doubled[b->qs[j] >> 4];
        }
    }
}

void optk_decode_nvfp4__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_nvfp4 *b = src;
    for (int64_t i = 0; i < n; i += 64, b++) {
        for (int g = 0; g < 4; g++) {
            const float d = optk_ue4m3_half(b->d[g]);
            for (int j = 0; j < 8; j++) {
                const uint8_t q = b->qs[g * 8 + j];
                dst[i + g * 16 + j] = d * (float)optk_e2m1_doubled[q & 15];
                dst[i + g * 16 + j + 8] = d * (float)optk_e2m1_doubled[q >> 4];
            }
        }
    }
}
