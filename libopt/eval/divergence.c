#include "eval/divergence.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"

/** Bytes of reference logits that are held at once, at most (but at least one row). */
#define HELD_BYTES ((int64_t)32 << 20)

void opt_divergence_of(const opt_kern *k, const float *reference, const float *model,
                       int64_t n_vocab, int32_t target, opt_divergence *out) {
    int64_t top_ref;
    int64_t top;
    const double lse_ref = k->logsumexp(reference, n_vocab, &top_ref);
    const double lse = k->logsumexp(model, n_vocab, &top);
    double expected = 0.0;
    for (int64_t i = 0; i < n_vocab; i++) {
        const double p = (double)expf((float)((double)reference[i] - lse_ref));
        expected += p * ((double)reference[i] - (double)model[i]);
    }
    out->kld = expected + lse - lse_ref;
    out->nll_ref = lse_ref - (double)reference[target];
    out->nll = lse - (double)model[target];
    out->same_top1 = top == top_ref;
}

/** State of one window; `held` keeps the reference's logits of the current run of tokens. */
typedef struct divergence_job {
    opt_ctx *ctx;
    const opt_kern *kern;
    int64_t n_vocab;
    int64_t run0;           /* first row of the current run, in the window */
    int64_t first_row;      /* first scored row of the window */
    const int32_t *targets; /* [ctx - 1] */
    opt_divergence *out;    /* indexed from first_row */
    float *held;            /* [run rows, n_vocab] */
    int64_t piece_row0;
    const float *piece;
} divergence_job;

static opt_status hold_rows(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    divergence_job *job = user;
    memcpy(job->held + row0 * job->n_vocab, logits,
           (size_t)(n_rows * job->n_vocab) * sizeof *logits);
    return OPT_OK;
}

static opt_status compare_row(void *user, int64_t tile, int worker) {
    (void)worker;
    const divergence_job *job = user;
    const int64_t in_run = job->piece_row0 + tile;
    const int64_t row = job->run0 + in_run;
    opt_divergence_of(job->kern, job->held + in_run * job->n_vocab,
                      job->piece + tile * job->n_vocab, job->n_vocab, job->targets[row],
                      &job->out[row - job->first_row]);
    return OPT_OK;
}

static opt_status compare_rows(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    divergence_job *job = user;
    job->piece_row0 = row0;
    job->piece = logits;
    return opt_parallel_for(job->ctx, n_rows, compare_row, job);
}

/** Runs tokens[n] of one window through both models in turns of at most `run` tokens. */
static opt_status compare_window(divergence_job *job, opt_session *reference, opt_session *model,
                                 const int32_t *tokens, int64_t n, int64_t run) {
    opt_status st = OPT_OK;
    opt_session_truncate(reference, 0);
    opt_session_truncate(model, 0);
    if (job->first_row > 0) { /* context that is not scored: no logits, so no need to take turns */
        OPT_TRY(opt_session_eval(reference, tokens, job->first_row, job->first_row, NULL, NULL));
        OPT_TRY(opt_session_eval(model, tokens, job->first_row, job->first_row, NULL, NULL));
    }
    for (job->run0 = job->first_row; job->run0 < n; job->run0 += run) {
        const int64_t len = opt_min_i64(run, n - job->run0);
        OPT_TRY(opt_session_eval(reference, tokens + job->run0, len, 0, hold_rows, job));
        OPT_TRY(opt_session_eval(model, tokens + job->run0, len, 0, compare_rows, job));
    }
done:
    return st;
}

opt_status opt_eval_divergence(opt_ctx *ctx, opt_session *reference, opt_session *model,
                               const opt_windows *w, const char *step, opt_divergence *out) {
    opt_status st = OPT_OK;
    int32_t *tokens = NULL;
    divergence_job job = {.ctx = ctx,
                          .kern = opt_kern_get(ctx),
                          .n_vocab = opt_session_n_vocab(reference),
                          .first_row = w->first_row};
    OPT_TRY_PTR(job.kern);
    OPT_REQUIRE(opt_session_n_vocab(model) == job.n_vocab, ctx, OPT_ERR_USAGE, "compare",
                "the models differ in their vocabulary: %" PRId64 " and %" PRId64 " tokens",
                job.n_vocab, opt_session_n_vocab(model));
    const int64_t fits = HELD_BYTES / ((int64_t)sizeof(float) * job.n_vocab);
    const int64_t run = opt_min_i64(opt_max_i64(fits, 1), opt_windows_rows(w));
    tokens = opt_alloc_array(ctx, (size_t)w->ctx, sizeof *tokens);
    OPT_TRY_PTR(tokens);
    job.targets = tokens + 1;
    job.held = opt_alloc_array(ctx, (size_t)(run * job.n_vocab), sizeof *job.held);
    OPT_TRY_PTR(job.held);
    for (int64_t i = 0; i < w->n_windows; i++) {
        if (step != NULL) {
            opt_progress(ctx, step, (double)i, (double)w->n_windows);
        }
        opt_windows_get(w, i, tokens);
        job.out = out + i * opt_windows_rows(w);
        OPT_TRY(compare_window(&job, reference, model, tokens, w->ctx - 1, run));
    }
    if (step != NULL) {
        opt_progress(ctx, step, (double)w->n_windows, (double)w->n_windows);
    }
done:
    opt_free(ctx, tokens);
    opt_free(ctx, job.held);
    return st;
}
