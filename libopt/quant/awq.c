/*
 * AWQ (Lin et al. 2023): columns whose inputs are large are scaled up before rounding, and what
 * makes them is scaled down. The exponent is searched through the Gram matrix (quant/awq.h) and not
 * by running the block again. Two differences to the paper: the size of a channel is the root mean
 * square of its inputs, not the mean magnitude (the Gram matrix has it), and grouped heads share
 * scales, where the paper leaves values and output projection alone.
 */
#include "quant/awq.h"

#include <math.h>
#include <string.h>

#include "quant/scaling.h"

enum { PARAM_ALPHA, PARAM_GRID, PARAM_DUO };

static const opt_method_param params[] = {
    [PARAM_ALPHA] = {"alpha", "exponent for all groups; -1: searched for each", -1, 1, -1},
    [PARAM_GRID] = {"grid", "exponents that are tried", 1, 200, 20},
    [PARAM_DUO] = {"duo", "1: weights take part in the scales", 0, 1, 1},
    {NULL, NULL, 0, 0, 0},
};

static opt_status plan(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    OPT_TRY(opt_scaling_plan(job, "awq"));
    for (int i = 0; i < m->n_nodes; i++) {
        opt_scaling s;
        const char *reason;
        if (m->nodes[i].unit == 0 && opt_scaling_find(m, i, &s, &reason)) { /* blocks are alike */
            const uint64_t bytes = opt_awq_bytes(s.n_columns, (int)job->params[PARAM_GRID],
                                                 opt_ctx_n_threads(job->ctx));
            job->bytes = bytes > job->bytes ? bytes : job->bytes;
        }
    }
done:
    return st;
}

/* Arrays for one group. */
typedef struct work {
    double *size, *weight, *s; /* [n_channels] */
    int32_t *channel;          /* [n_columns] */
    opt_hessian *h;
} work;

static void work_free(opt_ctx *ctx, work *w) {
    opt_free(ctx, w->size);
    opt_free(ctx, w->weight);
    opt_free(ctx, w->s);
    opt_free(ctx, w->channel);
    opt_hessian_free(w->h);
}

static opt_status work_new(opt_transform_job *job, const opt_scaling *s, work *w) {
    opt_status st = OPT_OK;
    const size_t n = (size_t)s->n_channels;
    const opt_gram *gram = &job->grams[s->input];
    OPT_TRY_PTR(w->size = opt_alloc_array(job->ctx, n, sizeof *w->size));
    OPT_TRY_PTR(w->weight = opt_alloc_array(job->ctx, n, sizeof *w->weight));
    OPT_TRY_PTR(w->s = opt_alloc_array(job->ctx, n, sizeof *w->s));
    OPT_TRY_PTR(w->channel = opt_alloc_array(job->ctx, (size_t)s->n_columns, sizeof *w->channel));
    for (int64_t c = 0; c < s->n_columns; c++) {
        w->channel[c] = (int32_t)opt_scaling_channel(s, c);
    }
    OPT_TRY(opt_hessian_new(job->ctx, job->model->nodes[s->input].name, gram->sum, gram->n,
                            gram->n_tokens, false, &w->h));
    opt_scaling_rms(job, s, w->size);
done:
    return st;
}

/* Adds |w| / max |w| of its group of `part` columns to the channels. */
static void add_magnitudes(const float *w, int64_t n_rows, int64_t n, int64_t part,
                           const int32_t *channel, double *sum) {
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c0 = 0; c0 < n; c0 += part) {
            const int64_t end = c0 + part < n ? c0 + part : n;
            float most = 0.0F;
            for (int64_t c = c0; c < end; c++) {
                most = fabsf(w[r * n + c]) > most ? fabsf(w[r * n + c]) : most;
            }
            for (int64_t c = c0; most > 0.0F && c < end; c++) {
                sum[channel[c]] += (double)(fabsf(w[r * n + c]) / most);
            }
        }
    }
}

/* The readers' weights, and with them the mean relative magnitude of the columns. */
static opt_status load_group(opt_transform_job *job, const opt_scaling *s, const work *w,
                             opt_awq_group *g) {
    opt_status st = OPT_OK;
    double n_rows = 0;
    memset(w->weight, 0, (size_t)s->n_channels * sizeof *w->weight);
    for (int i = 0; i < s->n_readers && i < OPT_AWQ_MAX_READERS; i++) {
        const int weight = job->model->nodes[s->readers[i]].weights[0];
        float *values;
        OPT_TRY(opt_rewrite_open(job->rewrite, weight, &values));
        g->readers[i].w = values;
        g->readers[i].n_rows = opt_transform_n_rows(job->model, weight);
        g->readers[i].format = job->formats[weight];
        const int64_t part = g->readers[i].format != NULL
                                 ? opt_format_part_elems(g->readers[i].format)
                                 : s->n_columns;
        add_magnitudes(values, g->readers[i].n_rows, s->n_columns, part, w->channel, w->weight);
        n_rows += (double)(g->readers[i].n_rows * s->n_repeat);
        g->n_readers = i + 1;
    }
    for (int64_t c = 0; c < s->n_channels; c++) {
        w->weight[c] /= n_rows;
    }
    g->n_columns = s->n_columns;
    g->n_channels = s->n_channels;
    g->channel = w->channel;
    g->h = w->h;
done:
    return st;
}

static opt_status search(opt_transform_job *job, const opt_scaling *s, const work *w,
                         opt_awq_result *found) {
    opt_status st = OPT_OK;
    opt_awq_group g = {0};
    const double alpha = job->params[PARAM_ALPHA];
    const double *weight = job->params[PARAM_DUO] != 0.0 ? w->weight : NULL;
    OPT_TRY(load_group(job, s, w, &g));
    if (alpha < 0.0) {
        return opt_awq_search(job->ctx, job->kern, &g, w->size, weight,
                              (int)job->params[PARAM_GRID], w->s, found);
    }
    for (int64_t c = 0; c < s->n_channels; c++) {
        w->s[c] = 1.0;
    }
    OPT_TRY(opt_awq_error(job->ctx, job->kern, &g, w->s, &found->before));
    opt_awq_scales(w->size, weight, s->n_channels, alpha, w->s);
    OPT_TRY(opt_awq_error(job->ctx, job->kern, &g, w->s, &found->after));
    found->alpha = alpha;
done:
    return st;
}

static opt_status scale_group(opt_transform_job *job, const opt_scaling *s) {
    opt_status st = OPT_OK;
    work w = {0};
    opt_awq_result found = {0};
    if (job->grams[s->input].sum == NULL) {
        return OPT_OK;
    }
    OPT_TRY(work_new(job, s, &w));
    OPT_TRY(search(job, s, &w, &found));
    OPT_TRY(opt_scaling_apply(job, s, w.s));
    opt_transform_effect *e =
        opt_transform_find_effect(job, "awq", job->model->nodes[s->input].name);
    if (e != NULL) {
        e->value = found.alpha;
        e->before = found.before;
        e->after = found.after;
    }
done:
    work_free(job->ctx, &w);
    return st;
}

static opt_status apply(opt_transform_job *job) {
    return opt_scaling_each(job, job->stage, scale_group);
}

const opt_transform opt_transform_awq = {
    .name = "awq",
    .help = "scales of columns by the size of their inputs (AWQ)",
    .params = params,
    .flags = OPT_TRANSFORM_FITTED,
    .rank = 2,
    .plan = plan,
    .apply = apply,
};
