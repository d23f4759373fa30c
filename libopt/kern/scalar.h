/**
 * Scalar grids: formats whose block is a scale, perhaps an offset, and one small integer code per
 * element (ggml's q4_0 ... q8_0 and the own integer groups). One search chooses the scale and the
 * offset for all of them.
 *
 * The search is exactly reproducible: every sum runs in element order, with one fused multiply-add
 * an element. Rows for instruction sets compute one block a lane, so they give the same bytes as
 * the reference.
 *
 *   1. Candidates: the block's range is mapped to slightly more or less than the range of codes
 * (for offsets also shifted), rounded, and the best real scale (and offset) for these codes is had
 * from the sums in closed form; the candidate that explains most of sum(w x^2) wins.
 *   2. Its scale and offset are rounded to their stored form. So are those of the plain choice,
 * which maps the range of the block to the range of codes. The one with the smaller error wins.
 *
 * Blocks whose largest magnitude is not within [2^-40, 2^40] take the plain choice; scales beyond
 * half precision are saturated, so no block ever decodes to an infinity or a NaN.
 */
#ifndef OPT_KERN_SCALAR_H
#define OPT_KERN_SCALAR_H

#include "kern/kern.h"

#define OPTK_SCALAR_MAX_CANDIDATES 12
#define OPTK_SCALAR_TINY 0x1p-40f
#define OPTK_SCALAR_HUGE 0x1p40f
#define OPTK_F16_MAX 65504.0f

typedef enum optk_offset {
    OPTK_OFFSET_NONE, /**< w = d q */
    OPTK_OFFSET_MIN,  /**< w = d q + m, m in half precision */
    OPTK_OFFSET_ZERO  /**< w = d (q - z), z in [0, hi + 1) in steps of (hi + 1) / 256 */
} optk_offset;

/** What the search needs to know about a format. */
typedef struct optk_scalar {
    optk_offset offset;
    float lo, hi; /**< smallest and largest code q (a stored code is q - lo) */
    int n_candidates;
    /** Candidate k: q = round(x span[k] / peak) without an offset, round((x - min) span[k] / range
     * - shift[k]) with. */
    float span[OPTK_SCALAR_MAX_CANDIDATES];
    float shift[OPTK_SCALAR_MAX_CANDIDATES];
} optk_scalar;

/** The parameters of a block, as stored. */
typedef struct optk_scalar_params {
    float d;      /**< scale, a half-precision number */
    float offset; /**< m or z; 0 without an offset */
    float inv;    /**< 1 / d, or 0 if d is 0 */
} optk_scalar_params;

/** The grid of q4_0, q4_1, q5_0, q5_1, q8_0 or INT. */
optk_scalar optk_scalar_of(const opt_kspec *s);

/**
 * Chooses the parameters for x [n]; importance [n] (>= 0, scaled as you like) or NULL for all ones.
 */
optk_scalar_params optk_scalar_fit(const optk_scalar *g, const float *x, const float *importance,
                                   int64_t n);

/** The stored parameters nearest to those under which a value v is scale * v + shift; without an
 * offset the shift is left out. */
optk_scalar_params optk_scalar_move(const optk_scalar *g, const optk_scalar_params *p, float scale,
                                    float shift);

/** Nearest stored code (0 .. hi - lo) of x, and the value that it decodes to. */
int optk_scalar_round(const optk_scalar *g, const optk_scalar_params *p, float x, float *value);

/** The parameters of a stored block. */
optk_scalar_params optk_scalar_load(const optk_scalar *g, const void *block);

/** Writes a block: stored codes [n], n at most the block's elements; codes of the others are zero.
 */
void optk_scalar_emit(const opt_kspec *s, const optk_scalar_params *p, const uint8_t *codes,
                      int64_t n, void *block);

#endif
