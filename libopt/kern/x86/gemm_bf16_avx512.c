/* AVX512_BF16 product of bf16 pairs. Reference: optk_gemm_bf16__ref, within the rounding of k
 * products. */
#include "kern/x86/vec_avx512.h"

#define OPT_KEEP_IN_REGISTER(v) __asm__("" : "+v"(v))
#define ivec __m512i
#define vec __m512
#define vmask __mmask16
enum { LANES = 16, ROWS = 8 };
#define GEMM_NAME optk_gemm_bf16__avx512
#define i_set _mm512_set1_epi32
#define i_load(p) _mm512_load_si512(p)
#define v_zero _mm512_setzero_ps
#define v_load _mm512_loadu_ps
#define v_store _mm512_storeu_ps
#define v_load_some(p, m) _mm512_maskz_loadu_ps(m, p)
#define v_store_some(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define v_some(n) lanes16(n)

/** vdpbf16ps, which the files of this level are not compiled for. */
static inline __m512 v_dot(__m512 sum, __m512i a, __m512i b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

#include "kern/x86/gemm_bf16.inc"
