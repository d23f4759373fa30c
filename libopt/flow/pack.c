/* The walk of pack: every tensor keeps its bytes, or is expanded to a plain float format. */
#include <string.h>

#include "flow/emit.h"
#include "flow/runner.h"
#include "opt/quantize.h"
#include "opt/text.h"

/** A layout that pack can write. `expand`: format of all matrices; NULL: as they are. */
typedef struct layout {
    const char *name;
    const opt_format *expand;
} layout;

static const layout layouts[] = {
    {"native", NULL},
    {"gguf", NULL},
    {"gguf-f32", &opt_format_f32},
    {"gguf-f16", &opt_format_f16},
    {"gguf-bf16", &opt_format_bf16},
};

enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

static opt_status find_layout(opt_ctx *ctx, const char *name, const layout **out) {
    const char *names[N_LAYOUTS];
    for (int i = 0; i < N_LAYOUTS; i++) {
        names[i] = layouts[i].name;
        if (name == NULL || strcmp(layouts[i].name, name) == 0) { /* the first is the default */
            *out = &layouts[i];
            return OPT_OK;
        }
    }
    const char *near = opt_text_nearest(name, names, N_LAYOUTS);
    if (near != NULL) {
        return opt_fail(ctx, OPT_ERR_USAGE, "--to", "unknown layout '%s'; did you mean '%s'?", name,
                        near);
    }
    return opt_fail(ctx, OPT_ERR_USAGE, "--to",
                    "unknown layout '%s'; there are native, gguf, gguf-f32, gguf-f16, gguf-bf16",
                    name);
}

/** Vectors become f32, which every reader of GGUF expects; matrices what the layout says. GGUF
 * files keep what they have. */
static const opt_format *output_format(const layout *l, const opt_weight *w, bool from_gguf) {
    if (l->expand == NULL && from_gguf) {
        return w->tensor->format;
    }
    if (w->n_dims < 2 || w->role == OPT_ROLE_NORM || w->role == OPT_ROLE_BIAS ||
        w->role == OPT_ROLE_OTHER) {
        return &opt_format_f32;
    }
    return l->expand != NULL ? l->expand : w->tensor->format;
}

static opt_status make_plan(opt_ctx *ctx, const opt_opened *opened, const layout *l,
                            opt_plan **out) {
    opt_status st = OPT_OK;
    opt_plan *plan = NULL;
    opt_kv *kv = NULL;
    const opt_model *m = opened->model;
    const bool from_gguf = opt_source_kind_of(opened->source) == OPT_SOURCE_GGUF;
    OPT_TRY(opt_opened_kv(opened, &kv));
    OPT_TRY(opt_plan_new(ctx, m, kv, &plan));
    for (int i = 0; i < m->n_weights; i++) {
        OPT_TRY(opt_plan_add(plan, &m->weights[i], output_format(l, &m->weights[i], from_gguf),
                             NULL, 0, 0, ""));
    }
    OPT_TRY(opt_plan_finish(plan));
    *out = plan;
    plan = NULL;
done:
    opt_plan_free(plan);
    return st;
}

opt_status opt_pack(opt_ctx *ctx, const opt_pack_options *options, opt_quantize_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_flow_seconds();
    bool have_result = false;
    const layout *l = NULL;
    opt_opened opened = {0};
    opt_plan *plan = NULL;
    OPT_REQUIRE(options->output != NULL || options->dry_run, ctx, OPT_ERR_USAGE, NULL,
                "an output file is needed");
    OPT_TRY(find_layout(ctx, options->to, &l));
    OPT_TRY(opt_open(ctx, options->input, &opened));
    OPT_TRY(make_plan(ctx, &opened, l, &plan));
    if (options->output != NULL) {
        OPT_TRY(opt_emit_refuse_inputs(ctx, opened.source, options->output));
    }
    OPT_TRY(opt_plan_result(plan, result)); /* nothing may fail behind the rename */
    have_result = true;
    if (!options->dry_run) {
        const opt_emit_options emit = {
            .output = options->output, .force = options->force, .step = "packing"};
        OPT_TRY(opt_emit(plan, &emit));
        opt_plan_result_errors(plan, result);
    }
    result->peak_memory = opt_ctx_peak_memory(ctx) + (options->dry_run ? opt_emit_bytes(plan) : 0);
    result->seconds = opt_flow_seconds() - start;
    have_result = false; /* it is the caller's */
done:
    if (have_result) {
        opt_quantize_result_free(result);
    }
    opt_plan_free(plan);
    opt_opened_close(&opened);
    return st;
}
