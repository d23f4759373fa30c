/* What the reverse pass needs, with AVX-512; references in ref/reverse_ref.c. */
#include <math.h>

#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

/** Within 8 ulp of the reference's terms. */
void optk_swiglu_grad__avx512(const float *gate, const float *up, const float *dy, float *d_gate,
                              float *d_up, int64_t n) {
    const __m512 one = _mm512_set1_ps(1);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 z = _mm512_maskz_loadu_ps(mask, gate + i);
        const __m512 d = _mm512_maskz_loadu_ps(mask, dy + i);
        const __m512 u = _mm512_maskz_loadu_ps(mask, up + i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), z));
        const __m512 s = _mm512_div_ps(one, _mm512_add_ps(one, e));
        /* 1 - s = s exp(-z), which keeps its digits; where exp(-z) overflows s is 0 and 1 - s 1. */
        const __m512 rest = _mm512_sub_ps(one, s);
        const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(z, rest, one));
        const __m512 g =
            _mm512_fmadd_ps(_mm512_mul_ps(d, u), slope, _mm512_maskz_loadu_ps(mask, d_gate + i));
        const __m512 v =
            _mm512_fmadd_ps(d, _mm512_mul_ps(z, s), _mm512_maskz_loadu_ps(mask, d_up + i));
        _mm512_mask_storeu_ps(d_gate + i, mask, g);
        _mm512_mask_storeu_ps(d_up + i, mask, v);
    }
}

/** Relative error within (n / 16 + 8) 2^-24 and that of the exponent's argument. */
void optk_softmax__avx512(float *x, int64_t n, float scale) {
    const __m512 factor = _mm512_set1_ps(scale), lowest = _mm512_set1_ps(-INFINITY);
    __m512 max = lowest, sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        max = _mm512_mask_max_ps(max, mask, max, v);
    }
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(max));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_mul_ps(v, factor), top));
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
        _mm512_mask_storeu_ps(x + i, mask, e);
    }
    const __m512 inverse = _mm512_set1_ps(1.0F / reduce1(sum));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inverse));
    }
}
