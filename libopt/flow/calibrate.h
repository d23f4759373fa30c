/**
 * Calibration beside the engine of flow/emit.h: before the tensors of a block are solved, the
 * calibration text has run through all blocks before it, as they were written; and through the
 * block itself, for the Gram matrices of its inputs. Stages (opt_plan_tensor.stage) are the units
 * of the graph: -1 is the embedding, n_units the final norm and the head.
 */
#ifndef OPT_FLOW_CALIBRATE_H
#define OPT_FLOW_CALIBRATE_H

#include "calib/stream.h"
#include "flow/plan.h"
#include "flow/resume.h"

/** Windows of a step of rounding whole blocks, unless told otherwise. */
#define OPT_CALIBRATION_BLOCK_BATCH 1

#define OPT_CALIBRATION_MAX_FILES 64

typedef struct opt_calibration_options {
    opt_corpus_options text; /* n_paths 0: no calibration */
    double weights[OPT_CALIBRATION_MAX_FILES];
    bool spills;           /* activations are in a file of the work directory, all but a window */
    bool saves_statistics; /* opt_plan_tensor.mean_square is filled; nothing is resumed */
    opt_compute compute;
    /* Of rounding whole blocks (flow/block.h): a run that goes on must agree in them. */
    int block_steps, block_batch;
    bool one_pass; /* statistics of the float model: blocks do not see what was solved before */
    struct opt_transforms *transforms; /* flow/transforms.h; NULL: none. Borrowed */
} opt_calibration_options;

/** From the options of the tool; `out` must stay where it is. Errors: USAGE. */
OPT_MUST_USE opt_status opt_calibration_read_options(opt_ctx *ctx, const opt_quantize_options *o,
                                                     opt_calibration_options *out);

/** Windows that run through the float model for a tied embedding, before anything is solved. */
#define OPT_CALIBRATION_EARLY_WINDOWS 32
/**
 * What a tied embedding adds to the diagonal of its Gram matrix as a head, over the diagonal's
 * mean, for its role as an embedding.
 */
#define OPT_CALIBRATION_EMBEDDING_SHARE 0.1
/** Adds that. */
void opt_calibration_add_embedding(opt_gram *g);

typedef struct opt_calibration opt_calibration;

/** Whether a tensor of the plan is calibrated: a matrix of a linear node (the head and a tied
 * embedding, too), solved by a method that wants it. */
bool opt_calibrates(const opt_plan_tensor *t);

/** Whether it is solved with the shift of its Hessian: a matrix of a block whose method uses it.
 * Outside blocks, what quantized weights and float weights show a tensor is the same (embedding),
 * or the shift is left out (head). */
bool opt_calibration_shifts(const opt_model *m, const opt_plan_tensor *t);

/** Reads the text. Errors: IO, INPUT, MEMORY, USAGE, UNSUPPORTED. */
OPT_MUST_USE opt_status opt_calibration_new(opt_plan *plan, const opt_tokenizer *tokenizer,
                                            const opt_calibration_options *options,
                                            opt_calibration **out);
void opt_calibration_free(opt_calibration *c);

/**
 * Comes first: opens the work directory of `output` (flow/resume.h), from which a run that was
 * interrupted goes on, and reserves the activations; plan->kv must be there.
 */
OPT_MUST_USE opt_status opt_calibration_begin(opt_calibration *c, const char *output, int sweeps,
                                              bool fresh);
/**
 * Comes before the first tile of the first tensor of a stage; stages come in order. Fills what
 * the plan says about calibration; for a stage that was saved, also its tensors' sums [plan->n].
 * Called by one thread.
 */
OPT_MUST_USE opt_status opt_calibration_enter(opt_calibration *c, int stage, opt_plan_sums *sums);
/** Comes behind the last tile of a stage, with the sums of its tensors: saves it. */
OPT_MUST_USE opt_status opt_calibration_leave(opt_calibration *c, opt_plan_sums *sums);
/** The output is in place: removes the work directory. */
void opt_calibration_finish(opt_calibration *c);
/** Writes rows of plan tensor i to dst if the stage was saved; false if they are to be solved.
 * Thread-safe. */
bool opt_calibration_take(const opt_calibration *c, int64_t i, int64_t row0, int64_t n_rows,
                          uint8_t *dst);
/** Comes before the first tile of plan tensor i if it is late (opt_plan_tensor.late): what it
 * depends on has been kept. */
OPT_MUST_USE opt_status opt_calibration_late(opt_calibration *c, int64_t i);
/** Whether plan tensor i has to wait until the block has run further (opt_calibration_reach). */
bool opt_calibration_pending(const opt_calibration *c, int64_t i);
/** Comes before the first tile of a tensor that is pending: lets the text run through the block as
 * far as the tensor's input, with all tensors before it as they were written. */
OPT_MUST_USE opt_status opt_calibration_reach(opt_calibration *c, int64_t i);
/**
 * Whether blocks run in steps (calib/steps.h), so that a matrix is solved for what the solved
 * matrices before it show it; otherwise a block runs as a whole, once with float weights for all
 * its Gram matrices and once as it was solved: with --one-pass, with transforms (which want all
 * matrices of a block at once), where blocks are rounded as a whole but columns are appended to
 * some of their matrices, and where the order of tensors or the graph does not allow it. steps
 * [n_units] are valid where *in_steps. Errors: MEMORY.
 */
OPT_MUST_USE opt_status opt_calibration_plan_steps(const opt_plan *plan,
                                                   const opt_calibration_options *options,
                                                   opt_steps *steps, bool *in_steps);
/** The Hessian of plan tensor i, whose stage was entered; NULL if it is not calibrated. */
const opt_hessian *opt_calibration_hessian(const opt_calibration *c, int64_t i);
/** Takes encoded rows [n_rows] of plan tensor i, so that later units see them. Thread-safe for
 * different rows. */
void opt_calibration_keep(opt_calibration *c, int64_t i, int64_t row0, int64_t n_rows,
                          const uint8_t *rows);

/** Whether the stage that was entered was saved by an earlier run. */
bool opt_calibration_restored(const opt_calibration *c);
/** The text, and the activations before the stage that was entered. */
const opt_corpus *opt_calibration_corpus(const opt_calibration *c);
opt_stream *opt_calibration_stream(const opt_calibration *c);
/** Where blocks are rounded as a whole: what the float model gives behind the stage that was
 * entered; comes behind its last opt_calibration_reach. The stream stays the calibration's. */
OPT_MUST_USE opt_status opt_calibration_targets(opt_calibration *c, opt_stream **out);

/** Whether later stages must see a tensor as it was written and not as the source has it. */
bool opt_calibration_keeps(const opt_plan_tensor *t);
/**
 * Bytes that calibration will hold at most, with options->spills as given (flow/calib_bytes.c).
 * Runs nothing, but looks at the sizes of the files. Errors: IO; MEMORY.
 */
OPT_MUST_USE opt_status opt_calibration_bytes(const opt_plan *plan,
                                              const opt_calibration_options *options,
                                              uint64_t *out);

#endif
