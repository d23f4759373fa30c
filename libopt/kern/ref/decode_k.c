/** Reference decoders of ggml's K types: super-blocks of 256 with quantized group scales. */
#include "kern/rows.h"

#include "kern/scales.h"

void optk_decode_q2_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q2_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        const float dmin = optk_ld_f16(b->dmin);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const uint8_t scale = b->scales[j / 16];
            const int q = b->qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
            dst[i + j] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
        }
    }
}

void optk_decode_q3_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q3_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const int low = b->qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
            const int high = b->hmask[j % 32] >> (j / 32) & 1;
            dst[i + j] = d * (float)optk_scale_q3(b->scales, j / 16) * (float)(low - 4 + 4 * high);
        }
    }
}

void optk_decode_q4_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q4_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        const float dmin = optk_ld_f16(b->dmin);
        for (int g = 0; g < 8; g++) {
            float scale, min;
            optk_scale_min_k(b->scales, g, d, dmin, &scale, &min);
            for (int j = 0; j < 32; j++) {
                const int q = b->qs[g / 2 * 32 + j] >> (g % 2 * 4) & 15;
                dst[i + g * 32 + j] = scale * (float)q - min;
            }
        }
    }
}

void optk_decode_q5_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q5_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        const float dmin = optk_ld_f16(b->dmin);
        for (int g = 0; g < 8; g++) {
            float scale, min;
            optk_scale_min_k(b->scales, g, d, dmin, &scale, &min);
            for (int j = 0; j < 32; j++) {
                const int low = b->qs[g / 2 * 32 + j] >> (g % 2 * 4) & 15;
                const int high = b->qh[j] >> g & 1;
                dst[i + g * 32 + j] = scale * (float)(low | high << 4) - min;
            }
        }
    }
}

void optk_decode_q6_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q6_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const int half = j / 128;
            const int low = b->ql[half * 64 + j % 64] >> (j % 128 / 64 * 4) & 15;
            const int high = b->qh[half * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
            const int8_t scale = b->scales[j / 16];
            dst[i + j] = d * (float)scale * (float)((low | high << 4) - 32);
        }
    }
}

void optk_decode_q8_k__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_q8_k *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_bits_f32(opt_rd_u32le(b->d));
        for (int j = 0; j < OPTK_SUPER; j++) {
            dst[i + j] = d * (float)b->qs[j];
        }
    }
}
