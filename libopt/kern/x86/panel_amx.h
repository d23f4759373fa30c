/**
 * A panel (panel_avx512.h, codes as signed bytes unless the format has an offset in f32) multiplied
 * on AMX tiles. A unit of 32 panel rows lies as tiles want it: 4 elements of 16 rows side by side;
 * activations are read where they are. Tiles make the exact integer sums of a unit for 16 tokens,
 * which are scaled and added in AVX-512 with the operations of the AVX-512 rows in their order: the
 * same bits.
 *
 * Cycles for 16 outputs (a vector: 16 rows of one token) and a unit, at best: the product of tiles
 * 1 (16 for 16 tokens, however long the unit is), its store 1, loads of tiles, sums, scales and
 * parts of sums 1.4, and the float part 1.5 on two ports (2 with an offset), all beside one
 * another: while 2 units of 16 tokens are added, the next ones are multiplied. VNNI takes 4 for the
 * products (2 for units of 16) and the float part after them, 5.5 (3.5). The loads and stores do
 * not hide as well as that. With vector loads and stores of the same bytes for those of tiles and
 * no products at all (Emerald Rapids, 2.7 GHz; unpacking included, 128 tokens at a time) it is 4.6
 * cycles for q4_0 against 6.7 with VNNI, 5.9 against 6.8 for q4_k, and 9.2 against 9.7 for a group
 * of q6_k: an estimate, until a processor with AMX has run it.
 */
#ifndef OPT_KERN_X86_PANEL_AMX_H
#define OPT_KERN_X86_PANEL_AMX_H

#include "kern/x86/amx_tiles.h"
#include "kern/x86/panel_avx512.h"

enum {
    CHUNK_UNITS = 2, /* multiplied while those before them are added */
    STEP_TOKENS = AMX_ROWS / CHUNK_UNITS,
    /* 32 rows of a unit: tiles take about 70 cycles of loads and stores for up to 16 tokens and 5
     * for each token, VNNI 13 for each, so it is less from 9 tokens; runs unpack to memory for it,
     * another 25 cycles, and the configuration is loaded. */
    TILE_MIN_TOKENS = 12
};

/* One panel's product with all tokens. */
typedef struct panel_call {
    const job *j;
    const panel *w;
    int64_t r, n_rows;   /* the panel's first row, all rows */
    int64_t g0, n_units; /* its first group, its units */
    int64_t n_tokens;
    __mmask16 mask[2]; /* rows of both halves that are there */
} panel_call;

/* Up to CHUNK_UNITS units of a block of tokens. */
typedef struct tile_chunk {
    int64_t t, n_t, u, n_u;
    const int8_t *q; /* activations of the first token from group g0, 16 readable rows */
    int64_t ldq;
} tile_chunk;

/* What is added for a block of tokens; those behind the last are zero. */
typedef struct tile_block {
    OPT_ALIGNED(64) float sum[AMX_ROWS][PANEL_ROWS];
    OPT_ALIGNED(64) float scale[AMX_ROWS][PANEL_UNITS]; /* of units */
    OPT_ALIGNED(64) unit_start start[AMX_ROWS];         /* for offsets */
} tile_block;

typedef struct tile_work {
    OPT_ALIGNED(64) int32_t dot[2][CHUNK_UNITS][AMX_ROWS][PANEL_ROWS]; /* of two chunks in turn */
    tile_block block[2];
    OPT_ALIGNED(64) int8_t q[AMX_ROWS][PANEL_GROUPS * 32];
} tile_work;

/**
 * Activations of the chunk's tokens as tiles read them: in place, where 16 rows are there, and not
 * 4 KiB apart, which are more than a first-level cache holds.
 */
static inline void place_tokens(const panel_call *p, int units, tile_work *work, tile_chunk *c) {
    const int64_t n_padded = p->j->x->n_padded;
    const size_t bytes = (size_t)(opt_ceil_div(p->n_units, units) * 32);
    c->q = p->j->x->q + c->t * n_padded + p->g0 * 32;
    c->ldq = n_padded;
    if (c->n_t == AMX_ROWS && n_padded % 4096 != 0) {
        return;
    }
    memset(work->q, 0, sizeof work->q);
    for (int64_t t = 0; t < c->n_t; t++) {
        memcpy(work->q[t], c->q + t * n_padded, bytes);
    }
    c->q = work->q[0];
    c->ldq = sizeof work->q[0];
}

/** Scales, offsets and what has been added so far, of tokens t .. t + n_t - 1. */
static inline OPT_ALWAYS_INLINE void begin_block(bool has_min, int units, const panel_call *p,
                                                 int64_t t, int64_t n_t, tile_block *b) {
    const opt_act_i8 *x = p->j->x;
    const int64_t n_groups = opt_ceil_div(p->n_units, units);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i upper = _mm512_add_epi32(twice, _mm512_set1_epi32(8));
    for (int64_t i = 0; i < AMX_ROWS; i++) {
        const int64_t group = opt_min_i64(t + i, t + n_t - 1) * (x->n_padded / 32) + p->g0;
        const __m512 scale = _mm512_maskz_loadu_ps(lanes16(n_groups), x->scale + group);
        if (units == 1) {
            _mm512_store_ps(b->scale[i], scale);
        } else {
            _mm512_store_ps(b->scale[i], _mm512_permutexvar_ps(twice, scale));
            _mm512_store_ps(b->scale[i] + 16, _mm512_permutexvar_ps(upper, scale));
        }
        if (has_min) {
            unit_starts(true, units, 0, n_groups, x->sum4 + group * 8, x->scale + group,
                        x->scaled_sum + group, &b->start[i]);
            if (units == 2) {
                const int64_t at = opt_min_i64(t + i, t + n_t - 1);
                low_scaled_sums(x, at, p->g0, opt_act_low_groups(x, at, p->g0, n_groups),
                                b->start[i].scaled_sum);
            }
        }
        const float *y = p->j->y + opt_min_i64(t + i, t + n_t - 1) * p->j->ldy + p->r;
        const bool begun = p->g0 > 0;
        _mm512_store_ps(b->sum[i], _mm512_maskz_loadu_ps(begun ? p->mask[0] : 0, y));
        _mm512_store_ps(b->sum[i] + 16, _mm512_maskz_loadu_ps(begun ? p->mask[1] : 0, y + 16));
    }
}

static inline void end_block(const panel_call *p, int64_t t, int64_t n_t, const tile_block *b) {
    float *y = p->j->y + t * p->j->ldy + p->r;
    for (int64_t i = 0; i < n_t; i++, y += p->j->ldy) {
        _mm512_mask_storeu_ps(y, p->mask[0], _mm512_load_ps(b->sum[i]));
        _mm512_mask_storeu_ps(y + 16, p->mask[1], _mm512_load_ps(b->sum[i] + 16));
    }
}

/* Products of activations in tile A with both halves of the panel, in tiles SUM0 and SUM1. */
#define MULTIPLY_HALVES(SUM0, SUM1, A, DOT)                                                        \
    do {                                                                                           \
        AMX_LOAD(A, q, ldq);                                                                       \
        AMX_LOAD(6, codes, PANEL_ROWS * 4);                                                        \
        _tile_zero(SUM0);                                                                          \
        DOT(SUM0, A, 6);                                                                           \
        AMX_LOAD(7, codes + 64, PANEL_ROWS * 4);                                                   \
        _tile_zero(SUM1);                                                                          \
        DOT(SUM1, A, 7);                                                                           \
        AMX_STORE(SUM0, dot, PANEL_ROWS * 4);                                                      \
        AMX_STORE(SUM1, dot + 16, PANEL_ROWS * 4);                                                 \
    } while (0)

/** One unit: dot [AMX_ROWS, PANEL_ROWS]. Neighbouring units take other tiles. */
static inline OPT_ALWAYS_INLINE void multiply_unit(bool is_unsigned, bool odd, const int8_t *q,
                                                   int64_t ldq, const uint8_t *codes,
                                                   int32_t *dot) {
    if (is_unsigned && odd) {
        MULTIPLY_HALVES(2, 3, 5, _tile_dpbsud);
    } else if (is_unsigned) {
        MULTIPLY_HALVES(0, 1, 4, _tile_dpbsud);
    } else if (odd) {
        MULTIPLY_HALVES(2, 3, 5, _tile_dpbssd);
    } else {
        MULTIPLY_HALVES(0, 1, 4, _tile_dpbssd);
    }
}

/** Adds units u .. u + n_u - 1 to tokens first .. first + 3 of a block. */
static inline OPT_ALWAYS_INLINE void add_tokens(bool has_min, const panel *w, int64_t u,
                                                int64_t n_u, int64_t first,
                                                int32_t (*dot)[AMX_ROWS][PANEL_ROWS],
                                                tile_block *block) {
    __m512 sum[STEP_TOKENS][2];
    for (int64_t b = 0; b < STEP_TOKENS; b++) {
        sum[b][0] = _mm512_load_ps(&block->sum[first + b][0]);
        sum[b][1] = _mm512_load_ps(&block->sum[first + b][16]);
    }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 4
#endif
    for (int64_t i = 0; i < n_u; i++) {
        const float *d = w->d[u + i], *m = w->m[u + i];
        for (int64_t b = 0; b < STEP_TOKENS; b++) {
            const float scale = block->scale[first + b][u + i];
            const float min_scale = has_min ? block->start[first + b].scaled_sum[u + i] : 0;
            for (int a = 0; a < 2; a++) {
                sum[b][a] = add_unit(
                    has_min, sum[b][a], _mm512_load_si512(&dot[i][first + b][16 * a]),
                    _mm512_load_ps(d + 16 * a), _mm512_load_ps(m + 16 * a), scale, min_scale);
            }
        }
    }
    for (int64_t b = 0; b < STEP_TOKENS; b++) {
        _mm512_store_ps(&block->sum[first + b][0], sum[b][0]);
        _mm512_store_ps(&block->sum[first + b][16], sum[b][1]);
    }
}

/** Chunk i of the call: units first, then tokens. */
static inline OPT_ALWAYS_INLINE void next_chunk(bool has_min, int units, const panel_call *p,
                                                int64_t i, tile_work *work, tile_chunk *c) {
    const int64_t n_chunks = opt_ceil_div(p->n_units, CHUNK_UNITS);
    c->t = i / n_chunks * AMX_ROWS;
    c->n_t = opt_min_i64(AMX_ROWS, p->n_tokens - c->t);
    c->u = i % n_chunks * CHUNK_UNITS;
    c->n_u = opt_min_i64(CHUNK_UNITS, p->n_units - c->u);
    if (c->u == 0) {
        place_tokens(p, units, work, c);
        begin_block(has_min, units, p, c->t, c->n_t, &work->block[c->t / AMX_ROWS % 2]);
    }
}

static inline OPT_ALWAYS_INLINE void tile_tokens(bool has_min, int units, const panel_call *p,
                                                 tile_work *work) {
    const int quads = 8 / units;
    const int64_t n = opt_ceil_div(p->n_units, CHUNK_UNITS) * opt_ceil_div(p->n_tokens, AMX_ROWS);
    tile_chunk now = {0}, before = {0};
    for (int64_t i = 0; i <= n; i++, before = now) {
        tile_block *block = &work->block[before.t / AMX_ROWS % 2];
        if (i < n) {
            next_chunk(has_min, units, p, i, work, &now);
        }
        for (int64_t k = 0; k < CHUNK_UNITS; k++) {
            if (i < n && k < now.n_u) {
                const int64_t u = now.u + k;
                multiply_unit(has_min, k % 2 != 0, now.q + u * quads * 4, now.ldq,
                              p->w->codes[u * quads][0], work->dot[i % 2][k][0]);
            }
            if (i > 0 && k * STEP_TOKENS < before.n_t) {
                /* most often all of them: constant, so that the compiler unrolls it */
                if (before.n_u == CHUNK_UNITS) {
                    add_tokens(has_min, p->w, before.u, CHUNK_UNITS, k * STEP_TOKENS,
                               work->dot[1 - i % 2], block);
                } else {
                    add_tokens(has_min, p->w, before.u, before.n_u, k * STEP_TOKENS,
                               work->dot[1 - i % 2], block);
                }
            }
        }
        if (i > 0 && before.u + before.n_u == p->n_units) {
            end_block(p, before.t, before.n_t, block);
        }
    }
}

#define TILE_TOKENS(name, has_min, units)                                                          \
    static OPT_NOINLINE void name(const panel_call *p, tile_work *work) {                          \
        tile_tokens(has_min, units, p, work);                                                      \
    }
TILE_TOKENS(tile_tokens_1, false, 1)
TILE_TOKENS(tile_tokens_min_1, true, 1)
TILE_TOKENS(tile_tokens_2, false, 2)
TILE_TOKENS(tile_tokens_min_2, true, 2)

/** Adds the sums of second planes to y. */
static inline void add_low(const panel_call *p, const low_sums *low) {
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t i = 0; i < opt_min_i64(PANEL_ROWS, p->n_rows - p->r); i++) {
            p->j->y[t * p->j->ldy + p->r + i] += low->sum[t][i];
        }
    }
}

/** optk_panel_run_avx512 on tiles, which the caller has configured for units of 32 / units bytes.
 */
static inline void panel_run_tiles(const job *j, const panel *w, int64_t r, int64_t n_rows,
                                   int64_t g0, int64_t n, int64_t n_tokens, low_sums *low) {
    tile_work work;
    const panel_call p = {.j = j,
                          .w = w,
                          .r = r,
                          .n_rows = n_rows,
                          .g0 = g0,
                          .n_units = n * j->c.units,
                          .n_tokens = n_tokens,
                          .mask = {lanes16(n_rows - r), lanes16(opt_max_i64(0, n_rows - r - 16))}};
    if (j->c.units == 1 && j->c.has_min) {
        tile_tokens_min_1(&p, &work);
    } else if (j->c.units == 1) {
        tile_tokens_1(&p, &work);
    } else if (j->c.has_min) {
        tile_tokens_min_2(&p, &work);
    } else {
        tile_tokens_2(&p, &work);
    }
    if (j->x->low != NULL) {
        optk_panel_low_avx512(j, w, g0, n, n_tokens, !j->c.has_min, low);
        if (span_ends(g0 + n, j->c.n_groups)) {
            add_low(&p, low);
        }
    }
}

#endif
