/**
 * Rows that lie 16 together, for kernels that compute 16 rows at a time: a run of 16 rows holds,
 * block by block, the scales of that block and then its codes. Each field of the block is cut into
 * units, of 4 bytes for codes and packed scales, of 2 for half-precision numbers, of 1 for scales
 * that are bytes; unit i of row 0, of row 1, ... of row 15 lie side by side. The bytes are those
 * of the 16 rows in another order, so a run is as long as 16 rows and begins where the first of
 * them would. FORMAT.md lists the fields of every format in their order.
 */
#ifndef OPT_KERN_INTERLEAVE_H
#define OPT_KERN_INTERLEAVE_H

#include "kern/kern.h"

#define OPT_RUN_ROWS 16
#define OPT_RUN_BLOCK_BYTES 256 /* no block that lies so is longer */

/** Whether blocks of a kind can lie so, and kernels exist. */
bool opt_run_has(opt_kfmt kfmt);
/** Puts one row of n blocks at its place in a run: row 0 .. 15. */
void opt_run_put(const opt_kspec *s, const uint8_t *blocks, int row, int64_t n, uint8_t *run);
/** Takes blocks [first, first + n) of one row from a run. */
void opt_run_take(const opt_kspec *s, const uint8_t *run, int row, int64_t first, int64_t n,
                  uint8_t *blocks);

#endif
