#include <stdio.h>
#include <string.h>

#include "text/gguf_keys.h"
#include "text/gguf_pre.h"
#include "text/tok.h"
#include "text/utf8.h"

/** What reading a tokenizer from keys needs. */
typedef struct reader {
    opt_ctx *ctx;
    opt_tokenizer *t;
    const opt_kv *kv;
    const char *object;       /* the file */
    const opt_kv_str *tokens; /* [n] */
    size_t n;
    opt_json *pipeline; /* OPT_KEY_PIPELINE, or NULL: a file of others */
} reader;

/** The key's array of `n` integers (or floats), or NULL if it may be missing and is. */
static opt_status find_numbers(reader *r, const char *key, bool floats, bool required, size_t n,
                               const opt_kv_entry **out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = opt_kv_find(r->kv, key);
    *out = e;
    if (e == NULL && !required) {
        return OPT_OK;
    }
    OPT_REQUIRE(e != NULL, r->ctx, OPT_ERR_INPUT, r->object, "the key %s is missing", key);
    const bool is_float = e->elem == OPT_KV_F32 || e->elem == OPT_KV_F64;
    const bool is_int =
        e->elem != OPT_KV_BOOL && e->elem != OPT_KV_STRING && e->elem != OPT_KV_ARRAY && !is_float;
    OPT_REQUIRE(e->type == OPT_KV_ARRAY && (is_int || (floats && is_float)), r->ctx, OPT_ERR_INPUT,
                r->object, "%s has another type than an array of %s", key,
                floats ? "numbers" : "integers");
    OPT_REQUIRE(n == 0 || e->n == n, r->ctx, OPT_ERR_INPUT, r->object,
                "%s has %zu elements, but there are %zu tokens", key, e->n, n);
done:
    return st;
}

/* ---- vocabulary ---- */

/** Ids that no token has are written as unused tokens with this name. */
static bool is_filler(const opt_kv_str *token, size_t id) {
    char name[32];
    const int n = snprintf(name, sizeof name, "[PAD%zu]", id);
    return token->len == 0 ||
           (token->len == (size_t)n && memcmp(token->data, name, token->len) == 0);
}

static opt_status add_token(reader *r, size_t id, int64_t kind) {
    opt_status st = OPT_OK;
    const opt_kv_str *token = &r->tokens[id];
    OPT_REQUIRE(kind >= 0 && kind <= OPT_TOKEN_BYTE, r->ctx, OPT_ERR_INPUT, r->object,
                "token %zu has the type %lld, expected 1 to 6", id, (long long)kind);
    OPT_REQUIRE(opt_utf8_valid_prefix(token->data, token->len) == token->len, r->ctx, OPT_ERR_INPUT,
                r->object, "the text of token %zu is not valid UTF-8", id);
    OPT_REQUIRE(kind != OPT_TOKEN_BYTE || opt_byte_token(token->data, token->len) >= 0, r->ctx,
                OPT_ERR_INPUT, r->object,
                "the byte token %zu is '%.*s', expected <0xHH> with two hexadecimal digits", id,
                (int)(token->len < 32 ? token->len : 32), token->data);
    if (token->len == 0 || (kind == OPT_TOKEN_UNUSED && is_filler(token, id))) {
        return OPT_OK; /* a hole */
    }
    OPT_TRY(opt_vocab_add(r->ctx, &r->t->vocab, r->object, (int32_t)id, token->data, token->len,
                          kind == 0 ? OPT_TOKEN_NORMAL : (uint8_t)kind));
done:
    return st;
}

static opt_status read_vocab(reader *r, int64_t n_vocab_model) {
    opt_status st = OPT_OK;
    const opt_kv_entry *types = NULL;
    OPT_TRY(opt_kv_get_str_array(r->ctx, r->kv, OPT_KEY_TOKENS, true, &r->tokens, &r->n));
    OPT_REQUIRE(r->n < INT32_MAX, r->ctx, OPT_ERR_INPUT, r->object,
                "%s has %zu tokens, which is too many", OPT_KEY_TOKENS, r->n);
    OPT_TRY(opt_tok_check_range(r->ctx, r->object, (int64_t)r->n, (int64_t)r->n, n_vocab_model));
    OPT_TRY(find_numbers(r, OPT_KEY_TYPES, false, false, r->n, &types));
    OPT_TRY(opt_vocab_init(r->ctx, &r->t->vocab, (int32_t)r->n));
    for (size_t id = 0; id < r->n; id++) {
        OPT_TRY(add_token(r, id, types != NULL ? opt_kv_elem_i64(types, id) : OPT_TOKEN_NORMAL));
    }
    opt_bpe_set_vocab(&r->t->bpe, &r->t->vocab);
done:
    return st;
}

static opt_status read_scores(reader *r) {
    opt_status st = OPT_OK;
    const opt_kv_entry *scores = NULL;
    OPT_TRY(find_numbers(r, OPT_KEY_SCORES, true, true, r->n, &scores));
    r->t->scores = opt_alloc_array(r->ctx, r->n, sizeof *r->t->scores);
    OPT_TRY_PTR(r->t->scores);
    for (size_t i = 0; i < r->n; i++) {
        r->t->scores[i] = (float)opt_kv_elem_f64(scores, i);
    }
    r->t->n_vocab = (int32_t)r->n;
    OPT_TRY(opt_bpe_set_scores(r->ctx, &r->t->bpe, &r->t->vocab, r->object, r->t->scores));
done:
    return st;
}

static opt_status read_merge_lines(reader *r) {
    opt_status st = OPT_OK;
    const opt_kv_str *merges = NULL;
    size_t n = 0;
    OPT_TRY(opt_kv_get_str_array(r->ctx, r->kv, OPT_KEY_MERGES, true, &merges, &n));
    OPT_TRY(opt_tok_reserve_merges(r->t, n));
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(opt_tok_add_merge_line(r->t, r->object, merges[i].data, merges[i].len));
    }
done:
    return st;
}

static opt_status read_merge_ids(reader *r, const opt_kv_entry *ids) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(ids->n % 2 == 0, r->ctx, OPT_ERR_INPUT, r->object,
                "%s has %zu elements, expected pairs", OPT_KEY_MERGE_IDS, ids->n);
    OPT_TRY(opt_tok_reserve_merges(r->t, ids->n / 2));
    for (size_t i = 0; i < ids->n; i += 2) {
        const int64_t pair[2] = {opt_kv_elem_i64(ids, i), opt_kv_elem_i64(ids, i + 1)};
        size_t n[2] = {0};
        const char *text[2] = {NULL};
        for (int k = 0; k < 2; k++) {
            OPT_REQUIRE(opt_vocab_has(&r->t->vocab, pair[k]), r->ctx, OPT_ERR_INPUT, r->object,
                        "%s names the token %lld, which does not exist", OPT_KEY_MERGE_IDS,
                        (long long)pair[k]);
            text[k] = opt_vocab_text(&r->t->vocab, (int32_t)pair[k], &n[k]);
        }
        OPT_TRY(opt_tok_add_merge(r->t, r->object, text[0], n[0], text[1], n[1]));
    }
done:
    return st;
}

/* ---- special tokens ---- */

/** A token id that may be missing; -1 then. */
static opt_status read_id(reader *r, const char *key, int32_t *out) {
    opt_status st = OPT_OK;
    int64_t id = -1;
    OPT_TRY(opt_kv_get_i64(r->ctx, r->kv, key, false, 0, (int64_t)r->n - 1, &id));
    if (id >= 0) {
        *out = (int32_t)id;
    }
done:
    return st;
}

static opt_status read_specials(reader *r) {
    opt_status st = OPT_OK;
    opt_specials *s = &r->t->special;
    OPT_TRY(read_id(r, OPT_KEY_BOS, &s->bos));
    OPT_TRY(read_id(r, OPT_KEY_EOS, &s->eos));
    OPT_TRY(read_id(r, OPT_KEY_UNK, &s->unk));
    OPT_TRY(read_id(r, OPT_KEY_PAD, &s->pad));
    OPT_TRY(read_id(r, OPT_KEY_EOT, &s->eot));
    OPT_TRY(read_id(r, OPT_KEY_EOM, &s->eom));
done:
    return st;
}

/** Tokens that end generation, besides those known by their text. */
static opt_status read_eog(reader *r) {
    opt_status st = OPT_OK;
    const opt_kv_entry *ids = NULL;
    opt_tok_mark_eog(r->t);
    OPT_TRY(find_numbers(r, OPT_KEY_EOG, false, false, 0, &ids));
    for (size_t i = 0; ids != NULL && i < ids->n; i++) {
        const int64_t id = opt_kv_elem_i64(ids, i);
        OPT_REQUIRE(id >= 0 && id < (int64_t)r->n, r->ctx, OPT_ERR_INPUT, r->object,
                    "%s names the token %lld, but there are %zu", OPT_KEY_EOG, (long long)id, r->n);
        r->t->is_eog[id] = 1;
    }
done:
    return st;
}

/** BOS and EOS around a text: what the file says, else `bos` (if there is such a token). */
static opt_status read_adds(reader *r, bool bos) {
    opt_status st = OPT_OK;
    bool eos = false;
    bos = bos && r->t->special.bos >= 0;
    if (r->pipeline !=
        NULL) { /* the post-processor has said it; the keys may have been changed since */
        bos = opt_tokenizer_adds_bos(r->t);
        eos = r->t->pipe.n_suffix > 0;
    }
    OPT_TRY(opt_kv_get_bool(r->ctx, r->kv, OPT_KEY_ADD_BOS, false, &bos));
    OPT_TRY(opt_kv_get_bool(r->ctx, r->kv, OPT_KEY_ADD_EOS, false, &eos));
    OPT_TRY(opt_tok_set_adds_bos(r->t, r->object, bos));
    if (r->pipeline == NULL || opt_kv_find(r->kv, OPT_KEY_ADD_EOS) != NULL) {
        OPT_TRY(opt_tok_set_adds_eos(r->t, r->object, eos));
    }
done:
    return st;
}

/* ---- files of others ---- */

/** Control, unknown and user-defined tokens are found in texts before anything else. */
static opt_status add_added(reader *r) {
    opt_status st = OPT_OK;
    for (size_t id = 0; id < r->n; id++) {
        const uint8_t kind = r->t->vocab.kinds[id];
        if (!opt_vocab_has(&r->t->vocab, (int64_t)id) ||
            r->t->vocab.pieces[id].len > OPT_ADDED_MAX) {
            continue;
        }
        if (kind == OPT_TOKEN_CONTROL || kind == OPT_TOKEN_UNKNOWN || kind == OPT_TOKEN_USER) {
            OPT_TRY(opt_tok_add_added(
                r->t, &(opt_added_token){.id = (int32_t)id, .special = kind != OPT_TOKEN_USER}));
        }
    }
done:
    return st;
}

static opt_status read_byte_level(reader *r) {
    opt_status st = OPT_OK;
    const char *name = "default";
    OPT_TRY(opt_kv_get_str(r->ctx, r->kv, OPT_KEY_PRE, false, &name));
    const opt_gguf_pre *pre = opt_gguf_pre_find(name);
    OPT_REQUIRE(pre != NULL, r->ctx, OPT_ERR_UNSUPPORTED, r->object,
                "%s is '%.64s', a way to split text that is not known", OPT_KEY_PRE, name);
    OPT_TRY(opt_str_append(r->ctx, &r->t->pre, name, strlen(name)));
    r->t->bpe.ignore_merges = pre->ignore_merges;
    OPT_TRY(read_merge_lines(r));
    OPT_TRY(opt_gguf_pre_apply(r->ctx, pre, &r->t->pipe));
    OPT_TRY(add_added(r));
    OPT_TRY(opt_tok_finish(r->t, r->object));
    OPT_TRY(read_specials(r));
    OPT_TRY(read_adds(r, pre->add_bos));
done:
    return st;
}

/** Spaces become U+2581, one more stands in front of every text, and the decoder takes both back.
 */
static opt_status add_space_steps(reader *r) {
    opt_status st = OPT_OK;
    opt_pipeline *p = &r->t->pipe;
    if (r->t->add_space_prefix) {
        OPT_TRY(opt_pipeline_add_norm(
            r->ctx, p,
            &(opt_norm_step){.kind = OPT_NORM_PREPEND, .text = OPT_METASPACE, .n_text = 3}));
    }
    OPT_TRY(opt_pipeline_add_norm(r->ctx, p,
                                  &(opt_norm_step){.kind = OPT_NORM_REPLACE,
                                                   .find = " ",
                                                   .n_find = 1,
                                                   .text = OPT_METASPACE,
                                                   .n_text = 3}));
    OPT_TRY(opt_pipeline_add_dec(r->ctx, p,
                                 &(opt_decode_step){.kind = OPT_DECODE_REPLACE,
                                                    .find = OPT_METASPACE,
                                                    .n_find = 3,
                                                    .text = " ",
                                                    .n_text = 1}));
    OPT_TRY(opt_pipeline_add_dec(r->ctx, p, &(opt_decode_step){.kind = OPT_DECODE_BYTE_FALLBACK}));
    OPT_TRY(opt_pipeline_add_dec(r->ctx, p, &(opt_decode_step){.kind = OPT_DECODE_FUSE}));
    if (r->t->add_space_prefix) {
        OPT_TRY(opt_pipeline_add_dec(
            r->ctx, p,
            &(opt_decode_step){.kind = OPT_DECODE_STRIP, .text = " ", .n_text = 1, .start = 1}));
    }
done:
    return st;
}

static opt_status read_sentencepiece(reader *r) {
    opt_status st = OPT_OK;
    opt_tokenizer *t = r->t;
    t->add_space_prefix = true;
    t->bpe.byte_fallback = true;
    t->bpe.fuse_unk = true;
    /* What SentencePiece's Llama vocabularies have, and llama.cpp takes for granted. */
    t->special.bos = r->n > 1 ? 1 : -1;
    t->special.eos = r->n > 2 ? 2 : -1;
    t->special.unk = 0;
    OPT_TRY(opt_kv_get_bool(r->ctx, r->kv, OPT_KEY_ADD_PREFIX, false, &t->add_space_prefix));
    OPT_TRY(read_specials(r));
    t->bpe.unk = t->special.unk;
    OPT_TRY(read_scores(r));
    OPT_TRY(add_space_steps(r));
    OPT_TRY(add_added(r));
    OPT_TRY(opt_tok_finish(t, r->object));
    OPT_TRY(read_adds(r, true));
done:
    return st;
}

/* ---- files of our own ---- */

static opt_status read_own(reader *r, bool byte_level) {
    opt_status st = OPT_OK;
    opt_tokenizer *t = r->t;
    const opt_kv_entry *ids = NULL;
    opt_jsonw w;
    OPT_TRY(opt_tok_read_added(t, r->object, opt_json_get(r->pipeline, "added_tokens")));
    OPT_TRY(opt_tok_read_model(t, r->object, opt_json_get(r->pipeline, "model")));
    OPT_TRY(find_numbers(r, OPT_KEY_MERGE_IDS, false, !byte_level, 0, &ids));
    OPT_TRY(ids != NULL ? read_merge_ids(r, ids) : read_merge_lines(r));
    OPT_TRY(opt_pipeline_read(r->ctx, &t->pipe, r->object, r->pipeline, &t->vocab));
    OPT_TRY(opt_tok_finish(t, r->object));
    OPT_TRY(read_specials(r));
    OPT_TRY(read_adds(r, false));
    opt_jsonw_init(&w, r->ctx, &t->pipeline_json, 0);
    opt_tok_write_json(&w, r->pipeline, 0);
    OPT_TRY(opt_jsonw_finish(&w));
done:
    return st;
}

static opt_status parse_pipeline(reader *r) {
    opt_status st = OPT_OK;
    const char *text = NULL;
    OPT_TRY(opt_kv_get_str(r->ctx, r->kv, OPT_KEY_PIPELINE, false, &text));
    if (text != NULL) {
        OPT_TRY(opt_json_parse(r->ctx, OPT_KEY_PIPELINE, text, strlen(text), &r->pipeline));
        OPT_REQUIRE(opt_json_type_of(opt_json_get(r->pipeline, "model")) == OPT_JSON_OBJECT, r->ctx,
                    OPT_ERR_INPUT, r->object, "%s has no object 'model'", OPT_KEY_PIPELINE);
    }
done:
    return st;
}

opt_status opt_tokenizer_from_kv(opt_ctx *ctx, const opt_kv *kv, int64_t n_vocab_model,
                                 opt_tokenizer **out) {
    opt_status st = OPT_OK;
    reader r = {.ctx = ctx, .kv = kv, .object = opt_kv_origin(kv)};
    const char *model = NULL;
    const char *chat_template = NULL;
    OPT_TRY(opt_kv_get_str(ctx, kv, OPT_KEY_MODEL, true, &model));
    const bool byte_level = strcmp(model, "gpt2") == 0;
    OPT_REQUIRE(byte_level || strcmp(model, "llama") == 0, ctx, OPT_ERR_UNSUPPORTED, r.object,
                "%s is '%.64s', only gpt2 and llama are supported", OPT_KEY_MODEL, model);
    OPT_TRY(opt_tok_new(ctx, &r.t));
    OPT_TRY(parse_pipeline(&r));
    OPT_TRY(read_vocab(&r, n_vocab_model));
    OPT_TRY(r.pipeline != NULL ? read_own(&r, byte_level)
            : byte_level       ? read_byte_level(&r)
                               : read_sentencepiece(&r));
    OPT_TRY(read_eog(&r));
    OPT_TRY(opt_kv_get_str(ctx, kv, OPT_KEY_TEMPLATE, false, &chat_template));
    if (chat_template != NULL) {
        OPT_TRY(opt_str_append(ctx, &r.t->chat_template, chat_template, strlen(chat_template)));
        r.t->has_template = true;
    }
    *out = r.t;
    r.t = NULL;
done:
    opt_tokenizer_free(r.t);
    opt_json_free(r.pipeline);
    return st;
}
