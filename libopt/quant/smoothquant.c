/*
 * SmoothQuant (Xiao et al. 2022, eq. 4): s_j = max |x_j|^alpha / max |w_j|^(1 - alpha) moves the
 * range of columns from activations to weights. For files whose activations are quantized when they
 * run; alpha is given, not searched.
 */
#include <math.h>
#include <string.h>

#include "quant/scaling.h"

enum { PARAM_ALPHA };

static const opt_method_param params[] = {
    [PARAM_ALPHA] = {"alpha", "share of the range that moves to the weights", 0, 1, 0.5},
    {NULL, NULL, 0, 0, 0},
};

#define LEAST_SCALE 1e-5

static opt_status plan(opt_transform_job *job) { return opt_scaling_plan(job, "smoothquant"); }

/* Largest weight of every channel over all readers. */
static opt_status largest_weights(opt_transform_job *job, const opt_scaling *g, double *most) {
    opt_status st = OPT_OK;
    memset(most, 0, (size_t)g->n_channels * sizeof *most);
    for (int i = 0; i < g->n_readers; i++) {
        float *w;
        const int weight = job->model->nodes[g->readers[i]].weights[0];
        OPT_TRY(opt_rewrite_open(job->rewrite, weight, &w));
        for (int64_t r = 0; r < opt_transform_n_rows(job->model, weight); r++) {
            for (int64_t c = 0; c < g->n_columns; c++) {
                const double size = fabs((double)w[r * g->n_columns + c]);
                double *channel = &most[opt_scaling_channel(g, c)];
                *channel = size > *channel ? size : *channel;
            }
        }
    }
done:
    return st;
}

static opt_status scale_group(opt_transform_job *job, const opt_scaling *g) {
    opt_status st = OPT_OK;
    const double alpha = job->params[PARAM_ALPHA];
    const opt_gram *gram = &job->grams[g->input];
    double *s = NULL, *inputs = NULL;
    if (gram->sum == NULL) {
        return OPT_OK;
    }
    const size_t n = (size_t)g->n_channels;
    OPT_TRY_PTR(s = opt_alloc_array(job->ctx, n, sizeof *s));
    OPT_TRY_PTR(inputs = opt_alloc_zero(job->ctx, n * sizeof *inputs));
    OPT_TRY(largest_weights(job, g, s));
    for (int64_t c = 0; c < g->n_columns; c++) {
        double *channel = &inputs[opt_scaling_channel(g, c)];
        *channel = (double)gram->peak[c] > *channel ? (double)gram->peak[c] : *channel;
    }
    for (int64_t c = 0; c < g->n_channels; c++) {
        const bool dead = !(inputs[c] > 0.0) || !(s[c] > 0.0);
        s[c] = dead ? 1.0 : pow(inputs[c], alpha) / pow(s[c], 1.0 - alpha);
        s[c] = s[c] > LEAST_SCALE ? s[c] : LEAST_SCALE;
    }
    OPT_TRY(opt_scaling_apply(job, g, s));
    opt_transform_effect *e =
        opt_transform_find_effect(job, "smoothquant", job->model->nodes[g->input].name);
    if (e != NULL) {
        e->value = alpha;
    }
done:
    opt_free(job->ctx, s);
    opt_free(job->ctx, inputs);
    return st;
}

static opt_status apply(opt_transform_job *job) {
    return opt_scaling_each(job, job->stage, scale_group);
}

const opt_transform opt_transform_smoothquant = {
    .name = "smoothquant",
    .help = "ranges of columns from activations to weights (SmoothQuant)",
    .params = params,
    .flags = OPT_TRANSFORM_FITTED,
    .rank = 2,
    .plan = plan,
    .apply = apply,
};
