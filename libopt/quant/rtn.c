/* Round to nearest: every block on its own, parameters by the format's search over its squared
 * error. */
#include "quant/method.h"

static opt_status solve(opt_ctx *ctx, const opt_quant_job *job, void *scratch) {
    (void)ctx;
    (void)scratch;
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
