/* AVX-512 product of 16-bit block integers. Reference: optk_gemm_i16__ref, the same bits. */
#define ROWS_NAME optk_quantize_i16__avx512
#define COLUMNS_NAME optk_quantize_i16_columns__avx512
#include "kern/quantize_i16.inc"
#include "kern/x86/vec_avx512.h"

#define OPT_KEEP_IN_REGISTER(v) __asm__("" : "+v"(v))
#define ivec __m512i
#define vec __m512
#define vmask __mmask16
enum { LANES = 16, ROWS = 8 };
#define GEMM_NAME optk_gemm_i16__avx512
#define i_zero _mm512_setzero_si512
#define i_set _mm512_set1_epi32
#define i_load(p) _mm512_load_si512(p)
#define i_dot _mm512_dpwssd_epi32
#define v_float _mm512_cvtepi32_ps
#define v_set _mm512_set1_ps
#define v_zero _mm512_setzero_ps
#define v_load _mm512_loadu_ps
#define v_store _mm512_storeu_ps
#define v_mul _mm512_mul_ps
#define v_fma _mm512_fmadd_ps
#define v_load_some(p, m) _mm512_maskz_loadu_ps(m, p)
#define v_store_some(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define v_some(n) lanes16(n)

/** to [16, 16] (stride ld_to) from the 16 rows of `from` (stride ld), transposed. */
static inline OPT_ALWAYS_INLINE void i_transpose(const int32_t *from, int64_t ld, int32_t *to,
                                                 int64_t ld_to) {
    __m512i v[16];
    for (int r = 0; r < 16; r++) {
        v[r] = _mm512_loadu_si512(from + r * ld);
    }
    transpose16(v);
    for (int r = 0; r < 16; r++) {
        _mm512_store_si512(to + r * ld_to, v[r]);
    }
}

#include "kern/x86/gemm_i16.inc"
