#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/pool.h"
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

/** n_repeats speeds, after one run that pages in the weights: median and range. */
static opt_status repeat(const bench *b, opt_status (*measure)(const bench *, double *),
                         opt_bench_row row, opt_bench_result *out) {
    opt_status st = OPT_OK;
    const int64_t n = out->n_repeats;
    double *tps = opt_alloc_array(b->ctx, (size_t)n, sizeof *tps);
    OPT_TRY_PTR(tps);
    OPT_TRY(measure(b, &tps[0]));
    for (int64_t i = 0; i < n; i++) {
        OPT_TRY(measure(b, &tps[i]));
        opt_progress(b->ctx, row.kind == OPT_BENCH_READ ? "reading" : "writing", (double)(i + 1),
                     (double)n);
    }
    row.tps = median(tps, n);
    row.tps_min = tps[0];
    row.tps_max = tps[n - 1];
    row.n_threads = opt_ctx_n_threads(b->ctx);
    out->rows[out->n_rows++] = row;
done:
    opt_free(b->ctx, tps);
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

static opt_status measure_batch(bench *b, const opt_runner *r, int64_t n_seqs,
                                opt_bench_result *out) {
    opt_status st = OPT_OK;
    opt_session_options o = opt_runner_session_options(r, b->n_gen);
    o.n_seqs = (int)n_seqs;
    o.n_batch = OPT_MAX_SEQS;
    OPT_TRY(opt_session_new(b->ctx, r->opened.model, &o, &b->many));
    const opt_bench_row row = {.kind = OPT_BENCH_BATCH, .n_tokens = b->n_gen, .n_seqs = n_seqs};
    OPT_TRY(repeat(b, measure_many, row, out));
done:
    opt_session_free(b->many);
    b->many = NULL;
    return st;
}

static int64_t count_of(int64_t asked, int64_t fallback) {
    return asked > 0 ? asked : (asked < 0 ? 0 : fallback);
}

static int64_t largest(const opt_bench_list *list) {
    int64_t most = 0;
    for (int i = 0; i < list->n; i++) {
        most = opt_max_i64(most, list->v[i]);
    }
    return most;
}

/** Shares of what the machine can do, for rows from `first` on. */
static void compare_rows(opt_bench_result *out, int first, const opt_probe_result *probe) {
    for (int i = first; i < out->n_rows; i++) {
        opt_bench_row *row = &out->rows[i];
        row->probe = *probe;
        const double ops =
            row->kind == OPT_BENCH_READ ? out->prompt_ops_per_token : out->ops_per_token;
        row->of_peak = row->tps * ops / (1e9 * probe->peak_i8);
        if (row->kind != OPT_BENCH_READ) { /* weights are read once for all sequences */
            row->of_bandwidth = row->tps / (double)row->n_seqs * out->gen_bytes_per_token /
                                (1e9 * probe->bandwidth);
        }
    }
}

/** Everything with the context's threads. */
static opt_status measure_all(bench *b, const opt_runner *r, const opt_bench_options *o,
                              opt_bench_result *out) {
    opt_status st = OPT_OK;
    opt_probe_result probe = {0};
    const int first = out->n_rows;
    const int64_t n_ctx = opt_max_i64(1, opt_max_i64(b->n_prompt, largest(&o->depths) + b->n_gen));
    const opt_session_options session = opt_runner_session_options(r, n_ctx);
    OPT_TRY(opt_session_new(b->ctx, r->opened.model, &session, &b->session));
    if (b->n_prompt > 0) {
        const opt_bench_row row = {.kind = OPT_BENCH_READ, .n_tokens = b->n_prompt, .n_seqs = 1};
        OPT_TRY(repeat(b, measure_prompt, row, out));
    }
    for (int i = 0; b->n_gen > 0 && i < opt_max_i64(1, o->depths.n); i++) {
        b->depth = o->depths.n > 0 ? o->depths.v[i] : 0;
        const opt_bench_row row = {
            .kind = OPT_BENCH_WRITE, .n_tokens = b->n_gen, .depth = b->depth, .n_seqs = 1};
        OPT_TRY(repeat(b, measure_gen, row, out));
    }
    for (int i = 0; b->n_gen > 0 && i < o->batches.n; i++) {
        if (o->batches.v[i] > 0) {
            OPT_TRY(measure_batch(b, r, opt_min_i64(o->batches.v[i], OPT_MAX_SEQS), out));
        }
    }
    OPT_TRY(opt_probe(b->ctx, &probe));
    compare_rows(out, first, &probe);
done:
    opt_session_free(b->session);
    b->session = NULL;
    return st;
}

/** The first row of every kind stands in the result, too. */
static void summarize(opt_bench_result *out) {
    for (int i = out->n_rows - 1; i >= 0; i--) {
        const opt_bench_row *row = &out->rows[i];
        switch (row->kind) {
        case OPT_BENCH_READ:
            out->prompt_tps = row->tps;
            out->prompt_tps_min = row->tps_min;
            out->prompt_tps_max = row->tps_max;
            out->prompt_of_peak = row->of_peak;
            break;
        case OPT_BENCH_WRITE:
            out->gen_tps = row->tps;
            out->gen_tps_min = row->tps_min;
            out->gen_tps_max = row->tps_max;
            out->gen_of_bandwidth = row->of_bandwidth;
            out->depth = row->depth;
            break;
        case OPT_BENCH_BATCH:
            out->batch_tps = row->tps;
            out->batch_tps_min = row->tps_min;
            out->batch_tps_max = row->tps_max;
            out->n_batch = row->n_seqs;
            break;
        }
        out->probe = row->probe;
    }
}

opt_status opt_bench(opt_ctx *ctx, opt_runner *r, const opt_bench_options *options,
                     opt_bench_result *result) {
    opt_status st = OPT_OK;
    const int n_threads = opt_ctx_n_threads(ctx);
    const opt_model *m = r->opened.model;
    bench b = {.ctx = ctx,
               .n_prompt = count_of(options->n_prompt, DEFAULT_PROMPT),
               .n_gen = count_of(options->n_gen, DEFAULT_GEN)};
    *result = (opt_bench_result){.n_prompt = b.n_prompt,
                                 .n_gen = b.n_gen,
                                 .n_repeats = count_of(options->n_repeats, DEFAULT_REPEATS),
                                 .gen_bytes_per_token = bytes_per_token(m),
                                 .ops_per_token = ops_per_token(m, 0),
                                 .prompt_ops_per_token = ops_per_token(m, b.n_prompt)};
    const int64_t n_tokens = opt_max_i64(b.n_prompt, largest(&options->depths)) + b.n_gen;
    b.tokens = opt_alloc_array(ctx, (size_t)n_tokens, sizeof *b.tokens);
    OPT_TRY_PTR(b.tokens);
    const uint64_t key = opt_rng_key(0, "bench", "tokens");
    for (int64_t i = 0; i < n_tokens; i++) {
        b.tokens[i] = (int32_t)(opt_rng_u64(key, (uint64_t)i) % (uint64_t)m->hp.n_vocab);
    }
    for (int i = 0; i < opt_max_i64(1, options->threads.n); i++) {
        if (options->threads.n > 0) {
            opt_pool_resize(ctx, (int)options->threads.v[i]);
        }
        OPT_TRY(measure_all(&b, r, options, result));
    }
    summarize(result);
done:
    if (options->threads.n > 0) {
        opt_pool_resize(ctx, n_threads);
    }
    opt_free(ctx, b.tokens);
    return st;
}
