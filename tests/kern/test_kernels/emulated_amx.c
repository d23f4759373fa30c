/*
 * The AMX kernels on machines without AMX: the same source with the tile operations in plain C.
 * What the instructions themselves do, only a machine that has them can show (the row's own test,
 * and the self-test of opt_kern_get).
 */
#if defined(__x86_64__)
#define OPT_AMX_EMULATE
#define GEMM_NAME emulated_gemm_bf16
#include "kern/test_kernels/checks.h"

#include "kern/x86/gemm_bf16_amx.inc"
#endif
