/** Packs one byte per code into the blocks of scalar grids. Inline, so that each instruction set
 * compiles its own. */
#ifndef OPT_KERN_PACK_H
#define OPT_KERN_PACK_H

#include "kern/blocks.h"
#include "kern/half.h"
#include "kern/scalar.h"

/** Bytes of `half` nibble pairs: element j low, element j + half high. */
static inline void optk_pack4(const uint8_t *codes, int half, uint8_t *out) {
    for (int j = 0; j < half; j++) {
        out[j] = (uint8_t)((codes[j] & 15) | codes[j + half] << 4);
    }
}

/** Bytes of four 2-bit planes: element j + i quarter in bits 2 i. */
static inline void optk_pack2(const uint8_t *codes, int quarter, uint8_t *out) {
    for (int j = 0; j < quarter; j++) {
        out[j] = (uint8_t)((codes[j] & 3) | (codes[j + quarter] & 3) << 2 |
                           (codes[j + 2 * quarter] & 3) << 4 | codes[j + 3 * quarter] << 6);
    }
}

/** Bit `bit` of 8 codes at a time, first element lowest. */
static inline void optk_pack_bit(const uint8_t *codes, int n, int bit, uint8_t *out) {
    for (int j = 0; j < n; j += 8) {
        uint64_t bytes; /* one product gathers the lowest bits of 8 bytes in the highest byte */
        memcpy(&bytes, codes + j, sizeof bytes);
        bytes = bytes >> bit & 0x0101010101010101u;
        out[j / 8] = (uint8_t)(bytes * 0x0102040810204080u >> 56);
    }
}

static inline void optk_pack_int(const opt_kspec *s, uint16_t d, float zero, const uint8_t *codes,
                                 uint8_t *block) {
    const int group = s->group;
    opt_wr_u16le(block, d);
    if (!s->symmetric) {
        block[2] = (uint8_t)(zero * 256.0f / (float)(1 << s->bits));
    }
    uint8_t *out = block + OPTK_INT_HEAD(s->symmetric);
    switch (s->bits) {
    case 8: memcpy(out, codes, (size_t)group); break;
    case 4: optk_pack4(codes, group / 2, out); break;
    case 3:
        optk_pack2(codes, group / 4, out);
        optk_pack_bit(codes, group, 2, out + group / 4);
        break;
    default: optk_pack2(codes, group / 4, out); break;
    }
}

/** Writes a block: d as half bits, the offset (m or z), stored codes of all its elements, one a
 * byte. */
static inline void optk_pack_block(const opt_kspec *s, uint16_t d, float offset,
                                   const uint8_t *codes, void *block) {
    uint8_t *out = block;
    opt_wr_u16le(out, d);
    switch (s->kfmt) {
    case OPT_KFMT_Q4_0: optk_pack4(codes, 16, ((optk_q4_0 *)block)->qs); break;
    case OPT_KFMT_Q4_1:
        optk_st_f16(((optk_q4_1 *)block)->m, offset);
        optk_pack4(codes, 16, ((optk_q4_1 *)block)->qs);
        break;
    case OPT_KFMT_Q5_0:
        optk_pack_bit(codes, 32, 4, ((optk_q5_0 *)block)->qh);
        optk_pack4(codes, 16, ((optk_q5_0 *)block)->qs);
        break;
    case OPT_KFMT_Q5_1:
        optk_st_f16(((optk_q5_1 *)block)->m, offset);
        optk_pack_bit(codes, 32, 4, ((optk_q5_1 *)block)->qh);
        optk_pack4(codes, 16, ((optk_q5_1 *)block)->qs);
        break;
    case OPT_KFMT_Q8_0:
        for (int j = 0; j < 32; j++) {
            ((optk_q8_0 *)block)->qs[j] = (int8_t)(codes[j] - 127);
        }
        break;
    default: optk_pack_int(s, d, offset, codes, out); break;
    }
}

#endif
