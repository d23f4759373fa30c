/* Configurations: what is read, and one row for every rule that a damaged or foreign one breaks. */
#include "support.h"

#include "model/arch.h"

/** A whole configuration of each family; rows replace single members of the first. */
#define LLAMA_HEAD                                                                                 \
    "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "                       \
    "\"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96, "                        \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4"

typedef struct config {
    const opt_arch *arch;
    opt_hparams hp;
} config;

static opt_status read_hf(opt_ctx *ctx, opt_arena *arena, const char *text, config *out) {
    return opt_config_read_hf(ctx, arena, "config.json", text, strlen(text), &out->arch, &out->hp);
}

/* ---- what is read ---- */

static config must_read_hf(opt_ctx *ctx, opt_arena *arena, const char *text) {
    config c = {0};
    if (read_hf(ctx, arena, text, &c) != OPT_OK) {
        fail_msg("%s: %s", text, opt_ctx_error_message(ctx));
    }
    return c;
}

static void test_model_config__llama_defaults(void **state) {
    opt_ctx *ctx = test_ctx(1);
    opt_arena *arena = NULL;
    (void)state;
    assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
    const config c = must_read_hf(ctx, arena, "{" LLAMA_HEAD "}");
    assert_string_equal(c.arch->name, "llama");
    assert_int_equal(c.hp.n_heads_kv, 4);
    assert_int_equal(c.hp.head_dim, 16);
    assert_int_equal(c.hp.n_ctx_train, 2048);
    assert_true(c.hp.norm_eps == 1e-6 && c.hp.rope_theta == 10000.0);
    assert_false(c.hp.tied || c.hp.bias_qkv || c.hp.bias_o || c.hp.bias_ffn);
    assert_int_equal(c.hp.rope_scaling, OPT_ROPE_NONE);
    assert_int_equal(c.hp.sliding_window, 0);
    opt_arena_free(arena);
    opt_ctx_free(ctx);
}

/* The defaults of transformers 5 where a member is absent or null. */
static void test_model_config__family_defaults(void **state) {
    static const struct {
        const char *type, *class_name, *more;
        int64_t n_heads_kv, head_dim, n_ctx, window;
        bool bias_qkv, bias_o;
    } rows[] = {
        {"llama", "LlamaForCausalLM", "", 32, 2, 2048, 0, false, false},
        {"llama", "LlamaForCausalLM", ", \"attention_bias\": true", 32, 2, 2048, 0, true, true},
        {"mistral", "MistralForCausalLM", "", 8, 2, 131072, 4096, false, false},
        {"mistral", "MistralForCausalLM", ", \"sliding_window\": null", 8, 2, 131072, 0, false,
         false},
        {"mistral", "MistralForCausalLM", ", \"num_key_value_heads\": null", 32, 2, 131072, 4096,
         false, false},
        {"qwen2", "Qwen2ForCausalLM", "", 32, 2, 32768, 0, true, false},
        {"qwen2", "Qwen2ForCausalLM", ", \"use_sliding_window\": true", 32, 2, 32768, 4096, true,
         false},
        {"qwen2", "Qwen2ForCausalLM", ", \"use_sliding_window\": true, \"sliding_window\": null",
         32, 2, 32768, 0, true, false},
        {"qwen3", "Qwen3ForCausalLM", "", 32, 128, 32768, 0, false, false},
        {"qwen3", "Qwen3ForCausalLM", ", \"attention_bias\": true", 32, 128, 32768, 0, true, true},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        snprintf(
            text, sizeof text,
            "{\"model_type\": \"%s\", \"architectures\": [\"%s\"], \"vocab_size\": 10, "
            "\"hidden_size\": 64, "
            "\"intermediate_size\": 8, \"num_hidden_layers\": 30, \"num_attention_heads\": 32%s}",
            rows[i].type, rows[i].class_name, rows[i].more);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        const config c = must_read_hf(ctx, arena, text);
        assert_string_equal(c.arch->name, rows[i].type);
        assert_int_equal(c.hp.n_heads_kv, rows[i].n_heads_kv);
        assert_int_equal(c.hp.head_dim, rows[i].head_dim);
        assert_int_equal(c.hp.n_ctx_train, rows[i].n_ctx);
        assert_int_equal(c.hp.sliding_window, rows[i].window);
        assert_int_equal(c.hp.bias_qkv, rows[i].bias_qkv);
        assert_int_equal(c.hp.bias_o, rows[i].bias_o);
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

static void test_model_config__layers_that_slide(void **state) {
    static const struct {
        const char *more, *slides; /* one digit for each of 4 layers, or NULL: none */
    } rows[] = {
        {", \"use_sliding_window\": true, \"max_window_layers\": 2", "0011"},
        {", \"use_sliding_window\": true, \"max_window_layers\": 0", "1111"},
        {", \"use_sliding_window\": true, \"max_window_layers\": 4", NULL},
        {", \"use_sliding_window\": false, \"max_window_layers\": 0", NULL},
        {", \"use_sliding_window\": true, \"layer_types\": [\"sliding_attention\", "
         "\"full_attention\", "
         "\"sliding_attention\", \"full_attention\"]",
         "1010"},
        {", \"use_sliding_window\": false, \"layer_types\": [\"sliding_attention\", "
         "\"full_attention\", "
         "\"sliding_attention\", \"full_attention\"]",
         NULL},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        snprintf(text, sizeof text,
                 "{\"model_type\": \"qwen2\", \"vocab_size\": 10, \"hidden_size\": 64, "
                 "\"intermediate_size\": 8, "
                 "\"num_hidden_layers\": 4, \"num_attention_heads\": 32, \"sliding_window\": 7%s}",
                 rows[i].more);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        const config c = must_read_hf(ctx, arena, text);
        if (rows[i].slides == NULL) {
            assert_int_equal(c.hp.sliding_window, 0);
        } else {
            assert_int_equal(c.hp.sliding_window, 7);
            for (int layer = 0; layer < 4; layer++) {
                assert_int_equal(c.hp.layer_slides[layer], rows[i].slides[layer] == '1');
            }
        }
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

/* rope_theta and rope_scaling at the top, or rope_parameters. */
static void test_model_config__rope_spellings(void **state) {
    static const struct {
        const char *more;
        int scaling;
        double theta, factor, original;
    } rows[] = {
        {", \"rope_theta\": 5e5, \"rope_scaling\": null", OPT_ROPE_NONE, 5e5, 0, 0},
        {", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}", OPT_ROPE_LINEAR, 1e4, 4, 0},
        {", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.5}", OPT_ROPE_LINEAR, 1e4,
         2.5, 0},
        {", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 1e6}", OPT_ROPE_NONE,
         1e6, 0, 0},
        {", \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 8, \"rope_theta\": 1e6}",
         OPT_ROPE_LINEAR, 1e6, 8, 0},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
         "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}",
         OPT_ROPE_LLAMA3, 1e4, 8, 8192},
        {", \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": "
         "1, "
         "\"high_freq_factor\": 4, \"rope_theta\": 5e5}",
         OPT_ROPE_LLAMA3, 5e5, 8, 2048},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        snprintf(text, sizeof text, "{" LLAMA_HEAD "%s}", rows[i].more);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        const config c = must_read_hf(ctx, arena, text);
        assert_int_equal(c.hp.rope_scaling, rows[i].scaling);
        assert_true(c.hp.rope_theta == rows[i].theta);
        assert_true(c.hp.rope_factor == rows[i].factor);
        assert_true(c.hp.rope_original_ctx == rows[i].original);
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

/* ---- what is refused ---- */

/* Members of a good configuration in the order in which `set` replaces them. */
static const struct {
    const char *key, *value;
} good[] = {
    {"model_type", "\"llama\""},
    {"architectures", "[\"LlamaForCausalLM\"]"},
    {"vocab_size", "100"},
    {"hidden_size", "64"},
    {"intermediate_size", "96"},
    {"num_hidden_layers", "2"},
    {"num_attention_heads", "4"},
    {"num_key_value_heads", "2"},
    {"hidden_act", "\"silu\""},
    {"rms_norm_eps", "1e-5"},
    {"max_position_embeddings", "512"},
    {"tie_word_embeddings", "true"},
};

/* The good configuration with one member replaced, added, or (value NULL) left out. */
static void write_config(char *text, size_t cap, const char *key, const char *value) {
    size_t n = (size_t)snprintf(text, cap, "{");
    bool found = false;
    const char *separator = "";
    for (int i = 0; i < COUNT_OF(good); i++) {
        const bool same = key != NULL && strcmp(good[i].key, key) == 0;
        found = found || same;
        if (!same || value != NULL) {
            n += (size_t)snprintf(text + n, cap - n, "%s\"%s\": %s", separator, good[i].key,
                                  same ? value : good[i].value);
            separator = ", ";
        }
    }
    if (key != NULL && !found) {
        n += (size_t)snprintf(text + n, cap - n, "%s\"%s\": %s", separator, key, value);
    }
    snprintf(text + n, cap - n, "}");
}

#define LLAMA3 "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": "

static const struct {
    const char *key, *value;
    opt_status status;
    const char *message;
} bad_members[] = {
    {"model_type", "\"mixtral\"", OPT_ERR_UNSUPPORTED,
     "model_type \"mixtral\" is not supported (supported: llama, mistral, qwen2, qwen3)"},
    {"model_type", "\"\\u001b[31m\"", OPT_ERR_UNSUPPORTED, "is not supported"},
    {"model_type", "7", OPT_ERR_INPUT, "\"model_type\""},
    {"architectures", "[\"LlamaForSequenceClassification\"]", OPT_ERR_UNSUPPORTED,
     "class \"LlamaForSequenceClassification\""},
    {"architectures", "\"LlamaForCausalLM\"", OPT_ERR_INPUT,
     "\"architectures\" must be a list of strings"},
    {"architectures", "[1]", OPT_ERR_INPUT, "\"architectures\" must be a list of strings"},
    {"vocab_size", NULL, OPT_ERR_INPUT, "\"vocab_size\""},
    {"vocab_size", "0", OPT_ERR_INPUT, "\"vocab_size\""},
    {"vocab_size", "1000000000000", OPT_ERR_INPUT, "\"vocab_size\""},
    {"vocab_size", "\"100\"", OPT_ERR_INPUT, "\"vocab_size\""},
    {"hidden_size", NULL, OPT_ERR_INPUT, "\"hidden_size\""},
    {"hidden_size", "-64", OPT_ERR_INPUT, "\"hidden_size\""},
    {"hidden_size", "64.5", OPT_ERR_INPUT, "\"hidden_size\""},
    {"hidden_size", "9223372036854775807", OPT_ERR_INPUT, "\"hidden_size\""},
    {"hidden_size", "66", OPT_ERR_INPUT, "hidden_size 66 is no multiple of num_attention_heads 4"},
    {"hidden_size", "60", OPT_ERR_INPUT, "head size 15 is odd"},
    {"intermediate_size", NULL, OPT_ERR_INPUT, "\"intermediate_size\""},
    {"intermediate_size", "0", OPT_ERR_INPUT, "\"intermediate_size\""},
    {"num_hidden_layers", NULL, OPT_ERR_INPUT, "\"num_hidden_layers\""},
    {"num_hidden_layers", "0", OPT_ERR_INPUT, "\"num_hidden_layers\""},
    {"num_hidden_layers", "100000", OPT_ERR_INPUT, "\"num_hidden_layers\""},
    {"num_attention_heads", NULL, OPT_ERR_INPUT, "\"num_attention_heads\""},
    {"num_attention_heads", "0", OPT_ERR_INPUT, "\"num_attention_heads\""},
    {"num_attention_heads", "[4, 4]", OPT_ERR_INPUT, "\"num_attention_heads\""},
    {"num_key_value_heads", "3", OPT_ERR_INPUT,
     "4 attention heads cannot share 3 key/value heads evenly"},
    {"num_key_value_heads", "0", OPT_ERR_INPUT, "\"num_key_value_heads\""},
    {"head_dim", "0", OPT_ERR_INPUT, "\"head_dim\""},
    {"head_dim", "7", OPT_ERR_INPUT, "head size 7 is odd"},
    {"hidden_act", "\"gelu\"", OPT_ERR_UNSUPPORTED,
     "hidden_act \"gelu\" is not supported (supported: silu)"},
    {"hidden_act", "true", OPT_ERR_INPUT, "\"hidden_act\""},
    {"rms_norm_eps", "-1e-5", OPT_ERR_INPUT, "\"rms_norm_eps\""},
    {"rms_norm_eps", "\"1e-5\"", OPT_ERR_INPUT, "\"rms_norm_eps\""},
    {"max_position_embeddings", "0", OPT_ERR_INPUT, "\"max_position_embeddings\""},
    {"tie_word_embeddings", "1", OPT_ERR_INPUT, "\"tie_word_embeddings\""},
    {"attention_bias", "\"no\"", OPT_ERR_INPUT, "\"attention_bias\""},
    {"mlp_bias", "0", OPT_ERR_INPUT, "\"mlp_bias\""},
    {"rope_theta", "0", OPT_ERR_INPUT, "\"rope_theta\""},
    {"rope_theta", "\"10000\"", OPT_ERR_INPUT, "\"rope_theta\""},
    {"rope_scaling", "\"linear\"", OPT_ERR_INPUT, "\"rope_scaling\" must be an object or null"},
    {"rope_scaling", "{\"type\": \"yarn\", \"factor\": 4}", OPT_ERR_UNSUPPORTED,
     "rotary scaling \"yarn\""},
    {"rope_scaling", "{\"type\": \"dynamic\", \"factor\": 4}", OPT_ERR_UNSUPPORTED,
     "rotary scaling \"dynamic\""},
    {"rope_scaling", "{\"rope_type\": \"longrope\"}", OPT_ERR_UNSUPPORTED,
     "rotary scaling \"longrope\""},
    {"rope_scaling", "{\"type\": \"linear\"}", OPT_ERR_INPUT, "\"factor\""},
    {"rope_scaling", "{\"type\": \"linear\", \"factor\": 0}", OPT_ERR_INPUT, "\"factor\""},
    {"rope_scaling", "{\"type\": 1, \"factor\": 2}", OPT_ERR_INPUT, "\"type\""},
    {"rope_scaling", LLAMA3 "4, \"high_freq_factor\": 1}", OPT_ERR_INPUT,
     "high_freq_factor 1 must be above low_freq_factor 4"},
    {"rope_scaling", LLAMA3 "1}", OPT_ERR_INPUT, "\"high_freq_factor\""},
    {"rope_parameters", "[]", OPT_ERR_INPUT, "\"rope_parameters\" must be an object or null"},
    {"rope_parameters", "{\"full_attention\": {\"rope_type\": \"default\"}}", OPT_ERR_UNSUPPORTED,
     "differ between layer types (\"full_attention\")"},
    {"rope_parameters", "{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}",
     OPT_ERR_UNSUPPORTED, "partial_rotary_factor 0.5"},
    {"partial_rotary_factor", "0.25", OPT_ERR_UNSUPPORTED, "partial_rotary_factor 0.25"},
    {"quantization_config", "{\"quant_method\": \"gptq\"}", OPT_ERR_UNSUPPORTED,
     "quantized already (quantization_config, method \"gptq\")"},
    {"quantization_config", "{}", OPT_ERR_UNSUPPORTED, "method \"unknown\""},
    {"num_local_experts", "8", OPT_ERR_UNSUPPORTED,
     "mixture of experts (\"num_local_experts\": 8)"},
};

static void test_model_config__bad_members(void **state) {
    char text[2048];
    (void)state;
    for (int i = 0; i < COUNT_OF(bad_members); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        config c = {0};
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        write_config(text, sizeof text, bad_members[i].key, bad_members[i].value);
        if (read_hf(ctx, arena, text, &c) == OPT_OK) {
            fail_msg("accepted: %s", text);
        }
        assert_null(c.arch);
        assert_error(ctx, bad_members[i].status, "config.json", bad_members[i].message);
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

static void test_model_config__good_members(void **state) {
    static const struct {
        const char *key, *value;
    } rows[] = {{NULL, NULL},
                {"architectures", NULL},
                {"model_type", NULL},
                {"rope_scaling", "null"},
                {"hidden_act", "\"swish\""},
                {"quantization_config", "null"},
                {"num_local_experts", "0"},
                {"architectures", "[]"},
                {"something_new", "{\"a\": [1]}"}};
    char text[2048];
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        write_config(text, sizeof text, rows[i].key, rows[i].value);
        assert_string_equal(must_read_hf(ctx, arena, text).arch->name, "llama");
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

static void test_model_config__bad_texts(void **state) {
    static const struct {
        const char *text;
        opt_status status;
        const char *message;
    } rows[] = {
        {"", OPT_ERR_INPUT, ""},
        {"[]", OPT_ERR_INPUT, "must be a JSON object"},
        {"{}", OPT_ERR_INPUT, "neither \"model_type\" nor \"architectures\" is present"},
        {"{\"model_type\": \"llama\"", OPT_ERR_INPUT, "line 1"},
        {"{\"model_type\": \"llama\", \"model_type\": \"llama\"}", OPT_ERR_INPUT, "duplicate"},
        {"{\"architectures\": [\"GPT2LMHeadModel\"]}", OPT_ERR_UNSUPPORTED,
         "architecture \"GPT2LMHeadModel\""},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        config c = {0};
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        assert_int_equal(read_hf(ctx, arena, rows[i].text, &c), rows[i].status);
        assert_error(ctx, rows[i].status, NULL, rows[i].message);
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

static void test_model_config__bad_layer_types(void **state) {
    static const struct {
        const char *value;
        opt_status status;
        const char *message;
    } rows[] = {
        {"[\"full_attention\"]", OPT_ERR_INPUT, "must be a list of num_hidden_layers (2) strings"},
        {"\"full_attention\"", OPT_ERR_INPUT, "must be a list of num_hidden_layers (2) strings"},
        {"[\"full_attention\", 3]", OPT_ERR_INPUT, "layer_types[1]"},
        {"[\"linear_attention\", \"full_attention\"]", OPT_ERR_UNSUPPORTED,
         "layer_types[0] is \"linear_attention\""},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        config c = {0};
        snprintf(text, sizeof text,
                 "{\"model_type\": \"qwen3\", \"vocab_size\": 10, \"hidden_size\": 64, "
                 "\"intermediate_size\": 8, "
                 "\"num_hidden_layers\": 2, \"num_attention_heads\": 32, \"layer_types\": %s}",
                 rows[i].value);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        assert_int_equal(read_hf(ctx, arena, text, &c), rows[i].status);
        assert_error(ctx, rows[i].status, "config.json", rows[i].message);
        opt_arena_free(arena);
        opt_ctx_free(ctx);
    }
}

/* ---- GGUF keys ---- */

typedef enum kv_edit {
    EDIT_NONE,
    EDIT_REMOVE,
    EDIT_U32,
    EDIT_F32,
    EDIT_STR,
    EDIT_U32_LIST,
    EDIT_BOOL_LIST
} kv_edit;

static void put(opt_kv *kv, const char *key, kv_edit edit, double number, const char *text) {
    const uint32_t list[] = {4, (uint32_t)(int64_t)number, 4, 4, 4};
    const uint8_t bools[] = {0, 1};
    opt_status st = OPT_OK;
    switch (edit) {
    case EDIT_NONE: break;
    case EDIT_REMOVE: opt_kv_remove(kv, key); break;
    case EDIT_U32: st = opt_kv_set_u32(kv, key, (uint32_t)(int64_t)number); break;
    case EDIT_F32: st = opt_kv_set_f32(kv, key, (float)number); break;
    case EDIT_STR: st = opt_kv_set_str(kv, key, text); break;
    case EDIT_U32_LIST:
        st = opt_kv_set_array(kv, key, OPT_KV_U32, list, text != NULL ? 5 : 2);
        break;
    case EDIT_BOOL_LIST: st = opt_kv_set_array(kv, key, OPT_KV_BOOL, bools, (size_t)number); break;
    }
    assert_int_equal(st, OPT_OK);
}

static opt_kv *good_kv(opt_ctx *ctx) {
    opt_kv *kv = NULL;
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_kv_set_origin(kv, "model.gguf"), OPT_OK);
    put(kv, "general.architecture", EDIT_STR, 0, "llama");
    put(kv, "llama.vocab_size", EDIT_U32, 100, NULL);
    put(kv, "llama.context_length", EDIT_U32, 512, NULL);
    put(kv, "llama.embedding_length", EDIT_U32, 64, NULL);
    put(kv, "llama.block_count", EDIT_U32, 2, NULL);
    put(kv, "llama.feed_forward_length", EDIT_U32, 96, NULL);
    put(kv, "llama.attention.head_count", EDIT_U32, 4, NULL);
    put(kv, "llama.attention.layer_norm_rms_epsilon", EDIT_F32, 1e-5, NULL);
    return kv;
}

static const struct {
    const char *key;
    kv_edit edit;
    double number;
    const char *text;
    opt_status status;
    const char *message;
} bad_keys[] = {
    {"general.architecture", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "general.architecture"},
    {"general.architecture", EDIT_STR, 0, "mamba", OPT_ERR_UNSUPPORTED,
     "general.architecture \"mamba\" is not supported (supported: llama, qwen2, qwen3)"},
    {"general.architecture", EDIT_STR, 0, "mistral", OPT_ERR_UNSUPPORTED,
     "\"mistral\" is not supported"},
    {"general.architecture", EDIT_U32, 1, NULL, OPT_ERR_INPUT, "general.architecture"},
    {"llama.vocab_size", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "llama.vocab_size"},
    {"llama.context_length", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "llama.context_length"},
    {"llama.context_length", EDIT_U32, 0, NULL, OPT_ERR_INPUT, "llama.context_length"},
    {"llama.embedding_length", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "llama.embedding_length"},
    {"llama.embedding_length", EDIT_U32, 66, NULL, OPT_ERR_INPUT,
     "embedding_length 66 is no multiple of attention.head_count 4"},
    {"llama.embedding_length", EDIT_STR, 0, "64", OPT_ERR_INPUT, "llama.embedding_length"},
    {"llama.block_count", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "llama.block_count"},
    {"llama.block_count", EDIT_U32, 4e9, NULL, OPT_ERR_INPUT, "llama.block_count"},
    {"llama.feed_forward_length", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT, "llama.feed_forward_length"},
    {"llama.feed_forward_length", EDIT_U32_LIST, 5, NULL, OPT_ERR_UNSUPPORTED,
     "differs between layers"},
    {"llama.feed_forward_length", EDIT_U32_LIST, 4, "long", OPT_ERR_INPUT,
     "one integer for each of 2 layers"},
    {"llama.attention.head_count", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT,
     "llama.attention.head_count"},
    {"llama.attention.head_count", EDIT_U32, 0, NULL, OPT_ERR_INPUT, "llama.attention.head_count"},
    {"llama.attention.head_count_kv", EDIT_U32, 3, NULL, OPT_ERR_INPUT,
     "4 attention heads cannot share 3"},
    {"llama.attention.layer_norm_rms_epsilon", EDIT_REMOVE, 0, NULL, OPT_ERR_INPUT,
     "layer_norm_rms_epsilon"},
    {"llama.attention.layer_norm_rms_epsilon", EDIT_F32, -1, NULL, OPT_ERR_INPUT,
     "is -1, expected 0 ... 1"},
    {"llama.attention.key_length", EDIT_U32, 15, NULL, OPT_ERR_INPUT, "head size 15 is odd"},
    {"llama.attention.value_length", EDIT_U32, 8, NULL, OPT_ERR_UNSUPPORTED,
     "attention.value_length 8"},
    {"llama.rope.dimension_count", EDIT_U32, 8, NULL, OPT_ERR_UNSUPPORTED,
     "rope.dimension_count 8"},
    {"llama.rope.freq_base", EDIT_F32, 0, NULL, OPT_ERR_INPUT, "llama.rope.freq_base"},
    {"llama.rope.scaling.type", EDIT_STR, 0, "yarn", OPT_ERR_UNSUPPORTED,
     "rotary scaling \"yarn\""},
    {"llama.rope.scaling.factor", EDIT_F32, -2, NULL, OPT_ERR_INPUT, "llama.rope.scaling.factor"},
    {"llama.expert_count", EDIT_U32, 8, NULL, OPT_ERR_UNSUPPORTED, "mixture of experts"},
    {"llama.attention.sliding_window", EDIT_STR, 0, "x", OPT_ERR_INPUT,
     "llama.attention.sliding_window"},
};

static void test_model_config__bad_keys(void **state) {
    (void)state;
    for (int i = 0; i < COUNT_OF(bad_keys); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_arena *arena = NULL;
        config c = {0};
        opt_kv *kv = good_kv(ctx);
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        put(kv, bad_keys[i].key, bad_keys[i].edit, bad_keys[i].number, bad_keys[i].text);
        if (opt_config_read_gguf(ctx, arena, kv, &c.arch, &c.hp) == OPT_OK) {
            fail_msg("row %d is accepted", i);
        }
        assert_error(ctx, bad_keys[i].status, "model.gguf", bad_keys[i].message);
        opt_arena_free(arena);
        opt_kv_free(kv);
        opt_ctx_free(ctx);
    }
}

static void test_model_config__gguf_keys(void **state) {
    opt_ctx *ctx = test_ctx(1);
    opt_arena *arena = NULL;
    config c = {0};
    opt_kv *kv = good_kv(ctx);
    (void)state;
    put(kv, "llama.attention.head_count_kv", EDIT_U32_LIST, 4, NULL);
    put(kv, "llama.rope.scaling.type", EDIT_STR, 0, "linear");
    put(kv, "llama.rope.scaling.factor", EDIT_F32, 4, NULL);
    put(kv, "llama.attention.sliding_window", EDIT_U32, 33, NULL);
    put(kv, "llama.attention.sliding_window_pattern", EDIT_BOOL_LIST, 2, NULL);
    assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
    assert_int_equal(opt_config_read_gguf(ctx, arena, kv, &c.arch, &c.hp), OPT_OK);
    assert_string_equal(c.arch->name, "llama");
    assert_int_equal(c.hp.n_heads_kv, 4);
    assert_int_equal(c.hp.head_dim, 16);
    assert_int_equal(c.hp.n_vocab, 100);
    assert_true(c.hp.rope_theta == 10000.0);
    assert_int_equal(c.hp.rope_scaling, OPT_ROPE_LINEAR);
    assert_true(c.hp.rope_factor == 4.0);
    assert_int_equal(c.hp.sliding_window, 33);
    assert_false(c.hp.layer_slides[0]);
    assert_true(c.hp.layer_slides[1]);
    opt_arena_free(arena);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_config__llama_defaults),
        cmocka_unit_test(test_model_config__family_defaults),
        cmocka_unit_test(test_model_config__layers_that_slide),
        cmocka_unit_test(test_model_config__rope_spellings),
        cmocka_unit_test(test_model_config__good_members),
        cmocka_unit_test(test_model_config__bad_members),
        cmocka_unit_test(test_model_config__bad_texts),
        cmocka_unit_test(test_model_config__bad_layer_types),
        cmocka_unit_test(test_model_config__bad_keys),
        cmocka_unit_test(test_model_config__gguf_keys),
    };
    return cmocka_run_group_tests_name("model_config", tests, NULL, NULL);
}
