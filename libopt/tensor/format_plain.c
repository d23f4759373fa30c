/** Rows of plain formats: one number an element. */
#include "tensor/rows.h"

#include <float.h>

#define ROW(id, KFMT, ggml, dtype, bytes, kind, encoder, limit, text)                              \
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
        .encode = encoder,                                                                         \
        .max_abs = limit,                                                                          \
    };

#define FLOAT OPT_FORMAT_FLOAT
#define INT OPT_FORMAT_INT
#define ENCODES FLOAT | OPT_FORMAT_ENCODES
#define SLOT opt_format_encode_slot

ROW(f64, F64, 28, "F64", 8, FLOAT, NULL, 0, "64-bit floating point")
ROW(f32, F32, 0, "F32", 4, ENCODES, SLOT, FLT_MAX, "32-bit floating point")
ROW(f16, F16, 1, "F16", 2, ENCODES, SLOT, 65504.0f, "16-bit floating point (half)")
ROW(bf16, BF16, 30, "BF16", 2, ENCODES, SLOT, 0x1.fep127f,
    "16-bit floating point with the range of f32")
ROW(f8_e4m3, F8_E4M3, -1, "F8_E4M3", 1, FLOAT, NULL, 0,
    "8-bit floating point, 4 exponent bits, no infinity")
ROW(f8_e5m2, F8_E5M2, -1, "F8_E5M2", 1, FLOAT, NULL, 0, "8-bit floating point, 5 exponent bits")
ROW(i8, I8, 24, "I8", 1, INT, NULL, 0, "signed 8-bit integers")
ROW(i16, I16, 25, "I16", 2, INT, NULL, 0, "signed 16-bit integers")
ROW(i32, I32, 26, "I32", 4, INT, NULL, 0, "signed 32-bit integers")
ROW(i64, I64, 27, "I64", 8, INT, NULL, 0, "signed 64-bit integers")
ROW(u8, U8, -1, "U8", 1, INT, NULL, 0, "unsigned 8-bit integers")
ROW(u16, U16, -1, "U16", 2, INT, NULL, 0, "unsigned 16-bit integers")
ROW(u32, U32, -1, "U32", 4, INT, NULL, 0, "unsigned 32-bit integers")
ROW(u64, U64, -1, "U64", 8, INT, NULL, 0, "unsigned 64-bit integers")
ROW(bool, BOOL, -1, "BOOL", 1, INT, NULL, 0, "truth values, one a byte")
