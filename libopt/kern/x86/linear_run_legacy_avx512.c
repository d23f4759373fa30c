/* Rows of linear_run for ggml's first types with minima or fifth bits: linear_run_avx512.h made for
 * each. */
#include "kern/x86/linear_run_avx512.h"

LINEAR_RUN(q4_1, CODES_Q4_1, 32)
LINEAR_RUN(q5_0, CODES_Q5_0, 32)
LINEAR_RUN(q5_1, CODES_Q5_1, 32)
