#include "solve/cholesky.h"

#include <math.h>

#include "base/num.h"
#include "base/pool.h"
#include "kern/kern.h"

/* Columns of a panel, and of the panels whose update of the columns behind them waits until all of
 * them are factored: that update reads and writes most of the matrix. */
enum { PANEL = 64, OUTER = 256 };

/* One step: the panel of columns k .. k + width - 1. */
typedef struct step {
    const opt_kern *kern;
    double *a; /* [n, n] */
    int64_t n, k, width;
    int64_t end; /* update: of columns from behind the panel up to here */
} step;

/* Factors the diagonal block of the panel, transposed above the diagonal as in solve_tile; false
 * unless it is positive definite. */
static bool factor_diagonal(const step *s) {
    const int64_t n = s->n;
    double *x = s->a + s->k * n + s->k; /* [width, width], stride n */
    for (int64_t j = 0; j < s->width; j++) {
        for (int64_t r = 0; r < j; r++) {
            x[r * n + j] = x[j * n + r];
        }
    }
    for (int64_t j = 0; j < s->width; j++) {
        double *row = x + j * n;
        s->kern->gemm_sub_f64(x + j, 1, n, x + j, n, row + j, n, 1, s->width - j, j);
        const double d = row[j];
        if (!(d > 0.0) || !isfinite(d)) {
            return false;
        }
        row[j] = sqrt(d);
        for (int64_t r = j + 1; r < s->width; r++) {
            row[r] /= row[j];
            x[r * n + j] = row[r];
        }
    }
    return true;
}

/*
 * Rows of the panel below the diagonal block: x l^T = a. They are solved transposed, above the
 * diagonal, for all rows of a tile at once; the update of the rest reads them from there, too.
 */
static opt_status solve_tile(void *user, int64_t tile, int worker) {
    const step *s = user;
    const int64_t n = s->n, k = s->k;
    const int64_t first = k + s->width + tile * PANEL;
    const int64_t rows = opt_min_i64(PANEL, n - first);
    double *x = s->a + k * n + first; /* [width, rows], stride n */
    (void)worker;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < s->width; j++) {
            x[j * n + r] = s->a[(first + r) * n + k + j];
        }
    }
    for (int64_t j = 0; j < s->width; j++) {
        const double *l = s->a + (k + j) * n + k;
        s->kern->gemm_sub_f64(l, n, 1, x, n, x + j * n, n, 1, rows, j);
        for (int64_t r = 0; r < rows; r++) {
            x[j * n + r] /= l[j];
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < s->width; j++) {
            s->a[(first + r) * n + k + j] = x[j * n + r];
        }
    }
    return OPT_OK;
}

/* a[i][j] -= sum_c l[i][c] l[j][c] over a band of rows of the lower triangle behind the panel, long
 * bands first; it also touches what lies above the diagonal in its last columns, which is scratch
 * that later panels overwrite. */
static opt_status update_tile(void *user, int64_t tile, int worker) {
    const step *s = user;
    const int64_t n = s->n, k = s->k, base = k + s->width;
    const int64_t n_tiles = opt_ceil_div(n - base, PANEL);
    const int64_t i0 = base + (n_tiles - 1 - tile) * PANEL;
    const int64_t rows = opt_min_i64(PANEL, n - i0), end = opt_min_i64(s->end, i0 + rows);
    (void)worker;
    s->kern->gemm_sub_f64(s->a + i0 * n + k, n, 1, s->a + k * n + base, n, s->a + i0 * n + base, n,
                          rows, end - base, s->width);
    return OPT_OK;
}

static opt_status update(opt_ctx *ctx, step *s, int64_t end) {
    s->end = end;
    return opt_parallel_for(ctx, opt_ceil_div(s->n - s->k - s->width, PANEL), update_tile, s);
}

opt_status opt_cholesky(opt_ctx *ctx, double *a, int64_t n, bool *positive) {
    opt_status st = OPT_OK;
    const opt_kern *kern = opt_kern_get(ctx);
    *positive = false;
    OPT_TRY_PTR(kern);
    for (int64_t k0 = 0; k0 < n; k0 += OUTER) {
        const int64_t k1 = opt_min_i64(n, k0 + OUTER);
        for (int64_t k = k0; k < k1; k += PANEL) {
            step s = {.kern = kern, .a = a, .n = n, .k = k, .width = opt_min_i64(PANEL, k1 - k)};
            if (!factor_diagonal(&s)) {
                return OPT_OK;
            }
            const int64_t behind = k + s.width;
            OPT_TRY(opt_parallel_for(ctx, opt_ceil_div(n - behind, PANEL), solve_tile, &s));
            if (behind < k1) {
                OPT_TRY(update(ctx, &s, k1));
            }
        }
        step all = {.kern = kern, .a = a, .n = n, .k = k0, .width = k1 - k0};
        OPT_TRY(update(ctx, &all, n));
    }
    *positive = true;
done:
    return st;
}

typedef struct columns {
    const opt_kern *kern;
    const double *l; /* [n, n] */
    double *b;       /* [n, n_cols] */
    int64_t n, n_cols;
} columns;

/* Rows k .. k + rows - 1 of l y = b, or backwards of l^T y = b, within their diagonal block. */
static void solve_diagonal(const columns *s, int64_t k, int64_t rows, bool backwards, double *x,
                           int64_t width) {
    for (int64_t at = 0; at < rows; at++) {
        const int64_t j = backwards ? rows - 1 - at : at;
        double *xj = x + j * s->n_cols;
        const double pivot = s->l[(k + j) * s->n + k + j];
        for (int64_t c = 0; c < width; c++) {
            xj[c] /= pivot;
        }
        for (int64_t i = backwards ? 0 : j + 1; i < (backwards ? j : rows); i++) {
            const double f =
                backwards ? s->l[(k + j) * s->n + k + i] : s->l[(k + i) * s->n + k + j];
            double *xi = x + i * s->n_cols;
            for (int64_t c = 0; c < width; c++) {
                xi[c] -= f * xj[c];
            }
        }
    }
}

static opt_status solve_columns(void *user, int64_t tile, int worker) {
    const columns *s = user;
    const int64_t n = s->n, c0 = tile * PANEL, width = opt_min_i64(PANEL, s->n_cols - c0);
    double *x = s->b + c0;
    (void)worker;
    for (int64_t k = 0; k < n; k += PANEL) {
        const int64_t rows = opt_min_i64(PANEL, n - k);
        s->kern->gemm_sub_f64(s->l + k * n, n, 1, x, s->n_cols, x + k * s->n_cols, s->n_cols, rows,
                              width, k);
        solve_diagonal(s, k, rows, false, x + k * s->n_cols, width);
    }
    for (int64_t end = n; end > 0;) {
        const int64_t k = (end - 1) / PANEL * PANEL, rows = end - k;
        s->kern->gemm_sub_f64(s->l + end * n + k, 1, n, x + end * s->n_cols, s->n_cols,
                              x + k * s->n_cols, s->n_cols, rows, width, n - end);
        solve_diagonal(s, k, rows, true, x + k * s->n_cols, width);
        end = k;
    }
    return OPT_OK;
}

opt_status opt_cholesky_solve(opt_ctx *ctx, const double *l, int64_t n, double *b, int64_t n_cols) {
    opt_status st = OPT_OK;
    columns s = {.l = l, .b = b, .n = n, .n_cols = n_cols};
    OPT_TRY_PTR(s.kern = opt_kern_get(ctx));
    OPT_TRY(opt_parallel_for(ctx, opt_ceil_div(n_cols, PANEL), solve_columns, &s));
done:
    return st;
}
