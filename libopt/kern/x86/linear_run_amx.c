/*
 * linear_run on AMX tiles (panel_amx.h): runs are unpacked into panels as the AVX-512 rows do it,
 * which serve few tokens. Reference: optk_linear_run_<name>__ref, the same bits.
 */
#include "kern/rows.h"
#include "kern/x86/int_rows.h"
#include "kern/x86/panel_amx.h"
#include "kern/x86/unpack_run_avx512.h"

static inline OPT_ALWAYS_INLINE void run_tiles(codes_layout layout, int64_t elems,
                                               const run_call *c, int64_t n_tokens) {
    const job j = run_job(layout, elems, c);
    amx_begin(32 / j.c.units);
    for (int64_t r = 0; r < c->n_rows; r += PANEL_ROWS) {
        low_sums low;
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += PANEL_GROUPS) {
            const int64_t n = opt_min_i64(PANEL_GROUPS, j.c.n_groups - g0);
            panel unpacked;
            unpack_runs(layout, &j, r, c->n_rows, g0, n, j.c.offset, &unpacked);
            panel_run_tiles(&j, &unpacked, r, c->n_rows, g0, n, n_tokens, &low);
        }
    }
    amx_end();
}

#define LINEAR_RUN(function, few, MULTIPLY)                                                        \
    void function(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,        \
                  float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {            \
        if (n_tokens < TILE_MIN_TOKENS) {                                                          \
            few(s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);                                  \
        } else {                                                                                   \
            for (int64_t t = 0; t < n_tokens; t += PANEL_TOKENS) {                                 \
                const opt_act_i8 part = opt_act_from(x, t);                                        \
                const run_call c = {s, w, row_bytes, &part, y + t * ldy, ldy, n_rows, k};          \
                const int64_t n = opt_min_i64(PANEL_TOKENS, n_tokens - t);                         \
                MULTIPLY;                                                                          \
            }                                                                                      \
        }                                                                                          \
    }
#define OF_FORMAT(name, layout, elems)                                                             \
    LINEAR_RUN(optk_linear_run_##name##__amx, optk_linear_run_##name##__avx512,                    \
               run_tiles(layout, elems, &c, n))

OF_FORMAT(q8_0, CODES_Q8_0, 32)
OF_FORMAT(q4_0, CODES_Q4_0, 32)
OF_FORMAT(q4_1, CODES_Q4_1, 32)
OF_FORMAT(q5_0, CODES_Q5_0, 32)
OF_FORMAT(q5_1, CODES_Q5_1, 32)
OF_FORMAT(iq4_nl, CODES_IQ4_NL, 32)
OF_FORMAT(iq4_xs, CODES_IQ4_XS, 256)
OF_FORMAT(q2_k, CODES_Q2_K, 256)
OF_FORMAT(q3_k, CODES_Q3_K, 256)
OF_FORMAT(q4_k, CODES_Q4_K, 256)
OF_FORMAT(q5_k, CODES_Q5_K, 256)
OF_FORMAT(q6_k, CODES_Q6_K, 256)

static inline OPT_ALWAYS_INLINE void run_groups(codes_layout layout, const run_call *c,
                                                int64_t n_tokens) {
    if (c->s->group == 32) {
        run_tiles(layout, 32, c, n_tokens);
    } else if (c->s->group == 64) {
        run_tiles(layout, 64, c, n_tokens);
    } else {
        run_tiles(layout, 128, c, n_tokens);
    }
}
#define OF_GROUPS(function, layout)                                                                \
    LINEAR_RUN(function, optk_linear_run_int__avx512, run_groups(layout, &c, n))

OPTK_INT_ROW(OF_GROUPS, linear_run, run_int, amx)
