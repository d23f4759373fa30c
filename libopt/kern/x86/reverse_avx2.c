/* What the reverse pass needs, with AVX2; references in ref/reverse_ref.c. */
#include <math.h>

#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

/** Within 8 ulp of the reference's terms. */
void optk_swiglu_grad__avx2(const float *gate, const float *up, const float *dy, float *d_gate,
                            float *d_up, int64_t n) {
    const __m256 one = _mm256_set1_ps(1);
    for (int64_t i = 0; i < n; i += 8) {
        const int64_t left = n - i;
        const __m256 z = load8(gate + i, left), d = load8(dy + i, left), u = load8(up + i, left);
        const __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), z));
        const __m256 s = _mm256_div_ps(one, _mm256_add_ps(one, e));
        const __m256 slope = _mm256_mul_ps(s, _mm256_fmadd_ps(z, _mm256_sub_ps(one, s), one));
        store8(d_gate + i, left,
               _mm256_fmadd_ps(_mm256_mul_ps(d, u), slope, load8(d_gate + i, left)));
        store8(d_up + i, left, _mm256_fmadd_ps(d, _mm256_mul_ps(z, s), load8(d_up + i, left)));
    }
}

/** Relative error within (n / 8 + 8) 2^-24 and that of the exponent's argument. */
void optk_softmax__avx2(float *x, int64_t n, float scale) {
    const __m256 factor = _mm256_set1_ps(scale), lowest = _mm256_set1_ps(-INFINITY);
    __m256 max = lowest, sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 v = _mm256_mul_ps(load8(x + i, n - i), factor);
        const __m256 here = _mm256_castsi256_ps(lanes8(n - i));
        max = _mm256_max_ps(max, _mm256_blendv_ps(lowest, v, here));
    }
    const __m256 top = _mm256_set1_ps(reduce_max(max));
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 v = load8(x + i, n - i);
        const __m256 e = exp8(_mm256_sub_ps(_mm256_mul_ps(v, factor), top));
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(lanes8(n - i))));
        store8(x + i, n - i, e);
    }
    const __m256 inverse = _mm256_set1_ps(1.0F / reduce1(sum));
    for (int64_t i = 0; i < n; i += 8) {
        store8(x + i, n - i, _mm256_mul_ps(load8(x + i, n - i), inverse));
    }
}
