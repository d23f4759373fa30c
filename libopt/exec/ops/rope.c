#include <math.h>
#include <string.h>

#include "base/num.h"
#include "exec/exec.h"

/* Cosines and sines of the positions that run now; shared by all nodes with the same parameters. */
typedef struct rope_table {
    float *freq;      /* [n_rot / 2] */
    float *cos, *sin; /* [n_batch, n_rot / 2] */
    int64_t half;     /* n_rot / 2 */
    int64_t pos0, n;  /* what the rows stand for; n = 0: nothing yet */
    uint64_t serial;  /* of the run that they were made for */
} rope_table;

static bool same_rope(const opt_node *a, const opt_node *b) {
    return a->p.rope.n_rot == b->p.rope.n_rot && a->p.rope.freq_base == b->p.rope.freq_base &&
           a->p.rope.attn_factor == b->p.rope.attn_factor &&
           a->p.rope.freq_factors == b->p.rope.freq_factors;
}

/*
 * Frequencies as transformers computes them, in f32: base^(-2i/n), then divided by the factors (Su
 * et al. 2021, eq. 15). An angle at a high position depends on their last bits, and the models were
 * trained with these.
 */
static void set_freqs(const opt_node *node, float *freq, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        const double power = pow(node->p.rope.freq_base, (double)(2 * i) / (double)(2 * half));
        freq[i] = (float)(1.0 / power);
        if (node->p.rope.freq_factors != NULL) {
            freq[i] /= node->p.rope.freq_factors[i];
        }
    }
}

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    if (opt_exec_reverses(s)) {
        opt_exec_need_scratch(s, (size_t)(x->node->width + x->node->p.rope.n_rot) * sizeof(float));
    }
    for (int i = 0; i < x->idx; i++) {
        const opt_exec_node *other = opt_exec_node_at(s, i);
        if (other->row == x->row && same_rope(other->node, x->node)) {
            x->state = other->state;
            return OPT_OK;
        }
    }
    rope_table *table = opt_exec_alloc(s, 1, sizeof *table);
    if (table == NULL) {
        return OPT_ERR_MEMORY;
    }
    table->half = x->node->p.rope.n_rot / 2;
    const size_t half = (size_t)table->half, rows = (size_t)opt_exec_n_batch(s);
    table->freq = opt_exec_alloc(s, half, sizeof(float));
    table->cos = opt_exec_alloc(s, rows, half * sizeof(float));
    table->sin = opt_exec_alloc(s, rows, half * sizeof(float));
    if (table->freq == NULL || table->cos == NULL || table->sin == NULL) {
        return OPT_ERR_MEMORY;
    }
    set_freqs(x->node, table->freq, table->half);
    x->state = table;
    return OPT_OK;
}

static bool joins(const opt_exec_node *first, const opt_exec_node *next) {
    return first->state == next->state; /* one table for both */
}

typedef struct rope_job {
    const opt_exec_node *x; /* [n] */
    const opt_session *s;
    const rope_table *table;
    const opt_kern *kern;
    const opt_run *run;
    int64_t n_tiles, tile; /* of each node; tokens */
} rope_job;

static opt_status table_tile(void *user, int64_t tile, int worker) {
    const rope_job *job = user;
    const rope_table *table = job->table;
    const double factor = job->x->node->p.rope.attn_factor;
    (void)worker;
    const int64_t end = opt_min_i64(job->run->n_tokens, (tile + 1) * job->tile);
    for (int64_t t = tile * job->tile; t < end; t++) {
        const float pos = (float)opt_run_pos(job->run, t);
        for (int64_t i = 0; i < table->half; i++) {
            const float angle = pos * table->freq[i];
            table->cos[t * table->half + i] = (float)(cos((double)angle) * factor);
            table->sin[t * table->half + i] = (float)(sin((double)angle) * factor);
        }
    }
    return OPT_OK;
}

static opt_status fill_table(opt_session *s, rope_job *job, rope_table *table) {
    const opt_run *run = job->run;
    if (table->n >= run->n_tokens && table->pos0 == run->pos0 && table->serial == run->serial) {
        return OPT_OK;
    }
    table->n = 0;
    job->tile =
        opt_exec_token_tile(table->half * 16); /* a cosine costs as much as many other operations */
    const opt_status st = opt_exec_for(s, opt_ceil_div(run->n_tokens, job->tile), table_tile, job);
    if (st == OPT_OK) {
        table->pos0 = run->pos0;
        table->serial = run->serial;
        table->n = run->n_tokens;
    }
    return st;
}

static opt_status rope_tile(void *user, int64_t tile, int worker) {
    const rope_job *job = user;
    const opt_exec_node *x = &job->x[tile / job->n_tiles];
    const rope_table *table = job->table;
    const float *in = opt_exec_in(x, 0, job->run);
    const int64_t width = x->node->width, head_dim = x->node->p.rope.head_dim;
    (void)worker;
    const int64_t begin = tile % job->n_tiles * job->tile;
    const int64_t end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    for (int64_t t = begin; t < end; t++) {
        float *row = x->out + t * width;
        if (in + t * width != row) {
            memcpy(row, in + t * width, (size_t)width * sizeof *row);
        }
        for (int64_t at = 0; at < width; at += head_dim) {
            job->kern->rope(row + at, table->cos + t * table->half, table->sin + t * table->half,
                            2 * table->half, x->node->p.rope.halves);
        }
    }
    return OPT_OK;
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    rope_job job = {.x = x, .s = s, .table = x->state, .kern = opt_exec_kern(s), .run = run};
    opt_status st = fill_table(s, &job, x->state);
    if (st != OPT_OK) {
        return st;
    }
    job.tile = opt_exec_token_tile(x->node->width);
    job.n_tiles = opt_ceil_div(run->n_tokens, job.tile);
    if (job.n_tiles > 1) {
        return opt_exec_for(s, n * job.n_tiles, rope_tile, &job);
    }
    for (int i = 0; i < n && st == OPT_OK; i++) {
        st = rope_tile(&job, i, 0);
    }
    return st;
}

/* The transpose of a rotation turns the other way. */
static opt_status reverse_tile(void *user, int64_t tile, int worker) {
    const rope_job *job = user;
    const opt_exec_node *x = job->x;
    const rope_table *table = job->table;
    const int64_t width = x->node->width, head_dim = x->node->p.rope.head_dim;
    float *row = opt_exec_scratch(job->s, worker), *minus_sin = row + width;
    const int64_t begin = tile * job->tile;
    const int64_t end = opt_min_i64(job->run->n_tokens, begin + job->tile);
    for (int64_t t = begin; t < end; t++) {
        memcpy(row, x->grad_out + t * width, (size_t)width * sizeof *row);
        for (int64_t i = 0; i < table->half; i++) {
            minus_sin[i] = -table->sin[t * table->half + i];
        }
        for (int64_t at = 0; at < width; at += head_dim) {
            job->kern->rope(row + at, table->cos + t * table->half, minus_sin, 2 * table->half,
                            x->node->p.rope.halves);
        }
        job->kern->add(opt_exec_grad_in(x, 0, job->run) + t * width, row, width);
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    rope_job job = {.x = x, .s = s, .table = x->state, .kern = opt_exec_kern(s), .run = run};
    if (x->grad_in[0] == NULL) {
        return OPT_OK;
    }
    const opt_status st = fill_table(s, &job, x->state);
    if (st != OPT_OK) {
        return st;
    }
    job.tile = opt_exec_token_tile(x->node->width);
    return opt_exec_for(s, opt_ceil_div(run->n_tokens, job.tile), reverse_tile, &job);
}

extern const opt_exec_op opt_exec_rope;
const opt_exec_op opt_exec_rope = {.op = &opt_op_rope,
                                   .in_place = true,
                                   .joins = joins,
                                   .prepare = prepare,
                                   .forward = forward,
                                   .reverse = reverse};
