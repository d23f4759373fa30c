/* What the machine can do at best, with AVX-512; the reference is in ref/probe_ref.c, bound 0. */
#include <immintrin.h>

#include "kern/rows.h"

enum { SUMS = 8, LINE_WORDS = 8, AHEAD = 512 /* words prefetched */ };

uint64_t optk_sum_words__avx512(const uint64_t *x, int64_t n) {
    __m512i sums[SUMS];
    int64_t i = 0;
    for (int k = 0; k < SUMS; k++) {
        sums[k] = _mm512_setzero_si512();
    }
    for (; i + LINE_WORDS * SUMS <= n; i += LINE_WORDS * SUMS) {
        for (int k = 0; k < SUMS; k++) {
            const uint64_t *line = x + i + LINE_WORDS * k;
            sums[k] = _mm512_add_epi64(sums[k], _mm512_loadu_si512(line));
            _mm_prefetch((const char *)line + 8 * AHEAD, _MM_HINT_T0);
        }
    }
    for (int k = 1; k < SUMS; k++) {
        sums[0] = _mm512_add_epi64(sums[0], sums[k]);
    }
    uint64_t total = (uint64_t)_mm512_reduce_add_epi64(sums[0]);
    for (; i < n; i++) {
        total += x[i];
    }
    return total;
}

uint32_t optk_peak_i8__avx512(const uint8_t *u, const int8_t *s, int64_t rounds) {
    __m512i sums[OPT_PEAK_DOTS];
    const __m512i a = _mm512_loadu_si512(u), b = _mm512_loadu_si512(s);
    for (int k = 0; k < OPT_PEAK_DOTS; k++) {
        sums[k] = _mm512_setzero_si512();
    }
    for (int64_t round = 0; round < rounds; round++) {
        for (int k = 0; k < OPT_PEAK_DOTS; k++) {
            sums[k] = _mm512_dpbusd_epi32(sums[k], a, b);
        }
    }
    for (int k = 1; k < OPT_PEAK_DOTS; k++) {
        sums[0] = _mm512_add_epi32(sums[0], sums[k]);
    }
    return (uint32_t)_mm512_reduce_add_epi32(sums[0]);
}
