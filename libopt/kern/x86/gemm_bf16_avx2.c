/* AVX2 product of bf16 pairs. Reference: optk_gemm_bf16__ref, within the rounding of k products. */
#include "kern/x86/vec_avx2.h"

#define OPT_KEEP_IN_REGISTER(v) __asm__("" : "+x"(v))
#define ivec __m256i
#define vec __m256
#define vmask __m256i
enum { LANES = 8, ROWS = 2 };
#define GEMM_NAME optk_gemm_bf16__avx2
#define i_set _mm256_set1_epi32
#define i_load(p) _mm256_load_si256((const __m256i *)(const void *)(p))
#define v_zero _mm256_setzero_ps
#define v_load _mm256_loadu_ps
#define v_store _mm256_storeu_ps
#define v_load_some(p, m) _mm256_maskload_ps(p, m)
#define v_store_some(p, m, v) _mm256_maskstore_ps(p, m, v)
#define v_some(n) lanes8(n)

static inline __m256 first_of(__m256i pair) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
}

static inline __m256 second_of(__m256i pair) {
    return _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32((int)0xffff0000)));
}

static inline __m256 v_dot(__m256 sum, __m256i a, __m256i b) {
    sum = _mm256_fmadd_ps(first_of(a), first_of(b), sum);
    return _mm256_fmadd_ps(second_of(a), second_of(b), sum);
}

#include "kern/x86/gemm_bf16.inc"
