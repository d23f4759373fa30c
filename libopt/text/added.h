/** Added tokens: texts that become their token wherever they stand, before anything else looks at
 * the input. */
#ifndef OPT_TEXT_ADDED_H
#define OPT_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

typedef struct opt_added_token {
    int32_t id;
    bool single_word; /* only where no word character stands beside it */
    bool lstrip;      /* takes the white space on its left with it, and on its right */
    bool rstrip;
    bool normalized; /* looked for in the normalized text */
    bool special;    /* control token: skipped unless the caller wants them, and when decoding */
} opt_added_token;

/** A node of a trie over bytes; children are a list. */
typedef struct opt_trie_node {
    uint32_t child;   /* 0: none */
    uint32_t sibling; /* 0: last */
    int32_t token;    /* index of the added token that ends here, or -1 */
    uint8_t byte;
} opt_trie_node;

/** Finds added tokens in a text: the leftmost, of several the longest. Zero-initialise. */
typedef struct opt_trie {
    opt_trie_node *nodes; /* [n], the root is 0 */
    uint32_t n;
    uint32_t cap;
    uint32_t first[256]; /* children of the root, for speed */
} opt_trie;

/** Longest text of an added token. */
#define OPT_ADDED_MAX 4096

/** Adds text[n], 0 < n <= OPT_ADDED_MAX, for the added token `token`. *taken: another one has the
 * same text. */
OPT_MUST_USE opt_status opt_trie_add(opt_ctx *ctx, opt_trie *t, const char *text, size_t n,
                                     int32_t token, bool *taken);
void opt_trie_free(opt_ctx *ctx, opt_trie *t);

/** Where a search through one text stands. */
typedef struct opt_added_search {
    size_t at;   /* where to look on */
    size_t done; /* end of the last match, stripped space included */
} opt_added_search;

/** A match: the text before it [before, start), and the token, which takes the text up to `end`. */
typedef struct opt_added_match {
    size_t before;
    size_t start;
    size_t end;
    int32_t token; /* index into the added tokens, -1: no match is left and [before, start) is the
                      rest */
} opt_added_match;

/** Finds the next added token in text[n], valid UTF-8. `with_special` false passes over special
 * ones. */
void opt_added_next(const opt_trie *t, const opt_added_token *tokens, const char *text, size_t n,
                    bool with_special, opt_added_search *search, opt_added_match *match);

#endif
