/* AMX product of bf16 pairs. Reference: optk_gemm_bf16__ref, within the rounding of k products. */
#define GEMM_NAME optk_gemm_bf16__amx
#include "kern/x86/gemm_bf16_amx.inc"
