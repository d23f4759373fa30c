/** Reference decoders of ggml's codebook types. The order of the float operations is part of the
 * format. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/scales.h"
#include "kern/ref/iq_tables.h"

static const uint8_t iq2_value[4] = {0x08, 0x19, 0x2b, 0};
static const uint8_t iq3_xxs_value[8] = {0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e};

/** The 8 signs of a 7-bit pattern: the eighth makes the number of minus signs even. */
static uint8_t sign_pattern(uint32_t bits) {
    const uint32_t low = bits & 127;
    uint32_t parity = low ^ low >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)(low | (parity & 1) << 7);
}

static float sign_of(uint8_t signs, int j) { return (signs >> j & 1) != 0 ? -1.0f : 1.0f; }

/** y[8] = scale * value of each 2-bit field of `entry` * its sign. */
static void vector_iq2(uint16_t entry, uint8_t signs, float scale, float *y) {
    for (int j = 0; j < 8; j++) {
        y[j] = scale * (float)iq2_value[entry >> (2 * j) & 3] * sign_of(signs, j);
    }
}

void optk_decode_iq2_xxs__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq2_xxs *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int g = 0; g < 8; g++) {
            const uint8_t *idx = b->qs + g * 8;
            const uint32_t gas = opt_rd_u32le(idx + 4);
            const float scale = d * (0.5f + (float)(gas >> 28)) * 0.25f;
            for (int v = 0; v < 4; v++) {
                vector_iq2(optk_iq2_xxs_grid[idx[v]], sign_pattern(gas >> (7 * v)), scale,
                           dst + i + g * 32 + v * 8);
            }
        }
    }
}

void optk_decode_iq2_xs__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq2_xs *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int v = 0; v < 32; v++) {
            const uint16_t q = opt_rd_u16le(b->qs + 2 * v);
            const int nibble = b->scales[v / 4] >> (v / 2 % 2 * 4) & 15;
            const float scale = d * (0.5f + (float)nibble) * 0.25f;
            vector_iq2(optk_iq2_xs_grid[q & 511], sign_pattern(q >> 9), scale, dst + i + v * 8);
        }
    }
}

void optk_decode_iq2_s__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq2_s *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int v = 0; v < 32; v++) {
            const int idx = b->qs[v] | (b->qh[v / 4] >> (v % 4 * 2) & 3) << 8;
            const int nibble = b->scales[v / 4] >> (v / 2 % 2 * 4) & 15;
            const float scale = d * (0.5f + (float)nibble) * 0.25f;
            vector_iq2(optk_iq2_s_grid[idx], b->signs[v], scale, dst + i + v * 8);
        }
    }
}

void optk_decode_iq3_xxs__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq3_xxs *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const uint32_t gas = opt_rd_u32le(b->gas + j / 32 * 4);
            const float scale = d * (0.5f + (float)(gas >> 28)) * 0.5f;
            const uint16_t entry = optk_iq3_xxs_grid[b->qs[j / 4]];
            const float value = (float)iq3_xxs_value[entry >> (j % 4 * 4) & 7];
            dst[i + j] = scale * value * sign_of(sign_pattern(gas >> (j % 32 / 8 * 7)), j % 8);
        }
    }
}

void optk_decode_iq3_s__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq3_s *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < OPTK_SUPER; j++) {
            const int v = j / 4;
            const int idx = b->qs[v] | (b->qh[v / 8] >> (v % 8) & 1) << 8;
            const int nibble = b->scales[j / 64] >> (j / 32 % 2 * 4) & 15;
            const float scale = d * (float)(1 + 2 * nibble);
            const int code = optk_iq3_s_grid[idx] >> (j % 4 * 4) & 7;
            dst[i + j] = scale * (float)(2 * code + 1) * sign_of(b->signs[j / 8], j % 8);
        }
    }
}

/** y[8] = scale * (the ternary digits of `entry` + delta). */
static void vector_iq1(uint16_t entry, float delta, float scale, float *y) {
    for (int j = 0; j < 8; j++) {
        y[j] = scale * ((float)((entry >> (2 * j) & 3) - 1) + delta);
    }
}

void optk_decode_iq1_s__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq1_s *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int v = 0; v < 32; v++) {
            const uint16_t qh = opt_rd_u16le(b->qh + v / 4 * 2);
            const float scale = d * (float)(2 * (qh >> 12 & 7) + 1);
            const float delta = (qh & 0x8000) != 0 ? -0.125f : 0.125f;
            const int idx = b->qs[v] | (qh >> (v % 4 * 3) & 7) << 8;
            vector_iq1(optk_iq1_grid[idx], delta, scale, dst + i + v * 8);
        }
    }
}

void optk_decode_iq1_m__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq1_m *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        uint16_t half = 0;
        for (int k = 0; k < 4; k++) {
            half |= (uint16_t)((opt_rd_u16le(b->scales + 2 * k) & 0xf000) >> (12 - 4 * k));
        }
        const float d = optk_f16_to_f32(half);
        for (int v = 0; v < 32; v++) {
            const int group = v / 2;
            const uint16_t packed = opt_rd_u16le(b->scales + group / 4 * 2);
            const float scale = d * (float)(2 * (packed >> (group % 4 * 3) & 7) + 1);
            const int high = b->qh[v / 2] >> (v % 2 * 4) & 15;
            const float delta = (high & 8) != 0 ? -0.125f : 0.125f;
            const int idx = b->qs[v] | (high & 7) << 8;
            vector_iq1(optk_iq1_grid[idx], delta, scale, dst + i + v * 8);
        }
    }
}

void optk_decode_iq4_nl__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq4_nl *b = src;
    for (int64_t i = 0; i < n; i += 32, b++) {
        const float d = optk_ld_f16(b->d);
        for (int j = 0; j < 16; j++) {
            dst[i + j] = d * (float)optk_iq4_values[b->qs[j] & 15];
            dst[i + j + 16] = d * (float)optk_iq4_values[b->qs[j] >> 4];
        }
    }
}

void optk_decode_iq4_xs__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_iq4_xs *b = src;
    for (int64_t i = 0; i < n; i += OPTK_SUPER, b++) {
        const float d = optk_ld_f16(b->d);
        for (int g = 0; g < 8; g++) {
            const float scale = d * (float)optk_scale_iq4_xs(b, g);
            for (int j = 0; j < 16; j++) {
                const uint8_t q = b->qs[g * 16 + j];
                dst[i + g * 32 + j] = scale * (float)optk_iq4_values[q & 15];
                dst[i + g * 32 + j + 16] = scale * (float)optk_iq4_values[q >> 4];
            }
        }
    }
}
