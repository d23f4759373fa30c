/** Rows of ggml's K types: super-blocks of 256 with quantized group scales. */
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

#define TWO OPT_FORMAT_TWO_LEVEL
#define ZERO OPT_FORMAT_ZERO_POINT

BLOCKS(q2_k, Q2_K, 10, 256, 2, TWO | ZERO, "2 bits, scales and minima of 16 elements in 4 bits")
BLOCKS(q3_k, Q3_K, 11, 256, 3, TWO, "3 bits, scales of 16 elements in 6 bits")
BLOCKS(q4_k, Q4_K, 12, 256, 4, TWO | ZERO, "4 bits, scales and minima of 32 elements in 6 bits")
BLOCKS(q5_k, Q5_K, 13, 256, 5, TWO | ZERO, "5 bits, scales and minima of 32 elements in 6 bits")
BLOCKS(q6_k, Q6_K, 14, 256, 6, TWO, "6 bits, scales of 16 elements in 8 bits")
BLOCKS(q8_k, Q8_K, 15, 256, 8, 0, "8 bits, float scale of 256 elements (activations)")
