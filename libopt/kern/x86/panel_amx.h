/**
 * A panel (panel_avx512.h, codes as signed bytes unless the format has an offset in f32) multiplied
 * on AMX tiles. A unit of 32 panel rows lies as tiles want it: 4 elements of 16 rows side by side;
 * activations are read where they are. Tiles make the exact integer sums of a unit for 16 tokens,
 * which are scaled and added in AVX-512 with the operations of the AVX-512 rows in their order: the
 * same bits.
 *
 * Cycles for 16 outputs (a vector: 16 rows of one token) and a unit, as Intel gives them: a tile
 * product takes 16 for 16 tokens however long the unit is, so 1 a vector; its store takes as much,
 * and its loads 0.5 (16 rows of activations shared by two halves of the panel, 8 of weights for
 * each). Converting, multiplying both scales and the fused addition take two ports 1.5 (2 with an
 * offset), reads of sums, scales and parts of sums 0.9. So the float part decides, and the tiles
 * have to run beside it: while 4 units of 16 tokens are added, those that come next are multiplied,
 * one unit before every 4 tokens. In sum 1.5 .. 2 cycles, where products of VNNI take 4 (2 in units
 * of 16) and the same float part behind them, 5.5 .. 6 (3.5 .. 4).
 */
#ifndef OPT_KERN_X86_PANEL_AMX_H
#define OPT_KERN_X86_PANEL_AMX_H

#include "kern/x86/amx_tiles.h"
#include "kern/x86/panel_avx512.h"

enum {
    CHUNK_UNITS = 4, /* multiplied while those before them are added */
    STEP_TOKENS = AMX_ROWS / CHUNK_UNITS,
    /* For n tokens 32 rows of a unit take VNNI 11 n cycles, n / 8 rounded up times what unpacking
     * takes (about 50) where it is not to memory; tiles take 40 of their own, 3 n for adding, and
     * 80 for unpacking to memory: less from 10 tokens. The configuration is the rest. */
    TILE_MIN_TOKENS = 12
};

/* One panel's product with all tokens. */
typedef struct panel_call {
    const job *j;
    const panel *w;
    int64_t r, n_rows;   /* the panel's first row, all rows */
    int64_t g0, n_units; /* its first group, its units */
    int64_t n_tokens;
} panel_call;

/* Up to CHUNK_UNITS units of a block of tokens. */
typedef struct tile_chunk {
    int64_t t, n_t, u, n_u;
    const int8_t *q; /* activations of the first token from group g0, 16 readable rows */
    int64_t ldq;
} tile_chunk;

typedef struct tile_work {
    OPT_ALIGNED(64) int32_t dot[2][CHUNK_UNITS][AMX_ROWS][PANEL_ROWS]; /* of two chunks in turn */
    OPT_ALIGNED(64) float sum[AMX_ROWS][PANEL_ROWS];
    OPT_ALIGNED(64) unit_start start[AMX_ROWS]; /* offsets in units of half groups */
    OPT_ALIGNED(64) int8_t q[AMX_ROWS][PANEL_GROUPS * 32];
} tile_work;

/** Chunk i of the call: units first, then tokens. `q` and `ldq` are set by the block's first. */
static inline void next_chunk(const panel_call *p, int units, int64_t i, tile_work *work,
                              tile_chunk *c) {
    const int64_t n_chunks = opt_ceil_div(p->n_units, CHUNK_UNITS);
    const int64_t n_padded = p->j->x->n_padded;
    c->t = i / n_chunks * AMX_ROWS;
    c->n_t = opt_min_i64(AMX_ROWS, p->n_tokens - c->t);
    c->u = i % n_chunks * CHUNK_UNITS;
    c->n_u = opt_min_i64(CHUNK_UNITS, p->n_units - c->u);
    if (c->u != 0) {
        return;
    }
    c->q = p->j->x->q + c->t * n_padded + p->g0 * 32;
    c->ldq = n_padded;
    /* Tiles have 16 rows; and rows 4 KiB apart are more than a first-level cache holds. */
    if (c->n_t < AMX_ROWS || n_padded % 4096 == 0) {
        const size_t bytes = (size_t)(opt_ceil_div(p->n_units, units) * 32);
        for (int64_t t = 0; t < AMX_ROWS; t++) {
            if (t < c->n_t) {
                memcpy(work->q[t], c->q + t * n_padded, bytes);
            } else {
                memset(work->q[t], 0, bytes);
            }
        }
        c->q = work->q[0];
        c->ldq = sizeof work->q[0];
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

/** What has been added of 4 tokens: in `work`, or before the panel's first unit in y. */
static inline OPT_ALWAYS_INLINE void begin_sums(bool scaled, const panel_call *p,
                                                const tile_chunk *c, int64_t first, tile_work *work,
                                                __m512 sum[STEP_TOKENS][2]) {
    const opt_act_i8 *x = p->j->x;
    for (int64_t b = 0; b < STEP_TOKENS; b++) {
        const int64_t t = opt_min_i64(c->t + first + b, p->n_tokens - 1);
        const int64_t group = t * (x->n_padded / 32) + p->g0;
        const float *y = p->j->y + t * p->j->ldy + p->r;
        for (int a = 0; a < 2; a++) {
            const int64_t left = opt_max_i64(0, p->n_rows - p->r - 16 * a);
            sum[b][a] = c->u > 0     ? _mm512_load_ps(&work->sum[first + b][16 * a])
                        : p->g0 == 0 ? _mm512_setzero_ps()
                                     : _mm512_maskz_loadu_ps(lanes16(left), y + 16 * a);
        }
        if (scaled && c->u == 0) {
            const int64_t n = opt_ceil_div(p->n_units, 2);
            unit_starts(true, 2, 0, n, x->sum4 + group * 8, x->scale + group, NULL,
                        &work->start[first + b]);
            low_scaled_sums(x, t, p->g0, opt_act_low_groups(x, t, p->g0, n),
                            work->start[first + b].scaled_sum);
        }
    }
}

static inline OPT_ALWAYS_INLINE void end_sums(const panel_call *p, const tile_chunk *c,
                                              int64_t first, tile_work *work,
                                              __m512 sum[STEP_TOKENS][2]) {
    const bool done = c->u + c->n_u == p->n_units;
    for (int64_t b = 0; b < STEP_TOKENS; b++) {
        float *y = p->j->y + (c->t + first + b) * p->j->ldy + p->r;
        for (int a = 0; a < 2; a++) {
            const int64_t left = opt_max_i64(0, p->n_rows - p->r - 16 * a);
            if (!done) {
                _mm512_store_ps(&work->sum[first + b][16 * a], sum[b][a]);
            } else if (first + b < c->n_t) {
                _mm512_mask_storeu_ps(y + 16 * a, lanes16(left), sum[b][a]);
            }
        }
    }
}

/** Adds the chunk's units to tokens first .. first + 3. */
static inline OPT_ALWAYS_INLINE void add_tokens(bool has_min, int units, const panel_call *p,
                                                const tile_chunk *c, int64_t first,
                                                int32_t (*dot)[AMX_ROWS][PANEL_ROWS],
                                                tile_work *work) {
    const opt_act_i8 *x = p->j->x;
    const float *scale[STEP_TOKENS], *scaled_sum[STEP_TOKENS];
    __m512 sum[STEP_TOKENS][2];
    begin_sums(has_min && units == 2, p, c, first, work, sum);
    for (int64_t b = 0; b < STEP_TOKENS; b++) {
        const int64_t t = opt_min_i64(c->t + first + b, p->n_tokens - 1);
        const int64_t group = t * (x->n_padded / 32) + p->g0;
        scale[b] = x->scale + group + c->u / units;
        scaled_sum[b] =
            (units == 1 ? x->scaled_sum + group : work->start[first + b].scaled_sum) + c->u;
    }
    for (int64_t u = 0; u < c->n_u; u++) {
        const float *d = p->w->d[c->u + u], *m = p->w->m[c->u + u];
        for (int64_t b = 0; b < STEP_TOKENS; b++) {
            const float min_scale = has_min ? scaled_sum[b][u] : 0;
            for (int a = 0; a < 2; a++) {
                sum[b][a] =
                    add_unit(has_min, sum[b][a], _mm512_load_si512(&dot[u][first + b][16 * a]),
                             _mm512_load_ps(d + 16 * a), _mm512_load_ps(m + 16 * a),
                             scale[b][u / units], min_scale);
            }
        }
    }
    end_sums(p, c, first, work, sum);
}

static inline OPT_ALWAYS_INLINE void tile_tokens(bool has_min, int units, const panel_call *p,
                                                 tile_work *work) {
    const int quads = 8 / units;
    const int64_t n = opt_ceil_div(p->n_units, CHUNK_UNITS) * opt_ceil_div(p->n_tokens, AMX_ROWS);
    tile_chunk now = {0}, before = {0};
    for (int64_t i = 0; i <= n; i++, before = now) {
        if (i < n) {
            next_chunk(p, units, i, work, &now);
        }
        for (int64_t k = 0; k < CHUNK_UNITS; k++) {
            if (i < n && k < now.n_u) {
                const int64_t u = now.u + k;
                multiply_unit(has_min, k % 2 != 0, now.q + u * quads * 4, now.ldq,
                              p->w->codes[u * quads][0], work->dot[i % 2][k][0]);
            }
            if (i > 0 && k * STEP_TOKENS < before.n_t) {
                add_tokens(has_min, units, p, &before, k * STEP_TOKENS, work->dot[1 - i % 2], work);
            }
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
    const panel_call p = {j, w, r, n_rows, g0, n * j->c.units, n_tokens};
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
