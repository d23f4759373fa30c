/* Errors, warnings, log and progress of a context. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx_impl.h"
#include "base/utf8.h"

/*
 * The one non-constant variable of the library: opt_fail must find the tile of its thread (see
 * opt_tile_frame).
 */
static _Thread_local opt_tile_frame *tile_head = NULL;

opt_tile_frame *opt_tile_current(const opt_ctx *ctx) {
    opt_tile_frame *frame = tile_head;
    while (frame != NULL && frame->ctx != ctx) {
        frame = frame->outer;
    }
    return frame;
}

void opt_tile_push(opt_tile_frame *frame) {
    frame->outer = tile_head;
    tile_head = frame;
}

void opt_tile_pop(const opt_tile_frame *frame) { tile_head = frame->outer; }

/**
 * Copies text that may be foreign (names, paths) into out[cap], escaped; cut with "..." where it
 * does not fit.
 */
static void copy_printable(char *out, size_t cap, const char *text) {
    static const char ellipsis[] = "...";
    const size_t n = strlen(text);
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        char piece[OPT_PRINTABLE_MAX];
        size_t n_piece = 0;
        const size_t step = opt_printable_char(text + i, n - i, piece, &n_piece);
        const size_t reserve = i + step < n ? sizeof ellipsis : 1;
        if (used + n_piece + reserve > cap) {
            memcpy(out + used, ellipsis, sizeof ellipsis);
            return;
        }
        memcpy(out + used, piece, n_piece);
        used += n_piece;
        i += step;
    }
    out[used] = '\0';
}

static void error_fill(opt_error *error, opt_status status, const char *object,
                       const char *message) {
    error->status = status;
    copy_printable(error->object, sizeof error->object, object == NULL ? "" : object);
    copy_printable(error->message, sizeof error->message, message);
}

static opt_status record(opt_ctx *ctx, opt_status status, const char *object, const char *message) {
    const opt_status recorded = status == OPT_OK ? OPT_ERR_BUG : status;
    if (ctx == NULL) {
        return recorded;
    }
    opt_tile_frame *frame = opt_tile_current(ctx);
    if (frame != NULL) { /* the slot belongs to this thread alone */
        if (frame->error->status == OPT_OK) {
            error_fill(frame->error, recorded, object, message);
        }
        return recorded;
    }
    pthread_mutex_lock(&ctx->error_lock);
    if (ctx->error.status == OPT_OK) {
        error_fill(&ctx->error, recorded, object, message);
    }
    pthread_mutex_unlock(&ctx->error_lock);
    return recorded;
}

opt_status(opt_fail)(opt_ctx *ctx, opt_status status, const char *object, const char *fmt, ...) {
    char message[OPT_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return record(ctx, status, object, message);
}

opt_status(opt_fail_errno)(opt_ctx *ctx, int errno_value, const char *object, const char *fmt,
                           ...) {
    char message[OPT_ERROR_MESSAGE_BYTES];
    char reason_storage[128];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    const char *reason =
        strerror_r(errno_value, reason_storage, sizeof reason_storage); /* GNU variant */
    if (n >= 0 && (size_t)n < sizeof message) {
        (void)snprintf(message + n, sizeof message - (size_t)n, "%s%s", n > 0 ? ": " : "", reason);
    }
    return record(ctx, errno_value == ENOMEM ? OPT_ERR_MEMORY : OPT_ERR_IO, object, message);
}

void opt_error_promote(opt_ctx *ctx, const opt_error *error) {
    pthread_mutex_lock(&ctx->error_lock);
    if (ctx->error.status == OPT_OK) {
        ctx->error = *error;
    }
    pthread_mutex_unlock(&ctx->error_lock);
}

/** The error that the calling thread sees: its tile's, or the context's. */
static opt_error *visible_error(const opt_ctx *ctx) {
    const opt_tile_frame *frame = opt_tile_current(ctx);
    return frame != NULL ? frame->error : (opt_error *)&ctx->error;
}

opt_status opt_ctx_status(const opt_ctx *ctx) { return visible_error(ctx)->status; }

const char *opt_ctx_error_object(const opt_ctx *ctx) { return visible_error(ctx)->object; }

const char *opt_ctx_error_message(const opt_ctx *ctx) { return visible_error(ctx)->message; }

void opt_ctx_clear_error(opt_ctx *ctx) {
    opt_error *error = visible_error(ctx);
    /* A cancellation that was reported is over; one that was not reported yet must not get lost. */
    if (error->status == OPT_ERR_INTERRUPTED || error->status == OPT_ERR_TERMINATED) {
        atomic_store(&ctx->cancel_signal, 0);
    }
    error->status = OPT_OK;
    error->object[0] = '\0';
    error->message[0] = '\0';
}

static void emit(opt_ctx *ctx, opt_log_level level, const char *text) {
    if (ctx->options.log == NULL) {
        return;
    }
    pthread_mutex_lock(&ctx->log_lock);
    ctx->options.log(ctx->options.log_user, level, text);
    pthread_mutex_unlock(&ctx->log_lock);
}

/**
 * Keeps a copy of `text`; call with error_lock held. A warning that no memory can be had for is
 * only counted.
 */
static void keep_warning(opt_ctx *ctx, int64_t tile, const char *text) {
    if (ctx->n_warnings == ctx->warnings_cap && ctx->n_warnings < OPT_MAX_WARNINGS) {
        const int cap = ctx->warnings_cap == 0 ? 16 : ctx->warnings_cap * 2;
        opt_warning *grown = realloc(ctx->warnings, (size_t)cap * sizeof *grown);
        if (grown != NULL) {
            ctx->warnings = grown;
            ctx->warnings_cap = cap;
        }
    }
    char *copy = ctx->n_warnings < ctx->warnings_cap && ctx->n_warnings < OPT_MAX_WARNINGS
                     ? strdup(text)
                     : NULL;
    if (copy == NULL) {
        ctx->n_warnings_dropped++;
        return;
    }
    ctx->warnings[ctx->n_warnings++] = (opt_warning){.tile = tile, .text = copy};
}

void opt_warn(opt_ctx *ctx, const char *object, const char *fmt, ...) {
    char message[OPT_ERROR_MESSAGE_BYTES];
    char line[OPT_ERROR_OBJECT_BYTES + OPT_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    size_t n = 0;
    if (object != NULL && object[0] != '\0') {
        copy_printable(line, OPT_ERROR_OBJECT_BYTES - 2, object);
        n = strlen(line);
        line[n++] = ':';
        line[n++] = ' ';
    }
    copy_printable(line + n, sizeof line - n, message);
    const opt_tile_frame *frame = opt_tile_current(ctx);
    pthread_mutex_lock(&ctx->error_lock);
    keep_warning(ctx, frame != NULL ? frame->tile : -1, line);
    pthread_mutex_unlock(&ctx->error_lock);
    emit(ctx, OPT_LOG_WARNING, line);
}

void opt_warnings_sort(opt_ctx *ctx, int first) {
    pthread_mutex_lock(&ctx->error_lock);
    for (int i = first + 1; i < ctx->n_warnings;
         i++) { /* stable insertion sort: few and nearly sorted */
        const opt_warning w = ctx->warnings[i];
        int j = i;
        for (; j > first && ctx->warnings[j - 1].tile > w.tile; j--) {
            ctx->warnings[j] = ctx->warnings[j - 1];
        }
        ctx->warnings[j] = w;
    }
    pthread_mutex_unlock(&ctx->error_lock);
}

int opt_ctx_n_warnings(const opt_ctx *ctx) {
    return ctx->n_warnings + (ctx->n_warnings_dropped > 0);
}

const char *opt_ctx_warning(const opt_ctx *ctx, int i) {
    if (i < 0 || i >= opt_ctx_n_warnings(ctx)) {
        return "";
    }
    return i < ctx->n_warnings ? ctx->warnings[i].text : "further warnings were not kept";
}

void opt_log(opt_ctx *ctx, opt_log_level level, const char *fmt, ...) {
    if (ctx->options.log == NULL) {
        return;
    }
    char line[OPT_ERROR_OBJECT_BYTES + OPT_ERROR_MESSAGE_BYTES];
    char safe[OPT_ERROR_OBJECT_BYTES + OPT_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    copy_printable(safe, sizeof safe, line);
    emit(ctx, level, safe);
}

void opt_progress(opt_ctx *ctx, const char *step, double done, double total) {
    static const int64_t interval_ns = 100 * 1000 * 1000;
    if (ctx->options.progress == NULL) {
        return;
    }
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t since = (int64_t)(now.tv_sec - ctx->progress_time.tv_sec) * 1000000000 +
                          (now.tv_nsec - ctx->progress_time.tv_nsec);
    if (ctx->progress_step == step && done < total && since < interval_ns) {
        return;
    }
    ctx->progress_step = step;
    ctx->progress_time = now;
    pthread_mutex_lock(&ctx->log_lock);
    ctx->options.progress(ctx->options.progress_user, step, done, total);
    pthread_mutex_unlock(&ctx->log_lock);
}

opt_status opt_check_cancel(opt_ctx *ctx) {
    const int signal_number = atomic_load_explicit(&ctx->cancel_signal, memory_order_relaxed);
    if (OPT_LIKELY(signal_number == 0)) {
        return OPT_OK;
    }
    return opt_fail(ctx, signal_number == 15 ? OPT_ERR_TERMINATED : OPT_ERR_INTERRUPTED, NULL,
                    "stopped by signal %d", signal_number);
}

opt_status opt_ctx_check(opt_ctx *ctx) { return opt_check_cancel(ctx); }
