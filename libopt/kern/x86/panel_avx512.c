#include "kern/x86/panel_avx512.h"

#include <string.h>

/** Unit u's high bytes, as 256 times as many, on top of what the unit begins with. */
static inline OPT_ALWAYS_INLINE void panel_high(int n_t, const uint8_t (*codes)[PANEL_ROWS][4],
                                                const int8_t *q, int64_t n_padded,
                                                const unit_start *start, int64_t u,
                                                __m512i dot[6][2]) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
    for (int i = 0; i < 8; i++) {
        const __m512i w0 = keep(_mm512_load_si512(codes[i][0]));
        const __m512i w1 = keep(_mm512_load_si512(codes[i][16]));
        for (int b = 0; b < n_t; b++) {
            const __m512i xq = four_bytes(q + b * n_padded + 4 * (ptrdiff_t)i);
            dot[b][0] = _mm512_dpbusd_epi32(dot[b][0], w0, xq);
            dot[b][1] = _mm512_dpbusd_epi32(dot[b][1], w1, xq);
        }
    }
    for (int b = 0; b < n_t; b++) {
        const __m512i begin = _mm512_set1_epi32(start[b].dot[u]);
        dot[b][0] = _mm512_add_epi32(_mm512_slli_epi32(dot[b][0], 8), begin);
        dot[b][1] = _mm512_add_epi32(_mm512_slli_epi32(dot[b][1], 8), begin);
    }
}

/* Tokens that have a second plane, group by group of a panel: those of group g begin at first[g].
 */
typedef struct low_list {
    int64_t first[PANEL_GROUPS + 1];
    uint8_t token[PANEL_GROUPS * PANEL_TOKENS + 16];
} low_list;

_Static_assert(PANEL_TOKENS <= 256, "a token is a byte");

/** In increasing order, without a branch for what is found. */
static void list_low(const opt_act_i8 *x, int64_t n_tokens, int64_t g0, int64_t n, low_list *out) {
    const int64_t n_words = opt_act_low_words(x->n_padded);
    const uint16_t *words = x->low + g0 / OPT_ACT_LOW_WORD;
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t has[PANEL_TOKENS];
    for (int64_t t = 0; t < PANEL_TOKENS; t++) {
        has[t] = t < n_tokens ? (uint32_t)words[t * n_words] >> g0 % OPT_ACT_LOW_WORD : 0;
    }
    int64_t at = 0;
    for (int64_t g = 0; g < n; g++) {
        const __m512i bit = _mm512_set1_epi32(1 << g);
        out->first[g] = at;
        for (int64_t t = 0; t < n_tokens; t += 16) {
            const __mmask16 found = _mm512_test_epi32_mask(_mm512_loadu_si512(has + t), bit);
            const __m512i tokens = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)t));
            _mm_storeu_si128((void *)(out->token + at),
                             _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(found, tokens)));
            at += __builtin_popcount(found);
        }
    }
    out->first[n] = at;
}

/** Adds 256 times the products of a group's high bytes with a second plane. */
static inline void low_high(const uint8_t (*codes)[PANEL_ROWS][4], const int8_t *q,
                            __m512i dot[2]) {
    for (int a = 0; a < 2; a++) {
        __m512i high = _mm512_setzero_si512();
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
        for (int i = 0; i < 8; i++) {
            high = _mm512_dpbusd_epi32(high, _mm512_load_si512(codes[i][(ptrdiff_t)a * 16]),
                                       four_bytes(q + (ptrdiff_t)i * 4));
        }
        dot[a] = _mm512_add_epi32(dot[a], _mm512_slli_epi32(high, 8));
    }
}

/** Signed codes plus 128. */
static inline OPT_ALWAYS_INLINE __m512i above_zero(bool is_signed, __m512i codes) {
    return is_signed ? _mm512_xor_si512(codes, _mm512_set1_epi8(-128)) : codes;
}

/** Adds second planes of unit u of the panel's group g, whose codes stay in registers, to the sums
 * of its tokens. */
static inline OPT_ALWAYS_INLINE void unit_low(int units, int planes, bool is_signed, const job *j,
                                              const panel *w, int64_t g0, int64_t g, int u,
                                              const low_list *list, low_sums *out) {
    const int64_t n_padded = j->x->n_padded, unit = g * units + u;
    const int offset = is_signed ? 128 : j->c.offset, quads = 8 / units;
    const int64_t first = planes == 2 ? 16 * unit + 8 : unit * quads; /* quad */
    const __m512 d0 = _mm512_load_ps(&w->d[unit][0]), d1 = _mm512_load_ps(&w->d[unit][16]);
    __m512i codes[8][2];
    for (int i = 0; i < quads; i++) {
        codes[i][0] = above_zero(is_signed, _mm512_load_si512(w->codes[first + i][0]));
        codes[i][1] = above_zero(is_signed, _mm512_load_si512(w->codes[first + i][16]));
    }
    for (int64_t at = list->first[g]; at < list->first[g + 1]; at++) {
        const int64_t t = list->token[at];
        const int8_t *q = j->x->q_low + t * n_padded + (g0 + g) * 32;
        const float scale = j->x->scale[t * (n_padded / 32) + g0 + g] * OPT_ACT_LOW_STEP;
        const int32_t of_low = opt_act_low_sum(j->x, t, units, g0 * units + unit);
        float *sum = out->sum[t];
        __m512i dot[2];
        dot[0] = dot[1] = _mm512_set1_epi32(-offset * of_low);
        if (planes == 2) {
            low_high(w->codes + 16 * unit, q, dot);
        }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
        for (int i = 0; i < quads; i++) {
            const __m512i xq = four_bytes(q + 4 * (ptrdiff_t)(u * quads + i));
            dot[0] = _mm512_dpbusd_epi32(dot[0], codes[i][0], xq);
            dot[1] = _mm512_dpbusd_epi32(dot[1], codes[i][1], xq);
        }
        const __m512 old0 = _mm512_load_ps(sum), old1 = _mm512_load_ps(sum + 16);
        _mm512_store_ps(sum, add_unit(false, old0, dot[0], d0, d0, scale, 0));
        _mm512_store_ps(sum + 16, add_unit(false, old1, dot[1], d1, d1, scale, 0));
    }
}

/** Adds second planes of the panel's n groups to the sums of all tokens. */
static inline OPT_ALWAYS_INLINE void panel_low(int units, int planes, bool is_signed, const job *j,
                                               const panel *w, int64_t g0, int64_t n,
                                               const low_list *list, low_sums *out) {
    for (int64_t g = 0; g < n; g++) {
        for (int u = 0; u < units; u++) {
            unit_low(units, planes, is_signed, j, w, g0, g, u, list, out);
        }
    }
}

void optk_panel_low_avx512(const job *j, const panel *w, int64_t g0, int64_t n, int64_t n_tokens,
                           bool is_signed, low_sums *out) {
    low_list list;
    if (g0 % OPT_ACT_LOW_SPAN == 0) {
        memset(out->sum, 0, (size_t)n_tokens * sizeof *out->sum);
    }
    list_low(j->x, n_tokens, g0, n, &list);
    if (j->c.planes == 2) {
        panel_low(1, 2, false, j, w, g0, n, &list, out);
    } else if (j->c.units == 1 && is_signed) {
        panel_low(1, 1, true, j, w, g0, n, &list, out);
    } else if (j->c.units == 1) {
        panel_low(1, 1, false, j, w, g0, n, &list, out);
    } else if (is_signed) {
        panel_low(2, 1, true, j, w, g0, n, &list, out);
    } else {
        panel_low(2, 1, false, j, w, g0, n, &list, out);
    }
}

/** Adds the panel's groups (from g0 of the row) to y [t .. t + n_t, r .. r + 32), which the first
 * groups set, and then `low` if it is there. */
static inline OPT_ALWAYS_INLINE void panel_tile(bool has_min, int units, int planes, int n_t,
                                                const job *j, const panel *w, int64_t r,
                                                int64_t n_rows, int64_t g0, int64_t n, int64_t t,
                                                const low_sums *low) {
    const int64_t n_padded = j->x->n_padded;
    const __mmask16 mask0 = lanes16(n_rows - r);
    const __mmask16 mask1 = lanes16(opt_max_i64(0, n_rows - r - 16));
    const int8_t *q = j->x->q + t * n_padded + g0 * 32;
    const float *scale = j->x->scale + t * (n_padded / 32) + g0;
    const int quads = 8 / units; /* of a unit */
    float *y = j->y + t * j->ldy + r;
    unit_start start[6];
    __m512 sum[6][2];
    for (int b = 0; b < n_t; b++) {
        unit_starts(has_min, units, j->c.offset, n, j->x->sum4 + (t + b) * (n_padded / 4) + g0 * 8,
                    scale + b * (n_padded / 32), j->x->scaled_sum + (t + b) * (n_padded / 32) + g0,
                    &start[b]);
        if (has_min && units == 2) {
            low_scaled_sums(j->x, t + b, g0, opt_act_low_groups(j->x, t + b, g0, n),
                            start[b].scaled_sum);
        }
        sum[b][0] = g0 == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask0, y + b * j->ldy);
        sum[b][1] =
            g0 == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask1, y + b * j->ldy + 16);
    }
    for (int64_t u = 0; u < n * units; u++) {
        __m512i dot[6][2];
        for (int b = 0; b < n_t; b++) {
            dot[b][0] = dot[b][1] = has_min || planes == 2 ? _mm512_setzero_si512()
                                                           : _mm512_set1_epi32(start[b].dot[u]);
        }
        if (planes == 2) {
            panel_high(n_t, w->codes + 16 * u, q + 32 * u, n_padded, start, u, dot);
        }
        const int64_t first = planes == 2 ? 16 * u + 8 : u * quads; /* quad */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8 /* otherwise gcc moves all sums from register to register in every round */
#endif
        for (int i = 0; i < quads; i++) {
            const __m512i w0 = keep(_mm512_load_si512(w->codes[first + i][0]));
            const __m512i w1 = keep(_mm512_load_si512(w->codes[first + i][16]));
            for (int b = 0; b < n_t; b++) {
                const __m512i xq = four_bytes(q + b * n_padded + 4 * (u * quads + i));
                dot[b][0] = _mm512_dpbusd_epi32(dot[b][0], w0, xq);
                dot[b][1] = _mm512_dpbusd_epi32(dot[b][1], w1, xq);
            }
        }
        for (int b = 0; b < n_t; b++) {
            const float s = scale[b * (n_padded / 32) + u / units];
            const float min_scale = has_min ? start[b].scaled_sum[u] : 0;
            for (int a = 0; a < 2; a++) {
                sum[b][a] =
                    add_unit(has_min, sum[b][a], dot[b][a], _mm512_load_ps(&w->d[u][16 * a]),
                             _mm512_load_ps(&w->m[u][16 * a]), s, min_scale);
            }
        }
    }
    for (int b = 0; low != NULL && b < n_t; b++) {
        sum[b][0] = _mm512_add_ps(sum[b][0], _mm512_load_ps(low->sum[t + b]));
        sum[b][1] = _mm512_add_ps(sum[b][1], _mm512_load_ps(low->sum[t + b] + 16));
    }
    for (int b = 0; b < n_t; b++) {
        _mm512_mask_storeu_ps(y + b * j->ldy, mask0, sum[b][0]);
        _mm512_mask_storeu_ps(y + b * j->ldy + 16, mask1, sum[b][1]);
    }
}

/** All tokens over one panel. */
static inline OPT_ALWAYS_INLINE void panel_tokens(bool has_min, int units, int planes, const job *j,
                                                  const panel *w, int64_t r, int64_t n_rows,
                                                  int64_t g0, int64_t n, int64_t n_tokens,
                                                  low_sums *low_sum) {
    const low_sums *low = NULL; /* of a span that ends */
    int64_t t = 0;
    if (j->x->low != NULL) {
        optk_panel_low_avx512(j, w, g0, n, n_tokens, false, low_sum);
        low = span_ends(g0 + n, j->c.n_groups) ? low_sum : NULL;
    }
    while (t < n_tokens) { /* a tile of few tokens waits for its own results */
        const int64_t left = n_tokens - t;
        if (left >= 6 && left != 7 && left != 8) {
            panel_tile(has_min, units, planes, 6, j, w, r, n_rows, g0, n, t, low);
            t += 6;
        } else if (left >= 4 && left != 5) {
            panel_tile(has_min, units, planes, 4, j, w, r, n_rows, g0, n, t, low);
            t += 4;
        } else if (left >= 3) {
            panel_tile(has_min, units, planes, 3, j, w, r, n_rows, g0, n, t, low);
            t += 3;
        } else {
            panel_tile(has_min, units, planes, 1, j, w, r, n_rows, g0, n, t, low);
            t += 1;
        }
    }
}

void optk_panel_run_avx512(const job *j, const panel *w, int64_t r, int64_t n_rows, int64_t g0,
                           int64_t n, int64_t n_tokens, low_sums *low) {
    if (j->c.planes == 2) {
        panel_tokens(false, 1, 2, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.units == 1 && j->c.has_min) {
        panel_tokens(true, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.units == 1) {
        panel_tokens(false, 1, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else if (j->c.has_min) {
        panel_tokens(true, 2, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    } else {
        panel_tokens(false, 2, 1, j, w, r, n_rows, g0, n, n_tokens, low);
    }
}
