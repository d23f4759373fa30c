/* Mistral (Jiang et al. 2023): Llama with a sliding window. In GGUF it goes by the name "llama", as
 * the stock converter has it. */
#include "model/arch/decoder.h"

static opt_status config_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp) {
    static const opt_decoder_defaults defaults = {
        .n_heads_kv = 8, .head_dim = 0, .n_ctx_train = 131072};
    opt_status st = OPT_OK;
    int64_t window = opt_decoder_is_null(json, "sliding_window") ? 0 : 4096;
    (void)arena;
    OPT_TRY(opt_decoder_config_hf(ctx, file, json, &defaults, hp));
    OPT_TRY(opt_json_need_i64(ctx, file, json, "sliding_window", false, 1, OPT_DECODER_MAX_CTX,
                              &window));
    hp->sliding_window = window;
done:
    return st;
}

static int build(opt_builder *b, const opt_hparams *hp) {
    static const opt_decoder_wiring wiring = {.gguf_interleaves = true, .qk_norm = false};
    return opt_decoder_build(b, hp, &wiring);
}

extern const opt_arch opt_arch_mistral;
const opt_arch opt_arch_mistral = {
    .name = "mistral",
    .help = "Mistral 7B and its relatives",
    .model_type = "mistral",
    .hf_class = "MistralForCausalLM",
    .gguf_name = "llama",
    .reads_gguf = false,
    .names = opt_decoder_names,
    .drops = opt_decoder_drops,
    .config_hf = config_hf,
    .config_gguf = NULL,
    .build = build,
    .to_kv = opt_decoder_to_kv,
};
