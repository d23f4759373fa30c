#include "base/num.h"
#include "exec/exec.h"

typedef struct swiglu_job {
    const opt_exec_node *x;
    const opt_session *s;
    const opt_kern *kern;
    const opt_run *run;
    int64_t tile; /* tokens */
} swiglu_job;

static opt_status swiglu_tile(void *user, int64_t tile, int worker) {
    const swiglu_job *job = user;
    const int64_t width = job->x->node->width;
    (void)worker;
    const int64_t begin = tile * job->tile,
                  end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    for (int64_t t = begin; t < end; t++) {
        job->kern->swiglu(opt_exec_in(job->x, 0, job->run) + t * width,
                          opt_exec_in(job->x, 1, job->run) + t * width, job->x->out + t * width,
                          width);
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    (void)n; /* never joined */
    swiglu_job job = {.x = x,
                      .s = s,
                      .kern = opt_exec_kern(s),
                      .run = run,
                      .tile = opt_exec_token_tile(x->node->width)};
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), swiglu_tile, &job);
}

static opt_status reverse_tile(void *user, int64_t tile, int worker) {
    const swiglu_job *job = user;
    const opt_exec_node *x = job->x;
    const int64_t width = x->node->width;
    float *scratch = opt_exec_scratch(job->s, worker); /* for a gradient that nobody wants */
    const int64_t end = opt_min_i64(job->run->n_tokens, (tile + 1) * job->tile);
    for (int64_t t = tile * job->tile; t < end; t++) {
        float *d_gate =
            x->grad_in[0] != NULL ? opt_exec_grad_in(x, 0, job->run) + t * width : scratch;
        float *d_up =
            x->grad_in[1] != NULL ? opt_exec_grad_in(x, 1, job->run) + t * width : scratch;
        job->kern->swiglu_grad(opt_exec_in(x, 0, job->run) + t * width,
                               opt_exec_in(x, 1, job->run) + t * width, x->grad_out + t * width,
                               d_gate, d_up, width);
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    swiglu_job job = {.x = x,
                      .s = s,
                      .kern = opt_exec_kern(s),
                      .run = run,
                      .tile = opt_exec_token_tile(x->node->width)};
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), reverse_tile, &job);
}

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    if (opt_exec_reverses(s)) {
        opt_exec_need_scratch(s, (size_t)x->node->width * sizeof(float));
    }
    return OPT_OK;
}

extern const opt_exec_op opt_exec_swiglu;
const opt_exec_op opt_exec_swiglu = {.op = &opt_op_swiglu,
                                     .in_place = true,
                                     .prepare = prepare,
                                     .forward = forward,
                                     .reverse = reverse};
