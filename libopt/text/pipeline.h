/** The steps around the BPE model: normalizer, pre-tokenizer, post-processor and decoder of a
 * tokenizer.json. */
#ifndef OPT_TEXT_PIPELINE_H
#define OPT_TEXT_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "text/decode.h"
#include "text/normalize.h"
#include "text/pretok.h"
#include "text/vocab.h"

/** GPT-2's splitting pattern, which ByteLevel uses. */
#define OPT_PATTERN_GPT2                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/** U+2581, which SentencePiece writes for a space. */
#define OPT_METASPACE "\xE2\x96\x81"

/** Zero-initialise; texts are in `arena`, the arrays and patterns are its own. */
typedef struct opt_pipeline {
    opt_arena *arena;
    opt_norm_step *norm; /* [n_norm] */
    size_t n_norm;
    opt_pretok_step *pre; /* [n_pre] */
    size_t n_pre;
    bool bytes; /* a last step BYTE_CHARS was left out: words are given to the model as bytes */
    opt_decode_step *dec; /* [n_dec] */
    size_t n_dec;
    int32_t *prefix; /* [n_prefix] tokens that the post-processor puts in front, and behind */
    size_t n_prefix;
    int32_t *suffix;
    size_t n_suffix;
    opt_regex **patterns; /* [n_patterns], owned */
    size_t n_patterns;
} opt_pipeline;

void opt_pipeline_free(opt_ctx *ctx, opt_pipeline *p);

OPT_MUST_USE opt_status opt_pipeline_add_norm(opt_ctx *ctx, opt_pipeline *p,
                                              const opt_norm_step *step);
OPT_MUST_USE opt_status opt_pipeline_add_pre(opt_ctx *ctx, opt_pipeline *p,
                                             const opt_pretok_step *step);
OPT_MUST_USE opt_status opt_pipeline_add_dec(opt_ctx *ctx, opt_pipeline *p,
                                             const opt_decode_step *step);
/** Compiles a pattern (`literal`: a plain text) and keeps it. */
OPT_MUST_USE opt_status opt_pipeline_pattern(opt_ctx *ctx, opt_pipeline *p, const char *object,
                                             const char *pattern, size_t n, bool literal,
                                             const opt_regex **out);
/** Adds a splitting step by a pattern, which must live as long as the pipeline. */
OPT_MUST_USE opt_status opt_pipeline_add_split(opt_ctx *ctx, opt_pipeline *p, const char *object,
                                               const char *pattern, opt_split_behavior behavior);
/** Puts a token in front of the prefix, or behind the suffix. */
OPT_MUST_USE opt_status opt_pipeline_add_prefix(opt_ctx *ctx, opt_pipeline *p, int32_t id);
OPT_MUST_USE opt_status opt_pipeline_add_suffix(opt_ctx *ctx, opt_pipeline *p, int32_t id);
/** Call when the pre-tokenizer is complete: finds out whether words are given to the model as
 * bytes. */
void opt_pipeline_finish(opt_pipeline *p);

/**
 * Reads the members normalizer, pre_tokenizer, post_processor and decoder of `root`. Errors: INPUT;
 * UNSUPPORTED naming the component. `object` is the file, for messages.
 */
OPT_MUST_USE opt_status opt_pipeline_read(opt_ctx *ctx, opt_pipeline *p, const char *object,
                                          const opt_json *root, const opt_vocab *vocab);

/** Refuses (UNSUPPORTED) members of `v` that are not in `allowed` ("type,prepend"); null members
 * pass. */
OPT_MUST_USE opt_status opt_pipeline_check_keys(opt_ctx *ctx, const char *object,
                                                const char *component, const opt_json *v,
                                                const char *allowed);

#endif
