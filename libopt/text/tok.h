/**
 * Inside of a tokenizer, and the steps by which its readers build one. Only for the files of this
 * folder.
 */
#ifndef OPT_TEXT_TOK_H
#define OPT_TEXT_TOK_H

#include "base/json.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/** Special tokens by role; -1: none. */
typedef struct opt_specials {
    int32_t bos;
    int32_t eos;
    int32_t unk;
    int32_t pad;
    int32_t eot; /* end of a turn, where a GGUF file names it */
    int32_t eom; /* end of a message, before a tool answers */
} opt_specials;

struct opt_tokenizer {
    opt_ctx *ctx;
    opt_vocab vocab;
    opt_bpe bpe;
    opt_pipeline pipe;
    opt_added_token *added; /* [n_added] */
    size_t n_added;
    opt_trie raw_trie; /* added tokens looked for before normalization, and after */
    opt_trie normalized_trie;
    opt_piece
        *shown; /* [n_vocab] what decoders get for a token, in vocab.text; NULL: all as stored */
    opt_specials special;
    uint8_t *is_special; /* [n_vocab] skipped when decoding */
    uint8_t *is_eog;     /* [n_vocab] */
    int32_t n_vocab;
    opt_str chat_template;
    bool has_template;

    /* What writing it to GGUF needs. */
    opt_str pipeline_json; /* the tokenizer.json without vocabulary and merges; empty: not made from
                              one */
    float *scores;         /* [n_vocab], or NULL: the vocabulary has merges */
    opt_str pre;           /* tokenizer.ggml.pre, where it was made from one */
    bool add_space_prefix; /* scores only */
    opt_merge *merges;     /* [n_merges] in the order of the file */
    size_t n_merges;
};

/** An empty tokenizer. */
OPT_MUST_USE opt_status opt_tok_new(opt_ctx *ctx, opt_tokenizer **out);

/**
 * The texts of the vocabulary and their ids, before the merges. `n_ids`: one more than the largest
 * id.
 */
OPT_MUST_USE opt_status opt_tok_check_range(opt_ctx *ctx, const char *object, int64_t n_ids,
                                            int64_t n_entries, int64_t n_vocab_model);

/** Adds the list `added_tokens` of a tokenizer.json to a vocabulary that has been filled. */
OPT_MUST_USE opt_status opt_tok_read_added(opt_tokenizer *t, const char *object,
                                           const opt_json *list);

/** Adds one added token whose text is in the vocabulary; call opt_tok_build_tries at the end. */
OPT_MUST_USE opt_status opt_tok_add_added(opt_tokenizer *t, const opt_added_token *token);

/** Reads the members of `model` besides vocab and merges. Errors: INPUT, UNSUPPORTED. */
OPT_MUST_USE opt_status opt_tok_read_model(opt_tokenizer *t, const char *object,
                                           const opt_json *model);

/** Adds merge number t->n_merges. Room for it was made with opt_tok_reserve_merges. */
OPT_MUST_USE opt_status opt_tok_reserve_merges(opt_tokenizer *t, size_t n);
OPT_MUST_USE opt_status opt_tok_add_merge(opt_tokenizer *t, const char *object, const char *left,
                                          size_t n_left, const char *right, size_t n_right);
/** A merge written "left right". */
OPT_MUST_USE opt_status opt_tok_add_merge_line(opt_tokenizer *t, const char *object,
                                               const char *line, size_t n);

/**
 * Call when vocabulary, merges, added tokens and pipeline are there: prepares searching and marks
 * special tokens.
 */
OPT_MUST_USE opt_status opt_tok_finish(opt_tokenizer *t, const char *object);

/**
 * Makes the post-processor add BOS (EOS) or not, against what it says itself. Errors: INPUT if
 * there is no such token.
 */
OPT_MUST_USE opt_status opt_tok_set_adds_bos(opt_tokenizer *t, const char *object, bool add);
OPT_MUST_USE opt_status opt_tok_set_adds_eos(opt_tokenizer *t, const char *object, bool add);

/**
 * Marks tokens that end generation: eos, and control tokens known for it by their text. Call after
 * opt_tok_finish.
 */
void opt_tok_mark_eog(opt_tokenizer *t);

/** Writes `v` into `w`, without the members vocab and merges of the member `model`. */
void opt_tok_write_json(opt_jsonw *w, const opt_json *v, int depth);

#endif
