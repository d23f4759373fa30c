/**
 * Reading the stored blocks of the int8 path with AVX-512: 64 consecutive codes of a row as
 * unsigned bytes, and the scales of 16 rows.
 */
#ifndef OPT_KERN_X86_CODES_AVX512_H
#define OPT_KERN_X86_CODES_AVX512_H

#include "kern/x86/codes_rows.h"
#include "kern/x86/vec_avx512.h"

static inline __m512i two_halves(__m256i lo, __m256i hi) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

static inline __m256i load256(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
static inline __m128i load128(const uint8_t *p) { return _mm_loadu_si128((const void *)p); }

/** 16 bytes of a and of b, each as 16 low nibbles and then 16 high ones. */
static inline __m512i nibbles_32_32(const uint8_t *a, const uint8_t *b) {
    const __m512i both =
        _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(load128(a)), 0xff00, load128(b));
    const __m512i shift = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4);
    return _mm512_and_si512(_mm512_srlv_epi32(both, shift), _mm512_set1_epi8(15));
}

/** Fifth bits: two times 32 bits, as 16 in the bytes whose bit is set. */
static inline __m512i fifth_bits(const uint8_t *a, const uint8_t *b) {
    const __mmask64 set = _mm512_kunpackd(opt_rd_u32le(b), opt_rd_u32le(a));
    return _mm512_maskz_set1_epi8(set, 16);
}

/** Codes of 4 bits of own groups: 64 elements from element i of the block at a (b: the next block,
 * groups of 32). */
static inline __m512i int4_codes(int64_t group, const uint8_t *a, const uint8_t *b, int64_t i) {
    if (group == 32) {
        return nibbles_32_32(a, b);
    }
    if (group == 64) {
        const __m256i bytes = load256(a);
        return _mm512_and_si512(two_halves(bytes, _mm256_srli_epi16(bytes, 4)),
                                _mm512_set1_epi8(15));
    }
    const __m512i bytes = _mm512_loadu_si512(a);
    const __m512i shifted = i == 0 ? bytes : _mm512_srli_epi16(bytes, 4);
    return _mm512_and_si512(shifted, _mm512_set1_epi8(15));
}

/** Codes of 2 bits, in the same way. */
static inline __m512i int2_codes(int64_t group, const uint8_t *a, const uint8_t *b, int64_t i) {
    __m512i planes;
    __m512i shift;
    if (group == 32) {
        planes = _mm512_mask_set1_epi64(_mm512_set1_epi64((int64_t)opt_rd_u64le(a)), 0xf0,
                                        (int64_t)opt_rd_u64le(b));
        shift = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
    } else if (group == 64) {
        planes = _mm512_broadcast_i32x4(load128(a));
        shift = _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6);
    } else {
        planes = _mm512_broadcast_i64x4(load256(a));
        const __m512i high = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
        shift = i == 0 ? high : _mm512_add_epi64(high, _mm512_set1_epi64(4));
    }
    return _mm512_and_si512(_mm512_srlv_epi64(planes, shift), _mm512_set1_epi8(3));
}

/** Third bits of 64 elements as 4 in the bytes whose bit is set; `bits_off` is where they start in
 * a block's codes. */
static inline __m512i third_bits(int64_t group, const uint8_t *a, const uint8_t *b, int64_t i) {
    const uint8_t *third = a + group / 4;
    if (group == 32) {
        const __mmask64 set = _mm512_kunpackd(opt_rd_u32le(b + group / 4), opt_rd_u32le(third));
        return _mm512_maskz_set1_epi8(set, 4);
    }
    return _mm512_maskz_set1_epi8((__mmask64)opt_rd_u64le(third + i / 8), 4);
}

/**
 * Codes of elements 64 p .. 64 p + 63 of a row. Where the row ends in the middle, the upper half
 * holds something (the lower block once more): activations are zero there.
 */
static inline OPT_ALWAYS_INLINE __m512i codes_load(codes_layout layout, const codes_rows *c,
                                                   const uint8_t *row, int64_t p) {
    const int64_t second = opt_min_i64(2 * p + 1, c->n_groups - 1);
    const uint8_t *a = row + codes_block_off(c, 2 * p) + c->head;
    const uint8_t *b = row + codes_block_off(c, second) + c->head;
    const int64_t i = 64 * p % c->block_elems; /* within the block */
    switch (layout) {
    case CODES_Q8_0:
        return _mm512_xor_si512(two_halves(load256(a), load256(b)), _mm512_set1_epi8(-128));
    case CODES_Q4_0:
    case CODES_Q4_1: return nibbles_32_32(a, b);
    case CODES_Q5_0:
    case CODES_Q5_1: return _mm512_or_si512(nibbles_32_32(a, b), fifth_bits(a - 4, b - 4));
    case CODES_INT2: return int2_codes(c->block_elems, a, b, i);
    case CODES_INT3:
        return _mm512_or_si512(int2_codes(c->block_elems, a, b, i),
                               third_bits(c->block_elems, a, b, i));
    case CODES_INT4: return int4_codes(c->block_elems, a, b, i);
    case CODES_INT8:
    default:
        return c->block_elems == 32 ? two_halves(load256(a), load256(b))
                                    : _mm512_loadu_si512(a + i);
    }
}

/** Scales (and offsets, if has_min) of group g of 16 rows, which start at row + row_off[r]. */
static inline OPT_ALWAYS_INLINE void codes_scales(codes_layout layout, const codes_rows *c,
                                                  const uint8_t *rows, __m512i row_off, int64_t g,
                                                  __m512 *d, __m512 *m) {
    /* Four bytes a row: d, and behind it m, a zero point or codes. */
    const __m512i head = _mm512_i32gather_epi32(row_off, rows + codes_block_off(c, g), 1);
    *d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(head));
    *m = _mm512_setzero_ps();
    if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
        *m = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(head, 16)));
    } else if (c->zero_byte) {
        const __m512i zero = _mm512_and_si512(_mm512_srli_epi32(head, 16), _mm512_set1_epi32(255));
        const __m512 step = _mm512_set1_ps(codes_zero_step(layout));
        *m = _mm512_mul_ps(*d, _mm512_mul_ps(_mm512_cvtepi32_ps(zero), step));
    }
}

#endif
