/** AVX-512 decoders of blocks, see decode_blocks.inc. References: ref/decode_*.c, same bits. */
#include <immintrin.h>

#include "base/attr.h"

typedef __m512 vec;

static inline OPT_ALWAYS_INLINE vec v_set(float a) { return _mm512_set1_ps(a); }

static inline OPT_ALWAYS_INLINE void put_zero(float *dst, __m128i codes, vec d, vec z) {
    const vec q = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    _mm512_storeu_ps(dst, _mm512_mul_ps(d, _mm512_sub_ps(q, z)));
}

static inline OPT_ALWAYS_INLINE void put_min(float *dst, __m128i codes, vec d, vec m) {
    const vec q = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    _mm512_storeu_ps(dst, _mm512_add_ps(_mm512_mul_ps(d, q), m));
}

#define ISA avx512
#include "kern/x86/decode_blocks.inc"
