/** Counted heap memory, arenas for metadata, and reference-counted buffers for large bytes. */
#ifndef OPT_BASE_MEM_H
#define OPT_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

/**
 * Heap memory, aligned to 64 bytes, counted against the context's limit. NULL (and a recorded
 * MEMORY error) when the limit or the system says no. Zero bytes give a valid pointer. Thread-safe.
 * Free with opt_free.
 */
void *opt_alloc(opt_ctx *ctx, size_t bytes);
void *opt_alloc_zero(opt_ctx *ctx, size_t bytes);
/** `n` elements of `size` bytes with checked multiplication. */
void *opt_alloc_array(opt_ctx *ctx, size_t n, size_t size);
/** Grows or shrinks; on failure the old block stays valid and NULL is returned. */
void *opt_realloc(opt_ctx *ctx, void *p, size_t bytes);
/** Frees memory of opt_alloc*; NULL is allowed. */
void opt_free(opt_ctx *ctx, void *p);

/** An arena: many small pieces, freed as a whole. Not thread-safe. */
typedef struct opt_arena opt_arena;

OPT_MUST_USE opt_status opt_arena_new(opt_ctx *ctx, opt_arena **out);
void opt_arena_free(opt_arena *arena);
/** Zeroed memory aligned to 16 bytes; NULL with a recorded error when out of memory. */
void *opt_arena_alloc(opt_arena *arena, size_t bytes);
void *opt_arena_array(opt_arena *arena, size_t n, size_t size);
char *opt_arena_strndup(opt_arena *arena, const char *s, size_t n);
char *opt_arena_strdup(opt_arena *arena, const char *s);
OPT_PRINTF(2, 3) char *opt_arena_printf(opt_arena *arena, const char *fmt, ...);

/** Large bytes with a reference count: heap memory or a read-only mapping of a file. */
typedef struct opt_buf {
    uint8_t *data; /* [bytes], read-only for mappings; never NULL */
    size_t bytes;
    struct opt_buf_impl *impl;
} opt_buf;

OPT_MUST_USE opt_status opt_buf_new(opt_ctx *ctx, size_t bytes, opt_buf **out);
/** Maps a regular file read-only. Errors: IO with the path. An empty file gives 0 bytes. */
OPT_MUST_USE opt_status opt_buf_map(opt_ctx *ctx, const char *path, opt_buf **out);
/**
 * Reads a whole file or, for "-", standard input. More than `max_bytes`: INPUT. A 0 byte follows
 * the data.
 */
OPT_MUST_USE opt_status opt_buf_read(opt_ctx *ctx, const char *path, size_t max_bytes,
                                     opt_buf **out);
/** Whether opt_buf_read could open `path`: IO if not. Reads nothing and opens no pipes. */
OPT_MUST_USE opt_status opt_buf_probe(opt_ctx *ctx, const char *path);
opt_buf *opt_buf_retain(opt_buf *buf);
void opt_buf_release(opt_buf *buf);
/**
 * Tells the system that [off, off + bytes) of a mapping will be needed soon, or is not needed any
 * more.
 */
void opt_buf_will_need(const opt_buf *buf, size_t off, size_t bytes);
void opt_buf_dont_need(const opt_buf *buf, size_t off, size_t bytes);

/**
 * A growing byte string (always 0-terminated behind `len`). Zero-initialise; free with
 * opt_str_free.
 */
typedef struct opt_str {
    char *data;
    size_t len;
    size_t cap;
} opt_str;

/** Makes room for `more` bytes, so that appending them moves nothing. */
OPT_MUST_USE opt_status opt_str_reserve(opt_ctx *ctx, opt_str *s, size_t more);
OPT_MUST_USE opt_status opt_str_append(opt_ctx *ctx, opt_str *s, const void *bytes, size_t n);
OPT_MUST_USE OPT_PRINTF(3, 4) opt_status
    opt_str_printf(opt_ctx *ctx, opt_str *s, const char *fmt, ...);
void opt_str_free(opt_ctx *ctx, opt_str *s);
/**
 * Appends `n` bytes of foreign text made safe for a terminal: C0, C1, ESC, bidi controls and bad
 * UTF-8 are escaped.
 */
OPT_MUST_USE opt_status opt_str_append_printable(opt_ctx *ctx, opt_str *s, const char *text,
                                                 size_t n);

#endif
