#include "solve/hadamard.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "base/rng.h"

enum { TILE_ROWS = 32, MAX_PALEY = 4096 };

struct opt_rotation {
    opt_ctx *ctx;
    int64_t n, block;
    int64_t m, pow2; /* block = pow2 * m */
    int8_t *paley;   /* [m, m] of +-1 */
    float *signs;    /* [n] of +-1 */
};

static bool is_prime(int64_t p) {
    for (int64_t d = 2; d * d <= p; d++) {
        if (p % d == 0) {
            return false;
        }
    }
    return p >= 2;
}

/* Whether Paley's first (q + 1, q = 3 mod 4) or second (2 (q + 1), q = 1 mod 4) construction over a
 * prime field gives this order; *q is the prime. Order 1 and 2 need none. */
static bool paley_order(int64_t m, int64_t *q, bool *second) {
    *q = 0;
    *second = false;
    if (m == 1 || m == 2) {
        return true;
    }
    if (m % 4 != 0 || m > MAX_PALEY) {
        return false;
    }
    if (is_prime(m - 1)) { /* m - 1 = 3 mod 4 */
        *q = m - 1;
        return true;
    }
    if ((m / 2 - 1) % 4 == 1 && is_prime(m / 2 - 1)) {
        *q = m / 2 - 1;
        *second = true;
        return true;
    }
    return false;
}

/* Splits n into 2^k m with the smallest m that Paley gives; false if there is none. */
static bool split(int64_t n, int64_t *pow2, int64_t *m) {
    int64_t p = 1;
    for (int64_t i = n; n > 0 && i % 2 == 0; i /= 2) {
        p *= 2;
    }
    for (; p >= 1 && n > 0; p /= 2) {
        int64_t q;
        bool second;
        if (paley_order(n / p, &q, &second)) {
            *pow2 = p;
            *m = n / p;
            return true;
        }
    }
    return false;
}

bool opt_hadamard_exists(int64_t n) {
    int64_t pow2, m;
    return split(n, &pow2, &m);
}

int64_t opt_hadamard_block(int64_t n) {
    int64_t p = 1;
    while (n > 0 && n % (2 * p) == 0) {
        p *= 2;
    }
    return p;
}

/* 1 for squares of the field of q elements, -1 for others, 0 for 0. */
static void residues(int64_t q, int8_t *chi) {
    memset(chi, -1, (size_t)q);
    chi[0] = 0;
    for (int64_t i = 1; i < q; i++) {
        chi[i * i % q] = 1;
    }
}

/*
 * The border of both constructions: row 0 is (0, 1 ... 1), column 0 is (0, b ... b), the rest is
 * chi(i - j), with b = 1 where that is symmetric (q = 1 mod 4) and -1 where it is skew.
 */
static int8_t bordered(const int8_t *chi, int64_t q, int64_t i, int64_t j) {
    if (i == 0 || j == 0) {
        return (int8_t)(i == j ? 0 : (j == 0 && q % 4 == 3 ? -1 : 1));
    }
    return chi[((i - j) % q + q) % q];
}

/* h [m, m]: I + S for the first construction, S x [1 1; 1 -1] + I x [1 -1; -1 -1] for the second.
 */
static void fill_paley(int64_t m, int64_t q, bool second, const int8_t *chi, int8_t *h) {
    static const int8_t plus[2][2] = {{1, 1}, {1, -1}}, diagonal[2][2] = {{1, -1}, {-1, -1}};
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < m; j++) {
            if (q == 0) {
                h[i * m + j] = plus[i][j];
            } else if (!second) {
                h[i * m + j] = (int8_t)(i == j ? 1 : bordered(chi, q, i, j));
            } else {
                const int8_t s = bordered(chi, q, i / 2, j / 2);
                h[i * m + j] =
                    (int8_t)(i / 2 == j / 2 ? diagonal[i % 2][j % 2] : s * plus[i % 2][j % 2]);
            }
        }
    }
}

opt_status opt_rotation_new(opt_ctx *ctx, int64_t n, int64_t block, uint64_t key,
                            opt_rotation **out) {
    opt_status st = OPT_OK;
    int8_t *chi = NULL;
    int64_t q;
    bool second;
    opt_rotation *r = opt_alloc_zero(ctx, sizeof *r);
    OPT_TRY_PTR(r);
    r->ctx = ctx;
    r->n = n;
    r->block = block;
    OPT_REQUIRE(block > 0 && n % block == 0 && split(block, &r->pow2, &r->m), ctx, OPT_ERR_BUG,
                NULL, "no rotation of %lld columns in blocks of %lld", (long long)n,
                (long long)block);
    OPT_REQUIRE(paley_order(r->m, &q, &second), ctx, OPT_ERR_BUG, NULL, "no matrix of order %lld",
                (long long)r->m);
    OPT_TRY_PTR(chi = opt_alloc(ctx, (size_t)q + 1));
    residues(q, chi);
    OPT_TRY_PTR(r->paley = opt_alloc(ctx, (size_t)(r->m * r->m)));
    fill_paley(r->m, q, second, chi, r->paley);
    OPT_TRY_PTR(r->signs = opt_alloc_array(ctx, (size_t)n, sizeof *r->signs));
    for (int64_t i = 0; i < n; i++) {
        r->signs[i] = (opt_rng_u64(key, (uint64_t)i) >> 63) != 0 ? -1.0F : 1.0F;
    }
    *out = r;
    r = NULL;
done:
    opt_free(ctx, chi);
    opt_rotation_free(r);
    return st;
}

void opt_rotation_free(opt_rotation *q) {
    if (q != NULL) {
        opt_free(q->ctx, q->paley);
        opt_free(q->ctx, q->signs);
        opt_free(q->ctx, q);
    }
}

int64_t opt_rotation_n(const opt_rotation *q) { return q->n; }

/* One block: x [pow2, m] by the Kronecker product of the Walsh-Hadamard matrix and Paley's. */
static void rotate_block(const opt_rotation *q, double *x, double *t) {
    const int64_t m = q->m;
    for (int64_t half = 1; half < q->pow2; half *= 2) {
        for (int64_t i = 0; i < q->block; i += 2 * half * m) {
            for (int64_t j = i; j < i + half * m; j++) {
                const double a = x[j], b = x[j + half * m];
                x[j] = a + b;
                x[j + half * m] = a - b;
            }
        }
    }
    const double scale = 1.0 / sqrt((double)q->block);
    for (int64_t i = 0; i < q->pow2; i++) {
        memset(t, 0, (size_t)m * sizeof *t);
        for (int64_t b = 0; b < m; b++) {
            for (int64_t c = 0; c < m; c++) {
                t[c] += x[i * m + b] * (double)q->paley[b * m + c];
            }
        }
        for (int64_t c = 0; c < m; c++) {
            x[i * m + c] = t[c] * scale;
        }
    }
}

/* x [n] in double, t [m] scratch. */
static void rotate_row(const opt_rotation *q, double *x, double *t) {
    for (int64_t i = 0; i < q->n; i++) {
        x[i] *= (double)q->signs[i];
    }
    for (int64_t i = 0; i < q->n; i += q->block) {
        rotate_block(q, x + i, t);
    }
}

typedef struct rotate_job {
    const opt_rotation *q;
    float *x;
    int64_t n_rows;              /* that are rotated, columns of x if `columns` */
    int64_t row_step, elem_step; /* from row to row, from element to element */
    double *scratch;             /* [n_threads, n + m] */
} rotate_job;

static opt_status rotate_tile(void *user, int64_t tile, int worker) {
    const rotate_job *j = user;
    const int64_t n = j->q->n;
    double *x = j->scratch + (int64_t)worker * (n + j->q->m);
    const int64_t end = opt_min_i64(j->n_rows, (tile + 1) * TILE_ROWS);
    for (int64_t r = tile * TILE_ROWS; r < end; r++) {
        float *row = j->x + r * j->row_step;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (double)row[i * j->elem_step];
        }
        rotate_row(j->q, x, x + n);
        for (int64_t i = 0; i < n; i++) {
            row[i * j->elem_step] = (float)x[i];
        }
    }
    return OPT_OK;
}

static opt_status rotate(opt_ctx *ctx, rotate_job *job) {
    opt_status st = OPT_OK;
    const int64_t n_threads = opt_ctx_n_threads(ctx);
    const size_t n = (size_t)(n_threads * (job->q->n + job->q->m));
    OPT_TRY_PTR(job->scratch = opt_alloc_array(ctx, n, sizeof *job->scratch));
    OPT_TRY(opt_parallel_for(ctx, opt_ceil_div(job->n_rows, TILE_ROWS), rotate_tile, job));
done:
    opt_free(ctx, job->scratch);
    return st;
}

opt_status opt_rotation_rows(opt_ctx *ctx, const opt_rotation *q, float *x, int64_t n_rows) {
    rotate_job job = {.q = q, .x = x, .n_rows = n_rows, .row_step = q->n, .elem_step = 1};
    return rotate(ctx, &job);
}

opt_status opt_rotation_columns(opt_ctx *ctx, const opt_rotation *q, float *w, int64_t n_cols) {
    rotate_job job = {.q = q, .x = w, .n_rows = n_cols, .row_step = 1, .elem_step = n_cols};
    return rotate(ctx, &job);
}
