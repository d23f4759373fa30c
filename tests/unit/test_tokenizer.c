/* What tokenizers promise beyond the golden texts: roles of tokens, templates, flags, streaming,
 * merging, keys. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "io/kv.h"
#include "support.h"
#include "text/tokenizer.h"

/** A tokenizer.json with byte fallback around a vocabulary and merges; control tokens are listed as
 * added ones. */
#define JSON(added, vocab, merges)                                                                 \
    "{\"added_tokens\":[" added                                                                    \
    "],\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,"                        \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":"      \
    "\"Fuse\"}]},"                                                                                 \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":null,\"byte_fallback\":true,\"vocab\":{" vocab      \
    "},\"merges\":[" merges "]}}"
#define CONTROL(id, text)                                                                          \
    "{\"id\":" id ",\"content\":\"" text "\",\"normalized\":false,\"special\":true}"
#define USER(id, text)                                                                             \
    "{\"id\":" id ",\"content\":\"" text "\",\"normalized\":false,\"special\":false}"

typedef struct side_files {
    const char *config;
    const char *generation;
    const char *model;
    const char *jinja;
} side_files;

static opt_buf *buf_of(opt_ctx *ctx, const char *text) {
    opt_buf *buf = NULL;
    if (text != NULL) {
        assert_int_equal(opt_buf_new(ctx, strlen(text), &buf), OPT_OK);
        memcpy(buf->data, text, strlen(text));
    }
    return buf;
}

static opt_tokenizer *load(opt_ctx *ctx, const char *json, side_files side) {
    opt_tokenizer *t = NULL;
    opt_buf *bufs[] = {buf_of(ctx, json), buf_of(ctx, side.config), buf_of(ctx, side.generation),
                       buf_of(ctx, side.model), buf_of(ctx, side.jinja)};
    const opt_tokenizer_files files = {.json = bufs[0],
                                       .config = bufs[1],
                                       .generation_config = bufs[2],
                                       .model_config = bufs[3],
                                       .chat_template = bufs[4]};
    if (opt_tokenizer_from_files(ctx, &files, 0, &t) != OPT_OK) {
        fail_msg("%s: %s", opt_ctx_error_object(ctx), opt_ctx_error_message(ctx));
    }
    for (int i = 0; i < COUNT_OF(bufs); i++) {
        opt_buf_release(bufs[i]);
    }
    return t;
}

static void assert_ids(opt_ctx *ctx, const opt_tokenizer *t, const char *text, unsigned flags,
                       const int32_t *ids, size_t n) {
    opt_tokens got = {0};
    assert_int_equal(opt_tokenizer_encode(ctx, t, text, strlen(text), flags, &got), OPT_OK);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.ids, ids, n * sizeof *ids);
    opt_tokens_free(ctx, &got);
}

#define ASSERT_IDS(ctx, t, text, flags, ...)                                                       \
    assert_ids(ctx, t, text, flags, (const int32_t[]){__VA_ARGS__},                                \
               sizeof((int32_t[]){__VA_ARGS__}) / 4)

static const char chat_json[] =
    JSON(CONTROL("0", "<s>") "," CONTROL("1", "</s>") "," CONTROL("2", "<|im_end|>") "," USER(
             "3", "<|eot_id|>") "," CONTROL("9", "<|other|>"),
         "\"<s>\":0,\"</s>\":1,\"<|im_end|>\":2,\"<|eot_id|>\":3,\"a\":4,\"b\":5,\"ab\":6,"
         "\"<0x41>\":7,\"<0xC3>\":8",
         "\"a b\"");

static void test_tokenizer__ends_generation_at_the_right_tokens(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t =
        load(ctx, chat_json, (side_files){.config = "{\"eos_token\":{\"content\":\"</s>\"}}"});
    assert_int_equal(opt_tokenizer_eos(t), 1);
    assert_int_equal(opt_tokenizer_bos(t), -1);
    assert_true(opt_tokenizer_is_eog(t, 1));
    assert_true(opt_tokenizer_is_eog(t, 2));  /* known by its text */
    assert_false(opt_tokenizer_is_eog(t, 3)); /* the text of one, but no control token */
    assert_false(opt_tokenizer_is_eog(t, 9));
    assert_false(opt_tokenizer_is_eog(t, -1));
    assert_false(opt_tokenizer_is_eog(t, 10));
    opt_tokenizer_free(t);

    t = load(ctx, chat_json,
             (side_files){.generation = "{\"eos_token_id\":[9,4]}",
                          .model = "{\"eos_token_id\":5,\"bos_token_id\":0}"});
    assert_int_equal(opt_tokenizer_eos(t), 5);
    assert_int_equal(opt_tokenizer_bos(t), 0);
    for (int32_t id = 0; id < 10; id++) {
        const bool expected = id == 1 || id == 2 || id == 4 || id == 5 || id == 9;
        assert_int_equal(opt_tokenizer_is_eog(t, id), expected);
    }
    opt_tokenizer_free(t);

    /* With channels <|end|> only ends one of several messages. */
    t = load(
        ctx,
        JSON(CONTROL("0", "<|end|>") "," CONTROL("1", "<|return|>") "," CONTROL("2", "<|call|>"),
             "\"a\":3", ""),
        (side_files){0});
    assert_false(opt_tokenizer_is_eog(t, 0));
    assert_true(opt_tokenizer_is_eog(t, 1));
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

static void test_tokenizer__adds_what_the_configuration_says(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int32_t ids[4];
        size_t n;
        bool adds_bos;
    } rows[] = {
        {NULL, {6}, 1, false},
        {"{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}", {6}, 1, false},
        {"{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_bos_token\":true}", {0, 6}, 2, true},
        {"{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_eos_token\":true}", {6, 1}, 2, false},
        {"{\"bos_token\":\"<s>\",\"eos_token\":\"</"
         "s>\",\"add_bos_token\":true,\"add_eos_token\":true}",
         {0, 6, 1},
         3,
         true},
        {"{\"bos_token\":\"<s>\",\"add_bos_token\":null}", {6}, 1, false},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_tokenizer *t = load(ctx, chat_json, (side_files){.config = rows[i].config});
        assert_ids(ctx, t, "ab", OPT_ENCODE_ADD_SPECIAL, rows[i].ids, rows[i].n);
        ASSERT_IDS(ctx, t, "ab", 0, 6);
        assert_int_equal(opt_tokenizer_adds_bos(t), rows[i].adds_bos);
        opt_tokenizer_free(t);
    }
    opt_ctx_free(ctx);
}

static void test_tokenizer__removes_bos_where_the_configuration_says_so(void **state) {
    (void)state;
    static const char json[] = "{\"added_tokens\":[" CONTROL(
        "0", "<s>") "],\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                    "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                    "\"type_id\":0}}],\"special_tokens\":"
                    "{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},"
                    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"a\":1},\"merges\":[]}}";
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load(ctx, json, (side_files){.config = "{\"bos_token\":\"<s>\"}"});
    ASSERT_IDS(ctx, t, "a", OPT_ENCODE_ADD_SPECIAL, 0, 1);
    opt_tokenizer_free(t);
    t = load(ctx, json, (side_files){.config = "{\"bos_token\":\"<s>\",\"add_bos_token\":false}"});
    ASSERT_IDS(ctx, t, "a", OPT_ENCODE_ADD_SPECIAL, 1);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

static void test_tokenizer__carries_the_chat_template(void **state) {
    (void)state;
    static const struct {
        const char *config;
        const char *jinja;
        const char *expected;
    } rows[] = {
        {NULL, NULL, NULL},
        {"{\"chat_template\":\"{{ a }}\\n\\t\"}", NULL, "{{ a }}\n\t"},
        {"{\"chat_template\":\"\"}", NULL, ""},
        {"{\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"},{\"name\":\"default\","
         "\"template\":\"d\"}]}",
         NULL, "d"},
        {"{\"chat_template\":\"old\"}", "{% new %}\r\n", "{% new %}\r\n"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_tokenizer *t =
            load(ctx, chat_json, (side_files){.config = rows[i].config, .jinja = rows[i].jinja});
        opt_kv *kv = NULL;
        opt_tokenizer *again = NULL;
        assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
        assert_int_equal(opt_tokenizer_to_kv(ctx, t, 0, kv), OPT_OK);
        assert_int_equal(opt_tokenizer_from_kv(ctx, kv, 0, &again), OPT_OK);
        if (rows[i].expected == NULL) {
            assert_null(opt_tokenizer_chat_template(t));
            assert_null(opt_tokenizer_chat_template(again));
        } else {
            assert_string_equal(opt_tokenizer_chat_template(t), rows[i].expected);
            assert_string_equal(opt_tokenizer_chat_template(again), rows[i].expected);
        }
        opt_tokenizer_free(again);
        opt_tokenizer_free(t);
        opt_kv_free(kv);
    }
    opt_ctx_free(ctx);
}

static void test_tokenizer__takes_control_tokens_for_text_unless_asked(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load(ctx, chat_json, (side_files){0});
    ASSERT_IDS(ctx, t, "a<s>b", OPT_ENCODE_PARSE_SPECIAL, 4, 0, 5);
    ASSERT_IDS(ctx, t, "a<s>b", 0, 6);              /* '<', 's' and '>' have no token and vanish */
    ASSERT_IDS(ctx, t, "a<|eot_id|>b", 0, 4, 3, 5); /* not a control token: always itself */
    ASSERT_IDS(ctx, t, "<s><s>", OPT_ENCODE_PARSE_SPECIAL, 0, 0);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

static void test_tokenizer__names_pieces_and_kinds(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load(ctx,
                            JSON(CONTROL("0", "<s>") "," USER("8", "x"),
                                 "\"a\":3,\"b\":4,\"ab\":5,\"<0x41>\":6", "\"a b\""),
                            (side_files){0});
    size_t n = 0;
    assert_int_equal(opt_tokenizer_n_vocab(t), 9);
    assert_memory_equal(opt_tokenizer_piece(t, 5, &n), "ab", 2);
    assert_int_equal(n, 2);
    assert_null(opt_tokenizer_piece(t, 1, &n)); /* a hole */
    assert_null(opt_tokenizer_piece(t, 9, &n));
    assert_null(opt_tokenizer_piece(t, -1, &n));
    assert_int_equal(opt_tokenizer_find(t, "ab", 2), 5);
    assert_int_equal(opt_tokenizer_find(t, "abc", 3), -1);
    assert_int_equal(opt_tokenizer_kind(t, 0), OPT_TOKEN_CONTROL);
    assert_int_equal(opt_tokenizer_kind(t, 1), OPT_TOKEN_UNUSED);
    assert_int_equal(opt_tokenizer_kind(t, 5), OPT_TOKEN_NORMAL);
    assert_int_equal(opt_tokenizer_kind(t, 6), OPT_TOKEN_BYTE);
    assert_int_equal(opt_tokenizer_kind(t, 8), OPT_TOKEN_USER);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

static void test_tokenizer__never_streams_a_part_of_a_character(void **state) {
    (void)state;
    /* 1: E2, 2: 82, 3: AC (the euro sign), 4: "a", 5: F0, 0: special */
    static const char json[] =
        JSON(CONTROL("0", "<s>"),
             "\"<s>\":0,\"<0xE2>\":1,\"<0x82>\":2,\"<0xAC>\":3,\"a\":4,\"<0xF0>\":5", "");
    static const struct {
        int32_t ids[6];
        int n;
        const char *after[7]; /* the text after each token, and at the end */
    } rows[] = {
        {{1, 2, 3, 4}, 4, {"", "", "\u20ac", "\u20aca", "\u20aca"}},
        {{1, 0, 2, 3}, 4, {"", "", "", "\u20ac", "\u20ac"}},
        {{1, 2}, 2, {"", "", "\ufffd"}},
        {{1, 4, 2}, 3, {"", "\ufffda", "\ufffda\ufffd", "\ufffda\ufffd"}},
        {{5, 5, 1, 2, 3},
         5,
         {"", "\ufffd", "\ufffd\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\u20ac",
          "\ufffd\ufffd\u20ac"}},
        {{4, 7, -3, 4},
         4,
         {"a", "a", "a", "aa", "aa"}}, /* ids outside the vocabulary have no text */
    };
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load(ctx, json, (side_files){0});
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_detok d = {0};
        opt_str out = {0};
        assert_int_equal(opt_str_append(ctx, &out, "", 0), OPT_OK);
        for (int k = 0; k < rows[i].n; k++) {
            assert_int_equal(opt_detok_push(ctx, t, &d, rows[i].ids[k], true, &out), OPT_OK);
            assert_string_equal(out.data, rows[i].after[k]);
        }
        assert_int_equal(opt_detok_finish(ctx, &d, &out), OPT_OK);
        assert_string_equal(out.data, rows[i].after[rows[i].n]);
        opt_str_free(ctx, &out);
    }
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

/* ---- merging, against the definition ---- */

typedef struct model {
    char pieces[200][40];
    int n_pieces;
    int left[200]; /* of each merge, in order of rank */
    int right[200];
    int result[200];
    int n_merges;
} model;

static int find_piece(const model *m, const char *text) {
    for (int i = 0; i < m->n_pieces; i++) {
        if (strcmp(m->pieces[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

/** Letters, and merges of random pieces; every second merge makes a piece that another one makes,
 * too. */
static model random_model(uint64_t key) {
    model m = {.pieces = {"a", "b", "c"}, .n_pieces = 3};
    uint64_t i = 0;
    while (m.n_merges < 120 && i < 5000) {
        char text[80];
        const int left = (int)(opt_rng_u64(key, i++) % (uint64_t)m.n_pieces);
        const int right = (int)(opt_rng_u64(key, i++) % (uint64_t)m.n_pieces);
        (void)snprintf(text, sizeof text, "%s%s", m.pieces[left], m.pieces[right]);
        bool known = strlen(text) > 12;
        for (int k = 0; k < m.n_merges; k++) {
            known = known || (m.left[k] == left && m.right[k] == right);
        }
        if (known) {
            continue;
        }
        if (find_piece(&m, text) < 0) {
            memcpy(m.pieces[m.n_pieces++], text, strlen(text) + 1);
        }
        m.left[m.n_merges] = left;
        m.right[m.n_merges] = right;
        m.result[m.n_merges++] = find_piece(&m, text);
    }
    return m;
}

static opt_tokenizer *tokenizer_of(opt_ctx *ctx, const model *m) {
    opt_str json = {0};
    assert_int_equal(opt_str_printf(ctx, &json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{"),
                     OPT_OK);
    for (int i = 0; i < m->n_pieces; i++) {
        assert_int_equal(opt_str_printf(ctx, &json, "%s\"%s\":%d", i ? "," : "", m->pieces[i], i),
                         OPT_OK);
    }
    assert_int_equal(opt_str_printf(ctx, &json, "},\"merges\":["), OPT_OK);
    for (int i = 0; i < m->n_merges; i++) {
        assert_int_equal(opt_str_printf(ctx, &json, "%s\"%s %s\"", i ? "," : "",
                                        m->pieces[m->left[i]], m->pieces[m->right[i]]),
                         OPT_OK);
    }
    assert_int_equal(opt_str_printf(ctx, &json, "]}}"), OPT_OK);
    opt_tokenizer *t = load(ctx, json.data, (side_files){0});
    opt_str_free(ctx, &json);
    return t;
}

/** The definition: join the leftmost pair of the lowest rank until there is none. */
static size_t merge_by_definition(const model *m, int32_t *ids, size_t n) {
    for (;;) {
        int best = m->n_merges;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (int k = 0; k < best; k++) {
                if (m->left[k] == ids[i] && m->right[k] == ids[i + 1]) {
                    best = k;
                    at = i;
                }
            }
        }
        if (best == m->n_merges) {
            return n;
        }
        ids[at] = m->result[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void test_tokenizer__merges_as_defined(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 3, 7, 20, 31, 32, 33, 34, 60, 200, 900};
    opt_ctx *ctx = test_ctx(1);
    for (uint64_t seed = 0; seed < 12; seed++) {
        const uint64_t key = opt_rng_key(seed, "model", "test");
        const model m = random_model(key);
        opt_tokenizer *t = tokenizer_of(ctx, &m);
        for (int k = 0; k < COUNT_OF(lengths); k++) {
            char text[1000];
            int32_t ids[1000];
            opt_tokens got = {0};
            const size_t n = lengths[k];
            for (size_t i = 0; i < n;
                 i++) { /* "c" is rare: long words between places where they can be cut */
                const uint64_t r = opt_rng_u64(key, 100000 + seed * 1000 + i) % 21;
                ids[i] = r == 20 ? 2 : (int32_t)(r % 2);
                text[i] = (char)('a' + ids[i]);
            }
            const size_t n_expected = merge_by_definition(&m, ids, n);
            assert_int_equal(opt_tokenizer_encode(ctx, t, text, n, 0, &got), OPT_OK);
            assert_int_equal(got.n, n_expected);
            assert_memory_equal(got.ids, ids, n_expected * sizeof *ids);
            opt_tokens_free(ctx, &got);
        }
        opt_tokenizer_free(t);
    }
    opt_ctx_free(ctx);
}

static void test_tokenizer__reads_long_runs_of_one_letter(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load(
        ctx, JSON("", "\"a\":0,\"aa\":1,\"aaaa\":2,\"b\":3", "\"a a\",\"aa aa\""), (side_files){0});
    char *text = malloc(N + 3);
    opt_tokens ids = {0};
    assert_non_null(text);
    memset(text, 'a', N + 3);
    assert_int_equal(opt_tokenizer_encode(ctx, t, text, N + 3, 0, &ids), OPT_OK);
    assert_int_equal(ids.n, N / 4 + 2);
    assert_int_equal(ids.ids[0], 2);
    assert_int_equal(ids.ids[N / 4], 1);
    assert_int_equal(ids.ids[N / 4 + 1], 0);
    opt_tokens_free(ctx, &ids);
    free(text);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

/* ---- keys ---- */

static const opt_kv_entry *need(const opt_kv *kv, const char *key) {
    const opt_kv_entry *e = opt_kv_find(kv, key);
    if (e == NULL) {
        fail_msg("the key %s is missing", key);
    }
    return e;
}

static void test_tokenizer__writes_ranks_as_scores(void **state) {
    (void)state;
    static const double scores[] = {0, 0, 0, -16777216, -16777216, -1, 0, -16777216, 0, 0};
    opt_ctx *ctx = test_ctx(1);
    opt_kv *kv = NULL;
    /* 5 "ab" is made by the second merge, 0 "ba" by the first, 7 by none */
    opt_tokenizer *t =
        load(ctx,
             JSON(CONTROL("1", "<s>"),
                  "\"ba\":0,\"<s>\":1,\"a\":3,\"b\":4,\"ab\":5,\"<0x41>\":6,\"aa\":7",
                  "\"b a\",\"a b\""),
             (side_files){.config = "{\"bos_token\":\"<s>\",\"add_bos_token\":true}"});
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_tokenizer_to_kv(ctx, t, 10, kv), OPT_OK);
    const opt_kv_entry *e = need(kv, "tokenizer.ggml.scores");
    assert_int_equal(e->n, 10);
    for (size_t i = 0; i < 10; i++) {
        if (opt_kv_elem_f64(e, i) != scores[i]) {
            fail_msg("score %zu is %g, expected %g", i, opt_kv_elem_f64(e, i), scores[i]);
        }
    }
    static const int64_t types[] = {1, 3, 5, 1, 1, 1, 6, 1, 5, 5};
    e = need(kv, "tokenizer.ggml.token_type");
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(opt_kv_elem_i64(e, i), types[i]);
    }
    const opt_kv_str *tokens = need(kv, "tokenizer.ggml.tokens")->data;
    assert_memory_equal(tokens[9].data, "[PAD9]", 6);
    assert_int_equal(opt_kv_elem_i64(need(kv, "tokenizer.ggml.bos_token_id"), 0), 1);
    assert_int_equal(opt_kv_elem_i64(need(kv, "tokenizer.ggml.add_bos_token"), 0), 1);
    assert_null(opt_kv_find(kv, "tokenizer.ggml.eos_token_id"));
    assert_int_equal(opt_tokenizer_to_kv(ctx, t, 7, kv), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, NULL,
                 "the tokenizer has 8 tokens, but the model's vocabulary has 7 rows");
    opt_kv_free(kv);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

/** Reads the trained tokenizer of a name. */
static opt_tokenizer *load_trained(opt_ctx *ctx, const char *name) {
    char path[512];
    opt_buf *json = NULL;
    opt_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/tokenizers/%s/tokenizer.json", OPT_TESTDATA, name);
    assert_int_equal(opt_buf_read(ctx, path, 1U << 24, &json), OPT_OK);
    const opt_tokenizer_files files = {.json = json};
    assert_int_equal(opt_tokenizer_from_files(ctx, &files, 0, &t), OPT_OK);
    opt_buf_release(json);
    return t;
}

static void test_tokenizer__names_its_splitting_rule(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *model;
        const char *pre;
        const char *warning; /* part of the first one */
    } rows[] = {
        {"gpt2", "gpt2", "gpt-2", NULL},
        {"smollm", "gpt2", "smollm", NULL},
        {"llama3", "gpt2", "llama-bpe", NULL},
        {"gpt4o", "gpt2", "gpt-4o", NULL},
        {"deepseek", "gpt2", "deepseek-v3", NULL},
        {"qwen2", "gpt2", "qwen2", "does not normalize text"},
        {"gpt2-prefix", "gpt2", "gpt-2", "knows no way to split text as this tokenizer does"},
        {"sentencepiece", "llama", "default", NULL},
        {"metaspace-first", "llama", "default",
         "puts a space in front of texts that begin with one"},
        {"metaspace-never", "llama", "default", "has only 213 of the 256 byte tokens"},
        {"whitespace", "llama", "default", "has no way to split text as this tokenizer does"},
        {"added", "gpt2", "gpt-2", "does not normalize text"},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_kv *kv = NULL;
        opt_tokenizer *t = load_trained(ctx, rows[i].name);
        const int before = opt_ctx_n_warnings(ctx);
        assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
        assert_int_equal(opt_tokenizer_to_kv(ctx, t, 0, kv), OPT_OK);
        const opt_kv_str *model_name = need(kv, "tokenizer.ggml.model")->data;
        const opt_kv_str *pre = need(kv, "tokenizer.ggml.pre")->data;
        assert_memory_equal(model_name->data, rows[i].model, strlen(rows[i].model));
        assert_int_equal(pre->len, strlen(rows[i].pre));
        assert_memory_equal(pre->data, rows[i].pre, pre->len);
        if (rows[i].warning == NULL) {
            if (opt_ctx_n_warnings(ctx) > before) {
                fail_msg("%s: %s", rows[i].name, opt_ctx_warning(ctx, before));
            }
        } else if (opt_ctx_n_warnings(ctx) == before ||
                   strstr(opt_ctx_warning(ctx, before), rows[i].warning) == NULL) {
            fail_msg("%s: expected a warning with '%s'", rows[i].name, rows[i].warning);
        }
        opt_kv_free(kv);
        opt_tokenizer_free(t);
        opt_ctx_free(ctx);
    }
}

/** Scores as SentencePiece trains them, where equal ones go left to right. */
static void test_tokenizer__merges_by_scores(void **state) {
    (void)state;
    static const opt_kv_str tokens[] = {{"<unk>", 5}, {"<s>", 3},     {"</s>", 4}, {"\u2581", 3},
                                        {"a", 1},     {"b", 1},       {"ab", 2},   {"ba", 2},
                                        {"bab", 3},   {"\u2581a", 4}, {"xy", 2},   {"<0x78>", 6},
                                        {"<0x7A>", 6}};
    static const float scores[] = {0, 0, 0, -9, -8, -7, -2, -2, -1, -3, -4, 0, 0};
    static const int32_t types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6};
    opt_ctx *ctx = test_ctx(1);
    opt_kv *kv = NULL;
    opt_tokenizer *t = NULL;
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_kv_set_str(kv, "tokenizer.ggml.model", "llama"), OPT_OK);
    assert_int_equal(opt_kv_set_str_array(kv, "tokenizer.ggml.tokens", tokens, COUNT_OF(tokens)),
                     OPT_OK);
    assert_int_equal(
        opt_kv_set_array(kv, "tokenizer.ggml.scores", OPT_KV_F32, scores, COUNT_OF(scores)),
        OPT_OK);
    assert_int_equal(
        opt_kv_set_array(kv, "tokenizer.ggml.token_type", OPT_KV_I32, types, COUNT_OF(types)),
        OPT_OK);
    assert_int_equal(opt_tokenizer_from_kv(ctx, kv, 0, &t), OPT_OK);
    assert_int_equal(opt_tokenizer_bos(t), 1);
    assert_int_equal(opt_tokenizer_eos(t), 2);
    ASSERT_IDS(ctx, t, "bab", 0, 3, 8);     /* "ba" first, being on the left, then "bab" */
    ASSERT_IDS(ctx, t, "abab", 0, 3, 6, 6); /* "ab" and "ba" are equal: from the left */
    ASSERT_IDS(ctx, t, "a a", OPT_ENCODE_ADD_SPECIAL, 1, 9, 9);
    ASSERT_IDS(ctx, t, "xy", 0, 3, 10);     /* of two characters that have no token */
    ASSERT_IDS(ctx, t, "xz", 0, 3, 11, 12); /* as bytes */
    ASSERT_IDS(ctx, t, "\u00e9q", 0, 3, 0); /* no byte tokens: one unknown token for both */
    opt_tokenizer_free(t);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer__ends_generation_at_the_right_tokens),
        cmocka_unit_test(test_tokenizer__adds_what_the_configuration_says),
        cmocka_unit_test(test_tokenizer__removes_bos_where_the_configuration_says_so),
        cmocka_unit_test(test_tokenizer__carries_the_chat_template),
        cmocka_unit_test(test_tokenizer__takes_control_tokens_for_text_unless_asked),
        cmocka_unit_test(test_tokenizer__names_pieces_and_kinds),
        cmocka_unit_test(test_tokenizer__never_streams_a_part_of_a_character),
        cmocka_unit_test(test_tokenizer__merges_as_defined),
        cmocka_unit_test(test_tokenizer__reads_long_runs_of_one_letter),
        cmocka_unit_test(test_tokenizer__writes_ranks_as_scores),
        cmocka_unit_test(test_tokenizer__names_its_splitting_rule),
        cmocka_unit_test(test_tokenizer__merges_by_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
