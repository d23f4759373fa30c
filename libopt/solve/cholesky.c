#include "solve/cholesky.h"

#include <math.h>

#include "base/num.h"
#include "base/pool.h"

enum { PANEL = 64 };

/* One step: the panel of columns k .. k + width - 1. */
typedef struct step {
    double *a; /* [n, n] */
    int64_t n, k, width;
} step;

/* Factors the diagonal block of the panel; false unless it is positive definite. */
static bool factor_diagonal(const step *s) {
    const int64_t n = s->n, k = s->k;
    for (int64_t j = k; j < k + s->width; j++) {
        double *row = s->a + j * n;
        for (int64_t i = k; i < j; i++) {
            const double *other = s->a + i * n;
            double sum = row[i];
            for (int64_t c = k; c < i; c++) {
                sum -= row[c] * other[c];
            }
            row[i] = sum / other[i];
        }
        double d = row[j];
        for (int64_t c = k; c < j; c++) {
            d -= row[c] * row[c];
        }
        if (!(d > 0.0) || !isfinite(d)) {
            return false;
        }
        row[j] = sqrt(d);
    }
    return true;
}

/* Rows of the panel below the diagonal block: x l^T = a, one row after the other. The result also
 * goes above the diagonal, transposed, where the update of the rest reads it with unit stride. */
static opt_status solve_tile(void *user, int64_t tile, int worker) {
    const step *s = user;
    const int64_t n = s->n, k = s->k;
    const int64_t first = k + s->width + tile * PANEL;
    const int64_t end = opt_min_i64(n, first + PANEL);
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        double *row = s->a + r * n;
        for (int64_t j = k; j < k + s->width; j++) {
            const double *l = s->a + j * n;
            double sum = row[j];
            for (int64_t c = k; c < j; c++) {
                sum -= row[c] * l[c];
            }
            row[j] = sum / l[j];
            s->a[j * n + r] = row[j];
        }
    }
    return OPT_OK;
}

/* a[i][j] -= sum_c l[i][c] l[j][c] over a tile of the lower triangle behind the panel. */
static opt_status update_tile(void *user, int64_t tile, int worker) {
    const step *s = user;
    const int64_t n = s->n, k = s->k, base = k + s->width;
    (void)worker;
    int64_t ti = 0; /* tiles are numbered row by row through the lower triangle */
    while ((ti + 1) * (ti + 2) / 2 <= tile) {
        ti++;
    }
    const int64_t tj = tile - ti * (ti + 1) / 2;
    const int64_t i1 = opt_min_i64(n, base + (ti + 1) * PANEL);
    const int64_t j0 = base + tj * PANEL;
    for (int64_t i = base + ti * PANEL; i < i1; i++) {
        const int64_t j1 = opt_min_i64(i + 1, j0 + PANEL);
        double *out = s->a + i * n;
        const double *l = s->a + i * n + k;
        int64_t c = 0;
        for (; c + 4 <= s->width; c += 4) {
            const double *t0 = s->a + (k + c) * n, *t1 = t0 + n, *t2 = t1 + n, *t3 = t2 + n;
            const double l0 = l[c], l1 = l[c + 1], l2 = l[c + 2], l3 = l[c + 3];
            for (int64_t j = j0; j < j1; j++) {
                out[j] -= (l0 * t0[j] + l1 * t1[j]) + (l2 * t2[j] + l3 * t3[j]);
            }
        }
        for (; c < s->width; c++) {
            const double *t = s->a + (k + c) * n;
            for (int64_t j = j0; j < j1; j++) {
                out[j] -= l[c] * t[j];
            }
        }
    }
    return OPT_OK;
}

opt_status opt_cholesky(opt_ctx *ctx, double *a, int64_t n, bool *positive) {
    opt_status st = OPT_OK;
    *positive = false;
    for (int64_t k = 0; k < n; k += PANEL) {
        step s = {.a = a, .n = n, .k = k, .width = opt_min_i64(PANEL, n - k)};
        if (!factor_diagonal(&s)) {
            return OPT_OK;
        }
        const int64_t tiles = opt_ceil_div(n - k - s.width, PANEL);
        OPT_TRY(opt_parallel_for(ctx, tiles, solve_tile, &s));
        OPT_TRY(opt_parallel_for(ctx, tiles * (tiles + 1) / 2, update_tile, &s));
    }
    *positive = true;
done:
    return st;
}
