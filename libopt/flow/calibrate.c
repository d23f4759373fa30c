#include "flow/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "flow/transforms.h"

struct opt_calibration {
    opt_ctx *ctx;
    opt_plan *plan;
    opt_corpus corpus;
    opt_stream *stream;
    opt_compute compute;
    bool one_pass, spills, saves_statistics;
    opt_workdir *work; /* NULL before opt_calibration_begin */
    bool saves;        /* finished stages go there */
    int block_steps, block_batch;
    bool restored;    /* the stage was saved by an earlier run */
    int stage;        /* that was entered last */
    int stream_stage; /* whose inputs the stream holds; -1: the embedding has not run */

    opt_gram *grams;                 /* [n_nodes] */
    opt_hessian **hessians;          /* [n_nodes], by the node that a linear node reads */
    int *input_of;                   /* [n_weights] that node, or -1 */
    const opt_plan_tensor **planned; /* [n_weights] */
    opt_tensor *kept;                /* [n_weights]: tensors as written, in source order */
    opt_tensor *cropped;             /* [n_weights]: of those, without appended columns, in f32 */
    const opt_tensor **stored;       /* [n_weights] into kept, or NULL */
    const opt_tensor **replaced;     /* [n_weights] into kept, or NULL */
    bool *wanted;                    /* [n_weights] of the stage: solved with a Hessian */
    bool *collected;                 /* [n_weights] of the stage: these, and what transforms want */
    opt_transforms *transforms;      /* NULL: none */
    opt_steps *steps;                /* [n_units]; NULL: blocks run as a whole */
    int next_step;                   /* of the unit stream_stage */
    opt_stream *trial;  /* what steps run on where blocks are rounded as a whole, which begins from
                           the block's inputs once more; NULL: they run on `stream` */
    opt_stream *floats; /* the float model's text; NULL: nothing wants it */
    int floats_stage;   /* without steps: the next unit that it runs through */
    double *cross;      /* of the step, [n, n]; NULL: no tensor of it uses a shift */
};

static int weight_index(const opt_plan *plan, const opt_plan_tensor *t) {
    return (int)(t->weight - plan->model->weights);
}

static bool is_tied(const opt_plan_tensor *t) {
    return t->weight->role == OPT_ROLE_EMBEDDING && t->weight->tied;
}

static bool wants_hessian(const opt_plan_tensor *t) {
    return t->method != NULL && (t->method->needs & (OPT_NEEDS_HESSIAN | OPT_USES_HESSIAN)) != 0;
}

bool opt_calibrates(const opt_plan_tensor *t) {
    const opt_weight *w = t->weight;
    const bool reads = w->role == OPT_ROLE_LINEAR || w->role == OPT_ROLE_HEAD || is_tied(t);
    return wants_hessian(t) && reads && w->n_dims == 2;
}

bool opt_calibration_shifts(const opt_model *m, const opt_plan_tensor *t) {
    return opt_calibrates(t) && (t->method->needs & OPT_USES_SHIFT) != 0 && t->stage >= 0 &&
           t->stage < m->n_units;
}

/* Whether later units must see a tensor as it was written and not as the source has it. */
bool opt_calibration_keeps(const opt_plan_tensor *t) {
    return t->action != OPT_ACTION_COPY && t->weight->n_dims == 2 &&
           (t->weight->role == OPT_ROLE_LINEAR || t->weight->role == OPT_ROLE_EMBEDDING ||
            t->weight->role == OPT_ROLE_HEAD);
}

static opt_status alloc_tables(opt_calibration *c) {
    opt_status st = OPT_OK;
    const opt_model *m = c->plan->model;
    const size_t n_nodes = (size_t)m->n_nodes, n_weights = (size_t)m->n_weights;
    OPT_TRY_PTR(c->grams = opt_alloc_zero(c->ctx, n_nodes * sizeof *c->grams));
    OPT_TRY_PTR(c->hessians = opt_alloc_zero(c->ctx, n_nodes * sizeof *c->hessians));
    OPT_TRY_PTR(c->input_of = opt_alloc_zero(c->ctx, n_weights * sizeof *c->input_of));
    OPT_TRY_PTR(c->planned = opt_alloc_zero(c->ctx, n_weights * sizeof *c->planned));
    OPT_TRY_PTR(c->kept = opt_alloc_zero(c->ctx, n_weights * sizeof *c->kept));
    OPT_TRY_PTR(c->cropped = opt_alloc_zero(c->ctx, n_weights * sizeof *c->cropped));
    OPT_TRY_PTR(c->stored = opt_alloc_zero(c->ctx, n_weights * sizeof *c->stored));
    OPT_TRY_PTR(c->replaced = opt_alloc_zero(c->ctx, n_weights * sizeof *c->replaced));
    OPT_TRY_PTR(c->wanted = opt_alloc_zero(c->ctx, n_weights * sizeof *c->wanted));
    OPT_TRY_PTR(c->collected = opt_alloc_zero(c->ctx, n_weights * sizeof *c->collected));
    for (int i = 0; i < m->n_weights; i++) {
        c->input_of[i] = -1;
    }
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == &opt_op_linear) {
            c->input_of[m->nodes[i].weights[0]] = m->nodes[i].in[0];
        }
    }
    for (int64_t i = 0; i < c->plan->n; i++) {
        c->planned[weight_index(c->plan, &c->plan->tensors[i])] = &c->plan->tensors[i];
    }
done:
    return st;
}

opt_status opt_calibration_new(opt_plan *plan, const opt_tokenizer *tokenizer,
                               const opt_calibration_options *options, opt_calibration **out) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = plan->ctx;
    opt_calibration *c = opt_alloc_zero(ctx, sizeof *c);
    OPT_TRY_PTR(c);
    c->ctx = ctx;
    c->plan = plan;
    c->transforms = options->transforms;
    c->stage = c->stream_stage = -2;
    c->floats_stage = -1;
    OPT_REQUIRE(tokenizer != NULL, ctx, OPT_ERR_USAGE, plan->model->name,
                "the model has no tokenizer, so it cannot read calibration text");
    c->one_pass = options->one_pass;
    c->block_steps = options->block_steps;
    c->block_batch = options->block_batch;
    const int64_t n_train = plan->model->hp.n_ctx_train, n_ctx = options->text.n_ctx;
    OPT_REQUIRE(n_train == 0 || n_ctx <= n_train, ctx, OPT_ERR_USAGE, "--ctx",
                "windows of %lld tokens are longer than the model's context of %lld",
                (long long)n_ctx, (long long)n_train);
    OPT_TRY(alloc_tables(c));
    OPT_TRY(opt_corpus_read(ctx, tokenizer, &options->text, &c->corpus));
    c->spills = options->spills;
    c->compute = options->compute;
    c->saves_statistics = options->saves_statistics;
    OPT_TRY_PTR(c->steps = opt_alloc_zero(ctx, (size_t)plan->model->n_units * sizeof *c->steps));
    bool in_steps = false;
    OPT_TRY(opt_calibration_plan_steps(plan, options, c->steps, &in_steps));
    if (!in_steps) {
        opt_free(ctx, c->steps);
        c->steps = NULL;
    }
    *out = c;
    c = NULL;
done:
    opt_calibration_free(c);
    return st;
}

static void free_stage(opt_calibration *c) {
    for (int i = 0; c->hessians != NULL && i < c->plan->model->n_nodes; i++) {
        opt_hessian_free(c->hessians[i]);
        c->hessians[i] = NULL;
    }
    for (int i = 0; c->grams != NULL && i < c->plan->model->n_nodes; i++) {
        opt_gram_free(c->ctx, &c->grams[i]);
    }
}

static void free_kept(opt_calibration *c) {
    for (int i = 0; c->kept != NULL && c->cropped != NULL && i < c->plan->model->n_weights; i++) {
        opt_free(c->ctx, (void *)(uintptr_t)c->kept[i].data);
        opt_free(c->ctx, (void *)(uintptr_t)c->cropped[i].data);
        c->kept[i].data = c->cropped[i].data = NULL;
        c->stored[i] = c->replaced[i] = NULL;
    }
}

void opt_calibration_free(opt_calibration *c) {
    if (c != NULL) {
        free_stage(c);
        free_kept(c);
        opt_workdir_close(c->work, false);
        opt_stream_free(c->stream);
        opt_stream_free(c->trial);
        opt_stream_free(c->floats);
        opt_free(c->ctx, c->cross);
        opt_corpus_free(c->ctx, &c->corpus);
        opt_free(c->ctx, c->grams);
        opt_free(c->ctx, c->hessians);
        opt_free(c->ctx, c->input_of);
        opt_free(c->ctx, c->planned);
        opt_free(c->ctx, c->kept);
        opt_free(c->ctx, c->cropped);
        opt_free(c->ctx, c->stored);
        opt_free(c->ctx, c->replaced);
        opt_free(c->ctx, c->wanted);
        opt_free(c->ctx, c->collected);
        opt_free(c->ctx, c->steps);
        opt_free(c->ctx, c);
    }
}

/* Room for the stage's tensors as they will be written. */
static opt_status reserve_kept(opt_calibration *c, int stage) {
    opt_status st = OPT_OK;
    const opt_model *m = c->plan->model;
    for (int i = 0; i < m->n_weights; i++) {
        const opt_plan_tensor *t = c->planned[i];
        if (t == NULL || t->stage != stage || !opt_calibration_keeps(t)) {
            continue;
        }
        opt_tensor *k = &c->kept[i];
        *k = *m->weights[i].tensor;
        k->format = t->format;
        k->runs = false;
        k->bytes = (size_t)t->n_rows * t->row_bytes; /* appended rows stand at the end */
        k->data = opt_alloc(c->ctx, k->bytes);
        OPT_TRY_PTR(k->data);
        c->stored[i] = c->replaced[i] = k;
        if (t->n_cols != t->src_cols) { /* the graph has the width of the source */
            opt_tensor *cropped = &c->cropped[i];
            *cropped = *m->weights[i].tensor;
            cropped->format = &opt_format_f32;
            cropped->runs = false;
            cropped->bytes = (size_t)t->src_rows * (size_t)t->src_cols * sizeof(float);
            cropped->data = opt_alloc(c->ctx, cropped->bytes);
            OPT_TRY_PTR(cropped->data);
            c->replaced[i] = cropped;
        }
    }
done:
    return st;
}

/* Says in the plan, and in warnings, what the text was worth to a tensor. */
static void describe(opt_calibration *c, opt_plan_tensor *t, const opt_hessian *h) {
    t->damping = h->factor != NULL ? h->damping : NAN;
    t->condition = h->condition;
    t->n_dead = h->n_dead - (t->n_cols - t->src_cols); /* appended columns say nothing */
    t->n_calib_tokens = h->n_tokens;
    if (h->n_tokens < t->src_cols) {
        opt_warn(c->ctx, t->weight->name,
                 "%lld calibration tokens for %lld columns: the Gram matrix is singular",
                 (long long)h->n_tokens, (long long)t->src_cols);
    }
    if (t->n_dead > 0) {
        opt_warn(c->ctx, t->weight->name, "%lld of %lld input columns are always zero",
                 (long long)t->n_dead, (long long)t->src_cols);
    }
    if (h->factor != NULL && h->n_tries > 1) {
        opt_warn(c->ctx, t->weight->name, "the Gram matrix needed a damping of %g (%d tries)",
                 h->damping, h->n_tries);
    }
}

/* A tied embedding's matrix is not that of its inputs alone, and it is no layer to llama.cpp. */
static opt_status save_statistics(opt_calibration *c, opt_plan_tensor *t, const opt_hessian *h) {
    if (!c->saves_statistics || is_tied(t)) {
        return OPT_OK;
    }
    float *copy = opt_arena_array(c->plan->arena, (size_t)h->n, sizeof *copy);
    if (copy == NULL) {
        return OPT_ERR_MEMORY;
    }
    memcpy(copy, h->diag, (size_t)h->n * sizeof *copy);
    t->mean_square = copy;
    return OPT_OK;
}

/* Appended columns are always zero: the matrix grows to the width of the tensors that it is for. */
static opt_status widen(opt_calibration *c, int node, opt_gram *g) {
    opt_status st = OPT_OK;
    opt_gram wide = {0};
    int64_t n = g->n;
    for (int i = 0; i < c->plan->model->n_weights; i++) {
        if (c->wanted[i] && c->input_of[i] == node) {
            n = opt_max_i64(n, c->planned[i]->n_cols);
        }
    }
    if (n > g->n) {
        OPT_TRY(opt_gram_new(c->ctx, n, &wide));
        wide.n_tokens = g->n_tokens;
        for (int64_t i = 0; i < g->n; i++) {
            memcpy(wide.sum + i * n, g->sum + i * g->n, (size_t)(i + 1) * sizeof *g->sum);
        }
        opt_gram_free(c->ctx, g);
        *g = wide;
    }
done:
    return st;
}

/* Whether a tensor that reads a node, or the plan if node is -1, is solved with a shift. */
static bool uses_shift(const opt_calibration *c, int node) {
    for (int i = 0; i < c->plan->model->n_weights; i++) {
        const opt_plan_tensor *t = c->planned[i];
        if (t != NULL && opt_calibration_shifts(c->plan->model, t) &&
            (node < 0 || c->input_of[i] == node)) {
            return true;
        }
    }
    return false;
}

/* The shift that goes with a Hessian, appended columns included. */
static opt_status add_shift(opt_calibration *c, int node, opt_hessian *h) {
    opt_status st = OPT_OK;
    const opt_node *from = &c->plan->model->nodes[node];
    double *cross = c->cross;
    if (cross != NULL && h->n > from->width) {
        const size_t n = (size_t)h->n;
        OPT_TRY_PTR(cross = opt_alloc_zero(c->ctx, n * n * sizeof *cross));
        for (int64_t i = 0; i < from->width; i++) {
            memcpy(cross + i * h->n, c->cross + i * from->width,
                   (size_t)from->width * sizeof *cross);
        }
    }
    if (cross != NULL) {
        OPT_TRY(opt_hessian_add_shift(from->name, cross, h));
    }
done:
    if (cross != c->cross) {
        opt_free(c->ctx, cross);
    }
    return st;
}

/* The Hessian of what a node gives, from its Gram matrix, which goes. */
static opt_status make_hessian(opt_calibration *c, int node) {
    opt_status st = OPT_OK;
    const opt_model *m = c->plan->model;
    opt_gram *g = &c->grams[node];
    bool with_factor = false, used = false;
    for (int i = 0; i < m->n_weights; i++) {
        if (c->wanted[i] && c->input_of[i] == node) {
            used = true;
            with_factor = with_factor || (c->planned[i]->method->needs & OPT_NEEDS_HESSIAN) != 0;
        }
    }
    if (used) {
        OPT_TRY(widen(c, node, g));
        OPT_TRY(opt_hessian_new(c->ctx, m->nodes[node].name, g->sum, g->n, g->n_tokens, with_factor,
                                &c->hessians[node]));
        OPT_TRY(add_shift(c, node, c->hessians[node]));
    }
    opt_gram_free(c->ctx, g);
    for (int64_t i = 0; used && i < c->plan->n; i++) {
        const opt_hessian *h = opt_calibration_hessian(c, i);
        if (h == c->hessians[node]) {
            describe(c, &c->plan->tensors[i], h);
            OPT_TRY(save_statistics(c, &c->plan->tensors[i], h));
        }
    }
done:
    return st;
}

static opt_status make_hessians(opt_calibration *c) {
    opt_status st = OPT_OK;
    for (int node = 0; node < c->plan->model->n_nodes; node++) {
        if (c->grams[node].sum != NULL) {
            OPT_TRY(make_hessian(c, node));
        }
    }
done:
    return st;
}

static bool in_block(const opt_calibration *c, int stage) {
    return stage >= 0 && stage < c->plan->model->n_units;
}

/* The next step of the unit that the stream is in; `shows`: for the Hessian of what it shows. */
static opt_status run_step(opt_calibration *c, bool shows) {
    opt_status st = OPT_OK;
    const opt_step_cut *cut = &c->steps[c->stream_stage].cuts[c->next_step];
    const bool collects = shows && !cut->ends;
    opt_stream *stream = c->trial != NULL ? c->trial : c->stream;
    for (int i = 0; c->trial == NULL && i < c->plan->model->n_nodes; i++) {
        opt_hessian_free(c->hessians[i]); /* everything was solved that needs them */
        c->hessians[i] = NULL;
    }
    if (collects && c->floats != NULL && uses_shift(c, cut->last)) {
        const size_t n = (size_t)c->plan->model->nodes[cut->last].width;
        OPT_TRY_PTR(c->cross = opt_alloc_zero(c->ctx, n * n * sizeof *c->cross));
        OPT_TRY(opt_stream_step_pair(stream, c->floats, cut, c->replaced, &c->grams[cut->last],
                                     c->cross));
    } else {
        if (shows || c->trial == NULL) {
            OPT_TRY(
                opt_stream_step(stream, cut, c->replaced, collects ? &c->grams[cut->last] : NULL));
        }
        if (c->floats != NULL) {
            OPT_TRY(opt_stream_step(c->floats, cut, NULL, NULL));
        }
    }
    c->next_step++;
    if (collects) {
        OPT_TRY(make_hessian(c, cut->last));
    }
done:
    opt_free(c->ctx, c->cross);
    c->cross = NULL;
    return st;
}

/* The steps that are left of the unit that the stream is in. */
static opt_status finish_steps(opt_calibration *c) {
    opt_status st = OPT_OK;
    while (c->next_step < c->steps[c->stream_stage].n) {
        OPT_TRY(run_step(c, false));
    }
done:
    return st;
}

/* What is left of the unit that the stream is in. */
static opt_status finish_unit(opt_calibration *c) {
    opt_status st = OPT_OK;
    const bool in_steps = c->steps != NULL && in_block(c, c->stream_stage);
    if (c->floats != NULL && c->steps != NULL && c->stream_stage < 0) {
        OPT_TRY(opt_stream_advance(c->floats, c->stream_stage, NULL));
    }
    if (in_steps) {
        OPT_TRY(finish_steps(c));
        c->next_step = 0;
    }
    if (!in_steps || c->trial != NULL) {
        OPT_TRY(opt_stream_advance(c->stream, c->stream_stage, c->one_pass ? NULL : c->replaced));
    }
done:
    return st;
}

opt_status opt_calibration_targets(opt_calibration *c, opt_stream **out) {
    opt_status st = OPT_OK;
    *out = c->floats;
    if (c->steps != NULL && in_block(c, c->stage)) {
        return finish_steps(c);
    }
    /* While the weights of the stage are as transforms have left them. */
    for (; c->steps == NULL && c->floats_stage <= c->stage; c->floats_stage++) {
        OPT_TRY(opt_stream_advance(c->floats, c->floats_stage, NULL));
    }
done:
    return st;
}

bool opt_calibration_pending(const opt_calibration *c, int64_t i) {
    const int w = weight_index(c->plan, &c->plan->tensors[i]);
    return c->steps != NULL && !c->restored && in_block(c, c->stage) && c->wanted[w] &&
           c->hessians[c->input_of[w]] == NULL;
}

opt_status opt_calibration_reach(opt_calibration *c, int64_t i) {
    opt_status st = OPT_OK;
    while (opt_calibration_pending(c, i)) {
        OPT_REQUIRE(c->next_step + 1 < c->steps[c->stage].n, c->ctx, OPT_ERR_BUG,
                    c->plan->tensors[i].weight->name, "its block has run past its input");
        OPT_TRY(run_step(c, true));
    }
done:
    return st;
}

/* Lets the text run through everything before a stage, as it was written. */
static opt_status advance_to(opt_calibration *c, int stage) {
    opt_status st = OPT_OK;
    while (c->stream_stage < stage) {
        if (c->stream_stage >= -1) {
            OPT_TRY(finish_unit(c));
        }
        c->stream_stage++;
    }
done:
    return st;
}

/* Where activations go that are not to be in memory, or NULL. */
static const char *spill_dir(const opt_calibration *c) {
    return c->spills ? opt_workdir_path(c->work) : NULL;
}

/* Evenly spaced windows of the text; free it with opt_corpus_free. */
static opt_status thin_out(opt_calibration *c, opt_corpus *out) {
    opt_status st = OPT_OK;
    const int64_t n_ctx = c->corpus.n_ctx;
    const int64_t n = opt_min_i64(c->corpus.n_windows, OPT_CALIBRATION_EARLY_WINDOWS);
    *out = (opt_corpus){.n_windows = n, .n_ctx = n_ctx};
    OPT_TRY_PTR(out->tokens = opt_alloc_array(c->ctx, (size_t)(n * n_ctx), sizeof *out->tokens));
    for (int64_t w = 0; w < n; w++) {
        memcpy(out->tokens + w * n_ctx, c->corpus.tokens + w * c->corpus.n_windows / n * n_ctx,
               (size_t)n_ctx * sizeof *out->tokens);
    }
done:
    return st;
}

/*
 * A tied embedding stands before the blocks in the file and behind them in the graph. The blocks
 * are to see it as it will be written, so it is solved first, as the head, for what the float model
 * shows it.
 */
static opt_status collect_early(opt_calibration *c) {
    opt_status st = OPT_OK;
    opt_corpus corpus = {0};
    opt_stream *stream = NULL;
    const int n_units = c->plan->model->n_units;
    OPT_TRY(thin_out(c, &corpus));
    OPT_TRY(opt_stream_new(c->ctx, c->plan->model, &corpus, spill_dir(c), &stream));
    opt_stream_set_compute(stream, c->compute);
    for (int unit = -1; unit < n_units; unit++) {
        OPT_TRY(opt_stream_advance(stream, unit, NULL));
    }
    OPT_TRY(opt_stream_collect(stream, n_units, c->collected, c->grams));
done:
    opt_stream_free(stream);
    opt_corpus_free(c->ctx, &corpus);
    return st;
}

/*
 * The other role of a tied embedding: an error of a row goes into the blocks wherever its token is
 * read. Frequent tokens are read often, and predicted as often, so both roles of a row grow alike
 * with its token's frequency, and one matrix serves all rows: the Gram matrix of the head plus a
 * multiple of the identity.
 */
void opt_calibration_add_embedding(opt_gram *g) {
    double mean = 0.0;
    for (int64_t i = 0; i < g->n; i++) {
        mean += g->sum[i * g->n + i] / (double)g->n;
    }
    for (int64_t i = 0; i < g->n; i++) {
        g->sum[i * g->n + i] += OPT_CALIBRATION_EMBEDDING_SHARE * mean;
    }
}

static bool mark_wanted(opt_calibration *c, int stage) {
    bool any = false;
    for (int i = 0; i < c->plan->model->n_weights; i++) {
        c->wanted[i] = c->planned[i] != NULL && c->planned[i]->stage == stage &&
                       opt_calibrates(c->planned[i]) && c->input_of[i] >= 0;
        c->collected[i] = c->wanted[i] || (c->planned[i] != NULL && c->planned[i]->stage == stage &&
                                           opt_transforms_wants(c->transforms, i));
        any = any || c->collected[i];
    }
    return any;
}

static opt_status collect(opt_calibration *c, int stage) {
    opt_status st = OPT_OK;
    const opt_model *m = c->plan->model;
    if (stage >= 0 && c->one_pass && stage < m->n_units) {
        c->stream_stage = stage + 1;
        return opt_stream_collect_advance(c->stream, stage, c->collected, c->grams);
    }
    if (c->steps != NULL && in_block(c, stage)) { /* step by step, as tensors are reached */
        return c->trial != NULL ? opt_stream_copy(c->trial, c->stream) : OPT_OK;
    }
    if (stage >= 0) {
        return opt_stream_collect(c->stream, stage, c->collected, c->grams);
    }
    OPT_TRY(collect_early(c));
    for (int i = 0; i < m->n_weights; i++) {
        if (c->wanted[i] && is_tied(c->planned[i])) {
            opt_calibration_add_embedding(&c->grams[c->input_of[i]]);
        }
    }
done:
    return st;
}

/* Another one beside `stream`. */
static opt_status new_stream(opt_calibration *c, int64_t held, opt_stream **out) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_stream_new(c->ctx, c->plan->model, &c->corpus, spill_dir(c), out));
    opt_stream_set_compute(*out, c->compute);
    OPT_TRY(opt_stream_reserve(*out, held));
done:
    return st;
}

opt_status opt_calibration_begin(opt_calibration *c, const char *output, int sweeps, bool fresh) {
    opt_status st = OPT_OK;
    int64_t held = 0;
    char options[128];
    (void)snprintf(options, sizeof options, "%d sweeps, %s, %s, %d steps of %d windows", sweeps,
                   c->one_pass        ? "one pass"
                   : c->steps != NULL ? "step by step"
                                      : "block by block",
                   c->compute == OPT_COMPUTE_I16    ? "i16"
                   : c->compute == OPT_COMPUTE_BF16 ? "bf16"
                                                    : "f32",
                   c->block_steps, c->block_batch);
    OPT_TRY(opt_resume_open(c->plan, &c->corpus, options, output, fresh, &c->work));
    OPT_TRY(opt_stream_new(c->ctx, c->plan->model, &c->corpus, spill_dir(c), &c->stream));
    opt_stream_set_compute(c->stream, c->compute);
    for (int unit = 0; c->steps != NULL && unit < c->plan->model->n_units; unit++) {
        held = opt_max_i64(held, opt_steps_width(c->plan->model, &c->steps[unit]));
    }
    OPT_REQUIRE(c->steps != NULL || !uses_shift(c, -1), c->ctx, OPT_ERR_UNSUPPORTED, "gptaq",
                "its blocks have to run matrix by matrix: that goes neither with --one-pass and "
                "--transform, nor with --round-steps and appended columns, nor with any order of "
                "tensors");
    if (c->steps != NULL && c->block_steps > 0) {
        OPT_TRY(new_stream(c, held, &c->trial));
    } else {
        OPT_TRY(opt_stream_reserve(c->stream, held));
    }
    if (c->block_steps > 0 || uses_shift(c, -1)) {
        OPT_TRY(new_stream(c, held, &c->floats));
    }
    /* Statistics are not among what is saved, nor are float matrices as transforms have left them,
     * through which the text runs here beside the solved ones. */
    c->saves =
        !c->saves_statistics && (c->transforms == NULL || (!c->one_pass && c->floats == NULL));
done:
    return st;
}

/* What later stages see of tensors with appended columns. */
static opt_status crop(opt_calibration *c) {
    opt_status st = OPT_OK;
    float *row = NULL;
    const opt_kern *kern = opt_kern_get(c->ctx);
    OPT_TRY_PTR(kern);
    for (int i = 0; i < c->plan->model->n_weights; i++) {
        const opt_plan_tensor *t = c->planned[i];
        float *dst = (float *)(uintptr_t)c->cropped[i].data; /* ours */
        if (dst == NULL) {
            continue;
        }
        OPT_TRY_PTR(row = opt_alloc_array(c->ctx, (size_t)t->n_cols, sizeof *row));
        for (int64_t r = 0; r < t->src_rows; r++) {
            t->format->decode(t->format, kern, c->kept[i].data + (size_t)r * t->row_bytes, row,
                              t->n_cols);
            memcpy(dst + r * t->src_cols, row, (size_t)t->src_cols * sizeof *row);
        }
        opt_free(c->ctx, row);
        row = NULL;
    }
done:
    opt_free(c->ctx, row);
    return st;
}

/* Saves the stage, or loads it into the same places: then *found says whether it was there. */
static opt_status exchange(opt_calibration *c, opt_plan_sums *sums, bool *found) {
    opt_status st = OPT_OK;
    opt_piece *pieces = NULL;
    opt_stage_state state = {
        .plan = c->plan, .stage = c->stage, .tensors = c->stored, .sums = sums};
    OPT_TRY(opt_transforms_state(c->transforms, c->plan, c->stored, &pieces, &state.n_more));
    state.more = pieces;
    if (found == NULL) {
        OPT_TRY(opt_resume_save(c->work, &state));
    } else {
        OPT_TRY(opt_resume_load(c->work, &state, found));
    }
    if (found != NULL && *found) {
        opt_transforms_restored(c->transforms);
    }
done:
    opt_free(c->ctx, pieces);
    return st;
}

opt_status opt_calibration_leave(opt_calibration *c, opt_plan_sums *sums) {
    opt_status st = OPT_OK;
    OPT_TRY(crop(c));
    if (c->saves && !c->restored) {
        OPT_TRY(exchange(c, sums, NULL));
    }
done:
    return st;
}

void opt_calibration_finish(opt_calibration *c) {
    opt_workdir_close(c->work, true);
    c->work = NULL;
}

opt_status opt_calibration_enter(opt_calibration *c, int stage, opt_plan_sums *sums) {
    opt_status st = OPT_OK;
    if (stage == c->stage) {
        return OPT_OK;
    }
    free_stage(c);
    c->stage = stage;
    c->restored = false;
    const bool any = mark_wanted(c, stage);
    if (stage == c->plan->model->n_units && !any) { /* nothing behind the blocks needs them */
        return opt_transforms_enter(c->transforms, stage);
    }
    OPT_REQUIRE(stage >= c->stream_stage, c->ctx, OPT_ERR_BUG, c->plan->model->name,
                "stage %d comes behind stage %d", stage, c->stream_stage);
    OPT_TRY(advance_to(c, stage));
    free_kept(c);
    OPT_TRY(opt_transforms_enter(c->transforms, stage));
    if (!c->one_pass || c->saves || opt_transforms_late(c->transforms, -1)) {
        OPT_TRY(reserve_kept(c, stage));
    }
    if (c->saves) {
        OPT_TRY(exchange(c, sums, &c->restored));
        if (c->restored) {
            OPT_TRY(crop(c));
        }
    }
    if (any && !c->restored) {
        OPT_TRY(collect(c, stage));
        OPT_TRY(opt_transforms_fit(c->transforms, stage, c->grams));
        OPT_TRY(make_hessians(c));
    }
done:
    return st;
}

opt_status opt_calibration_late(opt_calibration *c, int64_t i) {
    return opt_transforms_finish(c->transforms, weight_index(c->plan, &c->plan->tensors[i]),
                                 c->replaced);
}

const opt_hessian *opt_calibration_hessian(const opt_calibration *c, int64_t i) {
    const int w = weight_index(c->plan, &c->plan->tensors[i]);
    return c->wanted[w] && c->input_of[w] >= 0 ? c->hessians[c->input_of[w]] : NULL;
}

bool opt_calibration_restored(const opt_calibration *c) { return c->restored; }

const opt_corpus *opt_calibration_corpus(const opt_calibration *c) { return &c->corpus; }

opt_stream *opt_calibration_stream(const opt_calibration *c) { return c->stream; }

void opt_calibration_keep(opt_calibration *c, int64_t i, int64_t row0, int64_t n_rows,
                          const uint8_t *rows) {
    const opt_plan_tensor *t = &c->plan->tensors[i];
    const opt_tensor *k = c->stored[weight_index(c->plan, t)];
    for (int64_t r = 0; k != NULL && r < n_rows; r++) {
        uint8_t *dst = (uint8_t *)(uintptr_t)k->data; /* ours: allocated by reserve_kept */
        memcpy(dst + (size_t)opt_weight_source_row(t->weight, row0 + r) * t->row_bytes,
               rows + (size_t)r * t->row_bytes, t->row_bytes);
    }
}

bool opt_calibration_take(const opt_calibration *c, int64_t i, int64_t row0, int64_t n_rows,
                          uint8_t *dst) {
    const opt_plan_tensor *t = &c->plan->tensors[i];
    const opt_tensor *k = c->restored ? c->stored[weight_index(c->plan, t)] : NULL;
    for (int64_t r = 0; k != NULL && r < n_rows; r++) {
        memcpy(dst + (size_t)r * t->row_bytes,
               k->data + (size_t)opt_weight_source_row(t->weight, row0 + r) * t->row_bytes,
               t->row_bytes);
    }
    return k != NULL;
}
