/* AVX-512 matrix products. References: optk_gemm_add_f32__ref and optk_gemm_sub_f64__ref, within
 * the rounding of k fused multiply-adds. */
#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx512.h"

#define OPT_KEEP_IN_REGISTER(v) __asm__("" : "+v"(v))

#define elem float
#define vec __m512
#define vmask __mmask16
#define GEMM_LANES 16
#define GEMM_VECS 3
#define GEMM_ROWS 8
#define GEMM_NAME optk_gemm_add_f32__avx512
#define GEMM_NAME_OF(what) what##_f32
#define GEMM_SIGN 1
#define v_set _mm512_set1_ps
#define v_load _mm512_loadu_ps
#define v_store _mm512_storeu_ps
#define v_load_some(p, m) _mm512_maskz_loadu_ps(m, p)
#define v_store_some(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define v_some(n) lanes16(n)
#define v_fma _mm512_fmadd_ps
#include "kern/x86/gemm.inc"

#define elem double
#define vec __m512d
#define vmask __mmask8
#define GEMM_LANES 8
#define GEMM_VECS 3
#define GEMM_ROWS 8
#define GEMM_NAME optk_gemm_sub_f64__avx512
#define GEMM_NAME_OF(what) what##_f64
#define GEMM_SIGN (-1)
#define v_set _mm512_set1_pd
#define v_load _mm512_loadu_pd
#define v_store _mm512_storeu_pd
#define v_load_some(p, m) _mm512_maskz_loadu_pd(m, p)
#define v_store_some(p, m, v) _mm512_mask_storeu_pd(p, m, v)
#define v_some(n) ((__mmask8)lanes16(n))
#define v_fma _mm512_fmadd_pd
#include "kern/x86/gemm.inc"

void optk_add_rows__avx512(float *y, int64_t n, const float *a, const int32_t *idx, int64_t n_terms,
                           const float *x, int64_t ldx) {
    enum { VECS = 8 };
    for (int64_t c = 0; c < n; c += 16 * VECS) {
        __m512 sum[VECS];
        __mmask16 mask[VECS];
        for (int v = 0; v < VECS; v++) {
            mask[v] = lanes16(opt_max_i64(0, n - c - 16 * v));
            sum[v] = _mm512_maskz_loadu_ps(mask[v], y + c + 16 * v);
        }
        for (int64_t i = 0; i < n_terms; i++) {
            const float *row = x + idx[i] * ldx + c;
            const __m512 ai = _mm512_set1_ps(a[i]);
            for (int v = 0; v < VECS; v++) {
                const __m512 xi = _mm512_maskz_loadu_ps(mask[v], row + 16 * v);
                sum[v] = _mm512_fmadd_ps(ai, xi, sum[v]);
            }
        }
        for (int v = 0; v < VECS; v++) {
            _mm512_mask_storeu_ps(y + c + 16 * v, mask[v], sum[v]);
        }
    }
}
