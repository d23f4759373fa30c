/* AVX2 product of 16-bit block integers. Reference: optk_gemm_i16__ref, the same bits. */
#define ROWS_NAME optk_quantize_i16__avx2
#define COLUMNS_NAME optk_quantize_i16_columns__avx2
#include "kern/quantize_i16.inc"

#define GEMM_NAME optk_gemm_i16__avx2
#define i_dot(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#include "kern/x86/gemm_i16_avx2.inc"
