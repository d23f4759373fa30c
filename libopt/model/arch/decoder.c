#include "model/arch/decoder.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/ops.h"

const opt_tensor_name opt_decoder_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"attn_norm", "model.layers.#.input_layernorm"},
    {"attn_q", "model.layers.#.self_attn.q_proj"},
    {"attn_k", "model.layers.#.self_attn.k_proj"},
    {"attn_v", "model.layers.#.self_attn.v_proj"},
    {"attn_q_norm", "model.layers.#.self_attn.q_norm"},
    {"attn_k_norm", "model.layers.#.self_attn.k_norm"},
    {"attn_output", "model.layers.#.self_attn.o_proj"},
    {"ffn_norm", "model.layers.#.post_attention_layernorm"},
    {"ffn_gate", "model.layers.#.mlp.gate_proj"},
    {"ffn_up", "model.layers.#.mlp.up_proj"},
    {"ffn_down", "model.layers.#.mlp.down_proj"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {NULL, NULL},
};

const opt_drop_rule opt_decoder_drops[] = {
    {"model.layers.#.self_attn.rotary_emb.inv_freq",
     "rotary frequencies are computed from the configuration", false},
    {"model.rotary_emb.inv_freq", "rotary frequencies are computed from the configuration", false},
    {"lm_head.weight", "tie_word_embeddings: the head is the embedding", true},
    {NULL, NULL, false},
};

opt_status opt_decoder_check(opt_ctx *ctx, const char *file, const opt_hparams *hp) {
    if (hp->n_heads % hp->n_heads_kv != 0) {
        return opt_fail(ctx, OPT_ERR_INPUT, file,
                        "%" PRId64 " attention heads cannot share %" PRId64
                        " key/value heads evenly",
                        hp->n_heads, hp->n_heads_kv);
    }
    if (hp->head_dim % 2 != 0) {
        return opt_fail(ctx, OPT_ERR_INPUT, file,
                        "head size %" PRId64 " is odd: rotary embedding needs pairs", hp->head_dim);
    }
    if (hp->n_heads * hp->head_dim > OPT_DECODER_MAX_WIDTH) {
        return opt_fail(ctx, OPT_ERR_INPUT, file,
                        "%" PRId64 " heads of size %" PRId64 " are wider than %" PRId64,
                        hp->n_heads, hp->head_dim, OPT_DECODER_MAX_WIDTH);
    }
    return OPT_OK;
}

/* ---- rotary frequency factors ---- */

/*
 * Llama 3.1's scaling of the frequencies (transformers, _compute_llama3_parameters) as divisors,
 * the form in which GGUF stores it: 1 for short wavelengths, `factor` for long ones, smooth
 * between.
 */
static void llama3_factors(const opt_hparams *hp, float *factors, int64_t n) {
    const double pi = 3.14159265358979323846;
    const double low_wavelength = hp->rope_original_ctx / hp->rope_low_freq_factor;
    const double high_wavelength = hp->rope_original_ctx / hp->rope_high_freq_factor;
    for (int64_t i = 0; i < n; i++) {
        const double freq = 1.0 / pow(hp->rope_theta, (double)(2 * i) / (double)hp->head_dim);
        const double wavelength = 2.0 * pi / freq;
        const double smooth = (hp->rope_original_ctx / wavelength - hp->rope_low_freq_factor) /
                              (hp->rope_high_freq_factor - hp->rope_low_freq_factor);
        if (wavelength < high_wavelength) {
            factors[i] = 1.0F;
        } else if (wavelength > low_wavelength) {
            factors[i] = (float)hp->rope_factor;
        } else {
            factors[i] = (float)(1.0 / ((1.0 - smooth) / hp->rope_factor + smooth));
        }
    }
}

/* Factors that a GGUF brings along; adds the weight. */
static int stored_factors(opt_builder *b, const opt_weight_decl *d, float *factors) {
    const int w = opt_build_weight(b, d);
    if (w < 0) {
        return -1;
    }
    opt_ctx *ctx = opt_builder_ctx(b);
    const opt_kern *k = opt_kern_get(ctx);
    if (k == NULL) {
        return opt_builder_fail(b, OPT_ERR_MEMORY);
    }
    const opt_weight *weight = &opt_builder_model(b)->weights[w];
    opt_tensor_decode_rows(weight->tensor, k, 0, 1, factors);
    for (int64_t i = 0; i < d->dims[0]; i++) {
        if (!(factors[i] > 0.0F && factors[i] < 1e6F)) {
            return opt_builder_fail(b, opt_fail(ctx, OPT_ERR_INPUT, weight->name,
                                                "value %" PRId64 " is %g, expected a "
                                                "positive divisor",
                                                i, (double)factors[i]));
        }
    }
    return 0;
}

/* Divisors of the rotary frequencies [head_dim / 2], or NULL where all are 1. */
static const float *rope_factors(opt_builder *b, const opt_hparams *hp) {
    const int64_t n = hp->head_dim / 2;
    const opt_weight_decl d = {"rope_freqs", "weight", -1, OPT_ROLE_OTHER, 1, {n, 0, 0, 0}, 0};
    const bool stored = opt_build_find(b, d.kind, d.suffix, d.unit) != NULL;
    if (hp->rope_scaling == OPT_ROPE_NONE && !stored) {
        return NULL;
    }
    float *factors = opt_arena_array(opt_builder_model(b)->arena, (size_t)n, sizeof *factors);
    if (factors == NULL) {
        (void)opt_builder_fail(b, OPT_ERR_MEMORY);
        return NULL;
    }
    if (stored) {
        if (stored_factors(b, &d, factors) < 0) {
            return NULL;
        }
    } else if (hp->rope_scaling == OPT_ROPE_LLAMA3) {
        llama3_factors(hp, factors, n);
        (void)opt_build_computed(b, &d, factors);
    }
    if (hp->rope_scaling == OPT_ROPE_LINEAR) {
        for (int64_t i = 0; i < n; i++) {
            factors[i] = (stored ? factors[i] : 1.0F) * (float)hp->rope_factor;
        }
    }
    return factors;
}

/* ---- the graph ---- */

/* What the layers have in common while they are built. */
typedef struct decoder {
    opt_builder *b;
    const opt_hparams *hp;
    const opt_decoder_wiring *wiring;
    bool gguf;
    const float *factors; /* [head_dim / 2] or NULL */
} decoder;

static int norm(const decoder *d, int unit, const char *kind, int x, int64_t width, int64_t group) {
    const opt_weight_decl w = {
        kind, "weight", unit, OPT_ROLE_NORM, 1, {group != 0 ? group : width, 0, 0, 0}, 0};
    const int weights[] = {opt_build_weight(d->b, &w)};
    const opt_node_params p = {.norm = {.eps = (float)d->hp->norm_eps, .group = group}};
    const int node_unit =
        unit < 0 ? opt_builder_model(d->b)->n_units : unit; /* outside blocks: behind them */
    return opt_build_node(d->b, &opt_op_rms_norm, node_unit, opt_build_name(d->b, unit, kind), &x,
                          1, weights, 1, p);
}

typedef struct linear_shape {
    int64_t n_out, n_in;
    bool bias;
    int permute_heads;
} linear_shape;

static int linear(const decoder *d, int unit, const char *kind, int x, linear_shape s) {
    const opt_weight_decl w = {
        kind, "weight", unit, OPT_ROLE_LINEAR, 2, {s.n_out, s.n_in, 0, 0}, s.permute_heads};
    const opt_weight_decl v = {kind,           "bias", unit, OPT_ROLE_BIAS, 1, {s.n_out, 0, 0, 0},
                               s.permute_heads};
    int weights[] = {opt_build_weight(d->b, &w), OPT_NO_WEIGHT};
    /* GGUF has no key for biases: they are where they are. */
    if (s.bias || (d->gguf && opt_build_find(d->b, kind, "bias", unit) != NULL)) {
        weights[1] = opt_build_weight(d->b, &v);
    }
    const opt_node_params none = {.custom = NULL};
    return opt_build_node(d->b, &opt_op_linear, unit, opt_build_name(d->b, unit, kind), &x, 1,
                          weights, 2, none);
}

static int rope(const decoder *d, int unit, const char *name, int x, int64_t n_heads) {
    const opt_node_params p = {.rope = {.n_heads = (int)n_heads,
                                        .head_dim = d->hp->head_dim,
                                        .n_rot = d->hp->head_dim,
                                        .halves = !(d->gguf && d->wiring->gguf_interleaves),
                                        .freq_base = d->hp->rope_theta,
                                        .attn_factor = 1.0,
                                        .freq_factors = d->factors}};
    return opt_build_node(d->b, &opt_op_rope, unit, opt_build_name(d->b, unit, name), &x, 1, NULL,
                          0, p);
}

static int binary(const decoder *d, const opt_op *op, int unit, const char *name, int x, int y) {
    const int in[] = {x, y};
    const opt_node_params none = {.custom = NULL};
    return opt_build_node(d->b, op, unit, opt_build_name(d->b, unit, name), in, 2, NULL, 0, none);
}

static int attention(const decoder *d, int unit, int q, int k, int v) {
    const opt_hparams *hp = d->hp;
    const bool slides =
        hp->sliding_window > 0 && (hp->layer_slides == NULL || hp->layer_slides[unit]);
    const int in[] = {q, k, v};
    const opt_node_params p = {.attention = {.n_heads = (int)hp->n_heads,
                                             .n_heads_kv = (int)hp->n_heads_kv,
                                             .head_dim = hp->head_dim,
                                             .head_dim_v = hp->head_dim,
                                             .scale = (float)(1.0 / sqrt((double)hp->head_dim)),
                                             .window = slides ? hp->sliding_window : 0,
                                             .cache = opt_build_cache(d->b)}};
    return opt_build_node(d->b, &opt_op_attention, unit, opt_build_name(d->b, unit, "attn"), in, 3,
                          NULL, 0, p);
}

static int attention_block(const decoder *d, int unit, int x) {
    const opt_hparams *hp = d->hp;
    const int64_t n_q = hp->n_heads * hp->head_dim, n_kv = hp->n_heads_kv * hp->head_dim;
    const bool permute = !d->gguf && d->wiring->gguf_interleaves;
    const int normed = norm(d, unit, "attn_norm", x, hp->n_embd, 0);
    int q = linear(d, unit, "attn_q", normed,
                   (linear_shape){n_q, hp->n_embd, hp->bias_qkv, permute ? (int)hp->n_heads : 0});
    int k =
        linear(d, unit, "attn_k", normed,
               (linear_shape){n_kv, hp->n_embd, hp->bias_qkv, permute ? (int)hp->n_heads_kv : 0});
    const int v =
        linear(d, unit, "attn_v", normed, (linear_shape){n_kv, hp->n_embd, hp->bias_qkv, 0});
    if (d->wiring->qk_norm) {
        q = norm(d, unit, "attn_q_norm", q, n_q, hp->head_dim);
        k = norm(d, unit, "attn_k_norm", k, n_kv, hp->head_dim);
    }
    q = rope(d, unit, "attn_q_rope", q, hp->n_heads);
    k = rope(d, unit, "attn_k_rope", k, hp->n_heads_kv);
    const int mixed = attention(d, unit, q, k, v);
    const int out =
        linear(d, unit, "attn_output", mixed, (linear_shape){hp->n_embd, n_q, hp->bias_o, 0});
    return binary(d, &opt_op_add, unit, "attn_residual", x, out);
}

static int feed_forward_block(const decoder *d, int unit, int x) {
    const opt_hparams *hp = d->hp;
    const int normed = norm(d, unit, "ffn_norm", x, hp->n_embd, 0);
    const int gate =
        linear(d, unit, "ffn_gate", normed, (linear_shape){hp->n_ff, hp->n_embd, hp->bias_ffn, 0});
    const int up =
        linear(d, unit, "ffn_up", normed, (linear_shape){hp->n_ff, hp->n_embd, hp->bias_ffn, 0});
    const int gated = binary(d, &opt_op_swiglu, unit, "ffn_swiglu", gate, up);
    const int down =
        linear(d, unit, "ffn_down", gated, (linear_shape){hp->n_embd, hp->n_ff, hp->bias_ffn, 0});
    return binary(d, &opt_op_add, unit, "ffn_residual", x, down);
}

static int head(const decoder *d, int x, int embedding) {
    const opt_hparams *hp = d->hp;
    int weights[] = {embedding, OPT_NO_WEIGHT};
    if (opt_builder_model(d->b)->hp.tied) {
        opt_build_tie(d->b, embedding);
    } else {
        const opt_weight_decl w = {
            "output", "weight", -1, OPT_ROLE_HEAD, 2, {hp->n_vocab, hp->n_embd, 0, 0}, 0};
        weights[0] = opt_build_weight(d->b, &w);
    }
    const opt_node_params none = {.custom = NULL};
    return opt_build_node(d->b, &opt_op_linear, opt_builder_model(d->b)->n_units, "output", &x, 1,
                          weights, 2, none);
}

int opt_decoder_build(opt_builder *b, const opt_hparams *hp, const opt_decoder_wiring *wiring) {
    opt_model *m = opt_builder_model(b);
    const bool gguf = opt_source_kind_of(m->source) == OPT_SOURCE_GGUF;
    if (gguf) {
        m->hp.tied =
            opt_build_find(b, "output", "weight", -1) == NULL; /* no key says so: the tensor does */
    }
    const decoder d = {b, hp, wiring, gguf, rope_factors(b, hp)};
    const opt_weight_decl w = {
        "token_embd", "weight", -1, OPT_ROLE_EMBEDDING, 2, {hp->n_vocab, hp->n_embd, 0, 0}, 0};
    const int embedding = opt_build_weight(b, &w);
    const int tokens = OPT_NODE_TOKENS;
    const opt_node_params none = {.custom = NULL};
    int x = opt_build_node(b, &opt_op_embed, -1, "token_embd", &tokens, 1, &embedding, 1, none);
    for (int unit = 0; unit < m->n_units; unit++) {
        x = attention_block(&d, unit, x);
        x = feed_forward_block(&d, unit, x);
    }
    x = norm(&d, -1, "output_norm", x, hp->n_embd, 0);
    return head(&d, x, embedding);
}
