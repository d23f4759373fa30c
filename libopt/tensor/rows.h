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

/** A row of ggml's types that is read only: `elems` elements in one optk_<id>. */
#define OPT_ROW_DECODED(id, KFMT, ggml, elems, code_bits, more_flags, text)                        \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .block_elems = elems,                                                                      \
        .block_bytes = sizeof(optk_##id),                                                          \
        .flags = OPT_FORMAT_QUANT | (more_flags),                                                  \
        .bits = code_bits,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
    };

/** A row of ggml's types whose encoder and grid work on parts of `part` elements (kern/parts.h). */
#define OPT_ROW_PARTS(id, KFMT, ggml, elems, part, code_bits, more_flags, limit, text)             \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .block_elems = elems,                                                                      \
        .part_elems = part,                                                                        \
        .block_bytes = sizeof(optk_##id),                                                          \
        .flags = OPT_FORMAT_QUANT | OPT_FORMAT_ENCODES | (more_flags),                             \
        .bits = code_bits,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
        .encode = opt_format_encode_slot,                                                          \
        .grid = &opt_grid_parts,                                                                   \
        .max_abs = limit,                                                                          \
    };

#endif
