/** Gram matrices of activations: the second moments that calibrated methods work with. */
#ifndef OPT_CALIB_GRAM_H
#define OPT_CALIB_GRAM_H

#include "base/mem.h"
#include "kern/kern.h"

#define OPT_GRAM_TILE 48 /* a multiple of the columns that products compute together */

/** Sums over the tokens seen. Zero-initialised: nothing. */
typedef struct opt_gram {
    int64_t n;
    int64_t n_tokens;
    double *total; /* [n] of x */
    float *peak;   /* [n] largest |x| */
    double *sum;   /* [n, n], lower triangle by tiles of 48; what lies above it is not defined */
} opt_gram;

/** Work space for rows of up to max_n columns, max_tokens at a time. */
typedef struct opt_gram_scratch {
    int64_t max_n, max_tokens;
    bool block16;  /* set by the caller: products of 16-bit block integers, see opt_gram_add */
    float *panels; /* [max_n padded to 48, max_tokens padded to 64]: 48 columns after the other */
    float *tiles;  /* [n_threads, 48 * 48] */
} opt_gram_scratch;

OPT_MUST_USE opt_status opt_gram_scratch_new(opt_ctx *ctx, int64_t max_n, int64_t max_tokens,
                                             opt_gram_scratch *out);
void opt_gram_scratch_free(opt_ctx *ctx, opt_gram_scratch *s);

OPT_MUST_USE opt_status opt_gram_new(opt_ctx *ctx, int64_t n, opt_gram *out);
void opt_gram_free(opt_ctx *ctx, opt_gram *g);

/**
 * Adds x [n_tokens, g->n], at most max_tokens rows. Products are summed in f32 over the rows of one
 * call and in f64 from call to call; tiles and order are fixed, so the result depends on how the
 * tokens are cut into calls but not on the number of threads.
 *
 * With s->block16 the columns become 16-bit integers in groups of 64 tokens (kern.h, opt_i16):
 * twice as fast, the same on every instruction set; an element (i, j) is within 1e-4 of sqrt(g_ii
 * g_jj) over some thousand tokens.
 */
OPT_MUST_USE opt_status opt_gram_add(opt_ctx *ctx, const opt_kern *k, opt_gram *g, const float *x,
                                     int64_t n_tokens, opt_gram_scratch *s);

/** Bytes of a matrix of n columns, and of the scratch. */
uint64_t opt_gram_bytes(int64_t n);
/**
 * sum [n, n] += dx^T x over the tokens that opt_gram_add has just been given as x [n_tokens, n]
 * with scratch s, which still holds them; dx [n_tokens, n]. `own` is scratch of the same size for
 * dx. Errors: as of opt_gram_add.
 */
OPT_MUST_USE opt_status opt_gram_add_cross(opt_ctx *ctx, const opt_kern *k, double *sum, int64_t n,
                                           const float *dx, int64_t n_tokens,
                                           const opt_gram_scratch *s, opt_gram_scratch *own);
uint64_t opt_gram_scratch_bytes(int64_t max_n, int64_t max_tokens, int n_threads);

#endif
