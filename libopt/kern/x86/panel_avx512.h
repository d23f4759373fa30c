/**
 * What the AVX-512 rows of linear_i8 and linear_run share: one call, and 32 rows unpacked into a
 * panel that all tokens share.
 */
#ifndef OPT_KERN_X86_PANEL_AVX512_H
#define OPT_KERN_X86_PANEL_AVX512_H

#include "kern/act.h"
#include "kern/x86/codes_avx512.h"

#define PANEL_ROWS 32
#define PANEL_GROUPS OPT_ACT_LOW_WORD
#define PANEL_TOKENS 128 /* of one pass over panels, at most */
#define PANEL_UNITS (2 * PANEL_GROUPS)

/* One call. */
typedef struct job {
    codes_rows c;
    const uint8_t *w;
    size_t row_bytes;
    const opt_act_i8 *x;
    float *y;
    int64_t ldy;
} job;

/** sum + dot * (d * scale) (+ m * scaled_sum). */
static inline OPT_ALWAYS_INLINE __m512 add_unit(bool has_min, __m512 sum, __m512i dot, __m512 d,
                                                __m512 m, float scale, float scaled_sum) {
    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(d, _mm512_set1_ps(scale)), sum);
    return has_min ? _mm512_fmadd_ps(m, _mm512_set1_ps(scaled_sum), sum) : sum;
}

/** Whether a sum of second planes ends before group g of n. */
static inline bool span_ends(int64_t g, int64_t n) { return g % OPT_ACT_LOW_SPAN == 0 || g == n; }

/** Sum of half group u of the first plane. */
static inline int32_t half_of_sum4(const int16_t *sum4, int64_t u) {
    return sum4[4 * u] + sum4[4 * u + 1] + sum4[4 * u + 2] + sum4[4 * u + 3];
}

/**
 * 32 rows of up to PANEL_GROUPS groups, unpacked: byte i of codes[u][r] is element 4 u + i of row
 * r. Codes of two planes: half as many groups, and the 8 quads of a group's high bytes before those
 * of its low ones.
 */
typedef struct panel {
    OPT_ALIGNED(64) uint8_t codes[PANEL_GROUPS * 8][PANEL_ROWS][4];
    OPT_ALIGNED(64) float d[PANEL_UNITS][PANEL_ROWS]; /* of units */
    OPT_ALIGNED(64) float m[PANEL_UNITS][PANEL_ROWS];
} panel;

/** Bytes less `less`, which is known to the compiler where it is 0. */
static inline OPT_ALWAYS_INLINE __m512i codes_less(__m512i codes, int less) {
    return less == 0 ? codes : _mm512_sub_epi8(codes, _mm512_set1_epi8((char)less));
}

static inline __m512i four_bytes(const int8_t *q) {
    return _mm512_set1_epi32((int)opt_rd_u32le(q));
}

/** Even lanes of a, then of b. */
static inline __m512i even_lanes(__m512i a, __m512i b) {
    const __m512i idx =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_epi32(a, idx, b);
}

/** Sums of neighbouring lanes of a, then of b. */
static inline __m512i add_neighbours(__m512i a, __m512i b) {
    return even_lanes(_mm512_add_epi32(a, _mm512_srli_epi64(a, 32)),
                      _mm512_add_epi32(b, _mm512_srli_epi64(b, 32)));
}

/* What every unit of the panel begins with, for one token: the integer start of its dot product,
 * or the scaled sum of its activations. */
typedef union unit_start {
    int32_t dot[PANEL_UNITS];
    float scaled_sum[PANEL_UNITS];
} unit_start;

/** For n groups of one token; sum4 and scale are those of the panel's first group. */
static inline OPT_ALWAYS_INLINE void unit_starts(bool has_min, int units, int offset, int64_t n,
                                                 const int16_t *sum4, const float *scale,
                                                 const float *scaled_sum, unit_start *out) {
    if (has_min && units == 1) {
        const __mmask16 mask = lanes16(n);
        _mm512_storeu_ps(out->scaled_sum, _mm512_maskz_loadu_ps(mask, scaled_sum));
        return;
    }
    __m512i half[2]; /* sums of 16 elements */
    for (int i = 0; i < 2; i++) {
        __m512i pairs[2];
        for (int k = 0; k < 2; k++) {
            const int64_t left = 8 * n - 32 * (2 * i + k); /* sums of 4 */
            const __mmask32 mask = left >= 32  ? ~(__mmask32)0
                                   : left <= 0 ? 0
                                               : ((__mmask32)1 << left) - 1;
            pairs[k] = _mm512_madd_epi16(_mm512_maskz_loadu_epi16(mask, sum4 + 32 * (2 * i + k)),
                                         _mm512_set1_epi16(1));
        }
        half[i] = add_neighbours(pairs[0], pairs[1]);
    }
    const __m512i factor = _mm512_set1_epi32(-offset);
    if (units == 1) {
        _mm512_storeu_si512(out->dot, _mm512_mullo_epi32(add_neighbours(half[0], half[1]), factor));
        return;
    }
    const __m512 scales = _mm512_maskz_loadu_ps(lanes16(n), scale);
    const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int i = 0; i < 2; i++) {
        if (has_min) {
            const __m512i idx = _mm512_add_epi32(low, _mm512_set1_epi32(8 * i));
            _mm512_storeu_ps(
                out->scaled_sum + 16 * i,
                _mm512_mul_ps(_mm512_permutexvar_ps(idx, scales), _mm512_cvtepi32_ps(half[i])));
        } else {
            _mm512_storeu_si512(out->dot + 16 * i, _mm512_mullo_epi32(half[i], factor));
        }
    }
}

/** Sums of second planes of a panel's rows. */
typedef struct low_sums {
    OPT_ALIGNED(64) float sum[PANEL_TOKENS][PANEL_ROWS];
} low_sums;

/** Of units of half groups, in groups `low` from g0 of token t: what their sums are with both
 * planes, instead of the first one. */
static inline void low_scaled_sums(const opt_act_i8 *x, int64_t t, int64_t g0, uint32_t low,
                                   float *scaled_sum) {
    for (; low != 0; low &= low - 1) {
        const int64_t g = __builtin_ctz(low), group = t * (x->n_padded / 32) + g0 + g;
        for (int u = 0; u < 2; u++) {
            scaled_sum[2 * g + u] =
                opt_act_both_sums(x->scale[group], half_of_sum4(x->sum4 + group * 8, u),
                                  opt_act_low_sum(x, t, 2, 2 * (g0 + g) + u));
        }
    }
}

/**
 * v, in a register: gcc would load it anew for every use, and loads, not products, would then take
 * the time.
 */
static inline OPT_ALWAYS_INLINE __m512i keep(__m512i v) {
    __asm__("" : "+v"(v));
    return v;
}

/** Adds second planes of groups [g0, g0 + n), which lie in one word of opt_act_i8.low, to the sums
 * of all tokens (at most PANEL_TOKENS), which the first groups of a span set. `is_signed`: the
 * panel has signed codes without an offset. */
void optk_panel_low_avx512(const job *j, const panel *w, int64_t g0, int64_t n, int64_t n_tokens,
                           bool is_signed, low_sums *out);

/** Multiplies the panel, groups [g0, g0 + n) of rows from r, with all tokens (at most PANEL_TOKENS)
 * and adds to y, which the first groups set; `low` is the same for all groups of these rows. */
void optk_panel_run_avx512(const job *j, const panel *w, int64_t r, int64_t n_rows, int64_t g0,
                           int64_t n, int64_t n_tokens, low_sums *low);

#endif
