#include "kern/interleave.h"

#include <string.h>

enum { SCALE = 2, WORD = 4 };

bool opt_run_has(opt_kfmt kfmt) { return kfmt == OPT_KFMT_Q4_0 || kfmt == OPT_KFMT_Q8_0; }

void opt_run_put(const opt_kspec *s, const uint8_t *blocks, int row, int64_t n, uint8_t *run) {
    const size_t n_words = (s->block_bytes - SCALE) / WORD;
    const size_t r = (size_t)row;
    for (int64_t b = 0; b < n; b++) {
        memcpy(run + SCALE * r, blocks, SCALE);
        for (size_t i = 0; i < n_words; i++) {
            memcpy(run + SCALE * OPT_RUN_ROWS + WORD * (OPT_RUN_ROWS * i + r),
                   blocks + SCALE + WORD * i, WORD);
        }
        run += OPT_RUN_ROWS * s->block_bytes;
        blocks += s->block_bytes;
    }
}

void opt_run_take(const opt_kspec *s, const uint8_t *run, int row, int64_t first, int64_t n,
                  uint8_t *blocks) {
    const size_t n_words = (s->block_bytes - SCALE) / WORD;
    const size_t r = (size_t)row;
    run += (size_t)first * OPT_RUN_ROWS * s->block_bytes;
    for (int64_t b = 0; b < n; b++) {
        memcpy(blocks, run + SCALE * r, SCALE);
        for (size_t i = 0; i < n_words; i++) {
            memcpy(blocks + SCALE + WORD * i,
                   run + SCALE * OPT_RUN_ROWS + WORD * (OPT_RUN_ROWS * i + r), WORD);
        }
        run += OPT_RUN_ROWS * s->block_bytes;
        blocks += s->block_bytes;
    }
}
