/* A product that shows whether tile kernels compute what they should on this machine. */
#include <string.h>

#include "kern/kern.h"
#include "kern/rows.h"

enum { ROWS = 33, COLUMNS = 35, K = 96 };

/** bf16 of the small integer v: its float has no further bits. */
static uint32_t bf16_of(int v) {
    const float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits >> 16;
}

static void fill(int32_t *pairs, int64_t n, int seed) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t first = bf16_of((int)(i * 7 + seed) % 17 - 8);
        pairs[i] = (int32_t)(first | bf16_of((int)(i * 5 + seed) % 13 - 6) << 16);
    }
}

bool opt_kern_tiles_work(const opt_kern *k) {
    int32_t a[ROWS * K / 2], b[COLUMNS * K / 2];
    float y[ROWS * COLUMNS], expected[ROWS * COLUMNS];
    fill(a, ROWS * K / 2, 1);
    fill(b, COLUMNS * K / 2, 2);
    const opt_bf16 rows = {a, K / 2, 1}, columns = {b, K / 2, 1};
    k->gemm_bf16(&rows, &columns, y, COLUMNS, ROWS, COLUMNS, K);
    optk_gemm_bf16__ref(&rows, &columns, expected, COLUMNS, ROWS, COLUMNS, K);
    return memcmp(y, expected, sizeof y) == 0; /* sums of integers are exact in any order */
}
