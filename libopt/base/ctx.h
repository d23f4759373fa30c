/**
 * Inside view of the context: recording errors and warnings, progress, cancellation, attachments.
 */
#ifndef OPT_BASE_CTX_H
#define OPT_BASE_CTX_H

#include <stddef.h>

#include "opt/ctx.h"

#include "base/attr.h"
#include "base/cpu.h"

/** Goes to `done` with the status of `expr` in the local `st` unless it is OPT_OK. */
#define OPT_TRY(expr)                                                                              \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (OPT_UNLIKELY(st != OPT_OK)) {                                                          \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/**
 * Unless `cond` holds, records an error (see opt_fail) and goes to `done` with its status in `st`.
 */
#define OPT_REQUIRE(cond, ctx, status, object, ...)                                                \
    do {                                                                                           \
        if (OPT_UNLIKELY(!(cond))) {                                                               \
            st = opt_fail((ctx), (status), (object), __VA_ARGS__);                                 \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/**
 * Goes to `done` with MEMORY if `pointer` is NULL (the allocator has recorded the error already).
 */
#define OPT_TRY_PTR(pointer)                                                                       \
    do {                                                                                           \
        if (OPT_UNLIKELY((pointer) == NULL)) {                                                     \
            st = OPT_ERR_MEMORY;                                                                   \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

/**
 * Records an error: `object` names the file, tensor, key or option concerned (may be NULL), the
 * message says what was found and what was expected. The first error wins; inside opt_parallel_for
 * the one of the lowest tile. Thread-safe. Returns `status`.
 */
OPT_MUST_USE OPT_PRINTF(4, 5) opt_status
    opt_fail(opt_ctx *ctx, opt_status status, const char *object, const char *fmt, ...);

/**
 * Like opt_fail for a failed system call: appends strerror(`errno_value`). ENOMEM becomes MEMORY,
 * all else IO.
 */
OPT_MUST_USE OPT_PRINTF(4, 5) opt_status
    opt_fail_errno(opt_ctx *ctx, int errno_value, const char *object, const char *fmt, ...);

/** Drops a status on purpose: for functions that report a recorded failure by NULL or false. */
static inline void opt_ignore(opt_status status) { (void)status; }

#ifdef __clang_analyzer__
/* The analyzer does not see into another file that a failure is never OPT_OK. */
static inline opt_status opt_never_ok(opt_status status) {
    return status == OPT_OK ? OPT_ERR_BUG : status;
}
#define opt_fail(ctx, status, ...)                                                                 \
    (opt_ignore(opt_fail(ctx, status, __VA_ARGS__)), opt_never_ok(status))
#define opt_fail_errno(ctx, errno_value, ...)                                                      \
    (opt_ignore(opt_fail_errno(ctx, errno_value, __VA_ARGS__)),                                    \
     opt_never_ok((errno_value) == 12 ? OPT_ERR_MEMORY : OPT_ERR_IO))
#endif

/** Records a warning for the report and passes it to the log callback. Thread-safe. */
OPT_PRINTF(3, 4) void opt_warn(opt_ctx *ctx, const char *object, const char *fmt, ...);

/** Passes a line to the log callback. */
OPT_PRINTF(3, 4) void opt_log(opt_ctx *ctx, opt_log_level level, const char *fmt, ...);

/**
 * Reports progress of a step; cheap (at most a few calls a second reach the callback). Call from
 * one thread.
 */
void opt_progress(opt_ctx *ctx, const char *step, double done, double total);

/**
 * OPT_OK, or records and returns INTERRUPTED / TERMINATED when opt_ctx_cancel was called. Call
 * between tiles.
 */
OPT_MUST_USE opt_status opt_check_cancel(opt_ctx *ctx);

/** Kernel-relevant facts and settings. */
opt_isa opt_ctx_isa_level(const opt_ctx *ctx);
const opt_cpu *opt_ctx_cpu(const opt_ctx *ctx); /* borrowed; lives as long as the context */
uint64_t opt_ctx_seed(const opt_ctx *ctx);
uint64_t opt_ctx_max_memory(const opt_ctx *ctx);

/**
 * An object of a higher layer that lives as long as the context (the kernel table, for example).
 * `key` is the address of a const object of the owner. opt_ctx_attach frees `value` with `free_fn`
 * when another thread was first, and returns the value that is kept; NULL (value freed, MEMORY
 * recorded) when out of memory. opt_ctx_free frees attached objects newest first, while the context
 * is still usable for opt_free.
 */
void *opt_ctx_attached(opt_ctx *ctx, const void *key);
void *opt_ctx_attach(opt_ctx *ctx, const void *key, void *value, void (*free_fn)(void *value));

#endif
