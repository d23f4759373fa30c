#include <stdlib.h>

#include "base/rng.h"
#include "flow/runner.h"

#define DEFAULT_PROMPT 512
#define DEFAULT_GEN 128
#define DEFAULT_REPEATS 3

/** Speeds of the repeats, and where the tokens come from. */
typedef struct bench {
    opt_ctx *ctx;
    opt_session *session;
    int32_t *
        tokens; /* [n_prompt + n_gen]: the content does not matter for the speed of a dense model */
    int64_t n_prompt, n_gen;
} bench;

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** Median of x[n]; sorts it. */
static double median(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 == 1 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static opt_status ignore_logits(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    (void)user;
    (void)row0;
    (void)n_rows;
    (void)logits;
    return OPT_OK;
}

/** One measurement of reading the prompt at once and of writing tokens one by one (each with its
 * logits). */
static opt_status measure(const bench *b, double *prompt_tps, double *gen_tps) {
    opt_status st = OPT_OK;
    opt_session_truncate(b->session, 0);
    double start = opt_flow_seconds();
    OPT_TRY(
        opt_session_eval(b->session, b->tokens, b->n_prompt, b->n_prompt - 1, ignore_logits, NULL));
    *prompt_tps = (double)b->n_prompt / (opt_flow_seconds() - start);
    opt_session_truncate(b->session,
                         0); /* as other programs measure it: writing starts with an empty cache */
    start = opt_flow_seconds();
    for (int64_t i = 0; i < b->n_gen; i++) {
        OPT_TRY(opt_check_cancel(b->ctx));
        OPT_TRY(
            opt_session_eval(b->session, b->tokens + b->n_prompt + i, 1, 0, ignore_logits, NULL));
    }
    *gen_tps = (double)b->n_gen / (opt_flow_seconds() - start);
done:
    return st;
}

/** Weight bytes that one token reads: all but the embedding, unless that is also the head. */
static double bytes_per_token(const opt_model *m) {
    double bytes = 0;
    for (int i = 0; i < m->n_weights; i++) {
        const opt_weight *w = &m->weights[i];
        bytes += w->role == OPT_ROLE_EMBEDDING && !w->tied ? 0 : (double)w->tensor->bytes;
    }
    return bytes;
}

opt_status opt_bench(opt_ctx *ctx, opt_runner *r, const opt_bench_options *options,
                     opt_bench_result *result) {
    opt_status st = OPT_OK;
    bench b = {
        .ctx = ctx,
        .n_prompt = options->n_prompt > 0 ? options->n_prompt : DEFAULT_PROMPT,
        .n_gen = options->n_gen > 0 ? options->n_gen : DEFAULT_GEN,
    };
    const int64_t n = options->n_repeats > 0 ? options->n_repeats : DEFAULT_REPEATS;
    double *prompt = opt_alloc_array(ctx, (size_t)n, sizeof *prompt);
    double *gen = opt_alloc_array(ctx, (size_t)n, sizeof *gen);
    double warm_prompt, warm_gen;
    OPT_TRY_PTR(prompt);
    OPT_TRY_PTR(gen);
    b.tokens = opt_alloc_array(ctx, (size_t)(b.n_prompt + b.n_gen), sizeof *b.tokens);
    OPT_TRY_PTR(b.tokens);
    const uint64_t key = opt_rng_key(0, "bench", "tokens");
    for (int64_t i = 0; i < b.n_prompt + b.n_gen; i++) {
        b.tokens[i] =
            (int32_t)(opt_rng_u64(key, (uint64_t)i) % (uint64_t)r->opened.model->hp.n_vocab);
    }
    OPT_TRY(opt_runner_session(r, b.n_prompt > b.n_gen ? b.n_prompt : b.n_gen, &b.session));
    OPT_TRY(measure(&b, &warm_prompt, &warm_gen)); /* pages in the weights */
    for (int64_t i = 0; i < n; i++) {
        OPT_TRY(measure(&b, &prompt[i], &gen[i]));
        opt_progress(ctx, "measuring", (double)(i + 1), (double)n);
    }
    *result = (opt_bench_result){.n_prompt = b.n_prompt, .n_gen = b.n_gen, .n_repeats = n};
    result->prompt_tps = median(prompt, n);
    result->prompt_tps_min = prompt[0];
    result->prompt_tps_max = prompt[n - 1];
    result->gen_tps = median(gen, n);
    result->gen_tps_min = gen[0];
    result->gen_tps_max = gen[n - 1];
    result->gen_bytes_per_token = bytes_per_token(r->opened.model);
done:
    opt_free(ctx, prompt);
    opt_free(ctx, gen);
    opt_free(ctx, b.tokens);
    return st;
}
