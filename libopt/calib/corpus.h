/** Calibration text: files to windows of token ids. */
#ifndef OPT_CALIB_CORPUS_H
#define OPT_CALIB_CORPUS_H

#include "text/tokenizer.h"

/** Chosen windows. Owned by the caller: opt_corpus_free. */
typedef struct opt_corpus {
    int32_t *tokens; /* [n_windows, n_ctx] */
    int64_t n_windows, n_ctx;
} opt_corpus;

/** What to read. All borrowed. */
typedef struct opt_corpus_options {
    const char *const *paths; /* [n_paths] */
    const double *weights;    /* [n_paths] positive shares of the windows, or NULL: all alike */
    size_t n_paths;
    int64_t n_windows, n_ctx;
    uint64_t seed;
} opt_corpus_options;

/**
 * Reads the files and chooses n_windows windows of n_ctx tokens: of every file as many as its
 * weight says (as far as a file has so many; the others make up for it), at places that depend on
 * the seed, the place of the file in the list and its length only. A name that ends in .jsonl holds
 * one JSON object a line, whose member "text" is a document; any other file is one document.
 * Documents are joined by the end-of-text token where the tokenizer has one. Where the tokenizer
 * puts a BOS before a text, it stands in place of each window's first token. Fewer windows than
 * asked for: a warning. Errors: IO; INPUT for bad JSON lines, and when not even one window is
 * there.
 */
OPT_MUST_USE opt_status opt_corpus_read(opt_ctx *ctx, const opt_tokenizer *t,
                                        const opt_corpus_options *options, opt_corpus *out);
void opt_corpus_free(opt_ctx *ctx, opt_corpus *c);

#endif
