/*
 * Calibration block by block against the whole model at once: the same activations bit for bit,
 * whatever number of threads; and weights that take the place of the source's.
 */
#include "support.h"

#include "calib/stream.h"

#define FIXTURE OPT_TESTDATA "/families/llama"

enum { WINDOWS = 3, CTX = 20 };

typedef struct opened {
    opt_ctx *ctx;
    opt_source *source;
    opt_model *model;
    opt_corpus corpus;
} opened;

static opened open_model(int n_threads) {
    opened o = {.ctx = test_ctx(n_threads), .corpus = {.n_windows = WINDOWS, .n_ctx = CTX}};
    assert_int_equal(opt_source_open(o.ctx, FIXTURE, &o.source), OPT_OK);
    assert_int_equal(opt_model_open(o.ctx, o.source, &o.model), OPT_OK);
    o.corpus.tokens = opt_alloc_array(o.ctx, WINDOWS * CTX, sizeof(int32_t));
    assert_non_null(o.corpus.tokens);
    for (int i = 0; i < WINDOWS * CTX; i++) {
        o.corpus.tokens[i] = (i * 37 + 11) % 300;
    }
    return o;
}

static void close_model(opened *o) {
    opt_corpus_free(o->ctx, &o->corpus);
    opt_model_free(o->model);
    opt_source_close(o->source);
    opt_ctx_free(o->ctx);
}

/* Adds what the whole model shows at one node to a matrix. */
typedef struct whole {
    opt_ctx *ctx;
    opt_gram gram;
    opt_gram_scratch scratch;
} whole;

static opt_status add_rows(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                           int64_t width, int64_t pos0) {
    whole *w = user;
    (void)node;
    assert_int_equal(width, w->gram.n);
    assert_int_equal(n_tokens, CTX);
    assert_int_equal(pos0, 0);
    return opt_gram_add(w->ctx, opt_kern_get(w->ctx), &w->gram, x, n_tokens, &w->scratch);
}

/* The matrix of what a node reads, by running the whole model. */
static void run_whole(opened *o, const char *node, whole *w) {
    opt_session *s = NULL;
    const opt_session_options options = {
        .compute = OPT_COMPUTE_EXACT, .n_ctx = CTX, .n_batch = CTX};
    const int idx = opt_model_find_node(o->model, node);
    assert_true(idx >= 0);
    *w = (whole){.ctx = o->ctx};
    const int64_t n = opt_node_in_width(o->model, &o->model->nodes[idx], 0);
    assert_int_equal(opt_gram_new(o->ctx, n, &w->gram), OPT_OK);
    assert_int_equal(opt_gram_scratch_new(o->ctx, n, CTX, &w->scratch), OPT_OK);
    assert_int_equal(opt_session_new(o->ctx, o->model, &options, &s), OPT_OK);
    assert_int_equal(opt_session_capture(s, node, add_rows, w), OPT_OK);
    for (int i = 0; i < WINDOWS; i++) {
        opt_session_truncate(s, 0);
        assert_int_equal(opt_session_eval(s, o->corpus.tokens + i * CTX, CTX, CTX, NULL, NULL),
                         OPT_OK);
    }
    opt_session_free(s);
}

/* The lower triangle is what counts. */
static void assert_same_gram(const opt_gram *a, const opt_gram *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_tokens, b->n_tokens);
    for (int64_t i = 0; i < a->n; i++) {
        assert_memory_equal(a->sum + i * a->n, b->sum + i * b->n, (size_t)(i + 1) * sizeof(double));
    }
}

static void check_unit(opened *o, int unit, const opt_tensor *const *replaced) {
    static const char *const kinds[] = {"attn_q", "attn_output", "ffn_gate", "ffn_down"};
    opt_stream *s = NULL;
    bool *wanted = calloc((size_t)o->model->n_weights, sizeof *wanted);
    opt_gram *grams = calloc((size_t)o->model->n_nodes, sizeof *grams);
    int n_grams = 0;
    assert_true(wanted != NULL && grams != NULL);
    for (int i = 0; i < o->model->n_weights; i++) {
        wanted[i] = o->model->weights[i].role == OPT_ROLE_LINEAR;
    }
    assert_int_equal(opt_stream_new(o->ctx, o->model, &o->corpus, NULL, &s), OPT_OK);
    for (int u = -1; u < unit; u++) {
        assert_int_equal(opt_stream_advance(s, u, replaced), OPT_OK);
    }
    assert_int_equal(opt_stream_collect(s, unit, wanted, grams), OPT_OK);
    for (int k = 0; k < COUNT_OF(kinds); k++) {
        char name[64];
        whole w;
        snprintf(name, sizeof name, "blk.%d.%s", unit, kinds[k]);
        run_whole(o, name, &w);
        const int from = o->model->nodes[opt_model_find_node(o->model, name)].in[0];
        assert_non_null(grams[from].sum);
        assert_same_gram(&grams[from], &w.gram);
        opt_gram_scratch_free(o->ctx, &w.scratch);
        opt_gram_free(o->ctx, &w.gram);
    }
    for (int i = 0; i < o->model->n_nodes; i++) { /* one for each distinct input, no more */
        n_grams += grams[i].sum != NULL;
        opt_gram_free(o->ctx, &grams[i]);
    }
    assert_int_equal(n_grams, COUNT_OF(kinds));
    opt_stream_free(s);
    free(wanted);
    free(grams);
}

static void test_stream__sees_what_the_whole_model_sees(void **state) {
    static const int threads[] = {1, 3};
    (void)state;
    for (int t = 0; t < COUNT_OF(threads); t++) {
        for (int unit = 0; unit < 3; unit++) {
            opened o = open_model(threads[t]);
            assert_int_equal(o.model->n_units, 3);
            check_unit(&o, unit, NULL);
            close_model(&o);
        }
    }
}

/* Matrices that take the place of the source's: their values times a factor, in f32. */
typedef struct changed {
    const opt_tensor **replaced; /* [n_weights] */
    opt_tensor *tensors;
    float **data;
    int n_permuted;
} changed;

static changed change_weights(const opened *o, float factor) {
    const opt_kern *k = opt_kern_get(o->ctx);
    const int n = o->model->n_weights;
    changed c = {.replaced = calloc((size_t)n, sizeof *c.replaced),
                 .tensors = calloc((size_t)n, sizeof *c.tensors),
                 .data = calloc((size_t)n, sizeof *c.data)};
    assert_true(c.replaced != NULL && c.tensors != NULL && c.data != NULL);
    for (int i = 0; i < n; i++) {
        const opt_weight *w = &o->model->weights[i];
        if (w->n_dims != 2) {
            continue;
        }
        const int64_t rows = w->dims[0], cols = w->dims[1];
        c.data[i] = malloc((size_t)(rows * cols) * sizeof **c.data);
        assert_non_null(c.data[i]);
        for (int64_t r = 0; r < rows; r++) {
            opt_weight_decode_rows(w, k, r, 1, c.data[i] + opt_weight_source_row(w, r) * cols);
        }
        for (int64_t e = 0; e < rows * cols; e++) {
            c.data[i][e] *= factor;
        }
        c.n_permuted += w->permute_heads > 0;
        c.tensors[i] = *w->tensor;
        c.tensors[i].format = &opt_format_f32;
        c.tensors[i].bytes = (size_t)(rows * cols) * sizeof(float);
        c.tensors[i].data = (const uint8_t *)c.data[i];
        c.replaced[i] = &c.tensors[i];
    }
    return c;
}

static void free_changed(const opened *o, changed *c) {
    for (int i = 0; i < o->model->n_weights; i++) {
        free(c->data[i]);
    }
    free(c->data);
    free(c->tensors);
    free((void *)c->replaced);
}

/* Every matrix replaced by its own values in another format, put together from canonical rows: the
 * activations stay the same, so rows went to their places. */
static void test_stream__replaced_weights_in_source_order(void **state) {
    opened o = open_model(2);
    changed c = change_weights(&o, 1.0F);
    (void)state;
    assert_int_equal(c.n_permuted, 6);
    check_unit(&o, 2, c.replaced);
    free_changed(&o, &c);
    close_model(&o);
}

static bool *all_linear(const opened *o) {
    bool *wanted = calloc((size_t)o->model->n_weights, sizeof *wanted);
    assert_non_null(wanted);
    for (int i = 0; i < o->model->n_weights; i++) {
        wanted[i] = o->model->weights[i].role == OPT_ROLE_LINEAR;
    }
    return wanted;
}

static void test_stream__cuts_a_block_into_steps(void **state) {
    static const struct {
        const char *first, *last, *held, *beside;
    } rows[] = {
        {"blk.1.attn_norm", "blk.1.attn_norm", "blk.0.ffn_residual", NULL},
        {"blk.1.attn_norm", "blk.1.attn", "blk.0.ffn_residual", "blk.1.attn"},
        {"blk.1.attn_output", "blk.1.ffn_norm", "blk.1.attn_residual", NULL},
        {"blk.1.ffn_norm", "blk.1.ffn_swiglu", "blk.1.attn_residual", "blk.1.ffn_swiglu"},
        {"blk.1.ffn_down", "blk.1.ffn_residual", "blk.1.ffn_residual", NULL},
    };
    opened o = open_model(1);
    bool *wanted = all_linear(&o);
    opt_steps steps;
    (void)state;
    const opt_node *nodes = o.model->nodes;
    const int64_t width = o.model->hp.n_embd;
    assert_true(opt_steps_plan(o.model, 1, width, wanted, &steps));
    assert_int_equal(steps.n, COUNT_OF(rows));
    for (int i = 0; i < COUNT_OF(rows); i++) {
        const opt_step_cut *c = &steps.cuts[i];
        assert_string_equal(nodes[c->first].name, rows[i].first);
        assert_string_equal(nodes[c->last].name, rows[i].last);
        assert_string_equal(nodes[c->after[0]].name, rows[i].held);
        assert_int_equal(c->after[1] == OPT_NO_NODE, rows[i].beside == NULL);
        assert_true(rows[i].beside == NULL || strcmp(nodes[c->after[1]].name, rows[i].beside) == 0);
        assert_int_equal(c->ends, i == COUNT_OF(rows) - 1);
    }
    assert_int_equal(opt_steps_width(o.model, &steps), o.model->hp.n_ff);
    assert_false(opt_steps_plan(o.model, 1, width + 1, wanted, &steps)); /* another stream */
    memset(wanted, 0, (size_t)o.model->n_weights * sizeof *wanted);
    assert_true(opt_steps_plan(o.model, 1, width, wanted, &steps)); /* nothing to solve: one step */
    assert_int_equal(steps.n, 1);
    assert_int_equal(opt_steps_width(o.model, &steps), 0);
    free(wanted);
    close_model(&o);
}

/* Runs all blocks in steps; checks the matrix of every step against the whole model if asked to. */
static opt_stream *run_in_steps(opened *o, opt_compute compute, const char *spill, bool check) {
    bool *wanted = all_linear(o);
    opt_stream *s = NULL;
    const int64_t width = o->model->hp.n_embd;
    int n_checked = 0;
    assert_int_equal(opt_stream_new(o->ctx, o->model, &o->corpus, spill, &s), OPT_OK);
    opt_stream_set_compute(s, compute);
    assert_int_equal(opt_stream_reserve(s, o->model->hp.n_ff), OPT_OK);
    assert_int_equal(opt_stream_advance(s, -1, NULL), OPT_OK);
    for (int unit = 0; unit < o->model->n_units; unit++) {
        opt_steps steps;
        assert_true(opt_steps_plan(o->model, unit, width, wanted, &steps));
        for (int i = 0; i < steps.n; i++) {
            const opt_step_cut *c = &steps.cuts[i];
            opt_gram gram = {0};
            assert_int_equal(opt_stream_step(s, c, NULL, c->ends ? NULL : &gram), OPT_OK);
            for (int k = c->last + 1; check && !c->ends && k < o->model->n_nodes; k++) {
                whole w;
                if (o->model->nodes[k].op == &opt_op_linear &&
                    o->model->nodes[k].in[0] == c->last) {
                    run_whole(o, o->model->nodes[k].name, &w);
                    assert_same_gram(&gram, &w.gram);
                    opt_gram_scratch_free(o->ctx, &w.scratch);
                    opt_gram_free(o->ctx, &w.gram);
                    n_checked++;
                }
            }
            opt_gram_free(o->ctx, &gram);
        }
    }
    assert_int_equal(n_checked, check ? 7 * o->model->n_units : 0);
    free(wanted);
    return s;
}

static void assert_same_windows(const opened *o, opt_stream *a, opt_stream *b) {
    const size_t bytes = (size_t)(CTX * o->model->hp.n_embd) * sizeof(float);
    for (int w = 0; w < WINDOWS; w++) {
        const float *x = NULL, *y = NULL;
        assert_int_equal(opt_stream_window(a, w, &x), OPT_OK);
        assert_int_equal(opt_stream_window(b, w, &y), OPT_OK);
        assert_memory_equal(x, y, bytes);
    }
}

static void test_stream__steps_see_what_the_whole_model_sees(void **state) {
    static const int threads[] = {1, 3};
    (void)state;
    for (int t = 0; t < COUNT_OF(threads); t++) {
        opened o = open_model(threads[t]);
        opt_stream *blocks = NULL;
        opt_stream *s = run_in_steps(&o, OPT_COMPUTE_EXACT, NULL, true);
        assert_int_equal(opt_stream_new(o.ctx, o.model, &o.corpus, NULL, &blocks), OPT_OK);
        for (int unit = -1; unit < o.model->n_units; unit++) {
            assert_int_equal(opt_stream_advance(blocks, unit, NULL), OPT_OK);
        }
        assert_same_windows(&o, s, blocks);
        opt_stream_free(blocks);
        opt_stream_free(s);
        close_model(&o);
    }
}

static void test_stream__steps_spill_to_the_same_bits(void **state) {
    static const opt_compute computes[] = {OPT_COMPUTE_EXACT, OPT_COMPUTE_I16};
    (void)state;
    for (int i = 0; i < COUNT_OF(computes); i++) {
        opened o = open_model(2), p = open_model(3);
        opt_stream *memory = run_in_steps(&o, computes[i], NULL, false);
        opt_stream *file = run_in_steps(&p, computes[i], ".", false);
        assert_same_windows(&o, memory, file);
        opt_stream_free(memory);
        opt_stream_free(file);
        close_model(&o);
        close_model(&p);
    }
}

/* What a node reads in every window. */
typedef struct shown {
    float *rows; /* [WINDOWS * CTX, width] */
    int64_t n;
} shown;

static opt_status keep_rows(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                            int64_t width, int64_t pos0) {
    shown *s = user;
    (void)node;
    (void)pos0;
    memcpy(s->rows + s->n * width, x, (size_t)(n_tokens * width) * sizeof *x);
    s->n += n_tokens;
    return OPT_OK;
}

static float *show(opened *o, const opt_model *m, const char *node) {
    opt_session *s = NULL;
    const opt_session_options options = {
        .compute = OPT_COMPUTE_EXACT, .n_ctx = CTX, .n_batch = CTX};
    const int64_t width = opt_node_in_width(m, &m->nodes[opt_model_find_node(m, node)], 0);
    shown seen = {.rows = malloc((size_t)(WINDOWS * CTX * width) * sizeof(float))};
    assert_non_null(seen.rows);
    assert_int_equal(opt_session_new(o->ctx, m, &options, &s), OPT_OK);
    assert_int_equal(opt_session_capture(s, node, keep_rows, &seen), OPT_OK);
    for (int i = 0; i < WINDOWS; i++) {
        opt_session_truncate(s, 0);
        assert_int_equal(opt_session_eval(s, o->corpus.tokens + i * CTX, CTX, CTX, NULL, NULL),
                         OPT_OK);
    }
    opt_session_free(s);
    return seen.rows;
}

/* The cross matrix of a step against the whole float model and the whole changed one. */
static void check_cross(opened *o, const opt_model *other, int from, const double *cross) {
    const char *reader = NULL;
    for (int i = from + 1; reader == NULL; i++) {
        reader = o->model->nodes[i].in[0] == from ? o->model->nodes[i].name : NULL;
    }
    const int64_t n = o->model->nodes[from].width;
    float *x = show(o, o->model, reader), *y = show(o, other, reader);
    double off = 0.0, size = 0.0;
    for (int64_t i = 0; i < n * n; i++) {
        double sum = 0.0;
        for (int64_t t = 0; t < WINDOWS * CTX; t++) {
            sum += ((double)x[t * n + i / n] - (double)y[t * n + i / n]) * (double)y[t * n + i % n];
        }
        off += (sum - cross[i]) * (sum - cross[i]);
        size += sum * sum;
    }
    assert_true(size > 0.0 && off < 1e-10 * size);
    free(x);
    free(y);
}

static void test_stream__pairs_show_float_and_changed_model(void **state) {
    opened o = open_model(2);
    changed c = change_weights(&o, 0.9F);
    bool *wanted = all_linear(&o);
    opt_stream *s[2] = {NULL};
    opt_model *other = NULL;
    int n_checked = 0;
    (void)state;
    for (int i = 0; i < o.model->n_weights; i++) { /* the embedding and the head stay */
        c.replaced[i] = wanted[i] ? c.replaced[i] : NULL;
    }
    assert_int_equal(opt_model_tail(o.ctx, o.model, -1, c.replaced, NULL, &other), OPT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(opt_stream_new(o.ctx, o.model, &o.corpus, NULL, &s[i]), OPT_OK);
        assert_int_equal(opt_stream_reserve(s[i], o.model->hp.n_ff), OPT_OK);
        assert_int_equal(opt_stream_advance(s[i], -1, NULL), OPT_OK);
    }
    for (int unit = 0; unit < 2; unit++) {
        opt_steps steps;
        assert_true(opt_steps_plan(o.model, unit, o.model->hp.n_embd, wanted, &steps));
        for (int i = 0; i < steps.n; i++) {
            const opt_step_cut *cut = &steps.cuts[i];
            const size_t n = (size_t)o.model->nodes[cut->last].width;
            opt_gram gram = {0};
            double *cross = calloc(n * n, sizeof *cross);
            assert_non_null(cross);
            assert_int_equal(opt_stream_step_pair(s[0], s[1], cut, c.replaced, &gram, cross),
                             OPT_OK);
            if (!cut->ends && (unit > 0 || i > 0)) { /* the first one sees no difference */
                check_cross(&o, other, cut->last, cross);
                n_checked++;
            }
            opt_gram_free(o.ctx, &gram);
            free(cross);
        }
    }
    assert_int_equal(n_checked, 7);
    opt_stream_free(s[0]);
    opt_stream_free(s[1]);
    opt_model_free(other);
    free(wanted);
    free_changed(&o, &c);
    close_model(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream__sees_what_the_whole_model_sees),
        cmocka_unit_test(test_stream__replaced_weights_in_source_order),
        cmocka_unit_test(test_stream__cuts_a_block_into_steps),
        cmocka_unit_test(test_stream__steps_see_what_the_whole_model_sees),
        cmocka_unit_test(test_stream__steps_spill_to_the_same_bits),
        cmocka_unit_test(test_stream__pairs_show_float_and_changed_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
