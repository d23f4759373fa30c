/**
 * The int8 path with 256-bit vectors, reference optk_linear_i8_<name>__ref (same bits). Made twice:
 * by linear_i8_avx2.c with 16-bit multiplications, and by linear_i8_avxvnni.c with vpdpbusd.
 *
 * As in linear_i8_avx512.c: for few tokens 8 rows at a time are read as they are stored, for many
 * 16 rows are unpacked into a panel that all tokens share.
 *
 * The includer defines LINEAR_I8_SUFFIX, and LINEAR_I8_VNNI as 0 or 1.
 */
#ifndef OPT_KERN_X86_LINEAR_I8_AVX2_H
#define OPT_KERN_X86_LINEAR_I8_AVX2_H

#include "kern/act.h"
#include "kern/rows.h"
#include "kern/x86/codes_avx2.h"
#include "kern/x86/codes_run.h"
#include "kern/x86/int_rows.h"

#ifndef LINEAR_I8_VNNI
#define LINEAR_I8_VNNI 0
#endif

#define PANEL_ROWS 16
#define PANEL_GROUPS OPT_ACT_LOW_WORD
#define PANEL_UNITS (2 * PANEL_GROUPS)
#define MAX_BLOCK_UNITS 16

/* One call. */
typedef struct job {
    codes_rows c;
    const uint8_t *w;
    size_t row_bytes;
    const opt_act_i8 *x;
    float *y;
    int64_t ldy;
    int offset; /* what dot leaves to be subtracted, times the sum of activations */
} job;

/** sum + u . x over 4 neighbours in every lane; `wide`: u may exceed 127, and u - 128 is multiplied
 * without VNNI. */
static inline OPT_ALWAYS_INLINE __m256i dot(bool wide, __m256i sum, __m256i u, __m256i x) {
#if LINEAR_I8_VNNI
    (void)wide;
    return _mm256_dpbusd_avx_epi32(sum, u, x);
#else
    /* vpmaddubsw saturates at 16 bits: 2 * 128 * 127 fits, 2 * 255 * 127 does not. */
    if (wide) {
        const __m256i w = _mm256_xor_si256(u, _mm256_set1_epi8(-128));
        x = _mm256_sign_epi8(x, w);
        u = _mm256_abs_epi8(w);
    }
    const __m256i pairs = _mm256_maddubs_epi16(u, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

static inline OPT_ALWAYS_INLINE bool is_wide(codes_layout layout) {
    return layout == CODES_Q8_0 || layout == CODES_INT8 || layout == CODES_IQ4_NL ||
           layout == CODES_IQ4_XS || layout == CODES_NF4 || layout == CODES_FP8;
}

/** What the dot products of a call leave to be subtracted: see job. */
static inline OPT_ALWAYS_INLINE int offset_left(codes_layout layout, const codes_rows *c) {
    if (LINEAR_I8_VNNI || !is_wide(layout)) {
        return c->offset;
    }
    return c->offset - (c->planes == 2 ? 128 * 256 + 128 : 128); /* the rest is done by dot */
}

/** Sums of the lower 4 and of the upper 4 lanes of 8 vectors. */
static inline void add_lanes4(const __m256i v[8], __m256i *lower, __m256i *upper) {
    const __m256i a =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    const __m256i b =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    *lower = _mm256_permute2x128_si256(a, b, 0x20);
    *upper = _mm256_permute2x128_si256(a, b, 0x31);
}

/** Sum of the activations of a group. */
static inline int32_t group_sum(const int16_t *sum4) {
    const __m128i pairs = _mm_madd_epi16(_mm_loadu_si128((const void *)sum4), _mm_set1_epi16(1));
    const __m128i two = _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/** Sum of the activations of unit u of a token's plane. */
static inline OPT_ALWAYS_INLINE int32_t unit_sum(int units, const int16_t *sum4, int64_t u) {
    const int16_t *s = sum4 + 4 * u;
    return units == 1 ? group_sum(sum4 + 8 * u) : s[0] + s[1] + s[2] + s[3];
}

/** Scale of unit u of token t times the sum of its activations; a group's is stored. */
static inline OPT_ALWAYS_INLINE float unit_scaled_sum(int units, const opt_act_i8 *x, int64_t t,
                                                      int64_t u) {
    const int64_t group = t * (x->n_padded / 32) + u / units;
    if (units == 1) {
        return x->scaled_sum[group];
    }
    const int32_t sum = unit_sum(units, x->sum4 + group * 8, u % units);
    return opt_act_has_low(x, t, u / units)
               ? opt_act_both_sums(x->scale[group], sum, opt_act_low_sum(x, t, units, u))
               : x->scale[group] * (float)sum;
}

/** Whether a sum of second planes ends before group g of n. */
static inline bool span_ends(int64_t g, int64_t n) { return g % OPT_ACT_LOW_SPAN == 0 || g == n; }

/** sum + dot * (d * scale) (+ m * scaled_sum). */
static inline OPT_ALWAYS_INLINE __m256 add_unit(bool has_min, __m256 sum, __m256i dots, __m256 d,
                                                __m256 m, float scale, float scaled_sum) {
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), _mm256_mul_ps(d, _mm256_set1_ps(scale)), sum);
    return has_min ? _mm256_fmadd_ps(m, _mm256_set1_ps(scaled_sum), sum) : sum;
}

/** Group g of a row against activations xq, on top of `start`, 4 elements a lane. */
static inline OPT_ALWAYS_INLINE __m256i group_dot(codes_layout layout, const codes_rows *c,
                                                  const uint8_t *row, int64_t g, __m256i start,
                                                  __m256i xq) {
    if (c->planes == 2) {
        __m256i planes[2];
        codes_load_planes(layout, c, row, g, planes);
        const __m256i high = dot(true, _mm256_setzero_si256(), planes[0], xq);
        return dot(true, _mm256_add_epi32(_mm256_slli_epi32(high, 8), start), planes[1], xq);
    }
    return dot(is_wide(layout), start, codes_load(layout, c, row, g), xq);
}

/** Scales (and offsets) of the blocks that begin at group g of 8 rows: [unit][row]. */
static inline OPT_ALWAYS_INLINE void super_scales8(codes_layout layout, const job *j,
                                                   const uint8_t *w, int64_t last, int64_t g,
                                                   float (*d)[8], float (*m)[8]) {
    for (int a = 0; a < 8; a++) {
        codes_super_scales(layout, &j->c, w + (size_t)opt_min_i64(a, last) * j->row_bytes, g, a, d,
                           m);
    }
}

/** Dot products of group g of 8 rows with one plane of a token, whose lanes begin with `start`: of
 * the group, or of its halves. */
static inline OPT_ALWAYS_INLINE void rows8_dots(codes_layout layout, const job *j, const uint8_t *w,
                                                int64_t last, int64_t g, __m256i start,
                                                const int8_t *q, __m256i of_unit[2]) {
    const __m256i xq = _mm256_loadu_si256((const void *)(q + 32 * g));
    __m256i dots[8];
    for (int a = 0; a < 8; a++) {
        const uint8_t *row = w + (size_t)opt_min_i64(a, last) * j->row_bytes;
        dots[a] = group_dot(layout, &j->c, row, g, start, xq);
    }
    add_lanes4(dots, &of_unit[0], &of_unit[1]);
    of_unit[0] = j->c.units == 1 ? _mm256_add_epi32(of_unit[0], of_unit[1]) : of_unit[0];
}

/** 8 rows from r, one token, on the stored blocks. Behind the last row, it is taken once more. */
static inline OPT_ALWAYS_INLINE void rows8(codes_layout layout, const job *j, int64_t r,
                                           int64_t n_rows, int64_t t) {
    const codes_rows c = j->c;
    const uint8_t *w = j->w + (size_t)r * j->row_bytes;
    const int64_t last = opt_min_i64(7, n_rows - 1 - r);
    const __m256i off = codes_row_offsets(j->row_bytes, last);
    const int64_t n_padded = j->x->n_padded;
    const int8_t *q = j->x->q + t * n_padded;
    const int16_t *sum4 = j->x->sum4 + t * (n_padded / 4);
    const float *scale = j->x->scale + t * (n_padded / 32);
    float super_d[MAX_BLOCK_UNITS][8];
    float super_m[MAX_BLOCK_UNITS][8] = {{0}};
    __m256 sum = _mm256_setzero_ps();
    __m256 low = _mm256_setzero_ps();
    for (int64_t g = 0; g < c.n_groups; g++) {
        const int in_block = (int)codes_in_block(&c, g);
        __m256i of_unit[2];
        __m256i of_low[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        const bool has_low = opt_act_has_low(j->x, t, g);
        const __m256i xs = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(sum4 + 8 * g)));
        rows8_dots(layout, j, w, last, g, _mm256_mullo_epi32(xs, _mm256_set1_epi32(-j->offset)), q,
                   of_unit);
        if (has_low) {
            rows8_dots(layout, j, w, last, g, _mm256_setzero_si256(), j->x->q_low + t * n_padded,
                       of_low);
        }
        if (c.super && in_block == 0) {
            super_scales8(layout, j, w, last, g, super_d, super_m);
        }
        for (int u = 0; u < c.units; u++) {
            __m256 d;
            __m256 m;
            if (c.super) {
                d = _mm256_loadu_ps(super_d[in_block * c.units + u]);
                m = _mm256_loadu_ps(super_m[in_block * c.units + u]);
            } else {
                codes_scales(layout, &c, w, off, g, &d, &m);
            }
            const float min_scale =
                c.has_min ? unit_scaled_sum(c.units, j->x, t, g * c.units + u) : 0;
            sum = add_unit(c.has_min, sum, of_unit[u], d, m, scale[g], min_scale);
            if (has_low) {
                const int start = -j->offset * opt_act_low_sum(j->x, t, c.units, g * c.units + u);
                low = add_unit(false, low, _mm256_add_epi32(of_low[u], _mm256_set1_epi32(start)), d,
                               m, scale[g] * OPT_ACT_LOW_STEP, 0);
            }
        }
        if (j->x->low != NULL && span_ends(g + 1, c.n_groups)) {
            sum = _mm256_add_ps(sum, low);
            low = _mm256_setzero_ps();
        }
    }
    store8(j->y + t * j->ldy + r, n_rows - r, sum);
}

/**
 * 16 rows of up to PANEL_GROUPS groups: byte i of codes[u][r] is element 4 u + i of row r. Codes of
 * two planes: half as many groups, and the 8 quads of a group's high bytes before those of its low
 * ones.
 */
typedef struct panel {
    OPT_ALIGNED(64) uint8_t codes[PANEL_GROUPS * 8][PANEL_ROWS][4];
    OPT_ALIGNED(64) float d[PANEL_UNITS][PANEL_ROWS]; /* of units */
    OPT_ALIGNED(64) float m[PANEL_UNITS][PANEL_ROWS];
} panel;

/** Transposes 8 x 8 elements of 32 bits in place. */
static inline void transpose8(__m256i v[8]) {
    __m256i u[8];
    for (int i = 0; i < 8; i += 2) {
        u[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        u[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* v[i + c]: columns c and c + 4 of rows i .. i + 3 */
        v[i] = _mm256_unpacklo_epi64(u[i], u[i + 2]);
        v[i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 2]);
        v[i + 2] = _mm256_unpacklo_epi64(u[i + 1], u[i + 3]);
        v[i + 3] = _mm256_unpackhi_epi64(u[i + 1], u[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        u[c] = _mm256_permute2x128_si256(v[c], v[c + 4], 0x20);
        u[c + 4] = _mm256_permute2x128_si256(v[c], v[c + 4], 0x31);
    }
    memcpy(v, u, sizeof u);
}

/** The codes of group g of a row, a lane 4 of them: one plane or two. */
static inline OPT_ALWAYS_INLINE void load_planes(codes_layout layout, const codes_rows *c,
                                                 const uint8_t *row, int64_t g, __m256i out[2]) {
    if (c->planes == 2) {
        codes_load_planes(layout, c, row, g, out);
    } else {
        out[0] = codes_load(layout, c, row, g);
    }
}

/** Unpacks groups [g0, g0 + n) of 8 rows from r into the panel's rows from `at`. */
static inline OPT_ALWAYS_INLINE void unpack8(codes_layout layout, const job *j, int64_t r,
                                             int64_t n_rows, int64_t g0, int64_t n, int at,
                                             panel *out) {
    const int64_t base = opt_min_i64(r, n_rows - 1);
    const uint8_t *w = j->w + (size_t)base * j->row_bytes;
    const int64_t last = opt_min_i64(7, n_rows - 1 - base);
    const __m256i off = codes_row_offsets(j->row_bytes, last);
    for (int64_t g = 0; g < n; g++) {
        const int planes = j->c.planes;
        __m256i v[2][8];
        for (int a = 0; a < 8; a++) {
            __m256i codes[2];
            load_planes(layout, &j->c, w + (size_t)opt_min_i64(a, last) * j->row_bytes, g0 + g,
                        codes);
            for (int p = 0; p < planes; p++) {
                v[p][a] = codes[p];
            }
        }
        for (int p = 0; p < planes; p++) {
            transpose8(v[p]);
            for (int u = 0; u < 8; u++) {
                _mm256_store_si256((void *)out->codes[8 * (planes * g + p) + u][at], v[p][u]);
            }
        }
        if (j->c.super) {
            if (codes_in_block(&j->c, g0 + g) == 0) {
                float d[MAX_BLOCK_UNITS][8];
                float m[MAX_BLOCK_UNITS][8] = {{0}};
                super_scales8(layout, j, w, last, g0 + g, d, m);
                for (int u = 0; u < codes_block_units(&j->c); u++) {
                    memcpy(&out->d[g * j->c.units + u][at], d[u], sizeof d[u]);
                    memcpy(&out->m[g * j->c.units + u][at], m[u], sizeof m[u]);
                }
            }
            continue;
        }
        __m256 d;
        __m256 m;
        codes_scales(layout, &j->c, w, off, g0 + g, &d, &m);
        _mm256_store_ps(&out->d[g][at], d);
        _mm256_store_ps(&out->m[g][at], m);
    }
}

/** Adds 256 times the products of a unit's high bytes to what it begins with. */
static inline OPT_ALWAYS_INLINE void panel_high(int n_t, const uint8_t (*codes)[PANEL_ROWS][4],
                                                const int8_t *q, int64_t n_padded,
                                                __m256i (*dots)[2]) {
    for (int b = 0; b < n_t; b++) {
        __m256i high[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int i = 0; i < 8; i++) {
            const __m256i xq =
                _mm256_set1_epi32((int)opt_rd_u32le(q + b * n_padded + 4 * (ptrdiff_t)i));
            for (int a = 0; a < 2; a++) {
                high[a] = dot(true, high[a],
                              _mm256_load_si256((const void *)codes[i][(ptrdiff_t)a * 8]), xq);
            }
        }
        for (int a = 0; a < 2; a++) {
            dots[b][a] = _mm256_add_epi32(dots[b][a], _mm256_slli_epi32(high[a], 8));
        }
    }
}

/** Tokens of one pass over panels. */
#define PANEL_TOKENS 128

/** Sums of second planes of a panel's rows. */
typedef struct low_sums {
    OPT_ALIGNED(32) float sum[PANEL_TOKENS][PANEL_ROWS];
} low_sums;

/** Adds group g0 + g of a panel's second planes for token t. */
static inline OPT_ALWAYS_INLINE void panel_low_group(bool wide, int units, const job *j,
                                                     const panel *w, int64_t t, int64_t g0,
                                                     int64_t g, float *sum) {
    const int planes = j->c.planes; /* of codes */
    const int quads = 8 / units;
    const int8_t *q = j->x->q_low + t * j->x->n_padded + g0 * 32;
    const float scale = j->x->scale[t * (j->x->n_padded / 32) + g0 + g] * OPT_ACT_LOW_STEP;
    for (int64_t u = g * units; u < (g + 1) * units; u++) {
        __m256i dots[2];
        dots[0] = dots[1] =
            _mm256_set1_epi32(-j->offset * opt_act_low_sum(j->x, t, units, g0 * units + u));
        if (planes == 2) {
            panel_high(1, w->codes + 16 * u, q + 32 * u, 0, &dots);
        }
        const int64_t first = planes == 2 ? 16 * u + 8 : u * quads; /* quad */
        for (int i = 0; i < quads; i++) {
            const __m256i xq = _mm256_set1_epi32((int)opt_rd_u32le(q + 4 * (u * quads + i)));
            for (int a = 0; a < 2; a++) {
                const __m256i codes = _mm256_load_si256((const void *)w->codes[first + i][8 * a]);
                dots[a] = dot(wide, dots[a], codes, xq);
            }
        }
        for (int a = 0; a < 2; a++) {
            const __m256 d = _mm256_load_ps(&w->d[u][8 * a]);
            _mm256_store_ps(
                sum + (ptrdiff_t)a * 8,
                add_unit(false, _mm256_load_ps(sum + (ptrdiff_t)a * 8), dots[a], d, d, scale, 0));
        }
    }
}

/** Adds second planes of groups [g0, g0 + n) of a panel to the sums of all tokens. */
static inline OPT_ALWAYS_INLINE void panel_low(bool wide, int units, const job *j, const panel *w,
                                               int64_t g0, int64_t n, int64_t n_tokens,
                                               low_sums *out) {
    for (int64_t t = 0; t < n_tokens; t++) {
        const uint32_t of_panel = opt_act_low_groups(j->x, t, g0, n);
        for (uint32_t left = of_panel; left != 0; left &= left - 1) {
            panel_low_group(wide, units, j, w, t, g0, __builtin_ctz(left), out->sum[t]);
        }
    }
}

/** Adds the sums of second planes to y [n_tokens, r .. r + 16), and begins new ones. */
static void end_span(const job *j, int64_t r, int64_t n_rows, int64_t n_tokens, low_sums *low) {
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t i = 0; i < opt_min_i64(PANEL_ROWS, n_rows - r); i++) {
            j->y[t * j->ldy + r + i] += low->sum[t][i];
        }
    }
    memset(low, 0, sizeof *low);
}

/** Adds the panel's groups (from g0 of the row) to y [t .. t + n_t, r .. r + 16), which the first
 * groups set. */
static inline OPT_ALWAYS_INLINE void panel_tile(bool wide, bool has_min, int units, int planes,
                                                int n_t, const job *j, const panel *w, int64_t r,
                                                int64_t n_rows, int64_t g0, int64_t n, int64_t t) {
    const int64_t n_padded = j->x->n_padded;
    const int8_t *q = j->x->q + t * n_padded + g0 * 32;
    const int16_t *sum4 = j->x->sum4 + t * (n_padded / 4) + g0 * 8;
    const float *scale = j->x->scale + t * (n_padded / 32) + g0;
    const int quads = 8 / units; /* of a unit */
    float *y = j->y + t * j->ldy + r;
    const bool second = n_rows - r > 8;
    __m256 sum[3][2];
    for (int b = 0; b < n_t; b++) {
        sum[b][0] = g0 == 0 ? _mm256_setzero_ps() : load8(y + b * j->ldy, n_rows - r);
        sum[b][1] =
            g0 == 0 || !second ? _mm256_setzero_ps() : load8(y + b * j->ldy + 8, n_rows - r - 8);
    }
    for (int64_t u = 0; u < n * units; u++) {
        __m256i dots[3][2];
        float min_scale[3];
        for (int b = 0; b < n_t; b++) {
            const int16_t *sum4_b = sum4 + b * (n_padded / 4);
            const int total = j->offset != 0 ? unit_sum(units, sum4_b, u) : 0;
            dots[b][0] = dots[b][1] = _mm256_set1_epi32(-j->offset * total);
            min_scale[b] = has_min ? unit_scaled_sum(units, j->x, t + b, g0 * units + u) : 0;
        }
        if (planes == 2) {
            panel_high(n_t, w->codes + 16 * u, q + 32 * u, n_padded, dots);
        }
        const int64_t first = planes == 2 ? 16 * u + 8 : u * quads; /* quad */
        for (int i = 0; i < quads; i++) {
            const __m256i w0 = _mm256_load_si256((const void *)w->codes[first + i][0]);
            const __m256i w1 = _mm256_load_si256((const void *)w->codes[first + i][8]);
            for (int b = 0; b < n_t; b++) {
                const __m256i xq =
                    _mm256_set1_epi32((int)opt_rd_u32le(q + b * n_padded + 4 * (u * quads + i)));
                dots[b][0] = dot(wide, dots[b][0], w0, xq);
                dots[b][1] = dot(wide, dots[b][1], w1, xq);
            }
        }
        for (int b = 0; b < n_t; b++) {
            for (int a = 0; a < 2; a++) {
                sum[b][a] =
                    add_unit(has_min, sum[b][a], dots[b][a], _mm256_load_ps(&w->d[u][8 * a]),
                             _mm256_load_ps(&w->m[u][8 * a]),
                             scale[b * (n_padded / 32) + u / units], min_scale[b]);
            }
        }
    }
    for (int b = 0; b < n_t; b++) {
        store8(y + b * j->ldy, n_rows - r, sum[b][0]);
        if (second) {
            store8(y + b * j->ldy + 8, n_rows - r - 8, sum[b][1]);
        }
    }
}

/** All tokens over one panel. */
static inline OPT_ALWAYS_INLINE void panel_tokens(bool wide, bool has_min, int units, int planes,
                                                  const job *j, const panel *w, int64_t r,
                                                  int64_t n_rows, int64_t g0, int64_t n,
                                                  int64_t n_tokens, low_sums *low) {
    int64_t t = 0;
    if (j->x->low != NULL) {
        panel_low(wide, units, j, w, g0, n, n_tokens, low);
    }
    for (; t + 3 <= n_tokens; t += 3) {
        panel_tile(wide, has_min, units, planes, 3, j, w, r, n_rows, g0, n, t);
    }
    for (; t < n_tokens; t++) {
        panel_tile(wide, has_min, units, planes, 1, j, w, r, n_rows, g0, n, t);
    }
}

static OPT_NOINLINE void panel_run(bool wide, const job *j, const panel *w, int64_t r,
                                   int64_t n_rows, int64_t g0, int64_t n, int64_t n_tokens,
                                   low_sums *low) {
    if (j->c.planes == 2) {
        panel_tokens(true, false, 1, 2, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (wide && j->c.has_min) { /* no wide format has units of 16 */
        panel_tokens(true, true, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (wide) {
        panel_tokens(true, false, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.units == 2 && j->c.has_min) {
        panel_tokens(false, true, 2, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.units == 2) {
        panel_tokens(false, false, 2, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.has_min) {
        panel_tokens(false, true, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else {
        panel_tokens(false, false, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    }
    if (j->x->low != NULL && span_ends(g0 + n, j->c.n_groups)) {
        end_span(j, r, n_rows, n_tokens, low);
    }
}

/** Below this many tokens, rows8 on stored blocks is faster than unpacking. */
#define MIN_PANEL_TOKENS 3

static inline OPT_ALWAYS_INLINE void linear(codes_layout layout, const opt_kspec *s, const void *w,
                                            size_t row_bytes, const opt_act_i8 *x, float *y,
                                            int64_t ldy, int64_t n_rows, int64_t n_tokens,
                                            int64_t k) {
    job j = {codes_rows_of(layout, s, k), w, row_bytes, x, y, ldy, 0};
    j.offset = offset_left(layout, &j.c);
    if (n_tokens < MIN_PANEL_TOKENS) {
        for (int64_t r = 0; r < n_rows; r += 8) {
            for (int64_t t = 0; t < n_tokens; t++) {
                rows8(layout, &j, r, n_rows, t);
            }
        }
        return;
    }
    for (int64_t r = 0; r < n_rows; r += PANEL_ROWS) {
        low_sums low = {0};
        const int64_t step = PANEL_GROUPS / j.c.planes;
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += step) {
            const int64_t n = opt_min_i64(step, j.c.n_groups - g0);
            panel unpacked;
            unpack8(layout, &j, r, n_rows, g0, n, 0, &unpacked);
            unpack8(layout, &j, r + 8, n_rows, g0, n, 8, &unpacked);
            panel_run(is_wide(layout), &j, &unpacked, r, n_rows, g0, n, n_tokens, &low);
        }
    }
}

_Static_assert(PANEL_ROWS == OPT_RUN_ROWS, "a panel takes one run");

/** `bits` bits of every byte from bit `shift`, moved to the lowest. */
static inline OPT_ALWAYS_INLINE __m256i shifted_bits(__m256i v, int shift, int bits) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)),
                            _mm256_set1_epi8((char)((1 << bits) - 1)));
}

/** Codes of quad i of group g of rows 8 h .. 8 h + 7 of a run. */
static inline OPT_ALWAYS_INLINE __m256i run_quad(codes_layout layout, const codes_rows *rows,
                                                 const uint8_t *block, int g, int i, int h) {
    const run_places at = run_places_of(layout, rows);
    const run_code c = run_code_of(layout, (int)rows->block_elems, g, i);
    const __m256i v = load256(block + at.codes + (ptrdiff_t)c.word * 64 + (ptrdiff_t)h * 32);
    if (layout == CODES_Q8_0) {
        return _mm256_xor_si256(v, _mm256_set1_epi8(-128));
    }
    if (layout == CODES_INT8) {
        return v;
    }
    const __m256i low = shifted_bits(v, c.shift, c.bits);
    if (c.high_bits == 0) {
        return layout == CODES_IQ4_NL || layout == CODES_IQ4_XS ? look_up(layout, low) : low;
    }
    const __m256i high = load256(block + at.high + (ptrdiff_t)c.high_word * 64 + (ptrdiff_t)h * 32);
    return _mm256_or_si256(low, _mm256_sll_epi16(shifted_bits(high, c.high_shift, c.high_bits),
                                                 _mm_cvtsi32_si128(c.bits)));
}

/** Scales (and offsets) of the units of a block of a run, for row r: d and m [unit][16]. */
static inline OPT_ALWAYS_INLINE void run_scales(codes_layout layout, const opt_kspec *s,
                                                const codes_rows *c, const uint8_t *run, int r,
                                                float (*d)[PANEL_ROWS], float (*m)[PANEL_ROWS]) {
    uint8_t block[OPT_RUN_BLOCK_BYTES];
    codes_super scales = {0};
    opt_run_take(s, run, r, 0, 1, block);
    codes_super_read(layout, block, &scales);
    for (int u = 0; u < codes_block_units(c); u++) {
        d[u][r] = scales.d * (float)(int8_t)(scales.scale[u / 4] >> u % 4 * 8);
        m[u][r] = -scales.dmin * (float)(scales.min[u / 4] >> u % 4 * 8 & 255);
    }
}

/** Unpacks one block of a run into the panel's groups from g. */
static inline OPT_ALWAYS_INLINE void run_unpack(codes_layout layout, const opt_kspec *s,
                                                const codes_rows *c, const uint8_t *block,
                                                int64_t g, panel *out) {
    for (int k = 0; k < (int)c->block_elems / 32; k++) {
        for (int i = 0; i < 8; i++) {
            for (int h = 0; h < 2; h++) {
                _mm256_store_si256((void *)out->codes[8 * (g + k) + i][h * 8],
                                   run_quad(layout, c, block, k, i, h));
            }
        }
    }
    if (c->super) {
        for (int r = 0; r < OPT_RUN_ROWS; r++) {
            run_scales(layout, s, c, block, r, out->d + g * c->units, out->m + g * c->units);
        }
        return;
    }
    for (int h = 0; h < 2; h++) {
        const __m256 d = _mm256_cvtph_ps(load128(block + (ptrdiff_t)h * 16));
        __m256 m = _mm256_setzero_ps();
        if (c->zero_byte) { /* as codes_scales */
            const uint8_t *zero = block + run_places_of(layout, c).scales + (ptrdiff_t)h * 8;
            const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)zero));
            m = _mm256_mul_ps(d, _mm256_mul_ps(_mm256_cvtepi32_ps(bytes),
                                               _mm256_set1_ps(codes_zero_step(layout))));
        }
        if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
            const int at = run_places_of(layout, c).scales;
            m = _mm256_cvtph_ps(load128(block + at + (ptrdiff_t)h * 16));
        }
        for (int k = 0; k < (int)c->block_elems / 32; k++) {
            _mm256_store_ps(&out->d[g + k][h * 8], d);
            _mm256_store_ps(&out->m[g + k][h * 8], m);
        }
    }
}

/** Runs of 16 rows are panels but for their codes and scales. */
static inline OPT_ALWAYS_INLINE void linear_run(codes_layout layout, const opt_kspec *s,
                                                const void *w, size_t row_bytes,
                                                const opt_act_i8 *x, float *y, int64_t ldy,
                                                int64_t n_rows, int64_t n_tokens, int64_t k) {
    job j = {codes_rows_of(layout, s, k), w, row_bytes, x, y, ldy, 0};
    j.offset = offset_left(layout, &j.c);
    for (int64_t r = 0; r < n_rows; r += OPT_RUN_ROWS) {
        const uint8_t *block = j.w + (size_t)r * row_bytes;
        low_sums low = {0};
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += PANEL_GROUPS) {
            const int64_t n = opt_min_i64(PANEL_GROUPS, j.c.n_groups - g0);
            panel unpacked;
            for (int64_t g = 0; g < n; g += j.c.block_elems / 32) {
                run_unpack(layout, s, &j.c, block, g, &unpacked);
                block += OPT_RUN_ROWS * j.c.block_bytes;
            }
            panel_run(is_wide(layout), &j, &unpacked, r, n_rows, g0, n, n_tokens, &low);
        }
    }
}

#define LINEAR_RUN(function, layout)                                                               \
    void function(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,        \
                  float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {            \
        for (int64_t t = 0; t < n_tokens; t += PANEL_TOKENS) {                                     \
            const opt_act_i8 part = opt_act_from(x, t);                                            \
            linear_run(layout, s, w, row_bytes, &part, y + t * ldy, ldy, n_rows,                   \
                       opt_min_i64(PANEL_TOKENS, n_tokens - t), k);                                \
        }                                                                                          \
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

#endif
