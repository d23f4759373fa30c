/* Round to nearest: every block on its own, parameters by the format's search over its squared
 * error. */
#include "base/num.h"
#include "quant/method.h"

static opt_status solve(opt_ctx *ctx, const opt_quant_job *job, void *scratch) {
    (void)ctx;
    (void)scratch;
    const int64_t size = job->format->block_elems, n_blocks = opt_ceil_div(job->n_cols, size);
    for (int64_t i = 0; job->solution != NULL && i < job->n_rows * n_blocks; i++) {
        const int64_t row = i / n_blocks, col = i % n_blocks * size; /* what encode does inside */
        job->format->grid->fit(job->format, job->w + row * job->n_cols + col,
                               job->importance != NULL ? job->importance + col : NULL,
                               opt_min_i64(size, job->n_cols - col),
                               job->solution->params + (size_t)i * job->solution->params_stride);
    }
    opt_format_encode_rows(job->format, job->kern, job->w, job->importance, job->dst, job->n_rows,
                           job->n_cols);
    return OPT_OK;
}

static const opt_method_param no_params[] = {{NULL, NULL, 0, 0, 0}};

const opt_quant_method opt_quant_rtn = {
    .name = "rtn",
    .help =
        "round to nearest with a scale search per block, weighted where there is calibration text",
    .params = no_params,
    .needs = OPT_USES_HESSIAN,
    .solve = solve,
};
