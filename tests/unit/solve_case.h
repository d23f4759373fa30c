/** Made-up layers for the tests of calibration and solvers. */
#ifndef OPT_UNIT_SOLVE_CASE_H
#define OPT_UNIT_SOLVE_CASE_H

#include <math.h>

#include "support.h"

#include "base/rng.h"
#include "calib/gram.h"
#include "solve/hessian.h"
#include "solve/rows.h"

enum { CASE_COLS = 192, CASE_WIDE = 256, CASE_ROWS = 5, CASE_TOKENS = 300, CASE_FACTORS = 10 };

/** Weights, and inputs that are correlated and of very different strength. */
typedef struct solve_case {
    int64_t n;                        /* columns */
    float w[CASE_ROWS * CASE_WIDE];   /* [CASE_ROWS, n] */
    float x[CASE_TOKENS * CASE_WIDE]; /* [CASE_TOKENS, n] */
} solve_case;

static inline solve_case *case_sized(uint64_t seed, int n) {
    static float mix[CASE_FACTORS * CASE_WIDE];
    solve_case *c = malloc(sizeof *c);
    assert_non_null(c);
    c->n = n;
    const uint64_t kw = opt_rng_key(seed, "w", "test"), kx = opt_rng_key(seed, "x", "test"),
                   km = opt_rng_key(seed, "mix", "test");
    for (uint64_t i = 0; i < (uint64_t)(CASE_ROWS * n); i++) {
        c->w[i] = (float)(0.05 * opt_rng_normal(kw, i));
    }
    for (uint64_t i = 0; i < (uint64_t)(CASE_FACTORS * n); i++) {
        const double strength = exp(0.7 * opt_rng_normal(km, 100000 + i % (uint64_t)n));
        mix[i] = (float)(opt_rng_normal(km, i) * strength);
    }
    for (int t = 0; t < CASE_TOKENS; t++) {
        for (int i = 0; i < n; i++) {
            double sum = 0.5 * opt_rng_normal(kx, (uint64_t)(t * n + i));
            for (int f = 0; f < CASE_FACTORS; f++) {
                sum += opt_rng_normal(kx, (uint64_t)(1000000 + t * CASE_FACTORS + f)) *
                       (double)mix[f * n + i];
            }
            c->x[t * n + i] = (float)sum;
        }
    }
    return c;
}

static inline solve_case *case_new(uint64_t seed) { return case_sized(seed, CASE_COLS); }

/** The Hessian of x [n_tokens, n], added up in calls of at most `chunk` rows. */
static inline opt_status case_hessian(opt_ctx *ctx, const float *x, int64_t n_tokens, int64_t n,
                                      int64_t chunk, opt_hessian **out) {
    opt_gram g = {0};
    opt_gram_scratch s;
    const opt_kern *k = opt_kern_get(ctx);
    assert_int_equal(opt_gram_new(ctx, n, &g), OPT_OK);
    assert_int_equal(opt_gram_scratch_new(ctx, n, chunk, &s), OPT_OK);
    for (int64_t t = 0; t < n_tokens; t += chunk) {
        const int64_t some = n_tokens - t < chunk ? n_tokens - t : chunk;
        assert_int_equal(opt_gram_add(ctx, k, &g, x + t * n, some, &s), OPT_OK);
    }
    assert_int_equal(g.n_tokens, n_tokens);
    const opt_status st = opt_hessian_new(ctx, "case", g.sum, n, g.n_tokens, true, out);
    opt_gram_scratch_free(ctx, &s);
    opt_gram_free(ctx, &g);
    return st;
}

/** d H d^T of a row in double. */
static inline double case_energy(const opt_hessian *h, const double *d) {
    double sum = 0.0;
    for (int64_t i = 0; i < h->n; i++) {
        for (int64_t j = 0; j < h->n; j++) {
            sum += d[i] * (double)h->h[i * h->n + j] * d[j];
        }
    }
    return sum;
}

#endif
