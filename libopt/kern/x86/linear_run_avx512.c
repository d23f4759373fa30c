/* Rows of linear_run for ggml's types: linear_run_avx512.h made for each. */
#include "kern/x86/linear_run_avx512.h"

LINEAR_RUN(q8_0, CODES_Q8_0, 32)
LINEAR_RUN(q4_0, CODES_Q4_0, 32)
LINEAR_RUN(iq4_nl, CODES_IQ4_NL, 32)
LINEAR_RUN(iq4_xs, CODES_IQ4_XS, 256)
LINEAR_RUN(q2_k, CODES_Q2_K, 256)
LINEAR_RUN(q3_k, CODES_Q3_K, 256)
LINEAR_RUN(q4_k, CODES_Q4_K, 256)
LINEAR_RUN(q5_k, CODES_Q5_K, 256)
LINEAR_RUN(q6_k, CODES_Q6_K, 256)
