#include "quant/scaling.h"

#include <math.h>
#include <string.h>

opt_status opt_scaling_each(opt_transform_job *job, int stage,
                            opt_status (*each)(opt_transform_job *job, const opt_scaling *s)) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    for (int i = 0; i < m->n_nodes; i++) {
        opt_scaling s;
        const char *reason;
        const int unit = m->nodes[i].unit;
        if ((stage == -2 || unit == stage) && unit >= 0 && unit < m->n_units &&
            opt_scaling_find(m, i, &s, &reason)) {
            OPT_TRY(each(job, &s));
        }
    }
done:
    return st;
}

/* Weights of the producer that carry the scale: of its rows and its bias. */
static void touch_producer(opt_transform_job *job, const opt_scaling *g) {
    const opt_node *p = &job->model->nodes[g->producer];
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && p->op->weight_roles[j] != NULL; j++) {
        if (p->weights[j] != OPT_NO_WEIGHT) {
            job->touched[p->weights[j]] = true;
        }
    }
}

opt_status opt_scaling_plan(opt_transform_job *job, const char *transform) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    for (int i = 0; i < m->n_nodes; i++) {
        opt_scaling s;
        const char *reason;
        if (m->nodes[i].unit < 0 || m->nodes[i].unit >= m->n_units ||
            !opt_scaling_find(m, i, &s, &reason)) {
            continue;
        }
        touch_producer(job, &s);
        for (int r = 0; r < s.n_readers; r++) {
            const int w = m->nodes[s.readers[r]].weights[0];
            job->touched[w] = job->wanted[w] = true;
        }
        OPT_TRY(opt_transform_add_effect(job, transform, m->nodes[i].name));
    }
done:
    return st;
}

static opt_status scale_producer(opt_transform_job *job, const opt_scaling *g, const double *s) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    const opt_node *p = &m->nodes[g->producer];
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && p->op->weight_roles[j] != NULL; j++) {
        if (p->weights[j] == OPT_NO_WEIGHT) {
            continue;
        }
        float *w;
        const int64_t n_cols =
            m->weights[p->weights[j]].n_dims == 1 ? 1 : opt_transform_n_cols(m, p->weights[j]);
        OPT_TRY(opt_rewrite_open(job->rewrite, p->weights[j], &w));
        for (int64_t r = 0; r < g->n_channels; r++) {
            for (int64_t c = 0; c < n_cols; c++) {
                w[r * n_cols + c] = (float)((double)w[r * n_cols + c] / s[r]);
            }
        }
    }
done:
    return st;
}

static void scale_gram(opt_gram *gram, const opt_scaling *g, const double *s) {
    for (int64_t i = 0; gram->sum != NULL && i < gram->n; i++) {
        const double row = s[opt_scaling_channel(g, i)];
        gram->total[i] /= row;
        gram->peak[i] = (float)((double)gram->peak[i] / row);
        for (int64_t j = 0; j <= i; j++) {
            gram->sum[i * gram->n + j] /= row * s[opt_scaling_channel(g, j)];
        }
    }
}

opt_status opt_scaling_apply(opt_transform_job *job, const opt_scaling *g, const double *s) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    OPT_TRY(scale_producer(job, g, s));
    for (int i = 0; i < g->n_readers; i++) {
        float *w;
        const int weight = m->nodes[g->readers[i]].weights[0];
        const int64_t n_rows = opt_transform_n_rows(m, weight);
        OPT_TRY(opt_rewrite_open(job->rewrite, weight, &w));
        for (int64_t r = 0; r < n_rows; r++) {
            for (int64_t c = 0; c < g->n_columns; c++) {
                float *x = &w[r * g->n_columns + c];
                *x = (float)((double)*x * s[opt_scaling_channel(g, c)]);
            }
        }
    }
    if (job->grams != NULL) {
        scale_gram(&job->grams[g->input], g, s);
    }
done:
    return st;
}

void opt_scaling_rms(const opt_transform_job *job, const opt_scaling *g, double *rms) {
    const opt_gram *gram = &job->grams[g->input];
    memset(rms, 0, (size_t)g->n_channels * sizeof *rms);
    for (int64_t c = 0; c < g->n_columns; c++) {
        rms[opt_scaling_channel(g, c)] += gram->sum[c * gram->n + c];
    }
    const double n = (double)gram->n_tokens * (double)g->n_repeat;
    for (int64_t p = 0; p < g->n_channels; p++) {
        rms[p] = sqrt(rms[p] / n);
    }
}
