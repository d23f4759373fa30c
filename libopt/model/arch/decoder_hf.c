#include "model/arch/decoder.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Members whose presence means a feature that the dense decoders here do not have; null or
 * `harmless` is fine. */
static opt_status refuse_features(opt_ctx *ctx, const char *file, const opt_json *json) {
    static const char *const counts[] = {"num_local_experts", "num_experts", "n_routed_experts"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t n = 0;
        if (opt_json_i64(opt_json_get(json, counts[i]), &n) && n > 1) {
            return opt_fail(ctx, OPT_ERR_UNSUPPORTED, file,
                            "mixture of experts (\"%s\": %lld) is not supported", counts[i],
                            (long long)n);
        }
    }
    double partial = 1.0;
    if (opt_json_f64(opt_json_get(json, "partial_rotary_factor"), &partial) && partial != 1.0) {
        return opt_fail(ctx, OPT_ERR_UNSUPPORTED, file,
                        "partial_rotary_factor %g is not supported (expected 1)", partial);
    }
    return OPT_OK;
}

static opt_status read_activation(opt_ctx *ctx, const char *file, const opt_json *json) {
    opt_status st = OPT_OK;
    const char *act = "silu";
    OPT_TRY(opt_json_need_str(ctx, file, json, "hidden_act", false, &act));
    OPT_REQUIRE(strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0, ctx, OPT_ERR_UNSUPPORTED,
                file, "hidden_act \"%.32s\" is not supported (supported: silu)", act);
done:
    return st;
}

/* Rotary scaling from `p`: rope_scaling, or the rope_parameters of transformers 5. */
static opt_status read_rope_scaling(opt_ctx *ctx, const char *file, const opt_json *p,
                                    opt_hparams *hp) {
    opt_status st = OPT_OK;
    const char *type = NULL;
    if (opt_json_type_of(p) != OPT_JSON_OBJECT) {
        goto done;
    }
    OPT_TRY(opt_json_need_str(ctx, file, p, "rope_type", false, &type));
    if (type == NULL) {
        OPT_TRY(opt_json_need_str(ctx, file, p, "type", false, &type));
    }
    if (type == NULL || strcmp(type, "default") == 0) {
        goto done;
    }
    const bool llama3 = strcmp(type, "llama3") == 0;
    OPT_REQUIRE(llama3 || strcmp(type, "linear") == 0, ctx, OPT_ERR_UNSUPPORTED, file,
                "rotary scaling \"%.32s\" is not supported (supported: default, linear, llama3)",
                type);
    hp->rope_scaling = llama3 ? OPT_ROPE_LLAMA3 : OPT_ROPE_LINEAR;
    OPT_TRY(opt_json_need_f64(ctx, file, p, "factor", true, 1e-3, 1e6, &hp->rope_factor));
    if (llama3) {
        hp->rope_original_ctx = (double)hp->n_ctx_train;
        OPT_TRY(opt_json_need_f64(ctx, file, p, "low_freq_factor", true, 1e-3, 1e6,
                                  &hp->rope_low_freq_factor));
        OPT_TRY(opt_json_need_f64(ctx, file, p, "high_freq_factor", true, 1e-3, 1e6,
                                  &hp->rope_high_freq_factor));
        OPT_TRY(opt_json_need_f64(ctx, file, p, "original_max_position_embeddings", false, 1, 1e9,
                                  &hp->rope_original_ctx));
        OPT_REQUIRE(hp->rope_high_freq_factor > hp->rope_low_freq_factor, ctx, OPT_ERR_INPUT, file,
                    "high_freq_factor %g must be above low_freq_factor %g",
                    hp->rope_high_freq_factor, hp->rope_low_freq_factor);
    }
done:
    return st;
}

static opt_status require_object(opt_ctx *ctx, const char *file, const char *key,
                                 const opt_json *v) {
    const opt_json_type type = opt_json_type_of(v);
    if (type != OPT_JSON_NULL && type != OPT_JSON_OBJECT) {
        return opt_fail(ctx, OPT_ERR_INPUT, file, "\"%s\" must be an object or null, found %s", key,
                        opt_json_type_name(type));
    }
    return OPT_OK;
}

/* rope_theta at the top or inside rope_parameters; rope_scaling or rope_parameters. */
static opt_status read_rope(opt_ctx *ctx, const char *file, const opt_json *json, opt_hparams *hp) {
    opt_status st = OPT_OK;
    const opt_json *scaling = opt_json_get(json, "rope_scaling");
    const opt_json *parameters = opt_json_get(json, "rope_parameters");
    OPT_TRY(require_object(ctx, file, "rope_scaling", scaling));
    OPT_TRY(require_object(ctx, file, "rope_parameters", parameters));
    hp->rope_theta = 10000.0;
    OPT_TRY(opt_json_need_f64(ctx, file, json, "rope_theta", false, 1.0, 1e15, &hp->rope_theta));
    if (opt_json_type_of(parameters) == OPT_JSON_OBJECT) {
        void *it = NULL;
        const char *key = NULL;
        const opt_json *value = NULL;
        while (opt_json_next(parameters, &it, &key, &value)) {
            OPT_REQUIRE(
                opt_json_type_of(value) != OPT_JSON_OBJECT, ctx, OPT_ERR_UNSUPPORTED, file,
                "rope_parameters that differ between layer types (\"%.32s\") are not supported",
                key);
        }
        double partial = 1.0;
        OPT_TRY(opt_json_need_f64(ctx, file, parameters, "rope_theta", false, 1.0, 1e15,
                                  &hp->rope_theta));
        OPT_TRY(opt_json_need_f64(ctx, file, parameters, "partial_rotary_factor", false, 0.0, 1.0,
                                  &partial));
        OPT_REQUIRE(partial == 1.0, ctx, OPT_ERR_UNSUPPORTED, file,
                    "partial_rotary_factor %g is not supported (expected 1)", partial);
    }
    OPT_TRY(read_rope_scaling(
        ctx, file, opt_json_type_of(parameters) == OPT_JSON_OBJECT ? parameters : scaling, hp));
done:
    return st;
}

bool opt_decoder_is_null(const opt_json *json, const char *key) {
    const opt_json *v = opt_json_get(json, key);
    return v != NULL && opt_json_type_of(v) == OPT_JSON_NULL;
}

opt_status opt_decoder_config_hf(opt_ctx *ctx, const char *file, const opt_json *json,
                                 const opt_decoder_defaults *defaults, opt_hparams *hp) {
    opt_status st = OPT_OK;
    OPT_TRY(refuse_features(ctx, file, json));
    OPT_TRY(read_activation(ctx, file, json));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "vocab_size", true, 1, OPT_DECODER_MAX_VOCAB,
                              &hp->n_vocab));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "hidden_size", true, 1, OPT_DECODER_MAX_WIDTH,
                              &hp->n_embd));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "intermediate_size", true, 1, OPT_DECODER_MAX_WIDTH,
                              &hp->n_ff));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "num_hidden_layers", true, 1, OPT_DECODER_MAX_LAYERS,
                              &hp->n_layers));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "num_attention_heads", true, 1,
                              OPT_DECODER_MAX_HEADS, &hp->n_heads));
    const bool as_heads =
        defaults->n_heads_kv == 0 || opt_decoder_is_null(json, "num_key_value_heads");
    hp->n_heads_kv = as_heads ? hp->n_heads : defaults->n_heads_kv;
    OPT_TRY(opt_json_need_i64(ctx, file, json, "num_key_value_heads", false, 1,
                              OPT_DECODER_MAX_HEADS, &hp->n_heads_kv));
    const bool own_head_dim = opt_json_type_of(opt_json_get(json, "head_dim")) != OPT_JSON_NULL;
    OPT_REQUIRE(own_head_dim || defaults->head_dim != 0 || hp->n_embd % hp->n_heads == 0, ctx,
                OPT_ERR_INPUT, file, "hidden_size %lld is no multiple of num_attention_heads %lld",
                (long long)hp->n_embd, (long long)hp->n_heads);
    hp->head_dim = defaults->head_dim != 0 ? defaults->head_dim : hp->n_embd / hp->n_heads;
    OPT_TRY(opt_json_need_i64(ctx, file, json, "head_dim", false, 1, OPT_DECODER_MAX_HEAD_DIM,
                              &hp->head_dim));
    hp->n_ctx_train = defaults->n_ctx_train;
    OPT_TRY(opt_json_need_i64(ctx, file, json, "max_position_embeddings", false, 1,
                              OPT_DECODER_MAX_CTX, &hp->n_ctx_train));
    hp->norm_eps = 1e-6;
    OPT_TRY(opt_json_need_f64(ctx, file, json, "rms_norm_eps", false, 0.0, 1.0, &hp->norm_eps));
    hp->tied = false;
    OPT_TRY(opt_json_need_bool(ctx, file, json, "tie_word_embeddings", false, &hp->tied));
    OPT_TRY(read_rope(ctx, file, json, hp));
    OPT_TRY(opt_decoder_check(ctx, file, hp));
done:
    return st;
}

/* Which layers slide, from "layer_types". */
static opt_status read_layer_types(opt_ctx *ctx, const char *file, const opt_json *types,
                                   const opt_hparams *hp, bool *slides) {
    if (opt_json_type_of(types) != OPT_JSON_ARRAY || opt_json_size(types) != (size_t)hp->n_layers) {
        return opt_fail(ctx, OPT_ERR_INPUT, file,
                        "\"layer_types\" must be a list of num_hidden_layers (%lld) strings",
                        (long long)hp->n_layers);
    }
    for (size_t i = 0; i < (size_t)hp->n_layers; i++) {
        const char *type = opt_json_str(opt_json_at(types, i), NULL);
        if (type == NULL ||
            (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0)) {
            return opt_fail(
                ctx, type == NULL ? OPT_ERR_INPUT : OPT_ERR_UNSUPPORTED, file,
                "layer_types[%zu] is \"%.32s\" (supported: full_attention, sliding_attention)", i,
                type == NULL ? "?" : type);
        }
        slides[i] = strcmp(type, "sliding_attention") == 0;
    }
    return OPT_OK;
}

opt_status opt_decoder_windows_hf(opt_ctx *ctx, opt_arena *arena, const char *file,
                                  const opt_json *json, opt_hparams *hp) {
    opt_status st = OPT_OK;
    bool use = false, any = false;
    int64_t window = 4096, first = 28;
    OPT_TRY(opt_json_need_bool(ctx, file, json, "use_sliding_window", false, &use));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "max_window_layers", false, 0, OPT_DECODER_MAX_CTX,
                              &first));
    const opt_json *types = opt_json_get(json, "layer_types");
    bool *slides = opt_arena_array(arena, (size_t)hp->n_layers, sizeof *slides);
    OPT_TRY_PTR(slides);
    if (opt_json_type_of(types) != OPT_JSON_NULL) {
        OPT_TRY(read_layer_types(ctx, file, types, hp, slides));
    } else {
        for (int64_t i = 0; i < hp->n_layers; i++) {
            slides[i] = i >= first;
        }
    }
    if (!use || opt_decoder_is_null(json, "sliding_window")) {
        goto done;
    }
    OPT_TRY(opt_json_need_i64(ctx, file, json, "sliding_window", false, 1, OPT_DECODER_MAX_CTX,
                              &window));
    for (int64_t i = 0; i < hp->n_layers; i++) {
        any = any || slides[i];
    }
    if (any) {
        hp->sliding_window = window;
        hp->layer_slides = slides;
    }
done:
    return st;
}
