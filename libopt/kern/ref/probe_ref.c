/* What the machine can do at best: the references of the probes. */
#include "kern/rows.h"

uint64_t optk_sum_words__ref(const uint64_t *x, int64_t n) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

uint32_t optk_peak_i8__ref(const uint8_t *u, const int8_t *s, int64_t rounds) {
    uint32_t total = 0;
    for (int64_t round = 0; round < rounds; round++) {
        for (int k = 0; k < OPT_PEAK_DOTS; k++) {
            for (int i = 0; i < 64; i++) {
                total += (uint32_t)(u[i] * s[i]);
            }
        }
    }
    return total;
}
