/** Rows of the 4-bit floating-point types. */
#include "tensor/rows.h"

#include "kern/blocks.h"

#define BLOCKS(id, KFMT, ggml, elems, part, code_bits, more_flags, limit, text)                    \
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

BLOCKS(mxfp4, MXFP4, 39, 32, 32, 4, 0, 0x1.8p127f,
       "4-bit floating point, power-of-two scale of 32 elements")
BLOCKS(nvfp4, NVFP4, 40, 64, 16, 4, 0, 6 * 448,
       "4-bit floating point, 8-bit floating-point scale of 16 elements")
