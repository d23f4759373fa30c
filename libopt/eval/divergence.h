/** How far a model's predictions are from a reference's, token by token on the same windows. */
#ifndef OPT_EVAL_DIVERGENCE_H
#define OPT_EVAL_DIVERGENCE_H

#include <stdbool.h>

#include "eval/windows.h"
#include "exec/session.h"

/** One scored token. */
typedef struct opt_divergence {
    double kld;     /**< KL(p_reference || p_model) in nats over the whole vocabulary */
    double nll_ref; /**< -ln p_reference(true token) */
    double nll;     /**< -ln p_model(true token) */
    bool same_top1; /**< both find the same token most likely */
} opt_divergence;

/**
 * Compares two logit vectors [n_vocab] for one true token:
 * KL = sum_i p_i (r_i - m_i) + lse(m) - lse(r), with p = softmax(r), sums in double.
 */
void opt_divergence_of(const opt_kern *k, const float *reference, const float *model,
                       int64_t n_vocab, int32_t target, opt_divergence *out);

/**
 * Fills out [opt_windows_n_scored], window by window. Both sessions must hold w->ctx - 1 positions
 * and share the vocabulary (checked: USAGE). The two models take turns on short runs of tokens, so
 * that only a bounded piece of the reference's logits is held, never those of a window. `step`
 * names the progress; NULL: none is told.
 */
OPT_MUST_USE opt_status opt_eval_divergence(opt_ctx *ctx, opt_session *reference,
                                            opt_session *model, const opt_windows *w,
                                            const char *step, opt_divergence *out);

#endif
