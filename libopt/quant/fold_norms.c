/*
 * Norm folding: the weight of a norm moves into the columns of the linear layers that read it, and
 * becomes 1. In exact arithmetic W (g * x) = (W g) x. What remains of the norm commutes with
 * rotations of its input.
 */
#include "quant/fold_norms.h"

#include "model/wiring.h"

/* The norms that are folded: those whose readers have weights of their own. */
static bool folds(const opt_model *m, int node) {
    const char *reason;
    return opt_norm_folds(m, node, &reason);
}

opt_status opt_fold_norms_plan(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    for (int i = 0; i < m->n_nodes; i++) {
        if (!folds(m, i)) {
            continue;
        }
        job->touched[m->nodes[i].weights[0]] = true;
        for (int j = i + 1; j < m->n_nodes; j++) {
            if (m->nodes[j].op == &opt_op_linear && m->nodes[j].in[0] == i) {
                job->touched[m->nodes[j].weights[0]] = true;
            }
        }
        OPT_TRY(opt_transform_add_effect(job, "fold-norms", m->nodes[i].name));
    }
done:
    return st;
}

static opt_status fold(opt_transform_job *job, int node) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    float *g, *w;
    const int64_t n = m->nodes[node].width;
    OPT_TRY(opt_rewrite_open(job->rewrite, m->nodes[node].weights[0], &g));
    for (int j = node + 1; j < m->n_nodes; j++) {
        if (m->nodes[j].op != &opt_op_linear || m->nodes[j].in[0] != node) {
            continue;
        }
        const int weight = m->nodes[j].weights[0];
        OPT_TRY(opt_rewrite_open(job->rewrite, weight, &w));
        for (int64_t r = 0; r < opt_transform_n_rows(m, weight); r++) {
            for (int64_t c = 0; c < n; c++) {
                w[r * n + c] *= g[c];
            }
        }
    }
    for (int64_t c = 0; c < n; c++) {
        g[c] = 1.0F;
    }
done:
    return st;
}

opt_status opt_fold_norms_apply(opt_transform_job *job) {
    opt_status st = OPT_OK;
    for (int i = 0; i < job->model->n_nodes; i++) {
        if (job->model->nodes[i].unit == job->stage && folds(job->model, i)) {
            OPT_TRY(fold(job, i));
        }
    }
done:
    return st;
}

static const opt_method_param params[] = {{NULL, NULL, 0, 0, 0}};

const opt_transform opt_transform_fold_norms = {
    .name = "fold-norms",
    .help = "norm weights into the layers that read them; the norms become 1",
    .params = params,
    .rank = 0,
    .plan = opt_fold_norms_plan,
    .apply = opt_fold_norms_apply,
};
