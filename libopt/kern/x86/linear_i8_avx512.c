/*
 * The int8 path with AVX-512 VNNI, reference optk_linear_i8_<name>__ref (same bits as __avx2).
 *
 * For few tokens 16 rows at a time are read as they are stored, and the lanes of their dot products
 * are added across; for many, 32 rows are unpacked into a panel [group][4 elements][row] which all
 * tokens then share. Both compute, for each output, the exact integer dot product of every group of
 * 32 and then one chain of fused multiply-adds over groups.
 */
#include <string.h>

#include "kern/rows.h"
#include "kern/x86/codes_avx512.h"

#define PANEL_ROWS 32
#define PANEL_GROUPS 16

/* One call. */
typedef struct job {
    codes_rows c;
    const uint8_t *w;
    size_t row_bytes;
    const opt_act_i8 *x;
    float *y;
    int64_t ldy;
} job;

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

/** Transposes 16 x 16 elements of 32 bits in place. */
static inline void transpose16(__m512i v[16]) {
    __m512i u[16];
    for (int i = 0; i < 16; i += 2) {
        u[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        u[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* v[i + c]: columns c + 4 lane of rows i .. i + 3 */
        v[i] = _mm512_unpacklo_epi64(u[i], u[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(u[i + 1], u[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(u[i + 1], u[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        const __m512i lo01 = _mm512_shuffle_i32x4(v[c], v[c + 4], 0x44);
        const __m512i hi01 = _mm512_shuffle_i32x4(v[c], v[c + 4], 0xee);
        const __m512i lo23 = _mm512_shuffle_i32x4(v[c + 8], v[c + 12], 0x44);
        const __m512i hi23 = _mm512_shuffle_i32x4(v[c + 8], v[c + 12], 0xee);
        u[c] = _mm512_shuffle_i32x4(lo01, lo23, 0x88);
        u[c + 4] = _mm512_shuffle_i32x4(lo01, lo23, 0xdd);
        u[c + 8] = _mm512_shuffle_i32x4(hi01, hi23, 0x88);
        u[c + 12] = _mm512_shuffle_i32x4(hi01, hi23, 0xdd);
    }
    for (int i = 0; i < 16; i++) {
        v[i] = u[i];
    }
}

/** Sum of the activations of a group. */
static inline int32_t group_sum(const int16_t *sum4) {
    const __m128i pairs = _mm_madd_epi16(_mm_loadu_si128((const void *)sum4), _mm_set1_epi16(1));
    const __m128i two = _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/** Offsets of 16 rows from r; rows behind the last one repeat it. */
static inline __m512i row_offsets(const job *j, int64_t r, int64_t n_rows) {
    const __m512i idx = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i last = _mm512_set1_epi32((int)opt_min_i64(15, n_rows - 1 - r));
    return _mm512_mullo_epi32(_mm512_min_epi32(idx, last), _mm512_set1_epi32((int)j->row_bytes));
}

/** sum + dot * (d * scale) (+ m * scaled_sum). */
static inline OPT_ALWAYS_INLINE __m512 add_group(bool has_min, __m512 sum, __m512i dot, __m512 d,
                                                 __m512 m, float scale, float scaled_sum) {
    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(d, _mm512_set1_ps(scale)), sum);
    return has_min ? _mm512_fmadd_ps(m, _mm512_set1_ps(scaled_sum), sum) : sum;
}

/*
 * Memory is fastest when it is read in order, so a row is read to its end, or up to this many
 * groups, before the next; and the hardware stops prefetching at the end of a page, so software
 * asks for the next one.
 */
#define RUN_GROUPS 128
#define PREFETCH_BYTES 4096

static inline void prefetch_ahead(const uint8_t *p) {
    _mm_prefetch((const char *)((uintptr_t)p + PREFETCH_BYTES), _MM_HINT_T1);
}

/* One token against 16 rows, which start at w; rows behind `last` repeat it. */
typedef struct rows_job {
    codes_rows c;
    const uint8_t *w;
    size_t row_bytes;
    int64_t last;
    const int8_t *q;
} rows_job;

/** Dot products of elements 64 p .. 64 p + 63, in 16 lanes of 4 elements each. */
static inline OPT_ALWAYS_INLINE __m512i pair_dot(codes_layout layout, const rows_job *j, int64_t a,
                                                 int64_t p) {
    const uint8_t *row = j->w + (size_t)a * j->row_bytes;
    prefetch_ahead(row + codes_block_off(&j->c, 2 * p));
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes_load(layout, &j->c, row, p),
                               _mm512_loadu_si512(j->q + 64 * p));
}

/**
 * Dot products of 16 groups (pairs p .. p + 7) of row a, in the order 0 2 4 6, 1 3 5 7, 8 10 12 14,
 * 9 11 13 15.
 */
static inline OPT_ALWAYS_INLINE __m512i row_dots(codes_layout layout, const rows_job *j, int64_t a,
                                                 int64_t p) {
    __m512i lanes[2];
    for (int h = 0; h < 2; h++) {
        __m512i dot[4];
        for (int b = 0; b < 4; b++) {
            dot[b] = pair_dot(layout, j, a, p + 4 * h + b);
        }
        lanes[h] = add_lanes4(dot[0], dot[1], dot[2], dot[3]);
    }
    return _mm512_add_epi32(_mm512_shuffle_i32x4(lanes[0], lanes[1], 0x88),
                            _mm512_shuffle_i32x4(lanes[0], lanes[1], 0xdd));
}

/** Dot products of the groups 2 p and 2 p + 1 of all rows. */
static inline OPT_ALWAYS_INLINE void pair_dots(codes_layout layout, const rows_job *j, int64_t p,
                                               __m512i *lower, __m512i *upper) {
    __m512i lanes[4];
    for (int a = 0; a < 4; a++) {
        __m512i dot[4];
        for (int b = 0; b < 4; b++) {
            dot[b] = pair_dot(layout, j, opt_min_i64(4 * a + b, j->last), p);
        }
        lanes[a] = add_lanes4(dot[0], dot[1], dot[2], dot[3]);
    }
    add_halves(lanes, lower, upper);
}

/** Dot products of groups [g0, g0 + n), g0 even: out[g - g0] for 16 rows. */
static inline OPT_ALWAYS_INLINE void rows16_dots(codes_layout layout, const rows_job *j, int64_t g0,
                                                 int64_t n, __m512i out[RUN_GROUPS]) {
    const int64_t n_whole = n / 16 * 16;
    for (int64_t a = 0; a <= j->last; a++) {
        for (int64_t g = 0; g < n_whole; g += 16) {
            out[g + a] = row_dots(layout, j, a, (g0 + g) / 2);
        }
    }
    for (int64_t g = 0; g < n_whole; g += 16) {
        __m512i v[16];
        memcpy(v, out + g, sizeof v);
        transpose16(v);
        for (int i = 0; i < 16; i++) { /* undo the order of row_dots */
            out[g + i] = v[i / 8 * 8 + i % 2 * 4 + i % 8 / 2];
        }
    }
    for (int64_t g = n_whole; g < n; g += 2) {
        pair_dots(layout, j, (g0 + g) / 2, &out[g], &out[g + 1]);
    }
}

/** 16 rows from r, one token, on the stored blocks. */
static inline OPT_ALWAYS_INLINE void rows16(codes_layout layout, const job *j, int64_t r,
                                            int64_t n_rows, int64_t t) {
    const int64_t n_padded = j->x->n_padded;
    const rows_job rows = {j->c, j->w + (size_t)r * j->row_bytes, j->row_bytes,
                           opt_min_i64(15, n_rows - 1 - r), j->x->q + t * n_padded};
    const __m512i off = row_offsets(j, r, n_rows);
    const int16_t *sum4 = j->x->sum4 + t * (n_padded / 4);
    const float *scale = j->x->scale + t * (n_padded / 32);
    const float *scaled_sum = j->x->scaled_sum + t * (n_padded / 32);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t g0 = 0; g0 < rows.c.n_groups; g0 += RUN_GROUPS) {
        const int64_t n = opt_min_i64(RUN_GROUPS, rows.c.n_groups - g0);
        __m512i dots[RUN_GROUPS];
        rows16_dots(layout, &rows, g0, n, dots);
        for (int64_t i = 0; i < n; i++) {
            const int64_t g = g0 + i;
            const int offset = rows.c.offset == 0 ? 0 : rows.c.offset * group_sum(sum4 + 8 * g);
            __m512 d;
            __m512 m;
            codes_scales(layout, &rows.c, rows.w, off, g, &d, &m);
            sum =
                add_group(rows.c.has_min, sum, _mm512_sub_epi32(dots[i], _mm512_set1_epi32(offset)),
                          d, m, scale[g], scaled_sum[g]);
        }
    }
    _mm512_mask_storeu_ps(j->y + t * j->ldy + r, lanes16(n_rows - r), sum);
}

/** 32 rows of up to PANEL_GROUPS groups, unpacked: byte i of codes[g][u][r] is element 4 u + i of
 * group g of row r. */
typedef struct panel {
    OPT_ALIGNED(64) uint8_t codes[PANEL_GROUPS][8][PANEL_ROWS][4];
    OPT_ALIGNED(64) float d[PANEL_GROUPS][PANEL_ROWS];
    OPT_ALIGNED(64) float m[PANEL_GROUPS][PANEL_ROWS];
} panel;

/** Unpacks groups [g0, g0 + n) of 16 rows from r into the panel's rows from `at`. g0 is even. */
static inline OPT_ALWAYS_INLINE void unpack16(codes_layout layout, const job *j, int64_t r,
                                              int64_t n_rows, int64_t g0, int64_t n, int at,
                                              panel *out) {
    const int64_t base = opt_min_i64(r, n_rows - 1);
    const uint8_t *w = j->w + (size_t)base * j->row_bytes;
    const __m512i off = row_offsets(j, base, n_rows);
    const int64_t last = opt_min_i64(15, n_rows - 1 - base);
    for (int64_t g = 0; g < n; g += 2) {
        __m512i v[16];
        for (int a = 0; a < 16; a++) {
            const uint8_t *row = w + (size_t)opt_min_i64(a, last) * j->row_bytes;
            v[a] = codes_load(layout, &j->c, row, (g0 + g) / 2);
        }
        transpose16(v);
        for (int a = 0; a < 16; a++) {
            _mm512_store_si512(out->codes[g + a / 8][a % 8][at], v[a]);
        }
    }
    for (int64_t g = 0; g < n; g++) {
        __m512 d;
        __m512 m;
        codes_scales(layout, &j->c, w, off, g0 + g, &d, &m);
        _mm512_store_ps(&out->d[g][at], d);
        _mm512_store_ps(&out->m[g][at], m);
    }
}

static inline __m512i four_bytes(const int8_t *q) {
    return _mm512_set1_epi32((int)opt_rd_u32le(q));
}

/** Adds the panel's groups (from g0 of the row) to y [t .. t + n_t, r .. r + 32), which the first
 * groups set. */
static inline OPT_ALWAYS_INLINE void panel_tile(bool has_min, int n_t, const job *j, const panel *w,
                                                int64_t r, int64_t n_rows, int64_t g0, int64_t n,
                                                int64_t t) {
    const int64_t n_padded = j->x->n_padded;
    const __mmask16 mask0 = lanes16(n_rows - r);
    const __mmask16 mask1 = lanes16(opt_max_i64(0, n_rows - r - 16));
    const int8_t *q = j->x->q + t * n_padded + g0 * 32;
    const float *scale = j->x->scale + t * (n_padded / 32) + g0;
    const float *scaled_sum = j->x->scaled_sum + t * (n_padded / 32) + g0;
    float *y = j->y + t * j->ldy + r;
    int32_t sums[6][PANEL_GROUPS];
    __m512 sum[6][2];
    for (int b = 0; b < n_t; b++) {
        for (int64_t g = 0; g < n && !has_min; g++) {
            sums[b][g] = group_sum(j->x->sum4 + (t + b) * (n_padded / 4) + (g0 + g) * 8);
        }
        sum[b][0] = g0 == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask0, y + b * j->ldy);
        sum[b][1] =
            g0 == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask1, y + b * j->ldy + 16);
    }
    for (int64_t g = 0; g < n; g++) {
        __m512i dot[6][2];
        for (int b = 0; b < n_t; b++) {
            dot[b][0] = dot[b][1] =
                has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(-j->c.offset * sums[b][g]);
        }
        for (int u = 0; u < 8; u++) {
            const __m512i w0 = _mm512_load_si512(w->codes[g][u][0]);
            const __m512i w1 = _mm512_load_si512(w->codes[g][u][16]);
            for (int b = 0; b < n_t; b++) {
                const __m512i xq = four_bytes(q + b * n_padded + 32 * g + 4 * u);
                dot[b][0] = _mm512_dpbusd_epi32(dot[b][0], w0, xq);
                dot[b][1] = _mm512_dpbusd_epi32(dot[b][1], w1, xq);
            }
        }
        for (int b = 0; b < n_t; b++) {
            for (int a = 0; a < 2; a++) {
                sum[b][a] =
                    add_group(has_min, sum[b][a], dot[b][a], _mm512_load_ps(&w->d[g][16 * a]),
                              _mm512_load_ps(&w->m[g][16 * a]), scale[b * (n_padded / 32) + g],
                              scaled_sum[b * (n_padded / 32) + g]);
            }
        }
    }
    for (int b = 0; b < n_t; b++) {
        _mm512_mask_storeu_ps(y + b * j->ldy, mask0, sum[b][0]);
        _mm512_mask_storeu_ps(y + b * j->ldy + 16, mask1, sum[b][1]);
    }
}

/** All tokens over one panel. */
static inline OPT_ALWAYS_INLINE void panel_tokens(bool has_min, const job *j, const panel *w,
                                                  int64_t r, int64_t n_rows, int64_t g0, int64_t n,
                                                  int64_t n_tokens) {
    int64_t t = 0;
    for (; t + 6 <= n_tokens; t += 6) {
        panel_tile(has_min, 6, j, w, r, n_rows, g0, n, t);
    }
    for (; t + 3 <= n_tokens; t += 3) {
        panel_tile(has_min, 3, j, w, r, n_rows, g0, n, t);
    }
    for (; t < n_tokens; t++) {
        panel_tile(has_min, 1, j, w, r, n_rows, g0, n, t);
    }
}

static OPT_NOINLINE void panel_run(const job *j, const panel *w, int64_t r, int64_t n_rows,
                                   int64_t g0, int64_t n, int64_t n_tokens) {
    if (j->c.has_min) {
        panel_tokens(true, j, w, r, n_rows, g0, n, n_tokens);
    } else {
        panel_tokens(false, j, w, r, n_rows, g0, n, n_tokens);
    }
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
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += PANEL_GROUPS) {
            const int64_t n = opt_min_i64(PANEL_GROUPS, j.c.n_groups - g0);
            panel unpacked;
            unpack16(layout, &j, r, n_rows, g0, n, 0, &unpacked);
            unpack16(layout, &j, r + 16, n_rows, g0, n, 16, &unpacked);
            panel_run(&j, &unpacked, r, n_rows, g0, n, n_tokens);
        }
    }
}

#define LINEAR_I8(function, layout)                                                                \
    void function(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,        \
                  float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {            \
        linear(layout, s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);                           \
    }

LINEAR_I8(optk_linear_i8_q8_0__avx512, CODES_Q8_0)
LINEAR_I8(optk_linear_i8_q4_0__avx512, CODES_Q4_0)
LINEAR_I8(optk_linear_i8_q4_1__avx512, CODES_Q4_1)
LINEAR_I8(optk_linear_i8_q5_0__avx512, CODES_Q5_0)
LINEAR_I8(optk_linear_i8_q5_1__avx512, CODES_Q5_1)
static LINEAR_I8(linear_int2, CODES_INT2) static LINEAR_I8(
    linear_int3, CODES_INT3) static LINEAR_I8(linear_int4, CODES_INT4) static LINEAR_I8(linear_int8,
                                                                                        CODES_INT8)

    void optk_linear_i8_int__avx512(const opt_kspec *s, const void *w, size_t row_bytes,
                                    const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                    int64_t n_tokens, int64_t k) {
    opt_kern_linear_i8_fn *const by_bits[9] = {
        [2] = linear_int2, [3] = linear_int3, [4] = linear_int4, [8] = linear_int8};
    by_bits[s->bits](s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);
}
