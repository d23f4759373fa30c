/** A tensor: a view of bytes with a format and a shape; owns nothing. */
#ifndef OPT_TENSOR_TENSOR_H
#define OPT_TENSOR_TENSOR_H

#include "tensor/format.h"

#define OPT_MAX_DIMS 8

/**
 * Dimensions are outermost first (row-major): a linear weight is [n_out, n_in]. Rank 0 is a scalar.
 */
typedef struct opt_tensor {
    const char *name;
    const opt_format *format;
    int n_dims;
    int64_t dims[OPT_MAX_DIMS];
    size_t bytes;        /* stored size */
    const uint8_t *data; /* [bytes] */
} opt_tensor;

/**
 * Last dimension (1 for a scalar), product of the others, product of all. Shapes were checked when
 * the file was read.
 */
int64_t opt_tensor_n_cols(const opt_tensor *t);
int64_t opt_tensor_n_rows(const opt_tensor *t);
int64_t opt_tensor_n_elems(const opt_tensor *t);
/** Start of a row. */
const uint8_t *opt_tensor_row(const opt_tensor *t, int64_t row);
/** Decodes rows [row0, row0 + n) to dst [n, n_cols]. */
void opt_tensor_decode_rows(const opt_tensor *t, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst);
/** "[49152, 576]" into buf; returns buf. */
const char *opt_tensor_shape_text(const opt_tensor *t, char *buf, size_t n);

#endif
