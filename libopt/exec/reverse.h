/**
 * The reverse pass: gradients of a loss of the logits (or of whatever a cut of the graph ends in)
 * by walking the graph's nodes backwards over kept activations (Rumelhart, Hinton & Williams 1986).
 * There is no tape: every op knows its own reverse from its inputs and outputs.
 */
#ifndef OPT_EXEC_REVERSE_H
#define OPT_EXEC_REVERSE_H

#include "exec/session.h"

/**
 * Receives outputs [n_rows, width] of rows row0 .. and writes the gradient of the loss with respect
 * to them, grad [n_rows, width]. Runs on the calling thread.
 */
typedef opt_status (*opt_loss_fn)(void *user, int64_t row0, int64_t n_rows, const float *out,
                                  float *grad);

/** Where gradients go. */
typedef struct opt_gradients {
    /** [model->n_weights]: buffers of the weights' shapes, rows in the order of the tensor; what is
     * found is added. NULL for weights that the session was not opened for; a NULL entry leaves a
     * weight out of this run. */
    float *const *weights;
    float *input; /**< [n, width] of the feed node, overwritten; NULL: not wanted */
} opt_gradients;

/**
 * Runs n tokens, a whole sequence of at most n_batch, forward from an empty cache, asks the loss
 * for gradients of the outputs in pieces of rows, and adds the gradients of the weights. The
 * session must have been opened with `reverse`. Weights that lie in memory as f32 may be changed
 * between runs. The bits depend on the inputs only, not on threads. Errors: USAGE; UNSUPPORTED if
 * an op has no reverse; what the loss returns; cancellation.
 */
OPT_MUST_USE opt_status opt_session_reverse(opt_session *s, const int32_t *tokens, int64_t n,
                                            opt_loss_fn loss, void *user,
                                            const opt_gradients *gradients);

/* ---- for session.c ---- */

/** Notes what is wanted; comes before the nodes are prepared. Errors: MEMORY, UNSUPPORTED. */
OPT_MUST_USE opt_status opt_reverse_prepare(opt_session *s, const opt_reverse_options *options);
/** Points the nodes to their gradients. */
void opt_reverse_bind(opt_session *s);

#endif
