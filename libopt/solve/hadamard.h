/**
 * Random orthogonal rotations that cost n log n: signs, then a Hadamard matrix of order 2^k m with
 * m from Paley's constructions (Paley 1933), over sqrt(n).
 */
#ifndef OPT_SOLVE_HADAMARD_H
#define OPT_SOLVE_HADAMARD_H

#include "base/ctx.h"

typedef struct opt_rotation opt_rotation;

/** Whether there is a Hadamard matrix of this order here: 1, 2, or 2^k times an order of Paley's.
 */
bool opt_hadamard_exists(int64_t n);
/** Largest power of two that divides n: the block of a rotation that always exists. */
int64_t opt_hadamard_block(int64_t n);

/**
 * The rotation Q [n, n], orthogonal: diagonal blocks of `block` columns (a divisor of n; n for one
 * block), each diag(signs) times a Hadamard matrix over sqrt(block); the signs are random, from
 * `key`. Errors: MEMORY; BUG if there is no such matrix.
 */
OPT_MUST_USE opt_status opt_rotation_new(opt_ctx *ctx, int64_t n, int64_t block, uint64_t key,
                                         opt_rotation **out);
void opt_rotation_free(opt_rotation *q);
int64_t opt_rotation_n(const opt_rotation *q);

/** x <- x Q for n_rows rows x [n_rows, n] in parallel tiles; sums in double. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_rotation_rows(opt_ctx *ctx, const opt_rotation *q, float *x,
                                          int64_t n_rows);
/** w <- Q^T w for the columns of w [n, n_cols]: what makes columns of x makes those of x Q. */
OPT_MUST_USE opt_status opt_rotation_columns(opt_ctx *ctx, const opt_rotation *q, float *w,
                                             int64_t n_cols);

#endif
