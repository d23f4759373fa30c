/**
 * Regular expressions of tokenizer files, run by PCRE2. The files are written for Oniguruma (Ruby
 * syntax, Unicode 16), so patterns are translated where the two differ, and characters newer than
 * PCRE2's Unicode version are replaced in a copy of the text by older ones of the same category and
 * size.
 */
#ifndef OPT_TEXT_REGEX_H
#define OPT_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/** A compiled pattern; immutable, shared by threads. */
typedef struct opt_regex opt_regex;

/**
 * Compiles a pattern. Errors: UNSUPPORTED naming `object` and the pattern for syntax that PCRE2
 * does not have, with its message and place.
 */
OPT_MUST_USE opt_status opt_regex_new(opt_ctx *ctx, const char *object, const char *pattern,
                                      size_t n, opt_regex **out);
/** Matches the text itself. */
OPT_MUST_USE opt_status opt_regex_new_literal(opt_ctx *ctx, const char *object, const char *text,
                                              size_t n, opt_regex **out);
void opt_regex_free(opt_regex *re);

/** What a thread needs to run patterns. Zero-initialise. */
typedef struct opt_regex_scratch {
    void *match;  /* pcre2_match_data */
    void *limits; /* pcre2_match_context */
    void *stack;  /* pcre2_jit_stack */
} opt_regex_scratch;

void opt_regex_scratch_free(opt_regex_scratch *s);

/** Where a search through one subject stands. Zero-initialise for a new subject. */
typedef struct opt_regex_search {
    size_t at;       /* where the next search begins */
    size_t last_end; /* end of the last match, if any */
    bool matched;
} opt_regex_search;

/**
 * Finds the next match in subject[n], valid UTF-8; an empty match right behind the last one does
 * not count. Writes *found and, if true, [*start, *end). Errors: INPUT if the pattern needs more
 * steps than are sensible for the text.
 */
OPT_MUST_USE opt_status opt_regex_next(opt_ctx *ctx, const opt_regex *re, opt_regex_scratch *s,
                                       const char *subject, size_t n, opt_regex_search *search,
                                       bool *found, size_t *start, size_t *end);

/**
 * The text to run patterns on: `text` itself, or `copy` if characters had to be replaced. Both have
 * the same characters at the same places as far as patterns can tell.
 */
OPT_MUST_USE opt_status opt_regex_subject(opt_ctx *ctx, const char *text, size_t n, opt_str *copy,
                                          const char **subject);

#endif
