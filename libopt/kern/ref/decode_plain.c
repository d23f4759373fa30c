/** Reference decoders of plain formats: one element is one number. */
#include "kern/rows.h"

#include "kern/half.h"

/* Every decoder here is the same loop around one conversion of the `size` bytes at p. */
#define DECODE_PLAIN(name, size, expr)                                                             \
    void optk_decode_##name##__ref(const opt_kspec *s, const void *src, float *dst, int64_t n) {   \
        (void)s;                                                                                   \
        const uint8_t *p = src;                                                                    \
        for (int64_t i = 0; i < n; i++, p += (size)) {                                             \
            dst[i] = (expr);                                                                       \
        }                                                                                          \
    }

static float f64_value(const uint8_t *p) {
    double v;
    memcpy(&v, p, sizeof v);
    return (float)v;
}

DECODE_PLAIN(f64, 8, f64_value(p))
DECODE_PLAIN(f32, 4, optk_bits_f32(opt_rd_u32le(p)))
DECODE_PLAIN(f16, 2, optk_ld_f16(p))
DECODE_PLAIN(bf16, 2, optk_bf16_to_f32(opt_rd_u16le(p)))
DECODE_PLAIN(f8_e4m3, 1, optk_e4m3_to_f32(*p))
/* E5M2 is the upper half of a half. */
DECODE_PLAIN(f8_e5m2, 1, optk_f16_to_f32((uint16_t)(*p << 8)))
DECODE_PLAIN(i8, 1, (float)(int8_t)*p)
DECODE_PLAIN(i16, 2, (float)(int16_t)opt_rd_u16le(p))
DECODE_PLAIN(i32, 4, (float)(int32_t)opt_rd_u32le(p))
DECODE_PLAIN(i64, 8, (float)(int64_t)opt_rd_u64le(p))
DECODE_PLAIN(u8, 1, (float)*p)
DECODE_PLAIN(u16, 2, (float)opt_rd_u16le(p))
DECODE_PLAIN(u32, 4, (float)opt_rd_u32le(p))
DECODE_PLAIN(u64, 8, (float)opt_rd_u64le(p))
DECODE_PLAIN(bool, 1, *p != 0 ? 1.0f : 0.0f)
