/* Products that show whether tile kernels compute what they should on this machine. */
#include <string.h>

#include "base/num.h"
#include "kern/kern.h"
#include "kern/rows.h"

enum {
    ROWS = 33,
    COLUMNS = 35,
    K = 96,
    TOKENS = 17,
    ROW = 256,         /* elements of a stored row */
    MAX_BYTES = 8 * 34 /* of a stored row */
};

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

static bool bf16_works(const opt_kern *k) {
    int32_t a[ROWS * K / 2], b[COLUMNS * K / 2];
    float y[ROWS * COLUMNS], expected[ROWS * COLUMNS];
    fill(a, ROWS * K / 2, 1);
    fill(b, COLUMNS * K / 2, 2);
    const opt_bf16 rows = {a, K / 2, 1}, columns = {b, K / 2, 1};
    k->gemm_bf16(&rows, &columns, y, COLUMNS, ROWS, COLUMNS, K);
    optk_gemm_bf16__ref(&rows, &columns, expected, COLUMNS, ROWS, COLUMNS, K);
    return memcmp(y, expected, sizeof y) == 0; /* sums of integers are exact in any order */
}

/* Stored rows of a format that tiles multiply in a way of its own. */
typedef struct stored {
    opt_kfmt kfmt;
    int group, block_bytes, d, m; /* m: a second scale's place, or that of d */
    opt_kern_linear_i8_fn *expected;
} stored;

static bool i8_works(const opt_kern *k, const stored *f, const opt_act_i8 *x) {
    const opt_kspec spec = {
        .kfmt = f->kfmt, .group = f->group, .block_bytes = (size_t)f->block_bytes};
    const int row_bytes = ROW / f->group * f->block_bytes;
    uint8_t w[ROWS * MAX_BYTES];
    float y[TOKENS * ROWS], expected[TOKENS * ROWS];
    for (int i = 0; i < ROWS * row_bytes; i++) {
        w[i] = (uint8_t)(i * 2971 % 251 + i / 199);
    }
    for (int b = 0; b < ROWS * row_bytes; b += f->block_bytes) {
        memcpy(w + b + f->d, (const uint8_t[2]){(uint8_t)(b % 97), 0x2c}, 2); /* 1/16 in half */
        memcpy(w + b + f->m, (const uint8_t[2]){(uint8_t)(b % 89), 0x2e}, 2);
    }
    k->linear_i8[f->kfmt](&spec, w, (size_t)row_bytes, x, y, ROWS, ROWS, TOKENS, ROW);
    f->expected(&spec, w, (size_t)row_bytes, x, expected, ROWS, ROWS, TOKENS, ROW);
    return memcmp(y, expected, sizeof y) == 0;
}

/* Signed and unsigned codes, units of 32 and of 16. */
static bool linear_works(const opt_kern *k) {
    static const stored formats[] = {
        {OPT_KFMT_Q8_0, 32, 34, 0, 0, optk_linear_i8_q8_0__ref},
        {OPT_KFMT_Q4_1, 32, 20, 0, 2, optk_linear_i8_q4_1__ref},
        {OPT_KFMT_Q6_K, 256, 210, 208, 208, optk_linear_i8_q6_k__ref},
    };
    float values[ROW], scale[TOKENS * ROW / 32], scaled_sum[TOKENS * ROW / 32];
    int8_t q[TOKENS * ROW];
    int16_t sum4[TOKENS * ROW / 4];
    for (int t = 0; t < TOKENS; t++) {
        for (int i = 0; i < ROW; i++) {
            values[i] = (float)((t * ROW + i) * 7919 % 2003 - 1000);
        }
        optk_quantize_act__ref(values, ROW, ROW, q + (ptrdiff_t)t * ROW,
                               scale + (ptrdiff_t)t * (ROW / 32), sum4 + (ptrdiff_t)t * (ROW / 4),
                               scaled_sum + (ptrdiff_t)t * (ROW / 32));
    }
    const opt_act_i8 x = {
        .q = q, .scale = scale, .sum4 = sum4, .scaled_sum = scaled_sum, .n_padded = ROW};
    bool works = true;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        works = works && i8_works(k, &formats[i], &x);
    }
    return works;
}

bool opt_kern_tiles_work(const opt_kern *k) { return bf16_works(k) && linear_works(k); }
