/** Reading the stored blocks of the int8 path with AVX2: 32 consecutive codes as bytes, scales of 8
 * rows. */
#ifndef OPT_KERN_X86_CODES_AVX2_H
#define OPT_KERN_X86_CODES_AVX2_H

#include "kern/x86/codes_rows.h"
#include "kern/x86/vec_avx2.h"

/** Offsets of 8 rows; those behind row `last` repeat it. */
static inline __m256i codes_row_offsets(size_t row_bytes, int64_t last) {
    const __m256i idx =
        _mm256_min_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)last));
    return _mm256_mullo_epi32(idx, _mm256_set1_epi32((int)row_bytes));
}

static inline __m256i two_halves(__m128i lo, __m128i hi) { return _mm256_set_m128i(hi, lo); }
static inline __m256i load256(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
static inline __m128i load128(const uint8_t *p) { return _mm_loadu_si128((const void *)p); }

/** 16 bytes as their low nibbles and then their high ones. */
static inline __m256i nibbles_32(const uint8_t *p) {
    const __m128i bytes = load128(p);
    return _mm256_and_si256(two_halves(bytes, _mm_srli_epi16(bytes, 4)), _mm256_set1_epi8(15));
}

/** `value` in the bytes whose bit is set. */
static inline __m256i where_set(uint32_t bits, int value) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8((char)value));
}

/** 32 codes of 4 bits from element i of a group that starts at p. */
static inline __m256i int4_codes(int64_t group, const uint8_t *p, int64_t i) {
    if (group == 32) {
        return nibbles_32(p);
    }
    const __m256i bytes = load256(p + i % (group / 2));
    return _mm256_and_si256(i < group / 2 ? bytes : _mm256_srli_epi16(bytes, 4),
                            _mm256_set1_epi8(15));
}

/** 32 codes of 2 bits, in the same way. */
static inline __m256i int2_codes(int64_t group, const uint8_t *p, int64_t i) {
    __m256i planes;
    __m256i shift;
    if (group == 32) {
        planes = _mm256_set1_epi64x((int64_t)opt_rd_u64le(p));
        shift = _mm256_setr_epi64x(0, 2, 4, 6);
    } else if (group == 64) {
        planes = _mm256_broadcastsi128_si256(load128(p));
        shift = i == 0 ? _mm256_setr_epi64x(0, 0, 2, 2) : _mm256_setr_epi64x(4, 4, 6, 6);
    } else {
        planes = load256(p);
        shift = _mm256_set1_epi64x(i / 32 * 2);
    }
    return _mm256_and_si256(_mm256_srlv_epi64(planes, shift), _mm256_set1_epi8(3));
}

/** Codes of elements 32 g .. 32 g + 31 of a row. */
static inline OPT_ALWAYS_INLINE __m256i codes_load(codes_layout layout, const codes_rows *c,
                                                   const uint8_t *row, int64_t g) {
    const uint8_t *p = row + codes_block_off(c, g) + c->head;
    const int64_t i = 32 * g % c->block_elems; /* within the block */
    switch (layout) {
    case CODES_Q8_0: return _mm256_xor_si256(load256(p), _mm256_set1_epi8(-128));
    case CODES_Q4_0:
    case CODES_Q4_1: return nibbles_32(p);
    case CODES_Q5_0:
    case CODES_Q5_1: return _mm256_or_si256(nibbles_32(p), where_set(opt_rd_u32le(p - 4), 16));
    case CODES_INT2: return int2_codes(c->block_elems, p, i);
    case CODES_INT3:
        return _mm256_or_si256(int2_codes(c->block_elems, p, i),
                               where_set(opt_rd_u32le(p + c->block_elems / 4 + i / 8), 4));
    case CODES_INT4: return int4_codes(c->block_elems, p, i);
    case CODES_INT8:
    default: return load256(p + i);
    }
}

/** The lower 16 bits of 8 lanes, as halves. */
static inline __m256 halves_of(__m256i v) {
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_packus_epi32(low, low);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

/** Scales (and offsets, if has_min) of group g of 8 rows, which start at rows + row_off[r]. */
static inline OPT_ALWAYS_INLINE void codes_scales(codes_layout layout, const codes_rows *c,
                                                  const uint8_t *rows, __m256i row_off, int64_t g,
                                                  __m256 *d, __m256 *m) {
    /* Four bytes a row: d, and behind it m, a zero point or codes. */
    const __m256i head =
        _mm256_i32gather_epi32((const void *)(rows + codes_block_off(c, g)), row_off, 1);
    *d = halves_of(head);
    *m = _mm256_setzero_ps();
    if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
        *m = halves_of(_mm256_srli_epi32(head, 16));
    } else if (c->zero_byte) {
        const __m256i zero = _mm256_and_si256(_mm256_srli_epi32(head, 16), _mm256_set1_epi32(255));
        const __m256 step = _mm256_set1_ps(codes_zero_step(layout));
        *m = _mm256_mul_ps(*d, _mm256_mul_ps(_mm256_cvtepi32_ps(zero), step));
    }
}

#endif
