/** What the dense decoder families share: configuration, graph, metadata. A family's file sets the
 * options. */
#ifndef OPT_MODEL_ARCH_DECODER_H
#define OPT_MODEL_ARCH_DECODER_H

#include "model/arch.h"

/** Where a family's config.json leaves a key out: the defaults of transformers. */
typedef struct opt_decoder_defaults {
    int64_t n_heads_kv; /**< 0: as n_heads */
    int64_t head_dim;   /**< 0: n_embd / n_heads */
    int64_t n_ctx_train;
} opt_decoder_defaults;

/**
 * How the layers of a family are wired. Hugging Face checkpoints of all of them rotate the pairs
 * (i, i + n/2) of a head.
 */
typedef struct opt_decoder_wiring {
    bool gguf_interleaves; /**< GGUF files hold the rows of q and k so that the pairs are (2i, 2i +
                              1) */
    bool qk_norm;          /**< RMS norms on each head of q and k */
} opt_decoder_wiring;

/** Reads and checks what all families have in config.json. Biases and sliding windows are the
 * family's. */
OPT_MUST_USE opt_status opt_decoder_config_hf(opt_ctx *ctx, const char *file, const opt_json *json,
                                              const opt_decoder_defaults *defaults,
                                              opt_hparams *hp);
/** use_sliding_window, sliding_window, max_window_layers, layer_types, as the Qwen families spell
 * them. */
OPT_MUST_USE opt_status opt_decoder_windows_hf(opt_ctx *ctx, opt_arena *arena, const char *file,
                                               const opt_json *json, opt_hparams *hp);
/** Whether a member is there and null, which overrides the family's default. */
bool opt_decoder_is_null(const opt_json *json, const char *key);
/** Reads and checks the keys "<prefix>.*" of a GGUF, windows included. */
OPT_MUST_USE opt_status opt_decoder_config_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv,
                                                const char *prefix, opt_hparams *hp);
/** Adds all weights and nodes; see opt_arch.build. */
int opt_decoder_build(opt_builder *b, const opt_hparams *hp, const opt_decoder_wiring *wiring);
/** Writes the keys "<gguf_name>.*"; warns where stock readers would ignore something. */
OPT_MUST_USE opt_status opt_decoder_to_kv(opt_ctx *ctx, const opt_model *m, opt_kv *kv);
/** Relations between the numbers that no single key shows (heads that do not divide ...). INPUT. */
OPT_MUST_USE opt_status opt_decoder_check(opt_ctx *ctx, const char *file, const opt_hparams *hp);

/** Names of the tensors in Hugging Face checkpoints of all these families, and those left out on
 * purpose. */
extern const opt_tensor_name opt_decoder_names[];
extern const opt_drop_rule opt_decoder_drops[];

/* Bounds that keep every product of two of them far from overflow and refuse nonsense early. */
#define OPT_DECODER_MAX_WIDTH ((int64_t)1 << 24)
#define OPT_DECODER_MAX_VOCAB ((int64_t)1 << 27)
#define OPT_DECODER_MAX_LAYERS 4096
#define OPT_DECODER_MAX_HEADS 4096
#define OPT_DECODER_MAX_HEAD_DIM 8192
#define OPT_DECODER_MAX_CTX ((int64_t)1 << 30)

#endif
