/** Rows of ggml's K types: super-blocks of 256 with quantized group scales. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define PARTS(id, KFMT, ggml, part, code_bits, more_flags, limit, text)                            \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .block_elems = 256,                                                                        \
        .part_elems = part,                                                                        \
        .block_bytes = sizeof(optk_##id),                                                          \
        .flags = OPT_FORMAT_QUANT | OPT_FORMAT_ENCODES | OPT_FORMAT_TWO_LEVEL | (more_flags),      \
        .bits = code_bits,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
        .encode = opt_format_encode_slot,                                                          \
        .grid = &opt_grid_parts,                                                                   \
        .max_abs = (limit)*OPTK_F16_MAX,                                                           \
    };

#define ZERO OPT_FORMAT_ZERO_POINT

PARTS(q2_k, Q2_K, 10, 16, 2, ZERO, 15, "2 bits, scales and minima of 16 elements in 4 bits")
PARTS(q3_k, Q3_K, 11, 16, 3, 0, 32 * 4, "3 bits, scales of 16 elements in 6 bits")
PARTS(q4_k, Q4_K, 12, 32, 4, ZERO, 63, "4 bits, scales and minima of 32 elements in 6 bits")
PARTS(q5_k, Q5_K, 13, 32, 5, ZERO, 63, "5 bits, scales and minima of 32 elements in 6 bits")
PARTS(q6_k, Q6_K, 14, 16, 6, 0, 128 * 32, "6 bits, scales of 16 elements in 8 bits")

const opt_format opt_format_q8_k = {
    .name = "q8_k",
    .help = "8 bits, float scale of 256 elements (activations)",
    .kfmt = OPT_KFMT_Q8_K,
    .ggml_type = 15,
    .block_elems = 256,
    .block_bytes = sizeof(optk_q8_k),
    .flags = OPT_FORMAT_QUANT,
    .bits = 8,
    .decode = opt_format_decode_slot,
};
