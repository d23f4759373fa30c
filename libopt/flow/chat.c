/* A conversation: every turn is rendered from its beginning, and what the cache holds already is
 * not computed again. */
#include "text/chat.h"

#include <string.h>

#include "base/num.h"
#include "exec/cache.h"
#include "flow/runner.h"
#include "runtime/generate.h"

enum { DEFAULT_ANSWER = 512, DEFAULT_CTX = 4096 };

struct opt_chat {
    opt_ctx *ctx;
    opt_runner *r;
    opt_chat_options o;
    opt_chat_template format;
    opt_session *session;
    opt_sampler *sampler;
    opt_speculator *speculator;
    opt_prefix *prefix;         /* or NULL; the runner's */
    opt_chat_message *messages; /* [n], their texts owned */
    size_t n, cap;
    opt_tokens cached; /* what the session's cache holds, and perhaps more */
    opt_str answer;    /* of the current turn */
    int64_t n_ctx;
};

static void free_message(opt_chat *c, opt_chat_message *m) {
    opt_free(c->ctx, (void *)(uintptr_t)m->text); /* made by add_message */
}

void opt_chat_free(opt_chat *c) {
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        free_message(c, &c->messages[i]);
    }
    opt_free(c->ctx, c->messages);
    opt_sampler_free(c->sampler);
    opt_speculator_free(c->speculator);
    opt_tokens_free(c->ctx, &c->cached);
    opt_str_free(c->ctx, &c->answer);
    opt_free(c->ctx, c);
}

static opt_status add_message(opt_chat *c, opt_chat_role role, const char *text, size_t n) {
    opt_status st = OPT_OK;
    char *copy = NULL;
    if (c->n == c->cap) {
        const size_t cap = 2 * c->cap + 8;
        void *p = opt_realloc(c->ctx, c->messages, cap * sizeof *c->messages);
        OPT_TRY_PTR(p);
        c->messages = p;
        c->cap = cap;
    }
    copy = opt_alloc(c->ctx, n + 1);
    OPT_TRY_PTR(copy);
    memcpy(copy, text, n);
    copy[n] = 0;
    c->messages[c->n++] = (opt_chat_message){role, copy, n};
done:
    return st;
}

/** The system message must have a place: better said now than at the first turn. */
static opt_status check_system(opt_chat *c) {
    opt_chat_text text = {0};
    const opt_chat_message probe[] = {{OPT_CHAT_SYSTEM, "", 0}, {OPT_CHAT_USER, "", 0}};
    const opt_status st =
        opt_chat_render(c->ctx, c->r->opened.tokenizer, &c->format, probe, 2, &text);
    opt_chat_text_free(c->ctx, &text);
    return st;
}

opt_status opt_chat_new(opt_ctx *ctx, opt_runner *r, const opt_chat_options *options,
                        opt_chat **out) {
    opt_status st = OPT_OK;
    const int64_t trained = r->opened.model->hp.n_ctx_train;
    opt_chat *c = opt_alloc_zero(ctx, sizeof *c);
    OPT_TRY_PTR(c);
    c->ctx = ctx;
    c->r = r;
    c->o = *options;
    c->o.max_tokens = options->max_tokens > 0 ? options->max_tokens : DEFAULT_ANSWER;
    OPT_REQUIRE(r->opened.tokenizer != NULL, ctx, OPT_ERR_USAGE, opt_source_path(r->opened.source),
                "the model has no tokenizer, so it cannot read a text");
    OPT_TRY(opt_chat_find(ctx, r->opened.tokenizer, options->template_name, &c->format));
    c->n_ctx = r->options.n_ctx > 0 ? r->options.n_ctx : opt_min_i64(trained, DEFAULT_CTX);
    OPT_REQUIRE(c->n_ctx >= 2, ctx, OPT_ERR_USAGE, "--ctx",
                "the model does not say how many positions it can hold; give a number");
    if (options->system != NULL) {
        OPT_TRY(check_system(c));
        OPT_TRY(add_message(c, OPT_CHAT_SYSTEM, options->system, strlen(options->system)));
    }
    OPT_TRY(opt_sampler_new(ctx, &options->sampling, r->opened.model->hp.n_vocab, &c->sampler));
    OPT_TRY(opt_runner_session(r, c->n_ctx, &c->session));
    OPT_TRY(opt_runner_speculator(r, &options->speculation, &options->sampling, c->n_ctx,
                                  &c->speculator));
    OPT_TRY(opt_runner_prefix(r, c->session, &c->prefix));
    *out = c;
    c = NULL;
done:
    opt_chat_free(c);
    return st;
}

const char *opt_chat_format_name(const opt_chat *c) { return opt_chat_name(&c->format); }

static opt_status render(opt_chat *c, opt_tokens *out) {
    opt_status st = OPT_OK;
    opt_chat_text text = {0};
    const opt_tokenizer *t = c->r->opened.tokenizer;
    out->n = 0;
    OPT_TRY(opt_chat_render(c->ctx, t, &c->format, c->messages, c->n, &text));
    OPT_TRY(opt_tokenizer_encode_parts(c->ctx, t, text.text.data, text.parts, text.n_parts, out));
done:
    opt_chat_text_free(c->ctx, &text);
    return st;
}

/** Forgets a pair of messages behind the system message, if there is one besides the last. */
static bool forget_turn(opt_chat *c) {
    const size_t first = c->n > 0 && c->messages[0].role == OPT_CHAT_SYSTEM;
    if (c->n < first + 3) {
        return false;
    }
    free_message(c, &c->messages[first]);
    free_message(c, &c->messages[first + 1]);
    memmove(&c->messages[first], &c->messages[first + 2], (c->n - first - 2) * sizeof *c->messages);
    c->n -= 2;
    return true;
}

/** Renders the conversation, shortened so that an answer has room behind it. */
static opt_status fit(opt_chat *c, opt_tokens *tokens) {
    opt_status st = OPT_OK;
    int forgotten = 0;
    const int64_t answer = opt_min_i64(c->o.max_tokens, c->n_ctx / 4);
    OPT_TRY(render(c, tokens));
    while ((int64_t)tokens->n + answer > c->n_ctx && forget_turn(c)) {
        forgotten++;
        OPT_TRY(render(c, tokens));
    }
    if (forgotten > 0) {
        opt_warn(c->ctx, NULL,
                 "the conversation is longer than the context of %lld positions: its oldest %d "
                 "turn%s forgotten",
                 (long long)c->n_ctx, forgotten, forgotten == 1 ? " is" : "s are");
    }
    OPT_REQUIRE((int64_t)tokens->n < c->n_ctx, c->ctx, OPT_ERR_USAGE, "--ctx",
                "the message has %zu tokens with its frame, only %lld positions are there",
                tokens->n, (long long)c->n_ctx);
done:
    return st;
}

/** Cuts the cache back to what it shares with the tokens; at least the last one is computed. */
static opt_status reuse_cache(opt_chat *c, const opt_tokens *tokens) {
    opt_status st = OPT_OK;
    int64_t n_loaded = 0;
    const size_t past = (size_t)opt_session_n_past(c->session);
    size_t n = 0;
    while (n < past && n + 1 < tokens->n && c->cached.ids[n] == tokens->ids[n]) {
        n++;
    }
    opt_session_truncate(c->session, (int64_t)n);
    if (c->speculator != NULL) {
        opt_speculator_truncate(c->speculator, (int64_t)n);
    }
    if (c->prefix != NULL) {
        OPT_TRY(opt_prefix_load(c->prefix, c->session, 0, tokens->ids, (int64_t)tokens->n - 1,
                                &n_loaded));
        OPT_TRY(opt_prefix_read(c->prefix, c->session, tokens->ids, (int64_t)tokens->n));
    }
done:
    return st;
}

/** Tokens that stay when the context is shifted: as many as were asked for, or the system message.
 */
static opt_status tokens_to_keep(opt_chat *c, const opt_tokens *tokens, int64_t *out) {
    opt_status st = OPT_OK;
    opt_chat_text text = {0};
    opt_tokens probe = {0};
    const opt_tokenizer *t = c->r->opened.tokenizer;
    const bool system = c->messages[0].role == OPT_CHAT_SYSTEM;
    *out = c->o.shift.keep > 0 ? c->o.shift.keep : OPT_KEEP_TOKENS;
    if (system && c->o.shift.keep == 0) {
        const opt_chat_message messages[] = {c->messages[0], {OPT_CHAT_USER, "", 0}};
        int64_t n = 0;
        OPT_TRY(opt_chat_render(c->ctx, t, &c->format, messages, 2, &text));
        OPT_TRY(opt_tokenizer_encode_parts(c->ctx, t, text.text.data, text.parts, text.n_parts,
                                           &probe));
        while (n < (int64_t)probe.n && n < (int64_t)tokens->n && probe.ids[n] == tokens->ids[n]) {
            n++;
        }
        *out = opt_max_i64(*out, n);
    }
    OPT_REQUIRE(*out < c->n_ctx, c->ctx, OPT_ERR_USAGE, "--ctx-keep",
                "%lld tokens to keep leave no room in a context of %lld positions", (long long)*out,
                (long long)c->n_ctx);
done:
    opt_tokens_free(c->ctx, &probe);
    opt_chat_text_free(c->ctx, &text);
    return st;
}

static opt_status keep_answer(void *user, const char *text, size_t n) {
    opt_chat *c = user;
    const opt_status st = opt_str_append(c->ctx, &c->answer, text, n);
    return st == OPT_OK && c->o.on_text != NULL ? c->o.on_text(c->o.user, text, n) : st;
}

opt_status opt_chat_say(opt_chat *c, const char *text, size_t n, opt_generate_result *result) {
    opt_status st = OPT_OK;
    opt_tokens tokens = {0}, dropped = {0};
    opt_generate_outcome outcome = {0};
    opt_generate_job job = {.session = c->session,
                            .tokenizer = c->r->opened.tokenizer,
                            .sampler = c->sampler,
                            .speculator = c->speculator,
                            .tokens = &tokens,
                            .n_vocab = c->r->opened.model->hp.n_vocab,
                            .max_tokens = c->o.max_tokens,
                            .stopper = {.stops = c->o.stops, .n = c->o.n_stops},
                            .end_token = opt_chat_end_token(c->r->opened.tokenizer, &c->format),
                            .on_text = keep_answer,
                            .user = c};
    bool asked = false;
    c->answer.len = 0;
    OPT_TRY(add_message(c, OPT_CHAT_USER, text, n));
    asked = true;
    OPT_TRY(fit(c, &tokens));
    OPT_TRY(reuse_cache(c, &tokens));
    if (c->o.shift.on) {
        job.dropped = &dropped;
        OPT_TRY(tokens_to_keep(c, &tokens, &job.n_keep));
    }
    const int64_t n_prompt = (int64_t)tokens.n;
    const opt_status ran = opt_generate_run(c->ctx, &job, &outcome);
    opt_tokens_free(c->ctx, &c->cached);
    c->cached = tokens;
    tokens = (opt_tokens){0};
    OPT_TRY(ran);
    if (c->prefix != NULL) {
        OPT_TRY(opt_prefix_save(c->prefix, c->session, 0, c->cached.ids,
                                opt_session_n_past(c->session)));
    }
    OPT_TRY(add_message(c, OPT_CHAT_ASSISTANT, c->answer.data != NULL ? c->answer.data : "",
                        c->answer.len));
    if (strcmp(outcome.stop_reason, "context") == 0) {
        opt_warn(
            c->ctx, NULL,
            "the answer is cut short: the context of %lld positions is full; --ctx-shift goes on",
            (long long)c->n_ctx);
    }
    *result = (opt_generate_result){
        .n_prompt = n_prompt,
        .n_generated = (int64_t)(c->cached.n + dropped.n) - n_prompt,
        .stop_reason = outcome.stop_reason,
        .prompt_seconds = outcome.prompt_seconds,
        .generate_seconds = outcome.generate_seconds,
        .n_read = outcome.n_read,
        .n_passes = outcome.n_passes,
        .n_shifts = outcome.n_shifts,
        .n_guessed = outcome.n_guessed,
        .n_right = outcome.n_right,
        .cache_type = opt_cache_type_name(opt_session_cache_type(c->session)),
        .cache_bytes = opt_session_cache_bytes(c->session),
    };
done:
    if (st != OPT_OK && asked) { /* the turn has not taken place */
        free_message(c, &c->messages[--c->n]);
    }
    opt_tokens_free(c->ctx, &dropped);
    opt_tokens_free(c->ctx, &tokens);
    opt_stopper_free(c->ctx, &job.stopper);
    return st;
}
