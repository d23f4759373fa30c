/*
 * Attention with AVX2, references optk_attend_{f32,f16,i8}__ref; bound: a few ulp of sum p |v| for
 * scores of moderate size.
 *
 * Two queries share what is loaded of keys and values. Orders, the same for one query as for two:
 * dot products have 8 lanes over d, added as reduce4 does; the sum of exponentials has 8 lanes over
 * keys; outputs add keys one by one. Integers are multiplied as they are: the scale of a key comes
 * to the finished dot product, that of a value to its weight.
 */
#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/rows.h"
#include "kern/x86/attend.h"
#include "kern/x86/vec_avx2.h"

static inline __m256 load8_i8(const void *p, int64_t n) {
    __m128i v = _mm_setzero_si128();
    if (n >= 8) {
        v = _mm_loadl_epi64(p);
    } else if (n > 0) {
        memcpy(&v, p, (size_t)n);
    }
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}

/** The first min(n, 8) elements from i of a key or value, the others zero. */
static inline OPT_ALWAYS_INLINE __m256 load(store c, const uint8_t *row, int64_t i, int64_t n) {
    if (c == STORE_I8) {
        return load8_i8(row + i, n);
    }
    return c == STORE_F16 ? load8_half(row + 2 * i, n) : load8((const void *)(row + 4 * i), n);
}

/** The scores of n_q queries from query i0, for keys 0 .. n_keys - 1. */
static inline OPT_ALWAYS_INLINE void dots(store c, int n_q, const job *j, int64_t i0,
                                          int64_t n_keys) {
    const float *q = j->s->q + i0 * j->s->q_stride;
    for (int64_t key = 0; key < n_keys; key += 4) {
        const uint8_t *row[4];
        __m256 sum[2][4];
        for (int b = 0; b < 4; b++) { /* behind the last key: the last one again */
            row[b] = j->k + (size_t)opt_min_i64(key + b, n_keys - 1) * j->k_bytes;
            for (int a = 0; a < n_q; a++) {
                sum[a][b] = _mm256_setzero_ps();
            }
        }
        for (int64_t i = 0; i < j->d; i += 8) {
            __m256 qi[2];
            for (int a = 0; a < n_q; a++) {
                qi[a] = load8(q + a * j->s->q_stride + i, j->d - i);
            }
            for (int b = 0; b < 4; b++) {
                const __m256 k = load(c, row[b], i, j->d - i);
                for (int a = 0; a < n_q; a++) {
                    sum[a][b] = _mm256_fmadd_ps(k, qi[a], sum[a][b]);
                }
            }
        }
        for (int a = 0; a < n_q; a++) {
            const __m128 four = reduce4(sum[a][0], sum[a][1], sum[a][2], sum[a][3]);
            __m256 scores = _mm256_castps128_ps256(_mm_mul_ps(four, _mm_set1_ps(j->scale)));
            const int64_t n = opt_min_i64(4, n_keys - key);
            if (c == STORE_I8) {
                scores = _mm256_mul_ps(scores, load8(j->k_scale + key, n));
            }
            store8(j->s->scores + a * j->n_scores + key, n, scores);
        }
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

/** Multiplies weights by the scales of the values. */
static void scale_weights(float *scores, const float *scale, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        store8(scores + i, n - i, _mm256_mul_ps(load8(scores + i, n - i), load8(scale + i, n - i)));
    }
}

/** sum += weight of `key` times elements at .. at + 31 of its value, for queries a0 .. n_q - 1. */
static inline OPT_ALWAYS_INLINE void add_value(store c, int n_q, int64_t a0, const job *j,
                                               int64_t key, int64_t at, __m256 sum[2][4]) {
    const uint8_t *row = j->v + (size_t)key * j->v_bytes;
    for (int b = 0; b < 4; b++) {
        const int64_t i = at + 8 * b;
        const __m256 v = i < j->d_v ? load(c, row, i, j->d_v - i) : _mm256_setzero_ps();
        for (int a = 0; a < n_q; a++) {
            if (a >= a0) {
                const __m256 weight = _mm256_set1_ps(j->s->scores[a * j->n_scores + key]);
                sum[a][b] = _mm256_fmadd_ps(weight, v, sum[a][b]);
            }
        }
    }
}

/** Elements at .. at + 31 of the outputs of n_q queries from query i0, the first of which sees
 * n_keys keys. */
static inline OPT_ALWAYS_INLINE void mix32(store c, int n_q, const job *j, int64_t i0,
                                           int64_t n_keys, int64_t at, const float inverse[2]) {
    __m256 sum[2][4];
    for (int a = 0; a < n_q; a++) {
        for (int b = 0; b < 4; b++) {
            sum[a][b] = _mm256_setzero_ps();
        }
    }
    for (int64_t key = 0; key < n_keys; key++) {
        add_value(c, n_q, 0, j, key, at, sum);
    }
    for (int64_t more = 0; more < (n_q - 1) * j->s->n_more;
         more++) { /* keys that only the second query sees */
        add_value(c, n_q, 1, j, n_keys + more, at, sum);
    }
    for (int a = 0; a < n_q; a++) {
        float *out = j->s->out + (i0 + a) * j->s->out_stride + at;
        for (int b = 0; b < 4 && at + 8 * b < j->d_v; b++) {
            store8(out + 8 * b, j->d_v - at - 8 * b,
                   _mm256_mul_ps(sum[a][b], _mm256_set1_ps(inverse[a])));
        }
    }
}

static inline OPT_ALWAYS_INLINE void queries(store c, int n_q, const job *j, int64_t i0) {
    const int64_t n_keys = j->s->n_keys + i0 * j->s->n_more;
    float inverse[2];
    dots(c, n_q, j, i0, n_keys + (n_q - 1) * j->s->n_more);
    for (int a = 0; a < n_q; a++) {
        inverse[a] = exponentials(j->s->scores + a * j->n_scores, n_keys + a * j->s->n_more);
        if (c == STORE_I8) {
            scale_weights(j->s->scores + a * j->n_scores, j->v_scale, n_keys + a * j->s->n_more);
        }
    }
    for (int64_t at = 0; at < j->d_v; at += 32) {
        mix32(c, n_q, j, i0, n_keys, at, inverse);
    }
}

static inline OPT_ALWAYS_INLINE void attend(store c, const job *j) {
    int64_t i = 0;
    for (; i + 2 <= j->s->n; i += 2) {
        queries(c, 2, j, i);
    }
    for (; i < j->s->n; i++) {
        queries(c, 1, j, i);
    }
}

ATTEND_ROWS(avx2, attend)

/** Largest magnitude of x [n], with all bits of an infinity or a NaN if there is one. */
static float largest(const float *x, int64_t n) {
    __m256i max = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i bits = _mm256_and_si256(_mm256_castps_si256(load8(x + i, n - i)),
                                              _mm256_set1_epi32(0x7fffffff));
        max = _mm256_max_epi32(max, bits); /* in this order NaN is above all numbers */
    }
    const __m128i four =
        _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
}

/** Same bits as the reference: bound 0. */
void optk_quantize_row__avx2(const float *x, int64_t n, int8_t *q, float *scale) {
    const float max = largest(x, n);
    const bool finite = max <= OPT_ACT_LARGEST;
    const bool zero = !finite || max < OPT_ACT_TINY;
    const __m256 inverse = _mm256_set1_ps(zero ? 0.0f : 127.0f / max);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256i whole = zero
                                  ? _mm256_setzero_si256()
                                  : _mm256_cvtps_epi32(_mm256_mul_ps(load8(x + i, n - i), inverse));
        const __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        const __m128i bytes = _mm_packs_epi16(words, words);
        memcpy(q + i, &bytes, (size_t)opt_min_i64(8, n - i));
    }
    *scale = finite ? (zero ? 0.0f : max / 127.0f) : NAN;
}
