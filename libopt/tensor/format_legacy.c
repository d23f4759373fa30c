/** Rows of ggml's types with one scale per 32 elements. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define BLOCKS(id, KFMT, ggml, code_bits, more_flags, encoder, grid_rows, limit, text)             \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .block_elems = 32,                                                                         \
        .block_bytes = sizeof(optk_##id),                                                          \
        .flags = OPT_FORMAT_QUANT | (more_flags),                                                  \
        .bits = code_bits,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
        .encode = encoder,                                                                         \
        .grid = grid_rows,                                                                         \
        .max_abs = limit,                                                                          \
    };

#define ZERO OPT_FORMAT_ZERO_POINT
#define SCALAR(id, KFMT, ggml, bits, flags, limit, text)                                           \
    BLOCKS(id, KFMT, ggml, bits, OPT_FORMAT_ENCODES | (flags), opt_format_encode_slot,             \
           &opt_grid_scalar, limit, text)

SCALAR(q4_0, Q4_0, 2, 4, 0, 8 * OPTK_F16_MAX, "4 bits, scale of 32 elements")
SCALAR(q4_1, Q4_1, 3, 4, ZERO, OPTK_F16_MAX, "4 bits, scale and offset of 32 elements")
SCALAR(q5_0, Q5_0, 6, 5, 0, 16 * OPTK_F16_MAX, "5 bits, scale of 32 elements")
SCALAR(q5_1, Q5_1, 7, 5, ZERO, OPTK_F16_MAX, "5 bits, scale and offset of 32 elements")
SCALAR(q8_0, Q8_0, 8, 8, 0, 127 * OPTK_F16_MAX, "8 bits, scale of 32 elements")
BLOCKS(q8_1, Q8_1, 9, 8, 0, NULL, NULL, 0, "8 bits, scale of 32 elements and its sum (activations)")
