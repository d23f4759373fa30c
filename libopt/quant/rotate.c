/*
 * Rotations of the residual stream and of the values of every head (QuaRot, Ashkboos et al. 2024,
 * R1 and R2; SpinQuant, Liu et al. 2024): with Q orthogonal and the norms folded, x Q in place of x
 * leaves root mean squares as they are, so what reads the stream becomes W Q and what writes it
 * Q^T W. Outliers spread over all columns. Q is a random Hadamard matrix, by `seed`.
 */
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "model/edit.h"
#include "model/wiring.h"
#include "quant/fold_norms.h"
#include "solve/hadamard.h"

enum { PARAM_UNTIE, PARAM_BLOCK };

static const opt_method_param rotate_params[] = {
    [PARAM_UNTIE] = {"untie", "1: gives a tied head a copy of the embedding", 0, 1, 0},
    [PARAM_BLOCK] = {"block", "columns rotated together; 0: all", 0, 1 << 20, 0},
    {NULL, NULL, 0, 0, 0},
};

/* A tied embedding would have to carry the final norm as the head and not carry it as the
 * embedding. */
static opt_status edit_rotate(opt_transform_job *job) {
    opt_status st = OPT_OK;
    opt_model *m = job->model;
    for (int i = 0; i < m->n_weights; i++) {
        OPT_REQUIRE(!m->weights[i].tied || job->params[PARAM_UNTIE] != 0.0, job->ctx,
                    OPT_ERR_UNSUPPORTED, m->weights[i].name,
                    "rotation needs the final norm folded into the head, which is the embedding, "
                    "too; rotate:untie=1 stores the head apart (%lld more weights)",
                    (long long)(m->weights[i].dims[0] * m->weights[i].dims[1]));
    }
    OPT_TRY(opt_model_untie(m));
done:
    return st;
}

static opt_status choose_block(const opt_transform_job *job, int64_t width, int64_t *block) {
    opt_status st = OPT_OK;
    const int64_t asked = (int64_t)job->params[PARAM_BLOCK];
    *block = asked > 0 ? asked : width;
    OPT_REQUIRE(width % *block == 0, job->ctx, OPT_ERR_USAGE, "rotate",
                "blocks of %lld do not divide the width %lld", (long long)*block, (long long)width);
    OPT_REQUIRE(opt_hadamard_exists(*block), job->ctx, OPT_ERR_UNSUPPORTED, "rotate",
                "no Hadamard matrix of order %lld is known here; rotate:block=%lld rotates blocks "
                "of that many columns",
                (long long)*block, (long long)opt_hadamard_block(width));
done:
    return st;
}

static opt_status plan_rotate(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    unsigned *parts = NULL;
    int64_t width, block;
    char name[64];
    OPT_TRY(opt_fold_norms_plan(job));
    OPT_TRY_PTR(parts = opt_alloc_array(job->ctx, (size_t)m->n_nodes, sizeof *parts));
    OPT_TRY(opt_residual_find(job->ctx, m, parts, &width));
    OPT_TRY(choose_block(job, width, &block));
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *n = &m->nodes[i];
        const char *reason;
        if ((parts[i] & OPT_RESIDUAL_NORM) != 0) {
            OPT_REQUIRE(opt_norm_folds(m, i, &reason), job->ctx, OPT_ERR_UNSUPPORTED, n->name,
                        "it cannot be folded: %s", reason);
        }
        if ((parts[i] & (OPT_RESIDUAL_READS | OPT_RESIDUAL_WRITES)) != 0) {
            OPT_REQUIRE(opt_weight_n_uses(m, n->weights[0]) == 1, job->ctx, OPT_ERR_UNSUPPORTED,
                        m->weights[n->weights[0]].name, "it serves several nodes");
            job->touched[n->weights[0]] = true;
            if (n->op == &opt_op_linear && n->weights[1] != OPT_NO_WEIGHT &&
                (parts[i] & OPT_RESIDUAL_WRITES) != 0) {
                job->touched[n->weights[1]] = true;
            }
        }
    }
    (void)snprintf(name, sizeof name, "residual stream");
    OPT_TRY(opt_transform_add_effect(job, "rotate", name));
    job->effects[job->n_effects - 1].value = (double)block;
done:
    opt_free(job->ctx, parts);
    return st;
}

static opt_status rotate_node(opt_transform_job *job, const opt_rotation *q, const opt_node *n,
                              unsigned part) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    float *w;
    OPT_TRY(opt_rewrite_open(job->rewrite, n->weights[0], &w));
    const int64_t n_rows = opt_transform_n_rows(m, n->weights[0]);
    const int64_t n_cols = opt_transform_n_cols(m, n->weights[0]);
    if (n->op == &opt_op_embed) {
        return opt_rotation_rows(job->ctx, q, w, n_rows);
    }
    if ((part & OPT_RESIDUAL_READS) != 0) {
        OPT_TRY(opt_rotation_rows(job->ctx, q, w, n_rows));
    }
    if ((part & OPT_RESIDUAL_WRITES) != 0) {
        OPT_TRY(opt_rotation_columns(job->ctx, q, w, n_cols));
        if (n->weights[1] != OPT_NO_WEIGHT) {
            OPT_TRY(opt_rewrite_open(job->rewrite, n->weights[1], &w));
            OPT_TRY(opt_rotation_rows(job->ctx, q, w, 1));
        }
    }
done:
    return st;
}

static opt_status apply_rotate(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    unsigned *parts = NULL;
    opt_rotation *q = NULL;
    int64_t width, block;
    OPT_TRY(opt_fold_norms_apply(job));
    OPT_TRY_PTR(parts = opt_alloc_array(job->ctx, (size_t)m->n_nodes, sizeof *parts));
    OPT_TRY(opt_residual_find(job->ctx, m, parts, &width));
    OPT_TRY(choose_block(job, width, &block));
    OPT_TRY(
        opt_rotation_new(job->ctx, width, block, opt_rng_key(job->seed, "residual", "rotate"), &q));
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].unit == job->stage &&
            (parts[i] & (OPT_RESIDUAL_READS | OPT_RESIDUAL_WRITES)) != 0) {
            OPT_TRY(rotate_node(job, q, &m->nodes[i], parts[i]));
        }
    }
done:
    opt_rotation_free(q);
    opt_free(job->ctx, parts);
    return st;
}

const opt_transform opt_transform_rotate = {
    .name = "rotate",
    .help = "random Hadamard rotation of the residual stream, norms folded",
    .params = rotate_params,
    .rank = 1,
    .edit = edit_rotate,
    .plan = plan_rotate,
    .apply = apply_rotate,
};

/* ---- values of every head ---- */

/* Calls `each` for every attention node of a stage (-2: of all) whose values can be rotated. */
static opt_status each_attention(opt_transform_job *job, int stage,
                                 opt_status (*each)(opt_transform_job *job, const opt_scaling *s)) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    for (int i = 0; i < m->n_nodes; i++) {
        opt_scaling s;
        const char *reason;
        if (m->nodes[i].op == &opt_op_attention && (stage == -2 || m->nodes[i].unit == stage) &&
            opt_scaling_find(m, i, &s, &reason)) {
            OPT_TRY(each(job, &s));
        }
    }
done:
    return st;
}

static opt_status plan_heads_of(opt_transform_job *job, const opt_scaling *s) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    const opt_node *v = &m->nodes[s->producer];
    OPT_REQUIRE(opt_hadamard_exists(s->head_dim), job->ctx, OPT_ERR_UNSUPPORTED,
                m->nodes[s->input].name, "no Hadamard matrix of order %lld, the size of a head",
                (long long)s->head_dim);
    for (int j = 0; j < 2; j++) {
        if (v->weights[j] != OPT_NO_WEIGHT) {
            job->touched[v->weights[j]] = true;
        }
    }
    for (int i = 0; i < s->n_readers; i++) {
        job->touched[m->nodes[s->readers[i]].weights[0]] = true;
    }
    OPT_TRY(opt_transform_add_effect(job, "rotate-heads", m->nodes[s->input].name));
    job->effects[job->n_effects - 1].value = (double)s->head_dim;
done:
    return st;
}

static opt_status plan_heads(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const int n = job->n_effects;
    OPT_TRY(each_attention(job, -2, plan_heads_of));
    OPT_REQUIRE(job->n_effects > n, job->ctx, OPT_ERR_UNSUPPORTED, job->model->name,
                "no attention whose values only linear layers make and read: nothing to rotate");
done:
    return st;
}

static opt_status rotate_heads_of(opt_transform_job *job, const opt_scaling *s) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    const opt_node *v = &m->nodes[s->producer];
    opt_rotation *q = NULL;
    float *w;
    OPT_TRY(opt_rotation_new(job->ctx, s->head_dim, s->head_dim,
                             opt_rng_key(job->seed, m->nodes[s->input].name, "rotate-heads"), &q));
    for (int j = 0; j < 2; j++) {
        if (v->weights[j] == OPT_NO_WEIGHT) {
            continue;
        }
        const int64_t n_cols = j == 0 ? opt_transform_n_cols(m, v->weights[j]) : 1;
        OPT_TRY(opt_rewrite_open(job->rewrite, v->weights[j], &w));
        for (int64_t r = 0; r < s->n_channels; r += s->head_dim) {
            OPT_TRY(opt_rotation_columns(job->ctx, q, w + r * n_cols, n_cols));
        }
    }
    for (int i = 0; i < s->n_readers; i++) { /* rows are cut into heads */
        const int weight = m->nodes[s->readers[i]].weights[0];
        OPT_TRY(opt_rewrite_open(job->rewrite, weight, &w));
        OPT_TRY(opt_rotation_rows(job->ctx, q, w,
                                  opt_transform_n_rows(m, weight) * s->n_columns / s->head_dim));
    }
done:
    opt_rotation_free(q);
    return st;
}

static opt_status apply_heads(opt_transform_job *job) {
    return each_attention(job, job->stage, rotate_heads_of);
}

static const opt_method_param heads_params[] = {{NULL, NULL, 0, 0, 0}};

const opt_transform opt_transform_rotate_heads = {
    .name = "rotate-heads",
    .help = "random Hadamard rotation of the values of every head",
    .params = heads_params,
    .rank = 1,
    .plan = plan_heads,
    .apply = apply_heads,
};
