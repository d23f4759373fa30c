/**
 * Speculative decoding: guesses of the next tokens, which the model then checks in one pass
 * (Leviathan et al. 2023). Since a token depends on logits and position only, a guess is right when
 * the sampler picks the same token: the text is that of decoding without guesses, also with
 * sampling. Guesses come from the text itself (prompt lookup: what followed the last tokens when
 * they occurred before; Saxena 2023) or from a smaller model.
 */
#ifndef OPT_RUNTIME_SPECULATE_H
#define OPT_RUNTIME_SPECULATE_H

#include "exec/session.h"
#include "runtime/sampler.h"

enum { OPT_MAX_DRAFT = 16 };

typedef struct opt_speculator opt_speculator;

/**
 * `draft`: a session of the smaller model (borrowed, of the same vocabulary and at least the same
 * context), or NULL for prompt lookup. `sampling` is that of the run: the smaller model draws with
 * the same random numbers. Errors: MEMORY; USAGE if the vocabularies differ.
 */
OPT_MUST_USE opt_status opt_speculator_new(opt_ctx *ctx, opt_session *draft, int64_t n_vocab,
                                           const opt_sampling *sampling, opt_speculator **out);
void opt_speculator_free(opt_speculator *s);

/**
 * Guesses what follows ids[n]: at most `max` tokens into ids[n ..], which must have room for them.
 * *n_out may be 0: nothing was found, or guesses have not paid off lately.
 */
OPT_MUST_USE opt_status opt_speculator_guess(opt_speculator *s, int32_t *ids, int64_t n,
                                             int64_t max, int64_t *n_out);
/** Tells how many of the last n_guessed tokens were right; decides how many are guessed next. */
void opt_speculator_learn(opt_speculator *s, int64_t n_guessed, int64_t n_right);
/** The first n_keep of the ids that were given are still the same, the n_drop behind them are gone.
 */
void opt_speculator_shift(opt_speculator *s, int64_t n_keep, int64_t n_drop);
/** Only the first n of the ids that were given are still the same. */
void opt_speculator_truncate(opt_speculator *s, int64_t n);

#endif
