/* How much memory calibration will take: the sums of what is held at once in every phase. */
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "flow/calibrate.h"
#include "flow/transforms.h"

/* One prediction. */
typedef struct forecast {
    const opt_plan *plan;
    const opt_calibration_options *options;
    int64_t n_windows;
    bool *wanted;     /* [n_weights] of the stage */
    opt_steps *steps; /* [n_units] */
    bool in_steps;
    bool shifts; /* the float model runs beside, and solvers want to know how it differs */
    bool blocks; /* blocks are rounded as a whole */
    uint64_t most;
} forecast;

static void at_once(forecast *f, uint64_t bytes) { f->most = bytes > f->most ? bytes : f->most; }

static int index_of(const forecast *f, const opt_plan_tensor *t) {
    return (int)(t->weight - f->plan->model->weights);
}

/* Marks the tensors of a stage whose inputs are collected; returns the bytes of those that are
 * kept. */
static uint64_t mark(forecast *f, int stage, bool *any) {
    uint64_t kept = 0;
    *any = false;
    memset(f->wanted, 0, (size_t)f->plan->model->n_weights * sizeof *f->wanted);
    for (int64_t i = 0; i < f->plan->n; i++) {
        const opt_plan_tensor *t = &f->plan->tensors[i];
        if (t->stage == stage && opt_calibration_keeps(t)) {
            kept += (uint64_t)t->n_rows * t->row_bytes;
            kept += t->n_cols != t->src_cols /* a second copy, in f32 */
                        ? (uint64_t)t->src_rows * (uint64_t)t->src_cols * sizeof(float)
                        : 0;
        }
        if (t->stage == stage &&
            (opt_calibrates(t) || opt_transforms_wants(f->options->transforms, index_of(f, t)))) {
            f->wanted[index_of(f, t)] = true;
            *any = true;
        }
    }
    return kept;
}

/* Columns of the matrix of what a node gives, appended ones included; 0 if nothing of the stage
 * reads it. And whether a solver wants the factor. */
static int64_t read_width(const forecast *f, int node, bool *with_factor) {
    const opt_model *m = f->plan->model;
    int64_t width = 0;
    *with_factor = false;
    for (int64_t i = 0; i < f->plan->n; i++) {
        const opt_plan_tensor *t = &f->plan->tensors[i];
        for (int j = node + 1; f->wanted[index_of(f, t)] && j < m->n_nodes; j++) {
            if (m->nodes[j].op == &opt_op_linear && m->nodes[j].in[0] == node &&
                m->nodes[j].weights[0] == index_of(f, t)) {
                width = opt_max_i64(width, t->n_cols);
                *with_factor = *with_factor ||
                               (opt_calibrates(t) && (t->method->needs & OPT_NEEDS_HESSIAN) != 0);
            }
        }
    }
    return width;
}

/* Matrices of a stage: all Gram matrices while the text runs; then one after the other becomes a
 * Hessian. `held` is there all the while; `run` beside the Gram matrices. */
static void matrices(forecast *f, uint64_t held, uint64_t run) {
    const opt_model *m = f->plan->model;
    uint64_t grams = 0, hessians = 0;
    bool with_factor;
    for (int node = 0; node < m->n_nodes; node++) {
        grams += opt_gram_bytes(read_width(f, node, &with_factor));
    }
    at_once(f, held + grams + run);
    for (int node = 0; node < m->n_nodes; node++) {
        const int64_t width = read_width(f, node, &with_factor);
        if (width > 0) {
            uint64_t kept, scratch;
            opt_hessian_bytes(width, with_factor, &kept, &scratch);
            hessians += kept;
            at_once(f, held + grams + hessians + scratch);
            grams -= opt_gram_bytes(width);
        }
    }
    at_once(f, held + hessians);
}

/* A block in steps: one matrix at a time. `held` is there all the while. */
static opt_status steps(forecast *f, int unit, uint64_t held) {
    opt_status st = OPT_OK;
    const opt_model *m = f->plan->model;
    uint64_t hessians = 0;
    for (int i = 0; i < f->steps[unit].n; i++) {
        const opt_step_cut *c = &f->steps[unit].cuts[i];
        uint64_t run = 0, kept = 0, scratch = 0;
        OPT_TRY(opt_stream_step_bytes(f->plan->ctx, m, c, f->options->text.n_ctx,
                                      f->options->compute, f->shifts, &run));
        bool with_factor = false;
        const int64_t width = c->ends ? 0 : read_width(f, c->last, &with_factor);
        const uint64_t cross = f->shifts ? (uint64_t)width * (uint64_t)width * sizeof(double) : 0;
        held += hessians;
        at_once(f, held + opt_gram_bytes(width) + cross + run);
        if (width > 0) {
            opt_hessian_bytes(width, with_factor, &kept, &scratch);
            at_once(f, held + opt_gram_bytes(width) + cross + kept + scratch);
        }
        if (cross > 0) {
            uint64_t shift = 0, more = 0;
            opt_hessian_shift_bytes(width, &shift, &more);
            const bool widened = width > m->nodes[c->last].width;
            at_once(f,
                    held + opt_gram_bytes(width) + cross * (widened ? 2 : 1) + kept + shift + more);
            kept += shift;
        }
        hessians = f->blocks ? kept : 0; /* until the block is done */
    }
    at_once(f, held + hessians);
done:
    return st;
}

/* The float model before a tied embedding is solved. */
static opt_status early(forecast *f, uint64_t held) {
    opt_status st = OPT_OK;
    const opt_model *m = f->plan->model;
    const int64_t n_ctx = f->options->text.n_ctx;
    const opt_compute compute = f->options->compute;
    uint64_t run;
    held += opt_stream_bytes(m, opt_min_i64(f->n_windows, OPT_CALIBRATION_EARLY_WINDOWS), n_ctx,
                             f->options->spills);
    for (int unit = -1; unit < 1 && unit < m->n_units; unit++) { /* blocks are alike */
        OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, unit, NULL, n_ctx, compute, &run));
        at_once(f, held + run);
    }
    OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, m->n_units, f->wanted, n_ctx, compute, &run));
    matrices(f, held, run);
done:
    return st;
}

static opt_status stage(forecast *f, int stage, uint64_t rows, uint64_t kept_before) {
    opt_status st = OPT_OK;
    const opt_model *m = f->plan->model;
    const int64_t n_ctx = f->options->text.n_ctx;
    const opt_compute compute = f->options->compute;
    const bool fused = f->options->one_pass && stage >= 0 && stage < m->n_units;
    bool any = false;
    uint64_t run = 0;
    if (f->in_steps && stage >= 0 && stage < m->n_units) {
        const uint64_t now = mark(f, stage, &any);
        if (stage == 0) {
            OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, -1, NULL, n_ctx, compute, &run));
            at_once(f, rows + kept_before + run);
        }
        return steps(f, stage, rows + (now > kept_before ? now : kept_before));
    }
    if (stage >= 0) {
        OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, stage - 1, NULL, n_ctx, compute, &run));
        at_once(f, rows + kept_before + run);
    }
    const uint64_t kept = mark(f, stage, &any);
    if (any && stage < 0) {
        OPT_TRY(early(f, rows + kept));
    } else if (any) {
        uint64_t whole = 0;
        if (fused) {
            OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, stage, NULL, n_ctx, compute, &whole));
        }
        OPT_TRY(opt_stream_run_bytes(f->plan->ctx, m, stage, f->wanted, n_ctx, compute, &run));
        matrices(f, rows + kept, whole > run ? whole : run);
    }
done:
    return st;
}

/* Reading: the largest file, and at most a token for every three bytes of all of them. */
static opt_status text(forecast *f) {
    opt_status st = OPT_OK;
    const opt_corpus_options *o = &f->options->text;
    uint64_t sum = 0, largest = 0;
    for (size_t i = 0; i < o->n_paths; i++) {
        opt_file_stamp stamp;
        OPT_TRY(opt_file_stamp_of(f->plan->ctx, o->paths[i], &stamp));
        sum += stamp.bytes;
        largest = stamp.bytes > largest ? stamp.bytes : largest;
    }
    /* a token is a byte at least */
    f->n_windows = opt_min_i64(o->n_windows, (int64_t)(sum / (uint64_t)o->n_ctx) + 1);
    at_once(f, largest + sum / 3 * sizeof(int32_t));
done:
    return st;
}

opt_status opt_calibration_bytes(const opt_plan *plan, const opt_calibration_options *options,
                                 uint64_t *out) {
    opt_status st = OPT_OK;
    const opt_model *m = plan->model;
    forecast f = {.plan = plan, .options = options};
    bool any;
    OPT_TRY_PTR(f.wanted = opt_alloc_zero(plan->ctx, (size_t)m->n_weights * sizeof *f.wanted));
    OPT_TRY_PTR(f.steps = opt_alloc_zero(plan->ctx, (size_t)m->n_units * sizeof *f.steps));
    OPT_TRY(text(&f));
    OPT_TRY(opt_calibration_plan_steps(plan, options, f.steps, &f.in_steps));
    uint64_t rows = opt_stream_bytes(m, f.n_windows, options->text.n_ctx, options->spills);
    uint64_t kept = 0;
    int64_t held = 0;
    for (int unit = 0; f.in_steps && unit < m->n_units; unit++) {
        held = opt_max_i64(held, opt_steps_width(m, &f.steps[unit]));
    }
    for (int64_t i = 0; f.in_steps && i < plan->n; i++) {
        f.shifts = f.shifts || opt_calibration_shifts(m, &plan->tensors[i]);
    }
    f.blocks = options->block_steps > 0;
    const uint64_t reserve = opt_stream_reserve_bytes(held, f.n_windows, options->text.n_ctx,
                                                      options->compute, options->spills);
    const uint64_t beside = (f.blocks && f.in_steps ? 1U : 0U) + (f.blocks || f.shifts ? 1U : 0U);
    rows += beside * (rows + reserve) + (f.blocks && f.in_steps ? 0 : reserve);
    for (int s = -1; s < 2 && s < m->n_units; s++) { /* blocks are alike */
        OPT_TRY(stage(&f, s, rows, kept));
        kept = mark(&f, s, &any);
    }
    (void)mark(&f, m->n_units, &any);
    if (any) {
        OPT_TRY(stage(&f, m->n_units, rows, kept));
    }
    *out = f.most;
done:
    opt_free(plan->ctx, f.steps);
    opt_free(plan->ctx, f.wanted);
    return st;
}
