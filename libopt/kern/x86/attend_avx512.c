/*
 * Attention with AVX-512, references optk_attend_{f32,f16,i8}__ref; bound: a few ulp of sum p |v|
 * for scores of moderate size.
 *
 * Four queries share what is loaded of keys and values. Orders, the same for one query as for four:
 * dot products have 16 lanes over d, added as reduce4 does; the sum of exponentials has 16 lanes
 * over keys; outputs add keys one by one. Integers are multiplied as they are: the scale of a key
 * comes to the finished dot product, that of a value to its weight.
 */
#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/rows.h"
#include "kern/x86/attend.h"
#include "kern/x86/vec_avx512.h"

/* Constant after inlining; whole: d and d_v are multiples of 16. */
typedef struct kind {
    store store;
    bool whole;
} kind;

/** The first min(n, 16) elements from i of a key or value, the others zero. */
static inline OPT_ALWAYS_INLINE __m512 load(kind c, const uint8_t *row, int64_t i, int64_t n) {
    if (c.store == STORE_I8) {
        const __m128i x = c.whole ? _mm_loadu_si128((const void *)(row + i))
                                  : _mm_maskz_loadu_epi8(lanes16(n), row + i);
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x));
    }
    if (c.store == STORE_F16) {
        const uint8_t *p = row + 2 * i;
        return _mm512_cvtph_ps(c.whole ? _mm256_loadu_si256((const void *)p)
                                       : _mm256_maskz_loadu_epi16(lanes16(n), p));
    }
    const uint8_t *p = row + 4 * i;
    return c.whole ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes16(n), p);
}

/** The scores of n_q queries from query i0, for keys 0 .. n_keys - 1. */
static inline OPT_ALWAYS_INLINE void dots(kind c, int n_q, const job *j, int64_t i0,
                                          int64_t n_keys) {
    const float *q = j->s->q + i0 * j->s->q_stride;
    for (int64_t key = 0; key < n_keys; key += 4) {
        const uint8_t *row[4];
        __m512 sum[4][4];
        for (int b = 0; b < 4; b++) { /* behind the last key: the last one again */
            row[b] = j->k + (size_t)opt_min_i64(key + b, n_keys - 1) * j->k_bytes;
            for (int a = 0; a < n_q; a++) {
                sum[a][b] = _mm512_setzero_ps();
            }
        }
        for (int64_t i = 0; i < j->d; i += 16) {
            const int64_t n = j->d - i;
            __m512 k[4];
            for (int b = 0; b < 4; b++) {
                k[b] = load(c, row[b], i, n);
            }
            for (int a = 0; a < n_q; a++) {
                const float *p = q + a * j->s->q_stride + i;
                const __m512 qi =
                    c.whole ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes16(n), p);
                for (int b = 0; b < 4; b++) {
                    sum[a][b] = _mm512_fmadd_ps(k[b], qi, sum[a][b]);
                }
            }
        }
        const __mmask8 mask = (__mmask8)lanes16(opt_min_i64(4, n_keys - key));
        for (int a = 0; a < n_q; a++) {
            const __m128 four = reduce4(sum[a][0], sum[a][1], sum[a][2], sum[a][3]);
            __m128 scores = _mm_mul_ps(four, _mm_set1_ps(j->scale));
            if (c.store == STORE_I8) {
                scores = _mm_mul_ps(scores, _mm_maskz_loadu_ps(mask, j->k_scale + key));
            }
            _mm_mask_storeu_ps(j->s->scores + a * j->n_scores + key, mask, scores);
        }
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

/** Multiplies weights by the scales of the values. */
static void scale_weights(float *scores, const float *scale, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        _mm512_mask_storeu_ps(scores + i, mask,
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scores + i),
                                            _mm512_maskz_loadu_ps(mask, scale + i)));
    }
}

/** sum += weight of `key` times elements at .. at + 63 of its value, for queries a0 .. n_q - 1. */
static inline OPT_ALWAYS_INLINE void add_value(kind c, int n_q, int64_t a0, const job *j,
                                               int64_t key, int64_t at, __m512 sum[4][4]) {
    const uint8_t *row = j->v + (size_t)key * j->v_bytes;
    __m512 v[4];
    for (int b = 0; b < 4; b++) {
        const int64_t i = at + 16 * b;
        v[b] = i < j->d_v ? load(c, row, i, j->d_v - i) : _mm512_setzero_ps();
    }
    for (int a = 0; a < n_q; a++) {
        if (a >= a0) {
            const __m512 weight = _mm512_set1_ps(j->s->scores[a * j->n_scores + key]);
            for (int b = 0; b < 4; b++) {
                sum[a][b] = _mm512_fmadd_ps(weight, v[b], sum[a][b]);
            }
        }
    }
}

/** Elements at .. at + 63 of the outputs of n_q queries from query i0, the first of which sees
 * n_keys keys. */
static inline OPT_ALWAYS_INLINE void mix64(kind c, int n_q, const job *j, int64_t i0,
                                           int64_t n_keys, int64_t at, const float inverse[4]) {
    __m512 sum[4][4];
    for (int a = 0; a < n_q; a++) {
        for (int b = 0; b < 4; b++) {
            sum[a][b] = _mm512_setzero_ps();
        }
    }
    for (int64_t key = 0; key < n_keys; key++) {
        add_value(c, n_q, 0, j, key, at, sum);
    }
    for (int64_t more = 0; more < (n_q - 1) * j->s->n_more;
         more++) { /* keys that only later queries see */
        add_value(c, n_q, more / j->s->n_more + 1, j, n_keys + more, at, sum);
    }
    for (int a = 0; a < n_q; a++) {
        float *out = j->s->out + (i0 + a) * j->s->out_stride + at;
        for (int b = 0; b < 4 && at + 16 * b < j->d_v; b++) {
            const __mmask16 mask = lanes16(j->d_v - at - 16 * b);
            _mm512_mask_storeu_ps(out + 16 * b, mask,
                                  _mm512_mul_ps(sum[a][b], _mm512_set1_ps(inverse[a])));
        }
    }
}

static inline OPT_ALWAYS_INLINE void queries(kind c, int n_q, const job *j, int64_t i0) {
    const int64_t n_keys = j->s->n_keys + i0 * j->s->n_more;
    float inverse[4];
    dots(c, n_q, j, i0, n_keys + (n_q - 1) * j->s->n_more);
    for (int a = 0; a < n_q; a++) {
        inverse[a] = exponentials(j->s->scores + a * j->n_scores, n_keys + a * j->s->n_more);
        if (c.store == STORE_I8) {
            scale_weights(j->s->scores + a * j->n_scores, j->v_scale, n_keys + a * j->s->n_more);
        }
    }
    for (int64_t at = 0; at < j->d_v; at += 64) {
        mix64(c, n_q, j, i0, n_keys, at, inverse);
    }
}

static inline OPT_ALWAYS_INLINE void attend(kind c, const job *j) {
    int64_t i = 0;
    for (; i + 4 <= j->s->n; i += 4) {
        queries(c, 4, j, i);
    }
    for (; i + 2 <= j->s->n; i += 2) {
        queries(c, 2, j, i);
    }
    for (; i < j->s->n; i++) {
        queries(c, 1, j, i);
    }
}

static inline OPT_ALWAYS_INLINE void attend_any(store how, const job *j) {
    if (j->d % 16 == 0 && j->d_v % 16 == 0) {
        attend((kind){how, true}, j);
    } else {
        attend((kind){how, false}, j);
    }
}

ATTEND_ROWS(avx512, attend_any)

/** Same bits as the reference: bound 0. */
void optk_quantize_row__avx512(const float *x, int64_t n, int8_t *q, float *scale) {
    __m512i magnitude = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lanes16(n - i), x + i);
        /* As integers, infinities and NaN are the largest magnitudes. */
        magnitude = _mm512_max_epi32(
            magnitude, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
    }
    const int32_t bits = _mm512_reduce_max_epi32(magnitude);
    const bool finite = bits < 0x7f800000;
    const float max = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
    const bool zero = !finite || max < OPT_ACT_TINY;
    const __m512 inverse = _mm512_set1_ps(zero ? 0.0f : 127.0f / max);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inverse);
        const __m512i whole = _mm512_maskz_cvtps_epi32(zero ? 0 : mask, v);
        _mm_mask_storeu_epi8(q + i, mask, _mm512_cvtepi32_epi8(whole));
    }
    *scale = finite ? (zero ? 0.0f : max / 127.0f) : NAN;
}
