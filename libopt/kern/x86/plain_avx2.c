/** AVX2 decoders and encoders of short floats. References: ref/decode_plain.c, ref/encode_plain.c,
 * same bits. */
#include <immintrin.h>

#include "kern/half.h"
#include "kern/rows.h"

void optk_decode_f16__avx2(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    const uint8_t *p = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i halves = _mm_loadu_si128((const void *)(p + 2 * i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(halves));
    }
    optk_decode_f16__ref(s, p + 2 * i, dst + i, n - i);
}

void optk_decode_bf16__avx2(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    const uint8_t *p = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i halves = _mm_loadu_si128((const void *)(p + 2 * i));
        const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
        _mm256_storeu_si256((void *)(dst + i), wide);
    }
    optk_decode_bf16__ref(s, p + 2 * i, dst + i, n - i);
}

void optk_encode_f16__avx2(const opt_kspec *s, const float *w, const float *importance, void *dst,
                           int64_t n) {
    uint8_t *p = dst;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 x = _mm256_loadu_ps(w + i);
        _mm_storeu_si128((void *)(p + 2 * i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
    optk_encode_f16__ref(s, w + i, importance, p + 2 * i, n - i);
}

/** Upper halves, rounded to nearest even, of 8 floats in 32-bit lanes; a NaN becomes quiet. */
static __m256i round_bf16(const float *w) {
    const __m256 x = _mm256_loadu_ps(w);
    const __m256i u = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
}

void optk_encode_bf16__avx2(const opt_kspec *s, const float *w, const float *importance, void *dst,
                            int64_t n) {
    uint8_t *p = dst;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m256i packed = _mm256_packus_epi32(round_bf16(w + i), round_bf16(w + i + 8));
        /* packus works within 128 bits: quarters 0 2 1 3 */
        _mm256_storeu_si256((void *)(p + 2 * i), _mm256_permute4x64_epi64(packed, 0xd8));
    }
    optk_encode_bf16__ref(s, w + i, importance, p + 2 * i, n - i);
}
