/* Qwen2 and Qwen2.5: biases on q, k and v; the upper layers may slide. */
#include "model/arch/decoder.h"

static opt_status config_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp) {
    static const opt_decoder_defaults defaults = {
        .n_heads_kv = 32, .head_dim = 0, .n_ctx_train = 32768};
    opt_status st = OPT_OK;
    OPT_TRY(opt_decoder_config_hf(ctx, file, json, &defaults, hp));
    OPT_TRY(opt_decoder_windows_hf(ctx, arena, file, json, hp));
    hp->bias_qkv = true;
done:
    return st;
}

static opt_status config_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv, opt_hparams *hp) {
    return opt_decoder_config_gguf(ctx, arena, kv, "qwen2", hp);
}

static int build(opt_builder *b, const opt_hparams *hp) {
    static const opt_decoder_wiring wiring = {.gguf_interleaves = false, .qk_norm = false};
    return opt_decoder_build(b, hp, &wiring);
}

extern const opt_arch opt_arch_qwen2;
const opt_arch opt_arch_qwen2 = {
    .name = "qwen2",
    .help = "Qwen2 and Qwen2.5, dense",
    .model_type = "qwen2",
    .hf_class = "Qwen2ForCausalLM",
    .gguf_name = "qwen2",
    .reads_gguf = true,
    .names = opt_decoder_names,
    .drops = opt_decoder_drops,
    .config_hf = config_hf,
    .config_gguf = config_gguf,
    .build = build,
    .to_kv = opt_decoder_to_kv,
};
