/** For the files of tensor/ only: declarations of all rows, and the kernel-backed members that most
 * rows share. */
#ifndef OPT_TENSOR_ROWS_H
#define OPT_TENSOR_ROWS_H

#include "tensor/format.h"

#define OPT_FORMAT(name) extern const opt_format opt_format_##name;
#include "tensor/formats.def"

/** opt_format.decode through the kernel slot of f->kfmt. */
void opt_format_decode_slot(const opt_format *f, const opt_kern *k, const void *src, float *dst,
                            int64_t n);
/** opt_format.encode through the kernel slot of f->kfmt. */
void opt_format_encode_slot(const opt_format *f, const opt_kern *k, const float *w,
                            const float *importance, void *dst, int64_t n);

/** The grid of all formats that kern/scalar.h knows. */
extern const opt_grid opt_grid_scalar;
/** The grid of all formats that kern/parts.h knows. */
extern const opt_grid opt_grid_parts;

#endif
