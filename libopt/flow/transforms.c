#include "flow/transforms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "flow/methods.h"
#include "model/wiring.h"
#include "opt/quantize.h"
#include "opt/text.h"

enum { MAX_TRANSFORMS = 16, MAX_PARAMS = 8, N_FIGURES = 3 };

typedef struct step {
    const opt_transform *row;
    double params[MAX_PARAMS];
} step;

struct opt_transforms {
    opt_ctx *ctx;
    opt_arena *arena;
    step steps[MAX_TRANSFORMS];
    int n;
    opt_str text;
    uint64_t seed;
    opt_model *model;
    opt_rewrite *rewrite;
    opt_transform_job job;
    const opt_format **formats; /* [n_weights] */
    bool any_late;
    double **means;  /* [n_nodes] of the inputs of the stage, where something is late */
    double *figures; /* [n_effects, N_FIGURES]: those of the effects as they are saved */
};

/* ---- reading ---- */

static opt_status find_row(opt_ctx *ctx, const char *name, const opt_transform **out) {
    const char *names[MAX_TRANSFORMS * 2];
    size_t n = 0;
    for (int i = 0; opt_transform_rows[i] != NULL; i++) {
        if (strcmp(opt_transform_rows[i]->name, name) == 0) {
            *out = opt_transform_rows[i];
            return OPT_OK;
        }
        names[n++] = opt_transform_rows[i]->name;
    }
    const char *near = opt_text_nearest(name, names, n);
    return opt_fail(ctx, OPT_ERR_USAGE, "--transform",
                    "unknown transform '%s'%s%s%s; quantize --help lists them", name,
                    near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                    near != NULL ? "'?" : "");
}

static opt_status read_param(opt_ctx *ctx, step *s, char *text) {
    opt_status st = OPT_OK;
    char *value = strchr(text, '=');
    OPT_REQUIRE(value != NULL, ctx, OPT_ERR_USAGE, "--transform", "'%s' of %s is no KEY=VALUE",
                text, s->row->name);
    *value++ = 0;
    int i = 0;
    while (s->row->params[i].name != NULL && strcmp(s->row->params[i].name, text) != 0) {
        i++;
    }
    const opt_method_param *p = &s->row->params[i];
    OPT_REQUIRE(p->name != NULL, ctx, OPT_ERR_USAGE, "--transform",
                "%s has no parameter '%s'; quantize --help lists them", s->row->name, text);
    char *end = NULL;
    const double x = strtod(value, &end);
    OPT_REQUIRE(end != value && *end == 0 && x >= p->min && x <= p->max, ctx, OPT_ERR_USAGE,
                "--transform", "%s:%s is '%s', expected a number from %g to %g", s->row->name,
                p->name, value, p->min, p->max);
    s->params[i] = x;
done:
    return st;
}

/* One "NAME[:KEY=VALUE]..."; text is changed. */
static opt_status read_step(opt_transforms *t, char *text) {
    opt_status st = OPT_OK;
    step *s = &t->steps[t->n];
    OPT_REQUIRE(t->n < MAX_TRANSFORMS, t->ctx, OPT_ERR_USAGE, "--transform",
                "more than %d transforms", MAX_TRANSFORMS);
    char *rest = strchr(text, ':');
    if (rest != NULL) {
        *rest++ = 0;
    }
    OPT_TRY(find_row(t->ctx, text, &s->row));
    for (int i = 0; i < t->n; i++) {
        OPT_REQUIRE(t->steps[i].row != s->row, t->ctx, OPT_ERR_USAGE, "--transform",
                    "%s is given twice", text);
        OPT_REQUIRE(t->steps[i].row->rank <= s->row->rank, t->ctx, OPT_ERR_USAGE, "--transform",
                    "%s must come before %s", text, t->steps[i].row->name);
    }
    for (int i = 0; s->row->params[i].name != NULL; i++) {
        s->params[i] = s->row->params[i].fallback;
    }
    while (rest != NULL) {
        char *next = strchr(rest, ':');
        if (next != NULL) {
            *next++ = 0;
        }
        OPT_TRY(read_param(t->ctx, s, rest));
        rest = next;
    }
    t->n++;
done:
    return st;
}

static opt_status read_spec(opt_transforms *t, const char *spec) {
    opt_status st = OPT_OK;
    char *copy = opt_arena_strdup(t->arena, spec);
    OPT_TRY_PTR(copy);
    OPT_TRY(opt_str_printf(t->ctx, &t->text, "%s%s", t->text.len > 0 ? "," : "", spec));
    for (char *text = copy; text != NULL;) {
        char *next = strchr(text, ',');
        if (next != NULL) {
            *next++ = 0;
        }
        OPT_TRY(read_step(t, text));
        text = next;
    }
done:
    return st;
}

opt_status opt_transforms_read(opt_ctx *ctx, const char *const *specs, size_t n_specs,
                               uint64_t seed, opt_transforms **out) {
    opt_status st = OPT_OK;
    *out = NULL;
    if (n_specs == 0) {
        return OPT_OK;
    }
    opt_transforms *t = opt_alloc_zero(ctx, sizeof *t);
    OPT_TRY_PTR(t);
    t->ctx = ctx;
    t->seed = seed;
    OPT_TRY(opt_arena_new(ctx, &t->arena));
    for (size_t i = 0; i < n_specs; i++) {
        OPT_TRY(read_spec(t, specs[i]));
    }
    *out = t;
    t = NULL;
done:
    opt_transforms_free(t);
    return st;
}

static void free_means(opt_transforms *t) {
    for (int i = 0; t->means != NULL && i < t->model->n_nodes; i++) {
        opt_free(t->ctx, t->means[i]);
        t->means[i] = NULL;
    }
}

void opt_transforms_free(opt_transforms *t) {
    if (t != NULL) {
        free_means(t);
        opt_rewrite_free(t->rewrite);
        opt_str_free(t->ctx, &t->text);
        opt_arena_free(t->arena);
        opt_free(t->ctx, t);
    }
}

/* ---- what there is ---- */

bool opt_quantize_transform(int i, const char **name, const char **help) {
    for (int k = 0; opt_transform_rows[k] != NULL; k++) {
        if (k == i) {
            *name = opt_transform_rows[k]->name;
            *help = opt_transform_rows[k]->help;
            return true;
        }
    }
    return false;
}

bool opt_quantize_transform_param(int i, int k, const char **name, const char **help,
                                  double *fallback) {
    const opt_method_param *p = opt_transform_rows[i]->params;
    for (int n = 0; p[n].name != NULL; n++) {
        if (n == k) {
            *name = p[n].name;
            *help = p[n].help;
            *fallback = p[n].fallback;
            return true;
        }
    }
    return false;
}

/* ---- planning ---- */

/* Calls edit (which == 0) or plan (1) of every step. */
static opt_status call_steps(opt_transforms *t, int which) {
    opt_status st = OPT_OK;
    for (int i = 0; i < t->n; i++) {
        const opt_transform *row = t->steps[i].row;
        opt_status (*call)(opt_transform_job * job) = which == 0 ? row->edit : row->plan;
        t->job.params = t->steps[i].params;
        if (call != NULL) {
            OPT_TRY(call(&t->job));
        }
    }
done:
    return st;
}

opt_status opt_transforms_plan(opt_transforms *t, opt_model *model, bool calibrated) {
    opt_status st = OPT_OK;
    if (t == NULL) {
        return OPT_OK;
    }
    t->model = model;
    for (int i = 0; i < t->n; i++) {
        OPT_REQUIRE(calibrated || (t->steps[i].row->flags & OPT_TRANSFORM_FITTED) == 0, t->ctx,
                    OPT_ERR_USAGE, "--transform", "%s needs calibration text: --calib FILE",
                    t->steps[i].row->name);
    }
    t->job = (opt_transform_job){
        .ctx = t->ctx, .model = model, .seed = t->seed, .arena = t->arena, .n_effects = 0};
    OPT_TRY_PTR(t->job.kern = opt_kern_get(t->ctx));
    OPT_TRY(call_steps(t, 0));
    const size_t n = (size_t)model->n_weights;
    t->job.max_effects = t->n * (model->n_nodes + 1);
    OPT_TRY_PTR(t->job.touched = opt_arena_array(t->arena, n, sizeof *t->job.touched));
    OPT_TRY_PTR(t->job.late = opt_arena_array(t->arena, n, sizeof *t->job.late));
    OPT_TRY_PTR(t->job.wanted = opt_arena_array(t->arena, n, sizeof *t->job.wanted));
    OPT_TRY_PTR(t->job.effects =
                    opt_arena_array(t->arena, (size_t)t->job.max_effects, sizeof *t->job.effects));
    OPT_TRY(call_steps(t, 1));
    for (size_t i = 0; i < n; i++) {
        t->any_late = t->any_late || t->job.late[i];
    }
    OPT_TRY_PTR(t->figures = opt_arena_array(t->arena, ((size_t)t->job.n_effects + 1) * N_FIGURES,
                                             sizeof *t->figures));
    OPT_TRY_PTR(t->means = opt_arena_array(t->arena, (size_t)model->n_nodes, sizeof(double *)));
    OPT_TRY(opt_rewrite_new(t->ctx, model, &t->rewrite));
    t->job.rewrite = t->rewrite;
done:
    return st;
}

bool opt_transforms_touches(const opt_transforms *t, int i) {
    return t != NULL && t->job.touched[i];
}

bool opt_transforms_wants(const opt_transforms *t, int i) { return t != NULL && t->job.wanted[i]; }

opt_status opt_transforms_bind(opt_transforms *t, const opt_plan *plan) {
    opt_status st = OPT_OK;
    if (t == NULL) {
        return OPT_OK;
    }
    OPT_TRY_PTR(t->formats =
                    opt_arena_array(t->arena, (size_t)t->model->n_weights, sizeof *t->formats));
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *p = &plan->tensors[i];
        if ((p->format->flags & OPT_FORMAT_QUANT) != 0) {
            t->formats[p->weight - t->model->weights] = p->format;
        }
    }
    t->job.formats = t->formats;
done:
    return st;
}

uint64_t opt_transforms_bytes(const opt_transforms *t, const opt_plan *plan) {
    uint64_t most = 0;
    const int n_units = t != NULL ? t->model->n_units : -2;
    for (int stage = -1; stage <= n_units; stage++) {
        uint64_t sum = 0;
        for (int64_t i = 0; i < plan->n; i++) {
            const opt_plan_tensor *p = &plan->tensors[i];
            if (p->stage == stage &&
                opt_transforms_touches(t, (int)(p->weight - t->model->weights))) {
                sum += (uint64_t)p->src_rows * (uint64_t)p->src_cols * sizeof(float);
            }
        }
        most = sum > most ? sum : most;
    }
    return most + (t != NULL ? t->job.bytes : 0);
}

/* ---- applying ---- */

static opt_status apply(opt_transforms *t, int stage, opt_gram *grams, bool fitted) {
    opt_status st = OPT_OK;
    t->job.stage = stage;
    t->job.grams = grams;
    for (int i = 0; i < t->n; i++) {
        const opt_transform *row = t->steps[i].row;
        if (((row->flags & OPT_TRANSFORM_FITTED) != 0) == fitted) {
            t->job.params = t->steps[i].params;
            OPT_TRY(row->apply(&t->job));
        }
    }
done:
    return st;
}

opt_status opt_transforms_enter(opt_transforms *t, int stage) {
    if (t == NULL) {
        return OPT_OK;
    }
    opt_rewrite_close(t->rewrite);
    free_means(t);
    return apply(t, stage, NULL, false);
}

/* What finish will need of the statistics, which are gone by then. */
static opt_status keep_means(opt_transforms *t, const opt_gram *grams) {
    opt_status st = OPT_OK;
    for (int i = 0; t->any_late && i < t->model->n_nodes; i++) {
        const opt_gram *g = &grams[i];
        if (g->sum == NULL) {
            continue;
        }
        double *mean = opt_alloc_array(t->ctx, (size_t)g->n, sizeof *mean);
        OPT_TRY_PTR(mean);
        for (int64_t c = 0; c < g->n; c++) {
            mean[c] = g->total[c] / (double)g->n_tokens;
        }
        t->means[i] = mean;
    }
done:
    return st;
}

opt_status opt_transforms_fit(opt_transforms *t, int stage, opt_gram *grams) {
    opt_status st = OPT_OK;
    if (t != NULL) {
        OPT_TRY(apply(t, stage, grams, true));
        OPT_TRY(keep_means(t, grams));
    }
done:
    return st;
}

bool opt_transforms_late(const opt_transforms *t, int i) {
    return t != NULL && (i < 0 ? t->any_late : t->job.late[i]);
}

opt_status opt_transforms_finish(opt_transforms *t, int i, const opt_tensor *const *solved) {
    opt_status st = OPT_OK;
    const opt_model *m = t->model;
    for (int node = 0; node < m->n_nodes; node++) {
        const opt_node *n = &m->nodes[node];
        if (n->op != &opt_op_linear || n->weights[1] != i || t->means[n->in[0]] == NULL ||
            solved[n->weights[0]] == NULL) {
            continue;
        }
        for (int s = 0; s < t->n; s++) {
            if (t->steps[s].row->finish != NULL) {
                t->job.params = t->steps[s].params;
                OPT_TRY(t->steps[s].row->finish(&t->job, node, solved[n->weights[0]],
                                                t->means[n->in[0]]));
            }
        }
    }
done:
    return st;
}

/* ---- what an interrupted run is continued from ---- */

/* A weight that the stage has rewritten and that is not solved. */
static bool is_left(const opt_transforms *t, const opt_plan_tensor *p,
                    const opt_tensor *const *solved) {
    const ptrdiff_t i = p->weight - t->model->weights;
    return p->stage == t->job.stage && t->job.touched[i] && solved[i] == NULL;
}

opt_status opt_transforms_state(opt_transforms *t, const opt_plan *plan,
                                const opt_tensor *const *solved, opt_piece **pieces,
                                size_t *n_pieces) {
    opt_status st = OPT_OK;
    size_t n = 1;
    *pieces = NULL;
    *n_pieces = 0;
    if (t == NULL) {
        return OPT_OK;
    }
    for (int64_t i = 0; i < plan->n; i++) {
        n += is_left(t, &plan->tensors[i], solved);
    }
    OPT_TRY_PTR(*pieces = opt_alloc_array(t->ctx, n, sizeof **pieces));
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *p = &plan->tensors[i];
        float *values = NULL;
        if (is_left(t, p, solved)) {
            OPT_TRY(opt_rewrite_open(t->rewrite, (int)(p->weight - t->model->weights), &values));
            (*pieces)[(*n_pieces)++] = (opt_piece){values, p->weight->tensor->bytes};
        }
    }
    for (int i = 0; i < t->job.n_effects; i++) {
        const opt_transform_effect *e = &t->job.effects[i];
        const double figures[N_FIGURES] = {e->value, e->before, e->after};
        memcpy(t->figures + (ptrdiff_t)i * N_FIGURES, figures, sizeof figures);
    }
    (*pieces)[(*n_pieces)++] =
        (opt_piece){t->figures, (size_t)t->job.n_effects * N_FIGURES * sizeof *t->figures};
done:
    return st;
}

void opt_transforms_restored(opt_transforms *t) {
    for (int i = 0; t != NULL && i < t->job.n_effects; i++) {
        const double *figures = t->figures + (ptrdiff_t)i * N_FIGURES;
        opt_transform_effect *e = &t->job.effects[i];
        e->value = figures[0];
        e->before = figures[1];
        e->after = figures[2];
    }
}

const char *opt_transforms_text(const opt_transforms *t) { return t != NULL ? t->text.data : ""; }

opt_status opt_transforms_result(const opt_transforms *t, opt_quantize_result *result) {
    opt_status st = OPT_OK;
    const int n = t != NULL ? t->job.n_effects : 0;
    opt_transform_result *rows = opt_arena_array(result->impl, (size_t)n + 1, sizeof *rows);
    OPT_TRY_PTR(rows);
    for (int i = 0; i < n; i++) {
        const char *group = opt_arena_strdup(result->impl, t->job.effects[i].group);
        OPT_TRY_PTR(group);
        rows[i] = (opt_transform_result){t->job.effects[i].transform, group, NAN, NAN, NAN};
    }
    result->transforms = rows;
    result->n_transforms = n;
done:
    return st;
}

void opt_transforms_complete_result(const opt_transforms *t, opt_quantize_result *result) {
    opt_transform_result *rows =
        (opt_transform_result *)result->transforms; /* ours: made by opt_transforms_result */
    for (int i = 0; t != NULL && i < t->job.n_effects && i < result->n_transforms; i++) {
        rows[i].value = t->job.effects[i].value;
        rows[i].before = t->job.effects[i].before;
        rows[i].after = t->job.effects[i].after;
    }
}
