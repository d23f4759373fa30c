/** Rows of the 4-bit floating-point types. */
#include "tensor/rows.h"

#include "kern/blocks.h"

#define BLOCKS(id, KFMT, ggml, elems, code_bits, more_flags, text)                                 \
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

BLOCKS(mxfp4, MXFP4, 39, 32, 4, 0, "4-bit floating point, power-of-two scale of 32 elements")
BLOCKS(nvfp4, NVFP4, 40, 64, 4, 0,
       "4-bit floating point, 8-bit floating-point scale of 16 elements")
