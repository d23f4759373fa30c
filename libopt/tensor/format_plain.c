/** Rows of plain formats: one number an element. */
#include "tensor/rows.h"

#define PLAIN(id, KFMT, ggml, dtype, bytes, kind, text)                                            \
    const opt_format opt_format_##id = {                                                           \
        .name = #id,                                                                               \
        .help = text,                                                                              \
        .kfmt = OPT_KFMT_##KFMT,                                                                   \
        .ggml_type = ggml,                                                                         \
        .st_dtype = dtype,                                                                         \
        .block_elems = 1,                                                                          \
        .block_bytes = bytes,                                                                      \
        .flags = kind,                                                                             \
        .decode = opt_format_decode_slot,                                                          \
    };

#define FLOAT OPT_FORMAT_FLOAT
#define INT OPT_FORMAT_INT

PLAIN(f64, F64, 28, "F64", 8, FLOAT, "64-bit floating point")
PLAIN(f8_e4m3, F8_E4M3, -1, "F8_E4M3", 1, FLOAT,
      "8-bit floating point, 4 exponent bits, no infinity")
PLAIN(f8_e5m2, F8_E5M2, -1, "F8_E5M2", 1, FLOAT, "8-bit floating point, 5 exponent bits")
PLAIN(i8, I8, 24, "I8", 1, INT, "signed 8-bit integers")
PLAIN(i16, I16, 25, "I16", 2, INT, "signed 16-bit integers")
PLAIN(i32, I32, 26, "I32", 4, INT, "signed 32-bit integers")
PLAIN(i64, I64, 27, "I64", 8, INT, "signed 64-bit integers")
PLAIN(u8, U8, -1, "U8", 1, INT, "unsigned 8-bit integers")
PLAIN(u16, U16, -1, "U16", 2, INT, "unsigned 16-bit integers")
PLAIN(u32, U32, -1, "U32", 4, INT, "unsigned 32-bit integers")
PLAIN(u64, U64, -1, "U64", 8, INT, "unsigned 64-bit integers")
PLAIN(bool, BOOL, -1, "BOOL", 1, INT, "truth values, one a byte")

PLAIN(f32, F32, 0, "F32", 4, FLOAT, "32-bit floating point")
PLAIN(f16, F16, 1, "F16", 2, FLOAT, "16-bit floating point (half)")
PLAIN(bf16, BF16, 30, "BF16", 2, FLOAT, "16-bit floating point with the range of f32")
