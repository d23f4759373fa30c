/*
 * Every parallel section goes through one word, `state`: bit OPEN says that workers may join, the
 * low bits count those that did. The caller closes the section when no tile is left and waits only
 * for workers that joined, so a worker that the system has not scheduled yet never delays it.
 * Section fields are written while the word is closed and zero.
 */
#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/ctx_impl.h"

#define STATE_OPEN 0x80000000u
#define STATE_WAITED 0x40000000u /* the caller sleeps until the count is zero */
#define STATE_COUNT 0x3fffffffu

enum {
    SPIN_US = 50, /* about the cost of a sleep and a wake-up */
    WORKER_STACK_BYTES = 4 << 20
};

typedef struct pool_worker {
    opt_pool *pool;
    pthread_t thread;
    int idx;
    int64_t failed_tile; /* -1: none */
    opt_status failed_status;
    opt_error error;
} pool_worker;

struct opt_pool {
    opt_ctx *ctx;
    int n_workers; /* entry 0 is the caller */
    int n_started; /* threads that exist, entries 1 .. n_started */
    int spin_us;

    /* section */
    opt_tile_fn fn;
    void *user;
    int64_t n_tiles;

    OPT_ALIGNED(64) _Atomic int64_t next_tile;
    OPT_ALIGNED(64) _Atomic uint32_t state;
    OPT_ALIGNED(64) _Atomic uint32_t epoch; /* changes when there is something to do */
    _Atomic uint32_t n_asleep;
    atomic_bool stop; /* of the section: a tile failed or the context was cancelled */
    atomic_bool quit; /* of the pool */

    OPT_ALIGNED(64) pool_worker workers[];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static int64_t now_ns(void) {
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/** Waits a bounded time until ((*word & mask) == value) is `wanted`; true when it came. */
static bool spin_until(_Atomic uint32_t *word, uint32_t mask, uint32_t value, bool wanted,
                       int spin_us) {
    const int64_t end = spin_us > 0 ? now_ns() + (int64_t)spin_us * 1000 : 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (((atomic_load_explicit(word, memory_order_acquire) & mask) == value) == wanted) {
                return true;
            }
            spin_pause();
        }
    } while (spin_us > 0 && now_ns() < end);
    return false;
}

/** Runs one tile with its error slot; records the failure in the worker. */
static opt_status run_tile(opt_pool *pool, pool_worker *w, int64_t tile) {
    opt_tile_frame frame = {.ctx = pool->ctx, .worker = w->idx, .tile = tile, .error = &w->error};
    opt_tile_push(&frame);
    opt_status st = opt_check_cancel(pool->ctx);
    if (st == OPT_OK) {
        st = pool->fn(pool->user, tile, w->idx);
    }
    if (st != OPT_OK && w->error.status == OPT_OK) {
        opt_ignore(opt_fail(pool->ctx, st, NULL, "work item %lld failed (%s)", (long long)tile,
                            opt_status_name(st)));
    }
    opt_tile_pop(&frame);
    return st;
}

/**
 * Takes tiles until none is left. Once taken, a tile is run: all tiles before a failed one are then
 * run as well, and the lowest failure is found whatever the timing.
 */
static void run_tiles(opt_pool *pool, pool_worker *w) {
    while (!atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
        const int64_t tile = atomic_fetch_add_explicit(&pool->next_tile, 1, memory_order_relaxed);
        if (tile >= pool->n_tiles) {
            return;
        }
        w->error.status = OPT_OK; /* an error that an earlier tile recovered from */
        const opt_status st = run_tile(pool, w, tile);
        if (st != OPT_OK) {
            w->failed_tile = tile;
            w->failed_status = st;
            atomic_store_explicit(&pool->stop, true, memory_order_relaxed);
        }
    }
}

static bool join_section(opt_pool *pool) {
    uint32_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    while ((state & STATE_OPEN) != 0) {
        if (atomic_compare_exchange_weak_explicit(&pool->state, &state, state + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static void leave_section(opt_pool *pool) {
    const uint32_t before = atomic_fetch_sub_explicit(&pool->state, 1, memory_order_release);
    if ((before & STATE_WAITED) != 0 && (before & STATE_COUNT) == 1) {
        futex_wake(&pool->state, 1);
    }
}

static void *worker_main(void *arg) {
    pool_worker *w = arg;
    opt_pool *pool = w->pool;
    uint32_t seen = 0; /* the first section may be open before this thread looks */
    for (;;) {
        if (!spin_until(&pool->epoch, UINT32_MAX, seen, false, pool->spin_us)) {
            /*
             * Either this count is visible to the caller, or the kernel sees the caller's new
             * epoch: no lost wake-up.
             */
            atomic_fetch_add(&pool->n_asleep, 1);
            while (atomic_load(&pool->epoch) == seen) {
                futex_wait(&pool->epoch, seen);
            }
            atomic_fetch_sub(&pool->n_asleep, 1);
        }
        seen = atomic_load(&pool->epoch);
        if (atomic_load(&pool->quit)) {
            return NULL;
        }
        if (join_section(pool)) {
            run_tiles(pool, w);
            leave_section(pool);
        }
    }
}

/** Starts the workers. Signals stay with the caller's thread. */
static void start_threads(opt_pool *pool) {
    sigset_t all;
    sigset_t old;
    pthread_attr_t attr;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    for (int i = 1; i < pool->n_workers; i++) {
        const int err =
            pthread_create(&pool->workers[i].thread, &attr, worker_main, &pool->workers[i]);
        if (err != 0) { /* the result does not depend on the number of threads */
            opt_warn(pool->ctx, NULL, "only %d of %d threads could be started", i, pool->n_workers);
            break;
        }
        pool->n_started = i;
    }
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static opt_pool *pool_new(opt_ctx *ctx) {
    const size_t n = (size_t)ctx->n_threads;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(opt_pool) + n * sizeof(pool_worker)) != 0) {
        return NULL;
    }
    opt_pool *pool = memory;
    pool->ctx = ctx;
    pool->n_workers = ctx->n_threads;
    pool->n_started = 0;
    /*
     * More threads than processors: spinning would only take time from the thread that is waited
     * for.
     */
    pool->spin_us = ctx->n_threads <= opt_cpu_count() ? SPIN_US : 0;
    atomic_init(&pool->next_tile, 0);
    atomic_init(&pool->state, 0);
    atomic_init(&pool->epoch, 0);
    atomic_init(&pool->n_asleep, 0);
    atomic_init(&pool->stop, false);
    atomic_init(&pool->quit, false);
    for (int i = 0; i < ctx->n_threads; i++) {
        pool->workers[i] = (pool_worker){.pool = pool, .idx = i, .failed_tile = -1};
    }
    return pool;
}

void opt_pool_free(opt_pool *pool) {
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->quit, true);
    atomic_fetch_add(&pool->epoch, 1);
    futex_wake(&pool->epoch, INT_MAX);
    for (int i = 1; i <= pool->n_started; i++) {
        (void)pthread_join(pool->workers[i].thread, NULL);
    }
    free(pool);
}

void opt_pool_resize(opt_ctx *ctx, int n_threads) {
    opt_pool_free(ctx->pool);
    ctx->pool = NULL; /* the next section makes another */
    ctx->n_threads = n_threads;
}

/** Lets the workers in, wakes as many sleepers as there are tiles for. */
static void open_section(opt_pool *pool) {
    atomic_store_explicit(&pool->state, STATE_OPEN, memory_order_release);
    atomic_fetch_add(&pool->epoch, 1);
    const uint32_t asleep = atomic_load(&pool->n_asleep);
    if (asleep > 0) {
        const int64_t useful = pool->n_tiles - 1;
        futex_wake(&pool->epoch, useful < asleep ? (int)useful : (int)asleep);
    }
}

/** Lets nobody in any more and waits for those that are. */
static void close_section(opt_pool *pool) {
    (void)atomic_fetch_and_explicit(&pool->state, ~STATE_OPEN, memory_order_relaxed);
    if (spin_until(&pool->state, STATE_COUNT, 0, true, pool->spin_us)) {
        return;
    }
    uint32_t state =
        atomic_fetch_or_explicit(&pool->state, STATE_WAITED, memory_order_acquire) | STATE_WAITED;
    while ((state & STATE_COUNT) != 0) {
        futex_wait(&pool->state, state);
        state = atomic_load_explicit(&pool->state, memory_order_acquire);
    }
}

/**
 * Inside a tile of the same context: all tiles on this worker, in order. The outer tile's error
 * slot serves.
 */
static opt_status run_nested(opt_ctx *ctx, int worker, int64_t n_tiles, opt_tile_fn fn,
                             void *user) {
    for (int64_t tile = 0; tile < n_tiles; tile++) {
        opt_status st = opt_check_cancel(ctx);
        if (st == OPT_OK) {
            st = fn(user, tile, worker);
        }
        if (st != OPT_OK) {
            return st;
        }
    }
    return OPT_OK;
}

/** The failure of the lowest tile becomes the context's error. */
static opt_status collect_errors(opt_pool *pool) {
    const pool_worker *lowest = NULL;
    for (int i = 0; i <= pool->n_started; i++) {
        const pool_worker *w = &pool->workers[i];
        if (w->failed_tile >= 0 && (lowest == NULL || w->failed_tile < lowest->failed_tile)) {
            lowest = w;
        }
    }
    if (lowest == NULL) {
        return OPT_OK;
    }
    opt_error_promote(pool->ctx, &lowest->error);
    return lowest->failed_status;
}

static opt_status run_section(opt_ctx *ctx, int64_t n_tiles, opt_tile_fn fn, void *user) {
    if (ctx->pool == NULL) {
        ctx->pool = pool_new(ctx);
        if (ctx->pool == NULL) {
            return opt_fail(ctx, OPT_ERR_MEMORY, NULL,
                            "out of memory: no room for the thread pool");
        }
    }
    opt_pool *pool = ctx->pool;
    const bool threaded = pool->n_workers > 1 && n_tiles > 1;
    if (threaded && pool->n_started == 0) {
        start_threads(pool);
    }
    const int first_warning = ctx->n_warnings;
    pool->fn = fn;
    pool->user = user;
    pool->n_tiles = n_tiles;
    for (int i = 0; i <= pool->n_started; i++) {
        pool->workers[i].failed_tile = -1;
        pool->workers[i].error.status = OPT_OK;
    }
    atomic_store_explicit(&pool->next_tile, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->stop, false, memory_order_relaxed);
    if (threaded && pool->n_started > 0) {
        open_section(pool);
        run_tiles(pool, &pool->workers[0]);
        close_section(pool);
        if (ctx->n_warnings - first_warning > 1) {
            opt_warnings_sort(ctx, first_warning);
        }
    } else {
        run_tiles(pool, &pool->workers[0]);
    }
    return collect_errors(pool);
}

opt_status opt_parallel_for(opt_ctx *ctx, int64_t n_tiles, opt_tile_fn fn, void *user) {
    const opt_tile_frame *frame = opt_tile_current(ctx);
    if (frame != NULL) {
        return run_nested(ctx, frame->worker, n_tiles, fn, user);
    }
    if (n_tiles <= 0) {
        return opt_check_cancel(ctx);
    }
    pthread_mutex_lock(&ctx->pool_lock); /* two threads of a program with one context take turns */
    const opt_status st = run_section(ctx, n_tiles, fn, user);
    pthread_mutex_unlock(&ctx->pool_lock);
    return st;
}
