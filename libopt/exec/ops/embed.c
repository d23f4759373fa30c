#include "base/num.h"
#include "exec/exec.h"

typedef struct embed_job {
    const opt_exec_node *x;
    const opt_tensor *table; /* [n_vocab, width] */
    const opt_kern *kern;
    const opt_run *run;
    int64_t tile;
} embed_job;

static opt_status embed_tile(void *user, int64_t tile, int worker) {
    const embed_job *job = user;
    const int64_t width = job->x->node->width;
    const float scale = job->x->node->p.embed.scale;
    (void)worker;
    const int64_t end = opt_min_i64(job->run->n_tokens, (tile + 1) * job->tile);
    for (int64_t t = tile * job->tile; t < end; t++) {
        float *row = job->x->out + t * width;
        opt_tensor_decode_rows(job->table, job->kern, job->run->tokens[t], 1, row);
        for (int64_t i = 0; scale != 0.0F && i < width; i++) {
            row[i] *= scale;
        }
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    (void)n; /* never joined */
    embed_job job = {.x = x,
                     .table = opt_node_weight(opt_exec_model(s), x->node, 0)->tensor,
                     .kern = opt_exec_kern(s),
                     .run = run,
                     .tile = opt_exec_token_tile(x->node->width)};
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), embed_tile, &job);
}

/* Rows of the table gather what tokens are worth in their order: a tile is a range of columns, as
 * tokens may repeat. */
static opt_status reverse_tile(void *user, int64_t tile, int worker) {
    const embed_job *job = user;
    const opt_exec_node *x = job->x;
    const int64_t width = x->node->width;
    const float scale = x->node->p.embed.scale != 0.0F ? x->node->p.embed.scale : 1.0F;
    (void)worker;
    const int64_t begin = tile * job->tile, end = opt_min_i64(width, begin + job->tile);
    for (int64_t t = 0; t < job->run->n_tokens; t++) {
        float *to = x->grad_w[0] + job->run->tokens[t] * width;
        const float *from = x->grad_out + t * width;
        for (int64_t i = begin; i < end; i++) {
            to[i] += scale * from[i];
        }
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    embed_job job = {.x = x, .run = run, .tile = 64};
    return x->grad_w[0] == NULL
               ? OPT_OK
               : opt_exec_for(s, opt_ceil_div(x->node->width, job.tile), reverse_tile, &job);
}

extern const opt_exec_op opt_exec_embed;
const opt_exec_op opt_exec_embed = {.op = &opt_op_embed, .forward = forward, .reverse = reverse};
