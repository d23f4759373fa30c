/**
 * Sign-gradient rounding (AutoRound; Cheng et al. 2023, "Optimize Weight Rounding via Signed
 * Gradient Descent"): the codes of all tensors of a block, and the scales of their parts, move
 * against the sign of the gradient of a loss of the block's outputs.
 *
 * A weight has a position on its grid, counted in grid points in increasing order; the nearest one
 * is its code (straight-through estimator: the rounding is left out of the gradient). So a step is
 * local to the grid, uniform or not. Grid points are found by asking the grid to round, so that
 * every scalar grid will do.
 */
#ifndef OPT_SOLVE_SIGNROUND_H
#define OPT_SOLVE_SIGNROUND_H

#include "base/mem.h"
#include "tensor/format.h"

#define OPT_SIGNROUND_MAX_BITS 6 /* with more there is nothing to win */

/** A tensor that is rounded. Rows do not depend on each other, and may stand in any order. */
typedef struct opt_signround_tensor {
    const opt_format *format;
    int64_t n_rows, n_cols;
    int64_t n_blocks, n_parts; /* of a row */
    int64_t part_elems;
    int max_levels;
    size_t params_stride;
    uint8_t *params;   /* [n_rows, n_blocks, params_stride] */
    uint8_t *codes;    /* [n_rows, n_cols] */
    float *values;     /* [n_rows, n_cols]: what codes and scales stand for at the moment */
    float *grads;      /* [n_rows, n_cols]: of the loss, the caller's business */
    float *position;   /* [n_rows, n_cols]: rank of the grid point, and how far from it */
    float *levels;     /* [n_rows, n_parts, max_levels] increasing */
    uint8_t *n_levels; /* [n_rows, n_parts] */
    float *scale;      /* [n_rows, n_parts]: by how much levels are stretched */
    float *shift;      /* [n_rows, n_parts]: and moved */
} opt_signround_tensor;

/** How far everything moves in a step. */
typedef struct opt_signround_rates {
    float position; /* in grid points */
    float scale;    /* relative */
} opt_signround_rates;

/** Whether a format's grid can be walked: scalar, with few codes. */
bool opt_signround_supports(const opt_format *f);
/** Reserves everything. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_signround_new(opt_ctx *ctx, const opt_format *f, int64_t n_rows,
                                          int64_t n_cols, opt_signround_tensor *out);
void opt_signround_free(opt_ctx *ctx, opt_signround_tensor *t);
/** Bytes of opt_signround_new. */
uint64_t opt_signround_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols);
/** Bytes of the params of a row. */
size_t opt_signround_row_params(const opt_format *f, int64_t n_cols);

/**
 * Begins with a row's solution, whose params and values are in place; w [n_cols] are the float
 * weights. A weight whose nearest grid point was not taken begins at the edge of its cell, `inside`
 * grid points from it.
 */
void opt_signround_begin(opt_signround_tensor *t, int64_t row, const float *w, float inside);
/** One step of some rows, by the gradients. */
void opt_signround_step(opt_signround_tensor *t, int64_t row0, int64_t n_rows,
                        opt_signround_rates rates);
/** Makes params and codes of a row what values says, as far as it can be stored, and values what
 * they decode to. */
void opt_signround_finish(opt_signround_tensor *t, int64_t row);
/** Writes a row's blocks. */
void opt_signround_emit(const opt_signround_tensor *t, int64_t row, uint8_t *dst);

#endif
