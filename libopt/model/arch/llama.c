/* Llama (Touvron et al. 2023) and everything published under its class name: TinyLlama, SmolLM2,
 * ... */
#include "model/arch/decoder.h"

static opt_status config_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp) {
    static const opt_decoder_defaults defaults = {
        .n_heads_kv = 0, .head_dim = 0, .n_ctx_train = 2048};
    opt_status st = OPT_OK;
    (void)arena;
    OPT_TRY(opt_decoder_config_hf(ctx, file, json, &defaults, hp));
    OPT_TRY(opt_json_need_bool(ctx, file, json, "attention_bias", false, &hp->bias_qkv));
    hp->bias_o = hp->bias_qkv;
    OPT_TRY(opt_json_need_bool(ctx, file, json, "mlp_bias", false, &hp->bias_ffn));
done:
    return st;
}

/* Also what Mistral models become in a GGUF: then with a sliding window. */
static opt_status config_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv, opt_hparams *hp) {
    return opt_decoder_config_gguf(ctx, arena, kv, "llama", hp);
}

static int build(opt_builder *b, const opt_hparams *hp) {
    static const opt_decoder_wiring wiring = {.gguf_interleaves = true, .qk_norm = false};
    return opt_decoder_build(b, hp, &wiring);
}

extern const opt_arch opt_arch_llama;
const opt_arch opt_arch_llama = {
    .name = "llama",
    .help = "Llama 1 to 3, SmolLM2, TinyLlama and others of the same class",
    .model_type = "llama",
    .hf_class = "LlamaForCausalLM",
    .gguf_name = "llama",
    .reads_gguf = true,
    .names = opt_decoder_names,
    .drops = opt_decoder_drops,
    .config_hf = config_hf,
    .config_gguf = config_gguf,
    .build = build,
    .to_kv = opt_decoder_to_kv,
};
