/* Squared error of a reconstruction with AVX-512; the reference is in ref/error_ref.c, bound 0: no
 * fused multiply-add, so that every instruction set gives the same bits. */
#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

enum { N_SUMS = 2 }; /* of 8 doubles each */

/** Adds the 8 lanes of every vector to *sum, in increasing order. */
static inline void add_lanes(const __m512d *sums, double *sum) {
    double lanes[8 * N_SUMS];
    for (int k = 0; k < N_SUMS; k++) {
        _mm512_storeu_pd(lanes + 8 * k, sums[k]);
    }
    for (int k = 0; k < 8 * N_SUMS; k++) {
        *sum += lanes[k];
    }
}

/** Adds 8 elements to one vector of either sum. */
static inline void add8(__m256 w, __m256 v, __m512d *e, __m512d *r) {
    const __m512d a = _mm512_cvtps_pd(w);
    const __m512d d = _mm512_sub_pd(a, _mm512_cvtps_pd(v));
    *e = _mm512_add_pd(*e, _mm512_mul_pd(d, d));
    *r = _mm512_add_pd(*r, _mm512_mul_pd(a, a));
}

void optk_add_errors__avx512(const float *w, const float *v, int64_t n, double *err, double *ref) {
    __m512d e[N_SUMS], r[N_SUMS];
    for (int k = 0; k < N_SUMS; k++) {
        e[k] = r[k] = _mm512_setzero_pd();
    }
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        add8(_mm256_loadu_ps(w + i), _mm256_loadu_ps(v + i), &e[0], &r[0]);
        add8(_mm256_loadu_ps(w + i + 8), _mm256_loadu_ps(v + i + 8), &e[1], &r[1]);
    }
    const __mmask16 mask = lanes16(n - i);
    const __mmask8 low = (__mmask8)mask, high = (__mmask8)(mask >> 8);
    add8(_mm256_maskz_loadu_ps(low, w + i), _mm256_maskz_loadu_ps(low, v + i), &e[0], &r[0]);
    if (high != 0) {
        add8(_mm256_maskz_loadu_ps(high, w + i + 8), _mm256_maskz_loadu_ps(high, v + i + 8), &e[1],
             &r[1]);
    }
    add_lanes(e, err);
    add_lanes(r, ref);
}
