/**
 * Rows that lie 16 together, for kernels that compute 16 rows at a time: a run of 16 rows holds,
 * block by block, the 16 scales (half precision) of that block and then its codes, word by word of
 * 4 bytes: word i of row 0, of row 1, ... of row 15. The bytes are those of the 16 rows in another
 * order, so a run is as long as 16 rows and begins where the first of them would.
 */
#ifndef OPT_KERN_INTERLEAVE_H
#define OPT_KERN_INTERLEAVE_H

#include "kern/kern.h"

#define OPT_RUN_ROWS 16

/** Whether blocks of a kind can lie so: a scale, then whole words of codes; and kernels exist. */
bool opt_run_has(opt_kfmt kfmt);
/** Puts one row of n blocks at its place in a run: row 0 .. 15. */
void opt_run_put(const opt_kspec *s, const uint8_t *blocks, int row, int64_t n, uint8_t *run);
/** Takes blocks [first, first + n) of one row from a run. */
void opt_run_take(const opt_kspec *s, const uint8_t *run, int row, int64_t first, int64_t n,
                  uint8_t *blocks);

#endif
