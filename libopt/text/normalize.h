/** Normalizers: what happens to the text before it is split. Steps run in order, each on the result
 * of the last. */
#ifndef OPT_TEXT_NORMALIZE_H
#define OPT_TEXT_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "text/regex.h"

typedef enum opt_norm_kind {
    OPT_NORM_NFC,
    OPT_NORM_NFD,
    OPT_NORM_NFKC,
    OPT_NORM_NFKD,
    OPT_NORM_LOWERCASE,
    OPT_NORM_PREPEND, /**< puts `text` in front unless empty */
    OPT_NORM_REPLACE, /**< every match of `find` or `pattern` becomes `text` */
    OPT_NORM_STRIP    /**< removes white space on the left, the right */
} opt_norm_kind;

typedef struct opt_norm_step {
    opt_norm_kind kind;
    const char *text; /* [n_text] */
    size_t n_text;
    const char *find; /* [n_find], or NULL: `pattern` */
    size_t n_find;
    const opt_regex *pattern;
    bool left;
    bool right;
} opt_norm_step;

/** Appends the normalized form of text[n], valid UTF-8, to `out`. Errors: MEMORY; INPUT from
 * patterns. */
OPT_MUST_USE opt_status opt_normalize(opt_ctx *ctx, const opt_norm_step *steps, size_t n_steps,
                                      opt_regex_scratch *s, const char *text, size_t n,
                                      opt_str *out);

/** Appends text[n] with every occurrence of find[n_find] (n_find > 0) replaced. */
OPT_MUST_USE opt_status opt_replace_all(opt_ctx *ctx, const char *text, size_t n, const char *find,
                                        size_t n_find, const char *with, size_t n_with,
                                        opt_str *out);
/** The same for a pattern. */
OPT_MUST_USE opt_status opt_replace_matches(opt_ctx *ctx, opt_regex_scratch *s, const char *text,
                                            size_t n, const opt_regex *pattern, const char *with,
                                            size_t n_with, opt_str *out);

/** NFC, NFD, NFKC or NFKD of text[n], appended. n log n at worst, whatever the order of combining
 * marks. */
OPT_MUST_USE opt_status opt_normalize_unicode(opt_ctx *ctx, opt_norm_kind kind, const char *text,
                                              size_t n, opt_str *out);

#endif
