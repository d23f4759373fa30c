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
    __m512i a[16], b[16];
    for (int r = 0; r < 16; r++) {
        a[r] = _mm512_loadu_si512(from + r * ld);
    }
    for (int r = 0; r < 16; r += 2) {
        b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]);
        b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
    }
    for (int r = 0; r < 16; r += 4) { /* a[r + i]: columns i, i + 4, ... of rows r .. r + 3 */
        a[r] = _mm512_unpacklo_epi64(b[r], b[r + 2]);
        a[r + 1] = _mm512_unpackhi_epi64(b[r], b[r + 2]);
        a[r + 2] = _mm512_unpacklo_epi64(b[r + 1], b[r + 3]);
        a[r + 3] = _mm512_unpackhi_epi64(b[r + 1], b[r + 3]);
    }
    for (int i = 0; i < 4; i++) {
        const __m512i lo01 = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x44);
        const __m512i hi01 = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xee);
        const __m512i lo23 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x44);
        const __m512i hi23 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xee);
        _mm512_store_si512(to + i * ld_to, _mm512_shuffle_i32x4(lo01, lo23, 0x88));
        _mm512_store_si512(to + (i + 4) * ld_to, _mm512_shuffle_i32x4(lo01, lo23, 0xdd));
        _mm512_store_si512(to + (i + 8) * ld_to, _mm512_shuffle_i32x4(hi01, hi23, 0x88));
        _mm512_store_si512(to + (i + 12) * ld_to, _mm512_shuffle_i32x4(hi01, hi23, 0xdd));
    }
}

#include "kern/x86/gemm_i16.inc"
