/** Pre-tokenizers: how text is split into the words that byte pair encoding works on. */
#ifndef OPT_TEXT_PRETOK_H
#define OPT_TEXT_PRETOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "text/regex.h"

/** What becomes of the matches of a splitting pattern (Hugging Face's names). */
typedef enum opt_split_behavior {
    OPT_SPLIT_REMOVED,
    OPT_SPLIT_ISOLATED,
    OPT_SPLIT_MERGED_WITH_PREVIOUS,
    OPT_SPLIT_MERGED_WITH_NEXT,
    OPT_SPLIT_CONTIGUOUS
} opt_split_behavior;

typedef enum opt_pretok_kind {
    OPT_PRETOK_SPLIT,      /**< by `pattern` */
    OPT_PRETOK_ADD_PREFIX, /**< a space in front of every piece that does not begin with one */
    OPT_PRETOK_BYTE_CHARS, /**< bytes become GPT-2's byte characters */
    OPT_PRETOK_METASPACE   /**< spaces become `text`, which may also be put in front */
} opt_pretok_kind;

typedef enum opt_prepend_scheme {
    OPT_PREPEND_NEVER,
    OPT_PREPEND_FIRST,
    OPT_PREPEND_ALWAYS
} opt_prepend_scheme;

typedef struct opt_pretok_step {
    opt_pretok_kind kind;
    const opt_regex *pattern;
    const char *source; /* what `pattern` was made of */
    bool literal;       /* `source` is a plain text */
    opt_split_behavior behavior;
    bool invert;      /* what lies between matches counts as the matches */
    const char *text; /* replacement of METASPACE, one character */
    size_t n_text;
    opt_prepend_scheme scheme; /* of METASPACE */
} opt_pretok_step;

/** A piece of opt_pieces.text. */
typedef struct opt_span {
    size_t off;
    size_t len;
} opt_span;

/** A text in pieces. Zero-initialise; free with opt_pieces_free. */
typedef struct opt_pieces {
    const char *text; /* what the spans point into: the input, or `own` */
    size_t n_text;
    opt_span *spans; /* [n], none empty */
    size_t n;
    size_t cap;
    opt_str own;
    opt_str spare;
    opt_str subject; /* the text for patterns where it differs, see opt_regex_subject */
    opt_span *old;   /* the spans before the step that is running */
    size_t old_cap;
    size_t n_old;
} opt_pieces;

void opt_pieces_free(opt_ctx *ctx, opt_pieces *p);

/**
 * Splits text[n], valid UTF-8; `p` holds the result until the next call, and borrows the text if no
 * step changes it. `at_start`: the text begins where the whole input begins. Errors: MEMORY; INPUT
 * from patterns.
 */
OPT_MUST_USE opt_status opt_pretok_split(opt_ctx *ctx, const opt_pretok_step *steps, size_t n_steps,
                                         opt_regex_scratch *s, const char *text, size_t n,
                                         bool at_start, opt_pieces *p);

#endif
