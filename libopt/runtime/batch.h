/**
 * Many prompts through one session: continuous batching. Every step runs the next token of each
 * sequence that writes, and fills up with pieces of prompts that are still to be read; a sequence
 * that ends makes room for the next request. Since a sequence gets the same bits as alone
 * (exec/session.h), the outputs do not depend on what else is in the batch.
 */
#ifndef OPT_RUNTIME_BATCH_H
#define OPT_RUNTIME_BATCH_H

#include "runtime/generate.h"
#include "runtime/prefix.h"

/** One request. `tokens` holds the prompt when it begins; freed by the caller. */
typedef struct opt_batch_request {
    opt_tokens tokens;
    int64_t n_prompt;
    int64_t max_tokens;
    opt_sampling sampling;
    const char *const *stops; /* [n_stops] */
    size_t n_stops;
    opt_str text; /* what was written */
    opt_generate_outcome outcome;
} opt_batch_request;

typedef struct opt_batch_job {
    opt_session *session; /* of several sequences; its caches are emptied as they are used */
    const opt_tokenizer *tokenizer;
    int64_t n_vocab;
    bool ignore_eos;
    opt_prefix *prefix;           /* or NULL */
    opt_batch_request **requests; /* [n]: begun in this order */
    size_t n;
    /** Request i is complete: its tokens, text and outcome. In any order. */
    opt_status (*on_done)(void *user, size_t i);
    void *user;
} opt_batch_job;

typedef struct opt_batch_counts {
    int64_t n_steps, n_tokens; /* passes through the model, and tokens in all of them */
    int64_t largest;           /* tokens of one pass at most */
} opt_batch_counts;

/** Runs all requests. A prompt must have fewer tokens than the context (USAGE). */
OPT_MUST_USE opt_status opt_batch_run(opt_ctx *ctx, const opt_batch_job *job,
                                      opt_batch_counts *counts);

#endif
