/** Reference decoders of types with one, one and a half and two bits: ternary, signs, and q2_0. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/half.h"

/**
 * Digit k (0: most significant) of a byte that holds a five-digit number of base 3 as a fraction of
 * 256: multiplying by 3^k modulo 256 moves the digit to the front, where times three, divided by
 * 256, reads it.
 */
static int digit3(uint8_t byte, int k) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    const uint8_t front = (uint8_t)(byte * pow3[k]);
    return (front * 3) >> 8;
}

void optk_decode_tq1_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_tq1_0 *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        float *y = dst + i;
        for (int j = 0; j < 160; j++) {
            y[j] = d * (float)(digit3(b->qs[j % 32], j / 32) - 1);
        }
        for (int j = 0; j < 80; j++) {
            y[160 + j] = d * (float)(digit3(b->qs[32 + j % 16], j / 16) - 1);
        }
        for (int j = 0; j < 16; j++) {
            y[240 + j] = d * (float)(digit3(b->qh[j % 4], j / 4) - 1);
        }
    }
}

void optk_decode_tq2_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_tq2_0 *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const int q = b->qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
            dst[i + j] = d * (float)(q - 1);
        }
    }
}

void optk_decode_q1_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q1_0 *b = src;
    for (int64_t i = 0; i < n; i += 128, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 128; j++) {
            dst[i + j] = (b->qs[j / 8] >> (j % 8) & 1) != 0 ? d : -d;
        }
    }
}

void optk_decode_q2_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q2_0 *b = src;
    for (int64_t i = 0; i < n; i += 64, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 64; j++) {
            const int q = b->qs[j / 4] >> (j % 4 * 2) & 3;
            dst[i + j] = d * (float)(q - 1);
        }
    }
}
