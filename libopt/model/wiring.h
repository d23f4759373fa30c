/**
 * What the edges of a graph allow to be rewritten without changing its function: columns that one
 * weight makes and others read, and the stream that residual blocks add to. Derived from nodes and
 * ops, never from names, so that it holds for any family.
 */
#ifndef OPT_MODEL_WIRING_H
#define OPT_MODEL_WIRING_H

#include "model/ops.h"

#define OPT_WIRING_MAX_READERS 8

/**
 * Columns of the output of node `input` that only linear nodes read, and whose size one weight
 * decides: dividing channel p of the producer by s[p] and multiplying the readers' columns that
 * come from it by s[p] leaves the function as it is.
 */
typedef struct opt_scaling {
    int input;    /* the node that the readers read */
    int producer; /* a norm (its weight's elements) or a linear node (rows of its weight, elements
                     of its bias) */
    int n_readers;
    int readers[OPT_WIRING_MAX_READERS]; /* linear nodes */
    int64_t n_columns;                   /* of the input */
    int64_t n_channels;                  /* of the producer: fewer where heads share values */
    int64_t head_dim, n_repeat; /* values that n_repeat heads share; else n_columns and 1 */
} opt_scaling;

/**
 * Finds how the columns of node `input` can be scaled. False if they cannot; then *reason says why
 * (static text), or is NULL if no linear node reads it.
 */
bool opt_scaling_find(const opt_model *m, int input, opt_scaling *out, const char **reason);
/** The producer's channel that column c comes from. */
int64_t opt_scaling_channel(const opt_scaling *s, int64_t c);

/** What a node is to the residual stream. */
typedef enum opt_residual_part {
    OPT_RESIDUAL_NONE = 0,
    OPT_RESIDUAL_STREAM = 1 << 0, /**< its output is the stream */
    OPT_RESIDUAL_NORM = 1 << 1,   /**< a norm of the stream */
    OPT_RESIDUAL_READS = 1 << 2,  /**< a linear node that reads a norm of the stream */
    OPT_RESIDUAL_WRITES = 1 << 3  /**< an embedding or linear node whose output is added to it */
} opt_residual_part;

/**
 * Finds the residual stream: parts [m->n_nodes] receives OPT_RESIDUAL_* bits, *width the columns.
 * Errors: UNSUPPORTED, naming the node, where the stream is read by something other than root mean
 * square norms that feed linear nodes, or written by something other than those.
 */
OPT_MUST_USE opt_status opt_residual_find(opt_ctx *ctx, const opt_model *m, unsigned *parts,
                                          int64_t *width);

/** Whether a norm can be folded into the linear nodes that read it: they are the only ones, and
 * their weights serve nobody else. */
bool opt_norm_folds(const opt_model *m, int node, const char **reason);

/** Nodes that use a weight. */
int opt_weight_n_uses(const opt_model *m, int weight);
/** Unit of the first node that uses a weight; the weight's own where none does. */
int opt_weight_stage(const opt_model *m, int weight);

#endif
