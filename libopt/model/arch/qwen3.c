/* Qwen3: norms on every head of q and k, a head size of its own; the upper layers may slide. */
#include "model/arch/decoder.h"

static opt_status config_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp) {
    static const opt_decoder_defaults defaults = {
        .n_heads_kv = 32, .head_dim = 128, .n_ctx_train = 32768};
    opt_status st = OPT_OK;
    OPT_TRY(opt_decoder_config_hf(ctx, file, json, &defaults, hp));
    OPT_TRY(opt_decoder_windows_hf(ctx, arena, file, json, hp));
    OPT_TRY(opt_json_need_bool(ctx, file, json, "attention_bias", false, &hp->bias_qkv));
    hp->bias_o = hp->bias_qkv;
done:
    return st;
}

static opt_status config_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv, opt_hparams *hp) {
    return opt_decoder_config_gguf(ctx, arena, kv, "qwen3", hp);
}

static int build(opt_builder *b, const opt_hparams *hp) {
    static const opt_decoder_wiring wiring = {.gguf_interleaves = false, .qk_norm = true};
    return opt_decoder_build(b, hp, &wiring);
}

extern const opt_arch opt_arch_qwen3;
const opt_arch opt_arch_qwen3 = {
    .name = "qwen3",
    .help = "Qwen3, dense",
    .model_type = "qwen3",
    .hf_class = "Qwen3ForCausalLM",
    .gguf_name = "qwen3",
    .reads_gguf = true,
    .names = opt_decoder_names,
    .drops = opt_decoder_drops,
    .config_hf = config_hf,
    .config_gguf = config_gguf,
    .build = build,
    .to_kv = opt_decoder_to_kv,
};
