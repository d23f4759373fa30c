/** Rows of ggml's types with one scale per 32 elements. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define ROW(id, KFMT, ggml, code_bits, more_flags, limit, text)                                    \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .block_elems = 32,                                                                         \
        .block_bytes = sizeof(optk_##id),                                                          \
        .flags = OPT_FORMAT_QUANT | OPT_FORMAT_ENCODES | (more_flags),                             \
        .bits = code_bits,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
        .encode = opt_format_encode_slot,                                                          \
        .grid = &opt_grid_scalar,                                                                  \
        .max_abs = limit,                                                                          \
    };

#define ZERO OPT_FORMAT_ZERO_POINT

ROW(q4_0, Q4_0, 2, 4, 0, 8 * OPTK_F16_MAX, "4 bits, scale of 32 elements")
ROW(q4_1, Q4_1, 3, 4, ZERO, OPTK_F16_MAX, "4 bits, scale and offset of 32 elements")
ROW(q5_0, Q5_0, 6, 5, 0, 16 * OPTK_F16_MAX, "5 bits, scale of 32 elements")
ROW(q5_1, Q5_1, 7, 5, ZERO, OPTK_F16_MAX, "5 bits, scale and offset of 32 elements")
ROW(q8_0, Q8_0, 8, 8, 0, 127 * OPTK_F16_MAX, "8 bits, scale of 32 elements")
OPT_ROW_DECODED(q8_1, Q8_1, 9, 32, 8, 0, "8 bits, scale of 32 elements and its sum (activations)")
