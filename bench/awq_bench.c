/*
 * The search of AWQ through the Gram matrix against running the layer again for every candidate:
 * the same candidates, the same rounding, the same tokens. Prints times, their ratio and the error
 * of the outputs that either finds.
 *
 *   awq_bench [columns [rows [tokens [format]]]]        (576 3072 8192 int4_g64)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "base/rng.h"
#include "calib/gram.h"
#include "quant/awq.h"

enum { N_GRID = 20, WINDOW = 512, TILE_ROWS = 64 };

typedef struct bench {
    opt_ctx *ctx;
    const opt_kern *kern;
    const opt_format *format;
    int64_t n, n_rows, n_tokens;
    float *x, *w; /* [n_tokens, n], [n_rows, n] */
    double *size; /* [n] */
    const float *importance;
    const double *s;
    float *d;       /* [n_rows, n]: error of the weights */
    double *errors; /* [n_windows] */
    float *outputs; /* [n_threads, WINDOW, n_rows] */
} bench;

/* Columns of very different size that depend on each other, as those behind a norm. */
static void fill(bench *b) {
    for (int64_t c = 0; c < b->n; c++) {
        b->size[c] = exp(0.8 * opt_rng_normal(3, (uint64_t)c));
    }
    for (int64_t t = 0; t < b->n_tokens; t++) {
        const double common = opt_rng_normal(4, (uint64_t)t);
        for (int64_t c = 0; c < b->n; c++) {
            const double z = opt_rng_normal(5, (uint64_t)(t * b->n + c));
            b->x[t * b->n + c] = (float)(b->size[c] * (z + 0.5 * common));
        }
    }
    for (int64_t i = 0; i < b->n_rows * b->n; i++) {
        b->w[i] = (float)(0.05 * opt_rng_normal(6, (uint64_t)i));
    }
}

static opt_status round_tile(void *user, int64_t tile, int worker) {
    const bench *b = user;
    const int64_t n = b->n, r0 = tile * TILE_ROWS, n_rows = opt_min_i64(TILE_ROWS, b->n_rows - r0);
    float *d = b->d + r0 * n;
    uint8_t stored[1 << 16];
    (void)worker;
    for (int64_t r = 0; r < n_rows; r++) {
        float *row = d + r * n;
        const float *w = b->w + (r0 + r) * n;
        for (int64_t c = 0; c < n; c++) {
            row[c] = w[c] * (float)b->s[c];
        }
        opt_format_encode_rows(b->format, b->kern, row, b->importance, stored, 1, n);
        b->format->decode(b->format, b->kern, stored, row, n);
        for (int64_t c = 0; c < n; c++) {
            row[c] = w[c] - row[c] / (float)b->s[c];
        }
    }
    return OPT_OK;
}

static opt_status run_window(void *user, int64_t window, int worker) {
    const bench *b = user;
    const int64_t t0 = window * WINDOW, n_tokens = opt_min_i64(WINDOW, b->n_tokens - t0);
    float *y = b->outputs + (int64_t)worker * WINDOW * b->n_rows;
    double sum = 0.0;
    b->kern->linear_f32(b->d, b->n, b->x + t0 * b->n, b->n, y, b->n_rows, b->n_rows, n_tokens,
                        b->n);
    for (int64_t i = 0; i < n_tokens * b->n_rows; i++) {
        sum += (double)y[i] * (double)y[i];
    }
    b->errors[window] = sum;
    return OPT_OK;
}

/* Error of the outputs over all tokens for scales s, by running the layer. */
static opt_status rerun(bench *b, const double *s, double *error) {
    opt_status st = OPT_OK;
    const int64_t windows = opt_ceil_div(b->n_tokens, WINDOW);
    b->s = s;
    OPT_TRY(opt_parallel_for(b->ctx, opt_ceil_div(b->n_rows, TILE_ROWS), round_tile, b));
    OPT_TRY(opt_parallel_for(b->ctx, windows, run_window, b));
    *error = 0.0;
    for (int64_t i = 0; i < windows; i++) {
        *error += b->errors[i] / (double)b->n_tokens;
    }
done:
    return st;
}

/* The search by running the layer: as opt_awq_search, importance included. */
static opt_status search_by_running(bench *b, const opt_hessian *h, const double *size,
                                    double *best, double *alpha) {
    opt_status st = OPT_OK;
    double *s = opt_alloc_array(b->ctx, (size_t)b->n, sizeof *s);
    float *importance = opt_alloc_array(b->ctx, (size_t)b->n, sizeof *importance);
    OPT_TRY_PTR(s);
    OPT_TRY_PTR(importance);
    *best = INFINITY;
    for (int i = -1; i < N_GRID; i++) {
        double error;
        if (i >= 0) {
            opt_awq_scales(size, NULL, b->n, (double)i / N_GRID, s);
        }
        for (int64_t c = 0; c < b->n; c++) {
            s[c] = i < 0 ? 1.0 : s[c];
            importance[c] = (float)((double)h->diag[c] / (s[c] * s[c]));
        }
        b->importance = importance;
        OPT_TRY(rerun(b, s, &error));
        if (error < *best) {
            *best = error;
            *alpha = i < 0 ? 0.0 : (double)i / N_GRID;
        }
    }
done:
    opt_free(b->ctx, s);
    opt_free(b->ctx, importance);
    return st;
}

static opt_status make_gram(bench *b, opt_hessian **h) {
    opt_status st = OPT_OK;
    opt_gram g = {0};
    opt_gram_scratch scratch = {0};
    OPT_TRY(opt_gram_new(b->ctx, b->n, &g));
    OPT_TRY(opt_gram_scratch_new(b->ctx, b->n, WINDOW, &scratch));
    for (int64_t t = 0; t < b->n_tokens; t += WINDOW) {
        OPT_TRY(opt_gram_add(b->ctx, b->kern, &g, b->x + t * b->n,
                             opt_min_i64(WINDOW, b->n_tokens - t), &scratch));
    }
    OPT_TRY(opt_hessian_new(b->ctx, "bench", g.sum, b->n, g.n_tokens, false, h));
done:
    opt_gram_scratch_free(b->ctx, &scratch);
    opt_gram_free(b->ctx, &g);
    return st;
}

static opt_status allocate(bench *b) {
    opt_status st = OPT_OK;
    const size_t n = (size_t)b->n, n_rows = (size_t)b->n_rows, n_tokens = (size_t)b->n_tokens;
    const size_t windows = n_tokens / WINDOW + 1, n_threads = (size_t)opt_ctx_n_threads(b->ctx);
    OPT_TRY_PTR(b->x = opt_alloc_array(b->ctx, n * n_tokens, sizeof *b->x));
    OPT_TRY_PTR(b->w = opt_alloc_array(b->ctx, n * n_rows, sizeof *b->w));
    OPT_TRY_PTR(b->d = opt_alloc_array(b->ctx, n * n_rows, sizeof *b->d));
    OPT_TRY_PTR(b->size = opt_alloc_array(b->ctx, n, sizeof *b->size));
    OPT_TRY_PTR(b->errors = opt_alloc_array(b->ctx, windows, sizeof *b->errors));
    OPT_TRY_PTR(b->outputs =
                    opt_alloc_array(b->ctx, n_threads * WINDOW * n_rows, sizeof *b->outputs));
    OPT_TRY_PTR(b->kern = opt_kern_get(b->ctx));
done:
    return st;
}

static opt_status run(bench *b) {
    opt_status st = OPT_OK;
    opt_hessian *h = NULL;
    int32_t *channel = NULL;
    double *s = NULL, best = 0, alpha = 0;
    opt_awq_result found = {0};
    OPT_TRY(allocate(b));
    OPT_TRY_PTR(channel = opt_alloc_array(b->ctx, (size_t)b->n, sizeof *channel));
    OPT_TRY_PTR(s = opt_alloc_array(b->ctx, (size_t)b->n, sizeof *s));
    fill(b);
    const double t0 = opt_seconds();
    OPT_TRY(make_gram(b, &h));
    const double t1 = opt_seconds();
    for (int64_t c = 0; c < b->n; c++) {
        channel[c] = (int32_t)c;
        b->size[c] = sqrt((double)h->diag[c]);
    }
    const opt_awq_group g = {.n_readers = 1,
                             .readers = {{b->w, b->n_rows, b->format}},
                             .n_columns = b->n,
                             .channel = channel,
                             .n_channels = b->n,
                             .h = h};
    OPT_TRY(opt_awq_search(b->ctx, b->kern, &g, b->size, NULL, N_GRID, s, &found));
    const double t2 = opt_seconds();
    OPT_TRY(search_by_running(b, h, b->size, &best, &alpha));
    const double t3 = opt_seconds();
    printf("%lld columns, %lld rows, %lld tokens, %s, %d candidates\n", (long long)b->n,
           (long long)b->n_rows, (long long)b->n_tokens, b->format->name, N_GRID + 1);
    printf("Gram matrix %.3f s, search %.3f s: alpha %.2f, error %.6g (unscaled %.6g)\n", t1 - t0,
           t2 - t1, found.alpha, found.after, found.before);
    printf("running the layer %.3f s: alpha %.2f, error %.6g\n", t3 - t2, alpha, best);
    printf("ratio %.1f (%.1f with the Gram matrix counted), errors differ by %+.4f %%\n",
           (t3 - t2) / (t2 - t1), (t3 - t2) / (t2 - t0), 100 * (found.after / best - 1));
done:
    opt_hessian_free(h);
    opt_free(b->ctx, channel);
    opt_free(b->ctx, s);
    opt_free(b->ctx, b->x);
    opt_free(b->ctx, b->w);
    opt_free(b->ctx, b->d);
    opt_free(b->ctx, b->size);
    opt_free(b->ctx, b->errors);
    opt_free(b->ctx, b->outputs);
    return st;
}

int main(int argc, char **argv) {
    const opt_ctx_options options = {0};
    bench b = {.n = argc > 1 ? atoll(argv[1]) : 576,
               .n_rows = argc > 2 ? atoll(argv[2]) : 3072,
               .n_tokens = argc > 3 ? atoll(argv[3]) : 8192,
               .format = opt_format_by_name(argc > 4 ? argv[4] : "int4_g64")};
    if (b.format == NULL || b.format->grid == NULL || !opt_format_fits(b.format, b.n) ||
        b.n_rows < 1 || b.n_tokens < 1 || opt_ctx_new(&options, &b.ctx) != OPT_OK) {
        fprintf(stderr, "usage: awq_bench [columns [rows [tokens [format]]]]\n");
        return 2;
    }
    const opt_status st = run(&b);
    if (st != OPT_OK) {
        fprintf(stderr, "%s\n", opt_ctx_error_message(b.ctx));
    }
    opt_ctx_free(b.ctx);
    return st == OPT_OK ? 0 : 1;
}
