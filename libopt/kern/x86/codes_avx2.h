/** Reading the stored blocks of the int8 path with AVX2: 32 consecutive codes as bytes, scales of 8
 * rows. */
#ifndef OPT_KERN_X86_CODES_AVX2_H
#define OPT_KERN_X86_CODES_AVX2_H

#include "kern/x86/codes_super.h"
#include "kern/x86/codes_ternary.h"
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

/** Bits 2 i (and 2 i + 1) of 32 bytes as codes of 2 bits; bit i as codes of one. */
static inline __m256i plane_32(const uint8_t *bytes, int64_t shift, int mask) {
    const __m256i moved = _mm256_srl_epi64(load256(bytes), _mm_cvtsi64_si128(shift));
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)mask));
}

/** Digits of 32 elements from element i of a ternary block, whose digits start at p. */
static inline __m256i ternary_codes(int64_t group, const uint8_t *p, int64_t i) {
    const ternary_places *at = ternary_places_of(group, i / 64);
    const __m256i power = load256(at->power + i % 64);
    const __m128i first =
        group == 64 ? _mm_set_epi64x((int64_t)opt_rd_u64le(p + 5), (int64_t)opt_rd_u64le(p))
                    : load128(p);
    __m256i v =
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(first), load256(at->first + i % 64));
    if (group != 64) {
        v = _mm256_or_si256(v, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(p + 10)),
                                                   load256(at->second + i % 64)));
    }
    /* Products of bytes modulo 256, of the even ones and of the odd ones. */
    const __m256i low = _mm256_set1_epi16(255);
    const __m256i even = _mm256_mullo_epi16(v, _mm256_and_si256(power, low));
    const __m256i odd =
        _mm256_mullo_epi16(_mm256_andnot_si256(low, v), _mm256_srli_epi16(power, 8));
    const __m256i t = _mm256_or_si256(_mm256_and_si256(even, low), odd);
    const __m256i one = _mm256_cmpeq_epi8(_mm256_max_epu8(t, _mm256_set1_epi8(TERNARY_ONE)), t);
    const __m256i two =
        _mm256_cmpeq_epi8(_mm256_max_epu8(t, _mm256_set1_epi8((char)TERNARY_TWO)), t);
    return _mm256_sub_epi8(_mm256_sub_epi8(_mm256_setzero_si256(), one), two);
}

/** Codes of 16 bits of 32 elements of fp8, as their high and their low bytes. */
static inline void fp8_planes(__m256i v, __m256i out[2]) {
    const __m256i powers = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                                            2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_set1_epi16(255);
    const __m256i exponent = _mm256_and_si256(_mm256_srli_epi16(v, 3), _mm256_set1_epi8(15));
    const __m256i mantissa = /* from bit 4 on */
        _mm256_slli_epi16(
            _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi8(7)), _mm256_set1_epi8(8)), 4);
    /* Words of 2^exponent: its bits 0 .. 7, then 8 .. 15. */
    const __m256i power_low = _mm256_shuffle_epi8(powers, exponent);
    const __m256i power_high =
        _mm256_shuffle_epi8(powers, _mm256_xor_si256(exponent, _mm256_set1_epi8(8)));
    const __m256i sign = _mm256_set1_epi8(1); /* below the byte, so that no word is zero */
    __m256i word[2];
    word[0] = _mm256_sign_epi16(_mm256_mulhi_epu16(_mm256_unpacklo_epi8(zero, mantissa),
                                                   _mm256_unpacklo_epi8(power_low, power_high)),
                                _mm256_unpacklo_epi8(sign, v));
    word[1] = _mm256_sign_epi16(_mm256_mulhi_epu16(_mm256_unpackhi_epi8(zero, mantissa),
                                                   _mm256_unpackhi_epi8(power_low, power_high)),
                                _mm256_unpackhi_epi8(sign, v));
    for (int i = 0; i < 2; i++) {
        word[i] = _mm256_xor_si256(word[i], _mm256_set1_epi16((short)OPTK_CODE16_OFFSET));
    }
    out[0] = _mm256_packus_epi16(_mm256_srli_epi16(word[0], 8), _mm256_srli_epi16(word[1], 8));
    out[1] = _mm256_packus_epi16(_mm256_and_si256(word[0], low), _mm256_and_si256(word[1], low));
}

/** Codes of nf4 (0 .. 15) as planes. */
static inline void nf4_planes(__m256i codes, __m256i out[2]) {
    for (int i = 0; i < 2; i++) {
        out[i] =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(codes_nf4_plane(i))), codes);
    }
}

static inline __m256i look_up(codes_layout layout, __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(codes_levels(layout))), codes);
}

/** Half a block of nvfp4: in each 8 bytes the low nibbles come before the high ones. */
static inline __m256i nvfp4_codes(const uint8_t *qs) {
    const __m128i bytes = load128(qs);
    const __m128i high = _mm_srli_epi16(bytes, 4);
    return _mm256_and_si256(
        two_halves(_mm_unpacklo_epi64(bytes, high), _mm_unpackhi_epi64(bytes, high)),
        _mm256_set1_epi8(15));
}

/** Codes of group g of a row of blocks with several scales. */
static inline OPT_ALWAYS_INLINE __m256i codes_load_super(codes_layout layout, const codes_rows *c,
                                                         const uint8_t *row, int64_t g) {
    const uint8_t *block = row + codes_block_off(c, g);
    const uint8_t *qs = block + c->head;
    const int64_t i = codes_in_block(c, g);
    __m256i low;
    switch (layout) {
    case CODES_Q3_K:
        low = plane_32(qs + i / 4 * 32, i % 4 * 2, 3);
        return _mm256_or_si256(low, _mm256_slli_epi16(plane_32(block, i, 1), 2));
    case CODES_Q4_K: return plane_32(qs + i / 2 * 32, i % 2 * 4, 15);
    case CODES_Q5_K:
        low = plane_32(qs + i / 2 * 32, i % 2 * 4, 15);
        return _mm256_or_si256(low, _mm256_slli_epi16(plane_32(block + 16, i, 1), 4));
    case CODES_Q6_K:
        low = plane_32(block + i / 4 * 64 + i % 2 * 32, i % 4 / 2 * 4, 15);
        return _mm256_or_si256(
            low, _mm256_slli_epi16(plane_32(block + 128 + i / 4 * 32, i % 4 * 2, 3), 4));
    case CODES_IQ4_XS: return look_up(layout, nibbles_32(qs + i * 16));
    case CODES_NVFP4: return look_up(layout, nvfp4_codes(qs + i * 16));
    case CODES_Q2_K:
    case CODES_TQ2_0:
    default: return plane_32(qs + i / 4 * 32, i % 4 * 2, 3);
    }
}

/** Codes of elements 32 g .. 32 g + 31 of a row. */
static inline OPT_ALWAYS_INLINE __m256i codes_load(codes_layout layout, const codes_rows *c,
                                                   const uint8_t *row, int64_t g) {
    if (c->super) {
        return codes_load_super(layout, c, row, g);
    }
    const uint8_t *p = row + codes_block_off(c, g) + c->head;
    const int64_t i = 32 * g % c->block_elems; /* within the block */
    switch (layout) {
    case CODES_Q8_0: return _mm256_xor_si256(load256(p), _mm256_set1_epi8(-128));
    case CODES_Q4_0:
    case CODES_Q4_1: return nibbles_32(p);
    case CODES_IQ4_NL:
    case CODES_MXFP4: return look_up(layout, nibbles_32(p));
    case CODES_Q5_0:
    case CODES_Q5_1: return _mm256_or_si256(nibbles_32(p), where_set(opt_rd_u32le(p - 4), 16));
    case CODES_INT2: return int2_codes(c->block_elems, p, i);
    case CODES_INT3:
        return _mm256_or_si256(int2_codes(c->block_elems, p, i),
                               where_set(opt_rd_u32le(p + c->block_elems / 4 + i / 8), 4));
    case CODES_INT4: return int4_codes(c->block_elems, p, i);
    case CODES_TERNARY: return ternary_codes(c->block_elems, p, i);
    case CODES_INT8:
    default: return load256(p + i);
    }
}

/** The same where codes have two planes. */
static inline OPT_ALWAYS_INLINE void codes_load_planes(codes_layout layout, const codes_rows *c,
                                                       const uint8_t *row, int64_t g,
                                                       __m256i out[2]) {
    const uint8_t *p = row + codes_block_off(c, g) + c->head;
    const int64_t i = 32 * g % c->block_elems;
    if (layout == CODES_NF4) {
        nf4_planes(int4_codes(64, p, i), out);
    } else {
        fp8_planes(load256(p + i), out);
    }
}

/** The lower 16 bits of 8 lanes, as halves. */
static inline __m256 halves_of(__m256i v) {
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_packus_epi32(low, low);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

/** Half of the power of two 2^(e - 127) in each lane's lowest byte. */
static inline __m256 e8m0_half(__m256i v) {
    const __m256i e = _mm256_and_si256(v, _mm256_set1_epi32(255));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
}

/** Scales (and offsets) of the units of group g, the first of a block, and of the block's other
 * groups, for one row: row r of d and m [unit][8]. */
static inline OPT_ALWAYS_INLINE void codes_super_scales(codes_layout layout, const codes_rows *c,
                                                        const uint8_t *row, int64_t g, int r,
                                                        float (*d)[8], float (*m)[8]) {
    const uint8_t *block = row + codes_block_off(c, g);
    codes_super s = {0};
    if (layout != CODES_NVFP4) {
        codes_super_read(layout, block, &s);
    }
    for (int u = 0; u < codes_block_units(c); u++) {
        if (layout == CODES_NVFP4) {
            d[u][r] = optk_ue4m3_half(block[u]);
            continue;
        }
        d[u][r] = s.d * (float)(int8_t)(s.scale[u / 4] >> u % 4 * 8);
        m[u][r] = -s.dmin * (float)(s.min[u / 4] >> u % 4 * 8 & 255);
    }
}

/** Scales (and offsets, if has_min) of group g of 8 rows, which start at rows + row_off[r]. */
static inline OPT_ALWAYS_INLINE void codes_scales(codes_layout layout, const codes_rows *c,
                                                  const uint8_t *rows, __m256i row_off, int64_t g,
                                                  __m256 *d, __m256 *m) {
    /* Four bytes a row: d, and behind it m, a zero point or codes. */
    const __m256i head =
        _mm256_i32gather_epi32((const void *)(rows + codes_block_off(c, g)), row_off, 1);
    *d = layout == CODES_MXFP4 ? e8m0_half(head) : halves_of(head);
    *m = _mm256_setzero_ps();
    if (c->planes == 2) {
        *d = _mm256_mul_ps(*d, _mm256_set1_ps(codes_unit16(layout)));
    }
    if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
        *m = halves_of(_mm256_srli_epi32(head, 16));
    } else if (c->zero_byte) {
        const __m256i zero = _mm256_and_si256(_mm256_srli_epi32(head, 16), _mm256_set1_epi32(255));
        const __m256 step = _mm256_set1_ps(codes_zero_step(layout));
        *m = _mm256_mul_ps(*d, _mm256_mul_ps(_mm256_cvtepi32_ps(zero), step));
    }
}

#endif
