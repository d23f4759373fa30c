/** What the golden tests share: a model opened from a path, its logits, golden numbers from JSON.
 */
#ifndef OPT_GOLDEN_GOLDEN_H
#define OPT_GOLDEN_GOLDEN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "exec/session.h"

/** Fails the test with the context's error unless the call succeeds. */
#define GOLDEN_OK(ctx, expr)                                                                       \
    do {                                                                                           \
        if ((expr) != OPT_OK) {                                                                    \
            fail_msg("%s: %s: %s", #expr, opt_ctx_error_object(ctx), opt_ctx_error_message(ctx));  \
        }                                                                                          \
    } while (0)

/** A context, a model and a session. */
typedef struct rig {
    opt_ctx *ctx;
    opt_source *source;
    opt_model *model;
    opt_session *session;
} rig;

static inline rig rig_open_cache(const char *path, opt_compute compute, opt_cache_type cache,
                                 int64_t n_ctx, int64_t n_batch, int n_threads) {
    rig r = {0};
    const opt_ctx_options options = {.n_threads = n_threads};
    const opt_session_options session = {
        .compute = compute, .cache = cache, .n_ctx = n_ctx, .n_batch = n_batch};
    assert_int_equal(opt_ctx_new(&options, &r.ctx), OPT_OK);
    GOLDEN_OK(r.ctx, opt_source_open(r.ctx, path, &r.source));
    GOLDEN_OK(r.ctx, opt_model_open(r.ctx, r.source, &r.model));
    GOLDEN_OK(r.ctx, opt_session_new(r.ctx, r.model, &session, &r.session));
    return r;
}

static inline rig rig_open(const char *path, opt_compute compute, int64_t n_ctx, int64_t n_batch,
                           int n_threads) {
    return rig_open_cache(path, compute, OPT_CACHE_AUTO, n_ctx, n_batch, n_threads);
}

static inline void rig_close(rig *r) {
    opt_session_free(r->session);
    opt_model_free(r->model);
    opt_source_close(r->source);
    opt_ctx_free(r->ctx);
    *r = (rig){0};
}

static inline int64_t rig_n_vocab(const rig *r) { return r->model->hp.n_vocab; }

/** Collects logits of all rows behind each other. */
typedef struct logits_sink {
    float *to; /* row 0 of the call */
    int64_t n_vocab;
} logits_sink;

static inline opt_status collect_logits(void *user, int64_t row0, int64_t n_rows,
                                        const float *logits) {
    const logits_sink *sink = user;
    memcpy(sink->to + row0 * sink->n_vocab, logits,
           (size_t)(n_rows * sink->n_vocab) * sizeof(float));
    return OPT_OK;
}

/** Logits [n, n_vocab] of ids[n] from an empty cache, `chunk` tokens at a time. Free with free().
 */
static inline float *rig_logits(rig *r, const int32_t *ids, int64_t n, int64_t chunk) {
    const int64_t n_vocab = rig_n_vocab(r);
    float *logits = malloc((size_t)(n * n_vocab) * sizeof *logits);
    assert_non_null(logits);
    opt_session_truncate(r->session, 0);
    for (int64_t at = 0; at < n; at += chunk) {
        const int64_t m = n - at < chunk ? n - at : chunk;
        logits_sink sink = {logits + at * n_vocab, n_vocab};
        GOLDEN_OK(r->ctx, opt_session_eval(r->session, ids + at, m, 0, collect_logits, &sink));
    }
    return logits;
}

/** Log of the sum of exponentials, in double. */
static inline double log_sum_exp(const float *x, int64_t n) {
    double max = (double)x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) {
        max = fmax(max, (double)x[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return max + log(sum);
}

static inline int64_t index_of_max(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

/** Keeps the last row that it is given. */
static inline opt_status keep_last(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    const logits_sink *sink = user;
    (void)row0;
    memcpy(sink->to, logits + (n_rows - 1) * sink->n_vocab, (size_t)sink->n_vocab * sizeof(float));
    return OPT_OK;
}

/** Continues a prompt greedily: ids[n_prompt .. n_prompt + n_new) are written. */
static inline void rig_greedy(rig *r, int32_t *ids, int64_t n_prompt, int64_t n_new) {
    const int64_t n_vocab = rig_n_vocab(r);
    float *last = malloc((size_t)n_vocab * sizeof *last);
    logits_sink sink = {last, n_vocab};
    assert_non_null(last);
    opt_session_truncate(r->session, 0);
    int64_t begin = 0;
    for (int64_t n = n_prompt; n < n_prompt + n_new; n++) {
        const int64_t m = n - begin;
        GOLDEN_OK(r->ctx, opt_session_eval(r->session, ids + begin, m, m - 1, keep_last, &sink));
        ids[n] = (int32_t)index_of_max(last, n_vocab);
        begin = n;
    }
    free(last);
}

/* ---- golden numbers ---- */

/**
 * A parsed JSON file. Free with opt_json_free. The tokenizer's goldens hold a NUL, which the reader
 * refuses on purpose; nobody looks at it here, so it becomes another character.
 */
static inline opt_json *golden_load(opt_ctx *ctx, const char *path) {
    opt_buf *text = NULL;
    opt_json *root = NULL;
    GOLDEN_OK(ctx, opt_buf_read(ctx, path, 64 << 20, &text));
    for (char *nul = (char *)text->data; (nul = strstr(nul, "\\u0000")) != NULL;) {
        nul[5] = '1';
    }
    GOLDEN_OK(ctx, opt_json_parse(ctx, path, (const char *)text->data, text->bytes, &root));
    opt_buf_release(text);
    return root;
}

static inline const opt_json *golden_get(const opt_json *object, const char *key) {
    const opt_json *v = opt_json_get(object, key);
    if (v == NULL) {
        fail_msg("golden file has no \"%s\"", key);
    }
    return v;
}

static inline double golden_f64(const opt_json *v) {
    double x = 0;
    assert_true(opt_json_f64(v, &x));
    return x;
}

static inline int64_t golden_i64(const opt_json *v) {
    int64_t x = 0;
    assert_true(opt_json_i64(v, &x));
    return x;
}

/** A list of ids. Free with free(). */
static inline int32_t *golden_ids(const opt_json *list, int64_t *n) {
    *n = (int64_t)opt_json_size(list);
    int32_t *ids = malloc((size_t)*n * sizeof *ids + 1);
    assert_non_null(ids);
    for (int64_t i = 0; i < *n; i++) {
        ids[i] = (int32_t)golden_i64(opt_json_at(list, (size_t)i));
    }
    return ids;
}

/** Fails unless |found - expected| <= bound; keeps the largest difference in *worst. */
static inline void check_near(const char *what, int64_t i, double found, double expected,
                              double bound, double *worst) {
    const double difference = fabs(found - expected);
    if (!(difference <= bound)) {
        fail_msg("%s[%lld] is %.7g, expected %.7g (bound %g)", what, (long long)i, found, expected,
                 bound);
    }
    *worst = fmax(*worst, difference);
}

/** L2 norms of a node's input at all positions. */
typedef struct norm_sink {
    double norms[512];
} norm_sink;

static inline opt_status collect_norms(void *user, const opt_node *node, const float *x,
                                       int64_t n_tokens, int64_t width_in, int64_t pos0) {
    norm_sink *sink = user;
    (void)node;
    for (int64_t t = 0; t < n_tokens && pos0 + t < 512; t++) {
        double sum = 0;
        for (int64_t i = 0; i < width_in; i++) {
            sum += (double)x[t * width_in + i] * (double)x[t * width_in + i];
        }
        sink->norms[pos0 + t] = sqrt(sum);
    }
    return OPT_OK;
}

/** Norms of the hidden state before block `layer`; n_layers: after the last; n_layers + 1: normed.
 */
static inline void rig_hidden_norms(rig *r, const int32_t *ids, int64_t n, int64_t layer,
                                    norm_sink *out) {
    char node[64];
    const int64_t n_layers = r->model->hp.n_layers;
    if (layer < n_layers) {
        snprintf(node, sizeof node, "blk.%d.attn_norm", (int)layer);
    } else {
        snprintf(node, sizeof node, "%s", layer == n_layers ? "output_norm" : "output");
    }
    opt_session_truncate(r->session, 0);
    GOLDEN_OK(r->ctx, opt_session_capture(r->session, node, collect_norms, out));
    GOLDEN_OK(r->ctx, opt_session_eval(r->session, ids, n, n, NULL, NULL));
    GOLDEN_OK(r->ctx, opt_session_capture(r->session, NULL, NULL, NULL));
}

#endif
