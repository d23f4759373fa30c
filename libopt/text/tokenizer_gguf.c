#include "text/tok.h"

opt_status opt_tokenizer_from_kv(opt_ctx *ctx, const opt_kv *kv, int64_t n_vocab_model,
                                 opt_tokenizer **out) {
    (void)n_vocab_model;
    (void)out;
    return opt_fail(ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                    "reading tokenizers from GGUF is not built yet");
}

opt_status opt_tokenizer_to_kv(opt_ctx *ctx, const opt_tokenizer *t, int64_t n_vocab_model,
                               opt_kv *kv) {
    (void)t;
    (void)n_vocab_model;
    return opt_fail(ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                    "writing tokenizers to GGUF is not built yet");
}
