#include "text/added.h"

#include <string.h>

#include "text/utf8.h"

static opt_status new_node(opt_ctx *ctx, opt_trie *t, uint8_t byte, uint32_t *out) {
    opt_status st = OPT_OK;
    if (t->n == t->cap) {
        const uint32_t cap = t->cap * 2 + 256;
        void *p = opt_realloc(ctx, t->nodes, (size_t)cap * sizeof *t->nodes);
        OPT_TRY_PTR(p);
        t->nodes = p;
        t->cap = cap;
    }
    t->nodes[t->n] = (opt_trie_node){.token = -1, .byte = byte};
    *out = t->n++;
done:
    return st;
}

static uint32_t find_child(const opt_trie *t, uint32_t node, uint8_t byte) {
    if (node == 0) {
        return t->first[byte];
    }
    uint32_t child = t->nodes[node].child;
    while (child != 0 && t->nodes[child].byte != byte) {
        child = t->nodes[child].sibling;
    }
    return child;
}

opt_status opt_trie_add(opt_ctx *ctx, opt_trie *t, const char *text, size_t n, int32_t token,
                        bool *taken) {
    opt_status st = OPT_OK;
    uint32_t node = 0;
    if (t->n == 0) {
        OPT_TRY(new_node(ctx, t, 0, &node));
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)text[i];
        uint32_t child = find_child(t, node, byte);
        if (child == 0) {
            OPT_TRY(new_node(ctx, t, byte, &child));
            if (node == 0) {
                t->first[byte] = child;
            } else {
                t->nodes[child].sibling = t->nodes[node].child;
                t->nodes[node].child = child;
            }
        }
        node = child;
    }
    *taken = t->nodes[node].token >= 0;
    if (!*taken) {
        t->nodes[node].token = token;
    }
done:
    return st;
}

void opt_trie_free(opt_ctx *ctx, opt_trie *t) {
    opt_free(ctx, t->nodes);
    memset(t, 0, sizeof *t);
}

/** The longest added token at text + at, or -1. */
static int32_t longest_at(const opt_trie *t, const char *text, size_t n, size_t at, size_t *len) {
    int32_t token = -1;
    uint32_t node = 0;
    for (size_t i = at; i < n; i++) {
        node = find_child(t, node, (uint8_t)text[i]);
        if (node == 0) {
            break;
        }
        if (t->nodes[node].token >= 0) {
            token = t->nodes[node].token;
            *len = i + 1 - at;
        }
    }
    return token;
}

static bool word_before(const char *text, size_t at) {
    if (at == 0) {
        return false;
    }
    size_t i = opt_utf8_back(text, at);
    return opt_utf8_is_word(opt_utf8_get(text, &i));
}

static bool word_behind(const char *text, size_t n, size_t at) {
    return at < n && opt_utf8_is_word(opt_utf8_get(text, &at));
}

static size_t spaces_before(const char *text, size_t at, size_t floor) {
    while (at > floor) {
        const size_t last = opt_utf8_back(text, at);
        size_t i = last;
        if (!opt_utf8_is_space(opt_utf8_get(text, &i))) {
            break;
        }
        at = last;
    }
    return at;
}

static size_t spaces_behind(const char *text, size_t n, size_t at) {
    while (at < n) {
        size_t next = at;
        if (!opt_utf8_is_space(opt_utf8_get(text, &next))) {
            break;
        }
        at = next;
    }
    return at;
}

void opt_added_next(const opt_trie *t, const opt_added_token *tokens, const char *text, size_t n,
                    bool with_special, opt_added_search *search, opt_added_match *match) {
    while (search->at < n && t->n > 0) {
        const size_t at = search->at;
        size_t len = 0;
        if (t->first[(uint8_t)text[at]] == 0) {
            search->at++;
            continue;
        }
        const int32_t token = longest_at(t, text, n, at, &len);
        if (token < 0) {
            search->at++;
            continue;
        }
        search->at += len; /* matches that do not count take their text away from others, too */
        const opt_added_token *a = &tokens[token];
        if ((a->special && !with_special) ||
            (a->single_word && (word_before(text, at) || word_behind(text, n, at + len)))) {
            continue;
        }
        match->token = token;
        match->before = search->done;
        match->start = a->lstrip ? spaces_before(text, at, search->done) : at;
        match->end = a->rstrip ? spaces_behind(text, n, at + len) : at + len;
        if (match->start < search->done) { /* the token before took this one's leading space */
            match->start = search->done;
        }
        search->done = match->end;
        return;
    }
    *match = (opt_added_match){
        .before = search->done < n ? search->done : n, .start = n, .end = n, .token = -1};
    search->done = n;
}
