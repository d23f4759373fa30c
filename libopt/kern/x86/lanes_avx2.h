/** Vector operations of the encoders for AVX2, one block a lane: see kern/lanes.inc. */
#ifndef OPT_KERN_X86_LANES_AVX2_H
#define OPT_KERN_X86_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "base/attr.h"
#include "kern/x86/vec_avx2.h"

typedef __m256 vec;
typedef __m256 vmask;
enum { LANES = 8 };

static inline OPT_ALWAYS_INLINE vec v_set(float a) { return _mm256_set1_ps(a); }
static inline OPT_ALWAYS_INLINE vec v_load(const float *p) { return _mm256_load_ps(p); }
static inline OPT_ALWAYS_INLINE void v_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
static inline OPT_ALWAYS_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline OPT_ALWAYS_INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_round(vec a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline OPT_ALWAYS_INLINE vec v_half(vec a) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline OPT_ALWAYS_INLINE void v_store_half(uint16_t *p, vec a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline OPT_ALWAYS_INLINE vmask v_gt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline OPT_ALWAYS_INLINE vmask v_ge(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline OPT_ALWAYS_INLINE vmask v_eq(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline OPT_ALWAYS_INLINE vmask v_and(vmask a, vmask b) { return _mm256_and_ps(a, b); }
static inline OPT_ALWAYS_INLINE vec v_select(vmask m, vec yes, vec no) {
    return _mm256_blendv_ps(no, yes, m);
}

/** x [8, 8] from columns i .. i + 7 of 8 rows. */
static inline OPT_ALWAYS_INLINE void v_transpose(const float *const rows[LANES], int64_t i,
                                                 float *x) {
    /* Each vector takes 4 floats of rows r and r + 4, so that shuffles within 128 bits are enough.
     */
    for (int c = 0; c < 8; c += 4) {
        __m256 a[4];
        for (int r = 0; r < 4; r++) {
            a[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[r] + i + c)),
                                        _mm_loadu_ps(rows[r + 4] + i + c), 1);
        }
        const __m256d p0 = _mm256_castps_pd(_mm256_unpacklo_ps(a[0], a[1]));
        const __m256d p1 = _mm256_castps_pd(_mm256_unpackhi_ps(a[0], a[1]));
        const __m256d p2 = _mm256_castps_pd(_mm256_unpacklo_ps(a[2], a[3]));
        const __m256d p3 = _mm256_castps_pd(_mm256_unpackhi_ps(a[2], a[3]));
        _mm256_store_ps(x + (c + 0) * LANES, _mm256_castpd_ps(_mm256_unpacklo_pd(p0, p2)));
        _mm256_store_ps(x + (c + 1) * LANES, _mm256_castpd_ps(_mm256_unpackhi_pd(p0, p2)));
        _mm256_store_ps(x + (c + 2) * LANES, _mm256_castpd_ps(_mm256_unpacklo_pd(p1, p3)));
        _mm256_store_ps(x + (c + 3) * LANES, _mm256_castpd_ps(_mm256_unpackhi_pd(p1, p3)));
    }
}

/** Codes of 4 elements: bytes 0-3 of out[lane * stride]. */
static inline OPT_ALWAYS_INLINE void v_store_codes(const vec q[4], uint32_t *out, int stride) {
    __m256i v = _mm256_cvtps_epi32(q[0]);
    v = _mm256_or_si256(v, _mm256_slli_epi32(_mm256_cvtps_epi32(q[1]), 8));
    v = _mm256_or_si256(v, _mm256_slli_epi32(_mm256_cvtps_epi32(q[2]), 16));
    v = _mm256_or_si256(v, _mm256_slli_epi32(_mm256_cvtps_epi32(q[3]), 24));
    uint32_t lanes[LANES];
    _mm256_storeu_si256((__m256i *)lanes, v);
    for (int b = 0; b < LANES; b++) {
        out[b * stride] = lanes[b];
    }
}

static inline OPT_ALWAYS_INLINE vec v_load_some(const float *p, int64_t n) { return load8(p, n); }
static inline OPT_ALWAYS_INLINE void v_store_some(float *p, vec a, int64_t n) { store8(p, n, a); }
static inline OPT_ALWAYS_INLINE void v_store_ints(int32_t *p, vec a, int64_t n) {
    _mm256_maskstore_epi32(p, lanes8(n), _mm256_cvtps_epi32(a));
}
/** p[0], p[stride], p[2 * stride] ... */
static inline OPT_ALWAYS_INLINE vec v_spread(const float *p, int64_t stride, int64_t n) {
    float lanes[LANES] = {0};
    for (int64_t i = 0; i < LANES && i < n; i++) {
        lanes[i] = p[i * stride];
    }
    return _mm256_loadu_ps(lanes);
}

/** tab [32] at the integer parts of index, which lie within [0, 32). */
static inline OPT_ALWAYS_INLINE vec v_lookup(const float *tab, vec index) {
    const __m256i i = _mm256_and_si256(_mm256_cvttps_epi32(index), _mm256_set1_epi32(31));
    return _mm256_i32gather_ps(tab, i, 4);
}

/** The largest power of two that is not above |a|; 0 for zero and subnormal numbers. */
static inline OPT_ALWAYS_INLINE vec v_binade(vec a) {
    return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000)));
}

/** The biased exponent of a >= 0 as a number. */
static inline OPT_ALWAYS_INLINE vec v_exponent(vec a) {
    return _mm256_cvtepi32_ps(_mm256_srli_epi32(_mm256_castps_si256(a), 23));
}

#endif
