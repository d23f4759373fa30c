/** The search of AWQ for one group of columns, apart from graph and checkpoint. */
#ifndef OPT_QUANT_AWQ_H
#define OPT_QUANT_AWQ_H

#include "solve/hessian.h"
#include "tensor/format.h"

#define OPT_AWQ_MAX_READERS 8

/** Weights that read the same columns. */
typedef struct opt_awq_group {
    int n_readers;
    struct {
        const float *w; /* [n_rows, n_columns] */
        int64_t n_rows;
        const opt_format *format; /* that it will be rounded in; NULL: it stays plain */
    } readers[OPT_AWQ_MAX_READERS];
    int64_t n_columns;
    const int32_t *channel; /* [n_columns] -> channel: columns of one channel share a scale */
    int64_t n_channels;
    const opt_hessian *h; /* Gram matrix of the columns */
} opt_awq_group;

/** What the search found. */
typedef struct opt_awq_result {
    double alpha;         /* of the best scales */
    double before, after; /* mean square error of all outputs with scales of 1, and the best */
} opt_awq_result;

/**
 * Scales of channels for `alpha`: size^alpha (activation-aware weight quantization, Lin et al.
 * 2023, eq. 4), with `weight` also over weight^(1 - alpha), normalised to sqrt(max * min) = 1. size
 * and weight [n_channels]; channels whose size is zero keep 1. weight may be NULL.
 */
void opt_awq_scales(const double *size, const double *weight, int64_t n_channels, double alpha,
                    double *s);

/**
 * Chooses alpha of i / n_grid, i < n_grid, by the error of the outputs of all readers,
 * sum tr((W - round(W s) / s) H (W - round(W s) / s)^T), where rounding is the format's own with
 * the diagonal of the scaled H as importance. Writes the best scales to s [n_channels]. size and
 * weight as above. Runs in fixed tiles. Errors: MEMORY.
 */
OPT_MUST_USE opt_status opt_awq_search(opt_ctx *ctx, const opt_kern *k, const opt_awq_group *g,
                                       const double *size, const double *weight, int n_grid,
                                       double *s, opt_awq_result *out);
/** The error of one choice of scales. */
OPT_MUST_USE opt_status opt_awq_error(opt_ctx *ctx, const opt_kern *k, const opt_awq_group *g,
                                      const double *s, double *error);
/** Bytes that a search takes. */
uint64_t opt_awq_bytes(int64_t n_columns, int n_grid, int n_threads);

#endif
