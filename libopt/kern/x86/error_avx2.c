/* Squared error of a reconstruction with AVX2; the reference is in ref/error_ref.c, bound 0: no
 * fused multiply-add, so that every instruction set gives the same bits. */
#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

enum { N_SUMS = 4 }; /* of 4 doubles each */

/** Adds the 4 lanes of every vector to *sum, in increasing order. */
static inline void add_lanes(const __m256d *sums, double *sum) {
    double lanes[4 * N_SUMS];
    for (int k = 0; k < N_SUMS; k++) {
        _mm256_storeu_pd(lanes + 4 * k, sums[k]);
    }
    for (int k = 0; k < 4 * N_SUMS; k++) {
        *sum += lanes[k];
    }
}

/** Adds 8 elements to two vectors of either sum. */
static inline void add8(__m256 w, __m256 v, __m256d *e, __m256d *r) {
    const __m128 half_w[2] = {_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1)};
    const __m128 half_v[2] = {_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)};
    for (int k = 0; k < 2; k++) {
        const __m256d a = _mm256_cvtps_pd(half_w[k]);
        const __m256d d = _mm256_sub_pd(a, _mm256_cvtps_pd(half_v[k]));
        e[k] = _mm256_add_pd(e[k], _mm256_mul_pd(d, d));
        r[k] = _mm256_add_pd(r[k], _mm256_mul_pd(a, a));
    }
}

void optk_add_errors__avx2(const float *w, const float *v, int64_t n, double *err, double *ref) {
    __m256d e[N_SUMS], r[N_SUMS];
    for (int k = 0; k < N_SUMS; k++) {
        e[k] = r[k] = _mm256_setzero_pd();
    }
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        add8(_mm256_loadu_ps(w + i), _mm256_loadu_ps(v + i), e, r);
        add8(_mm256_loadu_ps(w + i + 8), _mm256_loadu_ps(v + i + 8), e + 2, r + 2);
    }
    if (i < n) {
        add8(load8(w + i, n - i), load8(v + i, n - i), e, r);
    }
    if (i + 8 < n) {
        add8(load8(w + i + 8, n - i - 8), load8(v + i + 8, n - i - 8), e + 2, r + 2);
    }
    add_lanes(e, err);
    add_lanes(r, ref);
}
