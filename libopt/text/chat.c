#include "text/chat.h"

#include <string.h>

/** Where the system message goes. */
typedef enum system_place {
    SYSTEM_OWN,        /* a message like the others */
    SYSTEM_FIRST_USER, /* in front of the first user message */
    SYSTEM_LAST_USER,  /* in front of the last one */
    SYSTEM_NOWHERE
} system_place;

/** What stands around a message; "{bos}" and "{eos}" are the model's tokens. */
typedef struct turn {
    const char *before, *after;
    bool trim; /* white space around the message is left out */
} turn;

enum { MAX_MARKS = 3 };

struct opt_chat_format {
    const char *name;
    const char *has[MAX_MARKS];     /* texts of a template that is this one */
    const char *has_not[MAX_MARKS]; /* quotes in them are single ones */
    const char *start;
    turn system, user, assistant;
    const char *answer; /* begins the assistant's answer */
    system_place place;
    const char *default_system; /* begins the template's own system message in its text, or NULL */
    const char *default_end;    /* ends it */
    bool always_system;         /* the system message stands there even when it is empty */
};

/*
 * More special rows stand first. The texts are those of the models' own templates; goldens for each
 * of them come from transformers (scripts/make_chat_goldens.py).
 */
static const opt_chat_format formats[] = {
    {.name = "chatml",
     .has = {"<|im_start|>", "<|im_end|>"},
     .start = "",
     .system = {"<|im_start|>system\n", "<|im_end|>\n", false},
     .user = {"<|im_start|>user\n", "<|im_end|>\n", false},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n", false},
     .answer = "<|im_start|>assistant\n",
     .place = SYSTEM_OWN,
     .default_system = "<|im_start|>system\n",
     .default_end = "<|im_end|>"},
    {.name = "llama-3.1",
     .has = {"<|start_header_id|>", "Cutting Knowledge Date"},
     .start = "{bos}",
     .system = {"<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
                "2023\nToday Date: 26 Jul 2024\n\n",
                "<|eot_id|>", true},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>", true},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", true},
     .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .place = SYSTEM_OWN,
     .always_system = true},
    {.name = "llama-3",
     .has = {"<|start_header_id|>", "<|eot_id|>"},
     .start = "{bos}",
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>", true},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>", true},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", true},
     .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .place = SYSTEM_OWN},
    {.name = "llama-2",
     .has = {"[INST]", "<<SYS>>"},
     .start = "",
     .system = {"<<SYS>>\n", "\n<</SYS>>\n\n", false},
     .user = {"{bos}[INST] ", " [/INST]", true},
     .assistant = {" ", " {eos}", true},
     .answer = "",
     .place = SYSTEM_FIRST_USER},
    {.name = "mistral-v1",
     .has = {"' [INST] '", "' [/INST]'"},
     .start = "{bos}",
     .system = {"", "\n\n", false},
     .user = {" [INST] ", " [/INST]", false},
     .assistant = {" ", "{eos}", false},
     .answer = "",
     .place = SYSTEM_FIRST_USER},
    {.name = "mistral",
     .has = {"'[INST] '", "' [/INST]'"},
     .start = "{bos}",
     .user = {"[INST] ", " [/INST]", false},
     .assistant = {"", "{eos}", false},
     .answer = "",
     .place = SYSTEM_NOWHERE},
    {.name = "mistral-v3",
     .has = {"'[INST] '", "'[/INST]'"},
     .start = "{bos}",
     .system = {"", "\n\n", false},
     .user = {"[INST] ", "[/INST]", false},
     .assistant = {" ", "{eos}", true},
     .answer = "",
     .place = SYSTEM_LAST_USER},
    {.name = "mistral-tekken",
     .has = {"'[INST]'", "'[/INST]'"},
     .start = "{bos}",
     .system = {"", "\n\n", false},
     .user = {"[INST]", "[/INST]", false},
     .assistant = {"", "{eos}", true},
     .answer = "",
     .place = SYSTEM_LAST_USER},
    {.name = "gemma-3",
     .has = {"<start_of_turn>", "<end_of_turn>", "first_user_prefix"},
     .start = "{bos}",
     .system = {"", "\n\n", false},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n", true},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n", true},
     .answer = "<start_of_turn>model\n",
     .place = SYSTEM_FIRST_USER},
    {.name = "gemma",
     .has = {"<start_of_turn>", "<end_of_turn>"},
     .start = "{bos}",
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n", true},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n", true},
     .answer = "<start_of_turn>model\n",
     .place = SYSTEM_NOWHERE},
    {.name = "zephyr",
     .has = {"<|user|>", "<|assistant|>", "eos_token"},
     .has_not = {"<|end|>"},
     .start = "",
     .system = {"<|system|>\n", "{eos}\n", false},
     .user = {"<|user|>\n", "{eos}\n", false},
     .assistant = {"<|assistant|>\n", "{eos}\n", false},
     .answer = "<|assistant|>\n",
     .place = SYSTEM_OWN},
};

enum { N_FORMATS = sizeof formats / sizeof formats[0] };

const char *opt_chat_name(const opt_chat_template *c) { return c->format->name; }

const char *opt_chat_nth_name(size_t i) { return i < N_FORMATS ? formats[i].name : NULL; }

/* ---- recognising ---- */

static char plain_quote(char c) { return c == '"' ? '\'' : c; }

/** Whether `mark` occurs in text, double quotes taken for single ones. */
static bool has_mark(const char *text, const char *mark) {
    const size_t n = strlen(mark);
    for (; *text != 0; text++) {
        size_t i = 0;
        while (i < n && text[i] != 0 && plain_quote(text[i]) == mark[i]) {
            i++;
        }
        if (i == n) {
            return true;
        }
    }
    return false;
}

static bool is_format(const opt_chat_format *f, const char *text) {
    for (int i = 0; i < MAX_MARKS; i++) {
        if ((f->has[i] != NULL && !has_mark(text, f->has[i])) ||
            (f->has_not[i] != NULL && has_mark(text, f->has_not[i]))) {
            return false;
        }
    }
    return true;
}

/** Compares text with `mark`, in which a line end may be written as \n, as Jinja does. Returns the
 * length of what agrees, 0 if it does not. */
static size_t match_escaped(const char *text, const char *mark) {
    size_t at = 0;
    for (; *mark != 0; mark++) {
        if (*mark == '\n' && text[at] == '\\' && text[at + 1] == 'n') {
            at += 2;
        } else if (text[at] == *mark) {
            at++;
        } else {
            return 0;
        }
    }
    return at;
}

/** The system message that a template brings itself: a constant between its marks. */
static void find_default_system(const char *text, opt_chat_template *c) {
    const char *mark = c->format->default_system;
    for (; mark != NULL && *text != 0; text++) {
        const size_t n = match_escaped(text, mark);
        const char *end = n > 0 ? strstr(text + n, c->format->default_end) : NULL;
        const size_t len = end != NULL ? (size_t)(end - text) - n : 0;
        if (len > 0 && memchr(text + n, '\'', len) == NULL && memchr(text + n, '{', len) == NULL &&
            memchr(text + n, '"', len) == NULL && memchr(text + n, '\\', len) == NULL) {
            c->system = text + n;
            c->n_system = len;
            return;
        }
    }
}

/** "chatml, llama-3, ..." */
static opt_status list_names(opt_ctx *ctx, opt_str *out) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < N_FORMATS && st == OPT_OK; i++) {
        st = opt_str_printf(ctx, out, "%s%s", i > 0 ? ", " : "", formats[i].name);
    }
    return st;
}

static opt_status find_by_name(opt_ctx *ctx, const char *name, const char *names,
                               opt_chat_template *out) {
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *out = (opt_chat_template){.format = &formats[i]};
            return OPT_OK;
        }
    }
    return opt_fail(ctx, OPT_ERR_USAGE, "--chat-template", "'%s' is unknown; there are %s", name,
                    names);
}

opt_status opt_chat_find(opt_ctx *ctx, const opt_tokenizer *t, const char *name,
                         opt_chat_template *out) {
    opt_status st = OPT_OK;
    opt_str names = {0};
    const char *text = opt_tokenizer_chat_template(t);
    OPT_TRY(list_names(ctx, &names));
    if (name != NULL) {
        OPT_TRY(find_by_name(ctx, name, names.data, out));
        if (text != NULL && is_format(out->format, text)) {
            find_default_system(text, out);
        }
        goto done;
    }
    OPT_REQUIRE(text != NULL, ctx, OPT_ERR_USAGE, NULL,
                "the model has no chat template; choose one with --chat-template: %s", names.data);
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (is_format(&formats[i], text)) {
            *out = (opt_chat_template){.format = &formats[i]};
            find_default_system(text, out);
            goto done;
        }
    }
    st = opt_fail(ctx, OPT_ERR_UNSUPPORTED, NULL,
                  "the model's chat template is none of those that are known; choose the nearest "
                  "with --chat-template: %s",
                  names.data);
done:
    opt_str_free(ctx, &names);
    return st;
}

/* ---- rendering ---- */

typedef struct renderer {
    opt_ctx *ctx;
    const opt_tokenizer *t;
    opt_chat_text *out;
} renderer;

static opt_status put(renderer *r, const char *text, size_t n, bool words) {
    opt_status st = OPT_OK;
    opt_chat_text *o = r->out;
    if (n == 0) {
        return OPT_OK;
    }
    OPT_TRY(opt_str_append(r->ctx, &o->text, text, n));
    if (o->n_parts > 0 && o->parts[o->n_parts - 1].words == words) {
        o->parts[o->n_parts - 1].n += n;
        return OPT_OK;
    }
    if (o->n_parts == o->cap) {
        const size_t cap = 2 * o->cap + 16;
        void *p = opt_realloc(r->ctx, o->parts, cap * sizeof *o->parts);
        OPT_TRY_PTR(p);
        o->parts = p;
        o->cap = cap;
    }
    o->parts[o->n_parts++] = (opt_text_part){.n = n, .words = words};
done:
    return st;
}

static opt_status put_token(renderer *r, int32_t id) {
    size_t len = 0;
    const char *piece = opt_tokenizer_piece(r->t, id, &len);
    return piece != NULL ? put(r, piece, len, false) : OPT_OK;
}

/** Text of the table, with {bos} and {eos} replaced. */
static opt_status put_frame(renderer *r, const char *text) {
    opt_status st = OPT_OK;
    while (text != NULL && *text != 0) {
        const char *brace = strchr(text, '{');
        const size_t n = brace != NULL ? (size_t)(brace - text) : strlen(text);
        OPT_TRY(put(r, text, n, false));
        text += n;
        if (brace != NULL) {
            OPT_TRY(put_token(r, strncmp(text, "{bos}", 5) == 0 ? opt_tokenizer_bos(r->t)
                                                                : opt_tokenizer_eos(r->t)));
            text += 5;
        }
    }
done:
    return st;
}

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static opt_status put_words(renderer *r, const opt_chat_message *m, bool left, bool right) {
    size_t a = 0, n = m->n;
    while (left && a < n && is_blank(m->text[a])) {
        a++;
    }
    while (right && n > a && is_blank(m->text[n - 1])) {
        n--;
    }
    return put(r, m->text + a, n - a, true);
}

/** A message with its frame; `system` stands inside of it, in front, unless NULL. */
static opt_status put_turn(renderer *r, const opt_chat_format *f, const opt_chat_message *m,
                           const opt_chat_message *system) {
    opt_status st = OPT_OK;
    const turn *t = m->role == OPT_CHAT_SYSTEM ? &f->system
                    : m->role == OPT_CHAT_USER ? &f->user
                                               : &f->assistant;
    OPT_TRY(put_frame(r, t->before));
    if (system != NULL) {
        OPT_TRY(put_frame(r, f->system.before));
        OPT_TRY(put_words(r, system, false, false));
        OPT_TRY(put_frame(r, f->system.after));
    }
    /* Llama-2 trims the two together: what stands inside keeps its space. */
    const bool inner = system != NULL && f->system.before[0] != 0;
    OPT_TRY(put_words(r, m, t->trim && !inner, t->trim));
    OPT_TRY(put_frame(r, t->after));
done:
    return st;
}

static opt_status check_order(opt_ctx *ctx, const opt_chat_template *c,
                              const opt_chat_message *messages, size_t n) {
    opt_status st = OPT_OK;
    const size_t first = n > 0 && messages[0].role == OPT_CHAT_SYSTEM;
    OPT_REQUIRE(first == 0 || c->format->place != SYSTEM_NOWHERE, ctx, OPT_ERR_USAGE,
                c->format->name, "this chat template has no place for a system message");
    OPT_REQUIRE((n - first) % 2 == 1, ctx, OPT_ERR_USAGE, c->format->name,
                "the last message of a conversation must be the user's");
    for (size_t i = first; i < n; i++) {
        OPT_REQUIRE(messages[i].role == ((i - first) % 2 == 0 ? OPT_CHAT_USER : OPT_CHAT_ASSISTANT),
                    ctx, OPT_ERR_USAGE, c->format->name,
                    "message %zu: user and assistant must take turns, behind at most one system "
                    "message",
                    i + 1);
    }
done:
    return st;
}

opt_status opt_chat_render(opt_ctx *ctx, const opt_tokenizer *t, const opt_chat_template *c,
                           const opt_chat_message *messages, size_t n, opt_chat_text *out) {
    opt_status st = OPT_OK;
    const opt_chat_format *f = c->format;
    renderer r = {ctx, t, out};
    const opt_chat_message own = {OPT_CHAT_SYSTEM, c->system != NULL ? c->system : "", c->n_system};
    OPT_TRY(check_order(ctx, c, messages, n));
    const bool has_system = messages[0].role == OPT_CHAT_SYSTEM;
    size_t inside = n; /* the message that holds the system message */
    OPT_TRY(put_frame(&r, f->start));
    if (f->place == SYSTEM_OWN && !has_system && (c->n_system > 0 || f->always_system)) {
        OPT_TRY(put_turn(&r, f, &own, NULL));
    } else if (has_system && f->place == SYSTEM_FIRST_USER) {
        inside = 1;
    } else if (has_system && f->place == SYSTEM_LAST_USER) {
        inside = n - 1;
    }
    for (size_t i = has_system && f->place != SYSTEM_OWN ? 1 : 0; i < n; i++) {
        OPT_TRY(put_turn(&r, f, &messages[i], i == inside ? &messages[0] : NULL));
    }
    OPT_TRY(put_frame(&r, f->answer));
done:
    return st;
}

void opt_chat_text_free(opt_ctx *ctx, opt_chat_text *text) {
    opt_str_free(ctx, &text->text);
    opt_free(ctx, text->parts);
    *text = (opt_chat_text){0};
}

int32_t opt_chat_end_token(const opt_tokenizer *t, const opt_chat_template *c) {
    const char *after = c->format->assistant.after;
    while (is_blank(*after)) {
        after++;
    }
    if (strncmp(after, "{eos}", 5) == 0) {
        return opt_tokenizer_eos(t);
    }
    size_t n = strlen(after);
    while (n > 0 && is_blank(after[n - 1])) {
        n--;
    }
    return opt_tokenizer_find(t, after, n);
}
