/** The context's fields. Included by the sources of base only. */
#ifndef OPT_BASE_CTX_IMPL_H
#define OPT_BASE_CTX_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/ctx.h"

enum {
    OPT_ERROR_OBJECT_BYTES = 512,
    OPT_ERROR_MESSAGE_BYTES = 1024,
    OPT_MAX_THREADS = 1024,
    OPT_MAX_WARNINGS =
        1000 /**< more are counted, not kept: a damaged file must not fill the memory */
};

/** One recorded error, in fixed storage so that "out of memory" can be recorded too. */
typedef struct opt_error {
    opt_status status;
    char object[OPT_ERROR_OBJECT_BYTES];
    char message[OPT_ERROR_MESSAGE_BYTES];
} opt_error;

/** A recorded warning; `tile` orders the warnings of one parallel section (-1 outside). */
typedef struct opt_warning {
    int64_t tile;
    char *text; /**< "object: message", malloc */
} opt_warning;

/** An object of a higher layer (opt_ctx_attach). */
typedef struct opt_attachment {
    const void *key;
    void *value;
    void (*free_fn)(void *value);
    struct opt_attachment *next;
} opt_attachment;

/**
 * The tile that the calling thread is working on. Frames of nested contexts form a list; its head
 * is thread-local, which is how opt_fail finds the slot of the tile without every function carrying
 * a worker parameter.
 */
typedef struct opt_tile_frame {
    opt_ctx *ctx;
    int worker;
    int64_t tile;
    opt_error *error; /**< first error of this tile */
    struct opt_tile_frame *outer;
} opt_tile_frame;

typedef struct opt_pool opt_pool;

struct opt_ctx {
    opt_ctx_options options;
    opt_cpu cpu;
    int n_threads;

    pthread_mutex_t error_lock; /**< error, warnings */
    opt_error error;
    opt_warning *warnings; /**< [n_warnings], capacity warnings_cap, malloc */
    int n_warnings;
    int warnings_cap;
    int n_warnings_dropped;

    pthread_mutex_t log_lock; /**< one log or progress callback at a time */
    const char *progress_step;
    struct timespec progress_time;

    atomic_int cancel_signal;

    pthread_mutex_t attach_lock;
    opt_attachment *attachments;

    pthread_mutex_t pool_lock; /**< held by the thread whose parallel section runs */
    opt_pool *pool;            /**< made at the first parallel section that needs it */

    _Atomic uint64_t mem_bytes; /**< counted bytes now */
    _Atomic uint64_t mem_peak;

    /* Fault injection (environment, read once): the n-th step fails; 0 = never. */
    uint64_t fault_alloc;
    uint64_t fault_write;
    uint64_t fault_kill;
    _Atomic uint64_t n_allocs;
    _Atomic uint64_t n_writes;
};

/** Innermost frame of `ctx` on the calling thread, or NULL outside of its tiles. */
opt_tile_frame *opt_tile_current(const opt_ctx *ctx);
/** Enters and leaves a tile on the calling thread. */
void opt_tile_push(opt_tile_frame *frame);
void opt_tile_pop(const opt_tile_frame *frame);

/** Makes a tile's error the context's, unless it has one already. */
void opt_error_promote(opt_ctx *ctx, const opt_error *error);
/**
 * Puts the warnings from index `first` on into tile order, so that reports do not depend on
 * threads.
 */
void opt_warnings_sort(opt_ctx *ctx, int first);

/** Stops and joins the workers. NULL is allowed. */
void opt_pool_free(opt_pool *pool);

/**
 * Counts one write step (open for writing, write, fsync, rename, ...). Returns 0, or the errno that
 * the step has to fail with. Does not return when OPT_FAULT_KILL names this step.
 */
int opt_fault_write(opt_ctx *ctx);

#endif
