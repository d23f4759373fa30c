#include "text/bpe.h"

#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "text/bpe_tables.h"
#include "text/utf8.h"

/** Parts up to this many symbols are merged by scanning. */
#define SHORT_PART 32
/** Rows of the cache, and the most symbols and tokens that it may hold. */
#define CACHE_ROWS 16384
#define CACHE_SYMBOLS (1U << 20)

/** A part seen before: its symbols and then its tokens in opt_bpe_scratch.cached. n_symbols == 0:
 * empty row. */
struct opt_bpe_cached {
    uint64_t hash;
    uint32_t off;
    uint32_t n_symbols;
    uint32_t n_tokens;
};

const opt_merge *opt_bpe_find(const opt_bpe *bpe, uint32_t left, uint32_t right) {
    if (bpe->table == NULL) {
        return NULL;
    }
    for (uint32_t i = (uint32_t)opt_bpe_hash(left, right) & bpe->mask;; i = (i + 1) & bpe->mask) {
        const opt_merge *m = &bpe->table[i];
        if (m->left == left && m->right == right) {
            return m;
        }
        if (m->left == UINT32_MAX) {
            return NULL;
        }
    }
}

opt_status opt_bpe_scratch_cache(opt_ctx *ctx, opt_bpe_scratch *s) {
    opt_status st = OPT_OK;
    if (s->cache == NULL) {
        s->cache = opt_alloc_zero(ctx, CACHE_ROWS * sizeof *s->cache);
        OPT_TRY_PTR(s->cache);
    }
done:
    return st;
}

void opt_bpe_scratch_free(opt_ctx *ctx, opt_bpe_scratch *s) {
    opt_tokens_free(ctx, &s->symbols);
    opt_tokens_free(ctx, &s->cached);
    opt_str_free(ctx, &s->mapped);
    opt_free(ctx, s->work);
    opt_free(ctx, s->cache);
    memset(s, 0, sizeof *s);
}

static opt_status work_reserve(opt_ctx *ctx, opt_bpe_scratch *s, size_t n) {
    opt_status st = OPT_OK;
    if (n > s->work_cap) {
        void *p = opt_realloc(ctx, s->work, n * sizeof *s->work);
        OPT_TRY_PTR(p);
        s->work = p;
        s->work_cap = n;
    }
done:
    return st;
}

/* ---- characters to symbols ---- */

/**
 * Appends the symbols of a character without a token: its bytes if all of them have one, else the
 * unknown token. A pending unknown token is written only when a known character follows, even
 * behind bytes: the reference implementation does so.
 */
static opt_status push_unknown(opt_ctx *ctx, const opt_bpe *bpe, const char *c, size_t n,
                               bool *pending, opt_tokens *out) {
    opt_status st = OPT_OK;
    bool all = bpe->byte_fallback;
    for (size_t i = 0; i < n && all; i++) {
        all = bpe->fallback_id[(unsigned char)c[i]] >= 0;
    }
    if (all) {
        for (size_t i = 0; i < n; i++) {
            OPT_TRY(opt_tokens_push(ctx, out, bpe->fallback_id[(unsigned char)c[i]]));
        }
    } else if (bpe->unk >= 0) {
        if (*pending && !bpe->fuse_unk) {
            OPT_TRY(opt_tokens_push(ctx, out, bpe->unk));
        }
        *pending = true;
    }
done:
    return st;
}

static inline int32_t char_symbol(const opt_bpe *bpe, const opt_vocab *v, const char *c, size_t n) {
    return n == 1 ? bpe->ascii_id[(unsigned char)c[0]] : opt_vocab_find(v, c, n);
}

static opt_status split_symbols(opt_ctx *ctx, const opt_bpe *bpe, const opt_vocab *v,
                                const char *word, size_t n, bool bytes, opt_tokens *out) {
    opt_status st = OPT_OK;
    bool pending = false;
    out->n = 0;
    for (size_t i = 0; i < n;) {
        const size_t len = bytes ? 1 : opt_utf8_size(word[i]);
        const int32_t id =
            bytes ? bpe->byte_id[(unsigned char)word[i]] : char_symbol(bpe, v, word + i, len);
        if (OPT_LIKELY(id >= 0)) {
            if (pending) {
                OPT_TRY(opt_tokens_push(ctx, out, bpe->unk));
                pending = false;
            }
            OPT_TRY(opt_tokens_push(ctx, out, id));
        } else if (bytes) {
            char mapped[4];
            const size_t n_mapped = opt_utf8_put(opt_byte_to_cp((unsigned char)word[i]), mapped);
            OPT_TRY(push_unknown(ctx, bpe, mapped, n_mapped, &pending, out));
        } else {
            OPT_TRY(push_unknown(ctx, bpe, word + i, len, &pending, out));
        }
        i += len;
    }
    if (pending) {
        OPT_TRY(opt_tokens_push(ctx, out, bpe->unk));
    }
done:
    return st;
}

/* ---- merging ---- */

/** Merges sym[n], n <= SHORT_PART, in place and returns the number of symbols left. */
static size_t merge_short(const opt_bpe *bpe, uint32_t *sym, size_t n) {
    uint32_t rank[SHORT_PART];
    uint32_t result[SHORT_PART];
    for (size_t i = 0; i + 1 < n; i++) {
        const opt_merge *m = opt_bpe_find(bpe, sym[i], sym[i + 1]);
        rank[i] = m ? m->rank : OPT_BPE_NO_RANK;
        result[i] = m ? m->result : 0;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (rank[i] < rank[best]) {
                best = i;
            }
        }
        if (rank[best] == OPT_BPE_NO_RANK) {
            break;
        }
        sym[best] = result[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            sym[i] = sym[i + 1];
            rank[i - 1] = rank[i];
            result[i - 1] = result[i];
        }
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const opt_merge *m = opt_bpe_find(bpe, sym[i], sym[i + 1]);
            rank[i] = m ? m->rank : OPT_BPE_NO_RANK;
            result[i] = m ? m->result : 0;
        }
    }
    return n;
}

/** A binary heap of (rank, position), smallest first; entries go stale and are skipped when they
 * come out. */
typedef struct heap {
    uint64_t *v;
    size_t n;
} heap;

static void heap_down(heap *h, size_t i) {
    const uint64_t x = h->v[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n) {
            break;
        }
        if (child + 1 < h->n && h->v[child + 1] < h->v[child]) {
            child++;
        }
        if (h->v[child] >= x) {
            break;
        }
        h->v[i] = h->v[child];
        i = child;
    }
    h->v[i] = x;
}

static uint64_t heap_pop(heap *h) {
    const uint64_t top = h->v[0];
    h->v[0] = h->v[--h->n];
    if (h->n > 0) {
        heap_down(h, 0);
    }
    return top;
}

static void heap_push(heap *h, uint64_t x) {
    size_t i = h->n++;
    while (i > 0 && h->v[(i - 1) / 2] > x) {
        h->v[i] = h->v[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->v[i] = x;
}

/** A doubly linked list of symbols over arrays; `rank` is that of the pair (i, next[i]). */
typedef struct chain {
    uint32_t *sym;
    uint32_t *prev;
    uint32_t *next; /* UINT32_MAX: last */
    uint32_t *rank;
    heap heap;
} chain;

static void chain_rank(const opt_bpe *bpe, chain *c, uint32_t i, bool push) {
    const uint32_t next = c->next[i];
    const opt_merge *m = next == UINT32_MAX ? NULL : opt_bpe_find(bpe, c->sym[i], c->sym[next]);
    c->rank[i] = m ? m->rank : OPT_BPE_NO_RANK;
    if (m && push) {
        heap_push(&c->heap, (uint64_t)m->rank << 32 | i);
    } else if (m) {
        c->heap.v[c->heap.n++] = (uint64_t)m->rank << 32 | i;
    }
}

static void chain_merge(const opt_bpe *bpe, chain *c, uint32_t i) {
    const uint32_t gone = c->next[i];
    c->sym[i] = opt_bpe_find(bpe, c->sym[i], c->sym[gone])->result;
    c->rank[gone] = OPT_BPE_NO_RANK;
    c->next[i] = c->next[gone];
    if (c->next[i] != UINT32_MAX) {
        c->prev[c->next[i]] = i;
    }
    if (c->prev[i] != UINT32_MAX) {
        chain_rank(bpe, c, c->prev[i], true);
    }
    chain_rank(bpe, c, i, true);
}

/** Merges sym[n] in place and returns the number of symbols left. */
static opt_status merge_long(opt_ctx *ctx, const opt_bpe *bpe, opt_bpe_scratch *s, uint32_t *sym,
                             size_t *n) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(*n < UINT32_MAX / 8, ctx, OPT_ERR_UNSUPPORTED, NULL,
                "a word of %zu characters is too long for the tokenizer", *n);
    /* Every merge removes a symbol and pushes at most two entries: never more than 3 n at once. */
    OPT_TRY(work_reserve(ctx, s, 9 * *n));
    chain c = {.sym = sym,
               .heap = {.v = (uint64_t *)(void *)s->work},
               .prev = s->work + 6 * *n,
               .next = s->work + 7 * *n,
               .rank = s->work + 8 * *n};
    for (uint32_t i = 0; i < *n; i++) {
        c.prev[i] = i - 1; /* UINT32_MAX for the first */
        c.next[i] = i + 1 < *n ? i + 1 : UINT32_MAX;
    }
    for (uint32_t i = 0; i < *n; i++) {
        chain_rank(bpe, &c, i, false);
    }
    for (size_t i = c.heap.n / 2; i-- > 0;) {
        heap_down(&c.heap, i);
    }
    while (c.heap.n > 0) {
        const uint64_t top = heap_pop(&c.heap);
        const uint32_t i = (uint32_t)top;
        if (c.rank[i] == (uint32_t)(top >> 32)) {
            chain_merge(bpe, &c, i);
        }
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != UINT32_MAX; i = c.next[i]) {
        sym[kept++] = sym[i];
    }
    *n = kept;
done:
    return st;
}

/* ---- parts of a word ---- */

/** Appends a finished symbol; one that is no token (see opt_bpe_set_scores) falls back to bytes. */
static opt_status push_symbol(opt_ctx *ctx, const opt_bpe *bpe, const opt_vocab *v, uint32_t symbol,
                              opt_tokens *out) {
    opt_status st = OPT_OK;
    bool pending = false;
    if (OPT_LIKELY(symbol < (uint32_t)bpe->n_vocab)) {
        return opt_tokens_push(ctx, out, (int32_t)symbol);
    }
    size_t len;
    const char *text = opt_vocab_text(v, (int32_t)symbol, &len);
    OPT_TRY(push_unknown(ctx, bpe, text, len, &pending, out));
    if (pending) {
        OPT_TRY(opt_tokens_push(ctx, out, bpe->unk));
    }
done:
    return st;
}

static opt_status push_many(opt_ctx *ctx, opt_tokens *out, const int32_t *ids, size_t n) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(opt_tokens_push(ctx, out, ids[i]));
    }
done:
    return st;
}

/** Remembers that symbols[n] give tokens[n_tokens] unless the cache is full. */
static opt_status cache_store(opt_ctx *ctx, opt_bpe_scratch *s, struct opt_bpe_cached *row,
                              uint64_t hash, const int32_t *symbols, size_t n,
                              const int32_t *tokens, size_t n_tokens) {
    opt_status st = OPT_OK;
    const size_t off = s->cached.n;
    if (off + n + n_tokens > CACHE_SYMBOLS) {
        return OPT_OK;
    }
    OPT_TRY(push_many(ctx, &s->cached, symbols, n));
    OPT_TRY(push_many(ctx, &s->cached, tokens, n_tokens));
    *row = (struct opt_bpe_cached){.hash = hash,
                                   .off = (uint32_t)off,
                                   .n_symbols = (uint32_t)n,
                                   .n_tokens = (uint32_t)n_tokens};
done:
    return st;
}

/** Appends the tokens of the part sym[n] of s->symbols. */
static opt_status encode_part(opt_ctx *ctx, const opt_bpe *bpe, const opt_vocab *v,
                              opt_bpe_scratch *s, int32_t *sym, size_t n, opt_tokens *out) {
    opt_status st = OPT_OK;
    struct opt_bpe_cached *row = NULL;
    uint64_t hash = 0;
    const size_t before = out->n;
    int32_t copy[SHORT_PART];
    const size_t n_before = n;
    if (n == 1) {
        return push_symbol(ctx, bpe, v, (uint32_t)sym[0], out);
    }
    if (n <= SHORT_PART) {
        if (s->cache != NULL) {
            hash = opt_xxh3(sym, n * sizeof *sym);
            row = &s->cache[hash % CACHE_ROWS];
            if (row->n_symbols == n && row->hash == hash &&
                memcmp(s->cached.ids + row->off, sym, n * sizeof *sym) == 0) {
                return push_many(ctx, out, s->cached.ids + row->off + n, row->n_tokens);
            }
            memcpy(copy, sym, n * sizeof *sym);
        }
        n = merge_short(bpe, (uint32_t *)sym, n);
    } else {
        OPT_TRY(merge_long(ctx, bpe, s, (uint32_t *)sym, &n));
    }
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(push_symbol(ctx, bpe, v, (uint32_t)sym[i], out));
    }
    if (row != NULL) {
        OPT_TRY(cache_store(ctx, s, row, hash, copy, n_before, out->ids + before, out->n - before));
    }
done:
    return st;
}

/** The word's own token where the model prefers whole words, or -1. */
static opt_status find_whole(opt_ctx *ctx, const opt_vocab *v, opt_bpe_scratch *s, const char *word,
                             size_t n, bool bytes, int32_t *id) {
    opt_status st = OPT_OK;
    *id = -1;
    if (n > v->max_len) {
        return OPT_OK;
    }
    if (!bytes) {
        *id = opt_vocab_find(v, word, n);
        return OPT_OK;
    }
    s->mapped.len = 0;
    for (size_t i = 0; i < n; i++) {
        char mapped[4];
        const size_t len = opt_utf8_put(opt_byte_to_cp((unsigned char)word[i]), mapped);
        OPT_TRY(opt_str_append(ctx, &s->mapped, mapped, len));
    }
    *id = opt_vocab_find(v, s->mapped.data, s->mapped.len);
done:
    return st;
}

opt_status opt_bpe_encode(opt_ctx *ctx, const opt_bpe *bpe, const opt_vocab *v, opt_bpe_scratch *s,
                          const char *word, size_t n, bool bytes, opt_tokens *out) {
    opt_status st = OPT_OK;
    if (n == 0) {
        return OPT_OK;
    }
    if (bpe->ignore_merges) {
        int32_t whole;
        OPT_TRY(find_whole(ctx, v, s, word, n, bytes, &whole));
        if (whole >= 0 && whole < bpe->n_vocab) {
            return opt_tokens_push(ctx, out, whole);
        }
    }
    OPT_TRY(split_symbols(ctx, bpe, v, word, n, bytes, &s->symbols));
    int32_t *sym = s->symbols.ids;
    const size_t n_sym = s->symbols.n;
    for (size_t begin = 0, i = 1; begin < n_sym; i++) {
        if (i == n_sym ||
            (bpe->can_cut && !opt_bpe_joins(bpe, (uint32_t)sym[i - 1], (uint32_t)sym[i]))) {
            OPT_TRY(encode_part(ctx, bpe, v, s, sym + begin, i - begin, out));
            begin = i;
        }
    }
done:
    return st;
}
