#include <string.h>

#include "base/num.h"
#include "exec/exec.h"

typedef struct add_job {
    const opt_exec_node *x;
    const opt_kern *kern;
    const opt_run *run;
    int64_t tile; /* tokens */
} add_job;

static opt_status add_tile(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    const int64_t width = job->x->node->width;
    (void)worker;
    const int64_t begin = tile * job->tile,
                  end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    const int64_t n = (end - begin) * width;
    const float *a = opt_exec_in(job->x, 0, job->run) + begin * width;
    const float *b = opt_exec_in(job->x, 1, job->run) + begin * width;
    float *y = job->x->out + begin * width;
    if (y != a) {
        memcpy(y, a, (size_t)n * sizeof *y);
    }
    job->kern->add(y, b, n);
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    (void)n; /* never joined */
    add_job job = {
        .x = x, .kern = opt_exec_kern(s), .run = run, .tile = opt_exec_token_tile(x->node->width)};
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), add_tile, &job);
}

static opt_status reverse_tile(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    const opt_exec_node *x = job->x;
    const int64_t width = x->node->width;
    (void)worker;
    const int64_t begin = tile * job->tile,
                  end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    for (int i = 0; i < 2; i++) {
        if (x->grad_in[i] != NULL) {
            job->kern->add(opt_exec_grad_in(x, i, job->run) + begin * width,
                           x->grad_out + begin * width, (end - begin) * width);
        }
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    add_job job = {
        .x = x, .kern = opt_exec_kern(s), .run = run, .tile = opt_exec_token_tile(x->node->width)};
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), reverse_tile, &job);
}

extern const opt_exec_op opt_exec_add;
const opt_exec_op opt_exec_add = {
    .op = &opt_op_add, .in_place = true, .forward = forward, .reverse = reverse};
