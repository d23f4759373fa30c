/** AVX-512 decoders and encoders of short floats. References: ref/decode_plain.c,
 * ref/encode_plain.c, same bits. */
#include <immintrin.h>

#include "kern/rows.h"

/** Mask of the elements i .. i + 15 that are below n. */
static __mmask16 tail_mask(int64_t i, int64_t n) {
    return (__mmask16)(n - i >= 16 ? 0xffff : (1 << (n - i)) - 1);
}

void optk_decode_f16__avx512(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail_mask(i, n);
        _mm512_mask_storeu_ps(dst + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p + 2 * i)));
    }
}

void optk_decode_bf16__avx512(const opt_kspec *s, const void *src, float *dst, int64_t n) {
    (void)s;
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail_mask(i, n);
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p + 2 * i));
        _mm512_mask_storeu_epi32(dst + i, m, _mm512_slli_epi32(wide, 16));
    }
}

void optk_encode_f16__avx512(const opt_kspec *s, const float *w, const float *importance, void *dst,
                             int64_t n) {
    (void)s;
    (void)importance;
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail_mask(i, n);
        const __m512 x = _mm512_maskz_loadu_ps(m, w + i);
        _mm256_mask_storeu_epi16(p + 2 * i, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
}

void optk_encode_bf16__avx512(const opt_kspec *s, const float *w, const float *importance,
                              void *dst, int64_t n) {
    (void)s;
    (void)importance;
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail_mask(i, n);
        const __m512i u = _mm512_maskz_loadu_epi32(m, w + i);
        const __m512i high = _mm512_srli_epi32(u, 16);
        const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
        const __m512 x = _mm512_castsi512_ps(u);
        const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
        const __m512i bits = _mm512_mask_blend_epi32(nan, rounded, quiet);
        _mm256_mask_storeu_epi16(p + 2 * i, m, _mm512_cvtepi32_epi16(bits));
    }
}
