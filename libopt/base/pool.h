/**
 * The thread pool of a context: fixed tiles, so that results never depend on the number of threads.
 */
#ifndef OPT_BASE_POOL_H
#define OPT_BASE_POOL_H

#include <stdint.h>

#include "base/ctx.h"

/** Work on one tile. `worker` is in [0, opt_ctx_n_threads): index of per-worker scratch. */
typedef opt_status (*opt_tile_fn)(void *user, int64_t tile, int worker);

/**
 * Runs fn for tiles 0 .. n_tiles-1 on all threads (the caller is worker 0) and waits. Tiles are
 * handed out in increasing order; after a failure no new tile starts, and the error of the lowest
 * failed tile is the one recorded and returned, whatever the number of threads. Cancellation is
 * checked between tiles. Nested calls run on the calling worker alone. Idle threads spin briefly,
 * then sleep.
 */
OPT_MUST_USE opt_status opt_parallel_for(opt_ctx *ctx, int64_t n_tiles, opt_tile_fn fn, void *user);

/**
 * Ends the threads; what follows runs on n_threads (1 .. 1024). Not inside of a parallel section,
 * and nothing that was made for the number before (scratch of workers, sessions) may be used again.
 */
void opt_pool_resize(opt_ctx *ctx, int n_threads);

#endif
