/*
 * GPTAQ's objective (Li et al. 2025, arXiv 2504.02692): outputs are to be those that the float
 * weights give on the float model's inputs, not on the inputs that the layer gets behind quantized
 * ones. Completing the square turns it into the objective of GPTQ for other weights
 * (opt_hessian.shift), so that the column loop and the refinement work on it as they are. A layer
 * whose inputs are those of the float model is solved by GPTQ.
 */
#include <math.h>
#include <string.h>

#include "quant/method.h"
#include "solve/rows.h"

/* How far weights are moved towards the least squares solution; docs/DESIGN.md has the curve. */
#define STRENGTH 0.5F

static size_t target_bytes(int64_t n_rows, int64_t n_cols) {
    return ((size_t)(n_rows * n_cols) * sizeof(float) + 63) & ~(size_t)63;
}

static size_t scratch_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    return target_bytes(n_rows, n_cols) + opt_quant_gptq.scratch_bytes(f, n_rows, n_cols);
}

static opt_status solve(opt_ctx *ctx, const opt_quant_job *job, void *scratch) {
    opt_status st = OPT_OK;
    opt_quant_job shifted = *job;
    const int64_t n = job->n_cols;
    float *target = scratch;
    void *rest = (uint8_t *)scratch + target_bytes(job->n_rows, n);
    if (job->hessian->shift != NULL) {
        memset(target, 0, (size_t)(job->n_rows * n) * sizeof *target);
        job->kern->gemm_add_f32(job->w, n, 1, job->hessian->shift, n, target, n, job->n_rows, n, n);
        for (int64_t i = 0; i < job->n_rows * n; i++) {
            target[i] = job->w[i] + STRENGTH * target[i];
        }
        shifted.w = target;
    }
    OPT_TRY(opt_quant_gptq.solve(ctx, &shifted, rest));
    if (job->hessian->shift != NULL) {
        *job->nearest = NAN; /* of other weights */
    }
done:
    return st;
}

static const opt_method_param params[] = {
    {"sweeps", "rounds of refinement after the column loop", 0, 100, 3},
    {NULL, NULL, 0, 0, 0},
};

const opt_quant_method opt_quant_gptaq = {
    .name = "gptaq",
    .help = "gptq towards what the float model gives on its own inputs; needs calibration text",
    .params = params,
    .needs = OPT_NEEDS_HESSIAN | OPT_USES_SHIFT,
    .scratch_bytes = scratch_bytes,
    .solve = solve,
    .measures_as = &opt_quant_gptq,
};
