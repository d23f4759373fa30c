/**
 * Choosing codes for some rows of a weight matrix: round to nearest, the column loop of GPTQ, and
 * an iterative refinement, all through the grid interface of a format. Rows do not depend on each
 * other, and what comes out depends on the row alone.
 *
 * With w [n_cols] the weights of a row, v what their codes decode to and d = w - v, the objective
 * is E = d H d^T.
 */
#ifndef OPT_SOLVE_ROWS_H
#define OPT_SOLVE_ROWS_H

#include "base/mem.h"
#include "solve/hessian.h"
#include "tensor/format.h"

/** Rows that are solved together. The pointers lead into the caller's scratch. */
typedef struct opt_rows {
    const opt_format *format;
    const opt_kern *kern;
    const opt_hessian *hessian;
    const float *w; /* [n_rows, n_cols] */
    int64_t n_rows, n_cols;
    int64_t n_blocks;     /* of a row */
    size_t params_stride; /* bytes between the parameters of two blocks */
    uint8_t *params;      /* [n_rows, n_blocks, params_stride] */
    uint8_t *moved;       /* [n_rows, params_stride]: parameters that are tried */
    int32_t *codes;       /* [n_rows, n_cols] */
    float *values;        /* [n_rows, n_cols]: what the codes decode to */
    float *d;             /* [n_rows, n_cols]: errors in order of steps, or of columns */
    float *g;             /* [n_rows, n_cols]: d H, or corrections of steps */
    float *u;             /* [n_rows, max(n_cols, block)]: changes of d */
    float *product;       /* [n_rows, OPT_ROWS_LANES] */
    /* Some columns of all rows, a column after the other, so that rows are side by side. */
    float *lanes;        /* [OPT_ROWS_N_LANES, OPT_ROWS_LANES, n_rows] */
    int32_t *lane_codes; /* [OPT_ROWS_LANES, n_rows] */
    uint8_t *blocks;     /* [n_rows, row bytes]: rows as encode stores them */
} opt_rows;

#define OPT_ROWS_N_LANES 4
#define OPT_ROWS_LANES 256 /* at least a block, and OPT_ROWS_STEPS */
#define OPT_ROWS_STEPS 128 /* columns of the loop that are corrected together (lazy update) */

/** Whether these solvers work on a format: its grid rounds one weight at a time. */
bool opt_rows_supports(const opt_format *f);
/** Bytes of scratch for n_rows rows. */
size_t opt_rows_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols);
/** Lays the arrays out in `scratch` (opt_rows_bytes, aligned to 64). */
void opt_rows_init(opt_rows *r, const opt_format *f, const opt_kern *k, const opt_hessian *h,
                   const float *w, int64_t n_rows, int64_t n_cols, void *scratch);

/** Fits the parameters of all blocks to the weights, importance = diagonal of H. */
void opt_rows_fit(opt_rows *r);
/** Rounds one row to nearest. */
void opt_rows_nearest(opt_rows *r, int64_t row);
/** Rounds targets [n_rows] as column c of the rows, to codes and values [n_rows]; the rows' own
 * stay as they are. */
void opt_rows_round_column(const opt_rows *r, int64_t c, const float *targets, int32_t *codes,
                           float *values);
/**
 * GPTQ (Frantar et al. 2022, algorithm 1) with static groups: columns in the Hessian's order, each
 * rounded after correction for the errors made before. Needs the factor; parameters must be fitted.
 */
void opt_rows_columns(opt_rows *r);
/** Computes d and g of all rows from their values, and E of each row to e [n_rows]. */
void opt_rows_objective(opt_rows *r, double *e);
/** The same without g, in half the time. */
void opt_rows_energy(opt_rows *r, double *e);
/**
 * One round of refinement; d and g must be current and are kept so. First every code in turn goes
 * to the grid point that minimises E with all others fixed; then, where the grid can move, the
 * scale (and offset) of every part of a block goes to the minimum of E for fixed codes, if that is
 * better, and after it the scale of every block that has several parts.
 * Every step is taken only if it lowers E. Returns the number of steps taken.
 */
int64_t opt_rows_refine(opt_rows *r);
/** Writes a row's blocks. */
void opt_rows_emit(const opt_rows *r, int64_t row, uint8_t *dst);

#endif
