/* AVX2 matrix products. References: optk_gemm_add_f32__ref and optk_gemm_sub_f64__ref, within the
 * rounding of k fused multiply-adds. */
#include "base/num.h"
#include "kern/rows.h"
#include "kern/x86/vec_avx2.h"

#define OPT_KEEP_IN_REGISTER(v) __asm__("" : "+x"(v))

static inline __m256i lanes4(int64_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

#define elem float
#define vec __m256
#define vmask __m256i
#define GEMM_LANES 8
#define GEMM_VECS 3
#define GEMM_ROWS 4
#define GEMM_NAME optk_gemm_add_f32__avx2
#define GEMM_NAME_OF(what) what##_f32
#define GEMM_SIGN 1
#define v_set _mm256_set1_ps
#define v_load _mm256_loadu_ps
#define v_store _mm256_storeu_ps
#define v_load_some(p, m) _mm256_maskload_ps(p, m)
#define v_store_some(p, m, v) _mm256_maskstore_ps(p, m, v)
#define v_some(n) lanes8(n)
#define v_fma _mm256_fmadd_ps
#include "kern/x86/gemm.inc"

#define elem double
#define vec __m256d
#define vmask __m256i
#define GEMM_LANES 4
#define GEMM_VECS 3
#define GEMM_ROWS 4
#define GEMM_NAME optk_gemm_sub_f64__avx2
#define GEMM_NAME_OF(what) what##_f64
#define GEMM_SIGN (-1)
#define v_set _mm256_set1_pd
#define v_load _mm256_loadu_pd
#define v_store _mm256_storeu_pd
#define v_load_some(p, m) _mm256_maskload_pd(p, m)
#define v_store_some(p, m, v) _mm256_maskstore_pd(p, m, v)
#define v_some(n) lanes4(n)
#define v_fma _mm256_fmadd_pd
#include "kern/x86/gemm.inc"

void optk_add_rows__avx2(float *y, int64_t n, const float *a, const int32_t *idx, int64_t n_terms,
                         const float *x, int64_t ldx) {
    int64_t c = 0;
    for (; c + 32 <= n; c += 32) {
        __m256 sum[4];
        for (int v = 0; v < 4; v++) {
            sum[v] = _mm256_loadu_ps(y + c + 8 * v);
        }
        for (int64_t i = 0; i < n_terms; i++) {
            const float *row = x + idx[i] * ldx + c;
            const __m256 ai = _mm256_set1_ps(a[i]);
            for (int v = 0; v < 4; v++) {
                sum[v] = _mm256_fmadd_ps(ai, _mm256_loadu_ps(row + 8 * v), sum[v]);
            }
        }
        for (int v = 0; v < 4; v++) {
            _mm256_storeu_ps(y + c + 8 * v, sum[v]);
        }
    }
    for (; c < n; c += 8) {
        __m256 sum = load8(y + c, n - c);
        for (int64_t i = 0; i < n_terms; i++) {
            const __m256 xi = load8(x + idx[i] * ldx + c, n - c);
            sum = _mm256_fmadd_ps(_mm256_set1_ps(a[i]), xi, sum);
        }
        store8(y + c, n - c, sum);
    }
}
