/* Graphs and weights: what is built, what is bound, and what is refused. */
#include "checkpoint.h"

#include "kern/kern.h"
#include "model/arch.h"
#include "model/ops.h"

#define FAMILY(name) OPT_TESTDATA "/families/" name

typedef struct opened {
    opt_ctx *ctx;
    opt_source *source;
    opt_model *model;
} opened;

static opened open_model(const char *path) {
    opened o = {.ctx = test_ctx(1)};
    if (opt_source_open(o.ctx, path, &o.source) != OPT_OK ||
        opt_model_open(o.ctx, o.source, &o.model) != OPT_OK) {
        fail_msg("%s: %s", path, opt_ctx_error_message(o.ctx));
    }
    return o;
}

static void close_model(opened *o) {
    opt_model_free(o->model);
    opt_source_close(o->source);
    opt_ctx_free(o->ctx);
}

/* ---- what is built ---- */

static void test_model__graph_of_a_block(void **state) {
    static const char *const nodes[] = {
        "token_embd",        "blk.0.attn_norm",    "blk.0.attn_q",      "blk.0.attn_k",
        "blk.0.attn_v",      "blk.0.attn_q_norm",  "blk.0.attn_k_norm", "blk.0.attn_q_rope",
        "blk.0.attn_k_rope", "blk.0.attn",         "blk.0.attn_output", "blk.0.attn_residual",
        "blk.0.ffn_norm",    "blk.0.ffn_gate",     "blk.0.ffn_up",      "blk.0.ffn_swiglu",
        "blk.0.ffn_down",    "blk.0.ffn_residual", "blk.1.attn_norm",
    };
    opened o = open_model(FAMILY("qwen3"));
    const opt_model *m = o.model;
    (void)state;
    for (int i = 0; i < COUNT_OF(nodes); i++) {
        assert_string_equal(m->nodes[i].name, nodes[i]);
        assert_int_equal(opt_model_find_node(m, nodes[i]), i);
    }
    assert_int_equal(opt_model_find_node(m, "blk.9.attn"), -1);
    assert_int_equal(m->n_units, 2);
    assert_int_equal(m->n_caches, 2);
    assert_int_equal(m->logits, m->n_nodes - 1);
    assert_string_equal(m->nodes[m->logits].name, "output");
    assert_int_equal(m->nodes[0].unit, -1);
    assert_int_equal(m->nodes[18].unit, 1);
    assert_int_equal(m->nodes[m->logits].unit, 2);
    assert_int_equal(m->nodes[m->logits].width, 320);
    assert_string_equal(m->name, "qwen3");
    assert_int_equal(m->n_dropped, 0);
    close_model(&o);
}

static void test_model__weights_in_file_order(void **state) {
    static const char *const names[] = {
        "token_embd.weight",   "blk.0.attn_norm.weight", "blk.0.attn_q.weight",
        "blk.0.attn_q.bias",   "blk.0.attn_k.weight",    "blk.0.attn_k.bias",
        "blk.0.attn_v.weight", "blk.0.attn_v.bias",      "blk.0.attn_output.weight"};
    opened o = open_model(FAMILY("qwen2"));
    const opt_model *m = o.model;
    (void)state;
    for (int i = 0; i < COUNT_OF(names); i++) {
        assert_string_equal(m->weights[i].name, names[i]);
        assert_int_equal(opt_model_find_weight(m, names[i]), i);
    }
    assert_string_equal(m->weights[m->n_weights - 1].name, "output_norm.weight");
    assert_true(m->weights[0].tied);
    assert_int_equal(m->weights[0].role, OPT_ROLE_EMBEDDING);
    assert_string_equal(opt_role_name(m->weights[1].role), "norm");
    assert_string_equal(opt_role_name(m->weights[2].role), "linear");
    assert_string_equal(opt_role_name(m->weights[3].role), "bias");
    assert_string_equal(m->weights[3].kind, "attn_q");
    assert_int_equal(m->weights[3].unit, 0);
    assert_int_equal(m->weights[0].unit, -1);
    assert_int_equal(m->weights[2].permute_heads, 0); /* Qwen keeps its order in GGUF */
    close_model(&o);
}

static void test_model__untied_head_is_the_last_weight(void **state) {
    opened o = open_model(FAMILY("llama-untied-bias"));
    const opt_weight *last = &o.model->weights[o.model->n_weights - 1];
    (void)state;
    assert_string_equal(last->name, "output.weight");
    assert_int_equal(last->role, OPT_ROLE_HEAD);
    assert_false(o.model->weights[0].tied);
    close_model(&o);
}

/* Frequency factors that only the configuration holds become a weight that a GGUF can carry. */
static void test_model__llama3_factors_are_a_weight(void **state) {
    opened o = open_model(FAMILY("llama3-scaling"));
    const opt_weight *w = &o.model->weights[0];
    float factors[8];
    (void)state;
    assert_string_equal(w->name, "rope_freqs.weight");
    assert_true(w->computed);
    assert_int_equal(w->role, OPT_ROLE_OTHER);
    assert_int_equal(w->n_dims, 1);
    assert_int_equal(w->dims[0], 8);
    opt_weight_decode_rows(w, opt_kern_get(o.ctx), 0, 1, factors);
    /* theta 5e5, original length 64, factors 1 and 4: wavelengths below 16 stay, above 64 grow
     * by 8. */
    assert_true(factors[0] == 1.0F);
    assert_true(factors[1] > 1.0F && factors[1] < 8.0F);
    for (int i = 2; i < 8; i++) {
        assert_true(factors[i] == 8.0F);
    }
    close_model(&o);
}

/* general.name of what is written: the directory's name, however the path is spelled. */
static void test_model__name_is_no_path(void **state) {
    static const char *const paths[] = {FAMILY("qwen2"), FAMILY("qwen2/"), FAMILY("qwen2///"),
                                        FAMILY("qwen2/model.safetensors"),
                                        FAMILY("qwen2//model.safetensors")};
    char cwd[1024];
    (void)state;
    for (int i = 0; i < COUNT_OF(paths); i++) {
        opened o = open_model(paths[i]);
        assert_string_equal(o.model->name, "qwen2");
        close_model(&o);
    }
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(FAMILY("qwen2")), 0);
    static const char *const here[] = {".", "./", "model.safetensors", "../qwen2/."};
    for (int i = 0; i < COUNT_OF(here); i++) {
        opened o = open_model(here[i]);
        assert_string_equal(o.model->name, "model");
        close_model(&o);
    }
    assert_int_equal(chdir(cwd), 0);
}

/* ---- row order ---- */

static void test_model__rows_of_q_and_k_are_interleaved(void **state) {
    opened o = open_model(FAMILY("llama-untied-bias"));
    const opt_kern *k = opt_kern_get(o.ctx);
    static const char *const names[] = {"blk.1.attn_q.weight", "blk.1.attn_k.weight"};
    (void)state;
    for (int n = 0; n < COUNT_OF(names); n++) {
        const opt_weight *w = &o.model->weights[opt_model_find_weight(o.model, names[n])];
        const int64_t n_cols = w->dims[1], head_dim = w->dims[0] / w->permute_heads;
        float *rows = malloc((size_t)(w->dims[0] * n_cols) * sizeof *rows);
        float *source = malloc((size_t)(w->dims[0] * n_cols) * sizeof *source);
        uint8_t *stored = malloc(w->tensor->bytes);
        const size_t row_bytes = w->tensor->bytes / (size_t)w->dims[0];
        assert_true(rows != NULL && source != NULL && stored != NULL);
        assert_int_equal(w->permute_heads, 4);
        opt_weight_decode_rows(w, k, 0, 5, rows); /* in two goes: an odd split */
        opt_weight_decode_rows(w, k, 5, w->dims[0] - 5, rows + 5 * n_cols);
        opt_tensor_decode_rows(w->tensor, k, 0, w->dims[0], source);
        opt_weight_copy_rows(w, 0, 3, stored);
        opt_weight_copy_rows(w, 3, w->dims[0] - 3, stored + 3 * row_bytes);
        for (int64_t h = 0; h < w->permute_heads; h++) {
            for (int64_t s = 0; s < 2; s++) {
                for (int64_t i = 0; i < head_dim / 2; i++) { /* the rule as graph.h states it */
                    const int64_t from = h * head_dim + s * (head_dim / 2) + i;
                    const int64_t to = h * head_dim + 2 * i + s;
                    assert_memory_equal(rows + to * n_cols, source + from * n_cols,
                                        (size_t)n_cols * sizeof *rows);
                    assert_memory_equal(stored + (size_t)to * row_bytes,
                                        opt_tensor_row(w->tensor, from), row_bytes);
                }
            }
        }
        free(stored);
        free(source);
        free(rows);
    }
    close_model(&o);
}

static void test_model__biases_of_q_and_k_are_interleaved(void **state) {
    opened o = open_model(FAMILY("llama-untied-bias"));
    const opt_kern *k = opt_kern_get(o.ctx);
    const opt_weight *w = &o.model->weights[opt_model_find_weight(o.model, "blk.0.attn_q.bias")];
    const int64_t head_dim = w->dims[0] / w->permute_heads;
    float values[64], source[64], stored[64];
    (void)state;
    assert_int_equal(w->dims[0], 64);
    assert_ptr_equal(w->tensor->format, &opt_format_f32);
    opt_weight_decode_rows(w, k, 0, 1, values);
    opt_weight_copy_rows(w, 0, 1, (uint8_t *)stored);
    opt_tensor_decode_rows(w->tensor, k, 0, 1, source);
    assert_memory_equal(values, stored, sizeof values);
    for (int64_t from = 0; from < 64; from++) {
        const int64_t h = from / head_dim, s = from % head_dim / (head_dim / 2);
        const int64_t i = from % (head_dim / 2);
        assert_true(values[h * head_dim + 2 * i + s] == source[from]);
    }
    close_model(&o);
}

static void test_model__other_rows_stay(void **state) {
    opened o = open_model(FAMILY("llama-untied-bias"));
    const opt_weight *w = &o.model->weights[opt_model_find_weight(o.model, "blk.0.attn_v.weight")];
    const size_t row_bytes = w->tensor->bytes / (size_t)w->dims[0];
    uint8_t rows[3 * 128];
    (void)state;
    assert_int_equal(w->permute_heads, 0);
    assert_int_equal(row_bytes, 128);
    opt_weight_copy_rows(w, 7, 3, rows);
    assert_memory_equal(rows, opt_tensor_row(w->tensor, 7), sizeof rows);
    close_model(&o);
}

/* ---- binding ---- */

static opt_status open_edited(opt_ctx *ctx, const char *dir, const checkpoint_edit *edit,
                              opt_model **model, opt_source **source) {
    checkpoint_copy(ctx, FAMILY("llama-untied-bias"), dir, edit);
    assert_int_equal(opt_source_open(ctx, dir, source), OPT_OK);
    return opt_model_open(ctx, *source, model);
}

static void test_model__binding_errors(void **state) {
    static const struct {
        checkpoint_edit edit;
        opt_status status;
        const char *object; /* NULL: the directory */
        const char *message;
    } rows[] = {
        {{.drop = "model.norm.weight"},
         OPT_ERR_INPUT,
         NULL,
         "tensor \"model.norm.weight\" is missing (architecture llama)"},
        {{.drop = "lm_head.weight"}, OPT_ERR_INPUT, NULL, "tensor \"lm_head.weight\" is missing"},
        {{.drop = "model.layers.1.mlp.up_proj.bias"},
         OPT_ERR_INPUT,
         NULL,
         "tensor \"model.layers.1.mlp.up_proj.bias\" is missing"},
        {{.add = "model.layers.2.mlp.up_proj.weight"},
         OPT_ERR_INPUT,
         NULL,
         "1 tensor(s) are not part of architecture llama, the first is "
         "\"model.layers.2.mlp.up_proj.weight\""},
        {{.add = "score.weight"}, OPT_ERR_INPUT, NULL, "the first is \"score.weight\""},
        {{.reshape = "model.layers.0.mlp.down_proj.weight"},
         OPT_ERR_INPUT,
         "model.layers.0.mlp.down_proj.weight",
         "shape is [112, 64], but the configuration says [64, 112]"},
        {{.reshape = "model.norm.weight"},
         OPT_ERR_INPUT,
         "model.norm.weight",
         "shape is [64, 1], but the configuration says [64]"},
        {{.as_i32 = "model.norm.weight"},
         OPT_ERR_UNSUPPORTED,
         "model.norm.weight",
         "weights of type i32 cannot be used"},
        {{.no_config = true}, OPT_ERR_INPUT, NULL, "there is no config.json"},
        {{.config = "{\"model_type\": \"gpt2\"}"},
         OPT_ERR_UNSUPPORTED,
         "config.json",
         "model_type \"gpt2\" is not supported"},
    };
    char dir[256], config[300];
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_source *source = NULL;
        opt_model *model = NULL;
        test_make_dir(dir, sizeof dir);
        snprintf(config, sizeof config, "%s/config.json", dir);
        const char *object = rows[i].object == NULL ? dir : rows[i].object;
        object = strcmp(object, "config.json") == 0 ? config : object;
        assert_int_equal(open_edited(ctx, dir, &rows[i].edit, &model, &source), rows[i].status);
        assert_null(model);
        assert_error(ctx, rows[i].status, object, rows[i].message);
        opt_source_close(source);
        opt_ctx_free(ctx);
        test_remove_dir(dir);
    }
}

/* Tensors that a checkpoint may hold though nobody needs them. */
static void test_model__dropped_tensors(void **state) {
    char dir[256];
    const checkpoint_edit edit = {.add = "model.layers.0.self_attn.rotary_emb.inv_freq"};
    opt_ctx *ctx = test_ctx(1);
    opt_source *source = NULL;
    opt_model *model = NULL;
    (void)state;
    test_make_dir(dir, sizeof dir);
    assert_int_equal(open_edited(ctx, dir, &edit, &model, &source), OPT_OK);
    assert_int_equal(model->n_dropped, 1);
    assert_string_equal(model->dropped[0].tensor, edit.add);
    assert_non_null(strstr(model->dropped[0].reason, "computed from the configuration"));
    opt_model_free(model);
    opt_source_close(source);
    opt_ctx_free(ctx);
    test_remove_dir(dir);
}

/* transformers uses the embedding where the configuration says "tied", whatever lm_head holds. */
static void test_model__tied_copy_is_dropped(void **state) {
    char dir[256], config[4096];
    opt_ctx *ctx = test_ctx(1);
    opt_buf *text = NULL;
    opt_source *source = NULL;
    opt_model *model = NULL;
    (void)state;
    assert_int_equal(opt_source_open(ctx, FAMILY("llama-untied-bias"), &source), OPT_OK);
    assert_int_equal(opt_source_side_file(source, "config.json", &text), OPT_OK);
    snprintf(config, sizeof config, "%.*s", (int)text->bytes, (const char *)text->data);
    opt_buf_release(text);
    opt_source_close(source);
    char *value = strstr(config, "\"tie_word_embeddings\": false");
    assert_non_null(value);
    memcpy(value, "\"tie_word_embeddings\":  true", strlen("\"tie_word_embeddings\":  true"));
    test_make_dir(dir, sizeof dir);
    assert_int_equal(open_edited(ctx, dir, &(checkpoint_edit){.config = config}, &model, &source),
                     OPT_OK);
    assert_int_equal(model->n_dropped, 1);
    assert_string_equal(model->dropped[0].tensor, "lm_head.weight");
    assert_true(model->weights[0].tied);
    assert_int_equal(model->nodes[model->logits].weights[0], 0);
    opt_model_free(model);
    opt_source_close(source);
    opt_ctx_free(ctx);
    test_remove_dir(dir);
}

/* ---- metadata ---- */

static int64_t number(const opt_kv *kv, const char *key) {
    const opt_kv_entry *entry = opt_kv_find(kv, key);
    if (entry == NULL) {
        fail_msg("key %s is missing", key);
        return -1;
    }
    assert_int_equal(entry->type, OPT_KV_U32);
    return opt_kv_elem_i64(entry, 0);
}

static void test_model__metadata_of_mistral(void **state) {
    opened o = open_model(FAMILY("mistral"));
    opt_kv *kv = NULL;
    const char *text = NULL;
    (void)state;
    assert_int_equal(opt_kv_new(o.ctx, &kv), OPT_OK);
    assert_int_equal(opt_model_to_kv(o.ctx, o.model, kv), OPT_OK);
    assert_int_equal(opt_kv_get_str(o.ctx, kv, "general.architecture", true, &text), OPT_OK);
    assert_string_equal(text, "llama");
    assert_int_equal(opt_kv_get_str(o.ctx, kv, "general.name", true, &text), OPT_OK);
    assert_string_equal(text, "mistral");
    assert_int_equal(number(kv, "llama.block_count"), 2);
    assert_int_equal(number(kv, "llama.context_length"), 512);
    assert_int_equal(number(kv, "llama.embedding_length"), 56);
    assert_int_equal(number(kv, "llama.feed_forward_length"), 96);
    assert_int_equal(number(kv, "llama.attention.head_count"), 4);
    assert_int_equal(number(kv, "llama.attention.head_count_kv"), 2);
    assert_int_equal(number(kv, "llama.attention.key_length"), 24);
    assert_int_equal(number(kv, "llama.rope.dimension_count"), 24);
    assert_int_equal(number(kv, "llama.attention.sliding_window"), 16);
    assert_int_equal(number(kv, "llama.vocab_size"), 512);
    assert_int_equal(opt_ctx_n_warnings(o.ctx), 1);
    assert_non_null(strstr(opt_ctx_warning(o.ctx, 0), "ignores the sliding window of 16"));
    opt_kv_free(kv);
    close_model(&o);
}

static void test_model__metadata_of_windows_and_scaling(void **state) {
    opened o = open_model(FAMILY("qwen2-sliding"));
    opt_kv *kv = NULL;
    (void)state;
    assert_int_equal(opt_kv_new(o.ctx, &kv), OPT_OK);
    assert_int_equal(opt_model_to_kv(o.ctx, o.model, kv), OPT_OK);
    const opt_kv_entry *pattern = opt_kv_find(kv, "qwen2.attention.sliding_window_pattern");
    assert_non_null(pattern);
    assert_int_equal(pattern->elem, OPT_KV_BOOL);
    assert_int_equal(pattern->n, 3);
    assert_int_equal(opt_kv_elem_i64(pattern, 0), 0);
    assert_int_equal(opt_kv_elem_i64(pattern, 1), 1);
    opt_kv_free(kv);
    close_model(&o);

    o = open_model(FAMILY("llama-linear-scaling"));
    const char *type = NULL;
    double factor = 0;
    assert_int_equal(opt_kv_new(o.ctx, &kv), OPT_OK);
    assert_int_equal(opt_model_to_kv(o.ctx, o.model, kv), OPT_OK);
    assert_int_equal(opt_kv_get_str(o.ctx, kv, "llama.rope.scaling.type", true, &type), OPT_OK);
    assert_string_equal(type, "linear");
    assert_int_equal(opt_kv_get_f64(o.ctx, kv, "llama.rope.scaling.factor", true, &factor), OPT_OK);
    assert_true(factor == 4.0);
    assert_int_equal(opt_ctx_n_warnings(o.ctx), 0);
    opt_kv_free(kv);
    close_model(&o);
}

/* ---- the builder ---- */

static void test_model__builder_errors_stick(void **state) {
    opened o = open_model(FAMILY("llama"));
    opt_model m = *o.model;
    opt_builder *b = NULL;
    const int tokens = OPT_NODE_TOKENS, far = 7;
    (void)state;
    m.nodes = NULL;
    m.weights = NULL;
    m.n_nodes = m.n_weights = m.n_caches = 0;
    assert_int_equal(opt_builder_new(o.ctx, &m, &b), OPT_OK);
    const opt_weight_decl d = {"token_embd", "weight", -1, OPT_ROLE_EMBEDDING, 2, {512, 64}, 0};
    const int w = opt_build_weight(b, &d);
    assert_int_equal(w, 0);
    const opt_node_params none = {.custom = NULL};
    assert_int_equal(opt_build_node(b, &opt_op_embed, -1, "x", &tokens, 1, &w, 1, none), 0);
    assert_int_equal(opt_build_node(b, &opt_op_linear, -1, "y", &far, 1, &w, 1, none), -1);
    assert_error(o.ctx, OPT_ERR_BUG, "y", "input 0 is no earlier node");
    assert_int_equal(opt_build_node(b, &opt_op_embed, -1, "z", &tokens, 1, &w, 1, none), -1);
    assert_int_equal(opt_build_weight(b, &d), -1);
    assert_null(opt_build_name(b, 0, "q"));
    assert_int_equal(opt_builder_finish(b, 0), OPT_ERR_BUG);
    opt_builder_free(b);
    close_model(&o);
}

static void test_model__builder_checks_nodes(void **state) {
    static const struct {
        const opt_op *op;
        int n_in, n_weights;
        const char *name, *message;
    } rows[] = {
        {&opt_op_embed, 0, 1, "y", "op embed does not take 0 inputs"},
        {&opt_op_linear, 1, 0, "y", "op linear needs its weight"},
        {&opt_op_linear, 1, 1, "x", "two nodes have this name"},
        {&opt_op_rms_norm, 1, 1, "y", "op rms_norm: shapes do not agree"},
        {&opt_op_embed, 1, 1, "y", "op embed: shapes do not agree"},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opened o = open_model(FAMILY("llama"));
        opt_model m = *o.model;
        opt_builder *b = NULL;
        const int tokens = OPT_NODE_TOKENS;
        m.nodes = NULL;
        m.weights = NULL;
        m.n_nodes = m.n_weights = 0;
        assert_int_equal(opt_builder_new(o.ctx, &m, &b), OPT_OK);
        const opt_weight_decl d = {"token_embd", "weight", -1, OPT_ROLE_EMBEDDING, 2, {512, 64}, 0};
        const int w = opt_build_weight(b, &d);
        const opt_node_params none = {.custom = NULL};
        const int x = opt_build_node(b, &opt_op_embed, -1, "x", &tokens, 1, &w, 1, none);
        assert_int_equal(opt_build_node(b, rows[i].op, -1, rows[i].name, &x, rows[i].n_in, &w,
                                        rows[i].n_weights, none),
                         -1);
        assert_error(o.ctx, OPT_ERR_BUG, rows[i].name, rows[i].message);
        assert_int_equal(opt_builder_finish(b, x), OPT_ERR_BUG);
        opt_builder_free(b);
        close_model(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__graph_of_a_block),
        cmocka_unit_test(test_model__weights_in_file_order),
        cmocka_unit_test(test_model__untied_head_is_the_last_weight),
        cmocka_unit_test(test_model__llama3_factors_are_a_weight),
        cmocka_unit_test(test_model__name_is_no_path),
        cmocka_unit_test(test_model__rows_of_q_and_k_are_interleaved),
        cmocka_unit_test(test_model__biases_of_q_and_k_are_interleaved),
        cmocka_unit_test(test_model__other_rows_stay),
        cmocka_unit_test(test_model__binding_errors),
        cmocka_unit_test(test_model__dropped_tensors),
        cmocka_unit_test(test_model__tied_copy_is_dropped),
        cmocka_unit_test(test_model__metadata_of_mistral),
        cmocka_unit_test(test_model__metadata_of_windows_and_scaling),
        cmocka_unit_test(test_model__builder_errors_stick),
        cmocka_unit_test(test_model__builder_checks_nodes),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
