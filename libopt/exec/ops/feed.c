#include <string.h>

#include "exec/exec.h"

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    (void)s;
    (void)n; /* never joined */
    const opt_feed *feed = x->node->p.custom;
    const int64_t width = x->node->width;
    memcpy(x->out, feed->rows + (run->pos0 + run->row0) * width,
           (size_t)(run->n_tokens * width) * sizeof *x->out);
    return OPT_OK;
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
