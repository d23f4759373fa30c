/** Carrying out a plan: encodes tile by tile on all threads and streams the file. */
#ifndef OPT_FLOW_EMIT_H
#define OPT_FLOW_EMIT_H

#include "flow/block.h"
#include "flow/calibrate.h"
#include "flow/plan.h"
#include "flow/transforms.h"

typedef struct opt_emit_options {
    const char *output;
    bool force;
    const char *step; /* name of the progress step */
    /** Makes plan->kv and calls opt_plan_finish; runs on one thread while the others begin to
        encode. */
    opt_status (*prepare)(void *user);
    void *user;
    opt_calibration *calibration;            /* NULL: none */
    opt_transforms *transforms;              /* NULL: none; the calibration's, where there is one */
    opt_block *block;                        /* improves blocks as a whole; NULL: none */
    int sweeps;                              /* of methods that refine */
    opt_status (*before_commit)(void *user); /* the tensors are written; NULL: nothing to do */
    bool fresh; /* begin anew even if an interrupted run could be continued */
} opt_emit_options;

/** Bytes that the engine allocates beyond the writer's header. */
uint64_t opt_emit_bytes(const opt_plan *plan);

/**
 * Writes the file: under a temporary name, verified, then renamed. Fills rmse and rel_error of the
 * plan's tensors. The bytes do not depend on the number of threads. Errors: NUMERIC for a weight
 * that is NaN or infinite, or that the output format cannot hold, naming tensor, count and first
 * index; what the writer reports; cancellation.
 */
OPT_MUST_USE opt_status opt_emit(opt_plan *plan, const opt_emit_options *options);

/** Refuses (USAGE) an output that is one of the input files. */
OPT_MUST_USE opt_status opt_emit_refuse_inputs(opt_ctx *ctx, const opt_source *source,
                                               const char *output);

#endif
