/**
 * Blocks of runs (rows that lie 16 together) read with AVX-512, and runs unpacked into a panel, for
 * the rows of linear_run.
 */
#ifndef OPT_KERN_X86_UNPACK_RUN_AVX512_H
#define OPT_KERN_X86_UNPACK_RUN_AVX512_H

#include "kern/x86/codes_run.h"
#include "kern/x86/panel_avx512.h"

/* One block of 16 rows. */
typedef struct run_block {
    const uint8_t *bytes;
    __m512 d, m; /* m: less dmin (q2_k: a 16th of it) */
    __m512 d_less,
        m_less; /* q2_k: what makes a sum of d times 2^23 and a number d times the number */
    /* Scales that are packed in 6 bits. In memory, as the block's codes need the registers. */
    OPT_ALIGNED(64) uint8_t scale[16][16]; /* [unit][row] */
    OPT_ALIGNED(64) uint8_t minimum[8][16];
} run_block;

/** Codes of quad i of group g of 16 rows, shifted to the left by `shift`, 0 or run_left_shift. */
static inline OPT_ALWAYS_INLINE __m512i run_quad(codes_layout layout, const codes_rows *rows,
                                                 const uint8_t *block, int g, int i, int shift) {
    const run_places at = run_places_of(layout, rows);
    const run_code c = run_code_of(layout, (int)rows->block_elems, g, i);
    __m512i v = _mm512_loadu_si512(block + at.codes + (ptrdiff_t)c.word * 64);
    if (layout == CODES_Q8_0) {
        return _mm512_xor_si512(v, _mm512_set1_epi8(-128));
    }
    if (layout == CODES_INT8) {
        return v;
    }
    if (c.shift != shift) { /* what crosses bytes is masked */
        v = _mm512_srli_epi32(v, (unsigned)(c.shift - shift));
    }
    const int low = ((1 << c.bits) - 1) << shift;
    if (c.high_bits == 0) {
        v = _mm512_and_si512(v, _mm512_set1_epi8((char)low));
        return layout == CODES_IQ4_NL || layout == CODES_IQ4_XS ? look_up(layout, v) : v;
    }
    __m512i h = _mm512_loadu_si512(block + at.high + (ptrdiff_t)c.high_word * 64);
    const int up = c.bits + shift - c.high_shift;
    if (up != 0) {
        h = up > 0 ? _mm512_slli_epi32(h, (unsigned)opt_max_i64(up, 0))
                   : _mm512_srli_epi32(h, (unsigned)opt_max_i64(-up, 0));
    }
    const int all = ((1 << (c.bits + c.high_bits)) - 1) << shift;
    const __m512i both = /* where the mask is set v, otherwise h */
        _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)low), v, h, 0xca);
    return _mm512_and_si512(both, _mm512_set1_epi8((char)all));
}

static inline __m512 run_halves(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

/** Bits `mask` of v, then bits `high_mask` of h above them. */
static inline __m512i join_bits(__m512i v, __m512i h, int mask, int high_mask) {
    return _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi8((char)mask)),
                           _mm512_and_si512(h, _mm512_set1_epi8((char)high_mask)));
}

/** Scales and minima of 6 bits of q4_k and q5_k, 4 units at a time, as super_q4_k. */
static inline void run_scales_q4_k(const uint8_t *packed, run_block *out) {
    const __m512i a = _mm512_loadu_si512(packed);
    const __m512i b = _mm512_loadu_si512(packed + 64);
    const __m512i c = _mm512_loadu_si512(packed + 128);
    _mm512_store_si512(out->scale[0], _mm512_and_si512(a, _mm512_set1_epi8(0x3f)));
    _mm512_store_si512(out->scale[4], join_bits(c, _mm512_srli_epi16(a, 2), 0x0f, 0x30));
    _mm512_store_si512(out->minimum[0], _mm512_and_si512(b, _mm512_set1_epi8(0x3f)));
    _mm512_store_si512(out->minimum[4],
                       join_bits(_mm512_srli_epi16(c, 4), _mm512_srli_epi16(b, 2), 0x0f, 0x30));
}

/** Scales of 6 bits of q3_k, as super_q3_k: signed bytes. */
static inline void run_scales_q3_k(const uint8_t *packed, run_block *out) {
    const __m512i a = _mm512_loadu_si512(packed);
    const __m512i b = _mm512_loadu_si512(packed + 64);
    const __m512i c = _mm512_loadu_si512(packed + 128);
    const __m512i less = _mm512_set1_epi8(32);
    const __m512i high[4] = {_mm512_slli_epi16(c, 4), _mm512_slli_epi16(c, 2), c,
                             _mm512_srli_epi16(c, 2)};
    const __m512i low[4] = {a, b, _mm512_srli_epi16(a, 4), _mm512_srli_epi16(b, 4)};
    for (int i = 0; i < 4; i++) {
        _mm512_store_si512(out->scale[4 * i],
                           _mm512_sub_epi8(join_bits(low[i], high[i], 0x0f, 0x30), less));
    }
}

/** 16 bytes as numbers. */
static inline __m512 unsigned_bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load128(p)));
}
static inline __m512 signed_bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load128(p)));
}

static inline OPT_ALWAYS_INLINE void run_read_block(codes_layout layout, const codes_rows *c,
                                                    const uint8_t *p, run_block *b) {
    const run_places at = run_places_of(layout, c);
    b->bytes = p;
    b->d = run_halves(p + at.d);
    b->m = _mm512_setzero_ps();
    if (at.dmin != 0) {
        b->m = _mm512_sub_ps(_mm512_set1_ps(-0.0f), run_halves(p + at.dmin));
    }
    if (c->zero_byte) { /* as codes_scales */
        b->m = _mm512_mul_ps(b->d, _mm512_mul_ps(unsigned_bytes(p + at.scales),
                                                 _mm512_set1_ps(codes_zero_step(layout))));
    }
    if (layout == CODES_Q4_1 || layout == CODES_Q5_1) {
        b->m = run_halves(p + at.scales);
    }
    if (layout == CODES_Q2_K) {
        b->m = _mm512_mul_ps(b->m, _mm512_set1_ps(0x1p-4f));
        b->d_less = _mm512_mul_ps(b->d, _mm512_set1_ps(-0x1p23f));
        b->m_less = _mm512_mul_ps(b->m, _mm512_set1_ps(-0x1p23f));
    }
    if (layout == CODES_Q4_K || layout == CODES_Q5_K) {
        run_scales_q4_k(p + at.scales, b);
    } else if (layout == CODES_Q3_K) {
        run_scales_q3_k(p + at.scales, b);
    }
}

/**
 * 2^23 plus the bits `mask` of every lane: a float whose lowest bits these are. Times d and less d
 * times 2^23 in one step it is exactly d times the bits, with fewer operations than converting.
 */
static inline __m512 above_2_23(__m512i v, int mask) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        v, _mm512_set1_epi32(mask), _mm512_castps_si512(_mm512_set1_ps(0x1p23f)), 0xea));
}

/** Scales (and offsets) of unit u of a block. */
static inline OPT_ALWAYS_INLINE void run_unit(codes_layout layout, const codes_rows *c,
                                              const run_block *b, int u, __m512 *d, __m512 *m) {
    const run_places at = run_places_of(layout, c);
    const uint8_t *bytes = b->bytes + at.scales + (ptrdiff_t)u * 16;
    *d = b->d;
    *m = b->m;
    if (layout == CODES_Q2_K) {
        const __m512i both = _mm512_cvtepu8_epi32(load128(bytes));
        *d = _mm512_fmadd_ps(b->d, above_2_23(both, 0x0f), b->d_less);
        *m = _mm512_fmadd_ps(b->m, above_2_23(both, 0xf0), b->m_less);
    } else if (layout == CODES_Q3_K) {
        *d = _mm512_mul_ps(b->d, signed_bytes(b->scale[u]));
    } else if (layout == CODES_Q4_K || layout == CODES_Q5_K) {
        *d = _mm512_mul_ps(b->d, unsigned_bytes(b->scale[u]));
        *m = _mm512_mul_ps(b->m, unsigned_bytes(b->minimum[u]));
    } else if (layout == CODES_Q6_K) {
        *d = _mm512_mul_ps(b->d, signed_bytes(bytes));
    } else if (layout == CODES_IQ4_XS) {
        const __m512i low = _mm512_loadu_si512(b->bytes + at.scales);
        const __m512i high =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(b->bytes + at.high)));
        const __m512i scale = _mm512_or_si512(
            _mm512_and_si512(_mm512_srli_epi32(low, 4 * (unsigned)u), _mm512_set1_epi32(15)),
            _mm512_and_si512(_mm512_srli_epi32(_mm512_slli_epi32(high, 4), 2 * (unsigned)u),
                             _mm512_set1_epi32(48)));
        *d =
            _mm512_mul_ps(b->d, _mm512_cvtepi32_ps(_mm512_sub_epi32(scale, _mm512_set1_epi32(32))));
    }
}

/** Unpacks groups [g0, g0 + n) of a run into the panel's rows from `at`, codes less `less`. Asks
 * for what the next panel unpacks. */
static inline OPT_ALWAYS_INLINE void run_unpack(codes_layout layout, const job *j, int64_t r,
                                                int64_t g0, int64_t n, int less, int at,
                                                panel *out) {
    const int n_in_block = (int)j->c.block_elems / 32;
    const int units = j->c.units;
    const int64_t bytes = j->c.block_bytes * OPT_RUN_ROWS;
    const uint8_t *w = j->w + (size_t)r * j->row_bytes + g0 / n_in_block * bytes;
    for (int64_t g = 0; g < n; g += n_in_block, w += bytes) {
        run_block b;
        run_read_block(layout, &j->c, w, &b);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
        for (int k = 0; k < n_in_block; k++) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
            for (int i = 0; i < 8; i++) {
                _mm512_store_si512(out->codes[8 * (g + k) + i][at],
                                   codes_less(run_quad(layout, &j->c, w, k, i, 0), less));
            }
            for (int u = 0; u < units; u++) {
                __m512 d;
                __m512 m;
                run_unit(layout, &j->c, &b, k * units + u, &d, &m);
                _mm512_store_ps(&out->d[(g + k) * units + u][at], d);
                _mm512_store_ps(&out->m[(g + k) * units + u][at], m);
            }
        }
        for (int64_t i = 0; i < bytes; i += 64) {
            const int64_t next = PANEL_GROUPS / n_in_block * bytes;
            _mm_prefetch((const char *)((uintptr_t)w + (uintptr_t)(next + i)), _MM_HINT_T1);
        }
    }
}

/** The same for the 32 rows of a panel; without a second run, the first one stands for it. */
static inline OPT_ALWAYS_INLINE void unpack_runs(codes_layout layout, const job *j, int64_t r,
                                                 int64_t n_rows, int64_t g0, int64_t n, int less,
                                                 panel *out) {
    const int64_t second = r + OPT_RUN_ROWS < n_rows ? OPT_RUN_ROWS : 0;
    run_unpack(layout, j, r, g0, n, less, 0, out);
    run_unpack(layout, j, r + second, g0, n, less, OPT_RUN_ROWS, out);
}

/* What linear_run is called with. */
typedef struct run_call {
    const opt_kspec *s;
    const void *w;
    size_t row_bytes;
    const opt_act_i8 *x;
    float *y;
    int64_t ldy;
    int64_t n_rows;
    int64_t k;
} run_call;

/** `elems`: of a block, as the compiler does not know those of own groups. */
static inline OPT_ALWAYS_INLINE job run_job(codes_layout layout, int64_t elems, const run_call *c) {
    job j = {codes_rows_of(layout, c->s, c->k), c->w, c->row_bytes, c->x, c->y, c->ldy};
    j.c.block_elems = elems;
    return j;
}

#endif
