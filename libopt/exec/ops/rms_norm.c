#include <math.h>

#include "base/num.h"
#include "exec/exec.h"

typedef struct norm_state {
    const float *w; /* [group] */
    int64_t group;
    float *inverse; /* [n_batch, width / group]: 1 / root mean square, for the reverse pass */
} norm_state;

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    norm_state *state = opt_exec_alloc(s, 1, sizeof *state);
    if (state == NULL) {
        return OPT_ERR_MEMORY;
    }
    state->group = x->node->p.norm.group != 0 ? x->node->p.norm.group : x->node->width;
    x->state = state;
    if (opt_exec_reverses(s)) {
        const size_t n = (size_t)opt_exec_n_batch(s) * (size_t)(x->node->width / state->group);
        state->inverse = opt_exec_alloc(s, n, sizeof *state->inverse);
        if (state->inverse == NULL) {
            return OPT_ERR_MEMORY;
        }
    }
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

/* Eight fixed lanes: the order of addition is part of the result. */
static void add_moments(const float *x, const float *w, const float *dy, int64_t n, double *xx,
                        double *xwd) {
    double a[8] = {0}, b[8] = {0};
    for (int64_t i = 0; i < n; i++) {
        a[i % 8] += (double)x[i] * (double)x[i];
        b[i % 8] += (double)x[i] * (double)w[i] * (double)dy[i];
    }
    *xx = *xwd = 0.0;
    for (int k = 0; k < 8; k++) {
        *xx += a[k];
        *xwd += b[k];
    }
}

/* With r = 1 / sqrt(mean(x^2) + eps): dx_i = r w_i dy_i - x_i r^3 / n sum_j x_j w_j dy_j. */
static opt_status reverse_tile(void *user, int64_t tile, int worker) {
    const norm_job *job = user;
    const opt_exec_node *x = job->x;
    const norm_state *state = x->state;
    const float *in = opt_exec_in(x, 0, job->run), *w = state->w;
    const int64_t width = x->node->width, n = state->group;
    (void)worker;
    const int64_t end = opt_min_i64(job->run->n_tokens, (tile + 1) * job->tile);
    for (int64_t at = tile * job->tile * width; at < end * width; at += n) {
        const float *dy = x->grad_out + at;
        double xx, xwd;
        add_moments(in + at, w, dy, n, &xx, &xwd);
        const double r = 1.0 / sqrt(xx / (double)n + (double)x->node->p.norm.eps);
        const float factor = (float)r, back = (float)(r * r * r / (double)n * xwd);
        state->inverse[at / n] = factor;
        if (x->grad_in[0] != NULL) {
            float *dx = opt_exec_grad_in(x, 0, job->run) + at;
            for (int64_t i = 0; i < n; i++) {
                dx[i] += factor * w[i] * dy[i] - back * in[at + i];
            }
        }
    }
    return OPT_OK;
}

enum { WEIGHT_TILE = 64 }; /* columns */

static opt_status weight_tile(void *user, int64_t tile, int worker) {
    const norm_job *job = user;
    const opt_exec_node *x = job->x;
    const norm_state *state = x->state;
    const float *in = opt_exec_in(x, 0, job->run);
    double sum[WEIGHT_TILE] = {0};
    (void)worker;
    const int64_t begin = tile * WEIGHT_TILE;
    const int64_t n = opt_min_i64(WEIGHT_TILE, state->group - begin);
    const int64_t n_groups = job->run->n_tokens * (x->node->width / state->group);
    for (int64_t g = 0; g < n_groups; g++) {
        const int64_t at = g * state->group + begin;
        for (int64_t i = 0; i < n; i++) {
            sum[i] += (double)(x->grad_out[at + i] * in[at + i] * state->inverse[g]);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        x->grad_w[0][begin + i] += (float)sum[i];
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    norm_job job = {
        .x = x, .kern = opt_exec_kern(s), .run = run, .tile = opt_exec_token_tile(x->node->width)};
    const norm_state *state = x->state;
    opt_status st = opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), reverse_tile, &job);
    if (st == OPT_OK && x->grad_w[0] != NULL) {
        st = opt_exec_for(s, opt_ceil_div(state->group, WEIGHT_TILE), weight_tile, &job);
    }
    return st;
}

extern const opt_exec_op opt_exec_rms_norm;
const opt_exec_op opt_exec_rms_norm = {.op = &opt_op_rms_norm,
                                       .joins = joins,
                                       .prepare = prepare,
                                       .forward = forward,
                                       .reverse = reverse};
