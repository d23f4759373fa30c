/** Rows of types below two bits (and q2_0). */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

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

BLOCKS(tq1_0, TQ1_0, 34, 256, 2, 0, "ternary, 5 digits a byte, scale of 256 elements")
const opt_format opt_format_tq2_0 = {
    .name = "tq2_0",
    .help = "ternary in 2 bits, scale of 256 elements",
    .kfmt = OPT_KFMT_TQ2_0,
    .ggml_type = 35,
    .block_elems = 256,
    .block_bytes = sizeof(optk_tq2_0),
    .flags = OPT_FORMAT_QUANT | OPT_FORMAT_ENCODES,
    .bits = 2,
    .decode = opt_format_decode_slot,
    .encode = opt_format_encode_slot,
    .grid = &opt_grid_parts,
    .max_abs = OPTK_F16_MAX,
};
BLOCKS(q1_0, Q1_0, 41, 128, 1, 0, "signs, scale of 128 elements")
BLOCKS(q2_0, Q2_0, 42, 64, 2, 0, "levels -1 0 1 2, scale of 64 elements")
