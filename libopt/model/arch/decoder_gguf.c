#include "model/arch/decoder.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* "<prefix>.<name>" in a buffer of the caller; the names here are short constants. */
typedef struct keyname {
    char text[96];
} keyname;

static const char *key(keyname *k, const char *prefix, const char *name) {
    (void)snprintf(k->text, sizeof k->text, "%s.%s", prefix, name);
    return k->text;
}

static opt_status get_i64(opt_ctx *ctx, const opt_kv *kv, const char *prefix, const char *name,
                          bool required, int64_t max, int64_t *out) {
    keyname k;
    return opt_kv_get_i64(ctx, kv, key(&k, prefix, name), required, 1, max, out);
}

static opt_status get_f64(opt_ctx *ctx, const opt_kv *kv, const char *prefix, const char *name,
                          bool required, double min, double max, double *out) {
    keyname k;
    double v = *out;
    const opt_status st = opt_kv_get_f64(ctx, kv, key(&k, prefix, name), required, &v);
    if (st != OPT_OK) {
        return st;
    }
    if (!(v >= min && v <= max)) {
        return opt_fail(ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                        "key \"%s\" is %g, expected %g ... %g", k.text, v, min, max);
    }
    *out = v;
    return OPT_OK;
}

/* A number, or an array of the same number for every layer. */
static opt_status get_per_layer(opt_ctx *ctx, const opt_kv *kv, const char *prefix,
                                const char *name, bool required, int64_t n_layers, int64_t max,
                                int64_t *out) {
    keyname k;
    const opt_kv_entry *e = opt_kv_find(kv, key(&k, prefix, name));
    if (e == NULL || e->type != OPT_KV_ARRAY) {
        return get_i64(ctx, kv, prefix, name, required, max, out);
    }
    if (e->elem == OPT_KV_STRING || e->elem == OPT_KV_F32 || e->elem == OPT_KV_F64 ||
        e->n != (size_t)n_layers) {
        return opt_fail(ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                        "key \"%s\" must hold one integer for each of %" PRId64 " layers", k.text,
                        n_layers);
    }
    const int64_t first = opt_kv_elem_i64(e, 0);
    for (size_t i = 0; i < e->n; i++) {
        if (opt_kv_elem_i64(e, i) != first) {
            return opt_fail(ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                            "\"%s\" differs between layers", k.text);
        }
    }
    if (first < 1 || first > max) {
        return opt_fail(ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                        "key \"%s\" is %" PRId64 ", expected 1 ... %" PRId64, k.text, first, max);
    }
    *out = first;
    return OPT_OK;
}

static opt_status read_rope(opt_ctx *ctx, const opt_kv *kv, const char *prefix, opt_hparams *hp) {
    opt_status st = OPT_OK;
    keyname k;
    const char *type = "none";
    double factor = 0.0;
    int64_t n_rot = hp->head_dim;
    hp->rope_theta = 10000.0;
    OPT_TRY(get_f64(ctx, kv, prefix, "rope.freq_base", false, 1.0, 1e15, &hp->rope_theta));
    OPT_TRY(
        get_i64(ctx, kv, prefix, "rope.dimension_count", false, OPT_DECODER_MAX_HEAD_DIM, &n_rot));
    OPT_REQUIRE(n_rot == hp->head_dim, ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                "rope.dimension_count %" PRId64 " is not supported (expected the head size %" PRId64
                ")",
                n_rot, hp->head_dim);
    OPT_TRY(get_f64(ctx, kv, prefix, "rope.scale_linear", false, 0.0, 1e6,
                    &factor)); /* files before 2023-11 */
    if (factor != 0.0) {
        type = "linear";
    }
    OPT_TRY(get_f64(ctx, kv, prefix, "rope.scaling.factor", false, 0.0, 1e6, &factor));
    OPT_TRY(opt_kv_get_str(ctx, kv, key(&k, prefix, "rope.scaling.type"), false, &type));
    const bool linear = strcmp(type, "linear") == 0;
    OPT_REQUIRE(linear || strcmp(type, "none") == 0, ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                "rotary scaling \"%.32s\" is not supported (supported: none, linear)", type);
    if (linear && factor != 0.0 &&
        factor != 1.0) { /* 0: not given, which stock readers take for 1 */
        hp->rope_scaling = OPT_ROPE_LINEAR;
        hp->rope_factor = factor;
    }
done:
    return st;
}

static opt_status read_windows(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv, const char *prefix,
                               opt_hparams *hp) {
    opt_status st = OPT_OK;
    keyname k;
    OPT_TRY(opt_kv_get_i64(ctx, kv, key(&k, prefix, "attention.sliding_window"), false, 0,
                           OPT_DECODER_MAX_CTX, &hp->sliding_window));
    const opt_kv_entry *e = opt_kv_find(kv, key(&k, prefix, "attention.sliding_window_pattern"));
    if (hp->sliding_window == 0 || e == NULL) {
        goto done;
    }
    OPT_REQUIRE(e->type == OPT_KV_ARRAY && e->elem == OPT_KV_BOOL && e->n == (size_t)hp->n_layers,
                ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                "\"%s\" must hold one bool for each of %" PRId64 " layers", k.text, hp->n_layers);
    bool *slides = opt_arena_array(arena, e->n, sizeof *slides);
    OPT_TRY_PTR(slides);
    for (size_t i = 0; i < e->n; i++) {
        slides[i] = opt_kv_elem_i64(e, i) != 0;
    }
    hp->layer_slides = slides;
done:
    return st;
}

/* The vocabulary's size: the key, else the token list; the embedding's shape is checked against it.
 */
static opt_status read_vocab(opt_ctx *ctx, const opt_kv *kv, const char *prefix, opt_hparams *hp) {
    keyname k;
    const opt_kv_entry *tokens = opt_kv_find(kv, "tokenizer.ggml.tokens");
    if (opt_kv_find(kv, key(&k, prefix, "vocab_size")) == NULL && tokens != NULL &&
        tokens->type == OPT_KV_ARRAY && tokens->n >= 1 &&
        tokens->n <= (size_t)OPT_DECODER_MAX_VOCAB) {
        hp->n_vocab = (int64_t)tokens->n;
        return OPT_OK;
    }
    return get_i64(ctx, kv, prefix, "vocab_size", true, OPT_DECODER_MAX_VOCAB, &hp->n_vocab);
}

static opt_status refuse_experts(opt_ctx *ctx, const opt_kv *kv, const char *prefix) {
    keyname k;
    int64_t n = 0;
    const opt_status st =
        opt_kv_get_i64(ctx, kv, key(&k, prefix, "expert_count"), false, 0, INT32_MAX, &n);
    if (st == OPT_OK && n > 0) {
        return opt_fail(ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                        "mixture of experts (\"%s\": %" PRId64 ") is not supported", k.text, n);
    }
    return st;
}

opt_status opt_decoder_config_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv,
                                   const char *prefix, opt_hparams *hp) {
    opt_status st = OPT_OK;
    const char *file = opt_kv_origin(kv);
    int64_t value_length = 0;
    OPT_TRY(refuse_experts(ctx, kv, prefix));
    OPT_TRY(get_i64(ctx, kv, prefix, "block_count", true, OPT_DECODER_MAX_LAYERS, &hp->n_layers));
    OPT_TRY(
        get_i64(ctx, kv, prefix, "context_length", true, OPT_DECODER_MAX_CTX, &hp->n_ctx_train));
    OPT_TRY(get_i64(ctx, kv, prefix, "embedding_length", true, OPT_DECODER_MAX_WIDTH, &hp->n_embd));
    OPT_TRY(get_per_layer(ctx, kv, prefix, "feed_forward_length", true, hp->n_layers,
                          OPT_DECODER_MAX_WIDTH, &hp->n_ff));
    OPT_TRY(get_per_layer(ctx, kv, prefix, "attention.head_count", true, hp->n_layers,
                          OPT_DECODER_MAX_HEADS, &hp->n_heads));
    hp->n_heads_kv = hp->n_heads;
    OPT_TRY(get_per_layer(ctx, kv, prefix, "attention.head_count_kv", false, hp->n_layers,
                          OPT_DECODER_MAX_HEADS, &hp->n_heads_kv));
    OPT_TRY(get_f64(ctx, kv, prefix, "attention.layer_norm_rms_epsilon", true, 0.0, 1.0,
                    &hp->norm_eps));
    OPT_TRY(get_i64(ctx, kv, prefix, "attention.key_length", false, OPT_DECODER_MAX_HEAD_DIM,
                    &hp->head_dim));
    OPT_REQUIRE(hp->head_dim != 0 || hp->n_embd % hp->n_heads == 0, ctx, OPT_ERR_INPUT, file,
                "embedding_length %" PRId64 " is no multiple of attention.head_count %" PRId64,
                hp->n_embd, hp->n_heads);
    hp->head_dim = hp->head_dim != 0 ? hp->head_dim : hp->n_embd / hp->n_heads;
    value_length = hp->head_dim;
    OPT_TRY(get_i64(ctx, kv, prefix, "attention.value_length", false, OPT_DECODER_MAX_HEAD_DIM,
                    &value_length));
    OPT_REQUIRE(value_length == hp->head_dim, ctx, OPT_ERR_UNSUPPORTED, file,
                "attention.value_length %" PRId64
                " is not supported (expected the head size %" PRId64 ")",
                value_length, hp->head_dim);
    OPT_TRY(read_vocab(ctx, kv, prefix, hp));
    OPT_TRY(read_rope(ctx, kv, prefix, hp));
    OPT_TRY(read_windows(ctx, arena, kv, prefix, hp));
    OPT_TRY(opt_decoder_check(ctx, file, hp));
done:
    return st;
}

/* ---- writing ---- */

static opt_status set_u32(opt_kv *kv, const char *prefix, const char *name, int64_t v) {
    keyname k;
    return opt_kv_set_u32(kv, key(&k, prefix, name), (uint32_t)v);
}

static opt_status set_f32(opt_kv *kv, const char *prefix, const char *name, double v) {
    keyname k;
    return opt_kv_set_f32(kv, key(&k, prefix, name), (float)v);
}

static opt_status write_windows(opt_ctx *ctx, const opt_model *m, opt_kv *kv) {
    opt_status st = OPT_OK;
    keyname k;
    const opt_hparams *hp = &m->hp;
    const char *prefix = m->arch->gguf_name;
    uint8_t *pattern = NULL;
    if (hp->sliding_window == 0) {
        goto done;
    }
    OPT_TRY(set_u32(kv, prefix, "attention.sliding_window", hp->sliding_window));
    if (hp->layer_slides != NULL) {
        pattern = opt_alloc(ctx, (size_t)hp->n_layers);
        OPT_TRY_PTR(pattern);
        for (int64_t i = 0; i < hp->n_layers; i++) {
            pattern[i] = hp->layer_slides[i] ? 1 : 0;
        }
        OPT_TRY(opt_kv_set_array(kv, key(&k, prefix, "attention.sliding_window_pattern"),
                                 OPT_KV_BOOL, pattern, (size_t)hp->n_layers));
    }
    if (hp->sliding_window < hp->n_ctx_train) {
        opt_warn(ctx, m->name,
                 "stock llama.cpp ignores the sliding window of %" PRId64
                 " positions for architecture %s: "
                 "its results differ beyond that length",
                 hp->sliding_window, prefix);
    }
done:
    opt_free(ctx, pattern);
    return st;
}

opt_status opt_decoder_to_kv(opt_ctx *ctx, const opt_model *m, opt_kv *kv) {
    opt_status st = OPT_OK;
    keyname k;
    const opt_hparams *hp = &m->hp;
    const char *prefix = m->arch->gguf_name;
    OPT_TRY(set_u32(kv, prefix, "block_count", hp->n_layers));
    OPT_TRY(set_u32(kv, prefix, "context_length", hp->n_ctx_train));
    OPT_TRY(set_u32(kv, prefix, "embedding_length", hp->n_embd));
    OPT_TRY(set_u32(kv, prefix, "feed_forward_length", hp->n_ff));
    OPT_TRY(set_u32(kv, prefix, "attention.head_count", hp->n_heads));
    OPT_TRY(set_u32(kv, prefix, "attention.head_count_kv", hp->n_heads_kv));
    OPT_TRY(set_f32(kv, prefix, "attention.layer_norm_rms_epsilon", hp->norm_eps));
    OPT_TRY(set_u32(kv, prefix, "attention.key_length", hp->head_dim));
    OPT_TRY(set_u32(kv, prefix, "attention.value_length", hp->head_dim));
    OPT_TRY(set_u32(kv, prefix, "rope.dimension_count", hp->head_dim));
    OPT_TRY(set_f32(kv, prefix, "rope.freq_base", hp->rope_theta));
    if (hp->rope_scaling == OPT_ROPE_LINEAR) {
        OPT_TRY(opt_kv_set_str(kv, key(&k, prefix, "rope.scaling.type"), "linear"));
        OPT_TRY(set_f32(kv, prefix, "rope.scaling.factor", hp->rope_factor));
    }
    OPT_TRY(set_u32(kv, prefix, "vocab_size", hp->n_vocab));
    OPT_TRY(write_windows(ctx, m, kv));
    if (opt_model_find_weight(m, "rope_freqs.weight") >= 0 && strcmp(prefix, "llama") != 0) {
        opt_warn(ctx, m->name,
                 "stock llama.cpp knows rotary frequency factors (rope_freqs) for architecture "
                 "llama only: "
                 "it will refuse the file");
    }
done:
    return st;
}
