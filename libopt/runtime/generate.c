#include "runtime/generate.h"

#include <string.h>
#include <time.h>

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

/** Picks the next token as soon as the logits of the last row arrive. */
typedef struct picker {
    opt_generate_job *job;
    int32_t token;
} picker;

static opt_status pick(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    picker *p = user;
    const opt_tokens *t = p->job->tokens;
    (void)row0;
    return opt_sampler_pick(p->job->sampler, logits + (n_rows - 1) * p->job->n_vocab, t->ids,
                            (int64_t)t->n, &p->token);
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

opt_status opt_generate_run(opt_ctx *ctx, opt_generate_job *job, opt_generate_outcome *out) {
    opt_status st = OPT_OK;
    opt_str piece = {0}, text = {0};
    opt_detok detok = {0};
    picker p = {job, -1};
    bool stopped = false;
    int64_t n_generated = 0;
    out->stop_reason = "length";
    OPT_TRY(prime_detok(ctx, job, &detok, &piece));
    double start = now_seconds();
    const int64_t n_prompt = (int64_t)job->tokens->n;
    OPT_TRY(opt_session_eval(job->session, job->tokens->ids, n_prompt, n_prompt - 1, pick, &p));
    out->prompt_seconds = now_seconds() - start;
    start = now_seconds();
    while (n_generated < job->max_tokens) {
        OPT_TRY(opt_check_cancel(ctx));
        if (job->tokenizer != NULL && !job->ignore_eos &&
            opt_tokenizer_is_eog(job->tokenizer, p.token)) {
            out->stop_reason = "eos";
            break;
        }
        OPT_TRY(opt_tokens_push(ctx, job->tokens, p.token));
        n_generated++;
        OPT_TRY(show_token(ctx, job, &detok, p.token, &piece, &text, &stopped));
        if (stopped) {
            out->stop_reason = "stop";
            break;
        }
        if (n_generated == job->max_tokens) {
            break;
        }
        if (opt_session_n_past(job->session) == opt_session_n_ctx(job->session)) {
            out->stop_reason = "context";
            break;
        }
        const int32_t token = p.token;
        OPT_TRY(opt_session_eval(job->session, &token, 1, 0, pick, &p));
    }
    if (!stopped && job->tokenizer != NULL) {
        OPT_TRY(show_rest(ctx, job, &detok, &piece, &text));
    }
    out->generate_seconds = now_seconds() - start;
done:
    opt_str_free(ctx, &piece);
    opt_str_free(ctx, &text);
    return st;
}
