/** A tensor: a view of bytes with a format and a shape; owns nothing. */
#ifndef OPT_TENSOR_TENSOR_H
#define OPT_TENSOR_TENSOR_H

#include "kern/interleave.h"
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
    bool runs;           /* rows lie 16 together (kern/interleave.h); then 16 divides the rows */
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
/** Whether a matrix of n_rows rows of n_cols columns in `format` can have its rows 16 together. */
bool opt_tensor_can_run(const opt_format *format, int64_t n_rows, int64_t n_cols);
/** "q4_0", or with rows 16 together "q4_0_r16": static text. */
const char *opt_tensor_format_name(const opt_tensor *t);
/** The format of such a name, and whether rows lie together; NULL if there is none. */
const opt_format *opt_tensor_format_by_name(const char *name, bool *runs);
/** Copies row `row` of the tensor as its format stores it alone: n blocks from block `first`. */
void opt_tensor_take_row(const opt_tensor *t, int64_t row, int64_t first, int64_t n, uint8_t *dst);
/** Start of a row; the tensor has no runs. */
const uint8_t *opt_tensor_row(const opt_tensor *t, int64_t row);
/** Decodes rows [row0, row0 + n) to dst [n, n_cols]. */
void opt_tensor_decode_rows(const opt_tensor *t, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst);
/** "[49152, 576]" into buf; returns buf. */
const char *opt_tensor_shape_text(const opt_tensor *t, char *buf, size_t n);

#endif
