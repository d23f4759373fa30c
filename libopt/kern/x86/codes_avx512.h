/**
 * Reading the stored blocks of the int8 path with AVX-512: 64 consecutive codes of a row as
 * unsigned bytes, and the scales of 16 rows.
 */
#ifndef OPT_KERN_X86_CODES_AVX512_H
#define OPT_KERN_X86_CODES_AVX512_H

#include "kern/x86/codes_super.h"
#include "kern/x86/codes_ternary.h"
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

/** Digits of 64 elements from element i of a ternary block, whose digits start at p. */
static inline __m512i ternary_codes(int64_t group, const uint8_t *p, int64_t i) {
    const ternary_places *at = ternary_places_of(group, i / 64);
    const __m512i power = _mm512_load_si512(at->power);
    const __m128i first =
        group == 64 ? _mm_set_epi64x((int64_t)opt_rd_u64le(p + 5), (int64_t)opt_rd_u64le(p))
                    : load128(p);
    __m512i v = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(first), _mm512_load_si512(at->first));
    if (group != 64) {
        v = _mm512_or_si512(v, _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(p + 10)),
                                                   _mm512_load_si512(at->second)));
    }
    /* Products of bytes modulo 256, of the even ones and of the odd ones. */
    const __m512i low = _mm512_set1_epi16(255);
    const __m512i even = _mm512_mullo_epi16(v, _mm512_and_si512(power, low));
    const __m512i odd =
        _mm512_mullo_epi16(_mm512_andnot_si512(low, v), _mm512_srli_epi16(power, 8));
    const __m512i t = _mm512_ternarylogic_epi32(low, even, odd, 0xca); /* low ? even : odd */
    const __mmask64 one = _mm512_cmpge_epu8_mask(t, _mm512_set1_epi8(TERNARY_ONE));
    const __mmask64 two = _mm512_cmpge_epu8_mask(t, _mm512_set1_epi8((char)TERNARY_TWO));
    return _mm512_mask_mov_epi8(_mm512_maskz_set1_epi8(one, 1), two, _mm512_set1_epi8(2));
}

/** The two planes of 2 bits with elements 64 i .. 64 i + 63 of a block's qs. */
static inline __m512i planes_64(const uint8_t *qs, int64_t i) {
    const __m512i bytes = _mm512_broadcast_i64x4(load256(qs + i / 2 * 32));
    const __m512i first = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    const __m512i shift = _mm512_add_epi64(first, _mm512_set1_epi64(i % 2 * 4));
    return _mm512_and_si512(_mm512_srlv_epi64(bytes, shift), _mm512_set1_epi8(3));
}

/** Bit 2 i of 32 bytes, then bit 2 i + 1, moved to bit `to`. */
static inline __m512i bits_64(const uint8_t *bytes, int64_t i, int to) {
    const __m512i both = _mm512_broadcast_i64x4(load256(bytes));
    const __m512i first = _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1);
    const __m512i shift = _mm512_add_epi64(first, _mm512_set1_epi64(2 * i));
    const __m512i bit = _mm512_and_si512(_mm512_srlv_epi64(both, shift), _mm512_set1_epi8(1));
    return _mm512_sll_epi64(bit, _mm_cvtsi32_si128(to));
}

/** Elements 64 i .. of q6_k: nibbles in 2 x 64 bytes, pairs of bits behind them. */
static inline __m512i q6_codes(const uint8_t *block, int64_t i) {
    const __m512i low =
        _mm512_srl_epi64(_mm512_loadu_si512(block + i / 2 * 64), _mm_cvtsi64_si128(i % 2 * 4));
    const __m512i high = planes_64(block + 128, i);
    return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi8(15)), _mm512_slli_epi64(high, 4));
}

/** A block of nvfp4: in each 8 bytes the low nibbles come before the high ones. */
static inline __m512i nvfp4_codes(const uint8_t *qs) {
    const __m512i twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3),
                                                   _mm512_castsi256_si512(load256(qs)));
    const __m512i shift = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    return _mm512_and_si512(_mm512_srlv_epi64(twice, shift), _mm512_set1_epi8(15));
}

static inline __m512i look_up(codes_layout layout, __m512i codes) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(codes_levels(layout))), codes);
}

/** Codes of elements 64 p .. 64 p + 63 of a row of blocks with several scales. */
static inline OPT_ALWAYS_INLINE __m512i codes_load_super(codes_layout layout, const codes_rows *c,
                                                         const uint8_t *row, int64_t p) {
    const uint8_t *block = row + codes_block_off(c, 2 * p);
    const uint8_t *qs = block + c->head;
    const int64_t i = codes_in_block(c, 2 * p) / 2;
    switch (layout) {
    case CODES_Q3_K: return _mm512_or_si512(planes_64(qs, i), bits_64(block, i, 2));
    case CODES_Q4_K: return int4_codes(64, qs + i * 32, NULL, 0);
    case CODES_Q5_K:
        return _mm512_or_si512(int4_codes(64, qs + i * 32, NULL, 0), bits_64(block + 16, i, 4));
    case CODES_Q6_K: return q6_codes(block, i);
    case CODES_IQ4_XS: return look_up(layout, nibbles_32_32(qs + i * 32, qs + i * 32 + 16));
    case CODES_NVFP4: return look_up(layout, nvfp4_codes(qs));
    case CODES_Q2_K:
    case CODES_TQ2_0:
    default: return planes_64(qs, i);
    }
}

/**
 * Codes of elements 64 p .. 64 p + 63 of a row. Where the row ends in the middle, the upper half
 * holds something (the lower block once more): activations are zero there.
 */
static inline OPT_ALWAYS_INLINE __m512i codes_load(codes_layout layout, const codes_rows *c,
                                                   const uint8_t *row, int64_t p) {
    if (c->super) {
        return codes_load_super(layout, c, row, p);
    }
    const int64_t second = opt_min_i64(2 * p + 1, c->n_groups - 1);
    const uint8_t *a = row + codes_block_off(c, 2 * p) + c->head;
    const uint8_t *b = row + codes_block_off(c, second) + c->head;
    const int64_t i = 64 * p % c->block_elems; /* within the block */
    switch (layout) {
    case CODES_Q8_0:
        return _mm512_xor_si512(two_halves(load256(a), load256(b)), _mm512_set1_epi8(-128));
    case CODES_Q4_0:
    case CODES_Q4_1: return nibbles_32_32(a, b);
    case CODES_IQ4_NL:
    case CODES_MXFP4: return look_up(layout, nibbles_32_32(a, b));
    case CODES_Q5_0:
    case CODES_Q5_1: return _mm512_or_si512(nibbles_32_32(a, b), fifth_bits(a - 4, b - 4));
    case CODES_INT2: return int2_codes(c->block_elems, a, b, i);
    case CODES_INT3:
        return _mm512_or_si512(int2_codes(c->block_elems, a, b, i),
                               third_bits(c->block_elems, a, b, i));
    case CODES_INT4: return int4_codes(c->block_elems, a, b, i);
    case CODES_TERNARY: return ternary_codes(c->block_elems, a, i);
    case CODES_INT8:
    default:
        return c->block_elems == 32 ? two_halves(load256(a), load256(b))
                                    : _mm512_loadu_si512(a + i);
    }
}

/** A byte of nf4 or fp8 in each word of 32: its code of 16 bits. */
static inline __m512i fp8_words(__m512i v) {
    const __m512i exponent = _mm512_and_si512(_mm512_srli_epi16(v, 3), _mm512_set1_epi16(15));
    const __m512i mantissa = /* (v & 7) | 8 */
        _mm512_ternarylogic_epi32(v, _mm512_set1_epi16(7), _mm512_set1_epi16(8), 0xea);
    const __m512i magnitude = _mm512_srlv_epi16(_mm512_slli_epi16(mantissa, 12),
                                                _mm512_sub_epi16(_mm512_set1_epi16(16), exponent));
    const __mmask32 negative = _mm512_test_epi16_mask(v, _mm512_set1_epi16(0x80));
    return _mm512_xor_si512(
        _mm512_mask_sub_epi16(magnitude, negative, _mm512_setzero_si512(), magnitude),
        _mm512_set1_epi16((short)OPTK_CODE16_OFFSET));
}

/** Codes of 16 bits of 64 elements of fp8, as their high and their low bytes. */
static inline void fp8_planes(__m512i v, __m512i out[2]) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i a = fp8_words(_mm512_unpacklo_epi8(v, zero));
    const __m512i b = fp8_words(_mm512_unpackhi_epi8(v, zero));
    const __m512i low = _mm512_set1_epi16(255);
    out[0] = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
    out[1] = _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low));
}

/** Codes of nf4 (0 .. 15) as planes. */
static inline void nf4_planes(__m512i codes, __m512i out[2]) {
    for (int i = 0; i < 2; i++) {
        out[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(codes_nf4_plane(i))), codes);
    }
}

/** The same where codes have two planes. */
static inline OPT_ALWAYS_INLINE void codes_load_planes(codes_layout layout, const codes_rows *c,
                                                       const uint8_t *row, int64_t p,
                                                       __m512i out[2]) {
    const uint8_t *block = row + codes_block_off(c, 2 * p) + c->head;
    if (layout == CODES_NF4) {
        nf4_planes(int4_codes(64, block, NULL, 0), out);
    } else {
        fp8_planes(_mm512_loadu_si512(block + 64 * p % c->block_elems), out);
    }
}

/** Half of the power of two 2^(e - 127) in each lane's lowest byte. */
static inline __m512 e8m0_half(__m512i v) {
    const __m512i e = _mm512_and_si512(v, _mm512_set1_epi32(255));
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x200000), e);
    const __mmask16 is_small = _mm512_cmple_epi32_mask(e, one);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_small, small));
}

/** Half of 16 unsigned E4M3 numbers; 0x7f (NaN) counts as zero. */
static inline __m512 ue4m3_half(__m128i bytes) {
    const __m512i v = _mm512_cvtepu8_epi32(bytes);
    const __m512i bits = _mm512_slli_epi32(_mm512_and_si512(v, _mm512_set1_epi32(0x7f)), 20);
    const __mmask16 is_number = _mm512_cmpneq_epi32_mask(v, _mm512_set1_epi32(0x7f));
    return _mm512_maskz_mul_ps(is_number, _mm512_castsi512_ps(bits), _mm512_set1_ps(0x1p119f));
}

/** 16 words as one vector. */
static inline __m128i words4(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return _mm_setr_epi32((int)a, (int)b, (int)c, (int)d);
}

/** Scales (and offsets) of units u .. u + 15 of one row of blocks with several; those behind the
 * row's n_units are zero. */
static inline OPT_ALWAYS_INLINE void codes_super_scales(codes_layout layout, const codes_rows *c,
                                                        const uint8_t *row, int64_t u, __m512 *d,
                                                        __m512 *m) {
    const int64_t n_units = c->n_groups * c->units;
    const int block_units = codes_block_units(c);
    const uint8_t *first = row + u / block_units * c->block_bytes;
    *m = _mm512_setzero_ps();
    if (layout == CODES_NVFP4) {
        uint32_t words[4] = {0};
        for (int i = 0; i < 4 && u + 4 * i < n_units; i++) {
            words[i] = opt_rd_u32le(first + (size_t)i * 36);
        }
        *d = ue4m3_half(words4(words[0], words[1], words[2], words[3]));
        return;
    }
    codes_super a = {0};
    codes_super b = {0};
    codes_super_read(layout, first, &a);
    if (block_units == 8) {
        if (u + 8 < n_units) {
            codes_super_read(layout, first + c->block_bytes, &b);
        }
        a.scale[2] = b.scale[0], a.scale[3] = b.scale[1];
        a.min[2] = b.min[0], a.min[3] = b.min[1];
    } else {
        b.d = a.d, b.dmin = a.dmin;
    }
    const __m512 scale = _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(words4(a.scale[0], a.scale[1], a.scale[2], a.scale[3])));
    *d = _mm512_mul_ps(_mm512_mask_mov_ps(_mm512_set1_ps(a.d), 0xff00, _mm512_set1_ps(b.d)), scale);
    if (c->has_min) {
        const __m512 min = _mm512_cvtepi32_ps(
            _mm512_cvtepu8_epi32(words4(a.min[0], a.min[1], a.min[2], a.min[3])));
        const __m512 dmin =
            _mm512_mask_mov_ps(_mm512_set1_ps(-a.dmin), 0xff00, _mm512_set1_ps(-b.dmin));
        *m = _mm512_mul_ps(dmin, min);
    }
}

/** Scales (and offsets, if has_min) of group g of 16 rows, which start at row + row_off[r]. */
static inline OPT_ALWAYS_INLINE void codes_scales(codes_layout layout, const codes_rows *c,
                                                  const uint8_t *rows, __m512i row_off, int64_t g,
                                                  __m512 *d, __m512 *m) {
    /* Four bytes a row: d, and behind it m, a zero point or codes. */
    const __m512i head = _mm512_i32gather_epi32(row_off, rows + codes_block_off(c, g), 1);
    *d = layout == CODES_MXFP4 ? e8m0_half(head) : _mm512_cvtph_ps(_mm512_cvtepi32_epi16(head));
    *m = _mm512_setzero_ps();
    if (c->planes == 2) {
        *d = _mm512_mul_ps(*d, _mm512_set1_ps(codes_unit16(layout)));
    }
    if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
        *m = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(head, 16)));
    } else if (c->zero_byte) {
        const __m512i zero = _mm512_and_si512(_mm512_srli_epi32(head, 16), _mm512_set1_epi32(255));
        const __m512 step = _mm512_set1_ps(codes_zero_step(layout));
        *m = _mm512_mul_ps(*d, _mm512_mul_ps(_mm512_cvtepi32_ps(zero), step));
    }
}

#endif
