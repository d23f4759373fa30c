#include "text/tokenizer.h"

#include <string.h>

#include "text/tok.h"
#include "text/utf8.h"

/** Texts from this size on are worth a cache of words. */
#define CACHE_FROM_BYTES 8192

void opt_tokenizer_free(opt_tokenizer *t) {
    if (t == NULL) {
        return;
    }
    opt_ctx *ctx = t->ctx;
    opt_vocab_free(ctx, &t->vocab);
    opt_bpe_free(ctx, &t->bpe);
    opt_pipeline_free(ctx, &t->pipe);
    opt_trie_free(ctx, &t->raw_trie);
    opt_trie_free(ctx, &t->normalized_trie);
    opt_str_free(ctx, &t->chat_template);
    opt_str_free(ctx, &t->pipeline_json);
    opt_str_free(ctx, &t->pre);
    opt_free(ctx, t->added);
    opt_free(ctx, t->shown);
    opt_free(ctx, t->is_special);
    opt_free(ctx, t->is_eog);
    opt_free(ctx, t->scores);
    opt_free(ctx, t->merges);
    opt_free(ctx, t);
}

opt_status opt_tokens_push(opt_ctx *ctx, opt_tokens *tokens, int32_t id) {
    opt_status st = OPT_OK;
    if (OPT_UNLIKELY(tokens->n == tokens->cap)) {
        const size_t cap = tokens->cap + tokens->cap / 2 + 64;
        void *p = opt_realloc(ctx, tokens->ids, cap * sizeof *tokens->ids);
        OPT_TRY_PTR(p);
        tokens->ids = p;
        tokens->cap = cap;
    }
    tokens->ids[tokens->n++] = id;
done:
    return st;
}

void opt_tokens_free(opt_ctx *ctx, opt_tokens *tokens) {
    opt_free(ctx, tokens->ids);
    memset(tokens, 0, sizeof *tokens);
}

/* ---- encoding ---- */

/** One call of opt_tokenizer_encode. */
typedef struct encoder {
    opt_ctx *ctx;
    const opt_tokenizer *t;
    bool with_special; /* control tokens in the text become themselves */
    opt_tokens *out;
    opt_bpe_scratch bpe;
    opt_regex_scratch regex;
    opt_pieces pieces;
    opt_str normalized;
} encoder;

/** Tokens of text without added tokens; it is normalized already. */
static opt_status encode_words(encoder *e, const char *text, size_t n, bool at_start) {
    opt_status st = OPT_OK;
    const opt_pipeline *p = &e->t->pipe;
    OPT_TRY(opt_pretok_split(e->ctx, p->pre, p->n_pre, &e->regex, text, n, at_start, &e->pieces));
    for (size_t i = 0; i < e->pieces.n; i++) {
        const opt_span span = e->pieces.spans[i];
        OPT_TRY(opt_bpe_encode(e->ctx, &e->t->bpe, &e->t->vocab, &e->bpe, e->pieces.text + span.off,
                               span.len, p->bytes, e->out));
    }
done:
    return st;
}

/** Tokens of text without the added tokens that are looked for before normalization. */
static opt_status encode_segment(encoder *e, const char *text, size_t n, bool at_start) {
    opt_status st = OPT_OK;
    const opt_pipeline *p = &e->t->pipe;
    opt_added_search search = {0};
    if (p->n_norm > 0) {
        e->normalized.len = 0;
        OPT_TRY(opt_normalize(e->ctx, p->norm, p->n_norm, &e->regex, text, n, &e->normalized));
        text = e->normalized.data;
        n = e->normalized.len;
    }
    for (;;) {
        opt_added_match m;
        opt_added_next(&e->t->normalized_trie, e->t->added, text, n, e->with_special, &search, &m);
        if (m.start > m.before) {
            OPT_TRY(
                encode_words(e, text + m.before, m.start - m.before, at_start && m.before == 0));
        }
        if (m.token < 0) {
            break;
        }
        OPT_TRY(opt_tokens_push(e->ctx, e->out, e->t->added[m.token].id));
    }
done:
    return st;
}

/** `at_start`: nothing stands in front of the text. */
static opt_status encode_text(encoder *e, const char *text, size_t n, bool at_start) {
    opt_status st = OPT_OK;
    opt_added_search search = {0};
    for (;;) {
        opt_added_match m;
        opt_added_next(&e->t->raw_trie, e->t->added, text, n, e->with_special, &search, &m);
        if (m.start > m.before) {
            OPT_TRY(
                encode_segment(e, text + m.before, m.start - m.before, at_start && m.before == 0));
        }
        if (m.token < 0) {
            break;
        }
        OPT_TRY(opt_tokens_push(e->ctx, e->out, e->t->added[m.token].id));
    }
done:
    return st;
}

/** A conversation on its way: text since the last control token. */
typedef struct part_run {
    encoder *e;
    opt_str text;
    bool at_start;
} part_run;

static opt_status flush_run(part_run *r) {
    opt_status st = OPT_OK;
    if (r->text.len > 0) {
        st = encode_text(r->e, r->text.data, r->text.len, r->at_start);
        r->at_start = false;
    }
    r->text.len = 0;
    return st;
}

/** Control tokens of text[n] become themselves; what is between them joins the run. */
static opt_status add_frame(part_run *r, const opt_trie *trie, const char *text, size_t n) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = r->e->t;
    opt_added_search search = {0};
    for (;;) {
        opt_added_match m;
        opt_added_next(trie, t->added, text, n, true, &search, &m);
        if (m.start > m.before) {
            if (trie == &t->raw_trie) {
                OPT_TRY(add_frame(r, &t->normalized_trie, text + m.before, m.start - m.before));
            } else {
                OPT_TRY(opt_str_append(r->e->ctx, &r->text, text + m.before, m.start - m.before));
            }
        }
        if (m.token < 0) {
            break;
        }
        OPT_TRY(flush_run(r));
        OPT_TRY(opt_tokens_push(r->e->ctx, r->e->out, t->added[m.token].id));
        r->at_start = false;
    }
done:
    return st;
}

static opt_status push_all(opt_ctx *ctx, opt_tokens *out, const int32_t *ids, size_t n) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(opt_tokens_push(ctx, out, ids[i]));
    }
done:
    return st;
}

static void encoder_free(encoder *e) {
    opt_str_free(e->ctx, &e->normalized);
    opt_pieces_free(e->ctx, &e->pieces);
    opt_bpe_scratch_free(e->ctx, &e->bpe);
    opt_regex_scratch_free(&e->regex);
}

opt_status opt_tokenizer_encode(opt_ctx *ctx, const opt_tokenizer *t, const char *text, size_t n,
                                unsigned flags, opt_tokens *out) {
    opt_status st = OPT_OK;
    opt_str repaired = {0};
    encoder e = {
        .ctx = ctx, .t = t, .with_special = (flags & OPT_ENCODE_PARSE_SPECIAL) != 0, .out = out};
    if (opt_utf8_valid_prefix(text, n) != n) {
        OPT_TRY(opt_utf8_append_lossy(ctx, &repaired, text, n));
        text = repaired.data;
        n = repaired.len;
    }
    if (n >= CACHE_FROM_BYTES) {
        OPT_TRY(opt_bpe_scratch_cache(ctx, &e.bpe));
    }
    if ((flags & OPT_ENCODE_ADD_SPECIAL) != 0) {
        OPT_TRY(push_all(ctx, out, t->pipe.prefix, t->pipe.n_prefix));
    }
    OPT_TRY(encode_text(&e, text, n, true));
    if ((flags & OPT_ENCODE_ADD_SPECIAL) != 0) {
        OPT_TRY(push_all(ctx, out, t->pipe.suffix, t->pipe.n_suffix));
    }
done:
    opt_str_free(ctx, &repaired);
    encoder_free(&e);
    return st;
}

opt_status opt_tokenizer_encode_parts(opt_ctx *ctx, const opt_tokenizer *t, const char *text,
                                      const opt_text_part *parts, size_t n_parts, opt_tokens *out) {
    opt_status st = OPT_OK;
    encoder e = {.ctx = ctx, .t = t, .out = out};
    part_run run = {.e = &e, .at_start = true};
    for (size_t i = 0; i < n_parts; i++) {
        if (!parts[i].words) {
            OPT_TRY(add_frame(&run, &t->raw_trie, text, parts[i].n));
        } else if (opt_utf8_valid_prefix(text, parts[i].n) != parts[i].n) {
            OPT_TRY(opt_utf8_append_lossy(ctx, &run.text, text, parts[i].n));
        } else {
            OPT_TRY(opt_str_append(ctx, &run.text, text, parts[i].n));
        }
        text += parts[i].n;
    }
    OPT_TRY(flush_run(&run));
done:
    opt_str_free(ctx, &run.text);
    encoder_free(&e);
    return st;
}

/* ---- decoding ---- */

/** What the decoder gets for a token: added tokens that are looked for in normalized text are
 * normalized. */
static const char *shown_text(const opt_tokenizer *t, int32_t id, size_t *len) {
    const opt_piece *p = t->shown != NULL ? &t->shown[id] : &t->vocab.pieces[id];
    *len = p->len;
    return t->vocab.text.data + p->off;
}

/** Whether a token takes part in the text at all. */
static bool is_visible(const opt_tokenizer *t, int32_t id, bool skip_special) {
    return id >= 0 && id < t->n_vocab && opt_vocab_has(&t->vocab, id) &&
           !(skip_special && t->is_special[id]);
}

opt_status opt_tokenizer_decode(opt_ctx *ctx, const opt_tokenizer *t, const int32_t *ids, size_t n,
                                bool skip_special, opt_str *out) {
    opt_status st = OPT_OK;
    opt_texts texts = {0};
    for (size_t i = 0; i < n; i++) {
        if (is_visible(t, ids[i], skip_special)) {
            size_t len;
            const char *text = shown_text(t, ids[i], &len);
            OPT_TRY(opt_texts_push(ctx, &texts, text, len));
        }
    }
    OPT_TRY(opt_decode_all(ctx, t->pipe.dec, t->pipe.n_dec, &texts, out));
done:
    opt_texts_free(ctx, &texts);
    return st;
}

/** Gives all complete characters of `bytes` to `out` and keeps the beginning of one in `d`. */
static opt_status give_complete(opt_ctx *ctx, opt_detok *d, const opt_str *bytes, opt_str *out) {
    opt_status st = OPT_OK;
    size_t keep = bytes->len;
    for (size_t back = 1; back <= 3 && back <= bytes->len; back++) {
        size_t len;
        uint32_t cp;
        if (opt_utf8_next(bytes->data + bytes->len - back, back, &len, &cp) ==
            OPT_UTF8_INCOMPLETE) {
            keep = bytes->len - back;
        }
    }
    OPT_TRY(opt_utf8_append_lossy(ctx, out, bytes->data, keep));
    d->n_pending = (int)(bytes->len - keep);
    memcpy(d->pending, bytes->data + keep, bytes->len - keep);
done:
    return st;
}

opt_status opt_detok_push(opt_ctx *ctx, const opt_tokenizer *t, opt_detok *d, int32_t id,
                          bool skip_special, opt_str *out) {
    opt_status st = OPT_OK;
    opt_str bytes = {0};
    size_t n;
    if (!is_visible(t, id, skip_special)) {
        return OPT_OK;
    }
    OPT_TRY(opt_str_append(ctx, &bytes, d->pending, (size_t)d->n_pending));
    const char *text = shown_text(t, id, &n);
    OPT_TRY(opt_decode_one(ctx, t->pipe.dec, t->pipe.n_dec, text, n, !d->any, &d->n_stripped,
                           &d->started, &bytes));
    d->any = true;
    OPT_TRY(give_complete(ctx, d, &bytes, out));
done:
    opt_str_free(ctx, &bytes);
    return st;
}

opt_status opt_detok_finish(opt_ctx *ctx, opt_detok *d, opt_str *out) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_utf8_append_lossy(ctx, out, (const char *)d->pending, (size_t)d->n_pending));
    d->n_pending = 0;
done:
    return st;
}

/* ---- facts ---- */

int64_t opt_tokenizer_n_vocab(const opt_tokenizer *t) { return t->n_vocab; }

int32_t opt_tokenizer_bos(const opt_tokenizer *t) { return t->special.bos; }

int32_t opt_tokenizer_eos(const opt_tokenizer *t) { return t->special.eos; }

bool opt_tokenizer_adds_bos(const opt_tokenizer *t) {
    return t->special.bos >= 0 && t->pipe.n_prefix > 0 && t->pipe.prefix[0] == t->special.bos;
}

bool opt_tokenizer_is_eog(const opt_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n_vocab && t->is_eog[id] != 0;
}

opt_token_kind opt_tokenizer_kind(const opt_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n_vocab && opt_vocab_has(&t->vocab, id)
               ? (opt_token_kind)t->vocab.kinds[id]
               : OPT_TOKEN_UNUSED;
}

const char *opt_tokenizer_piece(const opt_tokenizer *t, int32_t id, size_t *len) {
    if (id < 0 || id >= t->n_vocab || !opt_vocab_has(&t->vocab, id)) {
        return NULL;
    }
    return opt_vocab_text(&t->vocab, id, len);
}

int32_t opt_tokenizer_find(const opt_tokenizer *t, const char *piece, size_t len) {
    const int32_t id = opt_vocab_find(&t->vocab, piece, len);
    return id < t->n_vocab ? id : -1;
}

const char *opt_tokenizer_chat_template(const opt_tokenizer *t) {
    return t->has_template ? t->chat_template.data : NULL;
}
