/* The walk of pack: every tensor keeps its bytes, or is expanded to a plain float format. */
#include <string.h>

#include "base/clock.h"
#include "flow/emit.h"
#include "flow/runner.h"
#include "io/gguf.h"
#include "opt/quantize.h"
#include "opt/text.h"

/** A layout that pack can write. `expand`: format of all matrices; NULL: as they are. */
typedef struct layout {
    const char *name;
    const opt_format *expand;
    bool runs;          /* matrices have their rows 16 together where they can */
    uint32_t alignment; /* of tensors in the file; 0: GGUF's default */
} layout;

/* Tensors that begin with a page are mapped without a neighbour's bytes, and a tensor's pages may
 * be read, dropped and given large pages on their own. */
#define PAGE 4096

static const layout layouts[] = {
    {"native", NULL, true, PAGE},
    {"gguf", NULL, false, 0},
    {"gguf-f32", &opt_format_f32, false, 0},
    {"gguf-f16", &opt_format_f16, false, 0},
    {"gguf-bf16", &opt_format_bf16, false, 0},
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

/** What the header needs when everything else is planned. */
typedef struct job {
    const layout *layout;
    opt_opened opened;
    opt_plan *plan;
} job;

static opt_status prepare(void *user) {
    job *j = user;
    opt_status st = OPT_OK;
    OPT_TRY(opt_open_tokenizer(&j->opened));
    OPT_TRY(opt_opened_kv(&j->opened, &j->plan->kv));
    if (j->layout->alignment != 0) {
        OPT_TRY(opt_kv_set_u32(j->plan->kv, OPT_GGUF_KEY_ALIGNMENT, j->layout->alignment));
    }
    OPT_TRY(opt_plan_finish(j->plan));
done:
    return st;
}

static opt_status make_plan(opt_ctx *ctx, job *j) {
    opt_status st = OPT_OK;
    const layout *l = j->layout;
    const opt_model *m = j->opened.model;
    const bool from_gguf = opt_source_kind_of(j->opened.source) == OPT_SOURCE_GGUF;
    OPT_TRY(opt_plan_new(ctx, m, &j->plan));
    for (int i = 0; i < m->n_weights; i++) {
        const opt_weight *w = &m->weights[i];
        const opt_format *format = output_format(l, w, from_gguf);
        OPT_TRY(opt_plan_add(j->plan, w, format, NULL, 0, 0, ""));
        if (l->runs && w->n_dims == 2 && format == w->tensor->format &&
            opt_tensor_can_run(format, w->dims[0], w->dims[1])) {
            opt_plan_runs(j->plan);
        }
    }
done:
    return st;
}

opt_status opt_pack(opt_ctx *ctx, const opt_pack_options *options, opt_quantize_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    bool have_result = false;
    job j = {0};
    OPT_REQUIRE(options->output != NULL || options->dry_run, ctx, OPT_ERR_USAGE, NULL,
                "an output file is needed");
    OPT_TRY(find_layout(ctx, options->to, &j.layout));
    OPT_TRY(opt_open_model(ctx, options->input, &j.opened));
    OPT_TRY(make_plan(ctx, &j));
    if (options->output != NULL) {
        OPT_TRY(opt_emit_refuse_inputs(ctx, j.opened.source, options->output));
    }
    OPT_TRY(opt_plan_result(j.plan, result)); /* nothing may fail behind the rename */
    have_result = true;
    const opt_emit_options emit = {.output = options->output,
                                   .force = options->force,
                                   .step = "packing",
                                   .prepare = prepare,
                                   .user = &j};
    OPT_TRY(options->dry_run ? prepare(&j) : opt_emit(j.plan, &emit));
    opt_plan_complete_result(j.plan, result);
    result->peak_memory =
        opt_ctx_peak_memory(ctx) + (options->dry_run ? opt_emit_bytes(j.plan) : 0);
    result->seconds = opt_seconds() - start;
    have_result = false; /* it is the caller's */
done:
    if (have_result) {
        opt_quantize_result_free(result);
    }
    opt_plan_free(j.plan);
    opt_opened_close(&j.opened);
    return st;
}
