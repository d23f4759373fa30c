/* The int8 path with AVX2 alone: linear_i8_avx2.h made for it. */
#define LINEAR_I8_VNNI 0
#include "kern/x86/linear_i8_avx2.h"

LINEAR_RUN(optk_linear_run_q8_0__avx2, CODES_Q8_0)
LINEAR_RUN(optk_linear_run_q4_0__avx2, CODES_Q4_0)
LINEAR_RUN(optk_linear_run_iq4_nl__avx2, CODES_IQ4_NL)
LINEAR_RUN(optk_linear_run_iq4_xs__avx2, CODES_IQ4_XS)
LINEAR_RUN(optk_linear_run_q2_k__avx2, CODES_Q2_K)
LINEAR_RUN(optk_linear_run_q3_k__avx2, CODES_Q3_K)
LINEAR_RUN(optk_linear_run_q4_k__avx2, CODES_Q4_K)
LINEAR_RUN(optk_linear_run_q5_k__avx2, CODES_Q5_K)
LINEAR_RUN(optk_linear_run_q6_k__avx2, CODES_Q6_K)
LINEAR_I8(optk_linear_i8_q8_0__avx2, CODES_Q8_0)
LINEAR_I8(optk_linear_i8_q4_0__avx2, CODES_Q4_0)
LINEAR_I8(optk_linear_i8_q4_1__avx2, CODES_Q4_1)
LINEAR_I8(optk_linear_i8_q5_0__avx2, CODES_Q5_0)
LINEAR_I8(optk_linear_i8_q5_1__avx2, CODES_Q5_1)
LINEAR_I8(optk_linear_i8_iq4_nl__avx2, CODES_IQ4_NL)
LINEAR_I8(optk_linear_i8_mxfp4__avx2, CODES_MXFP4)
LINEAR_I8(optk_linear_i8_q2_k__avx2, CODES_Q2_K)
LINEAR_I8(optk_linear_i8_q3_k__avx2, CODES_Q3_K)
LINEAR_I8(optk_linear_i8_q4_k__avx2, CODES_Q4_K)
LINEAR_I8(optk_linear_i8_q5_k__avx2, CODES_Q5_K)
LINEAR_I8(optk_linear_i8_q6_k__avx2, CODES_Q6_K)
LINEAR_I8(optk_linear_i8_iq4_xs__avx2, CODES_IQ4_XS)
LINEAR_I8(optk_linear_i8_tq2_0__avx2, CODES_TQ2_0)
LINEAR_I8(optk_linear_i8_nvfp4__avx2, CODES_NVFP4)
static LINEAR_I8(linear_int2, CODES_INT2) static LINEAR_I8(
    linear_int3, CODES_INT3) static LINEAR_I8(linear_int4, CODES_INT4) static LINEAR_I8(linear_int8,
                                                                                        CODES_INT8)

    void optk_linear_i8_int__avx2(const opt_kspec *s, const void *w, size_t row_bytes,
                                  const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                  int64_t n_tokens, int64_t k) {
    opt_kern_linear_i8_fn *const by_bits[9] = {
        [2] = linear_int2, [3] = linear_int3, [4] = linear_int4, [8] = linear_int8};
    by_bits[s->bits](s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);
}

static LINEAR_RUN(run_int2, CODES_INT2) static LINEAR_RUN(run_int3, CODES_INT3) static LINEAR_RUN(
    run_int4, CODES_INT4) static LINEAR_RUN(run_int8, CODES_INT8)

    void optk_linear_run_int__avx2(const opt_kspec *s, const void *w, size_t row_bytes,
                                   const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                   int64_t n_tokens, int64_t k) {
    opt_kern_linear_run_fn *const by_bits[9] = {
        [2] = run_int2, [3] = run_int3, [4] = run_int4, [8] = run_int8};
    by_bits[s->bits](s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);
}
