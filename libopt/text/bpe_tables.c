#include "text/bpe_tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/utf8.h"

/** Longest token that is cut in two at every character to find the merges that scores mean. */
#define SCORED_PIECE_MAX 1024

static void set_symbols(opt_bpe *bpe, const opt_vocab *v) {
    for (unsigned b = 0; b < 256; b++) {
        static const char hex[] = "0123456789ABCDEF";
        const char byte_token[6] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        char c[4];
        const size_t n = opt_utf8_put(opt_byte_to_cp(b), c);
        bpe->byte_id[b] = opt_vocab_find(v, c, n);
        bpe->fallback_id[b] = opt_vocab_find(v, byte_token, sizeof byte_token);
        if (b < 128) {
            c[0] = (char)b;
            bpe->ascii_id[b] = opt_vocab_find(v, c, 1);
        }
    }
}

void opt_bpe_set_vocab(opt_bpe *bpe, const opt_vocab *v) {
    bpe->n_vocab = v->n;
    set_symbols(bpe, v);
}

opt_status opt_bpe_reserve(opt_ctx *ctx, opt_bpe *bpe, size_t n) {
    opt_status st = OPT_OK;
    opt_merge *table = NULL;
    size_t need;
    OPT_REQUIRE(opt_add_size(bpe->n_merges, n, &need) && need < UINT32_MAX / 4, ctx, OPT_ERR_INPUT,
                NULL, "the tokenizer has %zu merges, which is too many", n);
    size_t rows = 16;
    while (rows / 2 < need) {
        rows *= 2;
    }
    if (bpe->table != NULL && rows <= (size_t)bpe->mask + 1) {
        return OPT_OK;
    }
    table = opt_alloc_array(ctx, rows, sizeof *table);
    OPT_TRY_PTR(table);
    memset(table, 0xFF, rows * sizeof *table);
    opt_bpe old = *bpe;
    bpe->table = table;
    bpe->mask = (uint32_t)(rows - 1);
    bpe->n_merges = 0;
    for (size_t i = 0; old.table != NULL && i <= old.mask; i++) {
        const opt_merge *m = &old.table[i];
        if (m->left != UINT32_MAX) {
            opt_bpe_add(bpe, m->left, m->right, m->rank, m->result);
        }
    }
    opt_free(ctx, old.table);
done:
    return st;
}

void opt_bpe_add(opt_bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t result) {
    uint32_t i = (uint32_t)opt_bpe_hash(left, right) & bpe->mask;
    while (bpe->table[i].left != UINT32_MAX) {
        if (bpe->table[i].left == left && bpe->table[i].right == right) {
            bpe->table[i].rank = rank;
            return;
        }
        i = (i + 1) & bpe->mask;
    }
    bpe->table[i] = (opt_merge){.left = left, .right = right, .rank = rank, .result = result};
    bpe->n_merges++;
}

opt_status opt_bpe_parse_merge(opt_ctx *ctx, const opt_vocab *v, const char *object, uint32_t rank,
                               const char *left, size_t n_left, const char *right, size_t n_right,
                               opt_merge *out) {
    opt_status st = OPT_OK;
    char joined[OPT_PIECE_MAX];
    const int32_t l = opt_vocab_find(v, left, n_left);
    const int32_t r = opt_vocab_find(v, right, n_right);
    OPT_REQUIRE(l >= 0, ctx, OPT_ERR_INPUT, object, "merge %u joins '%.*s', which is no token",
                rank, (int)(n_left < 64 ? n_left : 64), left);
    OPT_REQUIRE(r >= 0, ctx, OPT_ERR_INPUT, object, "merge %u joins '%.*s', which is no token",
                rank, (int)(n_right < 64 ? n_right : 64), right);
    OPT_REQUIRE(n_left > 0 && n_right > 0 && n_left + n_right <= sizeof joined, ctx, OPT_ERR_INPUT,
                object, "merge %u joins %zu and %zu bytes, expected at least 1 each and at most %d",
                rank, n_left, n_right, OPT_PIECE_MAX);
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right, n_right);
    const int32_t result = opt_vocab_find(v, joined, n_left + n_right);
    OPT_REQUIRE(result >= 0, ctx, OPT_ERR_INPUT, object, "merge %u makes '%.*s', which is no token",
                rank, (int)(n_left + n_right < 64 ? n_left + n_right : 64), joined);
    *out = (opt_merge){
        .left = (uint32_t)l, .right = (uint32_t)r, .rank = rank, .result = (uint32_t)result};
done:
    return st;
}

/* ---- merges from scores ---- */

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a;
    const scored *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

/** Characters of s[n] have ids of their own from now on if they had none. */
static opt_status add_missing_chars(opt_ctx *ctx, opt_vocab *v, const char *object, int32_t id) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < v->pieces[id].len;) {
        char c[4];
        size_t len;
        const char *text = opt_vocab_text(v, id, &len) + i;
        const size_t n = opt_utf8_size(text[0]);
        memcpy(c, text, n); /* the text moves when the vocabulary grows */
        if (opt_vocab_find(v, c, n) < 0) {
            OPT_TRY(opt_vocab_add(ctx, v, object, v->n, c, n, OPT_TOKEN_UNUSED));
        }
        i += n;
    }
done:
    return st;
}

static opt_status add_cuts(opt_ctx *ctx, opt_bpe *bpe, const opt_vocab *v, const char *object,
                           int32_t id, uint32_t rank) {
    opt_status st = OPT_OK;
    size_t len;
    const char *text = opt_vocab_text(v, id, &len);
    OPT_REQUIRE(len <= SCORED_PIECE_MAX, ctx, OPT_ERR_UNSUPPORTED, object,
                "token %d has %zu bytes, more than the %d that are supported with scores", id, len,
                SCORED_PIECE_MAX);
    OPT_TRY(opt_bpe_reserve(ctx, bpe, len));
    for (size_t cut = len ? opt_utf8_size(text[0]) : 0; cut < len;
         cut += opt_utf8_size(text[cut])) {
        const int32_t l = opt_vocab_find(v, text, cut);
        const int32_t r = l < 0 ? -1 : opt_vocab_find(v, text + cut, len - cut);
        if (r >= 0) {
            opt_bpe_add(bpe, (uint32_t)l, (uint32_t)r, rank, (uint32_t)id);
        }
    }
done:
    return st;
}

opt_status opt_bpe_set_scores(opt_ctx *ctx, opt_bpe *bpe, opt_vocab *v, const char *object,
                              const float *scores) {
    opt_status st = OPT_OK;
    const int32_t n = v->n;
    scored *order = opt_alloc_array(ctx, (size_t)n + 1, sizeof *order);
    OPT_TRY_PTR(order);
    size_t n_order = 0;
    for (int32_t id = 0; id < n; id++) {
        if (!opt_vocab_has(v, id)) {
            continue;
        }
        size_t len;
        const char *text = opt_vocab_text(v, id, &len);
        OPT_REQUIRE(opt_utf8_valid_prefix(text, len) == len, ctx, OPT_ERR_INPUT, object,
                    "token %d is not valid UTF-8", id);
        OPT_REQUIRE(scores[id] == scores[id], ctx, OPT_ERR_INPUT, object,
                    "the score of token %d is not a number", id);
        OPT_TRY(add_missing_chars(ctx, v, object, id));
        order[n_order++] = (scored){.score = scores[id], .id = id};
    }
    qsort(order, n_order, sizeof *order, by_score);
    uint32_t rank = 0;
    for (size_t i = 0; i < n_order; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score; /* equal scores: leftmost first */
        OPT_TRY(add_cuts(ctx, bpe, v, object, order[i].id, rank));
    }
done:
    opt_free(ctx, order);
    return st;
}

/* ---- where words can be cut ---- */

static void add_join(opt_bpe *bpe, uint32_t left, uint32_t right) {
    const uint64_t bit = opt_bpe_hash(left, right) % OPT_BPE_JOIN_BITS;
    bpe->joins[bit / 64] |= 1ULL << (bit % 64);
}

static bool is_single_char(const opt_vocab *v, int32_t id) {
    size_t len;
    const char *text = opt_vocab_text(v, id, &len);
    return len > 0 && opt_utf8_size(text[0]) == len;
}

static bool is_byte_token(const opt_bpe *bpe, const opt_vocab *v, int32_t id) {
    if (v->pieces[id].len != 6) {
        return false;
    }
    for (unsigned b = 0; b < 256; b++) {
        if (bpe->fallback_id[b] == id) {
            return true;
        }
    }
    return false;
}

/**
 * The symbols that can stand at one end of token `id` in a word that is not merged yet: the token
 * itself where it is a symbol that words start from, and the character at its end where it is made
 * by merges. Returns how many, or -1 if that character has no token (which no real vocabulary has).
 */
static int end_symbols(const opt_bpe *bpe, const opt_vocab *v, int32_t id, bool is_made,
                       bool at_end, uint32_t out[2]) {
    int n = 0;
    if (is_single_char(v, id) || id == bpe->unk || is_byte_token(bpe, v, id)) {
        out[n++] = (uint32_t)id;
    }
    if (is_made) {
        size_t len;
        const char *text = opt_vocab_text(v, id, &len);
        const size_t off = at_end ? opt_utf8_back(text, len) : 0;
        const size_t n_char = at_end ? len - off : opt_utf8_size(text[0]);
        const int32_t c = opt_vocab_find(v, text + off, n_char);
        if (c < 0) {
            return -1;
        }
        out[n++] = (uint32_t)c;
    }
    return n;
}

opt_status opt_bpe_finish(opt_ctx *ctx, opt_bpe *bpe, const opt_vocab *v) {
    opt_status st = OPT_OK;
    uint8_t *made = opt_alloc_zero(ctx, (size_t)v->n);
    OPT_TRY_PTR(made);
    bpe->joins = opt_alloc_zero(ctx, OPT_BPE_JOIN_BITS / 8);
    OPT_TRY_PTR(bpe->joins);
    bpe->can_cut = true;
    set_symbols(bpe, v); /* scores may have added characters */
    for (size_t i = 0; bpe->table != NULL && i <= bpe->mask; i++) {
        if (bpe->table[i].left != UINT32_MAX) {
            made[bpe->table[i].result] = 1;
        }
    }
    for (size_t i = 0; bpe->table != NULL && i <= bpe->mask; i++) {
        const opt_merge *m = &bpe->table[i];
        if (m->left == UINT32_MAX) {
            continue;
        }
        uint32_t l[2];
        uint32_t r[2];
        const int n_l = end_symbols(bpe, v, (int32_t)m->left, made[m->left], true, l);
        const int n_r = end_symbols(bpe, v, (int32_t)m->right, made[m->right], false, r);
        bpe->can_cut = bpe->can_cut && n_l >= 0 && n_r >= 0;
        for (int a = 0; a < n_l; a++) {
            for (int b = 0; b < n_r; b++) {
                add_join(bpe, l[a], r[b]);
            }
        }
    }
done:
    opt_free(ctx, made);
    return st;
}

void opt_bpe_free(opt_ctx *ctx, opt_bpe *bpe) {
    opt_free(ctx, bpe->table);
    opt_free(ctx, bpe->joins);
    memset(bpe, 0, sizeof *bpe);
}
