#include "eval/perplexity.h"

#include "base/mem.h"
#include "base/pool.h"

/** What the logits callback needs to score the rows of the current window. */
typedef struct nll_job {
    opt_ctx *ctx;
    const opt_kern *kern;
    int64_t n_vocab;
    const int32_t *targets; /* [ctx - 1]: token that row r predicts */
    double *nll;            /* [ctx - 1 - first_row], indexed from first_row */
    int64_t first_row;
    int64_t row0;
    const float *logits; /* [rows of this piece, n_vocab] */
} nll_job;

static opt_status score_row(void *user, int64_t tile, int worker) {
    (void)worker;
    const nll_job *job = user;
    const float *row = job->logits + tile * job->n_vocab;
    const int64_t r = job->row0 + tile;
    int64_t argmax;
    const double lse = job->kern->logsumexp(row, job->n_vocab, &argmax);
    job->nll[r - job->first_row] = lse - (double)row[job->targets[r]];
    return OPT_OK;
}

static opt_status score_rows(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    nll_job *job = user;
    job->row0 = row0;
    job->logits = logits;
    return opt_parallel_for(job->ctx, n_rows, score_row, job);
}

opt_status opt_eval_nll(opt_ctx *ctx, opt_session *session, const opt_windows *w, double *nll) {
    opt_status st = OPT_OK;
    int32_t *tokens = opt_alloc_array(ctx, (size_t)w->ctx, sizeof *tokens);
    OPT_TRY_PTR(tokens);
    nll_job job = {.ctx = ctx,
                   .kern = opt_kern_get(ctx),
                   .n_vocab = opt_session_n_vocab(session),
                   .targets = tokens + 1,
                   .first_row = w->first_row};
    OPT_TRY_PTR(job.kern);
    for (int64_t i = 0; i < w->n_windows; i++) {
        opt_progress(ctx, "perplexity", (double)i, (double)w->n_windows);
        opt_windows_get(w, i, tokens);
        opt_session_truncate(session, 0);
        job.nll = nll + i * opt_windows_rows(w);
        OPT_TRY(opt_session_eval(session, tokens, w->ctx - 1, w->first_row, score_rows, &job));
    }
    opt_progress(ctx, "perplexity", (double)w->n_windows, (double)w->n_windows);
done:
    opt_free(ctx, tokens);
    return st;
}
