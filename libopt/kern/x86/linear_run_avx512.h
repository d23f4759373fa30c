/**
 * linear_run with AVX-512 VNNI: 16 rows at a time, a lane each, so that nothing is added across
 * lanes. Up to 8 tokens share what is unpacked of a block while it is in registers; for many, 32
 * rows are unpacked into a panel. The bits are those of linear_i8.
 */
#ifndef OPT_KERN_X86_LINEAR_RUN_AVX512_H
#define OPT_KERN_X86_LINEAR_RUN_AVX512_H

#include <string.h>

#include "kern/rows.h"
#include "kern/x86/unpack_run_avx512.h"

/** Tokens that one pass over a run multiplies. */
#define MAX_TOKENS 8
/** From this many tokens a panel is faster; where units are half groups, earlier. */
#define MIN_PANEL_TOKENS(units) ((units) == 1 ? 17 : 9)
/** Units of a row whose activations are prepared at once: a multiple of 32. */
#define MAX_UNITS (2 * OPT_ACT_LOW_SPAN)
/** How far ahead of its use a run is asked for, in bytes: into the second-level cache, and from
 * there into the first. */
#define FAR 8192
#define NEAR 2048

/* Activations of some tokens, some groups of them. Rows are longer than units so that they do not
 * all lie in the same places of the first-level cache. */
typedef struct run_acts {
    OPT_ALIGNED(64) float scale[MAX_TOKENS][MAX_UNITS + 16]; /* of groups */
    union {
        OPT_ALIGNED(64) int32_t dot[MAX_TOKENS][MAX_UNITS + 16];
        OPT_ALIGNED(64) float scaled_sum[MAX_TOKENS][MAX_UNITS + 16];
    } start;         /* what units begin with, see unit_starts; dots shifted as their codes are */
    const int8_t *q; /* the first token's */
    int64_t n_padded;
    /* Second planes. */
    const int8_t *q_low;                           /* NULL: there are none */
    uint8_t low[MAX_UNITS];                        /* bit t: group of token t has one */
    int32_t low_start[MAX_TOKENS][MAX_UNITS + 16]; /* of units that have one, as start.dot */
} run_acts;

/**
 * Here the sum is in a register, and the compiler neither loads ahead nor keeps what it has loaded:
 * it would otherwise put off additions, and keep codes that several groups share, for which there
 * are no registers.
 */
static inline OPT_ALWAYS_INLINE __m512 settle(__m512 sum) {
    __asm__ volatile("" : "+v"(sum) : : "memory");
    return sum;
}

/** Adds unit u of group g of a block, scaled by d, to the sums of second planes: of those tokens
 * that have one. */
static inline OPT_ALWAYS_INLINE void run_low(codes_layout layout, int n_t, const codes_rows *c,
                                             const run_block *b, int g, int u, __m512 d,
                                             const run_acts *x, int64_t at, __m512 *sum) {
    const int shift = run_left_shift(layout, (int)c->block_elems, g);
    const int quads = 8 / c->units;
    OPT_ALIGNED(64) uint8_t codes[8][64];
    __asm__ volatile("" : : : "memory"); /* codes are unpacked again: this is rare */
    for (int i = 0; n_t > 1 && i < quads; i++) {
        _mm512_store_si512(codes[i], run_quad(layout, c, b->bytes, g, u * 4 + i, shift));
    }
    for (int t = 0; t < n_t; t++) {
        if (n_t > 1 && (x->low[at] >> t & 1) == 0) {
            continue;
        }
        const int8_t *q = x->q_low + t * x->n_padded + 32 * at + (ptrdiff_t)u * 16;
        __m512i low = _mm512_set1_epi32(c->has_min ? 0 : x->low_start[t][at * c->units + u]);
        for (int i = 0; n_t == 1 && i < quads; i++) {
            low = _mm512_dpbusd_epi32(low, run_quad(layout, c, b->bytes, g, u * 4 + i, shift),
                                      four_bytes(q + (ptrdiff_t)i * 4));
        }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 1
#endif
        for (int i = 0; n_t > 1 && i < quads; i++) {
            low = _mm512_dpbusd_epi32(low, _mm512_load_si512(codes[i]),
                                      four_bytes(q + (ptrdiff_t)i * 4));
        }
        low = _mm512_srai_epi32(low, (unsigned)shift);
        sum[t] = add_unit(false, sum[t], low, d, d, x->scale[t][at] * OPT_ACT_LOW_STEP, 0);
    }
}

/** Adds group g of a block, `at` of the prepared activations, of n_t tokens. */
static inline OPT_ALWAYS_INLINE void run_group(codes_layout layout, int n_t, const codes_rows *c,
                                               const run_block *b, int g, const run_acts *x,
                                               int64_t at, __m512 *sum, __m512 *low) {
    const int units = c->units;
    const int shift = run_left_shift(layout, (int)c->block_elems, g);
    const int8_t *q = x->q + 32 * at;
    for (int u = 0; u < units; u++) {
        const int64_t unit = at * units + u;
        __m512i dot[MAX_TOKENS];
        for (int t = 0; t < n_t; t++) {
            dot[t] = c->has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(x->start.dot[t][unit]);
        }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8 /* otherwise gcc does not see what is constant */
#endif
        for (int i = u * 4; i < u * 4 + 8 / units; i++) {
            const __m512i w = keep(run_quad(layout, c, b->bytes, g, i, shift));
            for (int t = 0; t < n_t; t++) {
                dot[t] = _mm512_dpbusd_epi32(dot[t], w, four_bytes(q + t * x->n_padded + 4 * i));
            }
        }
        __m512 d;
        __m512 m;
        run_unit(layout, c, b, g * units + u, &d, &m);
        for (int t = 0; t < n_t; t++) {
            const __m512i v = shift == 0 ? dot[t] : _mm512_srai_epi32(dot[t], (unsigned)shift);
            sum[t] = add_unit(c->has_min, sum[t], v, d, m, x->scale[t][at],
                              c->has_min ? x->start.scaled_sum[t][unit] : 0);
            sum[t] = settle(sum[t]);
        }
        if (__builtin_expect(x->low[at] != 0, 0)) {
            run_low(layout, n_t, c, b, g, u, d, x, at, low);
        }
    }
}

/** Asks for a part of what lies ahead of a block: piece g of n. */
static inline OPT_ALWAYS_INLINE void ask_ahead(const uint8_t *block, int64_t block_bytes, int g,
                                               int n) {
    const int64_t n_lines = opt_ceil_div(block_bytes * OPT_RUN_ROWS, 64);
    for (int64_t i = n_lines * g / n; i < n_lines * (g + 1) / n; i++) {
        const uintptr_t line = (uintptr_t)block + (uintptr_t)i * 64;
        _mm_prefetch((const char *)(line + FAR), _MM_HINT_T1);
        _mm_prefetch((const char *)(line + NEAR), _MM_HINT_T0);
    }
}

/* Up to 8 groups of a block, each compiled by itself. */
#define GROUP(g)                                                                                   \
    do {                                                                                           \
        if ((g) < n_in_block) {                                                                    \
            run_group(layout, n_t, &c, &b, (g), x, at + (g), sum, low);                            \
            if (first) {                                                                           \
                ask_ahead(w, c.block_bytes, (g), n_in_block);                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/** Adds groups [g0, g0 + n) of a run, which starts at w, to y [n_t, 16]. */
static inline OPT_ALWAYS_INLINE void run_rows(codes_layout layout, int n_t, codes_rows c,
                                              const uint8_t *w, const run_acts *x, int64_t g0,
                                              int64_t n, bool first, float *y, int64_t ldy) {
    const int n_in_block = (int)c.block_elems / 32;
    __m512 sum[MAX_TOKENS];
    __m512 low[MAX_TOKENS];
    for (int t = 0; t < n_t; t++) {
        low[t] = _mm512_setzero_ps();
        sum[t] = g0 == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(y + t * ldy);
    }
    w += g0 / n_in_block * c.block_bytes * OPT_RUN_ROWS;
    for (int64_t at = 0; at < n; at += n_in_block, w += c.block_bytes * OPT_RUN_ROWS) {
        run_block b;
        run_read_block(layout, &c, w, &b);
        GROUP(0);
        GROUP(1);
        GROUP(2);
        GROUP(3);
        GROUP(4);
        GROUP(5);
        GROUP(6);
        GROUP(7);
    }
    for (int t = 0; t < n_t; t++) {
        sum[t] = x->q_low != NULL ? _mm512_add_ps(sum[t], low[t]) : sum[t];
        _mm512_storeu_ps(y + t * ldy, sum[t]);
    }
}

/** Prepares second planes of groups [g0, g0 + n) of a token, the t-th of those that are prepared.
 */
static inline OPT_ALWAYS_INLINE void run_prepare_low(codes_layout layout, const job *j,
                                                     int64_t token, int64_t t, int64_t g0,
                                                     int64_t n, run_acts *out) {
    const opt_act_i8 *x = j->x;
    const int units = j->c.units, n_elems = (int)j->c.block_elems;
    for (int64_t g = 0; g < n; g += 16) {
        const uint32_t low = opt_act_low_groups(x, token, g0 + g, opt_min_i64(16, n - g));
        for (uint32_t left = low; left != 0; left &= left - 1) {
            const int64_t at = g + __builtin_ctz(left);
            const int shift = run_left_shift(layout, n_elems, (int)(at % (n_elems / 32)));
            out->low[at] |= (uint8_t)(1 << t);
            for (int u = 0; u < units; u++) {
                const int32_t sum = opt_act_low_sum(x, token, units, (g0 + at) * units + u);
                out->low_start[t][at * units + u] = -j->c.offset * sum * (1 << shift);
            }
        }
        if (j->c.has_min && units == 2) {
            low_scaled_sums(x, token, g0 + g, low, &out->start.scaled_sum[t][g * units]);
        }
    }
}

/** Prepares groups [g0, g0 + n) of n_t tokens from t0. */
static inline OPT_ALWAYS_INLINE void run_prepare(codes_layout layout, const job *j, int64_t t0,
                                                 int64_t n_t, int64_t g0, int64_t n,
                                                 run_acts *out) {
    const int units = j->c.units;
    const int64_t n_padded = j->x->n_padded;
    const int n_elems = (int)j->c.block_elems;
    OPT_ALIGNED(64) int32_t shifts[16];
    for (int u = 0; u < 16; u++) {
        shifts[u] = run_left_shift(layout, n_elems, u / units % (n_elems / 32));
    }
    out->q = j->x->q + t0 * n_padded + 32 * g0;
    out->n_padded = n_padded;
    out->q_low = j->x->low != NULL ? j->x->q_low + t0 * n_padded + 32 * g0 : NULL;
    memset(out->low, 0, sizeof out->low);
    for (int64_t t = 0; t < n_t; t++) {
        const int64_t group = (t0 + t) * (n_padded / 32) + g0;
        for (int64_t g = 0; g < n; g += 16) {
            const float *scale = j->x->scale + group + g;
            unit_start *to = (unit_start *)(void *)&out->start.dot[t][g * units];
            _mm512_storeu_ps(&out->scale[t][g], _mm512_maskz_loadu_ps(lanes16(n - g), scale));
            unit_starts(j->c.has_min, units, j->c.offset, opt_min_i64(16, n - g),
                        j->x->sum4 + (group + g) * 8, scale, j->x->scaled_sum + group + g, to);
        }
        run_prepare_low(layout, j, t0 + t, t, g0, n, out);
        const bool shifted = run_left_shift(layout, n_elems, n_elems / 32 - 1) != 0;
        for (int64_t u = 0; shifted && !j->c.has_min && u < n * units; u += 16) {
            int32_t *start = &out->start.dot[t][u];
            _mm512_storeu_si512(
                start, _mm512_sllv_epi32(_mm512_loadu_si512(start), _mm512_load_si512(shifts)));
        }
    }
}

/** All rows with n_t tokens from t0. */
static inline OPT_ALWAYS_INLINE void run_tokens(codes_layout layout, int n_t, const job *j,
                                                int64_t n_rows, int64_t t0) {
    const int64_t step = OPT_ACT_LOW_SPAN;
    for (int64_t g0 = 0; g0 < j->c.n_groups; g0 += step) {
        const int64_t n = opt_min_i64(step, j->c.n_groups - g0);
        run_acts x;
        run_prepare(layout, j, t0, n_t, g0, n, &x);
        for (int64_t r = 0; r < n_rows; r += OPT_RUN_ROWS) {
            run_rows(layout, n_t, j->c, j->w + (size_t)r * j->row_bytes, &x, g0, n, t0 == 0,
                     j->y + t0 * j->ldy + r, j->ldy);
        }
    }
}

/** All rows with at most PANEL_TOKENS tokens. */
static inline OPT_ALWAYS_INLINE void run_panels(codes_layout layout, const job *j, int64_t n_rows,
                                                int64_t n_tokens) {
    for (int64_t r = 0; r < n_rows; r += PANEL_ROWS) {
        low_sums low;
        for (int64_t g0 = 0; g0 < j->c.n_groups; g0 += PANEL_GROUPS) {
            const int64_t n = opt_min_i64(PANEL_GROUPS, j->c.n_groups - g0);
            panel unpacked;
            unpack_runs(layout, j, r, n_rows, g0, n, 0, &unpacked);
            optk_panel_run_avx512(j, &unpacked, r, n_rows, g0, n, n_tokens, &low);
        }
    }
}

/* The functions of a layout, each compiled by itself. */
#define RUN_TOKENS(name, layout, elems, n_t)                                                       \
    static OPT_NOINLINE void run_##name##_##n_t(const run_call *c, int64_t t) {                    \
        const job j = run_job(layout, elems, c);                                                   \
        run_tokens(layout, n_t, &j, c->n_rows, t);                                                 \
    }

#define RUN_PANELS(name, layout, elems)                                                            \
    static OPT_NOINLINE void run_##name##_panels(const run_call *c, int64_t n_tokens) {            \
        for (int64_t t = 0; t < n_tokens; t += PANEL_TOKENS) {                                     \
            const opt_act_i8 x = opt_act_from(c->x, t);                                            \
            job j = run_job(layout, elems, c);                                                     \
            j.x = &x;                                                                              \
            j.y += t * c->ldy;                                                                     \
            run_panels(layout, &j, c->n_rows, opt_min_i64(PANEL_TOKENS, n_tokens - t));            \
        }                                                                                          \
    }

/* A layout: up to 8 tokens at once, with two_tokens also 2. */
#define RUN_ALL(name, layout, elems, two_tokens)                                                   \
    RUN_TOKENS(name, layout, elems, 1)                                                             \
    RUN_TOKENS(name, layout, elems, 4)                                                             \
    RUN_TOKENS(name, layout, elems, 8)                                                             \
    RUN_PANELS(name, layout, elems)                                                                \
    static void run_##name(const run_call *c, int64_t n_tokens) {                                  \
        if (n_tokens >= MIN_PANEL_TOKENS(codes_rows_of(layout, c->s, c->k).units)) {               \
            run_##name##_panels(c, n_tokens);                                                      \
            return;                                                                                \
        }                                                                                          \
        int64_t t = 0;                                                                             \
        for (; t + 8 <= n_tokens; t += 8) {                                                        \
            run_##name##_8(c, t);                                                                  \
        }                                                                                          \
        for (; t + 4 <= n_tokens; t += 4) {                                                        \
            run_##name##_4(c, t);                                                                  \
        }                                                                                          \
        two_tokens;                                                                                \
        for (; t < n_tokens; t++) {                                                                \
            run_##name##_1(c, t);                                                                  \
        }                                                                                          \
    }

/* The row of a type whose blocks are `elems` long. */
#define LINEAR_RUN(name, layout, elems)                                                            \
    RUN_TOKENS(name, layout, elems, 2)                                                             \
    RUN_ALL(name, layout, elems, for (; t + 2 <= n_tokens; t += 2) run_##name##_2(c, t))           \
    void optk_linear_run_##name##__avx512(const opt_kspec *s, const void *w, size_t row_bytes,     \
                                          const opt_act_i8 *x, float *y, int64_t ldy,              \
                                          int64_t n_rows, int64_t n_tokens, int64_t k) {           \
        const run_call c = {s, w, row_bytes, x, y, ldy, n_rows, k};                                \
        run_##name(&c, n_tokens);                                                                  \
    }

#endif
