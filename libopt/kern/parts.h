/**
 * Grids of parts: formats whose block is cut into parts of 16 to 256 elements with one scale each
 * (and perhaps an offset), on evenly or unevenly spaced levels. One search chooses the parameters
 * for all of them.
 *
 *   value = scale[part] * level[code] - min[part]
 *
 * The scale of a part is a number of its own (half precision, a power of two, an unsigned E4M3
 * number), or an integer times the half-precision scale of the block (ggml's K types and iq4_xs).
 *
 * The search is exactly reproducible: every sum runs in element order, with one fused multiply-add
 * an element. All rows compile the same source (kern/parts.inc) with one block a lane and give the
 * same bytes.
 *
 *   1. For each part alone: candidates map its range to slightly more or less than the range of
 *      levels, elements are rounded, and the best real scale (and offset) for these levels is had
 *      from the sums in closed form; the candidate that explains most of sum(w x^2) wins, and is
 *      rounded and solved again a few times (Lloyd's iteration).
 *   2. Scales of their own are rounded to their stored form. For integers times the block's scale,
 *      candidates of that scale are tried with all elements rounded again; then the same for the
 *      offsets.
 *   3. In rounds: every integer goes to the best of its neighbours, measured on all elements of the
 *      part; the block's scale (and that of the offsets) moves to the least squares solution for
 *      these integers and levels, if the error falls.
 *
 * Parts whose largest magnitude is not within [2^-40, 2^40] take the plain choice, which maps the
 * peak to the end of the levels; scales beyond the stored range are saturated, so no block ever
 * decodes to an infinity or a NaN.
 */
#ifndef OPT_KERN_PARTS_H
#define OPT_KERN_PARTS_H

#include "base/attr.h"
#include "kern/kern.h"

#define OPTK_MAX_PARTS 16
#define OPTK_PARTS_MAX_BLOCK 256
#define OPTK_PARTS_MAX_SPANS 24

typedef enum optk_levels {
    OPTK_LEVELS_EVEN,  /**< integers lo .. hi */
    OPTK_LEVELS_TABLE, /**< up to 16 numbers */
    OPTK_LEVELS_E4M3   /**< 8-bit floating point up to 448 */
} optk_levels;

typedef enum optk_scales {
    OPTK_SCALES_HALF,    /**< one part: its scale in half precision, which may be negative */
    OPTK_SCALES_INTEGER, /**< an integer times the block's scale, both in a range of their own */
    OPTK_SCALES_E8M0,    /**< a power of two each */
    OPTK_SCALES_UE4M3    /**< an unsigned E4M3 number each */
} optk_scales;

/**
 * Up to 16 unevenly spaced levels, cut into 32 bins of equal width. A number in bin b rounds to
 * above[b] if it is larger than threshold[b], otherwise to below[b].
 */
typedef struct optk_level_table {
    float origin, bins; /**< lower end of the first bin, bins per unit */
    OPT_ALIGNED(64) float threshold[32];
    OPT_ALIGNED(64) float below[32];
    OPT_ALIGNED(64) float above[32];
    OPT_ALIGNED(64) float stored_below[32]; /**< the codes of these levels */
    OPT_ALIGNED(64) float stored_above[32];
} optk_level_table;

/** Candidates that map the peak of a part to an end of the levels: n of them, which stretch the
 * range by `first` to `last` in even steps. */
typedef struct optk_stretch {
    int n;
    float first, last;
} optk_stretch;

/** What the search needs to know about a format. */
typedef struct optk_parts {
    optk_levels levels;
    optk_scales scales;
    bool offset;
    int block, part;      /**< elements; block is a multiple of part */
    float lo, hi;         /**< smallest and largest level */
    float int_lo, int_hi; /**< INTEGER: range of the integers; of offsets it is 0 .. int_hi */
    const optk_level_table *table;
    optk_stretch at_lo, at_hi; /**< no offset: peak to lo, peak to hi. Offset: at_lo only */
    int reach;  /**< neighbours of an integer scale that are tried on each side, even or 1 */
    int rounds; /**< of step 3 */
} optk_parts;

/** The parameters of a block, as stored, and what follows from them for each part. */
typedef struct optk_part_params {
    float d, dmin;                       /**< INTEGER, HALF: half-precision numbers */
    int16_t integer[OPTK_MAX_PARTS];     /**< INTEGER: scales */
    int16_t integer_min[OPTK_MAX_PARTS]; /**< INTEGER with offset */
    float scale[OPTK_MAX_PARTS];         /**< of the levels as the table or lo .. hi has them */
    float min[OPTK_MAX_PARTS];           /**< 0 without an offset */
    float inv[OPTK_MAX_PARTS];           /**< 1 / scale, or 0 if the scale is as good as 0 */
} optk_part_params;

/** kern/ref/level_tables.c */
extern const float optk_nf4_levels[16];
extern const optk_level_table optk_iq4_table, optk_e2m1_table, optk_nf4_table;

/** The grid of a format, or NULL if it is none of parts. */
const optk_parts *optk_parts_of(const opt_kspec *s);

/**
 * Chooses the parameters for x [n], n <= block; importance [n] (>= 0, scaled as you like) or NULL
 * for all ones.
 */
void optk_parts_fit(const opt_kspec *s, const float *x, const float *importance, int64_t n,
                    optk_part_params *p);
/** Nearest stored code of x as element i of the block, and the value that it decodes to. */
int optk_parts_round(const optk_parts *g, const optk_part_params *p, int64_t i, float x,
                     float *value);
/** The stored parameters nearest to those under which values of one part (all: part < 0) are scale
 * * v + shift; the shift is left out without an offset and for all parts together. */
void optk_parts_move(const optk_parts *g, const optk_part_params *p, int64_t part, float scale,
                     float shift, optk_part_params *moved);
/** Writes a block: stored codes [block], one a byte. */
void optk_parts_emit(const opt_kspec *s, const optk_part_params *p, const uint8_t *codes,
                     void *block);
/** The parameters of a stored block. */
void optk_parts_load(const opt_kspec *s, const void *block, optk_part_params *p);

/** What the parameters say about parts: scale, min, inv from the rest. */
void optk_parts_derive(const optk_parts *g, optk_part_params *p);

#endif
