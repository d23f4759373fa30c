/**
 * Calibration block by block: the activations of all windows between two units are held in memory,
 * and one unit at a time runs over them.
 */
#ifndef OPT_CALIB_STREAM_H
#define OPT_CALIB_STREAM_H

#include "calib/corpus.h"
#include "calib/gram.h"
#include "calib/steps.h"
#include "exec/session.h"
#include "model/cut.h"

typedef struct opt_stream opt_stream;

/**
 * Reserves activations for the windows (borrowed, must outlive the stream): in memory, or with
 * `spill` (a directory) all but one window in a file there. Errors: MEMORY; IO; UNSUPPORTED for a
 * model without an embedding before its blocks.
 */
OPT_MUST_USE opt_status opt_stream_new(opt_ctx *ctx, const opt_model *model,
                                       const opt_corpus *corpus, const char *spill,
                                       opt_stream **out);
void opt_stream_free(opt_stream *s);

/** Activations of another stream of the same model and windows. Errors: IO. */
OPT_MUST_USE opt_status opt_stream_copy(opt_stream *s, opt_stream *from);

/** How the units run: OPT_COMPUTE_EXACT unless this says _I16 or _BF16, for both of which Gram
 * matrices are added up in 16-bit block integers. */
void opt_stream_set_compute(opt_stream *s, opt_compute compute);

/**
 * Runs unit `unit` (-1: what comes before the first block) over all windows: its inputs become its
 * outputs. Units run in order. `replaced` as in opt_model_cut: the quantized weights, so that later
 * units see what they will see.
 */
OPT_MUST_USE opt_status opt_stream_advance(opt_stream *s, int unit,
                                           const opt_tensor *const *replaced);

/**
 * Runs a unit up to the last of its linear nodes whose weight is `wanted` [model->n_weights] and
 * adds up the Gram matrices of their inputs: grams [model->n_nodes] (zero-initialised by the
 * caller, who frees them), one for each node that such a linear node reads, under its index. The
 * activations stay as they are.
 */
OPT_MUST_USE opt_status opt_stream_collect(opt_stream *s, int unit, const bool *wanted,
                                           opt_gram *grams);
/** Both in one pass, with the weights as they are: for statistics of the float model. */
OPT_MUST_USE opt_status opt_stream_collect_advance(opt_stream *s, int unit, const bool *wanted,
                                                   opt_gram *grams);

/** Reserves room for the second output that is held between steps (opt_steps_width): in 16-bit
 * block integers, in f32 with OPT_COMPUTE_EXACT. Comes after opt_stream_set_compute, once. Errors:
 * MEMORY; IO. */
OPT_MUST_USE opt_status opt_stream_reserve(opt_stream *s, int64_t width);
/**
 * Runs a step of a unit over all windows, the steps of a unit in order; behind the last one the
 * outputs of the unit have taken the place of its inputs. `gram`, if not NULL, becomes the Gram
 * matrix of the outputs of the step's last node; it is zero-initialised by the caller, who frees
 * it.
 */
OPT_MUST_USE opt_status opt_stream_step(opt_stream *s, const opt_step_cut *cut,
                                        const opt_tensor *const *replaced, opt_gram *gram);
/**
 * The same, and the same step of another stream over the same windows, with the float weights. With
 * x the outputs of the step's last node and x' those of the other stream, cross [n, n] grows by the
 * sum of (x' - x) x^T.
 */
OPT_MUST_USE opt_status opt_stream_step_pair(opt_stream *s, opt_stream *floats,
                                             const opt_step_cut *cut,
                                             const opt_tensor *const *replaced, opt_gram *gram,
                                             double *cross);

/** Activations [n_ctx, width] of a window between the units; valid until another one is asked for
 * or the stream goes on. */
OPT_MUST_USE opt_status opt_stream_window(opt_stream *s, int64_t window, const float **out);

/** Bytes that a stream holds between runs: exactly. */
uint64_t opt_stream_bytes(const opt_model *model, int64_t n_windows, int64_t n_ctx, bool spills);
/** Bytes that opt_stream_reserve adds to them: exactly. */
uint64_t opt_stream_reserve_bytes(int64_t width, int64_t n_windows, int64_t n_ctx,
                                  opt_compute compute, bool spills);
/** Bytes that a step takes, or both of a pair, without the matrices. Builds a session and frees it
 * again. */
OPT_MUST_USE opt_status opt_stream_step_bytes(opt_ctx *ctx, const opt_model *model,
                                              const opt_step_cut *cut, int64_t n_ctx,
                                              opt_compute compute, bool pair, uint64_t *out);
/** Bytes that a run of a unit takes, whole or (wanted not NULL) for its matrices; without the
 * matrices themselves. Builds the session and frees it again. */
OPT_MUST_USE opt_status opt_stream_run_bytes(opt_ctx *ctx, const opt_model *model, int unit,
                                             const bool *wanted, int64_t n_ctx, opt_compute compute,
                                             uint64_t *out);

#endif
