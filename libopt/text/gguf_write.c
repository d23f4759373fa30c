#include <stdio.h>
#include <string.h>

#include "text/gguf_keys.h"
#include "text/gguf_pre.h"
#include "text/tok.h"

/** Score of a token that no merge makes: below every merge. Exact in a float, as the ranks are. */
#define SCORE_NEVER (-16777216.0F)

typedef struct writer {
    opt_ctx *ctx;
    const opt_tokenizer *t;
    opt_kv *kv;
    int64_t n; /* tokens to write */
    bool byte_level;
} writer;

/* ---- vocabulary ---- */

/** A name that no token has for the id, in the arena. */
static opt_status filler_name(writer *w, opt_arena *arena, int64_t id, opt_kv_str *out) {
    opt_status st = OPT_OK;
    const char *name = opt_arena_printf(arena, "[PAD%lld]", (long long)id);
    while (name != NULL && opt_vocab_find(&w->t->vocab, name, strlen(name)) >= 0) {
        name = opt_arena_printf(arena, "%s_", name);
    }
    OPT_TRY_PTR(name);
    *out = (opt_kv_str){.data = name, .len = strlen(name)};
done:
    return st;
}

static opt_status write_tokens(writer *w) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    const opt_vocab *v = &w->t->vocab;
    opt_kv_str *tokens = opt_alloc_array(w->ctx, (size_t)w->n, sizeof *tokens);
    int32_t *kinds = opt_alloc_array(w->ctx, (size_t)w->n, sizeof *kinds);
    OPT_TRY_PTR(tokens);
    OPT_TRY_PTR(kinds);
    OPT_TRY(opt_arena_new(w->ctx, &arena));
    for (int64_t id = 0; id < w->n; id++) {
        if (id < w->t->n_vocab && opt_vocab_has(v, id) && v->pieces[id].len > 0) {
            tokens[id].data = opt_vocab_text(v, (int32_t)id, &tokens[id].len);
            kinds[id] = v->kinds[id];
        } else {
            OPT_TRY(filler_name(w, arena, id, &tokens[id]));
            kinds[id] = OPT_TOKEN_UNUSED;
        }
    }
    OPT_TRY(opt_kv_set_str_array(w->kv, OPT_KEY_TOKENS, tokens, (size_t)w->n));
    OPT_TRY(opt_kv_set_array(w->kv, OPT_KEY_TYPES, OPT_KV_I32, kinds, (size_t)w->n));
done:
    opt_arena_free(arena);
    opt_free(w->ctx, tokens);
    opt_free(w->ctx, kinds);
    return st;
}

static opt_status write_merge_lines(writer *w) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    const opt_tokenizer *t = w->t;
    opt_kv_str *lines = opt_alloc_array(w->ctx, t->n_merges + 1, sizeof *lines);
    OPT_TRY_PTR(lines);
    OPT_TRY(opt_arena_new(w->ctx, &arena));
    for (size_t i = 0; i < t->n_merges; i++) {
        size_t n_left;
        size_t n_right;
        const char *left = opt_vocab_text(&t->vocab, (int32_t)t->merges[i].left, &n_left);
        const char *right = opt_vocab_text(&t->vocab, (int32_t)t->merges[i].right, &n_right);
        char *line = opt_arena_alloc(arena, n_left + 1 + n_right);
        OPT_TRY_PTR(line);
        memcpy(line, left, n_left);
        line[n_left] = ' ';
        memcpy(line + n_left + 1, right, n_right);
        lines[i] = (opt_kv_str){.data = line, .len = n_left + 1 + n_right};
    }
    OPT_TRY(opt_kv_set_str_array(w->kv, OPT_KEY_MERGES, lines, t->n_merges));
done:
    opt_arena_free(arena);
    opt_free(w->ctx, lines);
    return st;
}

static opt_status write_merge_ids(writer *w) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = w->t;
    int32_t *ids = opt_alloc_array(w->ctx, 2 * t->n_merges + 1, sizeof *ids);
    OPT_TRY_PTR(ids);
    for (size_t i = 0; i < t->n_merges; i++) {
        ids[2 * i] = (int32_t)t->merges[i].left;
        ids[2 * i + 1] = (int32_t)t->merges[i].right;
    }
    OPT_TRY(opt_kv_set_array(w->kv, OPT_KEY_MERGE_IDS, OPT_KV_I32, ids, 2 * t->n_merges));
done:
    opt_free(w->ctx, ids);
    return st;
}

/* ---- scores: what readers that merge by scores make of the vocabulary ---- */

/**
 * Such readers join any two neighbours whose text is a token, the highest score first; with merges,
 * a pair must be in the list and its own rank counts. Counts the tokens for which that is not the
 * same: one that can be put together from two tokens that are not in the list, or whose merges are
 * not next to each other in it. `first` [n_vocab]: rank of each token's first merge, or
 * OPT_BPE_NO_RANK.
 */
static opt_status count_ambiguous(writer *w, const uint32_t *first, int32_t *n, int32_t *example) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = w->t;
    const opt_vocab *v = &t->vocab;
    uint32_t *listed = opt_alloc_zero(w->ctx, (size_t)t->n_vocab * sizeof *listed);
    uint8_t *bad = opt_alloc_zero(w->ctx, (size_t)t->n_vocab);
    OPT_TRY_PTR(listed);
    OPT_TRY_PTR(bad);
    for (size_t i = 0; i < t->n_merges; i++) {
        const uint32_t made = t->merges[i].result;
        bad[made] |= first[made] + listed[made]++ != i;
    }
    *n = 0;
    for (int32_t id = 0; id < t->n_vocab; id++) {
        if (!opt_vocab_has(v, id)) {
            continue;
        }
        size_t len;
        const char *text = opt_vocab_text(v, id, &len);
        for (size_t cut = 1; cut < len && !bad[id]; cut++) {
            const int32_t left = opt_vocab_find(v, text, cut);
            const int32_t right = left < 0 ? -1 : opt_vocab_find(v, text + cut, len - cut);
            bad[id] = right >= 0 && opt_bpe_find(&t->bpe, (uint32_t)left, (uint32_t)right) == NULL;
        }
        if (bad[id]) {
            *example = *n == 0 ? id : *example;
            ++*n;
        }
    }
done:
    opt_free(w->ctx, listed);
    opt_free(w->ctx, bad);
    return st;
}

/** A token's score is minus the rank of its first merge. */
static opt_status make_scores(writer *w, float *scores) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = w->t;
    int32_t n_ambiguous = 0;
    int32_t example = -1;
    uint32_t *first = opt_alloc_array(w->ctx, (size_t)t->n_vocab, sizeof *first);
    OPT_TRY_PTR(first);
    memset(first, 0xFF, (size_t)t->n_vocab * sizeof *first);
    OPT_REQUIRE(t->n_merges < 1U << 24, w->ctx, OPT_ERR_UNSUPPORTED, NULL,
                "%zu merges are too many to be written as scores", t->n_merges);
    for (size_t i = t->n_merges; i-- > 0;) {
        first[t->merges[i].result] = (uint32_t)i;
    }
    for (int64_t id = 0; id < w->n; id++) {
        const bool made = id < t->n_vocab && first[id] != OPT_BPE_NO_RANK;
        const bool plain = id < t->n_vocab && opt_vocab_has(&t->vocab, id) &&
                           t->vocab.kinds[id] == OPT_TOKEN_NORMAL;
        scores[id] = made ? -(float)first[id] : plain ? SCORE_NEVER : 0.0F;
    }
    OPT_TRY(count_ambiguous(w, first, &n_ambiguous, &example));
    if (n_ambiguous > 0) {
        size_t len;
        const char *text = opt_vocab_text(&t->vocab, example, &len);
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp merges by one score per token, which cannot say all that the merges of "
                 "%d tokens say "
                 "('%.*s', for example); it may split some texts differently",
                 n_ambiguous, (int)(len < 32 ? len : 32), text);
    }
done:
    opt_free(w->ctx, first);
    return st;
}

static opt_status write_scores(writer *w) {
    opt_status st = OPT_OK;
    float *scores = opt_alloc_array(w->ctx, (size_t)w->n, sizeof *scores);
    OPT_TRY_PTR(scores);
    if (w->t->scores != NULL) {
        for (int64_t id = 0; id < w->n; id++) {
            scores[id] = id < w->t->n_vocab ? w->t->scores[id] : SCORE_NEVER;
        }
    } else {
        OPT_TRY(make_scores(w, scores));
    }
    OPT_TRY(opt_kv_set_array(w->kv, OPT_KEY_SCORES, OPT_KV_F32, scores, (size_t)w->n));
done:
    opt_free(w->ctx, scores);
    return st;
}

/* ---- splitting ---- */

static bool is_space_replace(const opt_norm_step *s) {
    return s->kind == OPT_NORM_REPLACE && s->find != NULL && s->n_find == 1 && s->find[0] == ' ' &&
           s->n_text == 3 && memcmp(s->text, OPT_METASPACE, 3) == 0;
}

static bool is_space_prepend(const opt_norm_step *s) {
    return s->kind == OPT_NORM_PREPEND && s->n_text == 3 && memcmp(s->text, OPT_METASPACE, 3) == 0;
}

static bool is_metaspace(const opt_pretok_step *s) {
    return s->kind == OPT_PRETOK_METASPACE && s->n_text == 3 &&
           memcmp(s->text, OPT_METASPACE, 3) == 0;
}

/** A split at spaces that are there no more, or at U+2581, which tokens only begin with. */
static bool is_harmless_split(const opt_pretok_step *s) {
    return s->kind == OPT_PRETOK_SPLIT && s->literal &&
           (strcmp(s->source, " ") == 0 ||
            (strcmp(s->source, OPT_METASPACE) == 0 && s->behavior == OPT_SPLIT_MERGED_WITH_NEXT));
}

/** Whether spaces become U+2581 and nothing else is done, as SentencePiece does; and whether a text
 * gets one in front. */
static bool splits_as_sentencepiece(const opt_pipeline *p, bool *prefix, bool *always) {
    size_t norm = 0;
    size_t pre = 0;
    bool replaced = false;
    *prefix = false;
    *always = false;
    if (norm < p->n_norm && is_space_prepend(&p->norm[norm])) {
        *prefix = *always = true;
        norm++;
    }
    if (norm < p->n_norm && is_space_replace(&p->norm[norm])) {
        replaced = true;
        norm++;
    }
    if (pre < p->n_pre && is_metaspace(&p->pre[pre])) {
        *prefix = *prefix || p->pre[pre].scheme != OPT_PREPEND_NEVER;
        replaced = true;
        pre++;
    }
    while (replaced && pre < p->n_pre && is_harmless_split(&p->pre[pre])) {
        pre++;
    }
    return replaced && !p->bytes && norm == p->n_norm && pre == p->n_pre;
}

static int n_byte_tokens(const opt_tokenizer *t) {
    int n = 0;
    for (int b = 0; b < 256; b++) {
        n += t->bpe.fallback_id[b] >= 0;
    }
    return n;
}

static opt_status write_sentencepiece(writer *w) {
    opt_status st = OPT_OK;
    bool prefix = w->t->add_space_prefix;
    bool always = prefix;
    if (w->t->scores == NULL && !splits_as_sentencepiece(&w->t->pipe, &prefix, &always)) {
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp has no way to split text as this tokenizer does; "
                 "it will split some texts differently");
    } else if (prefix && !always) {
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp puts a space in front of texts that begin with one, and behind special "
                 "tokens; "
                 "this tokenizer does not");
    }
    if (n_byte_tokens(w->t) < 256) {
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp stops at a character without a token, because the vocabulary has only "
                 "%d of the 256 byte "
                 "tokens that it needs then",
                 n_byte_tokens(w->t));
    }
    OPT_TRY(opt_kv_set_str(w->kv, OPT_KEY_MODEL, "llama"));
    OPT_TRY(opt_kv_set_str(w->kv, OPT_KEY_PRE, "default"));
    OPT_TRY(write_scores(w));
    if (w->t->scores == NULL) {
        OPT_TRY(write_merge_ids(w));
    }
    OPT_TRY(opt_kv_set_bool(w->kv, OPT_KEY_ADD_PREFIX, prefix));
done:
    return st;
}

static opt_status write_byte_level(writer *w) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = w->t;
    const char *name = t->pre.len > 0 ? t->pre.data : NULL;
    if (name == NULL) {
        const opt_gguf_pre *pre = opt_gguf_pre_match(&t->pipe, t->bpe.ignore_merges);
        name = pre != NULL ? pre->name : "gpt-2";
        if (pre == NULL) {
            opt_warn(
                w->ctx, "tokenizer",
                "llama.cpp knows no way to split text as this tokenizer does; '%s' is written, "
                "which splits some texts differently",
                name);
        }
    }
    if (t->pipe.n_norm > 0) {
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp does not normalize text for this kind of vocabulary; texts that the "
                 "tokenizer's "
                 "normalizer changes are split differently there");
    }
    OPT_TRY(opt_kv_set_str(w->kv, OPT_KEY_MODEL, "gpt2"));
    OPT_TRY(opt_kv_set_str(w->kv, OPT_KEY_PRE, name));
    OPT_TRY(write_merge_lines(w));
done:
    return st;
}

/** Warns about added tokens that ask for more than llama.cpp does. */
static void check_added(const writer *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->t->n_added; i++) {
        const opt_added_token *a = &w->t->added[i];
        n += a->lstrip || a->rstrip || a->single_word;
    }
    if (n > 0) {
        opt_warn(w->ctx, "tokenizer",
                 "%zu added tokens take spaces with them or stand only between words, which "
                 "llama.cpp does not know",
                 n);
    }
}

/* ---- special tokens ---- */

static opt_status write_id(writer *w, const char *key, int32_t id) {
    return id < 0 ? OPT_OK : opt_kv_set_u32(w->kv, key, (uint32_t)id);
}

/** The token that ends a turn: what the file said, else the best known one of those that end
 * generation. */
static int32_t end_of_turn(const opt_tokenizer *t) {
    static const char *const texts[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>",
                                        "<turn|>",    "<EOT>",      "_<EOT>",        "[EOT]"};
    if (t->special.eot >= 0) {
        return t->special.eot;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const int32_t id = opt_vocab_find(&t->vocab, texts[i], strlen(texts[i]));
        if (opt_tokenizer_is_eog(t, id)) {
            return id;
        }
    }
    for (int32_t id = 0; id < t->n_vocab; id++) { /* one that only the configuration names */
        if (t->is_eog[id] && id != t->special.eos && t->vocab.kinds[id] == OPT_TOKEN_CONTROL) {
            return id;
        }
    }
    return -1;
}

static opt_status write_specials(writer *w) {
    opt_status st = OPT_OK;
    const opt_tokenizer *t = w->t;
    const opt_specials *s = &t->special;
    const bool bos = opt_tokenizer_adds_bos(t);
    const bool eos =
        s->eos >= 0 && t->pipe.n_suffix > 0 && t->pipe.suffix[t->pipe.n_suffix - 1] == s->eos;
    if (t->pipe.n_prefix > bos || t->pipe.n_suffix > eos) {
        opt_warn(w->ctx, "tokenizer",
                 "llama.cpp adds BOS and EOS at most; this tokenizer puts %zu tokens in front of a "
                 "text and %zu behind",
                 t->pipe.n_prefix, t->pipe.n_suffix);
    }
    OPT_TRY(write_id(w, OPT_KEY_BOS, s->bos));
    OPT_TRY(write_id(w, OPT_KEY_EOS, s->eos));
    OPT_TRY(write_id(w, OPT_KEY_UNK, s->unk));
    OPT_TRY(write_id(w, OPT_KEY_PAD, s->pad));
    OPT_TRY(write_id(w, OPT_KEY_EOT, end_of_turn(t)));
    OPT_TRY(write_id(w, OPT_KEY_EOM, s->eom));
    OPT_TRY(opt_kv_set_bool(w->kv, OPT_KEY_ADD_BOS, bos));
    OPT_TRY(opt_kv_set_bool(w->kv, OPT_KEY_ADD_EOS, eos));
done:
    return st;
}

static opt_status write_eog(writer *w) {
    opt_status st = OPT_OK;
    size_t n = 0;
    int32_t *ids = opt_alloc_array(w->ctx, (size_t)w->t->n_vocab, sizeof *ids);
    OPT_TRY_PTR(ids);
    for (int32_t id = 0; id < w->t->n_vocab; id++) {
        if (w->t->is_eog[id]) {
            ids[n++] = id;
        }
    }
    OPT_TRY(opt_kv_set_array(w->kv, OPT_KEY_EOG, OPT_KV_I32, ids, n));
done:
    opt_free(w->ctx, ids);
    return st;
}

/** Removes what an earlier tokenizer may have left behind. */
static void remove_keys(opt_kv *kv) {
    static const char *const keys[] = {
        OPT_KEY_SCORES,   OPT_KEY_MERGES,    OPT_KEY_BOS, OPT_KEY_EOS,        OPT_KEY_UNK,
        OPT_KEY_PAD,      OPT_KEY_EOT,       OPT_KEY_EOM, OPT_KEY_ADD_PREFIX, OPT_KEY_TEMPLATE,
        OPT_KEY_PIPELINE, OPT_KEY_MERGE_IDS, OPT_KEY_EOG};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        opt_kv_remove(kv, keys[i]);
    }
}

opt_status opt_tokenizer_to_kv(opt_ctx *ctx, const opt_tokenizer *t, int64_t n_vocab_model,
                               opt_kv *kv) {
    opt_status st = OPT_OK;
    n_vocab_model = n_vocab_model == 0 ? t->n_vocab : n_vocab_model;
    writer w = {.ctx = ctx, .t = t, .kv = kv, .n = n_vocab_model, .byte_level = t->pipe.bytes};
    OPT_REQUIRE(n_vocab_model >= t->n_vocab && n_vocab_model < INT32_MAX, ctx, OPT_ERR_INPUT,
                opt_kv_origin(kv),
                "the tokenizer has %d tokens, but the model's vocabulary has %lld rows", t->n_vocab,
                (long long)n_vocab_model);
    remove_keys(kv);
    OPT_TRY(w.byte_level ? write_byte_level(&w) : write_sentencepiece(&w));
    OPT_TRY(write_tokens(&w));
    OPT_TRY(write_specials(&w));
    check_added(&w);
    if (t->has_template) {
        OPT_TRY(opt_kv_set_strn(kv, OPT_KEY_TEMPLATE, t->chat_template.data, t->chat_template.len));
    }
    if (t->pipeline_json.len > 0) {
        OPT_TRY(opt_kv_set_strn(kv, OPT_KEY_PIPELINE, t->pipeline_json.data, t->pipeline_json.len));
    }
    OPT_TRY(write_eog(&w));
done:
    return st;
}
