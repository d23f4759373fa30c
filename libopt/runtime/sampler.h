/**
 * Choosing the next token from logits. The choice depends on the logits, the tokens so far, the
 * options and the token's position only: random numbers are counter-based, keyed by the seed, one a
 * position.
 */
#ifndef OPT_RUNTIME_SAMPLER_H
#define OPT_RUNTIME_SAMPLER_H

#include "base/ctx.h"
#include "opt/infer.h"

typedef struct opt_sampler opt_sampler;

/** Checks the options (USAGE: a temperature below 0, a probability outside [0, 1], a penalty that
 * is not above 0). */
OPT_MUST_USE opt_status opt_sampler_new(opt_ctx *ctx, const opt_sampling *options, int64_t n_vocab,
                                        opt_sampler **out);
/** Other options for the next picks; checked as by opt_sampler_new. The bias is borrowed. */
OPT_MUST_USE opt_status opt_sampler_set(opt_sampler *s, const opt_sampling *options);
void opt_sampler_free(opt_sampler *s);
/** From now on n more tokens stand in front of those that are given, which counts for the random
 * numbers only. */
void opt_sampler_shift(opt_sampler *s, int64_t n);

/**
 * Picks the token for position n of ids[n] from logits [n_vocab]. Steps, each on the outcome of the
 * one before: bias: added; repetition: for tokens among the last `repetition_window` ids, logit / r
 * if positive, logit * r otherwise (Keskar et al. 2019, eq. 2 with the sign correction that is in
 * common use); presence: logit - presence_penalty for the same; frequency: logit -
 * frequency_penalty times the number of occurrences there; temperature 0: the largest logit, the
 * lowest id of equals; top-k: the k largest; top-p: the shortest list of likely tokens that reaches
 * p (Holtzman et al. 2020); min-p: tokens of at least min_p times the largest probability;
 * temperature; one draw. Errors: NUMERIC if a logit is NaN.
 */
OPT_MUST_USE opt_status opt_sampler_pick(opt_sampler *s, const float *logits, const int32_t *ids,
                                         int64_t n, int32_t *token);

#endif
