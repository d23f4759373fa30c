/*
 * AMX product of bf16 pairs: 32 rows by 32 columns in four tiles. Reference: optk_gemm_bf16__ref,
 * within the rounding of k products. An output is the sum of groups of 16 pairs in increasing
 * order, whatever lies beside it: what is missing at the edges is zero.
 */
#include <string.h>

#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/amx_tiles.h"

enum { SIDE = 32, GROUP = 16, CUT_PAIRS = 256 };

/** Rows i0 .. i0 + SIDE - 1 of a side for n_p pairs, zeros behind n: as [SIDE, CUT_PAIRS]. */
static void pack_rows(const opt_bf16 *x, int64_t i0, int64_t n, int64_t p0, int64_t n_p,
                      int32_t *to) {
    for (int64_t i = 0; i < SIDE; i++, to += CUT_PAIRS) {
        if (i >= n) {
            memset(to, 0, (size_t)n_p * sizeof *to);
            continue;
        }
        const int32_t *from = x->pairs + (i0 + i) * x->row + p0 * x->step;
        for (int64_t p = 0; p < n_p; p++) {
            to[p] = from[p * x->step];
        }
    }
}

/** The same with pairs outside: [CUT_PAIRS, SIDE]. */
static void pack_steps(const opt_bf16 *x, int64_t i0, int64_t n, int64_t p0, int64_t n_p,
                       int32_t *to) {
    for (int64_t p = 0; p < n_p; p++, to += SIDE) {
        const int32_t *from = x->pairs + i0 * x->row + (p0 + p) * x->step;
        for (int64_t i = 0; i < n; i++) {
            to[i] = from[i * x->row];
        }
        memset(to + n, 0, (size_t)(SIDE - n) * sizeof *to);
    }
}

/** acc [SIDE, SIDE] += rows of a [SIDE, n_p] (stride lda) times b [n_p, SIDE]. */
static void tile(const int32_t *a, int64_t lda, const int32_t *b, int64_t n_p, float *acc) {
    const int64_t a_bytes = lda * 4, b_bytes = SIDE * 4, y_bytes = SIDE * 4;
    AMX_LOAD(0, acc, y_bytes);
    AMX_LOAD(1, acc + 16, y_bytes);
    AMX_LOAD(2, acc + 16 * SIDE, y_bytes);
    AMX_LOAD(3, acc + 16 * SIDE + 16, y_bytes);
    for (int64_t p = 0; p < n_p; p += GROUP) {
        AMX_LOAD(4, a + p, a_bytes);
        AMX_LOAD(6, b + p * SIDE, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        AMX_LOAD(7, b + p * SIDE + 16, b_bytes);
        _tile_dpbf16ps(1, 4, 7);
        AMX_LOAD(5, a + 16 * lda + p, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    AMX_STORE(0, acc, y_bytes);
    AMX_STORE(1, acc + 16, y_bytes);
    AMX_STORE(2, acc + 16 * SIDE, y_bytes);
    AMX_STORE(3, acc + 16 * SIDE + 16, y_bytes);
}

static void load_sums(const float *y, int64_t ldy, int64_t n_r, int64_t n_c, float *acc) {
    for (int64_t r = 0; r < n_r; r++) {
        memcpy(acc + r * SIDE, y + r * ldy, (size_t)n_c * sizeof *acc);
    }
}

static void store_sums(float *y, int64_t ldy, int64_t n_r, int64_t n_c, const float *acc) {
    for (int64_t r = 0; r < n_r; r++) {
        memcpy(y + r * ldy, acc + r * SIDE, (size_t)n_c * sizeof *acc);
    }
}

void optk_gemm_bf16__amx(const opt_bf16 *a, const opt_bf16 *b, float *y, int64_t ldy,
                         int64_t n_rows, int64_t n_cols, int64_t k) {
    OPT_ALIGNED(64) int32_t packed_b[CUT_PAIRS * SIDE], packed_a[SIDE * CUT_PAIRS];
    OPT_ALIGNED(64) float acc[SIDE * SIDE];
    amx_begin(64);
    for (int64_t c0 = 0; c0 < n_cols; c0 += SIDE) {
        const int64_t n_c = opt_min_i64(SIDE, n_cols - c0);
        for (int64_t p0 = 0; p0 < k / 2; p0 += CUT_PAIRS) {
            const int64_t n_p = opt_min_i64(CUT_PAIRS, k / 2 - p0);
            pack_steps(b, c0, n_c, p0, n_p, packed_b);
            for (int64_t r0 = 0; r0 < n_rows; r0 += SIDE) {
                const int64_t n_r = opt_min_i64(SIDE, n_rows - r0);
                const bool as_is = a->step == 1 && n_r == SIDE;
                const int32_t *from = packed_a;
                memset(acc, 0, sizeof acc);
                if (p0 > 0) {
                    load_sums(y + r0 * ldy + c0, ldy, n_r, n_c, acc);
                }
                if (as_is) {
                    from = a->pairs + r0 * a->row + p0;
                } else {
                    pack_rows(a, r0, n_r, p0, n_p, packed_a);
                }
                tile(from, as_is ? a->row : CUT_PAIRS, packed_b, n_p, acc);
                store_sums(y + r0 * ldy + c0, ldy, n_r, n_c, acc);
            }
        }
    }
    amx_end();
}
