/** Vector operations of the encoders for AVX-512, one block a lane: see kern/lanes.inc. */
#ifndef OPT_KERN_X86_LANES_AVX512_H
#define OPT_KERN_X86_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#include "base/attr.h"
#include "kern/x86/vec_avx512.h"

typedef __m512 vec;
typedef __mmask16 vmask;
enum { LANES = 16 };

static inline OPT_ALWAYS_INLINE vec v_set(float a) { return _mm512_set1_ps(a); }
static inline OPT_ALWAYS_INLINE vec v_load(const float *p) { return _mm512_load_ps(p); }
static inline OPT_ALWAYS_INLINE void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
static inline OPT_ALWAYS_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline OPT_ALWAYS_INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_round(vec a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline OPT_ALWAYS_INLINE vec v_half(vec a) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline OPT_ALWAYS_INLINE void v_store_half(uint16_t *p, vec a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline OPT_ALWAYS_INLINE vmask v_gt(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
static inline OPT_ALWAYS_INLINE vmask v_ge(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
static inline OPT_ALWAYS_INLINE vmask v_eq(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline OPT_ALWAYS_INLINE vmask v_and(vmask a, vmask b) { return a & b; }
static inline OPT_ALWAYS_INLINE vec v_select(vmask m, vec yes, vec no) {
    return _mm512_mask_blend_ps(m, no, yes);
}

/** x [16, 16] from columns i .. i + 15 of 16 rows. */
static inline OPT_ALWAYS_INLINE void v_transpose(const float *const rows[LANES], int64_t i,
                                                 float *x) {
    __m512 a[16], b[16];
    /* Each vector takes 4 floats of 4 rows (r, r + 4, r + 8, r + 12), so that shuffles within 128
     * bits are enough. */
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < 4; c++) {
            __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(rows[r] + i + 4 * c));
            v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[r + 4] + i + 4 * c), 1);
            v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[r + 8] + i + 4 * c), 2);
            a[4 * c + r] = _mm512_insertf32x4(v, _mm_loadu_ps(rows[r + 12] + i + 4 * c), 3);
        }
    }
    for (int c = 0; c < 16; c += 4) {
        b[c] = _mm512_unpacklo_ps(a[c], a[c + 1]);
        b[c + 1] = _mm512_unpackhi_ps(a[c], a[c + 1]);
        b[c + 2] = _mm512_unpacklo_ps(a[c + 2], a[c + 3]);
        b[c + 3] = _mm512_unpackhi_ps(a[c + 2], a[c + 3]);
        const __m512d p0 = _mm512_castps_pd(b[c]);
        const __m512d p1 = _mm512_castps_pd(b[c + 1]);
        const __m512d p2 = _mm512_castps_pd(b[c + 2]);
        const __m512d p3 = _mm512_castps_pd(b[c + 3]);
        _mm512_store_ps(x + (c + 0) * LANES, _mm512_castpd_ps(_mm512_unpacklo_pd(p0, p2)));
        _mm512_store_ps(x + (c + 1) * LANES, _mm512_castpd_ps(_mm512_unpackhi_pd(p0, p2)));
        _mm512_store_ps(x + (c + 2) * LANES, _mm512_castpd_ps(_mm512_unpacklo_pd(p1, p3)));
        _mm512_store_ps(x + (c + 3) * LANES, _mm512_castpd_ps(_mm512_unpackhi_pd(p1, p3)));
    }
}

/** Codes of 4 elements: bytes 0-3 of out[lane * stride]. */
static inline OPT_ALWAYS_INLINE void v_store_codes(const vec q[4], uint32_t *out, int stride) {
    __m512i v = _mm512_cvtps_epi32(q[0]);
    v = _mm512_or_si512(v, _mm512_slli_epi32(_mm512_cvtps_epi32(q[1]), 8));
    v = _mm512_or_si512(v, _mm512_slli_epi32(_mm512_cvtps_epi32(q[2]), 16));
    v = _mm512_or_si512(v, _mm512_slli_epi32(_mm512_cvtps_epi32(q[3]), 24));
    uint32_t lanes[LANES];
    _mm512_storeu_si512(lanes, v);
    for (int b = 0; b < LANES; b++) {
        out[b * stride] = lanes[b];
    }
}

static inline OPT_ALWAYS_INLINE vec v_load_some(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps(lanes16(n), p);
}
static inline OPT_ALWAYS_INLINE void v_store_some(float *p, vec a, int64_t n) {
    _mm512_mask_storeu_ps(p, lanes16(n), a);
}
static inline OPT_ALWAYS_INLINE void v_store_ints(int32_t *p, vec a, int64_t n) {
    _mm512_mask_storeu_epi32(p, lanes16(n), _mm512_cvtps_epi32(a));
}
/** p[0], p[stride], p[2 * stride] ... */
static inline OPT_ALWAYS_INLINE vec v_spread(const float *p, int64_t stride, int64_t n) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)stride));
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes16(n), at, p, 4);
}

/** tab [32] (aligned to 64) at the integer parts of index, which lie within [0, 32). */
static inline OPT_ALWAYS_INLINE vec v_lookup(const float *tab, vec index) {
    return _mm512_permutex2var_ps(_mm512_load_ps(tab), _mm512_cvttps_epi32(index),
                                  _mm512_load_ps(tab + 16));
}

/** The largest power of two that is not above |a|; 0 for zero and subnormal numbers. */
static inline OPT_ALWAYS_INLINE vec v_binade(vec a) {
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), exponent));
}

/** The biased exponent of a >= 0 as a number. */
static inline OPT_ALWAYS_INLINE vec v_exponent(vec a) {
    return _mm512_cvtepi32_ps(_mm512_srli_epi32(_mm512_castps_si512(a), 23));
}

#endif
