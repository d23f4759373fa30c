/**
 * Weights of a model that are rewritten in memory before they are quantized: f32, in the source's
 * order of rows. While a weight is open here, opt_weight.tensor leads to the rewritten numbers, so
 * that whatever runs or encodes the model sees them.
 */
#ifndef OPT_MODEL_REWRITE_H
#define OPT_MODEL_REWRITE_H

#include "model/graph.h"

typedef struct opt_rewrite opt_rewrite;

/** Borrows the model, whose number of weights must stay as it is from here on. */
OPT_MUST_USE opt_status opt_rewrite_new(opt_ctx *ctx, opt_model *m, opt_rewrite **out);
/** Closes all weights. NULL is allowed. */
void opt_rewrite_free(opt_rewrite *r);

/**
 * The numbers of a weight, [n_rows, n_cols] f32 in the source's order of rows: decoded from the
 * source when it is opened first, as changed since then later. Errors: MEMORY; NUMERIC if the
 * source holds NaN or infinity.
 */
OPT_MUST_USE opt_status opt_rewrite_open(opt_rewrite *r, int weight, float **values);
/** Puts the source's tensors back in place of all open weights. */
void opt_rewrite_close(opt_rewrite *r);

#endif
