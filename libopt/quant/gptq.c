/*
 * GPTQ (Frantar et al. 2022): columns are rounded one after the other, and the error of each is
 * made up for by those that follow; then the codes and scales are refined on the true objective.
 * A row keeps whatever had the least error on the way, so it is never worse than round to nearest
 * on the same grid.
 */
#include <string.h>

#include "quant/method.h"
#include "solve/rows.h"

/* Objectives of the rows of a job. */
typedef struct errors {
    double *nearest, *now, *refined; /* [n_rows] each */
} errors;

static size_t errors_bytes(int64_t n_rows) {
    return (3 * (size_t)n_rows * sizeof(double) + 63) & ~(size_t)63;
}

static size_t scratch_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    return errors_bytes(n_rows) + opt_rows_bytes(f, n_rows, n_cols);
}

/* The better of GPTQ and round to nearest for every row; all objectives are known after it. */
static void start(opt_rows *r, const errors *e) {
    opt_rows_fit(r);
    for (int64_t row = 0; row < r->n_rows; row++) {
        opt_rows_nearest(r, row);
    }
    opt_rows_energy(r, e->nearest);
    opt_rows_columns(r);
    opt_rows_objective(r, e->now);
    bool changed = false;
    for (int64_t row = 0; row < r->n_rows; row++) {
        if (!(e->now[row] <= e->nearest[row])) {
            opt_rows_nearest(r, row);
            changed = true;
        }
    }
    if (changed) {
        opt_rows_objective(r, e->now);
    }
}

static void emit_row(const opt_quant_job *job, const opt_rows *r, int64_t row) {
    opt_rows_emit(r, row, job->dst + (size_t)row * job->row_bytes);
    for (int64_t b = 0; job->solution != NULL && b < r->n_blocks; b++) {
        const size_t at = (size_t)(row * r->n_blocks + b);
        memcpy(job->solution->params + at * job->solution->params_stride,
               r->params + at * r->params_stride, job->format->grid->params_bytes);
    }
}

static opt_status solve(opt_ctx *ctx, const opt_quant_job *job, void *scratch) {
    opt_rows r;
    double *e = scratch;
    const errors sums = {e, e + job->n_rows, e + 2 * job->n_rows};
    (void)ctx;
    opt_rows_init(&r, job->format, job->kern, job->hessian, job->w, job->n_rows, job->n_cols,
                  (uint8_t *)scratch + errors_bytes(job->n_rows));
    start(&r, &sums);
    for (int64_t row = 0; row < job->n_rows; row++) {
        emit_row(job, &r, row);
    }
    int64_t n_steps = 1;
    for (int i = 0; i < job->sweeps && n_steps > 0; i++) {
        n_steps = opt_rows_refine(&r);
    }
    double nearest = 0.0;
    /* Steps were judged by a running gradient; this judges their sum afresh. */
    opt_rows_energy(&r, sums.refined);
    for (int64_t row = 0; row < job->n_rows; row++) {
        if (sums.refined[row] < sums.now[row]) {
            emit_row(job, &r, row);
            sums.now[row] = sums.refined[row];
        }
        nearest += sums.nearest[row];
    }
    *job->nearest = nearest;
    return OPT_OK;
}

static const opt_method_param params[] = {
    {"sweeps", "rounds of refinement after the column loop", 0, 100, 3},
    {NULL, NULL, 0, 0, 0},
};

const opt_quant_method opt_quant_gptq = {
    .name = "gptq",
    .help = "column by column with error feedback, then refined; needs calibration text",
    .params = params,
    .needs = OPT_NEEDS_HESSIAN,
    .scratch_bytes = scratch_bytes,
    .solve = solve,
};
