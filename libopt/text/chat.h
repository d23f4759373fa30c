/**
 * Chat templates: how a conversation is written for a model that was trained on one. The common
 * templates are rows of a table; a model's own template (a Jinja program) is recognised by the
 * texts in it and never run.
 */
#ifndef OPT_TEXT_CHAT_H
#define OPT_TEXT_CHAT_H

#include "text/tokenizer.h"

typedef enum opt_chat_role { OPT_CHAT_SYSTEM, OPT_CHAT_USER, OPT_CHAT_ASSISTANT } opt_chat_role;

/** A message: text [n], borrowed, any UTF-8. */
typedef struct opt_chat_message {
    opt_chat_role role;
    const char *text;
    size_t n;
} opt_chat_message;

/** A row of the table. */
typedef struct opt_chat_format opt_chat_format;

/** A template for one model. */
typedef struct opt_chat_template {
    const opt_chat_format *format;
    const char *system; /* [n_system] what the template says itself where a conversation brings no
                           system message; in the model's template text */
    size_t n_system;
} opt_chat_template;

/**
 * The template `name`, or with NULL the one that the tokenizer's own template text is. Errors:
 * USAGE for an unknown name and where the model has no template; UNSUPPORTED where it has one that
 * is not in the table. All of them say which names there are.
 */
OPT_MUST_USE opt_status opt_chat_find(opt_ctx *ctx, const opt_tokenizer *t, const char *name,
                                      opt_chat_template *out);
const char *opt_chat_name(const opt_chat_template *c);
/** Name of row i, or NULL behind the last one. */
const char *opt_chat_nth_name(size_t i);

/** A conversation as text, and which parts of it are somebody's words: no control tokens there. */
typedef struct opt_chat_text {
    opt_str text;
    opt_text_part *parts; /* [n_parts] covers the text without gaps */
    size_t n_parts, cap;
} opt_chat_text;

/**
 * Writes messages [n] with the beginning of the assistant's answer behind them. A system message
 * comes first if at all, then user and assistant take turns, and the last word is the user's.
 * Errors: USAGE for any other order, and for a system message where the template has no place for
 * one.
 */
OPT_MUST_USE opt_status opt_chat_render(opt_ctx *ctx, const opt_tokenizer *t,
                                        const opt_chat_template *c,
                                        const opt_chat_message *messages, size_t n,
                                        opt_chat_text *out);
void opt_chat_text_free(opt_ctx *ctx, opt_chat_text *text);

/** The token that ends the assistant's answer, or -1 where the template has none of one token. */
int32_t opt_chat_end_token(const opt_tokenizer *t, const opt_chat_template *c);

#endif
