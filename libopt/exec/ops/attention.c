#include <string.h>

#include "base/num.h"
#include "exec/exec.h"

enum { STORE_TILE = 64, QUERY_TILE = 16, REVERSE_TILE = 32 }; /* tokens */

/* For the reverse pass; nodes of the same shape share it. */
typedef struct attention_state {
    float *dk; /* [n_heads, n_batch, head_dim]: of each query head, before they are added up */
    float *dv; /* [n_heads, n_batch, head_dim_v] */
} attention_state;

static opt_status prepare_reverse(opt_session *s, opt_exec_node *x, int64_t n_keys) {
    const opt_node_params *p = &x->node->p;
    const size_t rows = (size_t)p->attention.n_heads * (size_t)opt_exec_n_batch(s);
    opt_exec_need_scratch(s, 2 * REVERSE_TILE * (size_t)(n_keys + REVERSE_TILE) * sizeof(float));
    for (int i = 0; i < x->idx; i++) {
        const opt_exec_node *other = opt_exec_node_at(s, i);
        const opt_node_params *q = &other->node->p;
        if (other->row == x->row && q->attention.n_heads == p->attention.n_heads &&
            q->attention.head_dim == p->attention.head_dim &&
            q->attention.head_dim_v == p->attention.head_dim_v) {
            x->state = other->state;
            return OPT_OK;
        }
    }
    attention_state *state = opt_exec_alloc(s, 1, sizeof *state);
    if (state == NULL) {
        return OPT_ERR_MEMORY;
    }
    x->state = state;
    state->dk = opt_exec_alloc(s, rows, (size_t)p->attention.head_dim * sizeof(float));
    state->dv = opt_exec_alloc(s, rows, (size_t)p->attention.head_dim_v * sizeof(float));
    return state->dk != NULL && state->dv != NULL ? OPT_OK : OPT_ERR_MEMORY;
}

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    const int64_t window = x->node->p.attention.window;
    const int64_t n_ctx = opt_session_n_ctx(s);
    const int64_t n_keys = window > 0 ? opt_min_i64(window, n_ctx) : n_ctx;
    opt_exec_need_scratch(s, OPT_ATTEND_QUERIES * (size_t)n_keys * sizeof(float)); /* scores */
    return opt_exec_reverses(s) ? prepare_reverse(s, x, n_keys) : OPT_OK;
}

/* Tiles of one part of the run: tokens x heads, behind those of the parts before. */
typedef struct part_tiles {
    opt_run_part part;
    opt_cache *cache;
    int64_t first, n_token_tiles;
} part_tiles;

typedef struct attention_job {
    const opt_exec_node *x;
    const opt_session *s;
    const opt_run *run;
    part_tiles parts[OPT_MAX_SEQS];
    int n_parts;
    int64_t n_tiles;
} attention_job;

/* Cuts every part into tiles of `tile` tokens of a head. */
static void cut(attention_job *job, int64_t tile, int64_t n_heads) {
    job->n_tiles = 0;
    job->n_parts = opt_run_n_parts(job->run);
    for (int i = 0; i < job->n_parts; i++) {
        part_tiles *p = &job->parts[i];
        p->part = opt_run_get_part(job->run, i);
        p->cache = opt_exec_cache(job->s, p->part.seq, job->x->node->p.attention.cache);
        p->first = job->n_tiles;
        p->n_token_tiles = opt_ceil_div(p->part.n, tile);
        job->n_tiles += p->n_token_tiles * n_heads;
    }
}

static const part_tiles *part_of(const attention_job *job, int64_t tile) {
    int i = job->n_parts - 1;
    while (job->parts[i].first > tile) {
        i--;
    }
    return &job->parts[i];
}

/* Keys and values of one head and some tokens go to the cache. */
static opt_status store_tile(void *user, int64_t tile, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const part_tiles *p = part_of(job, tile);
    const opt_cache *cache = p->cache;
    (void)worker;
    const int64_t at = tile - p->first;
    const int64_t head = at / p->n_token_tiles, t0 = at % p->n_token_tiles * STORE_TILE;
    const int64_t n = opt_min_i64(STORE_TILE, p->part.n - t0), row = p->part.row + t0;
    const float *k = opt_exec_in(x, 1, job->run) + row * x->in_width[1] + head * cache->d;
    const float *v = opt_exec_in(x, 2, job->run) + row * x->in_width[2] + head * cache->d_v;
    opt_cache_store(cache, opt_exec_kern(job->s), head, p->part.pos0 + t0, n, k, x->in_width[1], v,
                    x->in_width[2]);
    return OPT_OK;
}

/* One query head over some tokens. The cut changes no result, see kern.h. */
static opt_status query_tile(void *user, int64_t tile, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const part_tiles *part = part_of(job, tile);
    const opt_node_params *p = &x->node->p;
    const int64_t d = p->attention.head_dim, d_v = p->attention.head_dim_v,
                  window = p->attention.window;
    const int64_t at = tile - part->first;
    const int64_t head = at / part->n_token_tiles, t0 = at % part->n_token_tiles * QUERY_TILE;
    const int64_t head_kv = head / (p->attention.n_heads / p->attention.n_heads_kv);
    const int64_t t_end = opt_min_i64(part->part.n, t0 + QUERY_TILE);
    int64_t n = 0;
    for (int64_t t = t0; t < t_end; t += n) {
        const int64_t row = part->part.row + t;
        const int64_t end = part->part.pos0 + t + 1;
        const int64_t begin = window > 0 ? opt_max_i64(0, end - window) : 0;
        /* Tokens whose windows begin together share keys and values. */
        n = window > 0 ? opt_min_i64(t_end - t, opt_max_i64(1, window - end + 1)) : t_end - t;
        const opt_queries queries = {.n = n,
                                     .q = opt_exec_in(x, 0, job->run) + row * x->in_width[0] +
                                          head * d,
                                     .out = x->out + row * x->node->width + head * d_v,
                                     .q_stride = x->in_width[0],
                                     .out_stride = x->node->width,
                                     .n_keys = end - begin,
                                     .n_more = 1,
                                     .scores = opt_exec_scratch(job->s, worker)};
        opt_cache_attend(part->cache, opt_exec_kern(job->s), head_kv, begin, &queries,
                         p->attention.scale);
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    attention_job job = {.x = x, .s = s, .run = run};
    opt_status st = OPT_OK;
    (void)n; /* never joined */
    cut(&job, STORE_TILE, x->node->p.attention.n_heads_kv);
    for (int i = 0; i < job.n_parts; i++) {
        opt_cache_make_room(job.parts[i].cache, job.parts[i].part.pos0, job.parts[i].part.n);
    }
    if (run->n_tokens > STORE_TILE) {
        st = opt_exec_for(s, job.n_tiles, store_tile, &job);
    } else { /* less work than waking the others */
        for (int64_t tile = 0; tile < job.n_tiles; tile++) {
            st = store_tile(&job, tile, 0);
        }
    }
    if (st != OPT_OK) {
        return st;
    }
    cut(&job, QUERY_TILE, x->node->p.attention.n_heads);
    return opt_exec_for(s, job.n_tiles, query_tile, &job);
}

/* Some queries of one head: tokens t0 .. t0 + n - 1 and the keys that any of them sees. */
typedef struct query_block {
    int64_t head, t0, n;
    int64_t key0, n_keys;
    float *p; /* [n, n_keys]: softmax weights, 0 where a query does not see a key */
    float *d; /* [n, n_keys]: gradients of the weights, then of the scores */
} query_block;

/* Keys that token t sees: *begin .. t. */
static int64_t first_key(const opt_exec_node *x, int64_t t) {
    const int64_t window = x->node->p.attention.window;
    return window > 0 ? opt_max_i64(0, t + 1 - window) : 0;
}

/* The softmax weights again; the forward pass did not keep them. */
static void weigh(const attention_job *job, const query_block *b, const float *q, const float *k) {
    const opt_exec_node *x = job->x;
    const opt_kern *kern = opt_exec_kern(job->s);
    kern->linear_f32(k, x->in_width[1], q, x->in_width[0], b->p, b->n_keys, b->n_keys, b->n,
                     x->node->p.attention.head_dim);
    for (int64_t i = 0; i < b->n; i++) {
        float *row = b->p + i * b->n_keys;
        const int64_t begin = first_key(x, b->t0 + i) - b->key0, end = b->t0 + i + 1 - b->key0;
        memset(row, 0, (size_t)begin * sizeof *row);
        kern->softmax(row + begin, end - begin, x->node->p.attention.scale);
        memset(row + end, 0, (size_t)(b->n_keys - end) * sizeof *row);
    }
}

/* From gradients of the weights to gradients of the scores: ds = p (dp - sum p dp) scale. */
static void through_softmax(const query_block *b, float scale) {
    for (int64_t i = 0; i < b->n; i++) {
        const float *p = b->p + i * b->n_keys;
        float *d = b->d + i * b->n_keys;
        double lanes[8] = {0}, sum = 0.0;
        for (int64_t j = 0; j < b->n_keys; j++) {
            lanes[j % 8] += (double)(p[j] * d[j]);
        }
        for (int j = 0; j < 8; j++) {
            sum += lanes[j];
        }
        for (int64_t j = 0; j < b->n_keys; j++) {
            d[j] = p[j] * (d[j] - (float)sum) * scale;
        }
    }
}

static void reverse_block(const attention_job *job, const query_block *b) {
    const opt_exec_node *x = job->x;
    const opt_node_params *p = &x->node->p;
    const opt_kern *kern = opt_exec_kern(job->s);
    const attention_state *state = x->state;
    const int64_t d = p->attention.head_dim, d_v = p->attention.head_dim_v;
    const int64_t head_kv = b->head / (p->attention.n_heads / p->attention.n_heads_kv);
    const int64_t wq = x->in_width[0], wk = x->in_width[1], wv = x->in_width[2];
    const int64_t at = b->head * opt_exec_n_batch(job->s) + b->key0;
    const float *q = x->in[0] + b->t0 * wq + b->head * d;
    const float *k = x->in[1] + b->key0 * wk + head_kv * d;
    const float *v = x->in[2] + b->key0 * wv + head_kv * d_v;
    const float *dy = x->grad_out + b->t0 * x->node->width + b->head * d_v;
    weigh(job, b, q, k);
    kern->gemm_add_f32(b->p, 1, b->n_keys, dy, x->node->width, state->dv + at * d_v, d_v, b->n_keys,
                       d_v, b->n);
    kern->linear_f32(v, wv, dy, x->node->width, b->d, b->n_keys, b->n_keys, b->n, d_v);
    through_softmax(b, p->attention.scale);
    kern->gemm_add_f32(b->d, 1, b->n_keys, q, wq, state->dk + at * d, d, b->n_keys, d, b->n);
    if (x->grad_in[0] != NULL) {
        kern->gemm_add_f32(b->d, b->n_keys, 1, k, wk, x->grad_in[0] + b->t0 * wq + b->head * d, wq,
                           b->n, d, b->n_keys);
    }
}

/* One query head over all tokens. */
static opt_status reverse_head(void *user, int64_t head, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const opt_node_params *p = &x->node->p;
    const attention_state *state = x->state;
    const int64_t n_tokens = job->run->n_tokens, at = head * opt_exec_n_batch(job->s);
    float *scratch = opt_exec_scratch(job->s, worker);
    memset(state->dk + at * p->attention.head_dim, 0,
           (size_t)(n_tokens * p->attention.head_dim) * sizeof(float));
    memset(state->dv + at * p->attention.head_dim_v, 0,
           (size_t)(n_tokens * p->attention.head_dim_v) * sizeof(float));
    for (int64_t t = 0; t < n_tokens; t += REVERSE_TILE) {
        query_block b = {.head = head,
                         .t0 = t,
                         .n = opt_min_i64(REVERSE_TILE, n_tokens - t),
                         .key0 = first_key(x, t)};
        b.n_keys = t + b.n - b.key0;
        b.p = scratch;
        b.d = scratch + b.n * b.n_keys;
        reverse_block(job, &b);
    }
    return OPT_OK;
}

/* Adds up what the query heads of a group found for their keys and values. */
static opt_status gather_tile(void *user, int64_t tile, int worker) {
    const attention_job *job = user;
    const opt_exec_node *x = job->x;
    const opt_node_params *p = &x->node->p;
    const attention_state *state = x->state;
    const int64_t group = p->attention.n_heads / p->attention.n_heads_kv;
    const int64_t d = p->attention.head_dim, d_v = p->attention.head_dim_v;
    const int64_t head_kv = tile / job->n_tiles, t0 = tile % job->n_tiles * STORE_TILE;
    const int64_t end = opt_min_i64(job->run->n_tokens, t0 + STORE_TILE);
    const opt_kern *kern = opt_exec_kern(job->s);
    (void)worker;
    for (int64_t head = head_kv * group; head < (head_kv + 1) * group; head++) {
        const int64_t at = head * opt_exec_n_batch(job->s);
        for (int64_t t = t0; t < end; t++) {
            if (x->grad_in[1] != NULL) {
                kern->add(x->grad_in[1] + t * x->in_width[1] + head_kv * d,
                          state->dk + (at + t) * d, d);
            }
            if (x->grad_in[2] != NULL) {
                kern->add(x->grad_in[2] + t * x->in_width[2] + head_kv * d_v,
                          state->dv + (at + t) * d_v, d_v);
            }
        }
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    attention_job job = {.x = x, .s = s, .run = run};
    const opt_status st = opt_exec_for(s, x->node->p.attention.n_heads, reverse_head, &job);
    if (st != OPT_OK) {
        return st;
    }
    job.n_tiles = opt_ceil_div(run->n_tokens, STORE_TILE);
    return opt_exec_for(s, x->node->p.attention.n_heads_kv * job.n_tiles, gather_tile, &job);
}

extern const opt_exec_op opt_exec_attention;
const opt_exec_op opt_exec_attention = {
    .op = &opt_op_attention, .prepare = prepare, .forward = forward, .reverse = reverse};
