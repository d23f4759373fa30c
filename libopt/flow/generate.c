#include "runtime/generate.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "exec/cache.h"
#include "flow/runner.h"

#define DEFAULT_MAX_TOKENS 128

/** Positions that the job needs, within the limit that the user set. */
static opt_status context_size(const opt_runner *r, int64_t n_prompt, int64_t max_tokens,
                               int64_t *out) {
    opt_status st = OPT_OK;
    const int64_t limit = r->options.n_ctx;
    const int64_t trained = r->opened.model->hp.n_ctx_train;
    int64_t need = 0;
    OPT_REQUIRE(opt_add_i64(n_prompt, max_tokens, &need), r->ctx, OPT_ERR_USAGE, NULL,
                "too many tokens asked for");
    if (limit > 0) {
        need = opt_min_i64(need, limit);
    } else if (trained > 0) { /* beyond what it was trained for a model writes nonsense; --ctx says
                                 otherwise */
        need = opt_min_i64(need, opt_max_i64(trained, n_prompt + 1));
    }
    OPT_REQUIRE(n_prompt <= need, r->ctx, OPT_ERR_USAGE, "--ctx",
                "the prompt has %lld tokens, only %lld positions are allowed", (long long)n_prompt,
                (long long)limit);
    if (trained > 0 && need > trained) {
        opt_warn(r->ctx, NULL,
                 "%lld positions are more than the %lld that the model was trained for",
                 (long long)need, (long long)trained);
    }
    *out = need;
done:
    return st;
}

/** Tokens that were left out go back to where they were. */
static opt_status put_back(opt_ctx *ctx, opt_tokens *tokens, const opt_tokens *dropped,
                           int64_t n_keep) {
    opt_status st = OPT_OK;
    const size_t keep = (size_t)n_keep, n = tokens->n;
    for (size_t i = 0; i < dropped->n; i++) {
        OPT_TRY(opt_tokens_push(ctx, tokens, 0));
    }
    if (dropped->n > 0) {
        memmove(tokens->ids + keep + dropped->n, tokens->ids + keep,
                (n - keep) * sizeof *tokens->ids);
        memcpy(tokens->ids + keep, dropped->ids, dropped->n * sizeof *tokens->ids);
    }
done:
    return st;
}

opt_status opt_generate(opt_ctx *ctx, opt_runner *r, const opt_generate_options *options,
                        opt_generate_result *result) {
    opt_status st = OPT_OK;
    opt_tokens tokens = {0}, dropped = {0};
    opt_generate_outcome outcome = {0};
    const int64_t max_tokens = options->max_tokens > 0 ? options->max_tokens : DEFAULT_MAX_TOKENS;
    int64_t n_ctx = 0, n_loaded = 0;
    opt_prefix *prefix = NULL;
    opt_generate_job job = {
        .tokenizer = r->opened.tokenizer,
        .tokens = &tokens,
        .n_vocab = r->opened.model->hp.n_vocab,
        .max_tokens = max_tokens,
        .stopper = {.stops = options->stops, .n = options->n_stops},
        .ignore_eos = options->ignore_eos,
        .end_token = -1,
        .on_text = options->on_text,
        .user = options->user,
    };
    OPT_TRY(opt_runner_tokenize(r, options->prompt, options->prompt_bytes, options->bos,
                                options->parse_special, &tokens));
    OPT_REQUIRE(tokens.n > 0, ctx, OPT_ERR_USAGE, NULL,
                "the prompt has no tokens: give a text with -p");
    OPT_TRY(context_size(r, (int64_t)tokens.n, max_tokens, &n_ctx));
    OPT_TRY(opt_sampler_new(ctx, &options->sampling, job.n_vocab, &job.sampler));
    OPT_TRY(opt_runner_session(r, n_ctx, &job.session));
    OPT_TRY(opt_runner_speculator(r, &options->speculation, &options->sampling, n_ctx,
                                  &job.speculator));
    OPT_TRY(opt_runner_prefix(r, job.session, &prefix));
    const int64_t n_prompt = (int64_t)tokens.n;
    if (options->shift.on) {
        job.dropped = &dropped;
        job.n_keep = options->shift.keep > 0 ? options->shift.keep : OPT_KEEP_TOKENS;
        OPT_REQUIRE(job.n_keep < n_ctx, ctx, OPT_ERR_USAGE, "--ctx-keep",
                    "%lld tokens to keep leave no room in a context of %lld positions",
                    (long long)job.n_keep, (long long)n_ctx);
    }
    const double start = opt_seconds();
    if (prefix != NULL) {
        OPT_TRY(opt_prefix_load(prefix, job.session, 0, tokens.ids, n_prompt - 1, &n_loaded));
    }
    if (prefix != NULL) {
        OPT_TRY(opt_prefix_read(prefix, job.session, tokens.ids, n_prompt));
    }
    const double load_seconds = opt_seconds() - start;
    OPT_TRY(opt_generate_run(ctx, &job, &outcome));
    if (prefix != NULL) {
        OPT_TRY(
            opt_prefix_save(prefix, job.session, 0, tokens.ids, opt_session_n_past(job.session)));
    }
    OPT_TRY(put_back(ctx, &tokens, &dropped, job.n_keep));
    *result = (opt_generate_result){
        .n_prompt = n_prompt,
        .n_generated = (int64_t)tokens.n - n_prompt,
        .stop_reason = outcome.stop_reason,
        .prompt_seconds = outcome.prompt_seconds + load_seconds,
        .generate_seconds = outcome.generate_seconds,
        .n_read = outcome.n_read,
        .n_passes = outcome.n_passes,
        .n_shifts = outcome.n_shifts,
        .n_guessed = outcome.n_guessed,
        .n_right = outcome.n_right,
        .cache_type = opt_cache_type_name(opt_session_cache_type(job.session)),
        .cache_bytes = opt_session_cache_bytes(job.session),
        .ids = tokens.ids,
        .impl = ctx,
    };
    tokens = (opt_tokens){0};
done:
    opt_tokens_free(ctx, &dropped);
    opt_tokens_free(ctx, &tokens);
    opt_sampler_free(job.sampler);
    opt_speculator_free(job.speculator);
    opt_stopper_free(ctx, &job.stopper);
    return st;
}

void opt_generate_result_free(opt_generate_result *result) {
    if (result->impl != NULL) {
        opt_free(result->impl, result->ids);
    }
    *result = (opt_generate_result){0};
}
