#include "base/num.h"
#include "exec/exec.h"

enum { STORE_TILE = 64, QUERY_TILE = 16 }; /* tokens */

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    const int64_t window = x->node->p.attention.window;
    const int64_t n_ctx = opt_session_n_ctx(s);
    const int64_t n_keys = window > 0 ? opt_min_i64(window, n_ctx) : n_ctx;
    opt_exec_need_scratch(s, OPT_ATTEND_QUERIES * (size_t)n_keys * sizeof(float)); /* scores */
    return OPT_OK;
}

typedef struct attention_job {
    const opt_exec_node *x;
    const opt_cache *cache;
    const opt_session *s;
    const opt_run *run;
    int64_t n_tiles; /* token tiles of a head */
} attention_job;

/* Keys and values of one head and some tokens go to the cache. */
static opt_status store_tile(void *user, int64_t tile, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const opt_cache *cache = job->cache;
    (void)worker;
    const int64_t head = tile / job->n_tiles, t0 = tile % job->n_tiles * STORE_TILE;
    const int64_t n = opt_min_i64(STORE_TILE, job->run->n_tokens - t0);
    const float *k = opt_exec_in(x, 1, job->run) + t0 * x->in_width[1] + head * cache->d;
    const float *v = opt_exec_in(x, 2, job->run) + t0 * x->in_width[2] + head * cache->d_v;
    opt_cache_store(cache, opt_exec_kern(job->s), head, job->run->pos0 + t0, n, k, x->in_width[1],
                    v, x->in_width[2]);
    return OPT_OK;
}

/* One query head over some tokens. The cut changes no result, see kern.h. */
static opt_status query_tile(void *user, int64_t tile, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const opt_node_params *p = &x->node->p;
    const int64_t d = p->attention.head_dim, d_v = p->attention.head_dim_v,
                  window = p->attention.window;
    const int64_t head = tile / job->n_tiles, t0 = tile % job->n_tiles * QUERY_TILE;
    const int64_t head_kv = head / (p->attention.n_heads / p->attention.n_heads_kv);
    const int64_t t_end = opt_min_i64(job->run->n_tokens, t0 + QUERY_TILE);
    int64_t n = 0;
    for (int64_t t = t0; t < t_end; t += n) {
        const int64_t end = job->run->pos0 + t + 1;
        const int64_t begin = window > 0 ? opt_max_i64(0, end - window) : 0;
        /* Tokens whose windows begin together share keys and values. */
        n = window > 0 ? opt_min_i64(t_end - t, opt_max_i64(1, window - end + 1)) : t_end - t;
        const opt_queries queries = {.n = n,
                                     .q = opt_exec_in(x, 0, job->run) + t * x->in_width[0] +
                                          head * d,
                                     .out = x->out + t * x->node->width + head * d_v,
                                     .q_stride = x->in_width[0],
                                     .out_stride = x->node->width,
                                     .n_keys = end - begin,
                                     .n_more = 1,
                                     .scores = opt_exec_scratch(job->s, worker)};
        opt_cache_attend(job->cache, opt_exec_kern(job->s), head_kv, begin, &queries,
                         p->attention.scale);
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    const opt_cache *cache = opt_exec_cache(s, x->node->p.attention.cache);
    attention_job job = {.x = x, .cache = cache, .s = s, .run = run};
    opt_status st = OPT_OK;
    (void)n; /* never joined */
    job.n_tiles = opt_ceil_div(run->n_tokens, STORE_TILE);
    if (job.n_tiles > 1) {
        st = opt_exec_for(s, cache->n_heads * job.n_tiles, store_tile, &job);
    } else { /* less work than waking the others */
        for (int64_t head = 0; head < cache->n_heads; head++) {
            st = store_tile(&job, head, 0);
        }
    }
    if (st != OPT_OK) {
        return st;
    }
    job.n_tiles = opt_ceil_div(run->n_tokens, QUERY_TILE);
    return opt_exec_for(s, x->node->p.attention.n_heads * job.n_tiles, query_tile, &job);
}

extern const opt_exec_op opt_exec_attention;
const opt_exec_op opt_exec_attention = {
    .op = &opt_op_attention, .prepare = prepare, .forward = forward};
