#include "solve/hessian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "solve/cholesky.h"

enum { TILE_ROWS = 32, ENERGY_COLUMNS = 128 };

typedef struct fill_job {
    const opt_hessian *h;
    const double *gram; /* [n, n] */
    double scale;
    double *a; /* [n, n]: the damped matrix in reverse order of steps, then its factor */
    double damping;
} fill_job;

/* Rows of h from the lower triangle of the sum. */
static opt_status copy_tile(void *user, int64_t tile, int worker) {
    const fill_job *job = user;
    const int64_t n = job->h->n;
    const int64_t end = opt_min_i64(n, (tile + 1) * TILE_ROWS);
    (void)worker;
    for (int64_t i = tile * TILE_ROWS; i < end; i++) {
        for (int64_t j = 0; j < n; j++) {
            const double sum = i >= j ? job->gram[i * n + j] : job->gram[j * n + i];
            job->h->h[i * n + j] = (float)(sum * job->scale);
        }
    }
    return OPT_OK;
}

/* Row i of the matrix to factor: steps run backwards, so that the factor's columns lead from the
 * last step to the first. */
static opt_status damp_tile(void *user, int64_t tile, int worker) {
    const fill_job *job = user;
    const opt_hessian *h = job->h;
    const int64_t n = h->n;
    const int64_t end = opt_min_i64(n, (tile + 1) * TILE_ROWS);
    (void)worker;
    for (int64_t i = tile * TILE_ROWS; i < end; i++) {
        const float *row = h->h + (int64_t)h->order[n - 1 - i] * n;
        for (int64_t j = 0; j <= i; j++) {
            job->a[i * n + j] = (double)row[h->order[n - 1 - j]];
        }
        memset(job->a + i * n + i + 1, 0, (size_t)(n - i - 1) * sizeof *job->a);
        const double d = job->a[i * n + i];
        job->a[i * n + i] = d > 0.0 ? d + job->damping : 1.0;
    }
    return OPT_OK;
}

/*
 * With a = l l^T and errors d, the objective is sum_c (sum_{i >= c} l[i][c] d_i)^2. Columns are
 * rounded from the last to the first; the term of column c vanishes for d_c = -sum_{i > c}
 * l[i][c] / l[c][c] d_i, which is the step of GPTQ (Frantar et al. 2022, eq. 2 and 3: there the
 * inverse's factor; l is its inverse, and need not be inverted for this form).
 */
static opt_status factor_tile(void *user, int64_t tile, int worker) {
    const fill_job *job = user;
    const int64_t n = job->h->n;
    const int64_t end = opt_min_i64(n, (tile + 1) * TILE_ROWS);
    (void)worker;
    for (int64_t j = tile * TILE_ROWS; j < end; j++) {
        const int64_t c = n - 1 - j;
        const double pivot = job->a[c * n + c];
        float *row = job->h->factor + j * n;
        for (int64_t i = 0; i < j; i++) {
            row[i] = (float)(job->a[(n - 1 - i) * n + c] / pivot);
        }
        row[j] = 0.0F;
        for (int64_t i = j + 1; i < n; i++) { /* the element (i, j), as row i has it */
            const int64_t ci = n - 1 - i;
            row[i] = (float)(job->a[c * n + ci] / job->a[ci * n + ci]);
        }
    }
    return OPT_OK;
}

static opt_status check_finite(opt_ctx *ctx, const char *name, const opt_hessian *h) {
    for (int64_t i = 0; i < h->n; i++) {
        for (int64_t j = 0; j < h->n; j++) {
            if (!isfinite(h->h[i * h->n + j])) {
                return opt_fail(ctx, OPT_ERR_NUMERIC, name,
                                "the inputs seen in calibration are not finite (columns %lld and "
                                "%lld)",
                                (long long)j, (long long)i);
            }
        }
    }
    return OPT_OK;
}

typedef struct ranked {
    float diag;
    int32_t column;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->diag != y->diag) {
        return x->diag < y->diag ? 1 : -1;
    }
    return (x->column > y->column) - (x->column < y->column);
}

static opt_status rank_columns(opt_hessian *h) {
    ranked *r = opt_alloc_array(h->ctx, (size_t)h->n, sizeof *r);
    if (r == NULL) {
        return OPT_ERR_MEMORY;
    }
    for (int64_t i = 0; i < h->n; i++) {
        h->diag[i] = h->h[i * h->n + i];
        h->n_dead += !(h->diag[i] > 0.0F);
        r[i] = (ranked){h->diag[i], (int32_t)i};
    }
    qsort(r, (size_t)h->n, sizeof *r, compare_ranked);
    for (int64_t i = 0; i < h->n; i++) {
        h->order[i] = r[i].column;
    }
    opt_free(h->ctx, r);
    return OPT_OK;
}

/* From the pivots of the factor a; dead columns are no part of the problem. */
static double condition_of(const opt_hessian *h, const double *a) {
    double least = INFINITY, most = 0.0;
    for (int64_t i = 0; i < h->n; i++) {
        if (h->diag[h->order[h->n - 1 - i]] > 0.0F) {
            least = fmin(least, a[i * h->n + i]);
            most = fmax(most, a[i * h->n + i]);
        }
    }
    return most > 0.0 ? (most / least) * (most / least) : 1.0;
}

static opt_status factor(const char *name, opt_hessian *h) {
    opt_status st = OPT_OK;
    bool positive = false;
    double mean = 0.0;
    fill_job job = {.h = h, .damping = 0.0};
    const int64_t tiles = opt_ceil_div(h->n, TILE_ROWS);
    OPT_TRY_PTR(job.a = opt_alloc_array(h->ctx, (size_t)h->n * (size_t)h->n, sizeof *job.a));
    for (int64_t i = 0; i < h->n; i++) {
        mean += (double)h->diag[i] / (double)h->n;
    }
    double damping = OPT_DAMPING_FIRST;
    for (int i = 0; i < OPT_DAMPING_TRIES && !positive; i++) {
        job.damping = damping * mean;
        h->damping = damping;
        h->n_tries = i + 1;
        OPT_TRY(opt_parallel_for(h->ctx, tiles, damp_tile, &job));
        OPT_TRY(opt_cholesky(h->ctx, job.a, h->n, &positive));
        damping *= 2.0;
    }
    OPT_REQUIRE(positive, h->ctx, OPT_ERR_NUMERIC, name,
                "the Gram matrix of its inputs is not positive definite, even with %g of its mean "
                "diagonal added",
                h->damping);
    OPT_TRY(opt_parallel_for(h->ctx, tiles, factor_tile, &job));
    h->condition = condition_of(h, job.a);
done:
    opt_free(h->ctx, job.a);
    return st;
}

opt_status opt_hessian_new(opt_ctx *ctx, const char *name, const double *gram, int64_t n,
                           int64_t n_tokens, bool with_factor, opt_hessian **out) {
    opt_status st = OPT_OK;
    opt_hessian *h = opt_alloc_zero(ctx, sizeof *h);
    OPT_TRY_PTR(h);
    h->ctx = ctx;
    h->n = n;
    h->n_tokens = n_tokens;
    h->condition = NAN;
    OPT_REQUIRE(n > 0 && n <= INT32_MAX && n_tokens > 0, ctx, OPT_ERR_BUG, name,
                "a Gram matrix of %lld columns from %lld tokens", (long long)n,
                (long long)n_tokens);
    const size_t n2 = (size_t)n * (size_t)n; /* below 2^62 */
    OPT_TRY_PTR(h->h = opt_alloc_array(ctx, n2, sizeof *h->h));
    OPT_TRY_PTR(h->diag = opt_alloc_array(ctx, (size_t)n, sizeof *h->diag));
    OPT_TRY_PTR(h->order = opt_alloc_array(ctx, (size_t)n, sizeof *h->order));
    const fill_job job = {.h = h, .gram = gram, .scale = 1.0 / (double)n_tokens};
    OPT_TRY(opt_parallel_for(ctx, opt_ceil_div(n, TILE_ROWS), copy_tile, (void *)&job));
    OPT_TRY(check_finite(ctx, name, h));
    OPT_TRY(rank_columns(h));
    if (with_factor) {
        OPT_TRY_PTR(h->factor = opt_alloc_array(ctx, n2, sizeof *h->factor));
        OPT_TRY(factor(name, h));
    }
    *out = h;
    h = NULL;
done:
    opt_hessian_free(h);
    return st;
}

void opt_hessian_free(opt_hessian *h) {
    if (h != NULL) {
        opt_free(h->ctx, h->h);
        opt_free(h->ctx, h->diag);
        opt_free(h->ctx, h->factor);
        opt_free(h->ctx, h->shift);
        opt_free(h->ctx, h->order);
        opt_free(h->ctx, h);
    }
}

void opt_hessian_bytes(int64_t n, bool with_factor, uint64_t *kept, uint64_t *scratch) {
    const uint64_t n2 = (uint64_t)n * (uint64_t)n;
    *kept = n2 * sizeof(float) * (with_factor ? 2 : 1) + (uint64_t)n * 8 + sizeof(opt_hessian);
    *scratch = (with_factor ? n2 * sizeof(double) : 0) + (uint64_t)n * sizeof(ranked);
}

/* The factor of the damped matrix once more: opt_hessian_new does not keep it in this form. */
static opt_status factor_again(opt_hessian *h, double *a) {
    opt_status st = OPT_OK;
    double mean = 0.0;
    bool positive = false;
    for (int64_t i = 0; i < h->n; i++) {
        mean += (double)h->diag[i] / (double)h->n;
    }
    fill_job job = {.h = h, .a = a, .damping = h->damping * mean};
    OPT_TRY(opt_parallel_for(h->ctx, opt_ceil_div(h->n, TILE_ROWS), damp_tile, &job));
    OPT_TRY(opt_cholesky(h->ctx, a, h->n, &positive));
    st = positive ? OPT_OK : opt_fail(h->ctx, OPT_ERR_BUG, NULL, "a matrix is factored only once");
done:
    return st;
}

typedef struct shift_job {
    const opt_hessian *h;
    const double *cross;
    double *b; /* [n, n]: C^T, rows in the order of the factor */
} shift_job;

static opt_status cross_rows(void *user, int64_t tile, int worker) {
    const shift_job *job = user;
    const int64_t n = job->h->n, end = opt_min_i64(n, (tile + 1) * TILE_ROWS);
    (void)worker;
    for (int64_t i = tile * TILE_ROWS; i < end; i++) {
        const int64_t column = job->h->order[n - 1 - i];
        const double alive = job->h->diag[column] > 0.0F ? 1.0 / (double)job->h->n_tokens : 0.0;
        for (int64_t r = 0; r < n; r++) {
            job->b[i * n + r] = job->cross[r * n + column] * alive;
        }
    }
    return OPT_OK;
}

static opt_status shift_rows(void *user, int64_t tile, int worker) {
    const shift_job *job = user;
    const int64_t n = job->h->n, end = opt_min_i64(n, (tile + 1) * TILE_ROWS);
    (void)worker;
    for (int64_t r = tile * TILE_ROWS; r < end; r++) {
        for (int64_t i = 0; i < n; i++) {
            job->h->shift[r * n + job->h->order[n - 1 - i]] = (float)job->b[i * n + r];
        }
    }
    return OPT_OK;
}

opt_status opt_hessian_add_shift(const char *name, const double *cross, opt_hessian *h) {
    opt_status st = OPT_OK;
    const size_t n2 = (size_t)h->n * (size_t)h->n;
    const int64_t tiles = opt_ceil_div(h->n, TILE_ROWS);
    shift_job job = {.h = h, .cross = cross};
    double *a = NULL;
    for (size_t i = 0; i < n2; i++) {
        OPT_REQUIRE(isfinite(cross[i]), h->ctx, OPT_ERR_NUMERIC, name,
                    "the inputs seen in calibration are not finite");
    }
    OPT_TRY_PTR(a = opt_alloc_array(h->ctx, n2, sizeof *a));
    OPT_TRY_PTR(job.b = opt_alloc_array(h->ctx, n2, sizeof *job.b));
    OPT_TRY_PTR(h->shift = opt_alloc_array(h->ctx, n2, sizeof *h->shift));
    OPT_TRY(factor_again(h, a));
    OPT_TRY(opt_parallel_for(h->ctx, tiles, cross_rows, &job));
    OPT_TRY(opt_cholesky_solve(h->ctx, a, h->n, job.b, h->n));
    OPT_TRY(opt_parallel_for(h->ctx, tiles, shift_rows, &job));
done:
    opt_free(h->ctx, a);
    opt_free(h->ctx, job.b);
    return st;
}

void opt_hessian_shift_bytes(int64_t n, uint64_t *kept, uint64_t *scratch) {
    *kept = (uint64_t)n * (uint64_t)n * sizeof(float);
    *scratch = 2 * (uint64_t)n * (uint64_t)n * sizeof(double);
}

/*
 * Half of the products suffice, as H is symmetric: with d_b the columns of block b,
 * d H d^T = sum_b d_b . (2 d_<b H_<b,b + d_b H_bb).
 */
double opt_hessian_energy(const opt_hessian *h, const opt_kern *k, const float *d, int64_t n_rows,
                          float *g, double *e) {
    const int64_t n = h->n;
    double total = 0.0;
    memset(g, 0, (size_t)(n_rows * n) * sizeof *g);
    for (int64_t b = 0; b + ENERGY_COLUMNS < n; b += ENERGY_COLUMNS) {
        const int64_t next = b + ENERGY_COLUMNS;
        k->gemm_add_f32(d + b, n, 1, h->h + b * n + next, n, g + next, n, n_rows, n - next,
                        ENERGY_COLUMNS);
    }
    for (int64_t i = 0; i < n_rows * n; i++) {
        g[i] *= 2.0F; /* exact */
    }
    for (int64_t b = 0; b < n; b += ENERGY_COLUMNS) {
        const int64_t width = opt_min_i64(ENERGY_COLUMNS, n - b);
        k->gemm_add_f32(d + b, n, 1, h->h + b * n + b, n, g + b, n, n_rows, width, width);
    }
    for (int64_t row = 0; row < n_rows; row++) {
        double sum = 0.0;
        for (int64_t i = row * n; i < (row + 1) * n; i++) {
            sum += (double)d[i] * (double)g[i];
        }
        total += sum;
        if (e != NULL) {
            e[row] = sum;
        }
    }
    return total;
}
