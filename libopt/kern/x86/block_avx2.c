/*
 * What surrounds the linear layers in a decoder block, with AVX2; references in ref/block_ref.c and
 * ref/act_ref.c. The order of every sum depends on the length alone.
 */
#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

static inline __m256 magnitude(__m256 x) {
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

static inline int sum_lanes(__m256i v) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/** Stores 4 x 8 values as q [32] and the sums of 4 neighbours; returns the sum of all. */
static inline int store_group(const __m256i v[4], int8_t *q, int16_t *sum4) {
    const __m256i order =
        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* undoes what packing in halves does */
    const __m256i words =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    const __m256i bytes = _mm256_permutevar8x32_epi32(words, order);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    const __m128i sums16 =
        _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    _mm256_storeu_si256((void *)q, bytes);
    _mm_storeu_si128((void *)sum4, sums16);
    return sum_lanes(sums);
}

/** Same bits as the reference: bound 0. */
void optk_quantize_act__avx2(const float *x, int64_t n, int64_t n_padded, int8_t *q, float *scale,
                             int16_t *sum4, float *scaled_sum) {
    for (int64_t i = 0; i < n_padded; i += OPT_ACT_GROUP) {
        __m256 v[4];
        __m256 max8 = _mm256_setzero_ps();
        __m256 finite8 = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
        for (int a = 0; a < 4; a++) {
            const int64_t at = i + 8 * a;
            v[a] = at < n ? load8(x + at, n - at) : _mm256_setzero_ps();
            max8 = _mm256_max_ps(magnitude(v[a]), max8);
            finite8 =
                _mm256_and_ps(finite8, _mm256_cmp_ps(magnitude(v[a]),
                                                     _mm256_set1_ps(OPT_ACT_LARGEST), _CMP_LE_OQ));
        }
        const bool finite = _mm256_movemask_ps(finite8) == 0xff;
        const float max = reduce_max(max8);
        const bool zero = !finite || max < OPT_ACT_TINY;
        const __m256 inverse = _mm256_set1_ps(zero ? 0.0f : 127.0f / max);
        __m256i whole[4];
        for (int a = 0; a < 4; a++) {
            whole[a] =
                zero ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(v[a], inverse));
        }
        const int64_t group = i / OPT_ACT_GROUP;
        const int sum = store_group(whole, q + i, sum4 + i / 4);
        scale[group] = finite ? (zero ? 0.0f : max / 127.0f) : NAN;
        scaled_sum[group] = scale[group] * (float)sum;
    }
}

/** Within 4 ulp + (n / 32) 2^-24 relative of the reference. */
void optk_rms_norm__avx2(const float *x, const float *w, float *y, int64_t n, float eps) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    for (int64_t i = 0; i < n; i += 32) {
        for (int a = 0; a < 4; a++) {
            const int64_t left = n - i - 8 * a;
            const __m256 v = left > 0 ? load8(x + i + 8 * a, left) : _mm256_setzero_ps();
            sums[a] = _mm256_fmadd_ps(v, v, sums[a]);
        }
    }
    const __m256 sum =
        _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    const double mean = (double)reduce1(sum) / (double)n;
    const __m256 scale = _mm256_set1_ps((float)(1.0 / sqrt(mean + (double)eps)));
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 v = _mm256_mul_ps(load8(x + i, n - i), scale);
        store8(y + i, n - i, _mm256_mul_ps(v, load8(w + i, n - i)));
    }
}

static void rope_halves(float *x, const float *cos, const float *sin, int64_t n_pairs) {
    for (int64_t i = 0; i < n_pairs; i += 8) {
        const int64_t n = n_pairs - i;
        const __m256 a = load8(x + i, n);
        const __m256 b = load8(x + i + n_pairs, n);
        const __m256 c = load8(cos + i, n);
        const __m256 s = load8(sin + i, n);
        store8(x + i, n, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        store8(x + i + n_pairs, n, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

static void rope_pairs(float *x, const float *cos, const float *sin, int64_t n_pairs) {
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    for (int64_t i = 0; i < n_pairs; i += 4) {
        const int64_t n = opt_min_i64(4, n_pairs - i);
        const __m256 c = _mm256_permutevar8x32_ps(load8(cos + i, n), twice);
        const __m256 s = _mm256_permutevar8x32_ps(load8(sin + i, n), twice);
        const __m256 v = load8(x + 2 * i, 2 * n);
        const __m256 swapped = _mm256_permute_ps(v, 0xb1);
        store8(x + 2 * i, 2 * n, _mm256_fmaddsub_ps(v, c, _mm256_mul_ps(swapped, s)));
    }
}

/** Within 2 ulp of the larger product. */
void optk_rope__avx2(float *x, const float *cos, const float *sin, int64_t n_rot, bool halves) {
    if (halves) {
        rope_halves(x, cos, sin, n_rot / 2);
    } else {
        rope_pairs(x, cos, sin, n_rot / 2);
    }
}

/** Within 4 ulp of the reference. */
void optk_swiglu__avx2(const float *gate, const float *up, float *y, int64_t n) {
    const __m256 one = _mm256_set1_ps(1);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 z = load8(gate + i, n - i);
        const __m256 silu =
            _mm256_div_ps(z, _mm256_add_ps(one, exp8(_mm256_sub_ps(_mm256_setzero_ps(), z))));
        store8(y + i, n - i, _mm256_mul_ps(silu, load8(up + i, n - i)));
    }
}

/** Same bits as the reference. */
void optk_add__avx2(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        store8(y + i, n - i, _mm256_add_ps(load8(y + i, n - i), load8(x + i, n - i)));
    }
}

/** Same bits as the reference. */
void optk_f32_to_f16__avx2(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        const __m128i half =
            _mm256_cvtps_ph(load8(x + i, n - i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        memcpy(y + i, &half, (size_t)opt_min_i64(8, n - i) * sizeof *y);
    }
}

/** Largest element that is no NaN (-inf if there is none), and whether there is a NaN. */
static float max_of(const float *x, int64_t n, bool *has_nan) {
    __m256 max = _mm256_set1_ps(-INFINITY);
    __m256 nan = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 mask = _mm256_castsi256_ps(lanes8(n - i));
        const __m256 v = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), load8(x + i, n - i), mask);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        max = _mm256_max_ps(v, max); /* max, if v is NaN */
    }
    *has_nan = _mm256_movemask_ps(nan) != 0;
    return reduce_max(max);
}

/** Index of the first element that equals v; 0 if there is none. */
static int64_t find(const float *x, int64_t n, float v) {
    for (int64_t i = 0; i < n; i++) {
        if (x[i] >= v) {
            return i;
        }
    }
    return 0;
}

/** Within 2e-7 absolute of the reference: each exponential is rounded to f32, their sum is not. */
double optk_logsumexp__avx2(const float *x, int64_t n, int64_t *argmax) {
    bool has_nan;
    const float max = max_of(x, n, &has_nan);
    if (argmax != NULL) {
        *argmax = find(x, n, max);
    }
    if (has_nan || isinf(max)) {
        return has_nan ? (double)NAN : (double)max;
    }
    __m256d lower = _mm256_setzero_pd();
    __m256d upper = _mm256_setzero_pd();
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 mask = _mm256_castsi256_ps(lanes8(n - i));
        const __m256 e =
            _mm256_and_ps(mask, exp8(_mm256_sub_ps(load8(x + i, n - i), _mm256_set1_ps(max))));
        lower = _mm256_add_pd(lower, _mm256_cvtps_pd(_mm256_castps256_ps128(e)));
        upper = _mm256_add_pd(upper, _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1)));
    }
    double sums[4];
    _mm256_storeu_pd(sums, _mm256_add_pd(lower, upper));
    return (double)max + log((sums[0] + sums[1]) + (sums[2] + sums[3]));
}
