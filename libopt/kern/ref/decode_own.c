/** Reference decoders of own formats other than integer groups; the last block may be partial. */
#include "kern/rows.h"

#include "kern/blocks.h"
#include "kern/half.h"
#include "kern/parts.h"

void optk_decode_nf4__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_nf4 *b = src;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = i % 64;
        const uint8_t byte = b[i / 64].qs[j % 32];
        dst[i] = optk_ld_f16(b[i / 64].d) * optk_nf4_levels[j < 32 ? byte & 15 : byte >> 4];
    }
}

void optk_decode_fp8__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const optk_fp8 *b = src;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = optk_ld_f16(b[i / 128].d) * optk_e4m3_to_f32(b[i / 128].qs[i % 128]);
    }
}

void optk_decode_ternary__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    const int64_t group = s->group, digit_bytes = OPTK_TERNARY_DIGIT_BYTES(group);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *block = (const uint8_t *)src + (size_t)(i / group) * s->block_bytes;
        const int64_t j = i % group;
        const uint8_t front = (uint8_t)(block[2 + j % digit_bytes] * pow3[j / digit_bytes]);
        dst[i] = optk_ld_f16(block) * (float)((front * 3 >> 8) - 1);
    }
}
