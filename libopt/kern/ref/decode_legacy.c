/** Reference decoders of ggml's types with one scale per 32 elements. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/half.h"

void optk_decode_q4_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q4_0 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 16; j++) {
            dst[i + j] = d * (float)((b->qs[j] & 15) - 8);
            dst[i + j + 16] = d * (float)((b->qs[j] >> 4) - 8);
        }
    }
}

void optk_decode_q4_1__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q4_1 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        const float m = optk_ld_f16(b->m);
        for (int j = 0; j < 16; j++) {
            dst[i + j] = d * (float)(b->qs[j] & 15) + m;
            dst[i + j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}

/** Code of element j of 32: four bits from qs, the fifth from qh. */
static int code5(const uint8_t *qs, uint32_t qh, int j) {
    const int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
    return low | (int)(qh >> j & 1) << 4;
}

void optk_decode_q5_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q5_0 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        const uint32_t qh = opt_rd_u32le(b->qh);
        for (int j = 0; j < 32; j++) {
            dst[i + j] = d * (float)(code5(b->qs, qh, j) - 16);
        }
    }
}

void optk_decode_q5_1__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q5_1 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        const float m = optk_ld_f16(b->m);
        const uint32_t qh = opt_rd_u32le(b->qh);
        for (int j = 0; j < 32; j++) {
            dst[i + j] = d * (float)code5(b->qs, qh, j) + m;
        }
    }
}

void optk_decode_q8_0__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q8_0 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 32; j++) {
            dst[i + j] = d * (float)b->qs[j];
        }
    }
}

void optk_decode_q8_1__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q8_1 *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 32; j++) {
            dst[i + j] = d * (float)b->qs[j];
        }
    }
}
