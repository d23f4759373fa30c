#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/rng.h"
#include "flow/probe.h"
#include "flow/runner.h"
#include "model/ops.h"

#define DEFAULT_PROMPT 512
#define DEFAULT_GEN 128
#define DEFAULT_REPEATS 3

/** Speeds of the repeats, and where the tokens come from. */
typedef struct bench {
    opt_ctx *ctx;
    opt_session *session;
    int32_t *
        tokens; /* [n_prompt + n_gen]: the content does not matter for the speed of a dense model */
    int64_t n_prompt, n_gen, depth;
    opt_session *many; /* of several sequences, or NULL */
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

/** Speed of reading the prompt at once, its last logits included. */
static opt_status measure_prompt(const bench *b, double *tps) {
    opt_status st = OPT_OK;
    opt_session_truncate(b->session, 0);
    const double start = opt_seconds();
    OPT_TRY(
        opt_session_eval(b->session, b->tokens, b->n_prompt, b->n_prompt - 1, ignore_logits, NULL));
    *tps = (double)b->n_prompt / (opt_seconds() - start);
done:
    return st;
}

/** Speed of writing tokens one by one, each with its logits; from an empty cache unless a depth was
 * asked for, as other programs measure it. */
static opt_status measure_gen(const bench *b, double *tps) {
    opt_status st = OPT_OK;
    opt_session_truncate(b->session, b->depth);
    const int64_t past = opt_session_n_past(b->session), more = b->depth - past;
    OPT_TRY(opt_session_eval(b->session, b->tokens + past, more, more, NULL, NULL));
    const double start = opt_seconds();
    for (int64_t i = 0; i < b->n_gen; i++) {
        OPT_TRY(opt_check_cancel(b->ctx));
        OPT_TRY(opt_session_eval(b->session, b->tokens + i, 1, 0, ignore_logits, NULL));
    }
    *tps = (double)b->n_gen / (opt_seconds() - start);
done:
    return st;
}

static opt_status ignore_seq_logits(void *user, int piece, const float *logits) {
    (void)user;
    (void)piece;
    (void)logits;
    return OPT_OK;
}

/** Speed of several sequences that write at once, all of their tokens counted. */
static opt_status measure_many(const bench *b, double *tps) {
    opt_status st = OPT_OK;
    const int n = opt_session_n_seqs(b->many);
    opt_seq_piece pieces[OPT_MAX_SEQS];
    for (int i = 0; i < n; i++) {
        opt_session_seq_truncate(b->many, i, 0);
    }
    const double start = opt_seconds();
    for (int64_t t = 0; t < b->n_gen; t++) {
        for (int i = 0; i < n; i++) {
            pieces[i] = (opt_seq_piece){
                .seq = i, .tokens = b->tokens + (t + i) % b->n_gen, .n = 1, .logits = true};
        }
        OPT_TRY(opt_check_cancel(b->ctx));
        OPT_TRY(opt_session_eval_seqs(b->many, pieces, n, ignore_seq_logits, NULL));
    }
    *tps = (double)(b->n_gen * n) / (opt_seconds() - start);
done:
    return st;
}

/** n speeds, after one run that pages in the weights: median and range. */
static opt_status repeat(const bench *b, opt_status (*measure)(const bench *, double *), int64_t n,
                         double *tps, double *mid, double *low, double *high) {
    opt_status st = OPT_OK;
    OPT_TRY(measure(b, &tps[0]));
    for (int64_t i = 0; i < n; i++) {
        OPT_TRY(measure(b, &tps[i]));
        opt_progress(b->ctx, measure == measure_prompt ? "reading" : "writing", (double)(i + 1),
                     (double)n);
    }
    *mid = median(tps, n);
    *low = tps[0];
    *high = tps[n - 1];
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

/** Operations of the linear layers for a token of a prompt of n, whose last token alone has logits.
 */
static double ops_per_token(const opt_model *m, int64_t n) {
    double ops = 0;
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == &opt_op_linear) {
            const opt_weight *w = opt_node_weight(m, &m->nodes[i], 0);
            const double all = 2 * (double)w->dims[0] * (double)w->dims[1];
            ops += i == m->logits && n > 0 ? all / (double)n : all;
        }
    }
    return ops;
}

static opt_status measure_batch(bench *b, opt_runner *r, double *tps, opt_bench_result *out) {
    opt_status st = OPT_OK;
    opt_session_options o = opt_runner_session_options(r, b->n_gen);
    o.n_seqs = (int)out->n_batch;
    o.n_batch = OPT_MAX_SEQS;
    OPT_TRY(opt_session_new(b->ctx, r->opened.model, &o, &b->many));
    OPT_TRY(repeat(b, measure_many, out->n_repeats, tps, &out->batch_tps, &out->batch_tps_min,
                   &out->batch_tps_max));
done:
    opt_session_free(b->many);
    b->many = NULL;
    return st;
}

static int64_t count_of(int64_t asked, int64_t fallback) {
    return asked > 0 ? asked : (asked < 0 ? 0 : fallback);
}

opt_status opt_bench(opt_ctx *ctx, opt_runner *r, const opt_bench_options *options,
                     opt_bench_result *result) {
    opt_status st = OPT_OK;
    opt_bench_result out = {
        .n_prompt = count_of(options->n_prompt, DEFAULT_PROMPT),
        .n_gen = count_of(options->n_gen, DEFAULT_GEN),
        .n_repeats = count_of(options->n_repeats, DEFAULT_REPEATS),
    };
    out.depth = options->depth;
    out.n_batch = out.n_gen > 0 ? opt_min_i64(options->n_batch, OPT_MAX_SEQS) : 0;
    bench b = {.ctx = ctx, .n_prompt = out.n_prompt, .n_gen = out.n_gen, .depth = out.depth};
    const int64_t n_tokens = opt_max_i64(out.n_prompt, out.depth) + out.n_gen;
    double *tps = opt_alloc_array(ctx, (size_t)out.n_repeats, sizeof *tps);
    OPT_TRY_PTR(tps);
    b.tokens = opt_alloc_array(ctx, (size_t)n_tokens, sizeof *b.tokens);
    OPT_TRY_PTR(b.tokens);
    const uint64_t key = opt_rng_key(0, "bench", "tokens");
    for (int64_t i = 0; i < n_tokens; i++) {
        b.tokens[i] =
            (int32_t)(opt_rng_u64(key, (uint64_t)i) % (uint64_t)r->opened.model->hp.n_vocab);
    }
    OPT_TRY(opt_runner_session(r, opt_max_i64(1, opt_max_i64(b.n_prompt, b.depth + b.n_gen)),
                               &b.session));
    if (b.n_prompt > 0) {
        OPT_TRY(repeat(&b, measure_prompt, out.n_repeats, tps, &out.prompt_tps, &out.prompt_tps_min,
                       &out.prompt_tps_max));
    }
    if (b.n_gen > 0) {
        OPT_TRY(repeat(&b, measure_gen, out.n_repeats, tps, &out.gen_tps, &out.gen_tps_min,
                       &out.gen_tps_max));
    }
    if (out.n_batch > 0) {
        OPT_TRY(measure_batch(&b, r, tps, &out));
    }
    OPT_TRY(opt_probe(ctx, &out.probe));
    out.gen_bytes_per_token = bytes_per_token(r->opened.model);
    out.ops_per_token = ops_per_token(r->opened.model, out.n_prompt);
    out.prompt_of_peak = out.prompt_tps * out.ops_per_token / (1e9 * out.probe.peak_i8);
    out.gen_of_bandwidth = out.gen_tps * out.gen_bytes_per_token / (1e9 * out.probe.bandwidth);
    *result = out;
done:
    opt_free(ctx, tps);
    opt_free(ctx, b.tokens);
    return st;
}
