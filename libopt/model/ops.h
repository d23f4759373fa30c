/**
 * The ops that an architecture builds a graph from. A row knows names, weight roles and shapes; how
 * an op is computed stands in exec/ops/<op>.c. An op of its own is one more row in a file of its
 * own, used by address.
 */
#ifndef OPT_MODEL_OPS_H
#define OPT_MODEL_OPS_H

#include "model/graph.h"

/** What an opt_op_feed node gives out. */
typedef struct opt_feed {
    const float *rows; /* [n_positions, width]; may change between evaluations */
} opt_feed;

/** Rows of the token embedding: tokens -> [n_tokens, n_embd], times p.embed.scale (0: 1). */
extern const opt_op opt_op_embed;
/** y = x W^T (+ bias): weight [n_out, n_in]. */
extern const opt_op opt_op_linear;
/** Root-mean-square norm of the row or, with p.norm.group, of each group of it, times the weight
 * [group]. */
extern const opt_op opt_op_rms_norm;
/** Rotary position embedding of every head of x. */
extern const opt_op opt_op_rope;
/** Causal attention with grouped heads over the cache p.attention.cache: q, k, v -> [n_tokens,
 * n_heads * head_dim_v]. */
extern const opt_op opt_op_attention;
/** silu(gate) * up. */
extern const opt_op opt_op_swiglu;
/** Sum of two inputs of the same width. */
extern const opt_op opt_op_add;
/** Rows that the caller holds (opt_feed behind p.custom): the input of a part of a graph, made by
 * opt_model_cut only. */
extern const opt_op opt_op_feed;

/** Columns of input i of a node; 0 for token ids. */
int64_t opt_node_in_width(const opt_model *m, const opt_node *node, int i);
/** Weight j of a node, or NULL. */
const opt_weight *opt_node_weight(const opt_model *m, const opt_node *node, int j);

#endif
