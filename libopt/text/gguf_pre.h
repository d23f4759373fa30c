/** Names of splitting rules in GGUF files (tokenizer.ggml.pre) and what they mean. */
#ifndef OPT_TEXT_GGUF_PRE_H
#define OPT_TEXT_GGUF_PRE_H

#include "text/pipeline.h"

enum { OPT_PRE_PATTERNS_MAX = 4 };

/** Splitting by each pattern in turn, matches and what lies between them becoming pieces; bytes
 * follow. */
typedef struct opt_gguf_pre {
    const char *name;
    const char *patterns[OPT_PRE_PATTERNS_MAX]; /* in Oniguruma's syntax; NULL behind the last */
    bool ignore_merges;                         /* words that are tokens are not merged */
    bool add_bos;                               /* unless the file says otherwise */
} opt_gguf_pre;

/** The row of a name, or NULL. */
const opt_gguf_pre *opt_gguf_pre_find(const char *name);

/** The first row that splits as the pipeline does and treats whole words alike, or NULL. */
const opt_gguf_pre *opt_gguf_pre_match(const opt_pipeline *p, bool ignore_merges);

/** Adds the row's steps to an empty pre-tokenizer, and a byte-level decoder. */
OPT_MUST_USE opt_status opt_gguf_pre_apply(opt_ctx *ctx, const opt_gguf_pre *pre, opt_pipeline *p);

#endif
