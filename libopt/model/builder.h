/**
 * Building a graph. Errors stick: after the first one every call does nothing and returns -1, and
 * opt_builder_finish returns its status, so an architecture reads as the list of its layers.
 */
#ifndef OPT_MODEL_BUILDER_H
#define OPT_MODEL_BUILDER_H

#include "model/graph.h"

typedef struct opt_builder opt_builder;

/** Starts a graph in `m`, whose arch and source are set. */
OPT_MUST_USE opt_status opt_builder_new(opt_ctx *ctx, opt_model *m, opt_builder **out);
/**
 * Ends: `logits` is the node whose output are the logits. Moves nodes and weights into the model,
 * and accounts for every source tensor: bound, dropped by a rule of the architecture, or an INPUT
 * error.
 */
OPT_MUST_USE opt_status opt_builder_finish(opt_builder *b, int logits);
void opt_builder_free(opt_builder *b);

opt_ctx *opt_builder_ctx(const opt_builder *b);
opt_model *opt_builder_model(const opt_builder *b);
/** Records a failure of the caller's own (its status was given to opt_fail already). Returns -1. */
int opt_builder_fail(opt_builder *b, opt_status st);

/** What a weight is; `kind` without block and suffix ("attn_q"), suffix "weight" or "bias", unit -1
 * outside blocks. */
typedef struct opt_weight_decl {
    const char *kind, *suffix;
    int unit;
    opt_role role;
    int n_dims;
    int64_t dims[4];
    int permute_heads; /* see opt_weight */
} opt_weight_decl;

/** Binds a weight to the source tensor of its name and checks the shape (INPUT). Returns its index.
 */
int opt_build_weight(opt_builder *b, const opt_weight_decl *d);
/** Adds a weight that no source tensor holds: `values` [dims[0]] in f32, copied. */
int opt_build_computed(opt_builder *b, const opt_weight_decl *d, const float *values);
/** The source tensor that such a weight would be bound to, or NULL. */
const opt_tensor *opt_build_find(opt_builder *b, const char *kind, const char *suffix, int unit);
/** Marks a weight (the embedding) as used for the head, too. */
void opt_build_tie(opt_builder *b, int weight);

/** Adds a node; `in` [n_in] and `weights` [n_weights] as in opt_node. Returns its index. */
int opt_build_node(opt_builder *b, const opt_op *op, int unit, const char *name, const int *in,
                   int n_in, const int *weights, int n_weights, opt_node_params p);
/** Name for a node or weight of a block: "blk.<unit>.<kind>", or kind alone for a negative unit.
 * NULL after an error. */
const char *opt_build_name(opt_builder *b, int unit, const char *kind);
/** Reserves a KV cache for an attention node: returns its index. */
int opt_build_cache(opt_builder *b);

#endif
