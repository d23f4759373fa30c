/** Opening a model with everything that belongs to it. */
#ifndef OPT_FLOW_OPEN_H
#define OPT_FLOW_OPEN_H

#include "model/graph.h"
#include "text/tokenizer.h"

typedef struct opt_opened {
    opt_ctx *ctx;
    opt_source *source;
    opt_model *model;
    opt_tokenizer *tokenizer; /* NULL where the checkpoint has none */
} opt_opened;

/** Opens source, model and tokenizer. On failure nothing is left open. */
OPT_MUST_USE opt_status opt_open(opt_ctx *ctx, const char *path, opt_opened *out);
/** The same in two steps, since a tokenizer takes longer than everything else: first without, then
 * this one alone. */
OPT_MUST_USE opt_status opt_open_model(opt_ctx *ctx, const char *path, opt_opened *out);
OPT_MUST_USE opt_status opt_open_tokenizer(opt_opened *o);
/** A zero-initialised struct is allowed. */
void opt_opened_close(opt_opened *o);

/**
 * Metadata of a GGUF file of this model. From a GGUF source: its own entries, but for those of
 * splitting, alignment, file type and checksums. From a directory: model, tokenizer, and the
 * SHA-256 of config.json.
 */
OPT_MUST_USE opt_status opt_opened_kv(const opt_opened *o, opt_kv **out);

#endif
