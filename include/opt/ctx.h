/** The context: one per job. Holds the first error, callbacks, the thread pool, seed and limits. */
#ifndef OPT_CTX_H
#define OPT_CTX_H

#include <stdbool.h>
#include <stdint.h>

#include "opt/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct opt_ctx opt_ctx;

typedef enum opt_log_level {
    OPT_LOG_WARNING = 0, /**< something the user should know; kept for the report */
    OPT_LOG_INFO = 1,    /**< one line per step */
    OPT_LOG_DEBUG = 2
} opt_log_level;

/** Receives log lines (no newline at the end). Called from one thread at a time. */
typedef void (*opt_log_fn)(void *user, opt_log_level level, const char *message);

/**
 * Receives progress of the named step, `done` of `total` (unit: bytes, windows, ...). One thread at
 * a time.
 */
typedef void (*opt_progress_fn)(void *user, const char *step, double done, double total);

/** Settings of a context; zero-initialise, then set what differs from the defaults. */
typedef struct opt_ctx_options {
    int n_threads;       /**< 0: as many as the affinity mask and the cgroup quota allow */
    uint64_t max_memory; /**< bytes of anonymous memory that the library may hold; 0: no limit */
    uint64_t seed;
    opt_log_fn log;
    void *log_user;
    opt_progress_fn progress;
    void *progress_user;
} opt_ctx_options;

/** Makes a context. `options` may be NULL. Errors: MEMORY; USAGE for an unknown OPT_ISA. */
OPT_MUST_USE opt_status opt_ctx_new(const opt_ctx_options *options, opt_ctx **out);

/** Stops the threads and frees everything that the context owns. NULL is allowed. */
void opt_ctx_free(opt_ctx *ctx);

/**
 * The first error of the context (OPT_OK if none), what it concerns, and its message ("" if none).
 */
opt_status opt_ctx_status(const opt_ctx *ctx);
const char *opt_ctx_error_object(const opt_ctx *ctx);
const char *opt_ctx_error_message(const opt_ctx *ctx);

/** Forgets the recorded error, so that the context can be used for the next job. */
void opt_ctx_clear_error(opt_ctx *ctx);

/** Warnings recorded so far; valid until the context is freed or used again. */
int opt_ctx_n_warnings(const opt_ctx *ctx);
const char *opt_ctx_warning(const opt_ctx *ctx, int i);

/**
 * Asks running work to stop with INTERRUPTED (signal 2) or TERMINATED (signal 15).
 * Async-signal-safe.
 */
void opt_ctx_cancel(opt_ctx *ctx, int signal_number);

/** OPT_OK, or INTERRUPTED or TERMINATED (recorded) when opt_ctx_cancel was called: for a program
 * that waits for input of its own. */
OPT_MUST_USE opt_status opt_ctx_check(opt_ctx *ctx);

/** Number of worker threads. */
int opt_ctx_n_threads(const opt_ctx *ctx);

/**
 * The highest level that the machine and OPT_ISA allow ("ref", "avx2", "avx512", "amx"), and all
 * that was found ("avx2 avx512 avx_vnni", "" for ref). What the kernels use of it:
 * opt_instruction_set.
 */
const char *opt_ctx_isa(const opt_ctx *ctx);
const char *opt_ctx_features(const opt_ctx *ctx);

/** Highest number of bytes of anonymous memory that the library held at once. */
uint64_t opt_ctx_peak_memory(const opt_ctx *ctx);
/** What it holds now. */
uint64_t opt_ctx_memory(const opt_ctx *ctx);

/** Version of the library, such as "0.1.0". */
const char *opt_version(void);

#ifdef __cplusplus
}
#endif
#endif
