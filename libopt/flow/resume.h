/**
 * What an interrupted calibrated run is continued from: the solved tensors of every finished stage
 * (flow/calibrate.h) and what transforms did to others, one file each in the work directory of the
 * output.
 */
#ifndef OPT_FLOW_RESUME_H
#define OPT_FLOW_RESUME_H

#include "base/workdir.h"
#include "calib/corpus.h"
#include "flow/plan.h"

/**
 * Opens the work directory of `output`. Its journal is made from everything the bytes depend on:
 * the source (names, shapes, sizes and times of its files, the first bytes of every tensor), the
 * plan with its metadata (plan->kv must be there), the calibration tokens, `options` (one line of
 * text), the instruction set and the version. Errors: those of opt_workdir_open.
 */
OPT_MUST_USE opt_status opt_resume_open(const opt_plan *plan, const opt_corpus *corpus,
                                        const char *options, const char *output, bool fresh,
                                        opt_workdir **out);

/** The tensors of one stage: those of the plan for which tensors [n_weights] has an entry. */
typedef struct opt_stage_state {
    opt_plan *plan;
    int stage;
    const opt_tensor *const *tensors; /* by index of the weight; their data is what is kept */
    opt_plan_sums *sums;              /* [plan->n] */
    const opt_piece *more;            /* [n_more] memory that is kept besides; written by loading */
    size_t n_more;
} opt_stage_state;

/** Saves a finished stage, with the sums and what the plan says about calibration. */
OPT_MUST_USE opt_status opt_resume_save(opt_workdir *w, const opt_stage_state *s);
/**
 * Loads it into the same places; *found is false if it was not saved. Errors: INPUT naming the file
 * if it is damaged.
 */
OPT_MUST_USE opt_status opt_resume_load(const opt_workdir *w, const opt_stage_state *s,
                                        bool *found);
/** The same from the bytes of a file; `name` is for messages. */
OPT_MUST_USE opt_status opt_resume_parse(const opt_stage_state *s, const char *name,
                                         const uint8_t *data, size_t bytes);

#endif
