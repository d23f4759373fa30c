/*
 * Product of 16-bit block integers on AMX tiles, which multiply bytes. With x = 256 h + l, h signed
 * and l not, a group's dot product is 2^16 sum h h' + 2^8 sum (h l' + l h') + sum l l': three exact
 * sums, put together modulo 2^32, which loses nothing as the product fits in 32 bits. Groups are
 * scaled and added as the AVX-512 row does it. Reference: optk_gemm_i16__ref, the same bits.
 *
 * Cycles for 16 outputs and a group of 64, as Intel gives them: four tile products of 16 for 16
 * rows, so 4; three stores 3 and loads 2; putting together, converting, scaling and adding 3.5 on
 * two ports, beside the tiles: two groups of 16 x 16 outputs are added while the next two are
 * multiplied. VNNI takes 17.5. Taking the bytes apart adds for 48 columns 0.7 a vector where k is
 * inside, and 4 for the tiles of Gram matrices (48 x 48, k outside on both sides), whose rows have
 * to be transposed. (bf16 tiles would take 2, with 8 bits instead of 13.5.)
 */
#include <string.h>

#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/amx_tiles.h"
#include "kern/x86/vec_avx512.h"

enum {
    COLUMNS = 48, /* of a panel: three tiles */
    CUT_GROUPS = 4,
    CHUNK_GROUPS = 2,
    STEP_ROWS = AMX_ROWS / CHUNK_GROUPS,
    PAIRS = OPT_I16_GROUP / 2, /* of a group */
    QUADS = OPT_I16_GROUP / 4,
    SUMS = 3 /* of a group: of h h', of h l' + l h', of l l' */
};

/* Bytes of 4 elements of b side by side, of high bytes and of low ones; and scales. */
typedef struct columns {
    OPT_ALIGNED(64) int32_t high[CUT_GROUPS][QUADS][COLUMNS], low[CUT_GROUPS][QUADS][COLUMNS];
    OPT_ALIGNED(64) float scale[CUT_GROUPS][COLUMNS];
} columns;

/* Bytes of rows of a. */
typedef struct rows {
    OPT_ALIGNED(64) int32_t high[AMX_ROWS][CUT_GROUPS][QUADS], low[AMX_ROWS][CUT_GROUPS][QUADS];
} rows;

/* Some groups of 16 x 16 outputs. */
typedef struct chunk {
    int64_t r, n_r; /* n_r is 0: none */
    int64_t v;      /* columns from 16 v of the panel */
    int64_t g, n_g; /* groups of the cut */
} chunk;

/* One cut of the product for some columns. */
typedef struct cut {
    const opt_i16 *a;
    const columns *b;
    float *y; /* [.., n_c], stride ldy */
    int64_t ldy, n_c, g0;
    int32_t (*dot)[CHUNK_GROUPS][SUMS][AMX_ROWS][16]; /* of two chunks in turn */
} cut;

/*
 * Of two vectors of pairs that follow one another, the bytes of elements 0, 2, 1, 3: an order that
 * both sides of a product share.
 */
static inline __m512i low_bytes(__m512i x, __m512i y) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(0xff), x, _mm512_slli_epi32(y, 8), 0xca);
}
static inline __m512i high_bytes(__m512i x, __m512i y) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(0xff), _mm512_srli_epi32(x, 8), y, 0xca);
}

/** The 64 elements of a group of one row, in the same order. */
static inline void split_row(const int32_t *pairs, int32_t *high, int32_t *low) {
    const __m512i x = _mm512_loadu_si512(pairs), y = _mm512_loadu_si512(pairs + 16);
    const __m512i quad = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_add_epi32(_mm512_set1_epi32(0x06020400), /* bytes 0 4 2 6 of 8 */
                                        _mm512_mullo_epi32(quad, _mm512_set1_epi32(0x08080808)));
    _mm512_store_si512(low, _mm512_permutex2var_epi8(x, at, y));
    _mm512_store_si512(high,
                       _mm512_permutex2var_epi8(x, _mm512_add_epi8(at, _mm512_set1_epi8(1)), y));
}

/** Bytes of quad q of 16 rows of a group that lie side by side; rows behind n are zero. */
static inline void split_quad(const opt_i16 *x, int64_t row, int64_t n, int64_t pair, __m512i *high,
                              __m512i *low) {
    const int32_t *from = x->pairs + row * x->row + pair * x->step;
    const __m512i first = _mm512_maskz_loadu_epi32(lanes16(n), from);
    const __m512i second = _mm512_maskz_loadu_epi32(lanes16(n), from + x->step);
    *high = high_bytes(first, second);
    *low = low_bytes(first, second);
}

/** Rows r .. r + n - 1 of a for n_g groups from g0; behind them zeros. */
static void pack_rows(const opt_i16 *a, int64_t r, int64_t n, int64_t g0, int64_t n_g, rows *to) {
    if (n < AMX_ROWS) {
        memset(to, 0, sizeof *to);
    }
    for (int64_t g = 0; g < n_g; g++) {
        const int64_t pair = (g0 + g) * PAIRS;
        for (int64_t i = 0; a->step == 1 && i < n; i++) {
            split_row(a->pairs + (r + i) * a->row + pair, to->high[i][g], to->low[i][g]);
        }
        if (a->step != 1) {
            __m512i high[16], low[16];
            for (int q = 0; q < QUADS; q++) {
                split_quad(a, r, n, pair + 2 * q, &high[q], &low[q]);
            }
            transpose16(high);
            transpose16(low);
            for (int i = 0; i < AMX_ROWS; i++) {
                _mm512_store_si512(to->high[i][g], high[i]);
                _mm512_store_si512(to->low[i][g], low[i]);
            }
        }
    }
}

/** Columns c .. c + 15 of a group, n of them there, to columns `at` of the panel. */
static void pack_16(const opt_i16 *b, int64_t c, int64_t n, int64_t pair, int32_t (*high)[COLUMNS],
                    int32_t (*low)[COLUMNS]) {
    __m512i h[16], l[16];
    if (b->step == 1) {
        OPT_ALIGNED(64) int32_t rows_h[16][QUADS], rows_l[16][QUADS];
        for (int64_t i = 0; i < 16; i++) { /* those behind the last repeat it: nobody reads them */
            split_row(b->pairs + (c + opt_min_i64(i, n - 1)) * b->row + pair, rows_h[i], rows_l[i]);
        }
        memcpy(h, rows_h, sizeof h);
        memcpy(l, rows_l, sizeof l);
        transpose16(h);
        transpose16(l);
    } else {
        for (int q = 0; q < QUADS; q++) {
            split_quad(b, c, n, pair + 2 * q, &h[q], &l[q]);
        }
    }
    for (int q = 0; q < QUADS; q++) {
        _mm512_store_si512(high[q], h[q]);
        _mm512_store_si512(low[q], l[q]);
    }
}

/** n_c columns from c0 for n_g groups from g0. */
static void pack_columns(const opt_i16 *b, int64_t c0, int64_t n_c, int64_t g0, int64_t n_g,
                         columns *to) {
    memset(to->scale, 0, sizeof to->scale);
    for (int64_t g = 0; g < n_g; g++) {
        for (int64_t v = 0; v < n_c; v += 16) {
            pack_16(b, c0 + v, opt_min_i64(16, n_c - v), (g0 + g) * PAIRS,
                    (int32_t(*)[COLUMNS])(void *)&to->high[g][0][v],
                    (int32_t(*)[COLUMNS])(void *)&to->low[g][0][v]);
        }
        for (int64_t c = 0; c < n_c; c++) {
            to->scale[g][c] = b->scale[(c0 + c) * b->scale_row + (g0 + g) * b->scale_step];
        }
    }
}

/** The three sums of group g for 16 columns from 16 v. */
static inline OPT_ALWAYS_INLINE void multiply(const rows *a, const columns *b, int64_t v, int64_t g,
                                              int32_t (*dot)[AMX_ROWS][16]) {
    const int64_t a_bytes = sizeof a->high[0], b_bytes = sizeof b->high[0][0];
    AMX_LOAD(4, a->high[0][g], a_bytes);
    AMX_LOAD(7, &b->low[g][0][16 * v], b_bytes);
    _tile_zero(1);
    _tile_dpbsud(1, 4, 7);
    AMX_LOAD(6, &b->high[g][0][16 * v], b_bytes);
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
    AMX_STORE(0, dot[0], 64);
    AMX_LOAD(5, a->low[0][g], a_bytes);
    _tile_dpbusd(1, 5, 6);
    AMX_STORE(1, dot[1], 64);
    _tile_zero(2);
    _tile_dpbuud(2, 5, 7);
    AMX_STORE(2, dot[2], 64);
}

static inline __m512i join(__m512i high, __m512i middle, __m512i low) {
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(high, 8), middle);
    return _mm512_add_epi32(_mm512_slli_epi32(upper, 8), low);
}

/** Adds a chunk's groups to rows first .. first + STEP_ROWS - 1 of its outputs. */
static inline OPT_ALWAYS_INLINE void add_rows(const cut *j, const chunk *c, int64_t first,
                                              int32_t (*dot)[SUMS][AMX_ROWS][16]) {
    const __mmask16 mask = lanes16(j->n_c - 16 * c->v);
    __m512 sum[STEP_ROWS];
    for (int64_t i = 0; i < STEP_ROWS; i++) {
        const int64_t r = c->r + opt_min_i64(first + i, c->n_r - 1);
        sum[i] = j->g0 + c->g == 0 ? _mm512_setzero_ps()
                                   : _mm512_maskz_loadu_ps(mask, j->y + r * j->ldy + 16 * c->v);
    }
    for (int64_t g = 0; g < c->n_g; g++) {
        const __m512 scale = _mm512_load_ps(&j->b->scale[c->g + g][16 * c->v]);
        const float *row_scale = j->a->scale + (j->g0 + c->g + g) * j->a->scale_step;
        for (int64_t i = 0; i < STEP_ROWS; i++) {
            const int64_t r = c->r + opt_min_i64(first + i, c->n_r - 1);
            const __m512i v = join(_mm512_load_si512(dot[g][0][first + i]),
                                   _mm512_load_si512(dot[g][1][first + i]),
                                   _mm512_load_si512(dot[g][2][first + i]));
            const __m512 s = _mm512_mul_ps(_mm512_set1_ps(row_scale[r * j->a->scale_row]), scale);
            sum[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), s, sum[i]);
        }
    }
    for (int64_t i = 0; i < STEP_ROWS && first + i < c->n_r; i++) {
        _mm512_mask_storeu_ps(j->y + (c->r + first + i) * j->ldy + 16 * c->v, mask, sum[i]);
    }
}

/** Multiplies `now`, whose rows are `a`, and adds `before`. Either may be empty. */
static OPT_NOINLINE void step(const cut *j, const rows *a, const chunk *now, const chunk *before,
                              int turn) {
    for (int64_t i = 0; i < CHUNK_GROUPS; i++) {
        if (now->n_r > 0 && i < now->n_g) {
            multiply(a, j->b, now->v, now->g + i, j->dot[turn][i]);
        }
        if (i * STEP_ROWS < before->n_r) {
            add_rows(j, before, i * STEP_ROWS, j->dot[1 - turn]);
        }
    }
}

/** All rows of a cut. */
static void multiply_cut(const cut *j, int64_t n_rows, int64_t n_g) {
    rows a;
    chunk before = {0};
    int turn = 0;
    for (int64_t r = 0; r < n_rows; r += AMX_ROWS) {
        const int64_t n_r = opt_min_i64(AMX_ROWS, n_rows - r);
        pack_rows(j->a, r, n_r, j->g0, n_g, &a);
        for (int64_t g = 0; g < n_g; g += CHUNK_GROUPS) {
            for (int64_t v = 0; 16 * v < j->n_c; v++, turn = 1 - turn) {
                const chunk now = {r, n_r, v, g, opt_min_i64(CHUNK_GROUPS, n_g - g)};
                step(j, &a, &now, &before, turn);
                before = now;
            }
        }
    }
    step(j, &a, &(chunk){0}, &before, turn);
}

void optk_gemm_i16__amx(const opt_i16 *a, const opt_i16 *b, float *y, int64_t ldy, int64_t n_rows,
                        int64_t n_cols, int64_t k) {
    columns panel;
    OPT_ALIGNED(64) int32_t dot[2][CHUNK_GROUPS][SUMS][AMX_ROWS][16];
    const int64_t n_groups = k / OPT_I16_GROUP;
    amx_begin(OPT_I16_GROUP);
    for (int64_t c0 = 0; c0 < n_cols; c0 += COLUMNS) {
        const int64_t n_c = opt_min_i64(COLUMNS, n_cols - c0);
        for (int64_t g0 = 0; g0 < n_groups; g0 += CUT_GROUPS) {
            const int64_t n_g = opt_min_i64(CUT_GROUPS, n_groups - g0);
            const cut j = {a, &panel, y + c0, ldy, n_c, g0, dot};
            pack_columns(b, c0, n_c, g0, n_g, &panel);
            multiply_cut(&j, n_rows, n_g);
        }
    }
    amx_end();
}
