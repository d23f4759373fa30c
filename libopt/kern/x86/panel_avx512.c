#include "kern/x86/panel_avx512.h"

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

/** Adds the panel's groups (from g0 of the row) to y [t .. t + n_t, r .. r + 32), which the first
 * groups set. */
static inline OPT_ALWAYS_INLINE void panel_tile(bool has_min, int units, int planes, int n_t,
                                                const job *j, const panel *w, int64_t r,
                                                int64_t n_rows, int64_t g0, int64_t n, int64_t t) {
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
    for (int b = 0; b < n_t; b++) {
        _mm512_mask_storeu_ps(y + b * j->ldy, mask0, sum[b][0]);
        _mm512_mask_storeu_ps(y + b * j->ldy + 16, mask1, sum[b][1]);
    }
}

/** All tokens over one panel. */
static inline OPT_ALWAYS_INLINE void panel_tokens(bool has_min, int units, int planes, const job *j,
                                                  const panel *w, int64_t r, int64_t n_rows,
                                                  int64_t g0, int64_t n, int64_t n_tokens) {
    int64_t t = 0;
    while (t < n_tokens) { /* a tile of few tokens waits for its own results */
        const int64_t left = n_tokens - t;
        if (left >= 6 && left != 7 && left != 8) {
            panel_tile(has_min, units, planes, 6, j, w, r, n_rows, g0, n, t);
            t += 6;
        } else if (left >= 4 && left != 5) {
            panel_tile(has_min, units, planes, 4, j, w, r, n_rows, g0, n, t);
            t += 4;
        } else if (left >= 3) {
            panel_tile(has_min, units, planes, 3, j, w, r, n_rows, g0, n, t);
            t += 3;
        } else {
            panel_tile(has_min, units, planes, 1, j, w, r, n_rows, g0, n, t);
            t += 1;
        }
    }
}

void optk_panel_run_avx512(const job *j, const panel *w, int64_t r, int64_t n_rows, int64_t g0,
                           int64_t n, int64_t n_tokens) {
    if (j->c.planes == 2) {
        panel_tokens(false, 1, 2, j, w, r, n_rows, g0, n, n_tokens);
    } else if (j->c.units == 1 && j->c.has_min) {
        panel_tokens(true, 1, 1, j, w, r, n_rows, g0, n, n_tokens);
    } else if (j->c.units == 1) {
        panel_tokens(false, 1, 1, j, w, r, n_rows, g0, n, n_tokens);
    } else if (j->c.has_min) {
        panel_tokens(true, 2, 1, j, w, r, n_rows, g0, n, n_tokens);
    } else {
        panel_tokens(false, 2, 1, j, w, r, n_rows, g0, n, n_tokens);
    }
}
