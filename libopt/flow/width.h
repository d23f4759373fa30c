/** Where a format does not fit the width of a tensor: zero padding, an own format, or the next
 * stock format. */
#ifndef OPT_FLOW_WIDTH_H
#define OPT_FLOW_WIDTH_H

#include "model/graph.h"

/** Where zeros may be appended to a weight without changing what the model computes. */
typedef enum opt_pad_side {
    OPT_PAD_NONE,
    OPT_PAD_ROWS, /**< it produces an input of a gated activation: zero rows give zero outputs */
    OPT_PAD_COLS  /**< it consumes the output of a gated activation: what meets the zeros is zero */
} opt_pad_side;

/**
 * Fills sides [m->n_weights]. Weights of a gated unit can be padded together if every input of the
 * activation comes from a linear node of its own and every consumer of it is a linear node: silu(0)
 * * 0 = 0.
 */
OPT_MUST_USE opt_status opt_pad_sides(opt_ctx *ctx, const opt_model *m, opt_pad_side *sides);

/** The own format of at least the bits of `f` and nearest to it; NULL if there is none. It fits
 * every width. */
const opt_format *opt_width_own(const opt_format *f);

/** The smallest ggml format that can be written, is larger than `f` and fits n_cols; f16 always
 * does. */
const opt_format *opt_width_next(const opt_format *f, int64_t n_cols);

#endif
