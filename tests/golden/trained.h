/** Golden checks of a trained model (goldens/<name>.json), shared by stories260K and SmolLM2. */
#ifndef OPT_GOLDEN_TRAINED_H
#define OPT_GOLDEN_TRAINED_H

#include "golden/golden.h"

enum { WINDOW = 512 };

/** A model with its golden numbers and the ids of its first window. */
typedef struct trained {
    rig r;
    opt_json *golden;
    opt_json *windows;
    int32_t *window; /* [WINDOW] */
} trained;

static inline trained trained_open(const char *dir, const char *name) {
    char path[512];
    int64_t n = 0;
    trained t = {.r = rig_open(dir, OPT_COMPUTE_EXACT, WINDOW, 0, 2)};
    snprintf(path, sizeof path, OPT_TESTDATA "/goldens/%s.json", name);
    t.golden = golden_load(t.r.ctx, path);
    t.windows = golden_load(t.r.ctx, OPT_TESTDATA "/goldens/first_windows.json");
    t.window = golden_ids(golden_get(t.windows, name), &n);
    assert_int_equal(n, WINDOW);
    return t;
}

static inline void trained_close(trained *t) {
    free(t->window);
    opt_json_free(t->windows);
    opt_json_free(t->golden);
    rig_close(&t->r);
}

/** The 20 largest logits and, where the file has them, all. */
static inline void check_logits_row(const opt_json *row, const float *logits, int64_t n_vocab,
                                    double bound, double *worst) {
    const opt_json *top = golden_get(row, "top20");
    const opt_json *all = opt_json_get(row, "all");
    check_near("logsumexp", 0, log_sum_exp(logits, n_vocab),
               golden_f64(golden_get(row, "logsumexp")), bound, worst);
    assert_int_equal(opt_json_size(top), 20);
    for (size_t i = 0; i < opt_json_size(top); i++) {
        const opt_json *pair = opt_json_at(top, i);
        const int64_t id = golden_i64(opt_json_at(pair, 0));
        check_near("logit", id, (double)logits[id], golden_f64(opt_json_at(pair, 1)), bound, worst);
    }
    for (size_t i = 0; i < opt_json_size(all); i++) {
        check_near("logit", (int64_t)i, (double)logits[i], golden_f64(opt_json_at(all, i)), bound,
                   worst);
    }
}

/** Logits at the golden positions and the loss of the first tokens, `chunk` tokens at a time. */
static inline void check_first_window(trained *t, int64_t chunk, double bound) {
    const int64_t n_vocab = rig_n_vocab(&t->r);
    const opt_json *rows = golden_get(t->golden, "logits_first_window");
    const opt_json *nll = golden_get(t->golden, "nll_first_window");
    float *logits = rig_logits(&t->r, t->window, WINDOW, chunk);
    double worst = 0, worst_nll = 0;
    assert_int_equal(opt_json_size(rows), 8);
    for (size_t i = 0; i < opt_json_size(rows); i++) {
        const opt_json *row = opt_json_at(rows, i);
        const int64_t position = golden_i64(golden_get(row, "position"));
        check_logits_row(row, logits + position * n_vocab, n_vocab, bound, &worst);
    }
    for (size_t i = 0; i < opt_json_size(nll); i++) {
        const float *row = logits + (int64_t)i * n_vocab;
        const double found = log_sum_exp(row, n_vocab) - (double)row[t->window[i + 1]];
        const double expected = golden_f64(opt_json_at(nll, i));
        check_near("nll", (int64_t)i, found, expected, bound, &worst_nll);
    }
    print_message("chunk %lld: worst logit difference %.2e, worst nll difference %.2e\n",
                  (long long)chunk, worst, worst_nll);
    free(logits);
}

/** The prompt's last position: logits and the norms of the hidden states. */
static inline void check_prompt(trained *t, double bound) {
    const opt_json *prompt = golden_get(t->golden, "prompt");
    const opt_json *hidden = golden_get(prompt, "hidden_l2_last_position");
    const int64_t n_layers = t->r.model->hp.n_layers, n_vocab = rig_n_vocab(&t->r);
    int64_t n = 0;
    double worst = 0, worst_norm = 0;
    int32_t *ids = golden_ids(golden_get(prompt, "ids"), &n);
    float *logits = rig_logits(&t->r, ids, n, n);
    check_logits_row(prompt, logits + (n - 1) * n_vocab, n_vocab, bound, &worst);
    assert_int_equal(opt_json_size(hidden), n_layers + 1);
    for (int64_t i = 0; i <= n_layers; i++) { /* transformers' last hidden state is normed */
        norm_sink sink = {{0}};
        rig_hidden_norms(&t->r, ids, n, i < n_layers ? i : n_layers + 1, &sink);
        const double expected = golden_f64(opt_json_at(hidden, (size_t)i));
        check_near("hidden norm", i, sink.norms[n - 1], expected, bound * (1 + expected / 10),
                   &worst_norm);
    }
    print_message("prompt: worst logit difference %.2e, worst norm difference %.2e\n", worst,
                  worst_norm);
    free(logits);
    free(ids);
}

static inline void check_greedy(trained *t) {
    const opt_json *prompt = golden_get(golden_get(t->golden, "prompt"), "ids");
    const int64_t n_prompt = (int64_t)opt_json_size(prompt);
    int64_t n = 0;
    int32_t *expected = golden_ids(golden_get(golden_get(t->golden, "greedy"), "ids"), &n);
    int32_t *found = malloc((size_t)n * sizeof *found);
    assert_non_null(found);
    memcpy(found, expected, (size_t)n_prompt * sizeof *found);
    rig_greedy(&t->r, found, n_prompt, n - n_prompt);
    assert_memory_equal(found, expected, (size_t)n * sizeof *found);
    free(found);
    free(expected);
}

#endif
