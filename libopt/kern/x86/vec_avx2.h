/** Building blocks that the AVX2 rows share. Only *_avx2.c and *_avxvnni.c files include it. */
#ifndef OPT_KERN_X86_VEC_AVX2_H
#define OPT_KERN_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

/** Mask of the lowest min(n, 8) lanes; any n. */
static inline __m256i lanes8(int64_t n) {
    const int lanes = n >= 8 ? 8 : n < 0 ? 0 : (int)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/** The first min(n, 8) floats at p, the others zero; reads nothing beyond them. */
static inline __m256 load8(const float *p, int64_t n) {
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, lanes8(n));
}

static inline void store8(float *p, int64_t n, __m256 v) {
    if (n >= 8) {
        _mm256_storeu_ps(p, v);
    } else {
        _mm256_maskstore_ps(p, lanes8(n), v);
    }
}

/** The same for 16-bit elements. */
static inline __m128i load8_u16(const void *p, int64_t n) {
    if (n >= 8) {
        return _mm_loadu_si128(p);
    }
    __m128i v = _mm_setzero_si128();
    if (n > 0) {
        memcpy(&v, p, (size_t)n * 2);
    }
    return v;
}

static inline __m256 load8_half(const void *p, int64_t n) {
    return _mm256_cvtph_ps(load8_u16(p, n));
}

/**
 * Sums of the 8 lanes of four vectors. Every element is reduced in one fixed order, the same for
 * all four: within 128 bits (0 + 1) + (2 + 3), then the lower and the upper half.
 */
static inline __m128 reduce4(__m256 a, __m256 b, __m256 c, __m256 d) {
    const __m256 abcd = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}

/** Sum of the 8 lanes in the order of reduce4. */
static inline float reduce1(__m256 a) { return _mm_cvtss_f32(reduce4(a, a, a, a)); }

/** Largest of 8 lanes without NaN. */
static inline float reduce_max(__m256 a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/** p 2^n for whole n within +-250, rounded once. */
static inline __m256 scale_by_power(__m256 p, __m256 n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i first = _mm256_srai_epi32(whole, 1);
    const __m256i second = _mm256_sub_epi32(whole, first);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256 f0 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(first, bias), 23));
    const __m256 f1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(second, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, f0), f1);
}

/** exp(x) within 1 ulp, the same bits as exp16 of AVX-512, where it is explained. */
static inline __m256 exp8(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(150), _mm256_max_ps(_mm256_set1_ps(-150), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e430p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.05c610p-29f), r);
    __m256 p = _mm256_set1_ps(0x1.6a2350p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.123a6cp-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5558f4p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555490p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
    return scale_by_power(_mm256_add_ps(p, _mm256_set1_ps(1)), n);
}

#endif
