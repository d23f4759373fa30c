/** Rows of own formats other than the integer groups; any width. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define ROW(id, KFMT, group, bytes, code_bits, limit, text)                                        \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = -1,                                                                           \
        .block_elems = group,                                                                      \
        .block_bytes = bytes,                                                                      \
        .flags = OPT_FORMAT_QUANT | OPT_FORMAT_PARTIAL | OPT_FORMAT_OWN | OPT_FORMAT_ENCODES,      \
        .bits = code_bits,                                                                         \
        .symmetric = true,                                                                         \
        .decode = opt_format_decode_slot,                                                          \
        .encode = opt_format_encode_slot,                                                          \
        .grid = &opt_grid_parts,                                                                   \
        .max_abs = (limit)*OPTK_F16_MAX,                                                           \
    };

ROW(nf4, NF4, 64, sizeof(optk_nf4), 4, 1,
    "4 bits on the 16 levels of NormalFloat, scale of 64 elements, any width")
ROW(fp8_g128, FP8, 128, sizeof(optk_fp8), 8, 448,
    "8-bit floating point (E4M3), scale of 128 elements, any width")
ROW(ternary_g64, TERNARY, 64, OPTK_TERNARY_BYTES(64), 2, 1,
    "ternary, 5 digits a byte, scale of 64 elements, any width")
ROW(ternary_g128, TERNARY, 128, OPTK_TERNARY_BYTES(128), 2, 1,
    "ternary, 5 digits a byte, scale of 128 elements, any width")
