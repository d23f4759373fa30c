/*
 * The search runs on the Gram matrix: what a candidate costs does not depend on the number of
 * tokens. Its tiles are (candidate, some rows of one reader).
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "quant/awq.h"

enum { TILE_ROWS = 64 };

typedef struct search_job {
    opt_ctx *ctx;
    const opt_kern *kern;
    const opt_awq_group *g;
    int n_scales;
    const float *columns;    /* [n_scales, n_columns]: scale of every column */
    const float *importance; /* [n_scales, n_columns]: diagonal of the scaled matrix */
    int64_t tiles_each;      /* of a candidate */
    double *errors;          /* [n_scales, tiles_each] */
    uint8_t *scratch;        /* [n_threads, scratch_each] */
    size_t scratch_each;
} search_job;

void opt_awq_scales(const double *size, const double *weight, int64_t n_channels, double alpha,
                    double *s) {
    double least = INFINITY, most = 0.0;
    for (int64_t c = 0; c < n_channels; c++) {
        s[c] = 1.0;
        if (size[c] > 0.0) {
            s[c] = pow(size[c], alpha);
            s[c] /= weight != NULL ? pow(weight[c], 1.0 - alpha) + 1e-4 : 1.0;
            s[c] = s[c] > 1e-4 ? s[c] : 1e-4;
            least = s[c] < least ? s[c] : least;
            most = s[c] > most ? s[c] : most;
        }
    }
    for (int64_t c = 0; c < n_channels && most > 0.0; c++) {
        s[c] = size[c] > 0.0 ? s[c] / sqrt(least * most) : 1.0;
    }
}

/* Bytes of a stored row, rounded up: rows of a tile are encoded one behind the other. */
static size_t largest_row(const opt_awq_group *g) {
    size_t most = 0;
    for (int i = 0; i < g->n_readers; i++) {
        size_t bytes;
        if (g->readers[i].format != NULL &&
            opt_format_row_bytes(g->readers[i].format, g->n_columns, &bytes)) {
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

/* The reader and first row of a tile. */
static int locate(const opt_awq_group *g, int64_t tile, int64_t *row0) {
    int i = 0;
    for (; i < g->n_readers - 1; i++) {
        const int64_t n =
            g->readers[i].format != NULL ? opt_ceil_div(g->readers[i].n_rows, TILE_ROWS) : 0;
        if (tile < n) {
            break;
        }
        tile -= n;
    }
    *row0 = tile * TILE_ROWS;
    return i;
}

static opt_status search_tile(void *user, int64_t tile, int worker) {
    search_job *j = user;
    const opt_awq_group *g = j->g;
    const int64_t n = g->n_columns, candidate = tile / j->tiles_each;
    int64_t row0;
    const int r = locate(g, tile % j->tiles_each, &row0);
    const opt_format *f = g->readers[r].format;
    if (f == NULL) { /* the last reader of a group stays plain */
        j->errors[tile] = 0.0;
        return OPT_OK;
    }
    const int64_t n_rows = opt_min_i64(TILE_ROWS, g->readers[r].n_rows - row0);
    const float *w = g->readers[r].w + row0 * n, *s = j->columns + candidate * n;
    float *scaled = (float *)(void *)(j->scratch + (size_t)worker * j->scratch_each);
    float *back = scaled + TILE_ROWS * n;
    uint8_t *rows = (uint8_t *)(back + TILE_ROWS * n);
    size_t row_bytes = 0;
    (void)opt_format_row_bytes(f, n, &row_bytes);
    for (int64_t i = 0; i < n_rows; i++) {
        for (int64_t c = 0; c < n; c++) {
            scaled[i * n + c] = w[i * n + c] * s[c];
        }
    }
    opt_format_encode_rows(f, j->kern, scaled, j->importance + candidate * n, rows, n_rows, n);
    for (int64_t i = 0; i < n_rows; i++) {
        f->decode(f, j->kern, rows + (size_t)i * row_bytes, back + i * n, n);
        for (int64_t c = 0; c < n; c++) {
            back[i * n + c] = w[i * n + c] - back[i * n + c] / s[c];
        }
    }
    j->errors[tile] = opt_hessian_energy(g->h, j->kern, back, n_rows, scaled, NULL);
    return OPT_OK;
}

static size_t scratch_of(const opt_awq_group *g) {
    const size_t bytes = TILE_ROWS * (2 * (size_t)g->n_columns * sizeof(float) + largest_row(g));
    return (bytes + 63) & ~(size_t)63;
}

/* Errors of n_scales candidates s [n_scales, n_channels]. */
static opt_status run(opt_ctx *ctx, const opt_kern *k, const opt_awq_group *g, int n_scales,
                      const double *s, double *errors) {
    opt_status st = OPT_OK;
    const int64_t n = g->n_columns;
    float *columns = NULL, *importance = NULL;
    search_job j = {.ctx = ctx, .kern = k, .g = g, .n_scales = n_scales};
    for (int i = 0; i < g->n_readers; i++) {
        j.tiles_each +=
            g->readers[i].format != NULL ? opt_ceil_div(g->readers[i].n_rows, TILE_ROWS) : 0;
    }
    memset(errors, 0, (size_t)n_scales * sizeof *errors);
    if (j.tiles_each == 0) {
        return OPT_OK;
    }
    j.scratch_each = scratch_of(g);
    OPT_TRY_PTR(columns = opt_alloc_array(ctx, (size_t)(n_scales * n), sizeof *columns));
    OPT_TRY_PTR(importance = opt_alloc_array(ctx, (size_t)(n_scales * n), sizeof *importance));
    OPT_TRY_PTR(j.errors = opt_alloc_array(ctx, (size_t)(n_scales * j.tiles_each), sizeof(double)));
    OPT_TRY_PTR(j.scratch = opt_alloc_array(ctx, (size_t)opt_ctx_n_threads(ctx), j.scratch_each));
    for (int64_t i = 0; i < n_scales * n; i++) {
        const double x = s[i / n * g->n_channels + g->channel[i % n]];
        columns[i] = (float)x;
        importance[i] = (float)((double)g->h->diag[i % n] / (x * x));
    }
    j.columns = columns;
    j.importance = importance;
    OPT_TRY(opt_parallel_for(ctx, n_scales * j.tiles_each, search_tile, &j));
    for (int i = 0; i < n_scales; i++) {
        for (int64_t t = 0; t < j.tiles_each; t++) {
            errors[i] += j.errors[i * j.tiles_each + t];
        }
    }
done:
    opt_free(ctx, columns);
    opt_free(ctx, importance);
    opt_free(ctx, j.errors);
    opt_free(ctx, j.scratch);
    return st;
}

opt_status opt_awq_error(opt_ctx *ctx, const opt_kern *k, const opt_awq_group *g, const double *s,
                         double *error) {
    return run(ctx, k, g, 1, s, error);
}

opt_status opt_awq_search(opt_ctx *ctx, const opt_kern *k, const opt_awq_group *g,
                          const double *size, const double *weight, int n_grid, double *s,
                          opt_awq_result *out) {
    opt_status st = OPT_OK;
    const int64_t n = g->n_channels;
    const int n_scales = n_grid + 1; /* the first leaves everything as it is */
    double *scales = NULL, *errors = NULL;
    int best = 0;
    OPT_TRY_PTR(scales = opt_alloc_array(ctx, (size_t)(n_scales * n), sizeof *scales));
    OPT_TRY_PTR(errors = opt_alloc_array(ctx, (size_t)n_scales, sizeof *errors));
    for (int64_t c = 0; c < n; c++) {
        scales[c] = 1.0;
    }
    for (int i = 0; i < n_grid; i++) {
        opt_awq_scales(size, weight, n, (double)i / n_grid, scales + (i + 1) * n);
    }
    OPT_TRY(run(ctx, k, g, n_scales, scales, errors));
    for (int i = 1; i < n_scales; i++) {
        best = errors[i] < errors[best] ? i : best;
    }
    memcpy(s, scales + best * n, (size_t)n * sizeof *s);
    *out = (opt_awq_result){best > 0 ? (double)(best - 1) / n_grid : 0.0, errors[0], errors[best]};
done:
    opt_free(ctx, scales);
    opt_free(ctx, errors);
    return st;
}

uint64_t opt_awq_bytes(int64_t n_columns, int n_grid, int n_threads) {
    const uint64_t n = (uint64_t)n_columns;
    return (uint64_t)n_threads * TILE_ROWS * 3 * n * sizeof(float) +
           (uint64_t)(n_grid + 1) * n * (2 * sizeof(float) + sizeof(double)) +
           n * n * sizeof(float);
}
