#include <string.h>

#include "text/tok.h"
#include "text/utf8.h"

/** Ids may have holes, but not so many that a small file asks for gigabytes. */
#define HOLES_MAX (1 << 20)

opt_status opt_tok_new(opt_ctx *ctx, opt_tokenizer **out) {
    opt_status st = OPT_OK;
    opt_tokenizer *t = opt_alloc_zero(ctx, sizeof *t);
    OPT_TRY_PTR(t);
    t->ctx = ctx;
    t->special = (opt_specials){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1, .eom = -1};
    t->bpe.unk = -1;
    OPT_TRY(opt_arena_new(ctx, &t->pipe.arena));
    *out = t;
    t = NULL;
done:
    opt_tokenizer_free(t);
    return st;
}

opt_status opt_tok_check_range(opt_ctx *ctx, const char *object, int64_t n_ids, int64_t n_entries,
                               int64_t n_vocab_model) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(n_ids > 0, ctx, OPT_ERR_INPUT, object, "the vocabulary is empty");
    OPT_REQUIRE(n_vocab_model == 0 || n_ids <= n_vocab_model, ctx, OPT_ERR_INPUT, object,
                "a token has the id %lld, but the model's vocabulary has %lld rows",
                (long long)(n_ids - 1), (long long)n_vocab_model);
    OPT_REQUIRE(n_ids <= n_entries + HOLES_MAX, ctx, OPT_ERR_INPUT, object,
                "a token has the id %lld, but there are only %lld tokens", (long long)(n_ids - 1),
                (long long)n_entries);
done:
    return st;
}

/* ---- added tokens ---- */

opt_status opt_tok_add_added(opt_tokenizer *t, const opt_added_token *token) {
    opt_status st = OPT_OK;
    if ((t->n_added & (t->n_added - 1)) == 0) {
        void *p =
            opt_realloc(t->ctx, t->added, (t->n_added ? 2 * t->n_added : 1) * sizeof *t->added);
        OPT_TRY_PTR(p);
        t->added = p;
    }
    t->added[t->n_added++] = *token;
done:
    return st;
}

static opt_status read_added(opt_tokenizer *t, const char *object, const opt_json *v) {
    opt_status st = OPT_OK;
    int64_t id = -1;
    opt_added_token a = {.normalized = true};
    const opt_json *content = opt_json_get(v, "content");
    size_t n;
    const char *text = opt_json_str(content, &n);
    OPT_TRY(opt_pipeline_check_keys(t->ctx, object, "an added token", v,
                                    "id,content,single_word,lstrip,rstrip,normalized,special"));
    OPT_REQUIRE(text != NULL && n > 0, t->ctx, OPT_ERR_INPUT, object,
                "the content of an added token is %s, expected a string that is not empty",
                text != NULL ? "empty" : opt_json_type_name(opt_json_type_of(content)));
    OPT_REQUIRE(n <= OPT_ADDED_MAX, t->ctx, OPT_ERR_UNSUPPORTED, object,
                "an added token has %zu bytes, more than the %d that are supported", n,
                OPT_ADDED_MAX);
    OPT_TRY(opt_json_need_i64(t->ctx, object, v, "id", true, 0, INT32_MAX - 1, &id));
    OPT_TRY(opt_json_need_bool(t->ctx, object, v, "single_word", false, &a.single_word));
    OPT_TRY(opt_json_need_bool(t->ctx, object, v, "lstrip", false, &a.lstrip));
    OPT_TRY(opt_json_need_bool(t->ctx, object, v, "rstrip", false, &a.rstrip));
    OPT_TRY(opt_json_need_bool(t->ctx, object, v, "normalized", false, &a.normalized));
    OPT_TRY(opt_json_need_bool(t->ctx, object, v, "special", false, &a.special));
    a.id = (int32_t)id;
    const int32_t known = opt_vocab_find(&t->vocab, text, n);
    OPT_REQUIRE(known < 0 || known == a.id, t->ctx, OPT_ERR_INPUT, object,
                "the added token '%.64s' has the id %d, but %d in the vocabulary", text, a.id,
                known);
    if (known < 0) {
        OPT_TRY(opt_vocab_add(t->ctx, &t->vocab, object, a.id, text, n, OPT_TOKEN_NORMAL));
    }
    t->vocab.kinds[a.id] = a.special ? OPT_TOKEN_CONTROL : OPT_TOKEN_USER;
    OPT_TRY(opt_tok_add_added(t, &a));
done:
    return st;
}

opt_status opt_tok_read_added(opt_tokenizer *t, const char *object, const opt_json *list) {
    opt_status st = OPT_OK;
    const opt_json_type type = opt_json_type_of(list);
    OPT_REQUIRE(type == OPT_JSON_ARRAY || type == OPT_JSON_NULL, t->ctx, OPT_ERR_INPUT, object,
                "'added_tokens' is %s, expected an array", opt_json_type_name(type));
    for (size_t i = 0; i < opt_json_size(list); i++) {
        const opt_json *v = opt_json_at(list, i);
        OPT_REQUIRE(opt_json_type_of(v) == OPT_JSON_OBJECT, t->ctx, OPT_ERR_INPUT, object,
                    "added token %zu is %s, expected an object", i,
                    opt_json_type_name(opt_json_type_of(v)));
        OPT_TRY(read_added(t, object, v));
    }
done:
    return st;
}

static bool is_special_text(const opt_tokenizer *t, const char *text, size_t n) {
    const int32_t id = opt_vocab_find(&t->vocab, text, n);
    for (size_t i = 0; i < t->n_added; i++) {
        if (t->added[i].id == id) {
            return t->added[i].special;
        }
    }
    return false;
}

/**
 * Decoders get the normalized text of an added token, and skip it only if that is a special
 * token's, too: what the reference implementation does, so that decoders can undo what normalizers
 * did.
 */
static opt_status show_normalized(opt_tokenizer *t, int32_t id, const opt_str *normalized) {
    opt_status st = OPT_OK;
    const opt_piece *piece = &t->vocab.pieces[id];
    if (piece->len == normalized->len &&
        memcmp(t->vocab.text.data + piece->off, normalized->data, normalized->len) == 0) {
        return OPT_OK;
    }
    if (t->shown == NULL) {
        t->shown = opt_alloc_array(t->ctx, (size_t)t->n_vocab, sizeof *t->shown);
        OPT_TRY_PTR(t->shown);
        memcpy(t->shown, t->vocab.pieces, (size_t)t->n_vocab * sizeof *t->shown);
    }
    OPT_REQUIRE(t->vocab.text.len + normalized->len < UINT32_MAX, t->ctx, OPT_ERR_INPUT, NULL,
                "the vocabulary has more than 4 GiB of text");
    t->shown[id] =
        (opt_piece){.off = (uint32_t)t->vocab.text.len, .len = (uint32_t)normalized->len};
    t->is_special[id] = is_special_text(t, normalized->data, normalized->len);
    OPT_TRY(opt_str_append(t->ctx, &t->vocab.text, normalized->data, normalized->len));
done:
    return st;
}

static opt_status build_tries(opt_tokenizer *t, const char *object) {
    opt_status st = OPT_OK;
    opt_str normalized = {0};
    opt_regex_scratch scratch = {0};
    for (size_t i = 0; i < t->n_added; i++) {
        const opt_added_token *a = &t->added[i];
        bool taken;
        size_t n;
        const char *text = opt_vocab_text(&t->vocab, a->id, &n);
        opt_trie *trie = &t->raw_trie;
        if (a->normalized) {
            trie = &t->normalized_trie;
            normalized.len = 0;
            OPT_TRY(opt_normalize(t->ctx, t->pipe.norm, t->pipe.n_norm, &scratch, text, n,
                                  &normalized));
            OPT_TRY(show_normalized(t, a->id, &normalized));
            text = normalized.data;
            n = normalized.len;
        }
        if (n == 0) {
            opt_warn(
                t->ctx, object,
                "the added token %d is empty when it is normalized; it is never found in a text",
                a->id);
            continue;
        }
        OPT_TRY(opt_trie_add(t->ctx, trie, text, n, (int32_t)i, &taken));
        OPT_REQUIRE(!taken, t->ctx, OPT_ERR_INPUT, object,
                    "the added token %d has the same text as another one", a->id);
    }
done:
    opt_str_free(t->ctx, &normalized);
    opt_regex_scratch_free(&scratch);
    return st;
}

/* ---- the model ---- */

static opt_status refuse_affix(opt_tokenizer *t, const char *object, const opt_json *model,
                               const char *key) {
    size_t n = 0;
    (void)opt_json_str(opt_json_get(model, key), &n);
    if (opt_json_type_of(opt_json_get(model, key)) == OPT_JSON_NULL || n == 0) {
        return OPT_OK;
    }
    return opt_fail(t->ctx, OPT_ERR_UNSUPPORTED, object, "the model's '%s' is not supported", key);
}

opt_status opt_tok_read_model(opt_tokenizer *t, const char *object, const opt_json *model) {
    opt_status st = OPT_OK;
    double dropout = 0;
    const char *unk = NULL;
    OPT_TRY(opt_pipeline_check_keys(
        t->ctx, object, "the BPE model", model,
        "type,dropout,unk_token,continuing_subword_prefix,end_of_word_suffix,fuse_unk,"
        "byte_fallback,ignore_merges,vocab,merges"));
    OPT_TRY(opt_json_need_f64(t->ctx, object, model, "dropout", false, 0, 1, &dropout));
    OPT_REQUIRE(dropout == 0, t->ctx, OPT_ERR_UNSUPPORTED, object,
                "BPE dropout (%g) is not supported", dropout);
    OPT_TRY(refuse_affix(t, object, model, "continuing_subword_prefix"));
    OPT_TRY(refuse_affix(t, object, model, "end_of_word_suffix"));
    OPT_TRY(opt_json_need_bool(t->ctx, object, model, "fuse_unk", false, &t->bpe.fuse_unk));
    OPT_TRY(
        opt_json_need_bool(t->ctx, object, model, "byte_fallback", false, &t->bpe.byte_fallback));
    OPT_TRY(
        opt_json_need_bool(t->ctx, object, model, "ignore_merges", false, &t->bpe.ignore_merges));
    OPT_TRY(opt_json_need_str(t->ctx, object, model, "unk_token", false, &unk));
    if (unk != NULL) {
        t->bpe.unk = opt_vocab_find(&t->vocab, unk, strlen(unk));
        OPT_REQUIRE(t->bpe.unk >= 0, t->ctx, OPT_ERR_INPUT, object,
                    "the unknown token '%.64s' is not in the vocabulary", unk);
        t->special.unk = t->bpe.unk;
    }
done:
    return st;
}

opt_status opt_tok_reserve_merges(opt_tokenizer *t, size_t n) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_bpe_reserve(t->ctx, &t->bpe, n));
    t->merges = opt_alloc_array(t->ctx, n + 1, sizeof *t->merges);
    OPT_TRY_PTR(t->merges);
done:
    return st;
}

opt_status opt_tok_add_merge(opt_tokenizer *t, const char *object, const char *left, size_t n_left,
                             const char *right, size_t n_right) {
    opt_status st = OPT_OK;
    opt_merge *m = &t->merges[t->n_merges];
    OPT_TRY(opt_bpe_parse_merge(t->ctx, &t->vocab, object, (uint32_t)t->n_merges, left, n_left,
                                right, n_right, m));
    opt_bpe_add(&t->bpe, m->left, m->right, m->rank, m->result);
    t->n_merges++;
done:
    return st;
}

opt_status opt_tok_add_merge_line(opt_tokenizer *t, const char *object, const char *line,
                                  size_t n) {
    opt_status st = OPT_OK;
    const char *space = n > 0 ? memchr(line, ' ', n) : NULL;
    OPT_REQUIRE(space != NULL && memchr(space + 1, ' ', n - (size_t)(space + 1 - line)) == NULL,
                t->ctx, OPT_ERR_INPUT, object,
                "merge %zu is '%.*s', expected two tokens with a space between", t->n_merges,
                (int)(n < 64 ? n : 64), line);
    OPT_TRY(opt_tok_add_merge(t, object, line, (size_t)(space - line), space + 1,
                              n - (size_t)(space + 1 - line)));
done:
    return st;
}

/* ---- special tokens ---- */

opt_status opt_tok_set_adds_bos(opt_tokenizer *t, const char *object, bool add) {
    opt_status st = OPT_OK;
    opt_pipeline *p = &t->pipe;
    const bool adds = opt_tokenizer_adds_bos(t);
    OPT_REQUIRE(!add || t->special.bos >= 0, t->ctx, OPT_ERR_INPUT, object,
                "BOS is to be added to every text, but there is no BOS token");
    if (add && !adds) {
        OPT_TRY(opt_pipeline_add_prefix(t->ctx, p, t->special.bos));
    } else if (!add && adds) {
        memmove(p->prefix, p->prefix + 1, --p->n_prefix * sizeof *p->prefix);
    }
done:
    return st;
}

opt_status opt_tok_set_adds_eos(opt_tokenizer *t, const char *object, bool add) {
    opt_status st = OPT_OK;
    opt_pipeline *p = &t->pipe;
    const bool adds =
        p->n_suffix > 0 && p->suffix[p->n_suffix - 1] == t->special.eos && t->special.eos >= 0;
    OPT_REQUIRE(!add || t->special.eos >= 0, t->ctx, OPT_ERR_INPUT, object,
                "EOS is to be added to every text, but there is no EOS token");
    if (add && !adds) {
        OPT_TRY(opt_pipeline_add_suffix(t->ctx, p, t->special.eos));
    } else if (!add && adds) {
        p->n_suffix--;
    }
done:
    return st;
}

static bool has_control(const opt_tokenizer *t, const char *text) {
    const int32_t id = opt_vocab_find(&t->vocab, text, strlen(text));
    return id >= 0 && id < t->n_vocab && t->vocab.kinds[id] == OPT_TOKEN_CONTROL;
}

void opt_tok_mark_eog(opt_tokenizer *t) {
    /* Ends of turns, messages, documents and of fill-in-the-middle, as the models that are in use
     * write them. */
    static const char *const texts[] = {"</s>",
                                        "<eos>",
                                        "[EOS]",
                                        "<|endoftext|>",
                                        "<|end_of_text|>",
                                        "<|im_end|>",
                                        "<|eot_id|>",
                                        "<|eom_id|>",
                                        "<|end|>",
                                        "<end_of_turn>",
                                        "<turn|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "<end_of_utterance>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|calls|>",
                                        "<|flush|>",
                                        "<|tool_response>",
                                        "<|fim_pad|>",
                                        "<fim_pad>",
                                        "<fim-pad>",
                                        "<|repo_name|>",
                                        "<|fim_repo|>",
                                        "<fim-repo>",
                                        "<reponame>",
                                        "<|file_sep|>",
                                        "<\uff5cend\u2581of\u2581sentence\uff5c>"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const int32_t id = opt_vocab_find(&t->vocab, texts[i], strlen(texts[i]));
        if (id >= 0 && has_control(t, texts[i])) {
            t->is_eog[id] = 1;
        }
    }
    /* In formats with channels <|end|> only ends one of several messages. */
    const bool channels = (has_control(t, "<|return|>") && has_control(t, "<|call|>")) ||
                          (has_control(t, "<|calls|>") && has_control(t, "<|flush|>"));
    const int32_t end = opt_vocab_find(&t->vocab, "<|end|>", 7);
    if (channels && end >= 0 && end < t->n_vocab) {
        t->is_eog[end] = 0;
    }
    const int32_t ids[] = {t->special.eos, t->special.eot, t->special.eom};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i] >= 0 && ids[i] < t->n_vocab) {
            t->is_eog[ids[i]] = 1;
        }
    }
}

static void set_byte_kinds(opt_tokenizer *t) {
    for (int b = 0; b < 256 && t->bpe.byte_fallback; b++) {
        const int32_t id = t->bpe.fallback_id[b];
        if (id >= 0 && t->vocab.kinds[id] == OPT_TOKEN_NORMAL) {
            t->vocab.kinds[id] = OPT_TOKEN_BYTE;
        }
    }
    if (t->bpe.unk >= 0 && !t->pipe.bytes && t->vocab.kinds[t->bpe.unk] == OPT_TOKEN_CONTROL) {
        t->vocab.kinds[t->bpe.unk] =
            OPT_TOKEN_UNKNOWN; /* what other vocabularies of this kind say */
    }
}

opt_status opt_tok_finish(opt_tokenizer *t, const char *object) {
    opt_status st = OPT_OK;
    if (t->n_vocab == 0) {
        t->n_vocab = t->vocab.n;
    }
    OPT_TRY(opt_bpe_finish(t->ctx, &t->bpe, &t->vocab));
    set_byte_kinds(t);
    t->is_special = opt_alloc_zero(t->ctx, (size_t)t->n_vocab);
    OPT_TRY_PTR(t->is_special);
    t->is_eog = opt_alloc_zero(t->ctx, (size_t)t->n_vocab);
    OPT_TRY_PTR(t->is_eog);
    for (size_t i = 0; i < t->n_added; i++) {
        const int32_t id = t->added[i].id;
        OPT_REQUIRE(!t->is_eog[id], t->ctx, OPT_ERR_INPUT, object,
                    "the added token %d is listed twice", id);
        t->is_eog[id] = 1; /* only to find such ids */
        t->is_special[id] = t->added[i].special;
    }
    memset(t->is_eog, 0, (size_t)t->n_vocab);
    OPT_TRY(build_tries(t, object));
done:
    return st;
}

void opt_tok_write_json(opt_jsonw *w, const opt_json *v, int depth) {
    void *it = NULL;
    const char *key;
    const opt_json *value;
    int64_t i64;
    double f64;
    size_t n;
    switch (opt_json_type_of(v)) {
    case OPT_JSON_NULL: opt_jsonw_null(w); break;
    case OPT_JSON_BOOL: opt_jsonw_bool(w, opt_json_bool(v, false)); break;
    case OPT_JSON_INT:
        (void)opt_json_i64(v, &i64);
        opt_jsonw_i64(w, i64);
        break;
    case OPT_JSON_REAL:
        (void)opt_json_f64(v, &f64);
        opt_jsonw_f64(w, f64);
        break;
    case OPT_JSON_STRING: {
        const char *s = opt_json_str(v, &n);
        opt_jsonw_strn(w, s, n);
        break;
    }
    case OPT_JSON_ARRAY:
        opt_jsonw_begin_array(w);
        for (size_t i = 0; i < opt_json_size(v); i++) {
            opt_tok_write_json(w, opt_json_at(v, i), depth + 1);
        }
        opt_jsonw_end_array(w);
        break;
    case OPT_JSON_OBJECT:
        opt_jsonw_begin_object(w);
        while (opt_json_next(v, &it, &key, &value)) {
            if (depth == 1 && (strcmp(key, "vocab") == 0 || strcmp(key, "merges") == 0)) {
                continue;
            }
            opt_jsonw_key(w, key);
            opt_tok_write_json(w, value, depth + 1);
        }
        opt_jsonw_end_object(w);
        break;
    }
}
