/** One unit of a graph as a model of its own, to run a model block by block. */
#ifndef OPT_MODEL_CUT_H
#define OPT_MODEL_CUT_H

#include "model/ops.h"

/**
 * The nodes of `unit` up to and including node `last` of `m` (-1: all of them), with the same names
 * and weight indices. What they read from before the unit comes from `feed` (borrowed; unused where
 * a unit reads the tokens only); the output of the last node takes the place of the logits.
 * `replaced` [m->n_weights], or NULL: tensors to use instead of the source's, in the source's order
 * of rows; NULL entries leave a weight as it is. The cut borrows from `m`; free it with
 * opt_model_free. Errors: MEMORY; UNSUPPORTED where a unit reads more than one node of another one.
 */
OPT_MUST_USE opt_status opt_model_cut(opt_ctx *ctx, const opt_model *m, int unit, int last,
                                      const opt_tensor *const *replaced, const opt_feed *feed,
                                      opt_model **out);

/**
 * Nodes first .. last of a unit. feeds [m->n_nodes]: where the outputs of nodes before `first`
 * come from, NULL for nodes that are not read. Errors: MEMORY; UNSUPPORTED where a feed is missing.
 */
OPT_MUST_USE opt_status opt_model_cut_part(opt_ctx *ctx, const opt_model *m, int unit, int first,
                                           int last, const opt_tensor *const *replaced,
                                           const opt_feed *const *feeds, opt_model **out);

/** The same for a unit and all behind it, up to the logits: from unit -1 on it is the whole model
 * with some tensors replaced. */
OPT_MUST_USE opt_status opt_model_tail(opt_ctx *ctx, const opt_model *m, int unit,
                                       const opt_tensor *const *replaced, const opt_feed *feed,
                                       opt_model **out);

/** Index of the last node of a unit; -1 if it has none. */
int opt_model_unit_end(const opt_model *m, int unit);

#endif
