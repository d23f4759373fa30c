#include "flow/plan.h"

#include <math.h>
#include <string.h>

#include "base/num.h"

/* Elements of a tile: its f32 rows and their reconstruction stay in the second-level cache. Part of
   the determinism contract only in so far as error sums are added tile by tile. */
#define TILE_ELEMS 32768
#define SOLVE_ROWS 64 /* rows that share what is read of a Gram matrix */

opt_status opt_plan_new(opt_ctx *ctx, const opt_model *model, opt_plan **out) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    OPT_TRY(opt_arena_new(ctx, &arena));
    opt_plan *p = opt_arena_alloc(arena, sizeof *p);
    OPT_TRY_PTR(p);
    p->ctx = ctx;
    p->arena = arena;
    p->model = model;
    p->tensors = opt_arena_array(arena, (size_t)model->n_weights, sizeof *p->tensors);
    OPT_TRY_PTR(p->tensors);
    p->decls = opt_arena_array(arena, (size_t)model->n_weights, sizeof *p->decls);
    OPT_TRY_PTR(p->decls);
    *out = p;
    arena = NULL;
done:
    opt_arena_free(arena);
    return st;
}

void opt_plan_free(opt_plan *plan) {
    if (plan != NULL) {
        opt_kv_free(plan->kv);
        opt_arena_free(plan->arena);
    }
}

void opt_weight_shape(const opt_weight *w, int64_t *n_rows, int64_t *n_cols) {
    *n_cols = w->dims[w->n_dims - 1];
    *n_rows = 1;
    for (int i = 0; i + 1 < w->n_dims; i++) {
        *n_rows *= w->dims[i]; /* the product was checked when the source was read */
    }
}

static opt_action choose_action(const opt_plan_tensor *t) {
    if (t->format == t->weight->tensor->format && t->n_rows == t->src_rows &&
        t->n_cols == t->src_cols) {
        return OPT_ACTION_COPY;
    }
    return (t->format->flags & OPT_FORMAT_QUANT) != 0 ? OPT_ACTION_QUANTIZE : OPT_ACTION_CONVERT;
}

/* Weights that no node uses stay where they are named. */
static int stage_of(const opt_model *m, const opt_weight *w) {
    for (int i = 0; i < m->n_nodes; i++) {
        for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && m->nodes[i].op->weight_roles[j] != NULL; j++) {
            const int idx = m->nodes[i].weights[j];
            if (idx != OPT_NO_WEIGHT && &m->weights[idx] == w) {
                return m->nodes[i].unit;
            }
        }
    }
    return w->unit;
}

opt_status opt_plan_add(opt_plan *plan, const opt_weight *weight, const opt_format *format,
                        const opt_quant_method *method, int64_t n_rows, int64_t n_cols,
                        const char *note) {
    opt_status st = OPT_OK;
    opt_plan_tensor *t = &plan->tensors[plan->n];
    *t = (opt_plan_tensor){.weight = weight, .format = format, .rmse = NAN, .rel_error = NAN};
    t->output_error = t->output_error_nearest = t->damping = t->condition = NAN;
    t->block_error_before = t->block_error = NAN;
    t->stage = stage_of(plan->model, weight);
    opt_weight_shape(weight, &t->src_rows, &t->src_cols);
    t->n_rows = n_rows > 0 ? n_rows : t->src_rows;
    t->n_cols = n_cols > 0 ? n_cols : t->src_cols;
    t->action = choose_action(t);
    t->method = t->action == OPT_ACTION_QUANTIZE ? method : NULL;
    OPT_REQUIRE(t->action == OPT_ACTION_COPY || (format->flags & OPT_FORMAT_ENCODES) != 0,
                plan->ctx, OPT_ERR_UNSUPPORTED, weight->name,
                "the format %s can be read but not written", format->name);
    OPT_REQUIRE(opt_format_row_bytes(format, t->n_cols, &t->row_bytes), plan->ctx, OPT_ERR_BUG,
                weight->name, "%s does not fit rows of %lld", format->name, (long long)t->n_cols);
    const int64_t least = t->method != NULL && t->method->needs != 0 ? SOLVE_ROWS : 1;
    t->tile_rows = opt_max_i64(least, TILE_ELEMS / opt_max_i64(1, t->n_cols));
    t->note = opt_arena_strdup(plan->arena, note);
    OPT_TRY_PTR(t->note);

    opt_gguf_decl *d = &plan->decls[plan->n];
    *d = (opt_gguf_decl){.name = weight->name, .format = format, .n_dims = weight->n_dims};
    memcpy(d->dims, weight->dims, sizeof d->dims);
    d->dims[d->n_dims - 1] = t->n_cols;
    if (t->n_rows != t->src_rows) {
        d->dims[0] = t->n_rows; /* only matrices are enlarged */
    }
    plan->n++;
done:
    return st;
}

void opt_plan_runs(opt_plan *plan) {
    opt_plan_tensor *t = &plan->tensors[plan->n - 1];
    t->runs = true;
    t->tile_rows = opt_ceil_div(t->tile_rows, OPT_RUN_ROWS) * OPT_RUN_ROWS;
    plan->decls[plan->n - 1].runs = true;
}

void opt_plan_rewrites(opt_plan *plan, const opt_quant_method *method) {
    opt_plan_tensor *t = &plan->tensors[plan->n - 1];
    t->rewritten = true;
    if (t->action == OPT_ACTION_COPY) {
        const bool quant = (t->format->flags & OPT_FORMAT_QUANT) != 0;
        t->action = quant ? OPT_ACTION_QUANTIZE : OPT_ACTION_CONVERT;
        t->method = quant ? method : NULL;
    }
}

/** llama.cpp's number for "mostly this format"; -1: it has none. */
static int file_type_of(const opt_format *f) {
    switch (f->kfmt) {
    case OPT_KFMT_F32: return 0;
    case OPT_KFMT_F16: return 1;
    case OPT_KFMT_Q4_0: return 2;
    case OPT_KFMT_Q4_1: return 3;
    case OPT_KFMT_Q8_0: return 7;
    case OPT_KFMT_Q5_0: return 8;
    case OPT_KFMT_Q5_1: return 9;
    case OPT_KFMT_Q2_K: return 10;
    case OPT_KFMT_Q3_K: return 12;
    case OPT_KFMT_Q4_K: return 15;
    case OPT_KFMT_Q5_K: return 17;
    case OPT_KFMT_Q6_K: return 18;
    case OPT_KFMT_BF16: return 32;
    default: return -1;
    }
}

/** The format that most weights of the blocks have. */
static const opt_format *main_format(const opt_plan *plan) {
    const opt_format *best = plan->tensors[0].format; /* a model has weights */
    int64_t best_weights = -1;
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_format *f = plan->tensors[i].format;
        int64_t n = 0;
        for (int64_t j = 0; j < plan->n; j++) {
            const opt_plan_tensor *t = &plan->tensors[j];
            n += t->format == f && t->weight->role == OPT_ROLE_LINEAR ? t->src_rows * t->src_cols
                                                                      : 0;
        }
        if (n > best_weights) {
            best_weights = n;
            best = f;
        }
    }
    return best;
}

opt_status opt_plan_finish(opt_plan *plan) {
    opt_status st = OPT_OK;
    const opt_format *f = main_format(plan);
    const int file_type = file_type_of(f);
    if (file_type >= 0) {
        OPT_TRY(opt_kv_set_u32(plan->kv, "general.file_type", (uint32_t)file_type));
    }
    bool quantized = false;
    for (int64_t i = 0; i < plan->n; i++) {
        quantized = quantized || (plan->tensors[i].format->flags & OPT_FORMAT_QUANT) != 0;
    }
    if (quantized) {
        OPT_TRY(opt_kv_set_u32(plan->kv, "general.quantization_version", 2));
    }
    OPT_TRY(opt_gguf_predict_bytes(plan->ctx, plan->kv, plan->decls, plan->n, &plan->file_bytes));
done:
    return st;
}

static const char *action_name(const opt_plan_tensor *t) {
    if (t->n_rows != t->src_rows || t->n_cols != t->src_cols) {
        return "padded";
    }
    switch (t->action) {
    case OPT_ACTION_COPY: return "copied";
    case OPT_ACTION_CONVERT: return t->rewritten ? "transformed" : "converted";
    case OPT_ACTION_QUANTIZE: return "quantized";
    }
    return "copied";
}

/** The arena of a result keeps its strings; format and role names are static. */
static opt_status fill_row(opt_arena *arena, const opt_plan_tensor *t, opt_tensor_result *row) {
    opt_status st = OPT_OK;
    row->name = opt_arena_strdup(arena, t->weight->name);
    OPT_TRY_PTR(row->name);
    row->note = opt_arena_strdup(arena, t->note);
    OPT_TRY_PTR(row->note);
    row->role = opt_role_name(t->weight->role);
    const opt_tensor written = {.format = t->format, .runs = t->runs};
    row->source_format = opt_tensor_format_name(t->weight->tensor);
    row->format = opt_tensor_format_name(&written);
    row->action = action_name(t);
    row->n_rows = t->n_rows;
    row->n_cols = t->n_cols;
    row->source_bytes = t->weight->tensor->bytes;
    row->bytes = (uint64_t)t->n_rows * t->row_bytes;
    row->rmse = t->rmse;
    row->rel_error = t->rel_error;
    row->method = t->method != NULL ? t->method->name : "";
    row->output_error = row->output_error_nearest = row->damping = row->condition = NAN;
    row->block_error_before = row->block_error = NAN;
done:
    return st;
}

static opt_status fill_dropped(const opt_plan *plan, opt_arena *arena, int i,
                               opt_tensor_result *row) {
    opt_status st = OPT_OK;
    const char *name = plan->model->dropped[i].tensor;
    const opt_tensor *source = opt_source_find(plan->model->source, name);
    row->name = opt_arena_strdup(arena, name);
    OPT_TRY_PTR(row->name);
    row->note = opt_arena_strdup(arena, plan->model->dropped[i].reason);
    OPT_TRY_PTR(row->note);
    row->role = "none";
    row->action = "dropped";
    row->format = "none";
    row->source_format = source != NULL ? source->format->name : "none";
    row->source_bytes = source != NULL ? source->bytes : 0;
    row->n_rows = source != NULL ? opt_tensor_n_rows(source) : 0;
    row->n_cols = source != NULL ? opt_tensor_n_cols(source) : 0;
    row->rmse = row->rel_error = NAN;
    row->method = "";
    row->output_error = row->output_error_nearest = row->damping = row->condition = NAN;
    row->block_error_before = row->block_error = NAN;
done:
    return st;
}

opt_status opt_plan_result(const opt_plan *plan, opt_quantize_result *result) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    const int64_t n = plan->n + plan->model->n_dropped;
    OPT_TRY(opt_arena_new(plan->ctx, &arena));
    opt_tensor_result *rows = opt_arena_array(arena, (size_t)n, sizeof *rows);
    OPT_TRY_PTR(rows);
    double bits = 0, weights = 0;
    for (int64_t i = 0; i < plan->n; i++) {
        OPT_TRY(fill_row(arena, &plan->tensors[i], &rows[i]));
        bits += 8.0 * (double)rows[i].bytes;
        weights += (double)plan->tensors[i].src_rows * (double)plan->tensors[i].src_cols;
    }
    for (int i = 0; i < plan->model->n_dropped; i++) {
        OPT_TRY(fill_dropped(plan, arena, i, &rows[plan->n + i]));
    }
    *result = (opt_quantize_result){
        .source_bytes = opt_source_file_bytes(plan->model->source),
        .bits_per_weight = weights > 0 ? bits / weights : 0,
        .n_tensors = n,
        .tensors = rows,
        .impl = arena,
    };
    arena = NULL;
done:
    opt_arena_free(arena);
    return st;
}

void opt_plan_complete_result(const opt_plan *plan, opt_quantize_result *result) {
    result->file_bytes = plan->file_bytes;
    opt_tensor_result *rows =
        (opt_tensor_result *)result->tensors; /* ours: made by opt_plan_result */
    for (int64_t i = 0; i < plan->n; i++) {
        rows[i].rmse = plan->tensors[i].rmse;
        rows[i].rel_error = plan->tensors[i].rel_error;
        rows[i].output_error = plan->tensors[i].output_error;
        rows[i].output_error_nearest = plan->tensors[i].output_error_nearest;
        rows[i].damping = plan->tensors[i].damping;
        rows[i].condition = plan->tensors[i].condition;
        rows[i].block_error_before = plan->tensors[i].block_error_before;
        rows[i].block_error = plan->tensors[i].block_error;
        rows[i].n_dead = plan->tensors[i].n_dead;
        rows[i].n_calib_tokens = plan->tensors[i].n_calib_tokens;
    }
}

void opt_quantize_result_free(opt_quantize_result *result) {
    opt_arena_free(result->impl);
    *result = (opt_quantize_result){0};
}
