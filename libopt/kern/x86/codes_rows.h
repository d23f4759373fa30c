/**
 * Layouts that the x86 rows of linear_i8 read. A code q stands for d (q - offset) or for d q + m.
 * The elements that share a scale within a group of 32 are a unit: the group, or half of it. Codes
 * of 16 bits are read as two planes of bytes, 256 times the first plus the second.
 */
#ifndef OPT_KERN_X86_CODES_ROWS_H
#define OPT_KERN_X86_CODES_ROWS_H

#include "base/attr.h"
#include "base/num.h"
#include "kern/kern.h"
#include "kern/scales.h"

/* Constant after inlining. */
typedef enum codes_layout {
    CODES_Q8_0,
    CODES_Q4_0,
    CODES_Q4_1,
    CODES_Q5_0,
    CODES_Q5_1,
    CODES_INT2,
    CODES_INT3,
    CODES_INT4,
    CODES_INT8,
    CODES_IQ4_NL,
    CODES_MXFP4,
    CODES_NF4,
    CODES_FP8,
    CODES_TERNARY,
    /* Blocks with several scales, see codes_super.h. */
    CODES_Q2_K,
    CODES_Q3_K,
    CODES_Q4_K,
    CODES_Q5_K,
    CODES_Q6_K,
    CODES_IQ4_XS,
    CODES_TQ2_0,
    CODES_NVFP4
} codes_layout;

/** What the loops need to know about the rows of one call. */
typedef struct codes_rows {
    int64_t n_groups;    /* of 32 elements, the last one may be partial */
    int64_t block_elems; /* 32, 64, 128 or 256 */
    int64_t block_bytes;
    int head;       /* bytes of a block before its codes */
    bool zero_byte; /* own groups with a zero point: a byte behind d */
    int offset;     /* subtracted from codes in integers */
    bool has_min;   /* the unit's m (or zero point) is added in f32 */
    bool super;     /* blocks with several scales */
    int units;      /* of a group: 1 or 2 */
    int planes;     /* 2: codes of 16 bits */
} codes_rows;

static inline OPT_ALWAYS_INLINE codes_rows codes_rows_of(codes_layout layout, const opt_kspec *s,
                                                         int64_t k) {
    codes_rows c = {.n_groups = opt_ceil_div(k, 32), .block_elems = 32, .units = 1, .planes = 1};
    if (layout >= CODES_Q2_K) {
        c.super = true;
        c.block_elems = layout == CODES_NVFP4 ? 64 : 256;
    }
    switch (layout) {
    case CODES_Q8_0: c.block_bytes = 34, c.head = 2, c.offset = 128; break; /* read as unsigned */
    case CODES_Q4_0: c.block_bytes = 18, c.head = 2, c.offset = 8; break;
    case CODES_Q4_1: c.block_bytes = 20, c.head = 4, c.has_min = true; break;
    case CODES_Q5_0: c.block_bytes = 22, c.head = 6, c.offset = 16; break;
    case CODES_Q5_1: c.block_bytes = 24, c.head = 8, c.has_min = true; break;
    case CODES_INT2:
    case CODES_INT3:
    case CODES_INT4:
    case CODES_INT8:
        c.block_elems = s->group;
        c.head = s->symmetric ? 2 : 3;
        c.block_bytes = c.head + s->bits * s->group / 8;
        c.offset = s->symmetric ? 1 << (s->bits - 1) : 0;
        c.has_min = c.zero_byte = !s->symmetric;
        break;
    case CODES_IQ4_NL: c.block_bytes = 18, c.head = 2, c.offset = 128; break;
    case CODES_MXFP4: c.block_bytes = 17, c.head = 1, c.offset = 12; break;
    case CODES_NF4:
        c.block_elems = 64, c.block_bytes = 34, c.head = 2, c.offset = OPTK_CODE16_OFFSET;
        c.planes = 2;
        break;
    case CODES_FP8:
        c.block_elems = 128, c.block_bytes = 130, c.head = 2, c.offset = OPTK_CODE16_OFFSET;
        c.planes = 2;
        break;
    case CODES_TERNARY:
        c.block_elems = s->group, c.block_bytes = (int64_t)s->block_bytes;
        c.head = 2, c.offset = 1;
        break;
    case CODES_Q2_K: c.block_bytes = 84, c.head = 16, c.has_min = true, c.units = 2; break;
    case CODES_Q3_K: c.block_bytes = 110, c.head = 32, c.offset = 4, c.units = 2; break;
    case CODES_Q4_K: c.block_bytes = 144, c.head = 16, c.has_min = true; break;
    case CODES_Q5_K: c.block_bytes = 176, c.head = 48, c.has_min = true; break;
    case CODES_Q6_K: c.block_bytes = 210, c.offset = 32, c.units = 2; break;
    case CODES_IQ4_XS: c.block_bytes = 136, c.head = 8, c.offset = 128; break;
    case CODES_TQ2_0: c.block_bytes = 66, c.offset = 1; break;
    case CODES_NVFP4: c.block_bytes = 36, c.head = 4, c.offset = 12, c.units = 2; break;
    }
    return c;
}

/** Offset of the block that holds group g (of 32 elements). */
static inline int64_t codes_block_off(const codes_rows *c, int64_t g) {
    return c->block_elems == 32 ? g * c->block_bytes : g * 32 / c->block_elems * c->block_bytes;
}

/** A group's place within its block. */
static inline int64_t codes_in_block(const codes_rows *c, int64_t g) {
    return g % (c->block_elems / 32);
}

/** Levels that are not the codes themselves, shifted so that none is negative. */
static inline const uint8_t *codes_levels(codes_layout layout) {
    static const uint8_t iq4[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                    129, 141, 153, 166, 181, 197, 217, 241};
    static const uint8_t fp4[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
    return layout == CODES_IQ4_NL || layout == CODES_IQ4_XS ? iq4 : fp4;
}

/** The planes of nf4's codes: high bytes, then low ones. */
static inline const uint8_t *codes_nf4_plane(int plane) {
    static const uint8_t planes[2][16] = {
        {0, 38, 60, 77, 91, 104, 116, 128, 138, 148, 159, 171, 184, 200, 220, 255},
        {1, 228, 203, 116, 152, 90, 89, 0, 48, 153, 128, 64, 105, 3, 137, 255}};
    return planes[plane];
}

/** What one unit of a code of 16 bits is worth, by the block's scale. */
static inline OPT_ALWAYS_INLINE float codes_unit16(codes_layout layout) {
    return layout == CODES_NF4 ? OPTK_NF4_UNIT : OPTK_FP8_UNIT;
}

/** Own groups: m = d * (zero * codes_zero_step), since w = d (q - zero 2^(bits-8)). */
static inline OPT_ALWAYS_INLINE float codes_zero_step(codes_layout layout) {
    const int bits = layout == CODES_INT2   ? 2
                     : layout == CODES_INT3 ? 3
                     : layout == CODES_INT4 ? 4
                                            : 8;
    return -1.0f / (float)(1 << (8 - bits));
}

#endif
