/**
 * llama.cpp's importance matrices: for a weight, the sum of squares of each of its input columns
 * over the calibration tokens, and their number. A GGUF file of general.type "imatrix" with tensors
 * `<weight>.in_sum2` and `<weight>.counts`.
 */
#ifndef OPT_CALIB_IMATRIX_H
#define OPT_CALIB_IMATRIX_H

#include "base/mem.h"

typedef struct opt_imatrix opt_imatrix;

/** Opens a file. Errors: IO; INPUT if it is no such file. */
OPT_MUST_USE opt_status opt_imatrix_open(opt_ctx *ctx, const char *path, opt_imatrix **out);
/** NULL is allowed. */
void opt_imatrix_free(opt_imatrix *im);
/**
 * Mean squares of the n_cols inputs of the weight of this (GGUF) name to out [n_cols]; *found is
 * false if the file has none. Errors: INPUT for another width, counts that are missing or not
 * positive, values that are negative or no numbers, several experts.
 */
OPT_MUST_USE opt_status opt_imatrix_get(const opt_imatrix *im, const char *name, int64_t n_cols,
                                        float *out, bool *found);

/** One entry to write: mean squares [n_cols] over n_tokens. */
typedef struct opt_imatrix_entry {
    const char *name; /* of the weight; NULL: none */
    const float *mean;
    int64_t n_cols, n_tokens;
} opt_imatrix_entry;

/**
 * Writes a file of windows (chunks) of n_ctx tokens; entries without a name are left out.
 * `datasets` [n_datasets]: names of the texts. Errors: IO; USAGE if it exists, unless `force`.
 */
OPT_MUST_USE opt_status opt_imatrix_write(opt_ctx *ctx, const char *path, bool force,
                                          const opt_imatrix_entry *entries, int64_t n,
                                          const char *const *datasets, size_t n_datasets,
                                          int64_t n_windows, int64_t n_ctx);

#endif
