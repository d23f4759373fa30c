/** A Llama checkpoint of a few thousand weights, made in a directory, with single weights as a test
 * wants them. */
#ifndef OPT_TESTS_UNIT_TINY_CHECKPOINT_H
#define OPT_TESTS_UNIT_TINY_CHECKPOINT_H

#include <math.h>

#include "base/rng.h"
#include "io/safetensors_write.h"
#include "support.h"

#define TINY_EMBD 32
#define TINY_VOCAB 48

typedef struct tiny_options {
    int64_t n_ff;       /* 0: 40 */
    bool untied;        /* an output head of its own */
    const char *tensor; /* source name of a tensor with special values; NULL: none */
    int64_t at[3];      /* elements; -1: unused */
    float value;
    const char *extra; /* name of a tensor that no model has; NULL: none */
} tiny_options;

typedef struct tiny_tensor {
    const char *name;
    int n_dims;
    int64_t dims[2];
} tiny_tensor;

/** Values of a tensor: normal with the scale of trained weights, norms around 1. */
static inline void tiny_values(const tiny_options *o, const tiny_tensor *t, float *x, int64_t n) {
    const uint64_t key = opt_rng_key(1, t->name, "tiny");
    for (int64_t i = 0; i < n; i++) {
        const double z = opt_rng_normal(key, (uint64_t)i);
        x[i] = (float)(t->n_dims == 1 ? 1 + 0.1 * z : 0.2 * z);
    }
    if (o->tensor != NULL && strcmp(o->tensor, t->name) == 0) {
        for (int i = 0; i < 3; i++) {
            if (o->at[i] >= 0) {
                x[o->at[i]] = o->value;
            }
        }
    }
}

static inline void tiny_config(const char *dir, const tiny_options *o, int64_t n_ff) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(
        f,
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": "
        "\"silu\","
        " \"hidden_size\": %d, \"intermediate_size\": %lld, \"num_hidden_layers\": 1,"
        " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64,"
        " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": %s, "
        "\"vocab_size\": %d}",
        TINY_EMBD, (long long)n_ff, o->untied ? "false" : "true", TINY_VOCAB);
    assert_int_equal(fclose(f), 0);
}

/** Writes config.json and model.safetensors to `dir`, which exists. */
static inline void tiny_write(opt_ctx *ctx, const char *dir, const tiny_options *o) {
    const int64_t n_ff = o->n_ff > 0 ? o->n_ff : 40;
    const tiny_tensor all[] = {
        {"model.embed_tokens.weight", 2, {TINY_VOCAB, TINY_EMBD}},
        {"model.layers.0.input_layernorm.weight", 1, {TINY_EMBD, 0}},
        {"model.layers.0.mlp.down_proj.weight", 2, {TINY_EMBD, n_ff}},
        {"model.layers.0.mlp.gate_proj.weight", 2, {n_ff, TINY_EMBD}},
        {"model.layers.0.mlp.up_proj.weight", 2, {n_ff, TINY_EMBD}},
        {"model.layers.0.post_attention_layernorm.weight", 1, {TINY_EMBD, 0}},
        {"model.layers.0.self_attn.k_proj.weight", 2, {TINY_EMBD / 2, TINY_EMBD}},
        {"model.layers.0.self_attn.o_proj.weight", 2, {TINY_EMBD, TINY_EMBD}},
        {"model.layers.0.self_attn.q_proj.weight", 2, {TINY_EMBD, TINY_EMBD}},
        {"model.layers.0.self_attn.v_proj.weight", 2, {TINY_EMBD / 2, TINY_EMBD}},
        {"model.norm.weight", 1, {TINY_EMBD, 0}},
        {"lm_head.weight", 2, {TINY_VOCAB, TINY_EMBD}},
        {o->extra, 1, {4, 0}},
    };
    tiny_tensor used[COUNT_OF(all)];
    opt_st_decl decls[COUNT_OF(all)];
    int n = 0;
    for (int i = 0; i < COUNT_OF(all); i++) {
        if (all[i].name == NULL || (strcmp(all[i].name, "lm_head.weight") == 0 && !o->untied)) {
            continue;
        }
        used[n] = all[i];
        decls[n] =
            (opt_st_decl){.name = all[i].name, .format = &opt_format_f32, .n_dims = all[i].n_dims};
        memcpy(decls[n].dims, all[i].dims, sizeof all[i].dims);
        n++;
    }
    char path[512];
    (void)snprintf(path, sizeof path, "%s/model.safetensors", dir);
    opt_st_writer *w = NULL;
    assert_int_equal(opt_st_create(ctx, path, true, NULL, decls, n, &w), OPT_OK);
    for (int i = 0; i < n; i++) {
        const int64_t elems = used[i].dims[0] * (used[i].n_dims == 2 ? used[i].dims[1] : 1);
        float *x = calloc((size_t)elems, sizeof *x);
        assert_non_null(x);
        tiny_values(o, &used[i], x, elems);
        assert_int_equal(opt_st_append(w, i, x, (size_t)elems * sizeof *x), OPT_OK);
        free(x);
    }
    assert_int_equal(opt_st_commit(w), OPT_OK);
    tiny_config(dir, o, n_ff);
}

#endif
