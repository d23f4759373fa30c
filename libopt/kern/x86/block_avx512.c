/*
 * What surrounds the linear layers in a decoder block, with AVX-512; references in ref/block_ref.c
 * and ref/act_ref.c. The order of every sum depends on the length alone.
 */
#include <math.h>

#include "kern/act.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

/** Sums of 4 neighbouring q of one group, its q [32] and their sum. */
static inline int store_group(__m512i q0, __m512i q1, int8_t *q, int16_t *sum4) {
    const __m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(q1), _mm512_cvtepi32_epi8(q0));
    const __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes);
    _mm256_storeu_si256((void *)q, bytes);
    _mm_storeu_si128((void *)sum4, _mm256_cvtepi32_epi16(sums));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
}

/** Same bits as the reference: bound 0. */
void optk_quantize_act__avx512(const float *x, int64_t n, int64_t n_padded, int8_t *q, float *scale,
                               int16_t *sum4, float *scaled_sum) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int64_t i = 0; i < n_padded; i += OPT_ACT_GROUP) {
        const int64_t left = i < n ? n - i : 0;
        const __m512 x0 = _mm512_maskz_loadu_ps(lanes16(left), x + (left > 0 ? i : 0));
        const __m512 x1 =
            _mm512_maskz_loadu_ps(lanes16(left > 16 ? left - 16 : 0), x + (left > 16 ? i + 16 : 0));
        /* As integers, infinities and NaN are the largest magnitudes. */
        const __m512i a0 = _mm512_and_si512(_mm512_castps_si512(x0), magnitude);
        const __m512i a1 = _mm512_and_si512(_mm512_castps_si512(x1), magnitude);
        const int32_t bits = _mm512_reduce_max_epi32(_mm512_max_epi32(a0, a1));
        const bool finite = bits < 0x7f800000;
        const float max = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
        const bool zero = !finite || max < OPT_ACT_TINY;
        const __m512 inverse = _mm512_set1_ps(zero ? 0.0f : 127.0f / max);
        const __mmask16 keep = zero ? 0 : 0xffff;
        const __m512i q0 = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(x0, inverse));
        const __m512i q1 = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(x1, inverse));
        const int sum = store_group(q0, q1, q + i, sum4 + i / 4);
        const int64_t group = i / OPT_ACT_GROUP;
        scale[group] = finite ? (zero ? 0.0f : max / 127.0f) : NAN;
        scaled_sum[group] = scale[group] * (float)sum;
    }
}

/** Within 4 ulp + (n / 64) 2^-24 relative of the reference. */
void optk_rms_norm__avx512(const float *x, const float *w, float *y, int64_t n, float eps) {
    __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                      _mm512_setzero_ps()};
    for (int64_t i = 0; i < n; i += 64) {
        for (int a = 0; a < 4; a++) {
            const int64_t left = n - i - 16 * a;
            const __m512 v = left > 0 ? _mm512_maskz_loadu_ps(lanes16(left), x + i + 16 * a)
                                      : _mm512_setzero_ps();
            sums[a] = _mm512_fmadd_ps(v, v, sums[a]);
        }
    }
    const __m512 sum =
        _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    const double mean = (double)reduce1(sum) / (double)n;
    const __m512 scale = _mm512_set1_ps((float)(1.0 / sqrt(mean + (double)eps)));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scale);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, w + i)));
    }
}

static void rope_halves(float *x, const float *cos, const float *sin, int64_t n_pairs) {
    for (int64_t i = 0; i < n_pairs; i += 16) {
        const __mmask16 mask = lanes16(n_pairs - i);
        const __m512 a = _mm512_maskz_loadu_ps(mask, x + i);
        const __m512 b = _mm512_maskz_loadu_ps(mask, x + i + n_pairs);
        const __m512 c = _mm512_maskz_loadu_ps(mask, cos + i);
        const __m512 s = _mm512_maskz_loadu_ps(mask, sin + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + i + n_pairs, mask, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

static void rope_pairs(float *x, const float *cos, const float *sin, int64_t n_pairs) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int64_t i = 0; i < n_pairs; i += 8) {
        const __mmask16 mask = lanes16(2 * (n_pairs - i));
        const __mmask16 mask8 = lanes16(n_pairs - i) & 0xff;
        const __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(mask8, cos + i));
        const __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(mask8, sin + i));
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + 2 * i);
        const __m512 swapped = _mm512_permute_ps(v, 0xb1);
        _mm512_mask_storeu_ps(x + 2 * i, mask, _mm512_fmaddsub_ps(v, c, _mm512_mul_ps(swapped, s)));
    }
}

/** Within 2 ulp of the larger product. */
void optk_rope__avx512(float *x, const float *cos, const float *sin, int64_t n_rot, bool halves) {
    if (halves) {
        rope_halves(x, cos, sin, n_rot / 2);
    } else {
        rope_pairs(x, cos, sin, n_rot / 2);
    }
}

/** Within 4 ulp of the reference. */
void optk_swiglu__avx512(const float *gate, const float *up, float *y, int64_t n) {
    const __m512 one = _mm512_set1_ps(1);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 z = _mm512_maskz_loadu_ps(mask, gate + i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), z));
        const __m512 silu = _mm512_div_ps(z, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(y + i, mask,
                              _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

/** Same bits as the reference. */
void optk_add__avx512(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y + i), _mm512_maskz_loadu_ps(mask, x + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

/** Same bits as the reference. */
void optk_f32_to_f16__avx512(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        _mm256_mask_storeu_epi16(y + i, mask,
                                 _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}

/** Largest element that is no NaN (-inf if there is none), and whether there is a NaN. */
static float max_of(const float *x, int64_t n, bool *has_nan) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 max = lowest;
    __mmask16 nan = 0;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 v = _mm512_mask_loadu_ps(lowest, mask, x + i);
        nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        max = _mm512_max_ps(v, max); /* max, if v is NaN */
    }
    *has_nan = nan != 0;
    return _mm512_reduce_max_ps(max);
}

/** Index of the first element that equals v; 0 if there is none. */
static int64_t find(const float *x, int64_t n, float v) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 here = _mm512_maskz_loadu_ps(mask, x + i);
        const __mmask16 equal = _mm512_mask_cmp_ps_mask(mask, here, _mm512_set1_ps(v), _CMP_EQ_OQ);
        if (equal != 0) {
            return i + __builtin_ctz(equal);
        }
    }
    return 0;
}

/** Within 2e-7 absolute of the reference: each exponential is rounded to f32, their sum is not. */
double optk_logsumexp__avx512(const float *x, int64_t n, int64_t *argmax) {
    bool has_nan;
    const float max = max_of(x, n, &has_nan);
    if (argmax != NULL) {
        *argmax = find(x, n, max);
    }
    if (has_nan || isinf(max)) {
        return has_nan ? (double)NAN : (double)max;
    }
    __m512d lower = _mm512_setzero_pd();
    __m512d upper = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes16(n - i);
        const __m512 shifted =
            _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(max));
        const __m512 e = _mm512_maskz_mov_ps(mask, exp16(shifted));
        lower = _mm512_add_pd(lower, _mm512_cvtps_pd(_mm512_castps512_ps256(e)));
        upper = _mm512_add_pd(upper, _mm512_cvtps_pd(_mm512_extractf32x8_ps(e, 1)));
    }
    return (double)max + log(_mm512_reduce_add_pd(_mm512_add_pd(lower, upper)));
}
