/* Rows of linear_run for ggml's types: linear_run_avx512.h made for each. */
#include "kern/x86/linear_run_avx512.h"

#define LINEAR_RUN(name, layout, elems)                                                            \
    RUN_TOKENS(name, layout, elems, 2)                                                             \
    RUN_ALL(name, layout, elems, for (; t + 2 <= n_tokens; t += 2) run_##name##_2(c, t))           \
    void optk_linear_run_##name##__avx512(const opt_kspec *s, const void *w, size_t row_bytes,     \
                                          const opt_act_i8 *x, float *y, int64_t ldy,              \
                                          int64_t n_rows, int64_t n_tokens, int64_t k) {           \
        const run_call c = {s, w, row_bytes, x, y, ldy, n_rows, k};                                \
        run_##name(&c, n_tokens);                                                                  \
    }

LINEAR_RUN(q8_0, CODES_Q8_0, 32)
LINEAR_RUN(q4_0, CODES_Q4_0, 32)
LINEAR_RUN(iq4_nl, CODES_IQ4_NL, 32)
LINEAR_RUN(iq4_xs, CODES_IQ4_XS, 256)
LINEAR_RUN(q2_k, CODES_Q2_K, 256)
LINEAR_RUN(q3_k, CODES_Q3_K, 256)
LINEAR_RUN(q4_k, CODES_Q4_K, 256)
LINEAR_RUN(q5_k, CODES_Q5_K, 256)
LINEAR_RUN(q6_k, CODES_Q6_K, 256)
