/** Inside view of an opt_runner. */
#ifndef OPT_FLOW_RUNNER_H
#define OPT_FLOW_RUNNER_H

#include "exec/session.h"
#include "flow/open.h"
#include "opt/infer.h"
#include "runtime/prefix.h"
#include "runtime/speculate.h"

/** Tokens at the beginning of a text that stay when the context is shifted: attention rests on them
 * (Xiao et al. 2024, section 3.1). */
#define OPT_KEEP_TOKENS 4

struct opt_runner {
    opt_ctx *ctx;
    opt_opened opened;
    opt_runner_options options;
    opt_session *session; /* NULL until a job needs one */
    uint64_t fingerprint; /* 0 until it was asked for */
    opt_prefix *prefix;   /* NULL until a job needs one */
};

/** How sessions of a runner compute and store keys and values, for n_ctx positions. */
opt_session_options opt_runner_session_options(const opt_runner *r, int64_t n_ctx);

/**
 * A session of at least n_ctx positions with an empty cache, made anew when the last one is
 * smaller. The runner's own n_ctx, if set, is the limit: USAGE above it.
 */
OPT_MUST_USE opt_status opt_runner_session(opt_runner *r, int64_t n_ctx, opt_session **out);

/** The prefix cache that the options ask for, for sessions like this one; NULL in *out if they ask
 * for none. */
OPT_MUST_USE opt_status opt_runner_prefix(opt_runner *r, const opt_session *session,
                                          opt_prefix **out);

/** Tokens of a text as a model reads it from its beginning; USAGE if the model has no tokenizer. */
OPT_MUST_USE opt_status opt_runner_tokenize(opt_runner *r, const char *text, size_t n, opt_bos bos,
                                            bool parse_special, opt_tokens *out);

/**
 * A speculator as the options ask for, or NULL in *out where they ask for none. n_ctx: positions of
 * the job. Errors: USAGE if the draft model's tokenizer is another one.
 */
OPT_MUST_USE opt_status opt_runner_speculator(opt_runner *r, const opt_speculation *options,
                                              const opt_sampling *sampling, int64_t n_ctx,
                                              opt_speculator **out);

/** A number for the model's tensors and sizes: another one means another model. Made of the
 * checksums that the file carries; where it carries none, reads all tensors once. */
OPT_MUST_USE opt_status opt_runner_fingerprint(opt_runner *r, uint64_t *out);

#endif
