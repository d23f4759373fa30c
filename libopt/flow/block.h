/**
 * Block-level rounding beside the engine of flow/emit.h: all tensors of a block are solved one by
 * one by their method, then improved together so that the block's outputs on the calibration text
 * come nearer to what the float model gives there (solve/signround.h).
 */
#ifndef OPT_FLOW_BLOCK_H
#define OPT_FLOW_BLOCK_H

#include "flow/calibrate.h"

typedef struct opt_block_options {
    int n_steps;   /* per block; 0: nothing is improved */
    int n_batch;   /* windows of a step */
    int sweeps;    /* of methods that refine */
    uint64_t seed; /* chooses the windows */
} opt_block_options;

typedef struct opt_block opt_block;

/** Whether a tensor of the plan is solved here: a calibrated matrix of a block without appended
 * rows or columns. It is improved, too, if its format has a scalar grid of few bits. */
bool opt_block_solves(const opt_plan_tensor *t);

/** The calibration is borrowed. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_block_new(opt_plan *plan, opt_calibration *calibration,
                                      const opt_block_options *options, opt_block **out);
void opt_block_free(opt_block *b);

/** Comes behind opt_calibration_enter: solves and improves the tensors of the stage. Tensors with
 * weights that their format cannot take are left to the engine, which reports them. */
OPT_MUST_USE opt_status opt_block_enter(opt_block *b, int stage);
/**
 * Copies rows of plan tensor i to dst, and adds to *nearest what they had as error rounded to
 * nearest (opt_quant_job); false if the tensor was not solved here. A run of rows must be a tile of
 * the plan. Thread-safe.
 */
bool opt_block_take(const opt_block *b, int64_t i, int64_t row0, int64_t n_rows, uint8_t *dst,
                    double *nearest);

/** Bytes that this holds at most, beside the calibration. Builds a session and frees it again.
 * Errors: MEMORY. */
OPT_MUST_USE opt_status opt_block_bytes(const opt_plan *plan,
                                        const opt_calibration_options *options, uint64_t *out);

#endif
