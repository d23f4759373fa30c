#include "base/num.h"
#include "exec/exec.h"

typedef struct norm_state {
    const float *w; /* [group] */
    int64_t group;
} norm_state;

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    norm_state *state = opt_exec_alloc(s, 1, sizeof *state);
    if (state == NULL) {
        return OPT_ERR_MEMORY;
    }
    state->group = x->node->p.norm.group != 0 ? x->node->p.norm.group : x->node->width;
    x->state = state;
    return opt_exec_vector(s, x, 0, &state->w);
}

/* Norms of different inputs, such as those of q and k. */
static bool joins(const opt_exec_node *first, const opt_exec_node *next) {
    (void)first;
    (void)next;
    return true;
}

typedef struct norm_job {
    const opt_exec_node *x; /* [n] */
    const opt_kern *kern;
    const opt_run *run;
    int64_t n_tiles, tile; /* of each node; tokens */
} norm_job;

static opt_status norm_tile(void *user, int64_t tile, int worker) {
    const norm_job *job = user;
    const opt_exec_node *x = &job->x[tile / job->n_tiles];
    const norm_state *state = x->state;
    const float *in = opt_exec_in(x, 0, job->run);
    const int64_t width = x->node->width;
    (void)worker;
    const int64_t begin = tile % job->n_tiles * job->tile;
    const int64_t end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    for (int64_t at = begin * width; at < end * width; at += state->group) {
        job->kern->rms_norm(in + at, state->w, x->out + at, state->group, x->node->p.norm.eps);
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    norm_job job = {
        .x = x, .kern = opt_exec_kern(s), .run = run, .tile = opt_exec_token_tile(x->node->width)};
    job.n_tiles = opt_ceil_div(run->n_tokens, job.tile);
    opt_status st = OPT_OK;
    if (job.n_tiles > 1) {
        return opt_exec_for(s, n * job.n_tiles, norm_tile, &job);
    }
    for (int i = 0; i < n && st == OPT_OK; i++) {
        st = norm_tile(&job, i, 0);
    }
    return st;
}

extern const opt_exec_op opt_exec_rms_norm;
const opt_exec_op opt_exec_rms_norm = {
    .op = &opt_op_rms_norm, .joins = joins, .prepare = prepare, .forward = forward};
