/**
 * The plan of a conversion: what happens to every tensor, complete before anything is written.
 * quantize and pack fill it with different decisions; the same engine (flow/emit.h) carries it out.
 */
#ifndef OPT_FLOW_PLAN_H
#define OPT_FLOW_PLAN_H

#include "flow/methods.h"
#include "flow/open.h"
#include "io/gguf_write.h"
#include "opt/quantize.h"

typedef enum opt_action {
    OPT_ACTION_COPY,    /**< stored rows as they are (in canonical order) */
    OPT_ACTION_CONVERT, /**< to another plain format */
    OPT_ACTION_QUANTIZE
} opt_action;

/** One output tensor. Filled by opt_plan_add; `rmse` and `rel_error` by the engine. */
typedef struct opt_plan_tensor {
    const opt_weight *weight;
    const opt_format *format;
    const opt_quant_method *method; /* NULL unless OPT_ACTION_QUANTIZE */
    int stage; /* unit of the first node that uses the weight: -1 before the blocks, n_units behind
                  them */
    opt_action action;
    int64_t src_rows, src_cols;
    int64_t n_rows, n_cols; /* of the output: larger where zeros are appended */
    size_t row_bytes;
    int64_t tile_rows; /* rows encoded together: depends on the shape only */
    const char *note; /* "" or why the format is not the one asked for; lives in the plan's arena */
    bool rewritten;   /* a transform changes it first */
    bool late;        /* it depends on tensors before it as they are stored */
    bool runs;        /* rows are written 16 together */
    bool replaced;    /* the width does not suit the format asked for: another one took its place */
    const float *importance;  /* [n_cols] of input columns, for want of a Hessian; NULL: alike */
    const float *mean_square; /* [src_cols] of inputs in calibration, if they are to be saved */
    double rmse, rel_error;
    /* Calibrated tensors; NaN and 0 otherwise. Errors are relative to the mean square output. */
    double output_error, output_error_nearest, damping, condition;
    /* Tensors that were rounded with their block: the block's error before and after, as a share of
     * the mean square of its outputs; NaN otherwise. */
    double block_error_before, block_error;
    int64_t n_dead, n_calib_tokens;
} opt_plan_tensor;

/** Errors of a tensor, summed over its tiles in order. */
typedef struct opt_plan_sums {
    double err, ref; /* sum (w - w')^2, sum w^2 */
    /* The same on the outputs of calibrated tensors: see opt_hessian_energy. */
    double out_err, out_nearest, out_ref;
} opt_plan_sums;

typedef struct opt_plan {
    opt_ctx *ctx;
    opt_arena *arena;
    const opt_model *model;
    opt_kv *kv;               /* metadata of the output; NULL until it is there */
    opt_plan_tensor *tensors; /* [n], file order */
    opt_gguf_decl *decls;     /* [n] */
    int64_t n;
    uint64_t file_bytes;
} opt_plan;

/** An empty plan with room for all weights of the model. */
OPT_MUST_USE opt_status opt_plan_new(opt_ctx *ctx, const opt_model *model, opt_plan **out);
void opt_plan_free(opt_plan *plan);

/**
 * Appends a weight in `format`, its matrix enlarged to n_rows x n_cols with zeros (0: as it is).
 * Decides the action. Errors: UNSUPPORTED if the format cannot be written; BUG if it does not fit
 * n_cols.
 */
OPT_MUST_USE opt_status opt_plan_add(opt_plan *plan, const opt_weight *weight,
                                     const opt_format *format, const opt_quant_method *method,
                                     int64_t n_rows, int64_t n_cols, const char *note);

/** The tensor added last is rewritten before it is written: it is not copied, whatever its format.
 */
void opt_plan_rewrites(opt_plan *plan, const opt_quant_method *method);

/** The tensor added last is copied with its rows 16 together (kern/interleave.h). */
void opt_plan_runs(opt_plan *plan);

/** Completes plan->kv (file type, quantization version) and computes the exact size of the file. */
OPT_MUST_USE opt_status opt_plan_finish(opt_plan *plan);

/** Rows and columns of a weight as a matrix: one row for vectors. */
void opt_weight_shape(const opt_weight *w, int64_t *n_rows, int64_t *n_cols);

/** Copies the plan into a result for the caller. What is known only later follows with
 * opt_plan_complete_result. */
OPT_MUST_USE opt_status opt_plan_result(const opt_plan *plan, opt_quantize_result *result);
/** Size of the file and errors of the tensors; cannot fail. */
void opt_plan_complete_result(const opt_plan *plan, opt_quantize_result *result);

#endif
