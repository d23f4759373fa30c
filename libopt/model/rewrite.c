#include "model/rewrite.h"

#include <math.h>

#include "base/num.h"
#include "base/pool.h"

enum { TILE_ELEMS = 1 << 16 };

struct opt_rewrite {
    opt_ctx *ctx;
    opt_model *m;
    opt_tensor *tensors;        /* [n_weights]; data NULL: closed */
    const opt_tensor **sources; /* [n_weights] what an open weight had before */
};

typedef struct decode_job {
    const opt_tensor *from;
    const opt_kern *kern;
    float *to;
    int64_t n_rows, n_cols, tile_rows;
    opt_ctx *ctx;
    const char *name;
} decode_job;

static opt_status decode_tile(void *user, int64_t tile, int worker) {
    const decode_job *j = user;
    const int64_t row0 = tile * j->tile_rows;
    const int64_t n = opt_min_i64(j->tile_rows, j->n_rows - row0);
    float *to = j->to + row0 * j->n_cols;
    (void)worker;
    opt_tensor_decode_rows(j->from, j->kern, row0, n, to);
    for (int64_t i = 0; i < n * j->n_cols; i++) {
        if (!isfinite(to[i])) {
            return opt_fail(j->ctx, OPT_ERR_NUMERIC, j->name,
                            "the weight at row %lld, column %lld is NaN or infinite: it cannot be "
                            "transformed",
                            (long long)(row0 + i / j->n_cols), (long long)(i % j->n_cols));
        }
    }
    return OPT_OK;
}

opt_status opt_rewrite_new(opt_ctx *ctx, opt_model *m, opt_rewrite **out) {
    opt_status st = OPT_OK;
    const size_t n = (size_t)m->n_weights;
    opt_rewrite *r = opt_alloc_zero(ctx, sizeof *r);
    OPT_TRY_PTR(r);
    r->ctx = ctx;
    r->m = m;
    OPT_TRY_PTR(r->tensors = opt_alloc_zero(ctx, n * sizeof *r->tensors));
    OPT_TRY_PTR(r->sources = opt_alloc_zero(ctx, n * sizeof *r->sources));
    *out = r;
    r = NULL;
done:
    opt_rewrite_free(r);
    return st;
}

static float *values_of(const opt_tensor *t) {
    return (float *)(uintptr_t)t->data; /* ours: allocated by opt_rewrite_open */
}

void opt_rewrite_close(opt_rewrite *r) {
    for (int i = 0; r->tensors != NULL && r->sources != NULL && i < r->m->n_weights; i++) {
        if (r->tensors[i].data != NULL) {
            opt_free(r->ctx, values_of(&r->tensors[i]));
            r->tensors[i].data = NULL;
            r->m->weights[i].tensor = r->sources[i];
        }
    }
}

void opt_rewrite_free(opt_rewrite *r) {
    if (r != NULL) {
        opt_rewrite_close(r);
        opt_free(r->ctx, r->tensors);
        opt_free(r->ctx, (void *)r->sources);
        opt_free(r->ctx, r);
    }
}

opt_status opt_rewrite_open(opt_rewrite *r, int weight, float **values) {
    opt_status st = OPT_OK;
    opt_weight *w = &r->m->weights[weight];
    opt_tensor *t = &r->tensors[weight];
    float *to = NULL;
    if (t->data != NULL) {
        *values = values_of(t);
        return OPT_OK;
    }
    decode_job job = {.from = w->tensor, .ctx = r->ctx, .name = w->name};
    job.n_rows = opt_tensor_n_rows(w->tensor);
    job.n_cols = opt_tensor_n_cols(w->tensor);
    job.tile_rows = opt_max_i64(1, TILE_ELEMS / opt_max_i64(1, job.n_cols));
    OPT_TRY_PTR(job.kern = opt_kern_get(r->ctx));
    const size_t n = (size_t)opt_tensor_n_elems(w->tensor);
    OPT_TRY_PTR(to = opt_alloc_array(r->ctx, n, sizeof *to));
    job.to = to;
    OPT_TRY(opt_parallel_for(r->ctx, opt_ceil_div(job.n_rows, job.tile_rows), decode_tile, &job));
    if (!w->computed) {
        opt_source_dont_need(r->m->source, w->tensor);
    }
    *t = *w->tensor;
    t->format = &opt_format_f32;
    t->runs = false;
    t->bytes = n * sizeof *to;
    t->data = (const uint8_t *)to;
    to = NULL;
    r->sources[weight] = w->tensor;
    w->tensor = t;
    *values = values_of(t);
done:
    opt_free(r->ctx, to);
    return st;
}
