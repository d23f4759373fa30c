/** Rows of ggml's codebook types. */
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

#define ENCODED(id, KFMT, ggml, elems, part, code_bits, more_flags, limit, text)                   \
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

#define TWO OPT_FORMAT_TWO_LEVEL

BLOCKS(iq1_s, IQ1_S, 19, 256, 1, TWO, "1.56 bits, ternary codebook of 8 elements")
BLOCKS(iq1_m, IQ1_M, 29, 256, 1, TWO, "1.75 bits, ternary codebook of 8 elements")
BLOCKS(iq2_xxs, IQ2_XXS, 16, 256, 2, TWO, "2.06 bits, codebook of 8 elements")
BLOCKS(iq2_xs, IQ2_XS, 17, 256, 2, TWO, "2.31 bits, codebook of 8 elements")
BLOCKS(iq2_s, IQ2_S, 22, 256, 2, TWO, "2.56 bits, codebook of 8 elements")
BLOCKS(iq3_xxs, IQ3_XXS, 18, 256, 3, TWO, "3.06 bits, codebook of 4 elements")
BLOCKS(iq3_s, IQ3_S, 21, 256, 3, TWO, "3.44 bits, codebook of 4 elements")
ENCODED(iq4_nl, IQ4_NL, 20, 32, 32, 4, 0, 127 * OPTK_F16_MAX,
        "4 bits on 16 uneven levels, scale of 32 elements")
ENCODED(iq4_xs, IQ4_XS, 23, 256, 32, 4, TWO, 32 * 127 * OPTK_F16_MAX,
        "4 bits on 16 uneven levels, scales of 32 elements in 6 bits")
