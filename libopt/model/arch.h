/**
 * Architectures: one row turns the configuration of a model family into a graph. Rows are listed in
 * model/archs.def; adding a family is one new file below model/arch/ and one line there.
 */
#ifndef OPT_MODEL_ARCH_H
#define OPT_MODEL_ARCH_H

#include "base/json.h"
#include "model/builder.h"
#include "model/graph.h"

/** How a Hugging Face checkpoint calls a weight: '#' stands for the block number; ".weight" or
 * ".bias" follows. */
typedef struct opt_tensor_name {
    const char *kind; /**< "attn_q" */
    const char *hf;   /**< "model.layers.#.self_attn.q_proj" */
} opt_tensor_name;

/** A source tensor that is left out on purpose. */
typedef struct opt_drop_rule {
    const char *tensor; /**< full name, '#' for a number */
    const char *reason;
    bool tied_only; /**< only where the embedding is also the head */
} opt_drop_rule;

/** One row of the architecture table. All rows are static const. */
struct opt_arch {
    const char *name; /**< "llama" */
    const char *help;
    const char *model_type; /**< of config.json */
    const char *hf_class;   /**< of config.json's "architectures" */
    const char *gguf_name;  /**< general.architecture that is written; prefix of the keys */
    bool reads_gguf;        /**< files of gguf_name are read by this row (one row for each name) */
    const opt_tensor_name *names; /**< terminated by a NULL kind */
    const opt_drop_rule *drops;   /**< terminated by a NULL tensor; may be NULL */
    /** Reads and checks the configuration. `file` is for messages. Errors: INPUT, UNSUPPORTED. */
    opt_status (*config_hf)(opt_ctx *ctx, opt_arena *arena, const char *file, const opt_json *json,
                            opt_hparams *hp);
    opt_status (*config_gguf)(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv,
                              opt_hparams *hp); /**< may be NULL */
    /** Adds all weights and nodes and returns the node of the logits, -1 after an error. Sets
     * nothing else. */
    int (*build)(opt_builder *b, const opt_hparams *hp);
    /** Writes the keys "<gguf_name>.*". */
    opt_status (*to_kv)(opt_ctx *ctx, const opt_model *m, opt_kv *kv);
};

/** The table, terminated by NULL (model/archs_table.c from model/archs.def). */
extern const opt_arch *const opt_archs[];

/**
 * Finds the row for a config.json (text[bytes], `file` for messages) or for GGUF keys and reads the
 * configuration with it; arrays of *hp live in `arena`. Errors: INPUT, UNSUPPORTED (unknown
 * architecture: lists the known ones).
 */
OPT_MUST_USE opt_status opt_config_read_hf(opt_ctx *ctx, opt_arena *arena, const char *file,
                                           const char *text, size_t bytes, const opt_arch **arch,
                                           opt_hparams *hp);
OPT_MUST_USE opt_status opt_config_read_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv,
                                             const opt_arch **arch, opt_hparams *hp);

#endif
