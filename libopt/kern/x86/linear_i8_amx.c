/*
 * linear_i8 on AMX tiles (panel_amx.h): rows are unpacked into panels as the AVX-512 rows do it,
 * which serve few tokens. Reference: optk_linear_i8_<name>__ref, the same bits.
 */
#include "kern/rows.h"
#include "kern/x86/int_rows.h"
#include "kern/x86/panel_amx.h"
#include "kern/x86/unpack_rows_avx512.h"

static inline OPT_ALWAYS_INLINE void linear(codes_layout layout, const opt_kspec *s, const void *w,
                                            size_t row_bytes, const opt_act_i8 *x, float *y,
                                            int64_t ldy, int64_t n_rows, int64_t n_tokens,
                                            int64_t k) {
    const job j = {codes_rows_of(layout, s, k), w, row_bytes, x, y, ldy};
    amx_begin(32 / j.c.units);
    for (int64_t r = 0; r < n_rows; r += PANEL_ROWS) {
        low_sums low;
        for (int64_t g0 = 0; g0 < j.c.n_groups; g0 += PANEL_GROUPS) {
            const int64_t n = opt_min_i64(PANEL_GROUPS, j.c.n_groups - g0);
            panel unpacked;
            unpack_rows(layout, &j, r, n_rows, g0, n, j.c.offset, &unpacked);
            panel_run_tiles(&j, &unpacked, r, n_rows, g0, n, n_tokens, &low);
        }
    }
    amx_end();
}

#define LINEAR_I8(function, few, layout)                                                           \
    void function(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,        \
                  float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {            \
        if (n_tokens < TILE_MIN_TOKENS) {                                                          \
            few(s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);                                  \
        } else {                                                                                   \
            for (int64_t t = 0; t < n_tokens; t += PANEL_TOKENS) {                                 \
                const opt_act_i8 part = opt_act_from(x, t);                                        \
                linear(layout, s, w, row_bytes, &part, y + t * ldy, ldy, n_rows,                   \
                       opt_min_i64(PANEL_TOKENS, n_tokens - t), k);                                \
            }                                                                                      \
        }                                                                                          \
    }
#define OF_FORMAT(name, layout)                                                                    \
    LINEAR_I8(optk_linear_i8_##name##__amx, optk_linear_i8_##name##__avx512, layout)
#define OF_GROUPS(function, layout) LINEAR_I8(function, optk_linear_i8_int__avx512, layout)

OF_FORMAT(q8_0, CODES_Q8_0)
OF_FORMAT(q4_0, CODES_Q4_0)
OF_FORMAT(q4_1, CODES_Q4_1)
OF_FORMAT(q5_0, CODES_Q5_0)
OF_FORMAT(q5_1, CODES_Q5_1)
OF_FORMAT(iq4_nl, CODES_IQ4_NL)
OF_FORMAT(mxfp4, CODES_MXFP4)
OF_FORMAT(ternary, CODES_TERNARY)
OF_FORMAT(q2_k, CODES_Q2_K)
OF_FORMAT(q3_k, CODES_Q3_K)
OF_FORMAT(q4_k, CODES_Q4_K)
OF_FORMAT(q5_k, CODES_Q5_K)
OF_FORMAT(q6_k, CODES_Q6_K)
OF_FORMAT(iq4_xs, CODES_IQ4_XS)
OF_FORMAT(tq2_0, CODES_TQ2_0)
OF_FORMAT(nvfp4, CODES_NVFP4)
OPTK_INT_ROW(OF_GROUPS, linear_i8, linear_int, amx)
