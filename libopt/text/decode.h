/** Decoders: tokens back to text. Steps run in order on a list of texts, one for every token. */
#ifndef OPT_TEXT_DECODE_H
#define OPT_TEXT_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "text/regex.h"

typedef enum opt_decode_kind {
    OPT_DECODE_BYTE_LEVEL,    /**< byte characters to bytes, all texts joined */
    OPT_DECODE_BYTE_FALLBACK, /**< texts <0xHH> to bytes */
    OPT_DECODE_FUSE,          /**< joins all texts */
    OPT_DECODE_REPLACE,       /**< `find` or `pattern` to `text` */
    OPT_DECODE_STRIP, /**< up to `start` times `text` at the beginning, `stop` times at the end */
    OPT_DECODE_METASPACE, /**< `find` to a space; `start` != 0: to nothing in the first text */
    OPT_DECODE_JOIN_SPACE /**< a space between the texts (no decoder at all) */
} opt_decode_kind;

typedef struct opt_decode_step {
    opt_decode_kind kind;
    const char *text; /* [n_text] */
    size_t n_text;
    const char *find; /* [n_find] */
    size_t n_find;
    const opt_regex *pattern;
    size_t start;
    size_t stop;
} opt_decode_step;

/** Texts one after another. Zero-initialise; free with opt_texts_free. */
typedef struct opt_texts {
    opt_str bytes;
    size_t *ends; /* [n], in bytes.data */
    size_t n;
    size_t cap;
} opt_texts;

OPT_MUST_USE opt_status opt_texts_push(opt_ctx *ctx, opt_texts *t, const char *text, size_t n);
void opt_texts_free(opt_ctx *ctx, opt_texts *t);

/** Appends what the steps make of all the texts of an output. `texts` is used up. */
OPT_MUST_USE opt_status opt_decode_all(opt_ctx *ctx, const opt_decode_step *steps, size_t n_steps,
                                       opt_texts *texts, opt_str *out);

/**
 * Appends the bytes that one more text adds to an output: they may be part of a character.
 * `*n_stripped` counts what STRIP behind FUSE has removed; `*started` becomes true with the first
 * byte that is kept.
 */
OPT_MUST_USE opt_status opt_decode_one(opt_ctx *ctx, const opt_decode_step *steps, size_t n_steps,
                                       const char *text, size_t n, bool first, size_t *n_stripped,
                                       bool *started, opt_str *out);

/** The byte of a token text <0xHH> with exactly two hexadecimal digits, or -1. */
int opt_byte_token(const char *text, size_t n);

#endif
