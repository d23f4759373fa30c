/** Rows of the own integer groups: any width, 2 to 8 bits, groups of 32, 64 or 128, with or without
 * a zero point. */
#include "tensor/rows.h"

#include "kern/blocks.h"
#include "kern/scalar.h"

#define ROW(id, n_bits, n_group, is_symmetric, more_flags, text)                                   \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_INT,                                                                      \
        .ggml_type = -1,                                                                           \
        .block_elems = n_group,                                                                    \
        .block_bytes = OPTK_INT_BYTES(n_bits, n_group, is_symmetric),                              \
        .flags = OPT_FORMAT_QUANT | OPT_FORMAT_PARTIAL | OPT_FORMAT_OWN | OPT_FORMAT_ENCODES |     \
                 (more_flags),                                                                     \
        .bits = n_bits,                                                                            \
        .symmetric = is_symmetric,                                                                 \
        .decode = opt_format_decode_slot,                                                          \
        .encode = opt_format_encode_slot,                                                          \
        .grid = &opt_grid_scalar,                                                                  \
        .max_abs =                                                                                 \
            OPTK_F16_MAX * ((is_symmetric) ? 1 << ((n_bits)-1) : ((1 << (n_bits)) - 1) / 2.0f),    \
    };

#define GROUP(bits, group)                                                                         \
    ROW(int##bits##_g##group, bits, group, true, 0,                                                \
        #bits " bits, scale of " #group " elements, any width")                                    \
    ROW(int##bits##_g##group##_zp, bits, group, false, OPT_FORMAT_ZERO_POINT,                      \
        #bits " bits, scale and zero point of " #group " elements, any width")

#define BITS(bits) GROUP(bits, 32) GROUP(bits, 64) GROUP(bits, 128)

BITS(8)
BITS(4)
BITS(3)
BITS(2)
