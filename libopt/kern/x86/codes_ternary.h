/** Where the digits of own ternary groups lie, for rows that shuffle bytes in lanes of 16. */
#ifndef OPT_KERN_X86_CODES_TERNARY_H
#define OPT_KERN_X86_CODES_TERNARY_H

#include "base/attr.h"
#include "kern/blocks.h"

/**
 * For 64 elements: the place of each one's byte among the first 16 bytes that were loaded, or among
 * the second 16 (0x80: not there), and the power of 3 that brings its digit to the front.
 */
typedef struct ternary_places {
    OPT_ALIGNED(64) uint8_t first[64];
    OPT_ALIGNED(64) uint8_t second[64];
    OPT_ALIGNED(64) uint8_t power[64];
} ternary_places;

/* Element j of groups of 64: 13 bytes, loaded as bytes 0 .. 7 and 5 .. 12. */
#define PLACE_64(j) ((j) % 13 < 8 ? (j) % 13 : (j) % 13 + 3)
#define ABSENT(j) 0x80
/* Of groups of 128: 26 bytes, loaded as bytes 0 .. 15 and 10 .. 25. */
#define PLACE_128(j) ((j) % 26 < 16 ? (j) % 26 : 0x80)
#define SECOND_128(j) (uint8_t)((j) % 26 < 16 ? 0x80 : (j) % 26 - 10)
#define POW3(k) ((k) == 0 ? 1 : (k) == 1 ? 3 : (k) == 2 ? 9 : (k) == 3 ? 27 : 81)
#define POWER_64(j) POW3((j) / 13)
#define POWER_128(j) POW3((j) / 26)

#define EACH_8(f, j)                                                                               \
    f((j)), f((j) + 1), f((j) + 2), f((j) + 3), f((j) + 4), f((j) + 5), f((j) + 6), f((j) + 7)
#define EACH_64(f, j)                                                                              \
    {                                                                                              \
        EACH_8(f, (j)), EACH_8(f, (j) + 8), EACH_8(f, (j) + 16), EACH_8(f, (j) + 24),              \
            EACH_8(f, (j) + 32), EACH_8(f, (j) + 40), EACH_8(f, (j) + 48), EACH_8(f, (j) + 56)     \
    }

/** Of elements 64 half .. 64 half + 63 of a group of 64 or 128. */
static inline const ternary_places *ternary_places_of(int64_t group, int64_t half) {
    static const ternary_places places[3] = {
        {EACH_64(PLACE_64, 0), EACH_64(ABSENT, 0), EACH_64(POWER_64, 0)},
        {EACH_64(PLACE_128, 0), EACH_64(SECOND_128, 0), EACH_64(POWER_128, 0)},
        {EACH_64(PLACE_128, 64), EACH_64(SECOND_128, 64), EACH_64(POWER_128, 64)}};
    return &places[group == 64 ? 0 : 1 + half];
}

/** A digit at the front of a byte is 1 from here on, and 2 from there on. */
#define TERNARY_ONE 86
#define TERNARY_TWO 171

#undef PLACE_64
#undef ABSENT
#undef PLACE_128
#undef SECOND_128

#endif
