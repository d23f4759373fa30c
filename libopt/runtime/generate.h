/** The generation loop: prompt, then one token after the other, text out as soon as it is certain.
 */
#ifndef OPT_RUNTIME_GENERATE_H
#define OPT_RUNTIME_GENERATE_H

#include "base/mem.h"
#include "exec/session.h"
#include "runtime/sampler.h"
#include "runtime/speculate.h"
#include "text/tokenizer.h"

/** Ends a text before the first of several stop texts, across token boundaries. Zero-initialise. */
typedef struct opt_stopper {
    const char *const *stops; /* [n], borrowed; empty ones are ignored */
    size_t n;
    opt_str held; /* text that may still be the beginning of a stop text */
} opt_stopper;

/**
 * Takes text[bytes] and appends to `out` what is certainly in front of any stop text. *stopped is
 * set when one was found: the rest is dropped.
 */
OPT_MUST_USE opt_status opt_stopper_push(opt_ctx *ctx, opt_stopper *s, const char *text,
                                         size_t bytes, opt_str *out, bool *stopped);
/** Appends what is still held: the text has ended. */
OPT_MUST_USE opt_status opt_stopper_finish(opt_ctx *ctx, opt_stopper *s, opt_str *out);
void opt_stopper_free(opt_ctx *ctx, opt_stopper *s);

/** What a run of the loop needs; the prompt's tokens are in `tokens` already. */
typedef struct opt_generate_job {
    opt_session *session; /* its cache holds the first tokens of the prompt, not all of them */
    const opt_tokenizer *tokenizer;
    opt_sampler *sampler;
    opt_speculator *speculator; /* or NULL */
    opt_tokens *tokens;         /* grows by the generated ones */
    int64_t n_vocab, max_tokens;
    opt_stopper stopper;
    bool ignore_eos;
    int32_t end_token; /* ends the text like an end-of-text token; -1: none does */
    /* When the context is full: NULL ends the text; otherwise the oldest half of what stands behind
     * the first n_keep tokens moves from `tokens` to the end of this list, and the rest is read
     * again behind those that are kept. */
    opt_tokens *dropped;
    int64_t n_keep;
    opt_status (*on_text)(void *user, const char *text, size_t n); /* may be NULL */
    void *user;
} opt_generate_job;

typedef struct opt_generate_outcome {
    const char *stop_reason; /* see opt_generate_result */
    double prompt_seconds, generate_seconds;
    int64_t n_read;             /* prompt tokens that were not in the cache */
    int64_t n_guessed, n_right; /* of the speculator */
    int64_t n_passes;           /* through the model, the prompt's not counted */
    int64_t n_shifts;           /* how often the context was full */
} opt_generate_outcome;

/** The part of a run that turns tokens into text and decides when it ends. */
typedef struct opt_generation {
    opt_ctx *ctx;
    opt_generate_job *job;
    opt_generate_outcome *out;
    opt_str piece, text;
    opt_detok detok;
    int64_t n_generated;
    bool stopped; /* at a stop text */
    bool ended;   /* for the reason in `out` */
} opt_generation;

/** Before the first token: the prompt stands in job->tokens; room for the others is made. Of the
 * job's session only the size of its context counts. */
OPT_MUST_USE opt_status opt_generation_begin(opt_ctx *ctx, opt_generate_job *job,
                                             opt_generate_outcome *out, opt_generation *g);
/** Takes the next token; g->ended when there is nothing more to come. */
OPT_MUST_USE opt_status opt_generation_take(opt_generation *g, int32_t token);
/** Gives the text that waited for more. */
OPT_MUST_USE opt_status opt_generation_finish(opt_generation *g);
void opt_generation_free(opt_generation *g);

/**
 * Runs the loop. The tokenizer may be NULL: then nothing is printed and no token ends the text.
 * When it ends the cache holds all tokens of `tokens` but the last ones, of which the model has not
 * been asked what follows. A shift leaves the state of a run that has read what is left and nothing
 * else: the next tokens are those behind that prompt, with the random numbers of the whole text.
 */
OPT_MUST_USE opt_status opt_generate_run(opt_ctx *ctx, opt_generate_job *job,
                                         opt_generate_outcome *out);

#endif
