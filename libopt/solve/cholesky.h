/** Cholesky factorisation in double precision, cut into fixed tiles. */
#ifndef OPT_SOLVE_CHOLESKY_H
#define OPT_SOLVE_CHOLESKY_H

#include <stdbool.h>

#include "base/ctx.h"

/**
 * Factors the symmetric matrix a [n, n] in place: a = l l^T, l in the lower triangle; only the
 * lower triangle counts, what is above it is used as scratch. *positive says whether a was
 * positive definite in double precision; if not, a is left half factored. n^3 / 3 operations;
 * right-looking over panels of 64 columns, bands of 64 rows in parallel, so the bytes do not depend
 * on the number of threads. Errors: those of cancellation.
 */
OPT_MUST_USE opt_status opt_cholesky(opt_ctx *ctx, double *a, int64_t n, bool *positive);
/**
 * Solves l l^T x = b for columns b [n, n_cols] in place, l [n, n] as opt_cholesky leaves it: only
 * its lower triangle is read. 64 columns at a time in parallel; every column is computed as alone.
 * Errors: those of cancellation.
 */
OPT_MUST_USE opt_status opt_cholesky_solve(opt_ctx *ctx, const double *l, int64_t n, double *b,
                                           int64_t n_cols);

#endif
