/** Small helpers that every front end needs: reading text, making foreign text safe to print,
 * spelling hints. */
#ifndef OPT_TEXT_H
#define OPT_TEXT_H

#include <stddef.h>

#include "opt/ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Reads a whole text file, or standard input for "-". *out is 0-terminated and freed with
 * opt_text_free; `bytes` does not count the terminator. Errors: IO, MEMORY; INPUT above 1 GiB.
 */
OPT_MUST_USE opt_status opt_text_read(opt_ctx *ctx, const char *path, char **out, size_t *bytes);

/** Copy of text[bytes] with control bytes, bidirectional controls and invalid UTF-8 escaped;
 * 0-terminated. */
OPT_MUST_USE opt_status opt_text_printable(opt_ctx *ctx, const char *text, size_t bytes,
                                           char **out);

/** Frees a text that the library returned through char **. NULL is allowed. */
void opt_text_free(opt_ctx *ctx, char *text);

/** The candidate that `word` was probably meant to be (a few typing errors away), or NULL. */
const char *opt_text_nearest(const char *word, const char *const *candidates, size_t n);

/** Last component of a path, trailing slashes ignored ("/" for the root): `*bytes` bytes at the
 * returned place in `path`. */
const char *opt_text_base_name(const char *path, size_t *bytes);

/** Names and versions of the libraries that the tools were built with (static). */
const char *opt_libraries(void);

#ifdef __cplusplus
}
#endif
#endif
