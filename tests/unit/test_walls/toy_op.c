#include "unit/test_walls/toy.h"

#include "base/num.h"

static opt_status shape(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    node->width = opt_node_in_width(m, node, 0);
    if (opt_node_weight(m, node, 0)->dims[0] != node->width) {
        return opt_fail(ctx, OPT_ERR_BUG, node->name, "one factor for each column is needed");
    }
    return OPT_OK;
}

const opt_op opt_op_twist = {
    .name = "twist",
    .help = "x * weight + offset",
    .n_in_min = 1,
    .n_in_max = 1,
    .weight_roles = {"weight"},
    .shape = shape,
};

typedef struct twist_state {
    const float *factors; /* [width] */
} twist_state;

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    twist_state *state = opt_exec_alloc(s, 1, sizeof *state);
    if (state == NULL) {
        return OPT_ERR_MEMORY;
    }
    x->state = state;
    return opt_exec_vector(s, x, 0, &state->factors);
}

typedef struct twist_job {
    const opt_exec_node *x;
    const opt_run *run;
} twist_job;

static opt_status twist_tile(void *user, int64_t tile, int worker) {
    const twist_job *job = user;
    const int64_t width = job->x->node->width;
    const toy_twist *p = job->x->node->p.custom;
    const twist_state *state = job->x->state;
    const float *in = opt_exec_in(job->x, 0, job->run) + tile * width;
    (void)worker;
    for (int64_t i = 0; i < width; i++) {
        job->x->out[tile * width + i] = in[i] * state->factors[i] + p->offset;
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    twist_job job = {x, run};
    (void)n;
    return opt_exec_for(s, run->n_tokens, twist_tile, &job);
}

const opt_exec_op opt_exec_twist = {
    .op = &opt_op_twist, .in_place = true, .prepare = prepare, .forward = forward};
