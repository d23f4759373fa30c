#include "text/vocab.h"

#include <string.h>

#include "base/hash.h"
#include "base/num.h"

static opt_status reserve_ids(opt_ctx *ctx, opt_vocab *v, int32_t n) {
    opt_status st = OPT_OK;
    if (n > v->cap) {
        const int32_t cap = n > v->cap + v->cap / 2 ? n : v->cap + v->cap / 2;
        void *p = opt_realloc(ctx, v->pieces, (size_t)cap * sizeof *v->pieces);
        OPT_TRY_PTR(p);
        v->pieces = p;
        p = opt_realloc(ctx, v->kinds, (size_t)cap);
        OPT_TRY_PTR(p);
        v->kinds = p;
        v->cap = cap;
    }
    for (; v->n < n; v->n++) {
        v->pieces[v->n] = (opt_piece){.off = UINT32_MAX};
        v->kinds[v->n] = 0;
    }
done:
    return st;
}

static void place(opt_vocab *v, int32_t id) {
    const opt_piece *p = &v->pieces[id];
    uint32_t i = (uint32_t)opt_xxh3(v->text.data + p->off, p->len) & v->mask;
    while (v->slots[i] != 0) {
        i = (i + 1) & v->mask;
    }
    v->slots[i] = (uint32_t)id + 1;
}

static opt_status rehash(opt_ctx *ctx, opt_vocab *v, uint32_t n_slots) {
    opt_status st = OPT_OK;
    uint32_t *slots = opt_alloc_zero(ctx, (size_t)n_slots * sizeof *slots);
    OPT_TRY_PTR(slots);
    opt_free(ctx, v->slots);
    v->slots = slots;
    v->mask = n_slots - 1;
    for (int32_t id = 0; id < v->n; id++) {
        if (v->pieces[id].off != UINT32_MAX) {
            place(v, id);
        }
    }
done:
    return st;
}

opt_status opt_vocab_init(opt_ctx *ctx, opt_vocab *v, int32_t n) {
    opt_status st = OPT_OK;
    uint32_t n_slots = 64;
    while (n_slots / 2 < (uint32_t)n) {
        n_slots *= 2;
    }
    OPT_TRY(opt_str_append(ctx, &v->text, "", 1)); /* so that text.data is never NULL */
    OPT_TRY(reserve_ids(ctx, v, n));
    OPT_TRY(rehash(ctx, v, n_slots));
done:
    return st;
}

void opt_vocab_free(opt_ctx *ctx, opt_vocab *v) {
    opt_str_free(ctx, &v->text);
    opt_free(ctx, v->pieces);
    opt_free(ctx, v->kinds);
    opt_free(ctx, v->slots);
    memset(v, 0, sizeof *v);
}

opt_status opt_vocab_add(opt_ctx *ctx, opt_vocab *v, const char *object, int32_t id,
                         const char *text, size_t len, uint8_t kind) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(len <= OPT_PIECE_MAX, ctx, OPT_ERR_INPUT, object,
                "token %d has %zu bytes of text, expected at most %d", id, len, OPT_PIECE_MAX);
    OPT_REQUIRE(v->text.len + len < UINT32_MAX, ctx, OPT_ERR_INPUT, object,
                "the vocabulary has more than 4 GiB of text");
    OPT_REQUIRE(!opt_vocab_has(v, id), ctx, OPT_ERR_INPUT, object, "two tokens have the id %d", id);
    const int32_t other = opt_vocab_find(v, text, len);
    OPT_REQUIRE(other < 0, ctx, OPT_ERR_INPUT, object, "tokens %d and %d have the same text", other,
                id);
    OPT_TRY(reserve_ids(ctx, v, id + 1));
    const uint32_t off = (uint32_t)v->text.len;
    OPT_TRY(opt_str_append(ctx, &v->text, text, len));
    v->pieces[id] = (opt_piece){.off = off, .len = (uint32_t)len};
    v->kinds[id] = kind;
    if (++v->n_used > v->mask / 2) {
        OPT_TRY(rehash(ctx, v, (v->mask + 1) * 2));
    } else {
        place(v, id);
    }
    if (len > v->max_len) {
        v->max_len = (uint32_t)len;
    }
done:
    return st;
}

int32_t opt_vocab_find(const opt_vocab *v, const char *text, size_t len) {
    if (v->n_used == 0) {
        return -1;
    }
    for (uint32_t i = (uint32_t)opt_xxh3(text, len) & v->mask; v->slots[i] != 0;
         i = (i + 1) & v->mask) {
        const int32_t id = (int32_t)v->slots[i] - 1;
        const opt_piece *p = &v->pieces[id];
        if (p->len == len && (len == 0 || memcmp(v->text.data + p->off, text, len) == 0)) {
            return id;
        }
    }
    return -1;
}
