#include <string.h>

#include "base/num.h"
#include "exec/exec.h"

enum { TILE = 64 }; /* tokens */

typedef struct feed_job {
    const opt_exec_node *x;
    const opt_run *run;
} feed_job;

static opt_status copy_tile(void *user, int64_t tile, int worker) {
    const feed_job *job = user;
    const opt_feed *feed = job->x->node->p.custom;
    const int64_t width = job->x->node->width, t0 = tile * TILE;
    const int64_t n = opt_min_i64(TILE, job->run->n_tokens - t0);
    (void)worker;
    memcpy(job->x->out + t0 * width, feed->rows + (job->run->pos0 + job->run->row0 + t0) * width,
           (size_t)(n * width) * sizeof *job->x->out);
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    feed_job job = {x, run};
    (void)n; /* never joined */
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, TILE), copy_tile, &job);
}

/* The walk ends here: it hands the gradient to the caller itself. */
static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    (void)s;
    (void)x;
    (void)run;
    return OPT_OK;
}

extern const opt_exec_op opt_exec_feed;
const opt_exec_op opt_exec_feed = {.op = &opt_op_feed, .forward = forward, .reverse = reverse};
