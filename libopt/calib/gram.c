#include "calib/gram.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"

enum { TILE = OPT_GRAM_TILE };

static int64_t padded(int64_t n) { return opt_ceil_div(n, TILE) * TILE; }

static int64_t padded_tokens(int64_t n) { return opt_ceil_div(n, OPT_I16_GROUP) * OPT_I16_GROUP; }

uint64_t opt_gram_bytes(int64_t n) {
    return (uint64_t)n * (uint64_t)n * sizeof(double) +
           (uint64_t)n * (sizeof(double) + sizeof(float));
}

uint64_t opt_gram_scratch_bytes(int64_t max_n, int64_t max_tokens, int n_threads) {
    return (uint64_t)padded(max_n) * (uint64_t)padded_tokens(max_tokens) * sizeof(float) +
           (uint64_t)n_threads * TILE * TILE * sizeof(float);
}

opt_status opt_gram_scratch_new(opt_ctx *ctx, int64_t max_n, int64_t max_tokens,
                                opt_gram_scratch *out) {
    opt_status st = OPT_OK;
    size_t panels = 0;
    opt_gram_scratch s = {.max_n = max_n, .max_tokens = max_tokens};
    OPT_REQUIRE(opt_mul_size((size_t)padded(max_n), (size_t)padded_tokens(max_tokens), &panels),
                ctx, OPT_ERR_MEMORY, NULL, "windows of %lld tokens do not fit in the address space",
                (long long)max_tokens);
    OPT_TRY_PTR(s.panels = opt_alloc_array(ctx, panels, sizeof *s.panels));
    OPT_TRY_PTR(s.tiles = opt_alloc_array(ctx, (size_t)opt_ctx_n_threads(ctx) * TILE * TILE,
                                          sizeof *s.tiles));
    *out = s;
    s = (opt_gram_scratch){0};
done:
    opt_gram_scratch_free(ctx, &s);
    return st;
}

void opt_gram_scratch_free(opt_ctx *ctx, opt_gram_scratch *s) {
    opt_free(ctx, s->panels);
    opt_free(ctx, s->tiles);
    *s = (opt_gram_scratch){0};
}

opt_status opt_gram_new(opt_ctx *ctx, int64_t n, opt_gram *out) {
    opt_status st = OPT_OK;
    size_t elems = 0;
    opt_gram g = {.n = n};
    OPT_REQUIRE(opt_mul_size((size_t)n, (size_t)n, &elems), ctx, OPT_ERR_MEMORY, NULL,
                "a matrix of %lld x %lld does not fit in the address space", (long long)n,
                (long long)n);
    OPT_TRY_PTR(g.sum = opt_alloc_array(ctx, elems, sizeof *g.sum));
    memset(g.sum, 0, elems * sizeof *g.sum);
    OPT_TRY_PTR(g.total = opt_alloc_zero(ctx, (size_t)n * sizeof *g.total));
    OPT_TRY_PTR(g.peak = opt_alloc_zero(ctx, (size_t)n * sizeof *g.peak));
    *out = g;
    g = (opt_gram){0};
done:
    opt_gram_free(ctx, &g);
    return st;
}

void opt_gram_free(opt_ctx *ctx, opt_gram *g) {
    opt_free(ctx, g->sum);
    opt_free(ctx, g->total);
    opt_free(ctx, g->peak);
    *g = (opt_gram){0};
}

typedef struct add_job {
    const opt_kern *kern;
    opt_gram *g; /* NULL: only a cross matrix grows */
    int64_t n;
    const float *x; /* [n_tokens, n] */
    int64_t n_tokens;
    opt_gram_scratch *s;
    double *cross;                 /* [n, n], or NULL */
    const opt_gram_scratch *other; /* with the panels of the right factor of the cross matrix */
} add_job;

/* Columns of tile `tile`: [n_tokens, TILE], what is missing in the last one is zero. */
static float *panel(const add_job *job, const opt_gram_scratch *s, int64_t tile) {
    return s->panels + tile * TILE * padded_tokens(job->n_tokens);
}

/* The same as pairs of 16-bit integers, and their scales behind them. */
static opt_i16 panel_i16(const add_job *job, const opt_gram_scratch *s, int64_t tile) {
    const int64_t n = padded_tokens(job->n_tokens);
    const float *at = panel(job, s, tile);
    return (opt_i16){(const int32_t *)(const void *)at, 1, TILE, at + n / 2 * TILE, 1, TILE};
}

/* Sums and largest magnitudes of a tile's columns, tokens in order. */
static void add_columns(const add_job *job, int64_t tile, int64_t width) {
    const float *x = job->x + tile * TILE;
    float total[TILE] = {0}, *peak = NULL;
    if (job->g == NULL) {
        return;
    }
    peak = job->g->peak + tile * TILE;
    for (int64_t t = 0; t < job->n_tokens; t++, x += job->n) {
        for (int64_t i = 0; i < width; i++) {
            const float size = fabsf(x[i]);
            total[i] += x[i];
            peak[i] = size > peak[i] ? size : peak[i];
        }
    }
    for (int64_t i = 0; i < width; i++) {
        job->g->total[tile * TILE + i] += (double)total[i];
    }
}

static opt_status pack_tile_i16(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    const int64_t n = job->n, width = opt_min_i64(TILE, n - tile * TILE);
    const int64_t n_padded = padded_tokens(job->n_tokens);
    float *to = panel(job, job->s, tile);
    (void)worker;
    if (width < TILE) {
        memset(to, 0, (size_t)(TILE * n_padded) * sizeof *to);
    }
    job->kern->quantize_i16_columns(job->x + tile * TILE, n, job->n_tokens, width,
                                    (int32_t *)(void *)to, to + n_padded / 2 * TILE, TILE);
    add_columns(job, tile, width);
    return OPT_OK;
}

static opt_status pack_tile(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    const int64_t n = job->n, width = opt_min_i64(TILE, n - tile * TILE);
    float *to = panel(job, job->s, tile);
    (void)worker;
    for (int64_t t = 0; t < job->n_tokens; t++, to += TILE) {
        memcpy(to, job->x + t * n + tile * TILE, (size_t)width * sizeof *to);
        memset(to + width, 0, (size_t)(TILE - width) * sizeof *to);
    }
    add_columns(job, tile, width);
    return OPT_OK;
}

/* Products of the columns of two tiles, of `left` and of `right`, to out [TILE, TILE]. */
static void multiply(const add_job *job, const opt_gram_scratch *left, int64_t ti,
                     const opt_gram_scratch *right, int64_t tj, float *out) {
    if (left->block16) {
        const opt_i16 a = panel_i16(job, left, ti), b = panel_i16(job, right, tj);
        job->kern->gemm_i16(&a, &b, out, TILE, TILE, TILE, padded_tokens(job->n_tokens));
    } else {
        memset(out, 0, TILE * TILE * sizeof *out);
        job->kern->gemm_add_f32(panel(job, left, ti), 1, TILE, panel(job, right, tj), TILE, out,
                                TILE, TILE, TILE, job->n_tokens);
    }
}

static void add_to_sum(const add_job *job, int64_t ti, int64_t tj, const float *out, double *to) {
    const int64_t n = job->n, i0 = ti * TILE, j0 = tj * TILE;
    const int64_t n_i = opt_min_i64(TILE, n - i0), n_j = opt_min_i64(TILE, n - j0);
    for (int64_t i = 0; i < n_i; i++) {
        double *sum = to + (i0 + i) * n + j0;
        for (int64_t j = 0; j < n_j; j++) {
            sum[j] += (double)out[i * TILE + j];
        }
    }
}

static opt_status add_tile(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    int64_t ti = 0; /* tiles are numbered row by row through the lower triangle */
    while ((ti + 1) * (ti + 2) / 2 <= tile) {
        ti++;
    }
    const int64_t tj = tile - ti * (ti + 1) / 2;
    float *out = job->s->tiles + (int64_t)worker * TILE * TILE;
    multiply(job, job->s, ti, job->s, tj, out);
    add_to_sum(job, ti, tj, out, job->g->sum);
    return OPT_OK;
}

static opt_status cross_tile(void *user, int64_t tile, int worker) {
    const add_job *job = user;
    const int64_t n_tiles = opt_ceil_div(job->n, TILE);
    float *out = job->s->tiles + (int64_t)worker * TILE * TILE;
    multiply(job, job->s, tile / n_tiles, job->other, tile % n_tiles, out);
    add_to_sum(job, tile / n_tiles, tile % n_tiles, out, job->cross);
    return OPT_OK;
}

opt_status opt_gram_add(opt_ctx *ctx, const opt_kern *k, opt_gram *g, const float *x,
                        int64_t n_tokens, opt_gram_scratch *s) {
    opt_status st = OPT_OK;
    add_job job = {.kern = k, .g = g, .n = g->n, .x = x, .n_tokens = n_tokens, .s = s};
    OPT_REQUIRE(g->n <= s->max_n && n_tokens <= s->max_tokens, ctx, OPT_ERR_BUG, NULL,
                "%lld rows of %lld do not fit in the scratch", (long long)n_tokens,
                (long long)g->n);
    const int64_t tiles = opt_ceil_div(g->n, TILE);
    OPT_TRY(opt_parallel_for(ctx, tiles, s->block16 ? pack_tile_i16 : pack_tile, &job));
    OPT_TRY(opt_parallel_for(ctx, tiles * (tiles + 1) / 2, add_tile, &job));
    g->n_tokens += n_tokens;
done:
    return st;
}

opt_status opt_gram_add_cross(opt_ctx *ctx, const opt_kern *k, double *sum, int64_t n,
                              const float *dx, int64_t n_tokens, const opt_gram_scratch *s,
                              opt_gram_scratch *own) {
    opt_status st = OPT_OK;
    add_job job = {
        .kern = k, .n = n, .x = dx, .n_tokens = n_tokens, .s = own, .cross = sum, .other = s};
    OPT_REQUIRE(n <= own->max_n && n_tokens <= own->max_tokens && own->block16 == s->block16, ctx,
                OPT_ERR_BUG, NULL, "%lld rows of %lld do not fit in the scratch",
                (long long)n_tokens, (long long)n);
    const int64_t tiles = opt_ceil_div(n, TILE);
    OPT_TRY(opt_parallel_for(ctx, tiles, own->block16 ? pack_tile_i16 : pack_tile, &job));
    OPT_TRY(opt_parallel_for(ctx, tiles * tiles, cross_tile, &job));
done:
    return st;
}
