/* What the machine can do at best, with AVX2; the reference is in ref/probe_ref.c, bound 0. */
#include <immintrin.h>

#include "kern/rows.h"

enum { SUMS = 8, LINE_WORDS = 8, AHEAD = 512 /* words prefetched */ };

uint64_t optk_sum_words__avx2(const uint64_t *x, int64_t n) {
    __m256i sums[SUMS];
    int64_t i = 0;
    uint64_t lanes[4], total = 0;
    for (int k = 0; k < SUMS; k++) {
        sums[k] = _mm256_setzero_si256();
    }
    for (; i + 4 * SUMS <= n; i += 4 * SUMS) {
        for (int k = 0; k < SUMS; k++) {
            sums[k] = _mm256_add_epi64(
                sums[k], _mm256_loadu_si256((const __m256i *)(const void *)(x + i + 4 * k)));
        }
        for (int k = 0; k < 4 * SUMS; k += LINE_WORDS) {
            _mm_prefetch((const char *)(x + i + k) + 8 * AHEAD, _MM_HINT_T0);
        }
    }
    for (int k = 1; k < SUMS; k++) {
        sums[0] = _mm256_add_epi64(sums[0], sums[k]);
    }
    _mm256_storeu_si256((__m256i *)(void *)lanes, sums[0]);
    for (int k = 0; k < 4; k++) {
        total += lanes[k];
    }
    for (; i < n; i++) {
        total += x[i];
    }
    return total;
}

/* Products of bytes are added in pairs of 16 bits, which saturate: the caller's are small. */
uint32_t optk_peak_i8__avx2(const uint8_t *u, const int8_t *s, int64_t rounds) {
    __m256i a[2], b[2], sums[SUMS];
    const __m256i ones = _mm256_set1_epi16(1);
    uint32_t lanes[8], total = 0;
    for (int h = 0; h < 2; h++) {
        a[h] = _mm256_loadu_si256((const __m256i *)(const void *)(u + 32 * h));
        b[h] = _mm256_loadu_si256((const __m256i *)(const void *)(s + 32 * h));
    }
    for (int k = 0; k < SUMS; k++) {
        sums[k] = _mm256_setzero_si256();
    }
    for (int64_t round = 0; round < rounds; round++) {
        for (int k = 0; k < 2 * OPT_PEAK_DOTS; k++) {
            __m256i w = b[k % 2];
            __asm__ volatile("" : "+x"(w)); /* not the same product as before, for the compiler */
            const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(a[k % 2], w), ones);
            sums[k % SUMS] = _mm256_add_epi32(sums[k % SUMS], pairs);
        }
    }
    for (int k = 1; k < SUMS; k++) {
        sums[0] = _mm256_add_epi32(sums[0], sums[k]);
    }
    _mm256_storeu_si256((__m256i *)(void *)lanes, sums[0]);
    for (int k = 0; k < 8; k++) {
        total += lanes[k];
    }
    return total;
}
