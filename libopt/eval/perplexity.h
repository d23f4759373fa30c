/** Perplexity of a model on evaluation windows. */
#ifndef OPT_EVAL_PERPLEXITY_H
#define OPT_EVAL_PERPLEXITY_H

#include "eval/windows.h"
#include "exec/session.h"

/**
 * Negative log-likelihood in nats of every scored token: nll [opt_windows_n_scored], window by
 * window, row by row; nll = logsumexp(logits) - logits[true token]. The session's cache is emptied
 * before each window; it must hold w->ctx - 1 positions. Memory: one piece of logits, whatever the
 * window.
 */
OPT_MUST_USE opt_status opt_eval_nll(opt_ctx *ctx, opt_session *session, const opt_windows *w,
                                     double *nll);

#endif
