#include "runtime/generate.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"

/** Offset of the first stop text in s[n], or n. */
static size_t find_stop(const opt_stopper *s, const char *text, size_t n) {
    size_t first = n;
    for (size_t i = 0; i < s->n; i++) {
        const size_t len = strlen(s->stops[i]);
        const char *at = len > 0 ? memmem(text, n, s->stops[i], len) : NULL;
        if (at != NULL && (size_t)(at - text) < first) {
            first = (size_t)(at - text);
        }
    }
    return first;
}

/** Length of the longest end of text[n] that a stop text could begin with. */
static size_t open_end(const opt_stopper *s, const char *text, size_t n) {
    size_t longest = 0;
    for (size_t i = 0; i < s->n; i++) {
        const size_t len = strlen(s->stops[i]);
        for (size_t k = len < n + 1 ? len : n + 1; k-- > longest + 1;) {
            if (memcmp(text + n - k, s->stops[i], k) == 0) {
                longest = k;
                break;
            }
        }
    }
    return longest;
}

opt_status opt_stopper_push(opt_ctx *ctx, opt_stopper *s, const char *text, size_t bytes,
                            opt_str *out, bool *stopped) {
    opt_status st = OPT_OK;
    if (s->n == 0) {
        return opt_str_append(ctx, out, text, bytes);
    }
    OPT_TRY(opt_str_append(ctx, &s->held, text, bytes));
    const size_t at = find_stop(s, s->held.data, s->held.len);
    if (at < s->held.len) {
        OPT_TRY(opt_str_append(ctx, out, s->held.data, at));
        s->held.len = 0;
        *stopped = true;
        return OPT_OK;
    }
    const size_t keep = open_end(s, s->held.data, s->held.len);
    const size_t certain = s->held.len - keep;
    OPT_TRY(opt_str_append(ctx, out, s->held.data, certain));
    memmove(s->held.data, s->held.data + certain, keep);
    s->held.len = keep;
done:
    return st;
}

opt_status opt_stopper_finish(opt_ctx *ctx, opt_stopper *s, opt_str *out) {
    const opt_status st =
        s->held.len > 0 ? opt_str_append(ctx, out, s->held.data, s->held.len) : OPT_OK;
    s->held.len = 0;
    return st;
}

void opt_stopper_free(opt_ctx *ctx, opt_stopper *s) { opt_str_free(ctx, &s->held); }

/** Picks tokens as soon as their logits arrive: row i stands behind ids[n0 + i]. Rows behind the
 * first wrong guess do not count. */
typedef struct picker {
    opt_generate_job *job;
    int64_t n0;        /* tokens in front of row 0's choice */
    int64_t n_guessed; /* ids[n0 .. n0 + n_guessed) are guesses of the choices */
    int64_t n_right;
    int32_t token; /* the choice behind the last right guess */
    bool settled;
} picker;

static opt_status pick(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    picker *p = user;
    const int32_t *ids = p->job->tokens->ids;
    (void)row0;
    for (int64_t i = 0; i < n_rows && !p->settled; i++) {
        const int64_t n = p->n0 + p->n_right;
        const opt_status st =
            opt_sampler_pick(p->job->sampler, logits + i * p->job->n_vocab, ids, n, &p->token);
        if (st != OPT_OK) {
            return st;
        }
        p->settled = p->n_right == p->n_guessed || p->token != ids[n];
        p->n_right += !p->settled;
    }
    return OPT_OK;
}

/** Hands text to the callback and empties `text`. */
static opt_status deliver(opt_generate_job *job, opt_str *text) {
    const size_t n = text->len;
    text->len = 0;
    return n > 0 && job->on_text != NULL ? job->on_text(job->user, text->data, n) : OPT_OK;
}

/** Turns one token into text; *stopped when a stop text is complete. */
static opt_status show_token(opt_ctx *ctx, opt_generate_job *job, opt_detok *detok, int32_t id,
                             opt_str *piece, opt_str *text, bool *stopped) {
    opt_status st = OPT_OK;
    if (job->tokenizer == NULL) {
        return OPT_OK;
    }
    piece->len = 0;
    OPT_TRY(opt_detok_push(ctx, job->tokenizer, detok, id, true, piece));
    if (piece->len > 0) {
        OPT_TRY(opt_stopper_push(ctx, &job->stopper, piece->data, piece->len, text, stopped));
    }
    OPT_TRY(deliver(job, text));
done:
    return st;
}

/** Gives the text that waits for more: the end has come. */
static opt_status show_rest(opt_ctx *ctx, opt_generate_job *job, opt_detok *detok, opt_str *piece,
                            opt_str *text) {
    opt_status st = OPT_OK;
    bool stopped = false;
    piece->len = 0;
    OPT_TRY(opt_detok_finish(ctx, detok, piece));
    if (piece->len > 0) {
        OPT_TRY(opt_stopper_push(ctx, &job->stopper, piece->data, piece->len, text, &stopped));
    }
    if (!stopped) {
        OPT_TRY(opt_stopper_finish(ctx, &job->stopper, text));
    }
    OPT_TRY(deliver(job, text));
done:
    return st;
}

/** The decoder starts as if it had printed the prompt, so that the first generated word keeps its
 * leading space. */
static opt_status prime_detok(opt_ctx *ctx, const opt_generate_job *job, opt_detok *detok,
                              opt_str *piece) {
    if (job->tokenizer == NULL || job->tokens->n == 0) {
        return OPT_OK;
    }
    const opt_status st = opt_detok_push(ctx, job->tokenizer, detok,
                                         job->tokens->ids[job->tokens->n - 1], true, piece);
    detok->n_pending = 0; /* a character cut by the prompt's end was the prompt's */
    return st;
}

/** Room for all tokens and guesses, so that the loop need not grow it. */
static opt_status reserve_tokens(opt_ctx *ctx, opt_generate_job *job) {
    opt_status st = OPT_OK;
    opt_tokens *t = job->tokens;
    size_t n = 0, bytes = 0;
    const int64_t room = opt_session_n_ctx(job->session) - (int64_t)t->n + 1;
    const int64_t more = opt_max_i64(0, opt_min_i64(job->max_tokens, room)) + OPT_MAX_DRAFT + 1;
    OPT_REQUIRE(opt_add_size(t->n, (size_t)more, &n) && opt_mul_size(n, sizeof *t->ids, &bytes),
                ctx, OPT_ERR_USAGE, NULL, "too many tokens asked for");
    if (n > t->cap) {
        void *p = opt_realloc(ctx, t->ids, bytes);
        OPT_TRY_PTR(p);
        t->ids = p;
        t->cap = n;
    }
done:
    return st;
}

/** Takes the next token of the text; l->ended with the reason when there is nothing more to come.
 */
opt_status opt_generation_take(opt_generation *l, int32_t token) {
    opt_status st = OPT_OK;
    opt_generate_job *job = l->job;
    OPT_TRY(opt_check_cancel(l->ctx));
    const bool eog = job->tokenizer != NULL && !job->ignore_eos &&
                     (token == job->end_token || opt_tokenizer_is_eog(job->tokenizer, token));
    if (eog) {
        l->out->stop_reason = "eos";
        l->ended = true;
        return OPT_OK;
    }
    job->tokens->ids[job->tokens->n++] = token;
    l->n_generated++;
    OPT_TRY(show_token(l->ctx, job, &l->detok, token, &l->piece, &l->text, &l->stopped));
    if (l->stopped) {
        l->out->stop_reason = "stop";
        l->ended = true;
    } else if (l->n_generated == job->max_tokens) {
        l->ended = true;
    }
done:
    return st;
}

/** Runs the last token and guesses of the next ones through the model, and takes what comes out. */
static opt_status next_tokens(opt_generation *l) {
    opt_status st = OPT_OK;
    opt_generate_job *job = l->job;
    opt_tokens *t = job->tokens;
    const int64_t past = opt_session_n_past(job->session);
    const int64_t n = (int64_t)t->n;
    picker p = {.job = job, .n0 = n};
    if (job->speculator != NULL) {
        const int64_t room = opt_session_n_ctx(job->session) - n;
        OPT_TRY(opt_speculator_guess(job->speculator, t->ids, n,
                                     opt_min_i64(room, job->max_tokens - l->n_generated - 1),
                                     &p.n_guessed));
    }
    OPT_TRY(opt_session_eval(job->session, t->ids + past, n - past + p.n_guessed, n - past - 1,
                             pick, &p));
    opt_session_truncate(job->session, n + p.n_right);
    if (job->speculator != NULL) {
        opt_speculator_learn(job->speculator, p.n_guessed, p.n_right);
    }
    l->out->n_passes++;
    l->out->n_guessed += p.n_guessed;
    l->out->n_right += p.n_right;
    for (int64_t i = 0; i < p.n_right && !l->ended; i++) {
        OPT_TRY(opt_generation_take(l, t->ids[n + i])); /* stands there already */
    }
    if (!l->ended) {
        OPT_TRY(opt_generation_take(l, p.token));
    }
done:
    return st;
}

/**
 * Makes room in a full context. Keys of the tokens that stay were computed in the sight of those
 * that go, so that turning them to new positions would not make them those of the shorter text (and
 * would round them again); they are computed anew.
 */
static opt_status shift(opt_generation *l) {
    opt_status st = OPT_OK;
    opt_generate_job *job = l->job;
    opt_tokens *t = job->tokens;
    const int64_t n = (int64_t)t->n, n_drop = (n - job->n_keep) / 2;
    OPT_REQUIRE(n_drop > 0, l->ctx, OPT_ERR_USAGE, "--ctx-keep",
                "%lld tokens to keep leave no room in a context of %lld positions",
                (long long)job->n_keep, (long long)opt_session_n_ctx(job->session));
    for (int64_t i = 0; i < n_drop; i++) {
        OPT_TRY(opt_tokens_push(l->ctx, job->dropped, t->ids[job->n_keep + i]));
    }
    memmove(t->ids + job->n_keep, t->ids + job->n_keep + n_drop,
            (size_t)(n - job->n_keep - n_drop) * sizeof *t->ids);
    t->n -= (size_t)n_drop;
    opt_session_truncate(job->session, job->n_keep);
    opt_sampler_shift(job->sampler, n_drop);
    if (job->speculator != NULL) {
        opt_speculator_shift(job->speculator, job->n_keep, n_drop);
    }
    l->out->n_shifts++;
done:
    return st;
}

/** Reads the prompt and takes the first token. */
static opt_status read_prompt(opt_generation *l) {
    opt_status st = OPT_OK;
    opt_generate_job *job = l->job;
    const int64_t past = opt_session_n_past(job->session), n = (int64_t)job->tokens->n;
    picker p = {.job = job, .n0 = n};
    const double start = opt_seconds();
    l->out->n_read = n - past;
    OPT_TRY(
        opt_session_eval(job->session, job->tokens->ids + past, n - past, n - past - 1, pick, &p));
    l->out->prompt_seconds = opt_seconds() - start;
    OPT_TRY(opt_generation_take(l, p.token));
done:
    return st;
}

opt_status opt_generation_begin(opt_ctx *ctx, opt_generate_job *job, opt_generate_outcome *out,
                                opt_generation *g) {
    opt_status st = OPT_OK;
    *g = (opt_generation){.ctx = ctx, .job = job, .out = out};
    *out = (opt_generate_outcome){.stop_reason = "length"};
    OPT_TRY(reserve_tokens(ctx, job));
    OPT_TRY(prime_detok(ctx, job, &g->detok, &g->piece));
done:
    return st;
}

opt_status opt_generation_finish(opt_generation *g) {
    return !g->stopped && g->job->tokenizer != NULL
               ? show_rest(g->ctx, g->job, &g->detok, &g->piece, &g->text)
               : OPT_OK;
}

void opt_generation_free(opt_generation *g) {
    if (g->ctx != NULL) {
        opt_str_free(g->ctx, &g->piece);
        opt_str_free(g->ctx, &g->text);
    }
}

opt_status opt_generate_run(opt_ctx *ctx, opt_generate_job *job, opt_generate_outcome *out) {
    opt_status st = OPT_OK;
    opt_generation l = {0};
    const double start = opt_seconds();
    OPT_TRY(opt_generation_begin(ctx, job, out, &l));
    OPT_TRY(read_prompt(&l));
    while (!l.ended) {
        if (opt_session_n_past(job->session) == opt_session_n_ctx(job->session)) {
            if (job->dropped == NULL) {
                out->stop_reason = "context";
                break;
            }
            OPT_TRY(shift(&l));
        }
        OPT_TRY(next_tokens(&l));
    }
    OPT_TRY(opt_generation_finish(&l));
    out->generate_seconds = opt_seconds() - start - out->prompt_seconds;
done:
    opt_generation_free(&l);
    return st;
}
