/*
 * Damaged tokenizers: every row changes one thing in a good file or a good set of keys and expects
 * its own message. The good ones come first, so that a row cannot fail for a reason of its
 * neighbour.
 */
#include "base/mem.h"
#include "io/kv.h"
#include "support.h"
#include "text/tokenizer.h"

/* clang-format off */
static const char good_json[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,"
    "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
        "\"normalized\":false,\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},"
        "{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9]+\"},\"behavior\":\"Isolated\",\"invert\":false},"
        "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\"},"
        "{\"type\":\"Digits\",\"individual_digits\":true}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
        "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":\" \"},"
        "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<s>\",\"continuing_subword_prefix\":null,"
        "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,"
        "\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\"_\":3,\"ab\":4,\"_ab\":5},\"merges\":[\"a b\",[\"_\",\"ab\"]]}}";

/** The first `from` of a good file becomes `to`; NULL: the whole file is `to`. */
static const struct {
    const char *from;
    const char *to;
    opt_status status;
    const char *message;
} json_rows[] = {
    {NULL, "", OPT_ERR_INPUT, "line 1"},
    {NULL, "[]", OPT_ERR_INPUT, "found an array, expected an object"},
    {NULL, "{}", OPT_ERR_INPUT, "'model' is null, expected an object"},
    {"[\"_\",\"ab\"]]}}", "[\"_\",\"ab\"]]}", OPT_ERR_INPUT, "line 1 column"},
    {"\"a\":1", "\"a\":1,\"a\":6", OPT_ERR_INPUT, "duplicate"},
    {"\"version\"", "\"surprise\":1,\"version\"", OPT_ERR_UNSUPPORTED, "the file has the member 'surprise'"},
    {"\"version\"", "\"\":1,\"version\"", OPT_ERR_UNSUPPORTED, "the file has the member ''"},
    {"\"dropout\":null", "\"shape\":2", OPT_ERR_UNSUPPORTED, "the BPE model has the member 'shape'"},
    {"\"BPE\"", "\"Unigram\"", OPT_ERR_UNSUPPORTED, "the tokenizer model 'Unigram' is not supported, only BPE is"},
    {"\"BPE\"", "\"WordPiece\"", OPT_ERR_UNSUPPORTED, "the tokenizer model 'WordPiece'"},
    {"\"BPE\"", "7", OPT_ERR_INPUT, "\"type\" is an integer"},
    {"\"dropout\":null", "\"dropout\":0.1", OPT_ERR_UNSUPPORTED, "BPE dropout (0.1)"},
    {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"", OPT_ERR_UNSUPPORTED,
     "'continuing_subword_prefix' is not supported"},
    {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", OPT_ERR_UNSUPPORTED,
     "'end_of_word_suffix' is not supported"},
    {"\"byte_fallback\":false", "\"byte_fallback\":0", OPT_ERR_INPUT, "\"byte_fallback\" is an integer"},
    {"\"unk_token\":\"<s>\"", "\"unk_token\":\"<u>\"", OPT_ERR_INPUT, "the unknown token '<u>' is not in the vocabulary"},
    {"{\"<s>\":0,\"a\":1,\"b\":2,\"_\":3,\"ab\":4,\"_ab\":5}", "[1]", OPT_ERR_INPUT, "'vocab' is an array, expected an object"},
    {"\"a\":1", "\"a\":-1", OPT_ERR_INPUT, "the id of the token 'a' is out of range"},
    {"\"a\":1", "\"a\":4294967297", OPT_ERR_INPUT, "the id of the token 'a' is out of range"},
    {"\"a\":1", "\"a\":\"1\"", OPT_ERR_INPUT, "the id of the token 'a' is a string"},
    {"\"a\":1", "\"a\":2", OPT_ERR_INPUT, "two tokens have the id 2"},
    {"\"a\":1", "\"a\":999999999", OPT_ERR_INPUT, "a token has the id 999999999, but the model's vocabulary has 16 rows"},
    {"\"_ab\":5", "\"_ab\":16", OPT_ERR_INPUT, "a token has the id 16, but the model's vocabulary has 16 rows"},
    {"\"merges\":[", "\"merges\":{\"x\":[", OPT_ERR_INPUT, "line 1"},
    {"[\"a b\",[\"_\",\"ab\"]]", "7", OPT_ERR_INPUT, "'merges' is an integer, expected an array"},
    {"\"a b\"", "\"a c\"", OPT_ERR_INPUT, "merge 0 joins 'c', which is no token"},
    {"\"a b\"", "\"c b\"", OPT_ERR_INPUT, "merge 0 joins 'c', which is no token"},
    {"\"a b\"", "\"b a\"", OPT_ERR_INPUT, "merge 0 makes 'ba', which is no token"},
    {"\"a b\"", "\"ab\"", OPT_ERR_INPUT, "merge 0 is 'ab', expected two tokens with a space between"},
    {"\"a b\"", "\"a b c\"", OPT_ERR_INPUT, "merge 0 is 'a b c', expected two tokens"},
    {"[\"_\",\"ab\"]", "[\"_\"]", OPT_ERR_INPUT, "merge 1 is an array, expected a string or an array of two strings"},
    {"[\"_\",\"ab\"]", "3", OPT_ERR_INPUT, "merge 1 is an integer"},
    {"\"added_tokens\":[", "\"added_tokens\":[3,", OPT_ERR_INPUT, "added token 0 is an integer, expected an object"},
    {"{\"id\":0,\"content\"", "{\"id\":-2,\"content\"", OPT_ERR_INPUT, "\"id\" is -2"},
    {"{\"id\":0,\"content\"", "{\"id\":4,\"content\"", OPT_ERR_INPUT, "the added token '<s>' has the id 4, but 0 in the vocabulary"},
    {"\"content\":\"<s>\"", "\"content\":\"<t>\"", OPT_ERR_INPUT, "two tokens have the id 0"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", OPT_ERR_INPUT, "the content of an added token is empty"},
    {"\"content\":\"<s>\"", "\"content\":5", OPT_ERR_INPUT, "the content of an added token is an integer"},
    {"\"lstrip\":false", "\"lstrip\":\"no\"", OPT_ERR_INPUT, "\"lstrip\" is a string"},
    {"\"special\":true", "\"special\":true,\"colour\":1", OPT_ERR_UNSUPPORTED, "an added token has the member 'colour'"},
    {"\"special\":true}", "\"special\":true},{\"id\":0,\"content\":\"<s>\"}", OPT_ERR_INPUT,
     "the added token 0 is listed twice"},
    {"\"Prepend\"", "\"Nmt\"", OPT_ERR_UNSUPPORTED, "the normalizer 'Nmt' is not supported"},
    {"\"Prepend\"", "\"Precompiled\"", OPT_ERR_UNSUPPORTED, "the normalizer 'Precompiled' is not supported"},
    {"\"prepend\":\"_\"", "\"prepend\":1", OPT_ERR_INPUT, "'prepend' is an integer, expected a string"},
    {"{\"String\":\" \"}", "{\"Glob\":\" \"}", OPT_ERR_INPUT, "expected an object with one member String or Regex"},
    {"{\"String\":\" \"}", "{\"String\":\"\"}", OPT_ERR_UNSUPPORTED, "an empty pattern"},
    {"\"strip_left\":false", "\"strip_left\":null", OPT_ERR_INPUT, "\"strip_left\" is null"},
    {"\"normalizers\":[", "\"normalizer\":[", OPT_ERR_UNSUPPORTED, "the normalizer Sequence has the member 'normalizer'"},
    {"\"normalizers\":[{", "\"normalizers\":{\"x\":[{", OPT_ERR_INPUT, "line 1"},
    {"\"Isolated\"", "\"Split\"", OPT_ERR_INPUT, "the behavior of a split is 'Split', expected Removed"},
    {"[0-9]+", "[0-9", OPT_ERR_UNSUPPORTED, "the pattern '[0-9' cannot be used"},
    {"[0-9]+", "[a[b]]", OPT_ERR_UNSUPPORTED, "has a class inside a class at byte 2"},
    {"[0-9]+", "[a&&b]", OPT_ERR_UNSUPPORTED, "has an intersection of classes"},
    {"[0-9]+", "a{1,2}+", OPT_ERR_UNSUPPORTED, "'+' behind a repetition count"},
    {"[0-9]+", "(a(?i)b)", OPT_ERR_UNSUPPORTED, "options in the middle of a group"},
    {"[0-9]+", "\\\\p{Nonsense}", OPT_ERR_UNSUPPORTED, "cannot be used"},
    {"\"Digits\"", "\"BertPreTokenizer\"", OPT_ERR_UNSUPPORTED, "the pre-tokenizer 'BertPreTokenizer' is not supported"},
    {"\"individual_digits\"", "\"individual\"", OPT_ERR_UNSUPPORTED, "the pre-tokenizer Digits has the member 'individual'"},
    {"\"replacement\":\"_\"", "\"replacement\":\"__\"", OPT_ERR_INPUT, "'replacement' is '__', expected one character"},
    {"\"prepend_scheme\":\"never\"", "\"prepend_scheme\":\"last\"", OPT_ERR_INPUT, "is 'last', expected never, first or always"},
    {"\"TemplateProcessing\"", "\"Mystery\"", OPT_ERR_UNSUPPORTED, "the post-processor 'Mystery' is not supported"},
    {"\"ids\":[0]", "\"ids\":[9]", OPT_ERR_INPUT, "the template's token '<s>' has the id 9, which is not in the vocabulary"},
    {"\"special_tokens\":{\"<s>\"", "\"special_tokens\":{\"<t>\"", OPT_ERR_INPUT, "the template's token '<s>' has no ids"},
    {"{\"Sequence\":{\"id\":\"A\"", "{\"Sequence\":{\"id\":\"B\"", OPT_ERR_UNSUPPORTED, "a template with the text 'B'"},
    {"{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}", "", OPT_ERR_INPUT,
     "the template 'single' does not hold the text A"},
    {"{\"type\":\"Fuse\"}", "{\"type\":\"CTC\"}", OPT_ERR_UNSUPPORTED, "the decoder 'CTC' is not supported"},
    {"{\"type\":\"Fuse\"}", "{\"kind\":\"Fuse\"}", OPT_ERR_INPUT, "\"type\" is missing"},
    {"\"stop\":0", "\"stop\":1", OPT_ERR_UNSUPPORTED, "a decoder that strips the end of the whole text"},
    {"\"start\":1", "\"start\":-1", OPT_ERR_INPUT, "\"start\" is -1"},
};
/* clang-format on */

static opt_buf *buf_of(opt_ctx *ctx, const char *text, size_t n) {
    opt_buf *buf = NULL;
    assert_int_equal(opt_buf_new(ctx, n, &buf), OPT_OK);
    memcpy(buf->data, text, n);
    return buf;
}

static opt_status load(opt_ctx *ctx, const char *json, const char *config, const char *generation,
                       opt_tokenizer **out) {
    opt_buf *bufs[3] = {buf_of(ctx, json, strlen(json)), NULL, NULL};
    bufs[1] = config != NULL ? buf_of(ctx, config, strlen(config)) : NULL;
    bufs[2] = generation != NULL ? buf_of(ctx, generation, strlen(generation)) : NULL;
    const opt_tokenizer_files files = {
        .json = bufs[0], .config = bufs[1], .generation_config = bufs[2], .origin = "dir"};
    const opt_status st = opt_tokenizer_from_files(ctx, &files, 16, out);
    for (int i = 0; i < COUNT_OF(bufs); i++) {
        opt_buf_release(bufs[i]);
    }
    return st;
}

/** `text` with the first `from` replaced. Free with free(). */
static char *replaced(const char *text, const char *from, const char *to) {
    if (from == NULL) {
        return strdup(to);
    }
    const char *at = strstr(text, from);
    assert_non_null(at);
    const size_t size = strlen(text) + strlen(to) + 1;
    char *out = malloc(size);
    assert_non_null(out);
    (void)snprintf(out, size, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static void test_tokenizer__refuses_damaged_json(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = NULL;
    assert_int_equal(load(ctx, good_json, NULL, NULL, &t), OPT_OK);
    opt_tokenizer_free(t);
    for (int i = 0; i < COUNT_OF(json_rows); i++) {
        char *json = replaced(good_json, json_rows[i].from, json_rows[i].to);
        t = NULL;
        if (load(ctx, json, NULL, NULL, &t) == OPT_OK) {
            fail_msg("row %d (%s) was accepted", i, json_rows[i].message);
        }
        assert_null(t);
        assert_error(ctx, json_rows[i].status, "dir/tokenizer.json", json_rows[i].message);
        free(json);
    }
    opt_ctx_free(ctx);
}

static void test_tokenizer__refuses_every_truncation(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    for (size_t n = 0; n + 1 < sizeof good_json; n++) {
        opt_buf *buf = buf_of(ctx, good_json, n);
        opt_tokenizer *t = NULL;
        const opt_tokenizer_files files = {.json = buf, .origin = "dir"};
        assert_int_equal(opt_tokenizer_from_files(ctx, &files, 0, &t), OPT_ERR_INPUT);
        opt_ctx_clear_error(ctx);
        opt_buf_release(buf);
    }
    opt_ctx_free(ctx);
}

static void test_tokenizer__refuses_to_add_bos_without_bos(void **state) {
    (void)state;
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    opt_ctx *ctx = test_ctx(1);
    opt_tokenizer *t = NULL;
    assert_int_equal(load(ctx, json, "{\"add_bos_token\":true}", NULL, &t), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "dir/tokenizer_config.json", "there is no BOS token");
    opt_ctx_free(ctx);
}

static void test_tokenizer__refuses_damaged_side_files(void **state) {
    (void)state;
    static const struct {
        const char *config;
        const char *generation;
        const char *object;
        const char *message;
    } rows[] = {
        {"[", NULL, "dir/tokenizer_config.json", "line 1"},
        {"3", NULL, "dir/tokenizer_config.json", "found an integer, expected an object"},
        {"{\"bos_token\":3}", NULL, "dir/tokenizer_config.json",
         "'bos_token' is an integer, expected a string"},
        {"{\"add_bos_token\":1}", NULL, "dir/tokenizer_config.json",
         "\"add_bos_token\" is an integer"},
        {"{\"add_eos_token\":true}", NULL, "dir/tokenizer_config.json", "there is no EOS token"},
        {"{\"chat_template\":1}", NULL, "dir/tokenizer_config.json",
         "'chat_template' is an integer"},
        {"{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"}]}", NULL,
         "dir/tokenizer_config.json", "none of the 1 chat templates is named 'default'"},
        {NULL, "{\"eos_token_id\":6}", "dir/generation_config.json",
         "'eos_token_id' is 6, but the vocabulary has the ids 0 to 5"},
        {NULL, "{\"eos_token_id\":[1,-7]}", "dir/generation_config.json", "'eos_token_id' is -7"},
        {NULL, "{\"eos_token_id\":\"</s>\"}", "dir/generation_config.json",
         "'eos_token_id' is a string, expected a token id"},
        {NULL, "{\"bos_token_id\":1e3}", "dir/generation_config.json",
         "'bos_token_id' is a number, expected a token id"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_tokenizer *t = NULL;
        assert_int_equal(load(ctx, good_json, rows[i].config, rows[i].generation, &t),
                         OPT_ERR_INPUT);
        assert_error(ctx, OPT_ERR_INPUT, rows[i].object, rows[i].message);
    }
    opt_ctx_free(ctx);
}

/* ---- GGUF keys ---- */

#define T "tokenizer.ggml."

static const opt_kv_str tokens_spm[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {"<0x41>", 6},
                                        {"a", 1},     {"b", 1},   {"ab", 2}};
static const float scores_spm[] = {0, 0, 0, 0, -2, -3, -1};
static const int32_t types_spm[] = {2, 3, 3, 6, 1, 1, 1};
static const opt_kv_str merges_bpe[] = {{"a b", 3}};

static opt_kv *good_kv(opt_ctx *ctx, const char *model) {
    opt_kv *kv = NULL;
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_kv_set_origin(kv, "x.gguf"), OPT_OK);
    assert_int_equal(opt_kv_set_str(kv, T "model", model), OPT_OK);
    assert_int_equal(opt_kv_set_str(kv, T "pre", "gpt-2"), OPT_OK);
    assert_int_equal(opt_kv_set_str_array(kv, T "tokens", tokens_spm, COUNT_OF(tokens_spm)),
                     OPT_OK);
    assert_int_equal(opt_kv_set_array(kv, T "scores", OPT_KV_F32, scores_spm, COUNT_OF(scores_spm)),
                     OPT_OK);
    assert_int_equal(
        opt_kv_set_array(kv, T "token_type", OPT_KV_I32, types_spm, COUNT_OF(types_spm)), OPT_OK);
    assert_int_equal(opt_kv_set_str_array(kv, T "merges", merges_bpe, COUNT_OF(merges_bpe)),
                     OPT_OK);
    return kv;
}

typedef enum change {
    REMOVE,
    SET_STR,
    SET_U32,
    SET_I32,
    SET_SHORT_I32,  /* a list of three integers, all of them `number` */
    SET_ALL_I32,    /* as many as there are tokens */
    SET_NAN,        /* scores */
    SET_LAST_TOKEN, /* the text of the last token */
    SET_MERGE
} change;

/* clang-format off */
static const struct {
    const char *model;
    const char *key;
    change change;
    const char *text;
    int number;
    opt_status status;
    const char *message;
} kv_rows[] = {
    {"llama", T "model", REMOVE, NULL, 0, OPT_ERR_INPUT, "is missing"},
    {"llama", T "model", SET_STR, "t5", 0, OPT_ERR_UNSUPPORTED, "is 't5', only gpt2 and llama are supported"},
    {"llama", T "model", SET_U32, NULL, 1, OPT_ERR_INPUT, T "model"},
    {"llama", T "tokens", REMOVE, NULL, 0, OPT_ERR_INPUT, T "tokens"},
    {"llama", T "tokens", SET_ALL_I32, NULL, 1, OPT_ERR_INPUT, "array of strings"},
    {"llama", T "tokens", SET_LAST_TOKEN, "a", 0, OPT_ERR_INPUT, "tokens 4 and 6 have the same text"},
    {"llama", T "tokens", SET_LAST_TOKEN, "\xC3(", 0, OPT_ERR_INPUT, "the text of token 6 is not valid UTF-8"},
    {"llama", T "scores", REMOVE, NULL, 0, OPT_ERR_INPUT, T "scores is missing"},
    {"llama", T "scores", SET_STR, "x", 0, OPT_ERR_INPUT, T "scores has another type than an array of numbers"},
    {"llama", T "scores", SET_SHORT_I32, NULL, 1, OPT_ERR_INPUT, "has 3 elements, but there are 7 tokens"},
    {"llama", T "scores", SET_NAN, NULL, 0, OPT_ERR_INPUT, "the score of token 6 is not a number"},
    {"llama", T "token_type", SET_SHORT_I32, NULL, 1, OPT_ERR_INPUT, "token_type has 3 elements, but there are 7 tokens"},
    {"llama", T "token_type", SET_STR, "x", 0, OPT_ERR_INPUT, "another type than an array of integers"},
    {"llama", T "token_type", SET_ALL_I32, NULL, 7, OPT_ERR_INPUT, "token 0 has the type 7, expected 1 to 6"},
    {"llama", T "token_type", SET_ALL_I32, NULL, -1, OPT_ERR_INPUT, "token 0 has the type -1"},
    {"llama", T "token_type", SET_ALL_I32, NULL, 6, OPT_ERR_INPUT, "the byte token 0 is '<unk>', expected <0xHH>"},
    {"llama", T "bos_token_id", SET_U32, NULL, 7, OPT_ERR_INPUT, T "bos_token_id"},
    {"llama", T "eos_token_id", SET_I32, NULL, -1, OPT_ERR_INPUT, T "eos_token_id"},
    {"llama", T "unknown_token_id", SET_STR, "0", 0, OPT_ERR_INPUT, T "unknown_token_id"},
    {"llama", T "add_bos_token", SET_STR, "yes", 0, OPT_ERR_INPUT, T "add_bos_token"},
    {"llama", T "add_space_prefix", SET_U32, NULL, 1, OPT_ERR_INPUT, T "add_space_prefix"},
    {"llama", "tokenizer.chat_template", SET_U32, NULL, 1, OPT_ERR_INPUT, "tokenizer.chat_template"},
    {"llama", "lathe.tokenizer.eog_token_ids", SET_SHORT_I32, NULL, 7, OPT_ERR_INPUT, "names the token 7, but there are 7"},
    {"llama", "lathe.tokenizer.eog_token_ids", SET_STR, "x", 0, OPT_ERR_INPUT, "another type than an array of integers"},
    {"llama", "lathe.tokenizer.pipeline", SET_STR, "{", 0, OPT_ERR_INPUT, "line 1"},
    {"llama", "lathe.tokenizer.pipeline", SET_STR, "{\"model\":[]}", 0, OPT_ERR_INPUT, "has no object 'model'"},
    {"llama", "lathe.tokenizer.pipeline", SET_STR, "{\"model\":{}}", 0, OPT_ERR_INPUT, "lathe.tokenizer.merges is missing"},
    {"gpt2", T "pre", SET_STR, "gpt-9", 0, OPT_ERR_UNSUPPORTED, "is 'gpt-9', a way to split text that is not known"},
    {"gpt2", T "pre", SET_U32, NULL, 1, OPT_ERR_INPUT, T "pre"},
    {"gpt2", T "merges", REMOVE, NULL, 0, OPT_ERR_INPUT, T "merges"},
    {"gpt2", T "merges", SET_MERGE, "a  b", 0, OPT_ERR_INPUT, "merge 0 is 'a  b', expected two tokens"},
    {"gpt2", T "merges", SET_MERGE, "", 0, OPT_ERR_INPUT, "merge 0 is '', expected two tokens"},
    {"gpt2", T "merges", SET_MERGE, "a ", 0, OPT_ERR_INPUT, "merge 0 joins '', which is no token"},
    {"gpt2", T "merges", SET_MERGE, "a c", 0, OPT_ERR_INPUT, "merge 0 joins 'c', which is no token"},
    {"gpt2", T "merges", SET_MERGE, "b a", 0, OPT_ERR_INPUT, "merge 0 makes 'ba', which is no token"},
    {"gpt2", T "add_bos_token", SET_U32, NULL, 1, OPT_ERR_INPUT, T "add_bos_token"},
};
/* clang-format on */

static void apply_change(opt_kv *kv, int row) {
    const char *key = kv_rows[row].key;
    const char *text = kv_rows[row].text;
    const int number = kv_rows[row].number;
    int32_t numbers[COUNT_OF(tokens_spm)];
    float scores[COUNT_OF(tokens_spm)] = {0};
    opt_kv_str tokens[COUNT_OF(tokens_spm)];
    opt_status st = OPT_OK;
    for (int i = 0; i < COUNT_OF(numbers); i++) {
        numbers[i] = number;
    }
    switch (kv_rows[row].change) {
    case REMOVE: opt_kv_remove(kv, key); break;
    case SET_STR: st = opt_kv_set_str(kv, key, text); break;
    case SET_U32: st = opt_kv_set_u32(kv, key, (uint32_t)number); break;
    case SET_I32: st = opt_kv_set_i32(kv, key, number); break;
    case SET_SHORT_I32: st = opt_kv_set_array(kv, key, OPT_KV_I32, numbers, 3); break;
    case SET_ALL_I32: st = opt_kv_set_array(kv, key, OPT_KV_I32, numbers, COUNT_OF(numbers)); break;
    case SET_NAN:
        scores[COUNT_OF(scores) - 1] = strtof("nan", NULL);
        st = opt_kv_set_array(kv, key, OPT_KV_F32, scores, COUNT_OF(scores));
        break;
    case SET_LAST_TOKEN:
        memcpy(tokens, tokens_spm, sizeof tokens);
        tokens[COUNT_OF(tokens) - 1] = (opt_kv_str){text, strlen(text)};
        st = opt_kv_set_str_array(kv, key, tokens, COUNT_OF(tokens));
        break;
    case SET_MERGE: st = opt_kv_set_str_array(kv, key, &(opt_kv_str){text, strlen(text)}, 1); break;
    }
    assert_int_equal(st, OPT_OK);
}

static void test_tokenizer__refuses_damaged_keys(void **state) {
    (void)state;
    static const char *const models[] = {"llama", "gpt2"};
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < 2; i++) {
        opt_kv *kv = good_kv(ctx, models[i]);
        opt_tokenizer *t = NULL;
        assert_int_equal(opt_tokenizer_from_kv(ctx, kv, 7, &t), OPT_OK);
        assert_int_equal(opt_tokenizer_n_vocab(t), 7);
        opt_tokenizer_free(t);
        t = NULL;
        assert_int_equal(opt_tokenizer_from_kv(ctx, kv, 6, &t), OPT_ERR_INPUT);
        assert_error(ctx, OPT_ERR_INPUT, "x.gguf",
                     "a token has the id 6, but the model's vocabulary has 6 rows");
        opt_kv_free(kv);
    }
    for (int i = 0; i < COUNT_OF(kv_rows); i++) {
        opt_kv *kv = good_kv(ctx, kv_rows[i].model);
        opt_tokenizer *t = NULL;
        apply_change(kv, i);
        if (opt_tokenizer_from_kv(ctx, kv, 0, &t) == OPT_OK) {
            fail_msg("row %d (%s) was accepted", i, kv_rows[i].message);
        }
        assert_error(ctx, kv_rows[i].status, NULL, kv_rows[i].message);
        opt_kv_free(kv);
    }
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer__refuses_damaged_json),
        cmocka_unit_test(test_tokenizer__refuses_every_truncation),
        cmocka_unit_test(test_tokenizer__refuses_to_add_bos_without_bos),
        cmocka_unit_test(test_tokenizer__refuses_damaged_side_files),
        cmocka_unit_test(test_tokenizer__refuses_damaged_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
