/**
 * Byte pair encoding of one word: start from characters (or bytes), and keep merging the adjacent
 * pair of the lowest rank, leftmost first (Sennrich et al. 2016). Vocabularies with scores
 * (SentencePiece) are turned into merges when they are read, so there is one engine.
 *
 * Words may be as long as a whole text: a word is cut wherever no merge can ever join the two
 * sides, short parts are merged by scanning and remembered for the rest of the call, long ones with
 * a heap, so time is n log n at worst.
 */
#ifndef OPT_TEXT_BPE_H
#define OPT_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/tokenizer.h"
#include "text/vocab.h"

#define OPT_BPE_NO_RANK UINT32_MAX

/** A row of the merge table; left == UINT32_MAX: empty. */
typedef struct opt_merge {
    uint32_t left;
    uint32_t right;
    uint32_t rank;
    uint32_t result;
} opt_merge;

typedef struct opt_bpe {
    opt_merge *table; /* [mask + 1], open addressing */
    uint32_t mask;
    uint32_t n_merges;
    uint64_t *joins;          /* filter: pairs of first symbols that some merge joins */
    bool can_cut;             /* `joins` is complete */
    int32_t byte_id[256];     /* byte-level: the token of each byte, or -1 */
    int32_t ascii_id[128];    /* the token of each ASCII character, or -1 */
    int32_t fallback_id[256]; /* the token <0xHH>, or -1 */
    int32_t
        unk; /* -1: none, unknown characters vanish (as they do in the reference implementation) */
    int32_t
        n_vocab; /* symbols from here on are characters without a token, see opt_bpe_set_scores */
    bool byte_fallback;
    bool fuse_unk;
    bool ignore_merges;
} opt_bpe;

/** Sets up the tables of single characters from the finished vocabulary. Call before the merges are
 * added. */
void opt_bpe_set_vocab(opt_bpe *bpe, const opt_vocab *v);

/** Makes room for n merges. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_bpe_reserve(opt_ctx *ctx, opt_bpe *bpe, size_t n);
/** Adds a merge (a pair that was added before gets the new rank). Room must have been reserved. */
void opt_bpe_add(opt_bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t result);
/** The merge of two texts. Errors: INPUT naming the merge if a part or the result is no token. */
OPT_MUST_USE opt_status opt_bpe_parse_merge(opt_ctx *ctx, const opt_vocab *v, const char *object,
                                            uint32_t rank, const char *left, size_t n_left,
                                            const char *right, size_t n_right, opt_merge *out);
/**
 * Adds the merges that SentencePiece's scores mean: two neighbours join if their text is a token,
 * the highest score first. `scores` [v->n]. Characters that occur only inside longer tokens get ids
 * of their own behind the vocabulary.
 */
OPT_MUST_USE opt_status opt_bpe_set_scores(opt_ctx *ctx, opt_bpe *bpe, opt_vocab *v,
                                           const char *object, const float *scores);
/** Call after the last merge. */
OPT_MUST_USE opt_status opt_bpe_finish(opt_ctx *ctx, opt_bpe *bpe, const opt_vocab *v);
void opt_bpe_free(opt_ctx *ctx, opt_bpe *bpe);

/** The merge of a pair, or NULL. */
const opt_merge *opt_bpe_find(const opt_bpe *bpe, uint32_t left, uint32_t right);

/** What one encode call needs besides the tables. Zero-initialise. */
typedef struct opt_bpe_scratch {
    opt_tokens symbols; /* the word's characters */
    opt_str mapped;     /* the word in byte-level characters, where it has to be looked up whole */
    uint32_t *work;     /* links, ranks and heap of a long part */
    size_t work_cap;
    struct opt_bpe_cached *cache; /* [OPT_BPE_CACHE] parts seen before, or NULL */
    opt_tokens cached;            /* their symbols and tokens */
} opt_bpe_scratch;

/** Turns the cache of parts on; worth it for texts of some kilobytes. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_bpe_scratch_cache(opt_ctx *ctx, opt_bpe_scratch *s);
void opt_bpe_scratch_free(opt_ctx *ctx, opt_bpe_scratch *s);

/** Appends the tokens of one word, valid UTF-8. `bytes`: the word's symbols are its bytes, not its
 * characters. */
OPT_MUST_USE opt_status opt_bpe_encode(opt_ctx *ctx, const opt_bpe *bpe, const opt_vocab *v,
                                       opt_bpe_scratch *s, const char *word, size_t n, bool bytes,
                                       opt_tokens *out);

#endif
