/*
 * Attention of one query head with AVX-512, references optk_attend_f32__ref and
 * optk_attend_f16__ref; bound: a few ulp of sum p |v| for scores of moderate size.
 *
 * Orders: dot products have 16 lanes over d, added as reduce4 does; the sum of exponentials has 16
 * lanes over keys; outputs add even keys, odd keys, and then both sums.
 */
#include <math.h>

#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

/** Keys or values: f32, or half precision; `half` is constant after inlining. */
static inline OPT_ALWAYS_INLINE __m512 load(bool half, const void *p, int64_t i, __mmask16 mask) {
    return half ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)p + i))
                : _mm512_maskz_loadu_ps(mask, (const float *)p + i);
}

static inline const void *row_at(bool half, const void *base, int64_t off) {
    return (const uint8_t *)base + (half ? 2 : 4) * off;
}

/** scores[j] = scale * (q . k_j). */
static inline OPT_ALWAYS_INLINE void dots(bool half, const float *q, const void *k, int64_t stride,
                                          int64_t n_keys, int64_t d, float scale, float *scores) {
    for (int64_t j = 0; j < n_keys; j += 4) {
        const void *row[4];
        __m512 sum[4];
        for (int a = 0; a < 4; a++) { /* behind the last key: the last one again */
            row[a] = row_at(half, k, opt_min_i64(j + a, n_keys - 1) * stride);
            sum[a] = _mm512_setzero_ps();
        }
        for (int64_t i = 0; i < d; i += 16) {
            const __mmask16 mask = lanes16(d - i);
            const __m512 qi = _mm512_maskz_loadu_ps(mask, q + i);
            for (int a = 0; a < 4; a++) {
                sum[a] = _mm512_fmadd_ps(load(half, row[a], i, mask), qi, sum[a]);
            }
        }
        const __m128 four = _mm_mul_ps(reduce4(sum[0], sum[1], sum[2], sum[3]), _mm_set1_ps(scale));
        _mm_mask_storeu_ps(scores + j, (__mmask8)lanes16(opt_min_i64(4, n_keys - j)), four);
    }
}

/** Replaces scores by exp(score - max); returns 1 / their sum. */
static float exponentials(float *scores, int64_t n) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 max = lowest;
    for (int64_t i = 0; i < n; i += 16) {
        max = _mm512_max_ps(max, _mm512_mask_loadu_ps(lowest, lanes16(n - i), scores + i));
    }
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(max));
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), largest));
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
        _mm512_mask_storeu_ps(scores + i, mask, e);
    }
    return 1.0f / reduce1(sum);
}

/** out[i .. i + 64) of the weighted sum of values. */
static inline OPT_ALWAYS_INLINE void mix64(bool half, const float *weights, const void *v,
                                           int64_t stride, int64_t n_keys, int64_t i, int64_t d_v,
                                           float scale, float *out) {
    __m512 sum[2][4];
    __mmask16 mask[4];
    for (int c = 0; c < 4; c++) {
        sum[0][c] = sum[1][c] = _mm512_setzero_ps();
        mask[c] = lanes16(opt_max_i64(0, d_v - i - 16 * c));
    }
    int64_t j = 0;
    for (; j + 2 <= n_keys; j += 2) {
        for (int a = 0; a < 2; a++) {
            const void *row = row_at(half, v, (j + a) * stride + i);
            const __m512 w = _mm512_set1_ps(weights[j + a]);
            for (int c = 0; c < 4; c++) {
                sum[a][c] = _mm512_fmadd_ps(w, load(half, row, 16 * c, mask[c]), sum[a][c]);
            }
        }
    }
    for (; j < n_keys; j++) {
        const void *row = row_at(half, v, j * stride + i);
        for (int c = 0; c < 4; c++) {
            sum[0][c] = _mm512_fmadd_ps(_mm512_set1_ps(weights[j]),
                                        load(half, row, 16 * c, mask[c]), sum[0][c]);
        }
    }
    for (int c = 0; c < 4; c++) {
        const __m512 both = _mm512_add_ps(sum[0][c], sum[1][c]);
        _mm512_mask_storeu_ps(out + i + 16 * c, mask[c],
                              _mm512_mul_ps(both, _mm512_set1_ps(scale)));
    }
}

void optk_attend_f32__avx512(const float *q, const float *k, int64_t k_stride, const float *v,
                             int64_t v_stride, int64_t n_keys, int64_t d, int64_t d_v, float scale,
                             float *scores, float *out) {
    dots(false, q, k, k_stride, n_keys, d, scale, scores);
    const float inverse = exponentials(scores, n_keys);
    for (int64_t i = 0; i < d_v; i += 64) {
        mix64(false, scores, v, v_stride, n_keys, i, d_v, inverse, out);
    }
}

void optk_attend_f16__avx512(const float *q, const uint16_t *k, int64_t k_stride, const uint16_t *v,
                             int64_t v_stride, int64_t n_keys, int64_t d, int64_t d_v, float scale,
                             float *scores, float *out) {
    dots(true, q, k, k_stride, n_keys, d, scale, scores);
    const float inverse = exponentials(scores, n_keys);
    for (int64_t i = 0; i < d_v; i += 64) {
        mix64(true, scores, v, v_stride, n_keys, i, d_v, inverse, out);
    }
}
