/*
 * The int8 path with AVX-512 VNNI, reference optk_linear_i8_<name>__ref (same bits as __avx2).
 *
 * For few tokens 16 rows at a time are read as they are stored, and the lanes of their dot products
 * are added across; for many, 32 rows are unpacked into a panel [group][4 elements][row] which all
 * tokens then share. Both compute, for each output, the exact integer dot product of every unit (a
 * group of 32, or half of one) and then one chain of fused multiply-adds over units.
 */
#include <string.h>

#include "kern/rows.h"
#include "kern/x86/int_rows.h"
#include "kern/x86/unpack_rows_avx512.h"

/** Adds lanes: in every 128 bits the sums of a, b, c, d. */
static inline __m512i add_lanes4(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/**
 * From add_lanes4 of rows 0-3, 4-7, 8-11, 12-15: sums over the lower 32 elements of 16 rows, and
 * over the upper ones.
 */
static inline void add_halves(const __m512i s[4], __m512i *lower, __m512i *upper) {
    const __m512i s01 = _mm512_add_epi32(_mm512_shuffle_i32x4(s[0], s[1], 0x88),
                                         _mm512_shuffle_i32x4(s[0], s[1], 0xdd));
    const __m512i s23 = _mm512_add_epi32(_mm512_shuffle_i32x4(s[2], s[3], 0x88),
                                         _mm512_shuffle_i32x4(s[2], s[3], 0xdd));
    *lower = _mm512_shuffle_i32x4(s01, s23, 0x88);
    *upper = _mm512_shuffle_i32x4(s01, s23, 0xdd);
}

/** Sum of the activations of a group. */
static inline int32_t group_sum(const int16_t *sum4) {
    const __m128i pairs = _mm_madd_epi16(_mm_loadu_si128((const void *)sum4), _mm_set1_epi16(1));
    const __m128i two = _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/** Sum of the activations of half a group. */
static inline int32_t half_sum(const int16_t *sum4) {
    const __m128i pairs = _mm_madd_epi16(_mm_loadl_epi64((const void *)sum4), _mm_set1_epi16(1));
    return _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0x55)));
}

/** Sum of the activations of unit u of a token. */
static inline OPT_ALWAYS_INLINE int32_t unit_sum(int units, const int16_t *sum4, int64_t u) {
    return units == 1 ? group_sum(sum4 + 8 * u) : half_sum(sum4 + 4 * u);
}

/** Scale of unit u times the sum of its activations, which is `total`; a group's is stored. */
static inline OPT_ALWAYS_INLINE float
unit_scaled_sum(int units, const float *scale, const float *scaled_sum, int64_t u, int32_t total) {
    return units == 1 ? scaled_sum[u] : scale[u / units] * (float)total;
}

/*
 * Memory is fastest when it is read in order, so a row is read to its end, or up to this many
 * units, before the next.
 */
#define RUN_UNITS 128

/*
 * While 16 rows are computed, the next 16 are asked for, evenly over both passes: the hardware's
 * own prefetching stops at the end of a page, and while a pass reads nothing new, so that waiting
 * and computing would add up (one core, 4-bit codes from memory: 8.2 GB/s without, 12.4 with).
 */
typedef struct ahead {
    uintptr_t at; /* of the next bytes to ask for */
    size_t step;  /* bytes in one of the 2 n_units pieces of work on 16 rows */
} ahead;

static inline OPT_ALWAYS_INLINE void prefetch_some(ahead *a) {
    const uintptr_t end = a->at + a->step;
    for (uintptr_t line = (a->at + 63) & ~(uintptr_t)63; line < end; line += 64) {
        _mm_prefetch((const char *)line, _MM_HINT_T1);
    }
    a->at = end;
}

/* One token against 16 rows, which start at w; rows behind `last` repeat it. */
typedef struct rows_job {
    codes_rows c;
    const uint8_t *w;
    size_t row_bytes;
    int64_t last;
} rows_job;

/** Dot products of elements 64 p .. 64 p + 63 of a plane q, in 16 lanes of 4 elements each. */
static inline OPT_ALWAYS_INLINE __m512i pair_dot(codes_layout layout, const rows_job *j,
                                                 const int8_t *q, int64_t a, int64_t p) {
    const uint8_t *row = j->w + (size_t)a * j->row_bytes;
    if (j->c.planes == 2) {
        const __m512i xq = _mm512_loadu_si512(q + 64 * p);
        __m512i planes[2];
        codes_load_planes(layout, &j->c, row, p, planes);
        const __m512i high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), planes[0], xq);
        return _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 8), planes[1], xq);
    }
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes_load(layout, &j->c, row, p),
                               _mm512_loadu_si512(q + 64 * p));
}

/**
 * Dot products of 16 units of row a, from pair p on; in the order 0 2 4 6, 1 3 5 7, 8 10 12 14, 9
 * 11 13 15 where a unit is a group, and 0 4 8 12, 1 5 9 13, ... where it is half of one.
 */
static inline OPT_ALWAYS_INLINE __m512i row_dots(codes_layout layout, const rows_job *j,
                                                 const int8_t *q, int64_t a, int64_t p) {
    __m512i lanes[2];
    for (int h = 0; h < 2 / j->c.units; h++) {
        __m512i dot[4];
        for (int b = 0; b < 4; b++) {
            dot[b] = pair_dot(layout, j, q, a, p + 4 * h + b);
        }
        lanes[h] = add_lanes4(dot[0], dot[1], dot[2], dot[3]);
    }
    return j->c.units == 2 ? lanes[0]
                           : _mm512_add_epi32(_mm512_shuffle_i32x4(lanes[0], lanes[1], 0x88),
                                              _mm512_shuffle_i32x4(lanes[0], lanes[1], 0xdd));
}

/** Where unit i of row_dots stands. */
static inline int dots_place(int units, int i) {
    return units == 1 ? i / 8 * 8 + i % 2 * 4 + i % 8 / 2 : i % 4 * 4 + i / 4;
}

/** Dot products of the units of pair p (two groups) of all rows. */
static inline OPT_ALWAYS_INLINE void pair_dots(codes_layout layout, const rows_job *j,
                                               const int8_t *q, int64_t p, __m512i *out) {
    __m512i lanes[4];
    for (int a = 0; a < 4; a++) {
        __m512i dot[4];
        for (int b = 0; b < 4; b++) {
            dot[b] = pair_dot(layout, j, q, opt_min_i64(4 * a + b, j->last), p);
        }
        lanes[a] = add_lanes4(dot[0], dot[1], dot[2], dot[3]);
    }
    if (j->c.units == 1) {
        add_halves(lanes, &out[0], &out[1]);
    } else {
        transpose_quarters(lanes, out);
    }
}

/** Dot products of units [u0, u0 + n) of 16 rows: out[u - u0]; u0 begins a pair. */
static inline OPT_ALWAYS_INLINE void rows16_dots(codes_layout layout, const rows_job *j,
                                                 const int8_t *q, int64_t u0, int64_t n,
                                                 ahead *next, __m512i out[RUN_UNITS + 3]) {
    const int64_t n_whole = n / 16 * 16;
    const int64_t of_pair = 2 * j->c.units;
    for (int64_t a = 0; a <= j->last; a++) {
        for (int64_t u = 0; u < n_whole; u += 16) {
            out[u + a] = row_dots(layout, j, q, a, (u0 + u) / of_pair);
            prefetch_some(next);
        }
    }
    for (int64_t u = 0; u < n_whole; u += 16) {
        __m512i v[16];
        memcpy(v, out + u, sizeof v);
        transpose16(v);
        for (int i = 0; i < 16; i++) { /* undo the order of row_dots */
            out[u + i] = v[dots_place(j->c.units, i)];
        }
    }
    for (int64_t u = n_whole; u < n; u += of_pair) {
        pair_dots(layout, j, q, (u0 + u) / of_pair, &out[u]);
    }
}

/** Adds second planes of units [u0, u0 + n) of token t to their sum; super_d: of these units. */
static inline OPT_ALWAYS_INLINE __m512 rows16_low(codes_layout layout, const rows_job *j,
                                                  const opt_act_i8 *x, int64_t t, int64_t u0,
                                                  int64_t n, __m512i off, const __m512i *super_d,
                                                  __m512 sum) {
    const int units = j->c.units, of_pair = 2 * units;
    for (int64_t u = u0; u < u0 + n; u++) {
        if (!opt_act_has_low(x, t, u / units)) {
            continue;
        }
        const int32_t start = j->c.offset * opt_act_low_sum(x, t, units, u);
        __m512i low[4];
        __m512 d;
        __m512 m;
        pair_dots(layout, j, x->q_low + t * x->n_padded, u / of_pair, low);
        if (j->c.super) {
            d = _mm512_castsi512_ps(super_d[u - u0]);
        } else {
            codes_scales(layout, &j->c, j->w, off, u, &d, &m);
        }
        sum = add_unit(false, sum, _mm512_sub_epi32(low[u % of_pair], _mm512_set1_epi32(start)), d,
                       d, x->scale[t * (x->n_padded / 32) + u / units] * OPT_ACT_LOW_STEP, 0);
    }
    return sum;
}

/** 16 rows from r, one token, on the stored blocks. */
static inline OPT_ALWAYS_INLINE void rows16(codes_layout layout, const job *j, int64_t r,
                                            int64_t n_rows, int64_t t) {
    const int64_t n_padded = j->x->n_padded;
    const rows_job rows = {j->c, j->w + (size_t)r * j->row_bytes, j->row_bytes,
                           opt_min_i64(15, n_rows - 1 - r)};
    const __m512i off = row_offsets(j, r, n_rows);
    const int units = rows.c.units;
    const int16_t *sum4 = j->x->sum4 + t * (n_padded / 4);
    const float *scale = j->x->scale + t * (n_padded / 32);
    const float *scaled_sum = j->x->scaled_sum + t * (n_padded / 32);
    const bool sums = rows.c.offset != 0 || (rows.c.has_min && units == 2);
    const int64_t n_units = rows.c.n_groups * units;
    ahead next = {(uintptr_t)rows.w + 16 * rows.row_bytes,
                  t == 0 ? 8 * rows.row_bytes / (size_t)n_units : 0};
    __m512 sum = _mm512_setzero_ps();
    __m512 low = _mm512_setzero_ps();
    for (int64_t u0 = 0; u0 < n_units; u0 += RUN_UNITS) {
        const int64_t n = opt_min_i64(RUN_UNITS, n_units - u0);
        __m512i dots[RUN_UNITS + 3]; /* the last pair may reach behind the row's units */
        __m512i super_d[RUN_UNITS];
        __m512i super_m[16];
        rows16_dots(layout, &rows, j->x->q + t * n_padded, u0, n, &next, dots);
        for (int64_t i = 0; i < n; i++) {
            const int64_t u = u0 + i;
            prefetch_some(&next);
            const int of_unit = sums ? unit_sum(units, sum4, u) : 0;
            __m512 d;
            __m512 m;
            if (rows.c.super) {
                if (i % 16 == 0) {
                    super_scales16(layout, &rows.c, rows.w, rows.row_bytes, rows.last, u,
                                   super_d + i, super_m);
                }
                d = _mm512_castsi512_ps(super_d[i]);
                m = _mm512_castsi512_ps(super_m[i % 16]);
            } else {
                codes_scales(layout, &rows.c, rows.w, off, u, &d, &m);
            }
            const __m512i start = _mm512_set1_epi32(rows.c.offset * of_unit);
            float of_min = unit_scaled_sum(units, scale, scaled_sum, u, of_unit);
            if (units == 2 && rows.c.has_min && opt_act_has_low(j->x, t, u / units)) {
                of_min = opt_act_both_sums(scale[u / units], of_unit,
                                           opt_act_low_sum(j->x, t, units, u));
            }
            sum = add_unit(rows.c.has_min, sum, _mm512_sub_epi32(dots[i], start), d, m,
                           scale[u / units], of_min);
        }
        if (j->x->low != NULL) {
            low = rows16_low(layout, &rows, j->x, t, u0, n, off, super_d, low);
        }
        if (j->x->low != NULL && span_ends((u0 + n) / units, rows.c.n_groups)) {
            sum = _mm512_add_ps(sum, low);
            low = _mm512_setzero_ps();
        }
    }
    _mm512_mask_storeu_ps(j->y + t * j->ldy + r, lanes16(n_rows - r), sum);
}

/** Below this many tokens, rows16 on stored blocks is faster than unpacking. */
#define MIN_PANEL_TOKENS 3

static inline OPT_ALWAYS_INLINE void linear(codes_layout layout, const opt_kspec *s, const void *w,
                                            size_t row_bytes, const opt_act_i8 *x, float *y,
                                            int64_t ldy, int64_t n_rows, int64_t n_tokens,
                                            int64_t k) {
    const job j = {codes_rows_of(layout, s, k), w, row_bytes, x, y, ldy};
    if (n_tokens < MIN_PANEL_TOKENS) {
        for (int64_t r = 0; r < n_rows; r += 16) {
            for (int64_t t = 0; t < n_tokens; t++) {
                rows16(layout, &j, r, n_rows, t);
            }
        }
        return;
    }
    for (int64_t r = 0; r < n_rows; r += PANEL_ROWS) {
        low_sums low;
        const int64_t step = PANEL_GROUPS / j.c.planes;
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += step) {
            const int64_t n = opt_min_i64(step, j.c.n_groups - g0);
            panel unpacked;
            unpack_rows(layout, &j, r, n_rows, g0, n, 0, &unpacked);
            optk_panel_run_avx512(&j, &unpacked, r, n_rows, g0, n, n_tokens, &low);
        }
    }
}

#define LINEAR_I8(function, layout)                                                                \
    void function(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,        \
                  float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {            \
        for (int64_t t = 0; t < n_tokens; t += PANEL_TOKENS) {                                     \
            const opt_act_i8 part = opt_act_from(x, t);                                            \
            linear(layout, s, w, row_bytes, &part, y + t * ldy, ldy, n_rows,                       \
                   opt_min_i64(PANEL_TOKENS, n_tokens - t), k);                                    \
        }                                                                                          \
    }

LINEAR_I8(optk_linear_i8_q8_0__avx512, CODES_Q8_0)
LINEAR_I8(optk_linear_i8_q4_0__avx512, CODES_Q4_0)
LINEAR_I8(optk_linear_i8_q4_1__avx512, CODES_Q4_1)
LINEAR_I8(optk_linear_i8_q5_0__avx512, CODES_Q5_0)
LINEAR_I8(optk_linear_i8_q5_1__avx512, CODES_Q5_1)
LINEAR_I8(optk_linear_i8_iq4_nl__avx512, CODES_IQ4_NL)
LINEAR_I8(optk_linear_i8_mxfp4__avx512, CODES_MXFP4)
LINEAR_I8(optk_linear_i8_nf4__avx512, CODES_NF4)
LINEAR_I8(optk_linear_i8_fp8__avx512, CODES_FP8)
LINEAR_I8(optk_linear_i8_ternary__avx512, CODES_TERNARY)
LINEAR_I8(optk_linear_i8_q2_k__avx512, CODES_Q2_K)
LINEAR_I8(optk_linear_i8_q3_k__avx512, CODES_Q3_K)
LINEAR_I8(optk_linear_i8_q4_k__avx512, CODES_Q4_K)
LINEAR_I8(optk_linear_i8_q5_k__avx512, CODES_Q5_K)
LINEAR_I8(optk_linear_i8_q6_k__avx512, CODES_Q6_K)
LINEAR_I8(optk_linear_i8_iq4_xs__avx512, CODES_IQ4_XS)
LINEAR_I8(optk_linear_i8_tq2_0__avx512, CODES_TQ2_0)
LINEAR_I8(optk_linear_i8_nvfp4__avx512, CODES_NVFP4)
OPTK_INT_ROW(LINEAR_I8, linear_i8, linear_int, avx512)
