#include "flow/probe.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/pool.h"
#include "flow/runner.h"
#include "kern/kern.h"

#define READ_SECONDS 0.3 /* after which no further read begins, but for the second */

enum { READS = 6, PEAKS = 3, PEAK_TILES = 4, OPS_OF_DOT = 128, PIECE = 4 << 20 };

typedef struct probe {
    const opt_kern *kern;
    uint64_t *words;
    int64_t n_words, per_tile; /* of a thread */
    int64_t rounds;
    uint64_t *sums; /* of each tile: so that nothing is left out */
} probe;

static opt_status fill_tile(void *user, int64_t tile, int worker) {
    const probe *p = user;
    (void)worker;
    const int64_t begin = tile * p->per_tile;
    const int64_t n = opt_min_i64(p->per_tile, p->n_words - begin);
    memset(p->words + begin, 1, (size_t)n * sizeof *p->words);
    return OPT_OK;
}

static opt_status read_tile(void *user, int64_t tile, int worker) {
    const probe *p = user;
    (void)worker;
    const int64_t begin = tile * p->per_tile;
    const int64_t n = opt_min_i64(p->per_tile, p->n_words - begin);
    p->sums[tile] += p->kern->sum_words(p->words + begin, n);
    return OPT_OK;
}

static opt_status peak_tile(void *user, int64_t tile, int worker) {
    const probe *p = user;
    (void)worker;
    uint8_t u[64];
    int8_t s[64];
    memset(u, 1 + (int)tile, sizeof u);
    memset(s, 1, sizeof s);
    p->sums[tile] += p->kern->peak_i8(u, s, p->rounds);
    return OPT_OK;
}

/** GB/s of reading the buffer. */
static opt_status measure_read(opt_ctx *ctx, probe *p, int64_t n_tiles, double *best) {
    opt_status st = OPT_OK;
    const double first = opt_seconds();
    for (int i = 0; i < READS && (i < 2 || opt_seconds() - first < READ_SECONDS); i++) {
        const double start = opt_seconds();
        OPT_TRY(opt_parallel_for(ctx, n_tiles, read_tile, p));
        const double speed = 8e-9 * (double)p->n_words / (opt_seconds() - start);
        *best = speed > *best ? speed : *best;
    }
done:
    return st;
}

/** Gop/s of int8 arithmetic; a multiply-add is two. */
static opt_status measure_peak(opt_ctx *ctx, probe *p, int64_t n_tiles, double *best) {
    opt_status st = OPT_OK;
    double seconds = 0;
    for (p->rounds = 1 << 10; seconds < 0.02; p->rounds *= 4) {
        const double start = opt_seconds();
        OPT_TRY(opt_parallel_for(ctx, n_tiles, peak_tile, p));
        seconds = opt_seconds() - start;
    }
    for (int i = 0; i < PEAKS; i++) {
        const double start = opt_seconds();
        OPT_TRY(opt_parallel_for(ctx, n_tiles, peak_tile, p));
        const double speed = 1e-9 * (double)n_tiles * (double)p->rounds * OPT_PEAK_DOTS *
                             OPS_OF_DOT / (opt_seconds() - start);
        *best = speed > *best ? speed : *best;
    }
done:
    return st;
}

opt_status opt_probe(opt_ctx *ctx, opt_probe_result *out) {
    opt_status st = OPT_OK;
    const uint64_t limit = opt_ctx_max_memory(ctx);
    const uint64_t bytes =
        limit > 0 && limit / 2 < OPT_PROBE_BYTES ? limit / 2 / PIECE * PIECE : OPT_PROBE_BYTES;
    const int64_t n_threads = opt_ctx_n_threads(ctx);
    probe p = {.kern = opt_kern_get(ctx), .n_words = (int64_t)(bytes / sizeof(uint64_t))};
    *out = (opt_probe_result){.bytes = bytes};
    OPT_TRY_PTR(p.kern);
    OPT_REQUIRE(p.n_words > 0, ctx, OPT_ERR_MEMORY, "--max-memory",
                "is too small for measuring the bandwidth: 8 MiB at least");
    p.per_tile = opt_ceil_div(p.n_words, n_threads);
    p.sums = opt_alloc_zero(ctx, (size_t)n_threads * PEAK_TILES * sizeof *p.sums);
    OPT_TRY_PTR(p.sums);
    p.words = opt_alloc(ctx, (size_t)bytes);
    OPT_TRY_PTR(p.words);
    const int64_t n_tiles = opt_ceil_div(p.n_words, p.per_tile);
    OPT_TRY(opt_parallel_for(ctx, n_tiles, fill_tile, &p));
    OPT_TRY(measure_read(ctx, &p, n_tiles, &out->bandwidth));
    OPT_TRY(measure_peak(ctx, &p, n_threads * PEAK_TILES, &out->peak_i8));
done:
    opt_free(ctx, p.words);
    opt_free(ctx, p.sums);
    return st;
}
