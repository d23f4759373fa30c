/* AVX2 with AVX-VNNI: product of 16-bit block integers. Reference: optk_gemm_i16__ref, the same
 * bits. */
#include <string.h>

#include "base/attr.h"
#include "base/num.h"
#include "kern/rows.h"

#define GEMM_NAME optk_gemm_i16__avxvnni
#define i_dot _mm256_dpwssd_avx_epi32
#include "kern/x86/gemm_i16_avx2.inc"
