/** quantize: float checkpoint -> quantized model (GGUF), and pack: any model -> deployed file. */
#ifndef OPT_QUANTIZE_H
#define OPT_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What to do where a format cannot hold a width; tried in the order padding, own type, next type,
 * as far as allowed. */
enum {
    OPT_WIDTH_PAD = 1 << 0, /**< zero-pad feed-forward widths (function-preserving) */
    OPT_WIDTH_OWN =
        1 << 1, /**< use the own integer type of the same bits (file then needs Lathe to run) */
    OPT_WIDTH_NEXT = 1 << 2 /**< use the next larger stock type that fits, at last f16 */
};

/** How the units of a model run over calibration text, and Gram matrices are added up. */
typedef enum opt_calib_compute {
    OPT_CALIB_I16, /**< products of 16-bit integers in groups of 64: twice as fast */
    OPT_CALIB_F32,
    OPT_CALIB_BF16 /**< linear layers in bf16: for machines with AMX */
} opt_calib_compute;

typedef struct opt_quantize_options {
    const char *input;        /**< checkpoint directory, .safetensors or float GGUF */
    const char *output;       /**< GGUF file */
    const char *format;       /**< format of linear weights, such as "q4_0"; NULL: "q8_0" */
    const char *const *rules; /**< "PATTERN:key=value", later rules win */
    size_t n_rules;
    unsigned width_policy; /**< OPT_WIDTH_* bits; 0: refuse with the list of tensors */
    const char *method; /**< how codes are chosen, such as "gptq"; NULL: "rtn", or the best there is
                           for a target or preset with calibration text: "gptaq" (with one_pass,
                           transforms or block_steps: "gptq") */
    const char *const *transforms; /**< "NAME[:KEY=VALUE]...", or several joined by commas */
    size_t n_transforms;
    const char *const *calib; /**< calibration text: plain files, or .jsonl with "text" members */
    size_t n_calib;
    const char *calib_mix; /**< "2,1,1": shares of the windows of the files; NULL: all alike */
    int64_t calib_samples; /**< windows of calibration text; 0: 128 */
    int64_t calib_ctx;     /**< tokens of a window; 0: 512 */
    uint64_t seed;         /**< chooses the windows */
    int sweeps;            /**< rounds of refinement of methods that refine */
    int block_steps;       /**< steps of sign-gradient rounding of each block as a whole; 0: none */
    int block_batch;       /**< windows of such a step; 0: the default */
    opt_calib_compute calib_compute;
    bool one_pass;            /**< statistics of the float model, without running what was solved */
    bool allow_requantize;    /**< accept a quantized input */
    bool fresh;               /**< do not continue an interrupted run, whose OUTPUT.work is there */
    const char *imatrix;      /**< llama.cpp's importance matrix; NULL: none */
    const char *save_imatrix; /**< where to write one from the calibration; NULL: nowhere */
    bool force, dry_run;
    /* A budget chooses the format of every matrix that no rule gives one; at most one target is
     * set, and then `format` is NULL. */
    uint64_t target_bytes;         /**< size of the file at most; 0: none */
    double target_bpw;             /**< bits per weight at most; 0: none */
    double target_kld;             /**< predicted divergence in nats a token at most; 0: none */
    const char *formats;           /**< names that may be chosen, by commas; NULL: stock types */
    const char *preset;            /**< a recipe by name, in place of format and target; or NULL */
    const char *measurements;      /**< file of measured divergences to use; NULL: measure */
    const char *save_measurements; /**< where to keep them; NULL: nowhere */
} opt_quantize_options;

/** Planned or finished treatment of one tensor. Strings live as long as the result. */
typedef struct opt_tensor_result {
    const char *name, *role, *source_format, *format,
        *action;      /**< action: quantized, copied, converted, transformed, padded, dropped */
    const char *note; /**< "" or why the format differs from what was asked for */
    int64_t n_rows, n_cols;
    uint64_t source_bytes, bytes;
    double rmse;        /**< against the float weights; NaN before the run */
    double rel_error;   /**< sum (w-w')^2 / sum w^2; NaN before the run */
    const char *method; /**< how the codes were chosen; "" if it is not quantized */
    /** Mean square error of the layer's outputs on the calibration tokens over their mean square:
     * as written, and for the solver's grid rounded to nearest; NaN where they were not measured.
     */
    double output_error, output_error_nearest;
    double damping;   /**< share of the mean diagonal added to factor the Gram matrix; NaN: none */
    double condition; /**< of the damped matrix, at least; NaN: not factored */
    /** Mean square error of the outputs of the tensor's block over their mean square, token by
     * token, before all its tensors were rounded together and after; NaN if they were not. */
    double block_error_before, block_error;
    int64_t n_dead;         /**< input columns that were zero in calibration */
    int64_t n_calib_tokens; /**< 0: the tensor was not calibrated */
} opt_tensor_result;

/** What a transform did to one group of weights. */
typedef struct opt_transform_result {
    const char *transform;
    const char *group;    /**< the node whose columns were scaled, or what was rotated */
    double value;         /**< exponent, size of a block ...; NaN: says nothing */
    double before, after; /**< mean square error of the outputs when rounded to nearest, without and
                               with it; NaN: not measured */
} opt_transform_result;
/** A corner of the curve of file size against divergence. */
typedef struct opt_budget_point {
    uint64_t bytes;
    double kld;          /**< predicted */
    const char *formats; /**< how many matrices have which: "12 q4_0, 3 q8_0" */
} opt_budget_point;

/** How a budget was spent. Divergences are in nats a token; NaN: not known. */
typedef struct opt_budget_result {
    const char *target; /**< "bytes", "bits_per_weight" or "kld" */
    double target_value;
    bool guessed;         /**< a dry run without measurements: formats are a guess */
    uint64_t most_bytes;  /**< what the file may have at most, if they are; it is file_bytes then */
    double predicted_kld; /**< sum over the matrices whose format was open */
    double bound_kld;     /**< no other choice is predicted to be below this */
    double measured_kld, measured_stderr; /**< of the written file, on held-out calibration text */
    int64_t n_measured_tokens;
    const opt_budget_point *points; /**< [n_points] by increasing size */
    int64_t n_points;
} opt_budget_result;

typedef struct opt_quantize_result {
    uint64_t source_bytes, file_bytes; /**< input files; output file, exact also in a dry run */
    uint64_t peak_memory; /**< predicted (dry run) or seen, bytes of anonymous memory */
    double bits_per_weight;
    double seconds;
    int64_t n_tensors;
    const opt_tensor_result *tensors; /**< [n_tensors], file order, dropped ones last */
    int64_t n_transforms;
    const opt_transform_result *transforms; /**< [n_transforms] */
    const opt_budget_result *budget;        /**< NULL without one */
    void *impl;
} opt_quantize_result;

/** Runs or plans the job. The result is owned by the caller: opt_quantize_result_free. */
OPT_MUST_USE opt_status opt_quantize(opt_ctx *ctx, const opt_quantize_options *options,
                                     opt_quantize_result *result);

typedef struct opt_pack_options {
    const char *input, *output;
    const char *to; /**< "native" (default), "gguf", "gguf-f32", "gguf-f16", "gguf-bf16" */
    bool force, dry_run;
} opt_pack_options;

OPT_MUST_USE opt_status opt_pack(opt_ctx *ctx, const opt_pack_options *options,
                                 opt_quantize_result *result);

void opt_quantize_result_free(opt_quantize_result *result);

/** Walks the methods: name and help of row i, and whether it needs calibration text; false behind
 * the last. */
bool opt_quantize_method(int i, const char **name, const char **help, bool *needs_calib);
/** Walks the transforms: name and help of row i; false behind the last. */
bool opt_quantize_transform(int i, const char **name, const char **help);
/** Walks the parameters of transform i: name, help and default of parameter k; false behind the
 * last. */
bool opt_quantize_transform_param(int i, int k, const char **name, const char **help,
                                  double *fallback);
/** Walks the presets: name, help (NULL for a mixture of llama.cpp's name) and bits per weight that
 * it aims at (0: none) of row i; false behind the last. */
bool opt_quantize_preset(int i, const char **name, const char **help, double *bits_per_weight);
/** Walks the formats that quantize can write: name and help of row i; false behind the last. */
bool opt_quantize_format(int i, const char **name, const char **help, double *bits_per_weight);

#ifdef __cplusplus
}
#endif
#endif
