/** AVX2 decoders of blocks, see decode_blocks.inc. References: ref/decode_*.c, same bits. */
#include <immintrin.h>

#include "base/attr.h"

typedef __m256 vec;

static inline OPT_ALWAYS_INLINE vec v_set(float a) { return _mm256_set1_ps(a); }

static inline OPT_ALWAYS_INLINE void put_zero(float *dst, __m128i codes, vec d, vec z) {
    const vec low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
    const vec high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(codes, codes)));
    _mm256_storeu_ps(dst, _mm256_mul_ps(d, _mm256_sub_ps(low, z)));
    _mm256_storeu_ps(dst + 8, _mm256_mul_ps(d, _mm256_sub_ps(high, z)));
}

static inline OPT_ALWAYS_INLINE void put_min(float *dst, __m128i codes, vec d, vec m) {
    const vec low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
    const vec high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(codes, codes)));
    _mm256_storeu_ps(dst, _mm256_add_ps(_mm256_mul_ps(d, low), m));
    _mm256_storeu_ps(dst + 8, _mm256_add_ps(_mm256_mul_ps(d, high), m));
}

#define ISA avx2
#include "kern/x86/decode_blocks.inc"
