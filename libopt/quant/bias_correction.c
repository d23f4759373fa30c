/*
 * Bias correction (Nagel et al. 2019, section 4.2; here with the mean of calibration inputs): the
 * bias takes up the mean error of the outputs, b += (W - W') E[x], after W' is known. Layers
 * without a bias get one.
 */
#include <math.h>

#include "base/num.h"
#include "base/pool.h"
#include "model/edit.h"
#include "model/wiring.h"
#include "quant/transform.h"

enum { TILE_ROWS = 32 };

static bool corrects(const opt_model *m, const opt_node *n) {
    return n->op == &opt_op_linear && n->unit >= 0 && n->unit < m->n_units &&
           opt_weight_n_uses(m, n->weights[0]) == 1;
}

static opt_status edit(opt_transform_job *job) {
    opt_status st = OPT_OK;
    for (int i = 0; i < job->model->n_nodes; i++) {
        if (corrects(job->model, &job->model->nodes[i])) {
            OPT_TRY(opt_model_add_bias(job->model, i));
        }
    }
done:
    return st;
}

static opt_status plan(opt_transform_job *job) {
    opt_status st = OPT_OK;
    for (int i = 0; i < job->model->n_nodes; i++) {
        const opt_node *n = &job->model->nodes[i];
        if (corrects(job->model, n)) {
            job->wanted[n->weights[0]] = true;
            job->touched[n->weights[1]] = job->late[n->weights[1]] = true;
            OPT_TRY(opt_transform_add_effect(job, "bias-correction", n->name));
        }
    }
done:
    return st;
}

/* Everything happens when the weights are known. */
static opt_status apply(opt_transform_job *job) {
    (void)job;
    return OPT_OK;
}

typedef struct correct_job {
    const opt_tensor *from, *to; /* W and W', rows in the source's order */
    const opt_kern *kern;
    const double *mean; /* [n] */
    float *bias;        /* [n_rows] */
    int64_t n_rows, n;
    float *scratch;  /* [n_threads, 2, n] */
    double *squares; /* [n_tiles] of the corrections */
} correct_job;

static opt_status correct_tile(void *user, int64_t tile, int worker) {
    const correct_job *j = user;
    float *w = j->scratch + (int64_t)worker * 2 * j->n, *v = w + j->n;
    const int64_t end = opt_min_i64(j->n_rows, (tile + 1) * TILE_ROWS);
    for (int64_t r = tile * TILE_ROWS; r < end; r++) {
        double sum = 0.0;
        opt_tensor_decode_rows(j->from, j->kern, r, 1, w);
        opt_tensor_decode_rows(j->to, j->kern, r, 1, v);
        for (int64_t c = 0; c < j->n; c++) {
            sum += ((double)w[c] - (double)v[c]) * j->mean[c];
        }
        j->bias[r] = (float)((double)j->bias[r] + sum);
        j->squares[tile] += sum * sum;
    }
    return OPT_OK;
}

static opt_status finish(opt_transform_job *job, int node, const opt_tensor *solved,
                         const double *mean) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    const opt_node *n = &m->nodes[node];
    correct_job j = {.from = m->weights[n->weights[0]].tensor,
                     .to = solved,
                     .kern = job->kern,
                     .mean = mean,
                     .n_rows = opt_transform_n_rows(m, n->weights[0]),
                     .n = opt_transform_n_cols(m, n->weights[0])};
    const int64_t tiles = opt_ceil_div(j.n_rows, TILE_ROWS);
    const size_t n_floats = (size_t)opt_ctx_n_threads(job->ctx) * 2 * (size_t)j.n;
    OPT_TRY(opt_rewrite_open(job->rewrite, n->weights[1], &j.bias));
    OPT_TRY_PTR(j.scratch = opt_alloc_array(job->ctx, n_floats, sizeof *j.scratch));
    OPT_TRY_PTR(j.squares = opt_alloc_zero(job->ctx, (size_t)tiles * sizeof *j.squares));
    OPT_TRY(opt_parallel_for(job->ctx, tiles, correct_tile, &j));
    double sum = 0.0;
    for (int64_t t = 0; t < tiles; t++) {
        sum += j.squares[t];
    }
    opt_transform_effect *e = opt_transform_find_effect(job, "bias-correction", n->name);
    if (e != NULL) {
        e->value = sqrt(sum / (double)j.n_rows);
    }
done:
    opt_free(job->ctx, j.scratch);
    opt_free(job->ctx, j.squares);
    return st;
}

static const opt_method_param params[] = {{NULL, NULL, 0, 0, 0}};

const opt_transform opt_transform_bias_correction = {
    .name = "bias-correction",
    .help = "biases take up the mean error of the outputs, added where there are none",
    .params = params,
    .flags = OPT_TRANSFORM_FITTED,
    .rank = 4,
    .edit = edit,
    .plan = plan,
    .apply = apply,
    .finish = finish,
};
