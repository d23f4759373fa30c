/**
 * The transforms of a quantization, in order: read from the user's list, planned, and applied stage
 * by stage (opt_plan_tensor.stage) beside the engine of flow/emit.h and the calibration.
 */
#ifndef OPT_FLOW_TRANSFORMS_H
#define OPT_FLOW_TRANSFORMS_H

#include "base/workdir.h"
#include "calib/gram.h"
#include "flow/plan.h"
#include "quant/transform.h"

typedef struct opt_transforms opt_transforms;

/**
 * Reads specs [n_specs], each "NAME[:KEY=VALUE]..." or several joined by commas. *out is NULL where
 * there are none. Errors: USAGE (unknown name, key or value, a transform given twice, or behind one
 * that must come later).
 */
OPT_MUST_USE opt_status opt_transforms_read(opt_ctx *ctx, const char *const *specs, size_t n_specs,
                                            uint64_t seed, opt_transforms **out);
/** NULL is allowed, here and below: it stands for no transforms. */
void opt_transforms_free(opt_transforms *t);

/**
 * Changes the graph where transforms need it and marks the weights that they will rewrite; before
 * anything is planned. The model is borrowed. Errors: USAGE where a transform needs calibration and
 * there is none; UNSUPPORTED where the graph does not allow it.
 */
OPT_MUST_USE opt_status opt_transforms_plan(opt_transforms *t, opt_model *model, bool calibrated);
/** Whether weight `i` will be rewritten, and whether the Gram matrix of its inputs is needed. */
bool opt_transforms_touches(const opt_transforms *t, int i);
bool opt_transforms_wants(const opt_transforms *t, int i);
/** Takes the formats from the complete plan. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_transforms_bind(opt_transforms *t, const opt_plan *plan);
/** Bytes that they hold at most; needs opt_transforms_bind. */
uint64_t opt_transforms_bytes(const opt_transforms *t, const opt_plan *plan);

/** Gives back the weights of the stage before and does to those of `stage` what needs no
 * statistics. */
OPT_MUST_USE opt_status opt_transforms_enter(opt_transforms *t, int stage);
/** Does the rest; grams [n_nodes] follow the weights. */
OPT_MUST_USE opt_status opt_transforms_fit(opt_transforms *t, int stage, opt_gram *grams);

/** Whether weight `i` is rewritten by opt_transforms_finish, and whether any is (i < 0). */
bool opt_transforms_late(const opt_transforms *t, int i);
/**
 * Rewrites late weight `i` of the stage, when the matrix of its node is stored as `solved` (NULL:
 * as it is in the source). After opt_transforms_fit.
 */
OPT_MUST_USE opt_status opt_transforms_finish(opt_transforms *t, int i,
                                              const opt_tensor *const *solved);

/**
 * Everything that a finished stage leaves behind beside its solved tensors: weights that were
 * rewritten and have no entry in `solved` [n_weights], and what was reported so far. *pieces
 * [*n_pieces], the caller's to free, point at it. After opt_transforms_enter of the stage; to put
 * it back, write over what the pieces point at, then call opt_transforms_restored.
 */
OPT_MUST_USE opt_status opt_transforms_state(opt_transforms *t, const opt_plan *plan,
                                             const opt_tensor *const *solved, opt_piece **pieces,
                                             size_t *n_pieces);
void opt_transforms_restored(opt_transforms *t);

/** "awq,clip:steps=20" as read, for the file's metadata. */
const char *opt_transforms_text(const opt_transforms *t);
/** Lists in a result of opt_plan_result what they will do, and, after the run, what they did; the
 * second cannot fail. */
OPT_MUST_USE opt_status opt_transforms_result(const opt_transforms *t, opt_quantize_result *result);
void opt_transforms_complete_result(const opt_transforms *t, opt_quantize_result *result);

#endif
