/** The scales of blocks that have several: integers, unpacked a block at a time. */
#ifndef OPT_KERN_X86_CODES_SUPER_H
#define OPT_KERN_X86_CODES_SUPER_H

#include <string.h>

#include "kern/scales.h"
#include "kern/x86/codes_rows.h"

/** A unit's scale is d times its integer, its m is -dmin times the other one. */
typedef struct codes_super {
    float d, dmin;
    uint32_t scale[4], min[4]; /* a byte a unit; the units of a block in order */
} codes_super;

/** Scales and minima of q4_k and q5_k: 6 bits each in 12 bytes. */
static inline void super_q4_k(const uint8_t *packed, codes_super *out) {
    const uint32_t a = opt_rd_u32le(packed);
    const uint32_t b = opt_rd_u32le(packed + 4);
    const uint32_t c = opt_rd_u32le(packed + 8);
    out->scale[0] = a & 0x3f3f3f3fu;
    out->scale[1] = (c & 0x0f0f0f0fu) | (a >> 6 & 0x03030303u) << 4;
    out->min[0] = b & 0x3f3f3f3fu;
    out->min[1] = (c >> 4 & 0x0f0f0f0fu) | (b >> 6 & 0x03030303u) << 4;
}

/** Four scales of 6 bits in signed bytes, from their low and high bits: less 32. */
static inline uint32_t less_32(uint32_t low, uint32_t high) {
    const uint32_t v = (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
    return ((v | 0x80808080u) - 0x20202020u) ^ 0x80808080u; /* no borrow from byte to byte */
}

static inline void super_q3_k(const uint8_t *packed, codes_super *out) {
    const uint32_t a = opt_rd_u32le(packed);
    const uint32_t b = opt_rd_u32le(packed + 4);
    const uint32_t high = opt_rd_u32le(packed + 8);
    out->scale[0] = less_32(a, high);
    out->scale[1] = less_32(b, high >> 2);
    out->scale[2] = less_32(a >> 4, high >> 4);
    out->scale[3] = less_32(b >> 4, high >> 6);
}

/** Bytes of eight nibbles (shift 4) or pairs of bits (shift 2), first four. */
static inline uint32_t spread4(uint32_t packed, int bits) {
    const uint32_t mask = (1u << bits) - 1;
    return (packed & mask) | (packed >> bits & mask) << 8 | (packed >> 2 * bits & mask) << 16 |
           (packed >> 3 * bits & mask) << 24;
}

static inline void super_iq4_xs(const uint8_t *block, codes_super *out) {
    const uint32_t high = opt_rd_u16le(block + 2);
    const uint32_t low = opt_rd_u32le(block + 4);
    out->scale[0] = less_32(spread4(low, 4), spread4(high, 2));
    out->scale[1] = less_32(spread4(low >> 16, 4), spread4(high >> 8, 2));
}

/** Reads the block's scales; not for nvfp4, whose scales are no integers. */
static inline OPT_ALWAYS_INLINE void codes_super_read(codes_layout layout, const uint8_t *block,
                                                      codes_super *out) {
    switch (layout) {
    case CODES_Q2_K:
        out->d = optk_ld_f16(block + 80);
        out->dmin = optk_ld_f16(block + 82);
        for (int i = 0; i < 4; i++) {
            const uint32_t both = opt_rd_u32le(block + (size_t)i * 4);
            out->scale[i] = both & 0x0f0f0f0fu;
            out->min[i] = both >> 4 & 0x0f0f0f0fu;
        }
        break;
    case CODES_Q3_K:
        out->d = optk_ld_f16(block + 108);
        super_q3_k(block + 96, out);
        break;
    case CODES_Q4_K:
    case CODES_Q5_K:
        out->d = optk_ld_f16(block);
        out->dmin = optk_ld_f16(block + 2);
        super_q4_k(block + 4, out);
        break;
    case CODES_Q6_K:
        out->d = optk_ld_f16(block + 208);
        memcpy(out->scale, block + 192, 16);
        break;
    case CODES_IQ4_XS:
        out->d = optk_ld_f16(block);
        super_iq4_xs(block, out);
        break;
    case CODES_TQ2_0:
    default:
        out->d = optk_ld_f16(block + 64);
        out->scale[0] = out->scale[1] = 0x01010101u;
        break;
    }
}

/** Units of a block. */
static inline int codes_block_units(const codes_rows *c) {
    return (int)(c->block_elems / 32) * c->units;
}

#endif
