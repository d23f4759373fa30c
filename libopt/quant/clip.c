/*
 * Clipping of weights (AWQ, Lin et al. 2023, the second half of their search): the largest weights
 * of a block are cut down where that lowers the error of its share of the outputs,
 * (w - v) H_b (w - v)^T with H_b the block's part of the Gram matrix. The format chooses its own
 * scale for the clipped weights, so that even a format that searches its scale by the diagonal of H
 * gains from what lies beside it. A block keeps what it was unless the error falls.
 */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"
#include "model/wiring.h"
#include "quant/transform.h"

enum { PARAM_STEPS, PARAM_LEAST };
enum { TILE_ROWS = 16 };

static const opt_method_param params[] = {
    [PARAM_STEPS] = {"steps", "limits that are tried", 1, 100, 10},
    [PARAM_LEAST] = {"least", "smallest limit, over the block's largest weight", 0.05, 1, 0.5},
    {NULL, NULL, 0, 0, 0},
};

static opt_status plan(opt_transform_job *job) {
    opt_status st = OPT_OK;
    const opt_model *m = job->model;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *n = &m->nodes[i];
        if (n->op == &opt_op_linear && n->unit >= 0 && n->unit < m->n_units &&
            opt_weight_n_uses(m, n->weights[0]) == 1) {
            job->touched[n->weights[0]] = job->wanted[n->weights[0]] = true;
            OPT_TRY(opt_transform_add_effect(job, "clip", n->name));
        }
    }
done:
    return st;
}

typedef struct clip_job {
    const opt_transform_job *job;
    const opt_format *format;
    const opt_hessian *h;
    float *w; /* [n_rows, n] */
    int64_t n_rows, n;
    size_t row_bytes;
    double *sums;     /* [n_tiles, 3]: error before and after, blocks that were clipped */
    uint8_t *scratch; /* [n_threads, scratch_each] */
    size_t scratch_each;
} clip_job;

/* What a tile works with, laid out in its worker's scratch. */
typedef struct lanes {
    float *clipped, *back, *best, *d, *g; /* [n] each */
    double *least;                        /* [blocks] */
    uint8_t *row;
} lanes;

static size_t lanes_bytes(int64_t n, size_t row_bytes) {
    return ((size_t)n * (5 * sizeof(float) + sizeof(double)) + row_bytes + 64) & ~(size_t)63;
}

static lanes lanes_of(const clip_job *j, int worker) {
    lanes l;
    uint8_t *p = j->scratch + (size_t)worker * j->scratch_each;
    l.least = (double *)(void *)p;
    l.clipped = (float *)(void *)(l.least + j->n);
    l.back = l.clipped + j->n;
    l.best = l.back + j->n;
    l.d = l.best + j->n;
    l.g = l.d + j->n;
    l.row = (uint8_t *)(l.g + j->n);
    return l;
}

/* (w - v) H_b (w - v)^T of the block of n columns from c0 on. */
static double block_error(const opt_hessian *h, const lanes *l, const float *w, int64_t c0,
                          int64_t n) {
    double sum = 0.0;
    memset(l->g, 0, (size_t)n * sizeof *l->g);
    for (int64_t i = 0; i < n; i++) {
        l->d[i] = w[c0 + i] - l->back[c0 + i];
    }
    for (int64_t i = 0; i < n; i++) {
        const float *row = h->h + (c0 + i) * h->n + c0;
        const float d = l->d[i];
        for (int64_t k = 0; k < n; k++) {
            l->g[k] += d * row[k];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        sum += (double)l->d[i] * (double)l->g[i];
    }
    return sum;
}

/* Cuts a row at `limit` times the largest weight of every part of a block. */
static void clip_row(const clip_job *j, const float *w, float limit, float *out) {
    const int64_t part = opt_format_part_elems(j->format);
    for (int64_t c0 = 0; c0 < j->n; c0 += part) {
        const int64_t end = opt_min_i64(j->n, c0 + part);
        float most = 0.0F;
        for (int64_t c = c0; c < end; c++) {
            most = fabsf(w[c]) > most ? fabsf(w[c]) : most;
        }
        most *= limit;
        for (int64_t c = c0; c < end; c++) {
            out[c] = w[c] > most ? most : w[c] < -most ? -most : w[c];
        }
    }
}

static void clip_one(const clip_job *j, const lanes *l, float *w, double *sums) {
    const opt_format *f = j->format;
    const int steps = (int)j->job->params[PARAM_STEPS];
    const double least = j->job->params[PARAM_LEAST];
    for (int s = 0; s <= steps; s++) { /* step 0 leaves the row as it is */
        clip_row(j, w, (float)(1.0 - (1.0 - least) * s / steps), l->clipped);
        opt_format_encode_rows(f, j->job->kern, l->clipped, j->h->diag, l->row, 1, j->n);
        f->decode(f, j->job->kern, l->row, l->back, j->n);
        for (int64_t c0 = 0, b = 0; c0 < j->n; c0 += f->block_elems, b++) {
            const int64_t n = opt_min_i64(f->block_elems, j->n - c0);
            const double e = block_error(j->h, l, w, c0, n);
            if (s == 0 || e < l->least[b]) {
                sums[0] += s == 0 ? e : 0.0;
                sums[1] += s == 0 ? e : e - l->least[b];
                l->least[b] = e;
                memcpy(l->best + c0, l->clipped + c0, (size_t)n * sizeof *w);
            }
        }
    }
    bool changed = memcmp(w, l->best, (size_t)j->n * sizeof *w) != 0;
    sums[2] += changed;
    memcpy(w, l->best, (size_t)j->n * sizeof *w);
}

static opt_status clip_tile(void *user, int64_t tile, int worker) {
    const clip_job *j = user;
    const lanes l = lanes_of(j, worker);
    const int64_t end = opt_min_i64(j->n_rows, (tile + 1) * TILE_ROWS);
    for (int64_t r = tile * TILE_ROWS; r < end; r++) {
        clip_one(j, &l, j->w + r * j->n, j->sums + tile * 3);
    }
    return OPT_OK;
}

/* Clips all rows of a weight and fills the effect. */
static opt_status run(opt_transform_job *job, clip_job *j, opt_transform_effect *e) {
    opt_status st = OPT_OK;
    const int64_t tiles = opt_ceil_div(j->n_rows, TILE_ROWS);
    double before = 0, after = 0, rows = 0;
    OPT_TRY_PTR(j->sums = opt_alloc_zero(job->ctx, (size_t)tiles * 3 * sizeof *j->sums));
    j->scratch_each = lanes_bytes(j->n, j->row_bytes);
    OPT_TRY_PTR(j->scratch = opt_alloc_array(job->ctx, (size_t)opt_ctx_n_threads(job->ctx),
                                             j->scratch_each));
    OPT_TRY(opt_parallel_for(job->ctx, tiles, clip_tile, j));
    for (int64_t t = 0; t < tiles; t++) {
        before += j->sums[t * 3];
        after += j->sums[t * 3 + 1];
        rows += j->sums[t * 3 + 2];
    }
    if (e != NULL) {
        e->value = rows / (double)j->n_rows;
        e->before = before;
        e->after = after;
    }
done:
    opt_free(job->ctx, j->sums);
    opt_free(job->ctx, j->scratch);
    return st;
}

static opt_status clip_node(opt_transform_job *job, const opt_node *n) {
    opt_status st = OPT_OK;
    opt_hessian *h = NULL;
    const int weight = n->weights[0];
    const opt_gram *gram = &job->grams[n->in[0]];
    clip_job j = {.job = job, .format = job->formats[weight]};
    if (j.format == NULL || gram->sum == NULL) {
        return OPT_OK;
    }
    j.n_rows = opt_transform_n_rows(job->model, weight);
    j.n = opt_transform_n_cols(job->model, weight);
    OPT_REQUIRE(opt_format_row_bytes(j.format, j.n, &j.row_bytes), job->ctx, OPT_ERR_BUG, n->name,
                "%s does not fit", j.format->name);
    OPT_TRY(opt_rewrite_open(job->rewrite, weight, &j.w));
    OPT_TRY(opt_hessian_new(job->ctx, n->name, gram->sum, gram->n, gram->n_tokens, false, &h));
    j.h = h;
    OPT_TRY(run(job, &j, opt_transform_find_effect(job, "clip", n->name)));
done:
    opt_hessian_free(h);
    return st;
}

static opt_status apply(opt_transform_job *job) {
    opt_status st = OPT_OK;
    for (int i = 0; i < job->model->n_nodes; i++) {
        const opt_node *n = &job->model->nodes[i];
        if (n->unit == job->stage && n->op == &opt_op_linear && job->wanted[n->weights[0]]) {
            OPT_TRY(clip_node(job, n));
        }
    }
done:
    return st;
}

const opt_transform opt_transform_clip = {
    .name = "clip",
    .help = "largest weights of a block cut down where its outputs gain (AWQ)",
    .params = params,
    .flags = OPT_TRANSFORM_FITTED | OPT_TRANSFORM_LOSSY,
    .rank = 3,
    .plan = plan,
    .apply = apply,
};
