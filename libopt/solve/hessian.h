/**
 * What a solver knows about the inputs of a linear layer: the Gram matrix H = mean of x x^T over
 * the calibration tokens, and a factor of it. Changing a row of weights by d changes the row's
 * outputs by a mean square of d H d^T: the objective of every solver.
 */
#ifndef OPT_SOLVE_HESSIAN_H
#define OPT_SOLVE_HESSIAN_H

#include "base/ctx.h"
#include "kern/kern.h"

/** Owned by the caller: opt_hessian_free. All members are read-only for solvers. */
typedef struct opt_hessian {
    opt_ctx *ctx;
    int64_t n;
    int64_t n_tokens;
    float *h;    /* [n, n] symmetric, undamped */
    float *diag; /* [n] of h: the importance of a column; 0 for dead ones */
    /**
     * [n, n], or NULL if it was not asked for. Row j of the lower triangle belongs to step j of the
     * column loop, which rounds column order[j]: with errors d_i of the steps i < j already fixed,
     * the weight to round is w + sum_i factor[j, i] d_i (see solve/rows.h). The upper triangle is
     * the lower one transposed, the diagonal is zero.
     */
    float *factor;
    /**
     * [n, n], or NULL. The inputs x that the layer gets differ from those x' of the float model.
     * The weights that, on x, come nearest to what the float weights w give on x' are w + w shift.
     */
    float *shift;
    int32_t *order; /* [n] columns by decreasing diagonal, equal ones by index */
    int64_t n_dead; /* columns whose input was always zero */
    double damping; /* what was added to the diagonal to factor it, over the diagonal's mean */
    int n_tries;    /* 1: the first damping sufficed */
    /** Of the damped matrix: the largest pivot of its factor over the smallest, squared. The
     * condition number is at least this. NaN without a factor. */
    double condition;
} opt_hessian;

/** Smallest damping that is tried, as a fraction of the mean diagonal; it doubles up to the last.
 */
#define OPT_DAMPING_FIRST 0.01
#define OPT_DAMPING_TRIES 8

/**
 * From the sum of x x^T over n_tokens tokens: gram [n, n], lower triangle. `name` is the tensor or
 * node for messages. Dead columns (zero diagonal) stand for themselves: they are rounded to
 * nearest and take part in nothing else. Errors: MEMORY; NUMERIC if the matrix holds NaN or
 * infinity, or cannot be factored with the largest damping.
 */
OPT_MUST_USE opt_status opt_hessian_new(opt_ctx *ctx, const char *name, const double *gram,
                                        int64_t n, int64_t n_tokens, bool with_factor,
                                        opt_hessian **out);
/**
 * Adds the shift to a Hessian that was made with its factor: cross [n, n] is the sum of (x' - x)
 * x^T over the same tokens. The damping is that of the factor. With D = x' - x, the error of the
 * outputs, mean |w x' - v x|^2, is (w - v) H (w - v)^T + 2 (w C) (w - v)^T + what does not depend
 * on v, for C = mean D x^T; it is least for v = w + w C H^-1. This is the objective of GPTAQ (Li et
 * al. 2025, arXiv 2504.02692, eq. 4), which there is worked off column by column. Errors: MEMORY;
 * NUMERIC where the sum holds NaN or infinity.
 */
OPT_MUST_USE opt_status opt_hessian_add_shift(const char *name, const double *cross,
                                              opt_hessian *h);
/** Bytes of that: kept, and needed beside them while it runs. */
void opt_hessian_shift_bytes(int64_t n, uint64_t *kept, uint64_t *scratch);

/** NULL is allowed. */
void opt_hessian_free(opt_hessian *h);
/** Sum of d H d^T over rows d [n_rows, n], and that of each row to e [n_rows] unless NULL; g
 * [n_rows, n] is scratch. */
double opt_hessian_energy(const opt_hessian *h, const opt_kern *k, const float *d, int64_t n_rows,
                          float *g, double *e);
/** Bytes of opt_hessian_new: kept, and needed beside them while it runs. */
void opt_hessian_bytes(int64_t n, bool with_factor, uint64_t *kept, uint64_t *scratch);

#endif
