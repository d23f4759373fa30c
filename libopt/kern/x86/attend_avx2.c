/*
 * Attention of one query head with AVX2, references optk_attend_f32__ref and optk_attend_f16__ref;
 * bound: a few ulp of sum p |v| for scores of moderate size.
 *
 * Orders: dot products have 8 lanes over d, added as reduce4 does; the sum of exponentials has 8
 * lanes over keys; outputs add keys in increasing order.
 */
#include <math.h>

#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

/** Keys or values: f32, or half precision; `half` is constant after inlining. */
static inline OPT_ALWAYS_INLINE __m256 load(bool half, const void *p, int64_t i, int64_t n) {
    return half ? load8_half((const uint16_t *)p + i, n) : load8((const float *)p + i, n);
}

static inline const void *row_at(bool half, const void *base, int64_t off) {
    return (const uint8_t *)base + (half ? 2 : 4) * off;
}

/** scores[j] = scale * (q . k_j). */
static inline OPT_ALWAYS_INLINE void dots(bool half, const float *q, const void *k, int64_t stride,
                                          int64_t n_keys, int64_t d, float scale, float *scores) {
    for (int64_t j = 0; j < n_keys; j += 4) {
        const void *row[4];
        __m256 sum[4];
        for (int a = 0; a < 4; a++) { /* behind the last key: the last one again */
            row[a] = row_at(half, k, opt_min_i64(j + a, n_keys - 1) * stride);
            sum[a] = _mm256_setzero_ps();
        }
        for (int64_t i = 0; i < d; i += 8) {
            const __m256 qi = load8(q + i, d - i);
            for (int a = 0; a < 4; a++) {
                sum[a] = _mm256_fmadd_ps(load(half, row[a], i, d - i), qi, sum[a]);
            }
        }
        const __m128 four = _mm_mul_ps(reduce4(sum[0], sum[1], sum[2], sum[3]), _mm_set1_ps(scale));
        store8(scores + j, opt_min_i64(4, n_keys - j), _mm256_castps128_ps256(four));
    }
}

/** Replaces scores by exp(score - max); returns 1 / their sum. */
static float exponentials(float *scores, int64_t n) {
    __m256 max = _mm256_set1_ps(-INFINITY);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 mask = _mm256_castsi256_ps(lanes8(n - i));
        max = _mm256_blendv_ps(max, _mm256_max_ps(max, load8(scores + i, n - i)), mask);
    }
    const __m256 largest = _mm256_set1_ps(reduce_max(max));
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 mask = _mm256_castsi256_ps(lanes8(n - i));
        const __m256 e =
            _mm256_and_ps(mask, exp8(_mm256_sub_ps(load8(scores + i, n - i), largest)));
        sum = _mm256_add_ps(sum, e);
        store8(scores + i, n - i, e);
    }
    return 1.0f / reduce1(sum);
}

/** out[i .. i + 32) of the weighted sum of values. */
static inline OPT_ALWAYS_INLINE void mix32(bool half, const float *weights, const void *v,
                                           int64_t stride, int64_t n_keys, int64_t i, int64_t d_v,
                                           float scale, float *out) {
    __m256 sum[4];
    for (int c = 0; c < 4; c++) {
        sum[c] = _mm256_setzero_ps();
    }
    for (int64_t j = 0; j < n_keys; j++) {
        const void *row = row_at(half, v, j * stride);
        const __m256 w = _mm256_set1_ps(weights[j]);
        for (int c = 0; c < 4; c++) {
            const int64_t at = i + 8 * c;
            const __m256 value = at < d_v ? load(half, row, at, d_v - at) : _mm256_setzero_ps();
            sum[c] = _mm256_fmadd_ps(w, value, sum[c]);
        }
    }
    for (int c = 0; c < 4 && i + 8 * c < d_v; c++) {
        store8(out + i + 8 * c, d_v - i - 8 * c, _mm256_mul_ps(sum[c], _mm256_set1_ps(scale)));
    }
}

void optk_attend_f32__avx2(const float *q, const float *k, int64_t k_stride, const float *v,
                           int64_t v_stride, int64_t n_keys, int64_t d, int64_t d_v, float scale,
                           float *scores, float *out) {
    dots(false, q, k, k_stride, n_keys, d, scale, scores);
    const float inverse = exponentials(scores, n_keys);
    for (int64_t i = 0; i < d_v; i += 32) {
        mix32(false, scores, v, v_stride, n_keys, i, d_v, inverse, out);
    }
}

void optk_attend_f16__avx2(const float *q, const uint16_t *k, int64_t k_stride, const uint16_t *v,
                           int64_t v_stride, int64_t n_keys, int64_t d, int64_t d_v, float scale,
                           float *scores, float *out) {
    dots(true, q, k, k_stride, n_keys, d, scale, scores);
    const float inverse = exponentials(scores, n_keys);
    for (int64_t i = 0; i < d_v; i += 32) {
        mix32(true, scores, v, v_stride, n_keys, i, d_v, inverse, out);
    }
}
