/**
 * Unpacking stored rows into a panel with AVX-512, for the rows of linear_i8 that multiply panels.
 */
#ifndef OPT_KERN_X86_UNPACK_ROWS_AVX512_H
#define OPT_KERN_X86_UNPACK_ROWS_AVX512_H

#include <string.h>

#include "kern/x86/panel_avx512.h"

/** Offsets of 16 rows from r; rows behind the last one repeat it. */
static inline __m512i row_offsets(const job *j, int64_t r, int64_t n_rows) {
    const __m512i idx = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i last = _mm512_set1_epi32((int)opt_min_i64(15, n_rows - 1 - r));
    return _mm512_mullo_epi32(_mm512_min_epi32(idx, last), _mm512_set1_epi32((int)j->row_bytes));
}

/** Scales (and offsets) of units [u, u + 16) of 16 rows, which start at w; rows behind `last`
 * repeat it. Blocks with several scales. */
static inline OPT_ALWAYS_INLINE void super_scales16(codes_layout layout, const codes_rows *c,
                                                    const uint8_t *w, size_t row_bytes,
                                                    int64_t last, int64_t u, __m512i d[16],
                                                    __m512i m[16]) {
    for (int64_t a = 0; a < 16; a++) {
        __m512 row_d;
        __m512 row_m;
        codes_super_scales(layout, c, w + (size_t)opt_min_i64(a, last) * row_bytes, u, &row_d,
                           &row_m);
        d[a] = _mm512_castps_si512(row_d);
        m[a] = _mm512_castps_si512(row_m);
    }
    transpose16(d);
    if (c->has_min) {
        transpose16(m);
    }
}

/** Groups g and g + 1 of a panel from g0, of 16 rows, whose codes have two planes. */
static inline OPT_ALWAYS_INLINE void unpack16_planes(codes_layout layout, const job *j,
                                                     const uint8_t *w, int64_t last, int64_t g0,
                                                     int64_t g, int at, panel *out) {
    __m512i v[2][16];
    for (int a = 0; a < 16; a++) {
        __m512i planes[2];
        codes_load_planes(layout, &j->c, w + (size_t)opt_min_i64(a, last) * j->row_bytes,
                          (g0 + g) / 2, planes);
        v[0][a] = planes[0];
        v[1][a] = planes[1];
    }
    for (int plane = 0; plane < 2; plane++) {
        transpose16(v[plane]);
        for (int a = 0; a < 16; a++) {
            _mm512_store_si512(out->codes[16 * (g + a / 8) + 8 * plane + a % 8][at], v[plane][a]);
        }
    }
}

/**
 * Unpacks groups [g0, g0 + n) of 16 rows from r into the panel's rows from `at`, codes less `less`.
 * g0 is even. Asks for what the next panel unpacks.
 */
static inline OPT_ALWAYS_INLINE void unpack16(codes_layout layout, const job *j, int64_t r,
                                              int64_t n_rows, int64_t g0, int64_t n, int less,
                                              int at, panel *out) {
    const int64_t base = opt_min_i64(r, n_rows - 1);
    const uint8_t *w = j->w + (size_t)base * j->row_bytes;
    const __m512i off = row_offsets(j, base, n_rows);
    const int64_t last = opt_min_i64(15, n_rows - 1 - base);
    const int64_t begin = codes_block_off(&j->c, g0);
    const int64_t next = g0 + n < j->c.n_groups ? codes_block_off(&j->c, g0 + n)
                                                : (int64_t)j->row_bytes * PANEL_ROWS;
    for (int64_t g = 0; j->c.planes == 2 && g < n; g += 2) {
        unpack16_planes(layout, j, w, last, g0, g, at, out);
    }
    for (int64_t g = 0; j->c.planes == 1 && g < n; g += 2) {
        __m512i v[16];
        for (int a = 0; a < 16; a++) {
            const uint8_t *row = w + (size_t)opt_min_i64(a, last) * j->row_bytes;
            const int64_t later = codes_block_off(&j->c, g0 + g) + next - begin;
            _mm_prefetch((const char *)((uintptr_t)row + (uintptr_t)later), _MM_HINT_T1);
            v[a] = codes_load(layout, &j->c, row, (g0 + g) / 2);
        }
        transpose16(v);
        for (int a = 0; a < 16; a++) {
            _mm512_store_si512(out->codes[8 * g + a][at], codes_less(v[a], less));
        }
    }
    for (int64_t u = 0; j->c.super && u < n * j->c.units; u += 16) {
        __m512i d[16];
        __m512i m[16];
        super_scales16(layout, &j->c, w, j->row_bytes, last, g0 * j->c.units + u, d, m);
        for (int a = 0; a < 16; a++) {
            _mm512_store_si512(&out->d[u + a][at], d[a]);
            _mm512_store_si512(&out->m[u + a][at], m[a]);
        }
    }
    for (int64_t g = 0; !j->c.super && g < n; g++) {
        __m512 d;
        __m512 m;
        codes_scales(layout, &j->c, w, off, g0 + g, &d, &m);
        _mm512_store_ps(&out->d[g][at], d);
        _mm512_store_ps(&out->m[g][at], m);
    }
}

/** The same for all 32 rows of a panel. */
static inline OPT_ALWAYS_INLINE void unpack_rows(codes_layout layout, const job *j, int64_t r,
                                                 int64_t n_rows, int64_t g0, int64_t n, int less,
                                                 panel *out) {
    unpack16(layout, j, r, n_rows, g0, n, less, 0, out);
    unpack16(layout, j, r + 16, n_rows, g0, n, less, 16, out);
}

#endif
