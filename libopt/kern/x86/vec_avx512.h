/** Building blocks that the AVX-512 rows share. Only *_avx512.c and *_amx.c files include it. */
#ifndef OPT_KERN_X86_VEC_AVX512_H
#define OPT_KERN_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#include "base/attr.h"

/** Mask of the lowest min(n, 16) lanes; n >= 0. */
static inline __mmask16 lanes16(int64_t n) {
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

/**
 * Sums of the 16 lanes of four vectors. Every element is reduced in one fixed order, the same for
 * all four: within 128 bits (0 + 2) + (1 + 3), then across 128-bit lanes (0 + 2) + (1 + 3).
 */
static inline __m128 reduce4(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512d lo = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d hi = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512 abcd = _mm512_add_ps(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi));
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/** Sum of the 16 lanes in the order of reduce4. */
static inline float reduce1(__m512 a) { return _mm_cvtss_f32(reduce4(a, a, a, a)); }

/**
 * exp(x) within 1 ulp (2^n times a minimax polynomial of degree 6 on [-ln2/2, ln2/2], relative
 * error 4.4e-9 before rounding); overflow gives infinity, underflow rounds through the subnormals
 * to 0, NaN stays NaN. The same bits as exp8 of AVX2.
 */
static inline __m512 exp16(__m512 x) {
    /* The second operand comes back when one is NaN. The bounds are far outside of what a float can
     * hold. */
    x = _mm512_min_ps(_mm512_set1_ps(150), _mm512_max_ps(_mm512_set1_ps(-150), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e430p-1f), x); /* exact */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.05c610p-29f), r);
    __m512 p = _mm512_set1_ps(0x1.6a2350p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.123a6cp-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f4p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555490p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1)), n);
}

/** Transposes 4 x 4 quarters of 128 bits: out[i] has quarter i of all s. */
static inline void transpose_quarters(const __m512i s[4], __m512i out[4]) {
    const __m512i lo01 = _mm512_shuffle_i32x4(s[0], s[1], 0x44);
    const __m512i hi01 = _mm512_shuffle_i32x4(s[0], s[1], 0xee);
    const __m512i lo23 = _mm512_shuffle_i32x4(s[2], s[3], 0x44);
    const __m512i hi23 = _mm512_shuffle_i32x4(s[2], s[3], 0xee);
    out[0] = _mm512_shuffle_i32x4(lo01, lo23, 0x88);
    out[1] = _mm512_shuffle_i32x4(lo01, lo23, 0xdd);
    out[2] = _mm512_shuffle_i32x4(hi01, hi23, 0x88);
    out[3] = _mm512_shuffle_i32x4(hi01, hi23, 0xdd);
}

/** Transposes 16 x 16 elements of 32 bits in place. */
static inline void transpose16(__m512i v[16]) {
    __m512i u[16];
    for (int i = 0; i < 16; i += 2) {
        u[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        u[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* v[i + c]: columns c + 4 lane of rows i .. i + 3 */
        v[i] = _mm512_unpacklo_epi64(u[i], u[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(u[i + 1], u[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(u[i + 1], u[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        const __m512i quarters[4] = {v[c], v[c + 4], v[c + 8], v[c + 12]};
        transpose_quarters(quarters, u + (size_t)c * 4);
    }
    for (int i = 0; i < 16; i++) { /* u[4 c + i] is column c + 4 i */
        v[i] = u[i % 4 * 4 + i / 4];
    }
}

#endif
