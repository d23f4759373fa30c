/**
 * Tokenizers: byte-level BPE and SentencePiece-style BPE with byte fallback, from Hugging Face's
 * tokenizer.json or from GGUF keys. A tokenizer is immutable once made and may be used by many
 * threads.
 */
#ifndef OPT_TEXT_TOKENIZER_H
#define OPT_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "io/kv.h"

typedef struct opt_tokenizer opt_tokenizer;

/** What a token is; the numbers are those of tokenizer.ggml.token_type. */
typedef enum opt_token_kind {
    OPT_TOKEN_NORMAL = 1,
    OPT_TOKEN_UNKNOWN = 2,
    OPT_TOKEN_CONTROL = 3,
    OPT_TOKEN_USER = 4,
    OPT_TOKEN_UNUSED = 5,
    OPT_TOKEN_BYTE = 6
} opt_token_kind;

/** Side files of a checkpoint directory; every member but `json` may be NULL (absent). Borrowed for
 * the call only. */
typedef struct opt_tokenizer_files {
    const opt_buf *json;   /* tokenizer.json */
    const opt_buf *config; /* tokenizer_config.json: bos, eos, add_bos_token, chat_template */
    const opt_buf *generation_config; /* generation_config.json: eos_token_id, number or list */
    const opt_buf *model_config;      /* config.json: bos_token_id, eos_token_id */
    const opt_buf *chat_template;     /* chat_template.jinja */
    const char *origin;               /* directory, for messages */
} opt_tokenizer_files;

/** `n_vocab_model`: rows of the embedding (0: unknown); token ids must lie below it. Errors: INPUT,
 * UNSUPPORTED. */
OPT_MUST_USE opt_status opt_tokenizer_from_files(opt_ctx *ctx, const opt_tokenizer_files *files,
                                                 int64_t n_vocab_model, opt_tokenizer **out);
/** From tokenizer.ggml.* (models "gpt2" and "llama"), or from lathe.tokenizer.* where a file of
 * ours carries more. */
OPT_MUST_USE opt_status opt_tokenizer_from_kv(opt_ctx *ctx, const opt_kv *kv, int64_t n_vocab_model,
                                              opt_tokenizer **out);
void opt_tokenizer_free(opt_tokenizer *t);

/**
 * Writes the tokenizer.ggml.* keys so that stock llama.cpp tokenizes the same; n_vocab_model tokens
 * (unused ones are filled in). Warns (opt_warn) where its splitting has no equivalent there.
 */
OPT_MUST_USE opt_status opt_tokenizer_to_kv(opt_ctx *ctx, const opt_tokenizer *t,
                                            int64_t n_vocab_model, opt_kv *kv);

/** Token ids, growing. Zero-initialise; free with opt_tokens_free. */
typedef struct opt_tokens {
    int32_t *ids; /* [n] */
    size_t n;
    size_t cap;
} opt_tokens;
OPT_MUST_USE opt_status opt_tokens_push(opt_ctx *ctx, opt_tokens *tokens, int32_t id);
void opt_tokens_free(opt_ctx *ctx, opt_tokens *tokens);

enum {
    OPT_ENCODE_ADD_SPECIAL =
        1 << 0, /**< what the model's own post-processor adds (BOS for Llama, ...) */
    OPT_ENCODE_PARSE_SPECIAL = 1 << 1 /**< control tokens written out in the text become themselves
                                         (added tokens that are not special always do) */
};

/** Appends the tokens of text[n] to `out`. Near-linear in n. Invalid UTF-8 is treated as U+FFFD, as
 * Python's decoder does. */
OPT_MUST_USE opt_status opt_tokenizer_encode(opt_ctx *ctx, const opt_tokenizer *t, const char *text,
                                             size_t n, unsigned flags, opt_tokens *out);

/** A part of a text: the next n bytes of it. */
typedef struct opt_text_part {
    size_t n;
    bool words; /* somebody's words: control tokens spelled out in them are plain text */
} opt_text_part;

/** The same for a text of several parts, such as a conversation, with control tokens in those that
 * are not `words` only. The parts together have the text's length; it is valid UTF-8, or repaired
 * part by part. Nothing is added. */
OPT_MUST_USE opt_status opt_tokenizer_encode_parts(opt_ctx *ctx, const opt_tokenizer *t,
                                                   const char *text, const opt_text_part *parts,
                                                   size_t n_parts, opt_tokens *out);

/** Appends the text of ids[n] to `out` as transformers' decode(skip_special_tokens=True) does;
 * false keeps them. */
OPT_MUST_USE opt_status opt_tokenizer_decode(opt_ctx *ctx, const opt_tokenizer *t,
                                             const int32_t *ids, size_t n, bool skip_special,
                                             opt_str *out);

/** Streaming decode: gives text as soon as it is certain, never a part of a UTF-8 character.
 * Zero-initialise. */
typedef struct opt_detok {
    unsigned char pending[8];
    int n_pending;
    bool any;          /* a token was given */
    bool started;      /* text was given */
    size_t n_stripped; /* leading characters that the decoder has removed */
} opt_detok;
OPT_MUST_USE opt_status opt_detok_push(opt_ctx *ctx, const opt_tokenizer *t, opt_detok *d,
                                       int32_t id, bool skip_special, opt_str *out);
/** Gives what is still pending (incomplete characters become U+FFFD). */
OPT_MUST_USE opt_status opt_detok_finish(opt_ctx *ctx, opt_detok *d, opt_str *out);

int64_t opt_tokenizer_n_vocab(const opt_tokenizer *t);
/** -1 where there is none. */
int32_t opt_tokenizer_bos(const opt_tokenizer *t);
int32_t opt_tokenizer_eos(const opt_tokenizer *t);
bool opt_tokenizer_adds_bos(const opt_tokenizer *t);
/** Whether generation ends with this token (eos, end of turn, ...). */
bool opt_tokenizer_is_eog(const opt_tokenizer *t, int32_t id);
opt_token_kind opt_tokenizer_kind(const opt_tokenizer *t, int32_t id);
/** The token as stored in the vocabulary (UTF-8, not 0-terminated); NULL for an id outside. */
const char *opt_tokenizer_piece(const opt_tokenizer *t, int32_t id, size_t *len);
/** Id of a token by its stored text, or -1. */
int32_t opt_tokenizer_find(const opt_tokenizer *t, const char *piece, size_t len);
/** The chat template (never rendered), or NULL. */
const char *opt_tokenizer_chat_template(const opt_tokenizer *t);

#endif
