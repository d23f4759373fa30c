/**
 * Quantization methods: how the codes of a tensor are chosen. A method sees weights, importance and
 * a format's row; it knows no particular format. One file per method, one const row each, listed in
 * flow/methods.c.
 */
#ifndef OPT_QUANT_METHOD_H
#define OPT_QUANT_METHOD_H

#include "base/ctx.h"
#include "solve/hessian.h"
#include "tensor/format.h"

/** A parameter of a method; a table ends with a NULL name. */
typedef struct opt_method_param {
    const char *name, *help;
    double min, max, fallback;
} opt_method_param;

/** What a method must be given beyond the weights. */
enum {
    OPT_NEEDS_NOTHING = 0,
    OPT_NEEDS_ALL_ROWS = 1 << 0, /**< the whole tensor at once; otherwise any run of rows will do */
    OPT_NEEDS_HESSIAN = 1 << 1,  /**< calibration: the Hessian with its factor */
    OPT_USES_HESSIAN = 1 << 2,   /**< better with calibration (no factor), but works without */
    OPT_USES_SHIFT = 1 << 4, /**< inside blocks: the Hessian's shift, for which the float model runs
                                beside the quantized one */
    OPT_NEEDS_ZERO_POINT = 1 << 3 /**< a format whose blocks have an offset that can move */
};

/** What was chosen for some rows, beside their bytes, for whoever goes on from there. */
typedef struct opt_quant_solution {
    size_t params_stride;
    uint8_t *params; /* [n_rows, n_blocks, params_stride]: of the format's grid */
} opt_quant_solution;

/** Some rows of one tensor. */
typedef struct opt_quant_job {
    const opt_format *format;
    const opt_kern *kern;
    const float *w;             /* [n_rows, n_cols], finite */
    const float *importance;    /* [n_cols], or NULL: all the same */
    const opt_hessian *hessian; /* of the inputs, [n_cols] wide; NULL without calibration */
    int sweeps;                 /* rounds of refinement, for methods that refine */
    double *nearest; /* methods that start from it: (w - w') H (w - w')^T of rounding to nearest */
    int64_t n_rows, n_cols;
    size_t row_bytes;
    uint8_t *dst;                       /* [n_rows, row_bytes] */
    const opt_quant_solution *solution; /* NULL: not wanted; formats with a grid only */
} opt_quant_job;

typedef struct opt_quant_method {
    const char *name, *help;
    const opt_method_param *params;
    unsigned needs; /* OPT_NEEDS_* */
    /** Scratch for one job, in bytes, for the planner. NULL: none. */
    size_t (*scratch_bytes)(const opt_format *format, int64_t n_rows, int64_t n_cols);
    /** Writes the rows; the bytes depend on the job only. `scratch` has scratch_bytes, aligned
     * to 64. */
    opt_status (*solve)(opt_ctx *ctx, const opt_quant_job *job, void *scratch);
    /** The method that it is for layers which read the float model's own values, as sensitivities
     * are measured. NULL: itself. */
    const struct opt_quant_method *measures_as;
} opt_quant_method;

extern const opt_quant_method opt_quant_rtn, opt_quant_hqq, opt_quant_gptq, opt_quant_gptaq;

#endif
