#include "runtime/speculate.h"

#include "base/mem.h"
#include "base/num.h"

enum {
    MIN_MATCH = 3,  /* tokens that must have occurred before */
    MAX_MATCH = 12, /* a longer match is not better */
    FIRST_GUESS = 3,
    MAX_PAUSE = 64,  /* steps without guesses, at most */
    WINDOW = 1 << 16 /* tokens that are searched */
};

/*
 * How many tokens are guessed, and whether at all. A guess of k tokens makes a step more expensive
 * by about k / 8 of a step where memory is the limit, and by more where it is not, so that a guess
 * of which less than half is right counts as a failure: then the pause before the next one
 * doubles. A text without repetitions costs the logarithm of its length this way. Nothing depends
 * on time: the same run makes the same guesses.
 */
struct opt_speculator {
    opt_ctx *ctx;
    opt_session *draft;
    opt_sampler *sampler;
    int64_t n_vocab;
    int64_t length;      /* tokens of the next guess */
    int64_t pause, left; /* steps without guesses: after the last failure, and still to come */
    int64_t n_last;      /* ids that the last guess stood behind */
};

opt_status opt_speculator_new(opt_ctx *ctx, opt_session *draft, int64_t n_vocab,
                              const opt_sampling *sampling, opt_speculator **out) {
    opt_status st = OPT_OK;
    opt_speculator *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    s->draft = draft;
    s->n_vocab = n_vocab;
    s->length = FIRST_GUESS;
    if (draft != NULL) {
        OPT_REQUIRE(opt_session_n_vocab(draft) == n_vocab, ctx, OPT_ERR_USAGE, "--draft",
                    "the smaller model has a vocabulary of %lld tokens, the other one of %lld",
                    (long long)opt_session_n_vocab(draft), (long long)n_vocab);
        OPT_TRY(opt_sampler_new(ctx, sampling, n_vocab, &s->sampler));
    }
    *out = s;
    s = NULL;
done:
    opt_speculator_free(s);
    return st;
}

void opt_speculator_free(opt_speculator *s) {
    if (s != NULL) {
        opt_sampler_free(s->sampler);
        opt_free(s->ctx, s);
    }
}

/* ---- prompt lookup ---- */

/** Tokens before `end` that are the same as those at the end of ids[n], at most MAX_MATCH. */
static int64_t match_length(const int32_t *ids, int64_t n, int64_t end) {
    int64_t k = 0;
    while (k < MAX_MATCH && k < end && ids[end - 1 - k] == ids[n - 1 - k]) {
        k++;
    }
    return k;
}

/** Copies what followed the longest match, of several the last one; returns the number of tokens.
 */
static int64_t look_up(int32_t *ids, int64_t n, int64_t max) {
    int64_t best = MIN_MATCH - 1, at = -1;
    for (int64_t end = n - 1; end >= opt_max_i64(1, n - WINDOW) && best < MAX_MATCH; end--) {
        const int64_t k = ids[end - 1] == ids[n - 1] ? match_length(ids, n, end) : 0;
        if (k > best) {
            best = k;
            at = end;
        }
    }
    for (int64_t i = 0; at >= 0 && i < max; i++) {
        ids[n + i] = ids[at + i]; /* may run into the guess itself: a repetition goes on */
    }
    return at >= 0 ? max : 0;
}

/* ---- a smaller model ---- */

typedef struct draft_pick {
    opt_sampler *sampler;
    const int32_t *ids;
    int64_t n, n_vocab;
    int32_t token;
} draft_pick;

static opt_status pick_draft(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    draft_pick *p = user;
    (void)row0;
    return opt_sampler_pick(p->sampler, logits + (n_rows - 1) * p->n_vocab, p->ids, p->n,
                            &p->token);
}

static opt_status ask_draft(opt_speculator *s, int32_t *ids, int64_t n, int64_t max,
                            int64_t *n_out) {
    opt_status st = OPT_OK;
    const int64_t room = opt_session_n_ctx(s->draft) - n + 1;
    for (int64_t i = 0; i < opt_min_i64(max, room); i++) {
        const int64_t past = opt_session_n_past(s->draft), more = n + i - past;
        draft_pick p = {s->sampler, ids, n + i, s->n_vocab, -1};
        OPT_TRY(opt_session_eval(s->draft, ids + past, more, more - 1, pick_draft, &p));
        ids[n + i] = p.token;
        *n_out = i + 1;
    }
done:
    return st;
}

opt_status opt_speculator_guess(opt_speculator *s, int32_t *ids, int64_t n, int64_t max,
                                int64_t *n_out) {
    *n_out = 0;
    if (s->left > 0) {
        s->left--;
        return OPT_OK;
    }
    max = opt_min_i64(max, s->length);
    s->n_last = n;
    if (max <= 0) {
        return OPT_OK;
    }
    if (s->draft != NULL) {
        return ask_draft(s, ids, n, max, n_out);
    }
    *n_out = look_up(ids, n, max);
    return OPT_OK;
}

void opt_speculator_learn(opt_speculator *s, int64_t n_guessed, int64_t n_right) {
    opt_speculator_truncate(s, s->n_last + n_right);
    if (n_guessed == 0) {
        return;
    }
    if (2 * n_right < n_guessed) {
        s->pause = opt_min_i64(MAX_PAUSE, s->pause > 0 ? 2 * s->pause : 1);
        s->left = s->pause;
        s->length = FIRST_GUESS;
        return;
    }
    s->pause /= 2;
    s->length = n_right == n_guessed ? opt_min_i64(OPT_MAX_DRAFT, 2 * n_guessed)
                                     : opt_max_i64(FIRST_GUESS, n_right + 1);
}

void opt_speculator_truncate(opt_speculator *s, int64_t n) {
    if (s->draft != NULL) {
        opt_session_truncate(s->draft, n);
    }
}

void opt_speculator_shift(opt_speculator *s, int64_t n_keep, int64_t n_drop) {
    opt_speculator_truncate(s, n_keep);
    if (s->sampler != NULL) {
        opt_sampler_shift(s->sampler, n_drop);
    }
}
