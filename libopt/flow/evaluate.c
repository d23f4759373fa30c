/* perplexity and compare: text -> tokens -> windows -> per-token figures -> summary with intervals.
 */
#include <math.h>

#include "base/clock.h"
#include "eval/divergence.h"
#include "eval/perplexity.h"
#include "eval/stats.h"
#include "flow/runner.h"

#define DEFAULT_WINDOW 512
#define Z95 1.959963984540054

/** Cuts the tokens into windows as the options say. */
static opt_status plan_windows(opt_runner *r, const opt_eval_options *o, const opt_tokens *tokens,
                               opt_windows *out) {
    opt_status st = OPT_OK;
    const int64_t window = o->ctx > 0 ? o->ctx : DEFAULT_WINDOW;
    const opt_tokenizer *t = r->opened.tokenizer;
    const bool stock = o->convention == OPT_PPL_LLAMA_CPP;
    OPT_REQUIRE(!stock || window > 2, r->ctx, OPT_ERR_USAGE, "--ctx",
                "the second half of a window of %lld tokens predicts nothing; use at least 3",
                (long long)window);
    const bool bos = stock && o->bos == OPT_BOS_AUTO && opt_tokenizer_adds_bos(t);
    OPT_TRY(opt_windows_make(r->ctx, o->text_name != NULL ? o->text_name : "text", tokens->ids,
                             (int64_t)tokens->n, window, o->n_windows, stock ? window / 2 : 0,
                             bos ? opt_tokenizer_bos(t) : -1, out));
done:
    return st;
}

static void fill_ppl(const double *nll, int64_t n, opt_ppl_result *result) {
    opt_stats_mean(nll, n, &result->nll, &result->nll_stderr);
    result->ppl = exp(result->nll);
    result->ppl_low = exp(result->nll - Z95 * result->nll_stderr);
    result->ppl_high = exp(result->nll + Z95 * result->nll_stderr);
}

opt_status opt_perplexity(opt_ctx *ctx, opt_runner *r, const opt_eval_options *options,
                          opt_ppl_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    opt_tokens tokens = {0};
    opt_windows windows;
    opt_session *session = NULL;
    double *nll = NULL;
    OPT_TRY(
        opt_runner_tokenize(r, options->text, options->text_bytes, options->bos, false, &tokens));
    OPT_TRY(plan_windows(r, options, &tokens, &windows));
    OPT_TRY(opt_runner_session(r, windows.ctx, &session));
    const int64_t n = opt_windows_n_scored(&windows);
    nll = opt_alloc_array(ctx, (size_t)n, sizeof *nll);
    OPT_TRY_PTR(nll);
    OPT_TRY(opt_eval_nll(ctx, session, &windows, nll));
    *result = (opt_ppl_result){
        .convention = options->convention,
        .n_text_tokens = (int64_t)tokens.n,
        .n_windows = windows.n_windows,
        .n_scored = n,
        .ctx = windows.ctx,
    };
    fill_ppl(nll, n, result);
    result->seconds = opt_seconds() - start;
done:
    opt_free(ctx, nll);
    opt_tokens_free(ctx, &tokens);
    return st;
}

/** The comparison is only fair if both models read the same tokens. */
static opt_status check_same_tokens(opt_ctx *ctx, const opt_tokens *a, const opt_tokens *b) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(
        a->n == b->n, ctx, OPT_ERR_USAGE, NULL,
        "the two models cut the text into different tokens (%zu and %zu): they cannot be compared",
        a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        OPT_REQUIRE(a->ids[i] == b->ids[i], ctx, OPT_ERR_USAGE, NULL,
                    "the two models cut the text into different tokens (%d and %d at %zu): they "
                    "cannot be compared",
                    a->ids[i], b->ids[i], i);
    }
done:
    return st;
}

/** Copies one member of every row into x and summarises it. */
#define MEAN_OF(rows, n, x, expression, mean_out)                                                  \
    do {                                                                                           \
        for (int64_t i_ = 0; i_ < (n); i_++) {                                                     \
            const opt_divergence *d = &(rows)[i_];                                                 \
            (x)[i_] = (expression);                                                                \
        }                                                                                          \
        opt_stats_mean((x), (n), &(mean_out)->mean, &(mean_out)->stderr_);                         \
    } while (0)

static void summarise(const opt_divergence *rows, int64_t n, double *x,
                      opt_compare_result *result) {
    opt_mean nll_ref, nll, square;
    MEAN_OF(rows, n, x, d->same_top1 ? 1.0 : 0.0, &result->same_top1);
    opt_stats_wilson(result->same_top1.mean, n, Z95, &result->same_top1_low,
                     &result->same_top1_high);
    MEAN_OF(rows, n, x, exp(-d->nll) - exp(-d->nll_ref), &result->delta_p);
    MEAN_OF(rows, n, x, (exp(-d->nll) - exp(-d->nll_ref)) * (exp(-d->nll) - exp(-d->nll_ref)),
            &square);
    MEAN_OF(rows, n, x, d->nll - d->nll_ref, &result->ln_ppl_ratio);
    MEAN_OF(rows, n, x, d->nll_ref, &nll_ref);
    MEAN_OF(rows, n, x, d->nll, &nll);
    MEAN_OF(rows, n, x, d->kld, &result->kld);
    result->delta_p_rms = sqrt(square.mean);
    result->ppl_reference = exp(nll_ref.mean);
    result->ppl_model = exp(nll.mean);
    opt_stats_sort(x, n); /* holds the divergences now */
    result->kld_median = opt_stats_percentile(x, n, 50);
    result->kld_p90 = opt_stats_percentile(x, n, 90);
    result->kld_p95 = opt_stats_percentile(x, n, 95);
    result->kld_p99 = opt_stats_percentile(x, n, 99);
    result->kld_p999 = opt_stats_percentile(x, n, 99.9);
    result->kld_max = x[n - 1];
}

opt_status opt_compare(opt_ctx *ctx, opt_runner *reference, opt_runner *model,
                       const opt_eval_options *options, opt_compare_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    opt_tokens tokens = {0}, other = {0};
    opt_windows windows;
    opt_session *ref_session = NULL, *session = NULL;
    opt_divergence *rows = NULL;
    double *x = NULL;
    OPT_TRY(opt_runner_tokenize(reference, options->text, options->text_bytes, options->bos, false,
                                &tokens));
    OPT_TRY(opt_runner_tokenize(model, options->text, options->text_bytes, options->bos, false,
                                &other));
    OPT_TRY(check_same_tokens(ctx, &tokens, &other));
    OPT_TRY(plan_windows(reference, options, &tokens, &windows));
    OPT_TRY(opt_runner_session(reference, windows.ctx, &ref_session));
    OPT_TRY(opt_runner_session(model, windows.ctx, &session));
    const int64_t n = opt_windows_n_scored(&windows);
    rows = opt_alloc_array(ctx, (size_t)n, sizeof *rows);
    OPT_TRY_PTR(rows);
    x = opt_alloc_array(ctx, (size_t)n, sizeof *x);
    OPT_TRY_PTR(x);
    OPT_TRY(opt_eval_divergence(ctx, ref_session, session, &windows, "compare", rows));
    *result = (opt_compare_result){.convention = options->convention,
                                   .n_windows = windows.n_windows,
                                   .n_scored = n,
                                   .ctx = windows.ctx};
    summarise(rows, n, x, result);
    result->seconds = opt_seconds() - start;
done:
    opt_free(ctx, rows);
    opt_free(ctx, x);
    opt_tokens_free(ctx, &tokens);
    opt_tokens_free(ctx, &other);
    return st;
}
