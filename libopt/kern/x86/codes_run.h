/** Where the rows of linear_run find codes and scales in a block of a run (kern/interleave.h). */
#ifndef OPT_KERN_X86_CODES_RUN_H
#define OPT_KERN_X86_CODES_RUN_H

#include "kern/interleave.h"
#include "kern/x86/codes_rows.h"

/** Offsets of the fields of 16 blocks that lie together; those that a format does not have are 0.
 */
typedef struct run_places {
    int d, dmin, scales, high, codes;
} run_places;

static inline OPT_ALWAYS_INLINE run_places run_places_of(codes_layout layout, const codes_rows *c) {
    switch (layout) {
    case CODES_IQ4_XS: return (run_places){.high = 32, .scales = 64, .codes = 128};
    case CODES_INT2:
    case CODES_INT3:
    case CODES_INT4:
    case CODES_INT8: /* .scales: of zero points */
        return (run_places){.scales = 32,
                            .codes = c->head * OPT_RUN_ROWS,
                            .high = c->head * OPT_RUN_ROWS + (int)c->block_elems * 4};
    case CODES_Q2_K: return (run_places){.dmin = 32, .scales = 64, .codes = 320};
    case CODES_Q3_K: return (run_places){.scales = 32, .high = 224, .codes = 736};
    case CODES_Q4_K: return (run_places){.dmin = 32, .scales = 64, .codes = 256};
    case CODES_Q5_K: return (run_places){.dmin = 32, .scales = 64, .high = 256, .codes = 768};
    case CODES_Q6_K: return (run_places){.scales = 32, .high = 288, .codes = 1312};
    case CODES_Q4_1: return (run_places){.scales = 32, .codes = 64}; /* .scales: of minima */
    case CODES_Q5_0: return (run_places){.high = 32, .codes = 96};
    case CODES_Q5_1: return (run_places){.scales = 32, .high = 64, .codes = 128};
    default: return (run_places){.codes = 2 * OPT_RUN_ROWS};
    }
}

/**
 * Elements 4 i .. 4 i + 3 of a group: `bits` bits from bit `shift` of the 4 bytes of word `word` of
 * the codes, and above them `high_bits` bits from bit `high_shift` of word `high_word` of the field
 * `high`.
 */
typedef struct run_code {
    int word, shift, bits;
    int high_word, high_shift, high_bits;
} run_code;

/** `bits` bits, element e of a block of n beside element e + n bits / 8 in a byte, and so on. */
static inline OPT_ALWAYS_INLINE run_code run_planes(int e, int n, int bits) {
    const int plane = n * bits / 8;
    return (run_code){e % plane / 4, e / plane * bits, bits, 0, 0, 0};
}

/** Quad i (0 .. 7) of group g of a block of n elements. */
static inline OPT_ALWAYS_INLINE run_code run_code_of(codes_layout layout, int n, int g, int i) {
    switch (layout) {
    case CODES_Q8_0: return (run_code){i, 0, 8, 0, 0, 0};
    case CODES_INT8: return (run_code){8 * g + i, 0, 8, 0, 0, 0};
    case CODES_INT4: return run_planes(32 * g + 4 * i, n, 4);
    case CODES_INT2: return run_planes(32 * g + 4 * i, n, 2);
    case CODES_INT3: {
        const run_code low = run_planes(32 * g + 4 * i, n, 2);
        return (run_code){low.word, low.shift, 2, g, i, 1};
    }
    case CODES_IQ4_XS: return (run_code){g * 4 + i % 4, i / 4 * 4, 4, 0, 0, 0};
    case CODES_Q5_0:
    case CODES_Q5_1: return (run_code){i % 4, i / 4 * 4, 4, 0, i, 1};
    case CODES_IQ4_NL:
    case CODES_Q4_1:
    case CODES_Q4_0: return (run_code){i % 4, i / 4 * 4, 4, 0, 0, 0};
    case CODES_Q2_K: return (run_code){g / 4 * 8 + i, g % 4 * 2, 2, 0, 0, 0};
    case CODES_Q3_K: return (run_code){g / 4 * 8 + i, g % 4 * 2, 2, i, g, 1};
    case CODES_Q5_K: return (run_code){g / 2 * 8 + i, g % 2 * 4, 4, i, g, 1};
    case CODES_Q6_K:
        return (run_code){
            g / 4 * 16 + g % 2 * 8 + i, g % 4 / 2 * 4, 4, g / 4 * 8 + i, g % 4 * 2, 2};
    case CODES_Q4_K:
    default: return (run_code){g / 2 * 8 + i, g % 2 * 4, 4, 0, 0, 0};
    }
}

/**
 * By how many bits the codes of a group may stay shifted to the left while they are multiplied,
 * where that saves shifting them: all quads of the group alike, and none beyond 8 bits.
 */
static inline OPT_ALWAYS_INLINE int run_left_shift(codes_layout layout, int n, int g) {
    const run_code c = run_code_of(layout, n, g, 0);
    const int room = 8 - c.bits - c.high_bits;
    const bool alike = run_code_of(layout, n, g, 7).shift == c.shift;
    return !alike ? 0 : c.shift < room ? c.shift : room;
}

#endif
