/*
 * Token ids and decoded text against Hugging Face's tokenizers: the two models of testdata/goldens
 * (SmolLM2's tokenizer is not in the repository: OPT_SMOLLM2_DIR names a checkpoint directory), and
 * small trained tokenizers of every kind in testdata/tokenizers, written by
 * scripts/make_tokenizer_goldens.py.
 */
#include "base/json.h"
#include "io/kv.h"
#include "support.h"
#include "text/tokenizer.h"

enum { ENCODE_ALL = OPT_ENCODE_ADD_SPECIAL | OPT_ENCODE_PARSE_SPECIAL };

/** U+E000 stands for the NUL characters of the golden texts, which the JSON reader does not take.
 */
static const char NUL_STAND_IN[] = "\xEE\x80\x80";

static opt_buf *read_optional(opt_ctx *ctx, const char *dir, const char *name) {
    char path[4096];
    opt_buf *buf = NULL;
    assert_true(snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path);
    if (access(path, R_OK) == 0) {
        assert_int_equal(opt_buf_read(ctx, path, 1U << 30, &buf), OPT_OK);
    }
    return buf;
}

static opt_tokenizer *load_dir(opt_ctx *ctx, const char *dir) {
    opt_tokenizer *t = NULL;
    opt_buf *bufs[] = {
        read_optional(ctx, dir, "tokenizer.json"), read_optional(ctx, dir, "tokenizer_config.json"),
        read_optional(ctx, dir, "generation_config.json"), read_optional(ctx, dir, "config.json"),
        read_optional(ctx, dir, "chat_template.jinja")};
    const opt_tokenizer_files files = {.json = bufs[0],
                                       .config = bufs[1],
                                       .generation_config = bufs[2],
                                       .model_config = bufs[3],
                                       .chat_template = bufs[4],
                                       .origin = dir};
    if (opt_tokenizer_from_files(ctx, &files, 0, &t) != OPT_OK) {
        fail_msg("%s: %s", opt_ctx_error_object(ctx), opt_ctx_error_message(ctx));
    }
    for (int i = 0; i < COUNT_OF(bufs); i++) {
        opt_buf_release(bufs[i]);
    }
    return t;
}

/** Reads a golden file, with \u0000 replaced by the stand-in. */
static opt_json *load_goldens(opt_ctx *ctx, const char *path) {
    opt_buf *buf = NULL;
    opt_json *json = NULL;
    assert_int_equal(opt_buf_read(ctx, path, 1U << 30, &buf), OPT_OK);
    for (char *at = (char *)buf->data; (at = strstr(at, "\\u0000")) != NULL; at += 6) {
        memcpy(at, "\\uE000", 6);
    }
    assert_int_equal(opt_json_parse(ctx, path, (const char *)buf->data, buf->bytes, &json), OPT_OK);
    opt_buf_release(buf);
    return json;
}

/** A string of a golden file with its NUL characters restored. */
static void golden_text(opt_ctx *ctx, const opt_json *v, opt_str *out) {
    size_t n;
    const char *s = opt_json_str(v, &n);
    assert_non_null(s);
    out->len = 0;
    for (size_t i = 0; i < n; i++) {
        const int nul = n - i >= 3 && memcmp(s + i, NUL_STAND_IN, 3) == 0;
        assert_int_equal(opt_str_append(ctx, out, nul ? "" : s + i, 1), OPT_OK);
        i += nul ? 2 : 0;
    }
}

/** The bytes that a golden file writes in hexadecimal digits. */
static void golden_hex(opt_ctx *ctx, const opt_json *v, opt_str *out) {
    out->len = 0;
    for (const char *s = opt_json_str(v, NULL); *s != '\0'; s += 2 + (s[2] == ' ')) {
        const char digits[3] = {s[0], s[1], '\0'};
        const char byte = (char)strtol(digits, NULL, 16);
        assert_int_equal(opt_str_append(ctx, out, &byte, 1), OPT_OK);
    }
}

static void print_ids(const char *what, const int32_t *ids, size_t n) {
    fprintf(stderr, "%s:", what);
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, " %d", ids[i]);
    }
    fprintf(stderr, "\n");
}

static void check_ids(const char *what, const opt_str *text, const opt_tokens *got,
                      const opt_json *expected) {
    int32_t ids[8192];
    assert_true(opt_json_size(expected) <= (size_t)COUNT_OF(ids));
    for (size_t i = 0; i < opt_json_size(expected); i++) {
        int64_t id = 0;
        assert_true(opt_json_i64(opt_json_at(expected, i), &id));
        ids[i] = (int32_t)id;
    }
    if (got->n != opt_json_size(expected) ||
        memcmp(got->ids ? got->ids : ids, ids, got->n * sizeof *ids) != 0) {
        print_ids("expected", ids, opt_json_size(expected));
        print_ids("found   ", got->ids, got->n);
        fail_msg("%s: ids of '%.*s'", what, (int)text->len, text->data);
    }
}

static void check_text(const char *what, const opt_str *text, const opt_str *got,
                       const opt_str *expected) {
    const bool same = got->len == expected->len &&
                      (got->len == 0 || memcmp(got->data, expected->data, got->len) == 0);
    if (!same) {
        fail_msg("%s: '%.*s' is decoded as '%.*s', expected '%.*s'", what, (int)text->len,
                 text->data, (int)got->len, got->data, (int)expected->len, expected->data);
    }
}

/** Feeds the tokens one by one; the text may differ from decoding all at once only in how bad bytes
 * are replaced. */
static void stream(opt_ctx *ctx, const opt_tokenizer *t, const opt_tokens *ids, bool skip,
                   opt_str *out) {
    opt_detok d = {0};
    out->len = 0;
    assert_int_equal(opt_str_append(ctx, out, "", 0), OPT_OK);
    for (size_t i = 0; i < ids->n; i++) {
        assert_int_equal(opt_detok_push(ctx, t, &d, ids->ids[i], skip, out), OPT_OK);
    }
    assert_int_equal(opt_detok_finish(ctx, &d, out), OPT_OK);
}

static void check_case(opt_ctx *ctx, const char *what, const opt_tokenizer *t, const opt_json *v) {
    opt_str text = {0};
    opt_str expected = {0};
    opt_str got = {0};
    opt_tokens ids = {0};
    if (opt_json_get(v, "hex") != NULL) {
        golden_hex(ctx, opt_json_get(v, "hex"), &text);
    } else {
        golden_text(ctx, opt_json_get(v, "text"), &text);
    }
    assert_int_equal(
        opt_tokenizer_encode(ctx, t, text.data ? text.data : "", text.len, ENCODE_ALL, &ids),
        OPT_OK);
    check_ids(what, &text, &ids, opt_json_get(v, "ids"));
    golden_text(ctx, opt_json_get(v, "decoded"), &expected);
    assert_int_equal(opt_tokenizer_decode(ctx, t, ids.ids, ids.n, true, &got), OPT_OK);
    check_text(what, &text, &got, &expected);
    if (opt_json_get(v, "broken") == NULL) {
        stream(ctx, t, &ids, true, &got);
        check_text("streamed", &text, &got, &expected);
    }
    if (opt_json_get(v, "decoded_with_special") != NULL) {
        golden_text(ctx, opt_json_get(v, "decoded_with_special"), &expected);
        got.len = 0;
        assert_int_equal(opt_tokenizer_decode(ctx, t, ids.ids, ids.n, false, &got), OPT_OK);
        check_text("with special tokens", &text, &got, &expected);
    }
    if (opt_json_get(v, "ids_plain") != NULL) {
        ids.n = 0;
        assert_int_equal(
            opt_tokenizer_encode(ctx, t, text.data ? text.data : "", text.len, 0, &ids), OPT_OK);
        check_ids("without special tokens", &text, &ids, opt_json_get(v, "ids_plain"));
    }
    opt_str_free(ctx, &text);
    opt_str_free(ctx, &expected);
    opt_str_free(ctx, &got);
    opt_tokens_free(ctx, &ids);
}

static void check_cases(opt_ctx *ctx, const char *what, const opt_tokenizer *t,
                        const opt_json *cases) {
    assert_true(opt_json_size(cases) >= 20);
    for (size_t i = 0; i < opt_json_size(cases); i++) {
        check_case(ctx, what, t, opt_json_at(cases, i));
    }
}

/** The tokenizer as a GGUF file carries it; without lathe.* keys, as other programs read it, if
 * `stock`. */
static opt_tokenizer *through_kv(opt_ctx *ctx, const opt_tokenizer *t, int64_t n_vocab,
                                 bool stock) {
    opt_kv *kv = NULL;
    opt_tokenizer *again = NULL;
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_tokenizer_to_kv(ctx, t, n_vocab, kv), OPT_OK);
    for (size_t i = opt_kv_count(kv); stock && i-- > 0;) {
        if (strncmp(opt_kv_at(kv, i)->key, "lathe.", 6) == 0) {
            opt_kv_remove(kv, opt_kv_at(kv, i)->key);
        }
    }
    if (opt_tokenizer_from_kv(ctx, kv, n_vocab, &again) != OPT_OK) {
        fail_msg("%s: %s", opt_ctx_error_object(ctx), opt_ctx_error_message(ctx));
    }
    opt_kv_free(kv);
    return again;
}

static void check_goldens(const char *dir, const char *goldens, const char *member, bool stock) {
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = load_dir(ctx, dir);
    opt_json *json = load_goldens(ctx, goldens);
    const opt_json *cases = opt_json_get(json, member);
    check_cases(ctx, goldens, t, cases);
    const int64_t n_vocab = opt_tokenizer_n_vocab(t) + 3; /* the model has rows to spare */
    opt_tokenizer *own = through_kv(ctx, t, n_vocab, false);
    opt_tokenizer *twice = through_kv(ctx, own, n_vocab, false);
    check_cases(ctx, "from GGUF", own, cases);
    check_cases(ctx, "from GGUF of GGUF", twice, cases);
    for (int32_t id = 0; id < opt_tokenizer_n_vocab(t); id++) {
        assert_int_equal(opt_tokenizer_kind(own, id), opt_tokenizer_kind(t, id));
        assert_int_equal(opt_tokenizer_is_eog(own, id), opt_tokenizer_is_eog(t, id));
    }
    if (stock) {
        opt_tokenizer *plain = through_kv(ctx, t, n_vocab, true);
        check_cases(ctx, "from ggml keys", plain, cases);
        opt_tokenizer_free(plain);
    }
    opt_tokenizer_free(own);
    opt_tokenizer_free(twice);
    opt_json_free(json);
    opt_tokenizer_free(t);
    opt_ctx_free(ctx);
}

static void test_tokenizer__stories260k_as_transformers(void **state) {
    (void)state;
    check_goldens(OPT_TESTDATA "/stories260K", OPT_TESTDATA "/goldens/stories260K.json",
                  "tokenizer", true);
}

static void test_tokenizer__smollm2_as_transformers(void **state) {
    (void)state;
    const char *dir = getenv("OPT_SMOLLM2_DIR");
    if (dir == NULL) {
        skip();
    }
    check_goldens(dir, OPT_TESTDATA "/goldens/SmolLM2-135M.json", "tokenizer", true);
}

static void test_tokenizer__trained_as_transformers(void **state) {
    (void)state;
    /* `stock`: the ggml keys alone say it all. */
    static const struct {
        const char *name;
        bool stock;
    } rows[] = {{"gpt2", true},
                {"gpt2-prefix", false},
                {"smollm", true},
                {"llama3", true},
                {"qwen2", false},
                {"gpt4o", true},
                {"deepseek", true},
                {"sentencepiece", true},
                {"metaspace-first", false},
                {"metaspace-always", false},
                {"metaspace-never", false},
                {"added", false},
                {"added-sentencepiece", false},
                {"splits", false},
                {"whitespace", false}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char dir[512];
        char goldens[600];
        (void)snprintf(dir, sizeof dir, "%s/tokenizers/%s", OPT_TESTDATA, rows[i].name);
        (void)snprintf(goldens, sizeof goldens, "%s/golden.json", dir);
        check_goldens(dir, goldens, "cases", rows[i].stock);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer__trained_as_transformers),
        cmocka_unit_test(test_tokenizer__stories260k_as_transformers),
        cmocka_unit_test(test_tokenizer__smollm2_as_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
