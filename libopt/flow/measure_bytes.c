/* What measuring divergences takes for the model's sake: Gram matrices, sessions, runs of units. */
#include "base/num.h"
#include "base/pool.h"
#include "calib/gram.h"
#include "flow/measure.h"
#include "model/ops.h"
#include "solve/hessian.h"

/* The Gram matrices and Hessians of the largest unit; and what it takes to make one. */
static uint64_t unit_bytes(const opt_model *m) {
    uint64_t most = 0;
    for (int unit = 0; unit < m->n_units; unit++) {
        uint64_t sum = 0, extra = 0;
        for (int i = 0; i < m->n_nodes; i++) {
            bool read = false;
            for (int k = i + 1; k < m->n_nodes; k++) {
                read = read || (m->nodes[k].unit == unit && m->nodes[k].op == &opt_op_linear &&
                                m->nodes[k].in[0] == i);
            }
            uint64_t kept = 0, scratch_bytes = 0;
            if (read) {
                opt_hessian_bytes(m->nodes[i].width, true, &kept, &scratch_bytes);
                sum += kept + opt_gram_bytes(m->nodes[i].width);
                extra = scratch_bytes > extra ? scratch_bytes : extra;
            }
        }
        most = sum + extra > most ? sum + extra : most;
    }
    return most;
}

/* Caches of the whole model and logits of two sessions. */
static uint64_t session_bytes(const opt_model *m, int64_t n_ctx) {
    uint64_t bytes = (uint64_t)3 << 25; /* pieces of logits, of both models */
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        if (node->op == &opt_op_attention) {
            bytes += (uint64_t)n_ctx * sizeof(float) * (uint64_t)node->p.attention.n_heads_kv *
                     (uint64_t)(node->p.attention.head_dim + node->p.attention.head_dim_v);
        }
    }
    return bytes;
}

/* A run of a unit: at most every output of a block at once, and the scratch of its matrices. */
static uint64_t run_bytes(opt_ctx *ctx, const opt_model *m, int64_t n_ctx) {
    int64_t most = 0;
    uint64_t sum = 0;
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].unit == 0) {
            most = opt_max_i64(most, m->nodes[i].width);
            sum += (uint64_t)m->nodes[i].width;
        }
    }
    return (uint64_t)n_ctx * sum * sizeof(float) +
           opt_gram_scratch_bytes(most, n_ctx, opt_ctx_n_threads(ctx));
}

uint64_t opt_measure_model_bytes(opt_ctx *ctx, const opt_model *m, int64_t n_probe, int64_t n_ctx) {
    return unit_bytes(m) + session_bytes(m, n_probe) + run_bytes(ctx, m, n_ctx);
}
