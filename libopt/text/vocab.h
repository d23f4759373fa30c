/** The vocabulary: text of every token, found by id and by text. */
#ifndef OPT_TEXT_VOCAB_H
#define OPT_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/** Longest text of a token. Real ones have at most a few hundred bytes. */
#define OPT_PIECE_MAX 65535

typedef struct opt_piece {
    uint32_t off; /* in opt_vocab.text; UINT32_MAX: no token has this id */
    uint32_t len;
} opt_piece;

typedef struct opt_vocab {
    opt_str text;      /* all pieces, one after another */
    opt_piece *pieces; /* [cap] */
    uint8_t *kinds;    /* [cap], opt_token_kind */
    int32_t n;         /* ids are 0 .. n-1; there may be holes */
    int32_t cap;
    uint32_t *slots; /* [mask + 1], id + 1 or 0: open addressing by the hash of the text */
    uint32_t mask;
    uint32_t n_used; /* ids that are no holes */
    uint32_t max_len;
} opt_vocab;

/** Makes room for ids 0 .. n-1, all of them holes. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_vocab_init(opt_ctx *ctx, opt_vocab *v, int32_t n);
void opt_vocab_free(opt_ctx *ctx, opt_vocab *v);

/**
 * Gives the hole `id` a text. `id` may be v->n, which then grows. Errors: INPUT naming `object` for
 * an id or a text that is taken already, or a text longer than OPT_PIECE_MAX.
 */
OPT_MUST_USE opt_status opt_vocab_add(opt_ctx *ctx, opt_vocab *v, const char *object, int32_t id,
                                      const char *text, size_t len, uint8_t kind);

/** Id of a text, or -1. */
int32_t opt_vocab_find(const opt_vocab *v, const char *text, size_t len);

static inline bool opt_vocab_has(const opt_vocab *v, int64_t id) {
    return id >= 0 && id < v->n && v->pieces[id].off != UINT32_MAX;
}

static inline const char *opt_vocab_text(const opt_vocab *v, int32_t id, size_t *len) {
    *len = v->pieces[id].len;
    return v->text.data + v->pieces[id].off;
}

#endif
