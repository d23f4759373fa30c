/** Rows of ggml's types with one scale per 32 elements. */
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

#define ZERO OPT_FORMAT_ZERO_POINT

BLOCKS(q4_0, Q4_0, 2, 32, 4, 0, "4 bits, scale of 32 elements")
BLOCKS(q4_1, Q4_1, 3, 32, 4, ZERO, "4 bits, scale and offset of 32 elements")
BLOCKS(q5_0, Q5_0, 6, 32, 5, 0, "5 bits, scale of 32 elements")
BLOCKS(q5_1, Q5_1, 7, 32, 5, ZERO, "5 bits, scale and offset of 32 elements")
BLOCKS(q8_0, Q8_0, 8, 32, 8, 0, "8 bits, scale of 32 elements")
BLOCKS(q8_1, Q8_1, 9, 32, 8, 0, "8 bits, scale of 32 elements and its sum (activations)")
