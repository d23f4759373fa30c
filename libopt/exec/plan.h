/** Activation buffers planned by liveness: outputs share memory when their lives do not overlap. */
#ifndef OPT_EXEC_PLAN_H
#define OPT_EXEC_PLAN_H

#include "base/mem.h"
#include "exec/exec.h"

/** Nodes that run together. */
typedef struct opt_step {
    int first, n;
} opt_step;

/** Groups consecutive nodes into steps: steps [n_nodes] (caller's), *n_steps of them. */
void opt_plan_steps(const opt_exec_node *nodes, int n_nodes, opt_step *steps, int *n_steps);

/**
 * Byte offsets of the outputs in one block: off [n_nodes] (caller's), each aligned to 64 bytes;
 * *bytes is the block's size. Outputs have n_batch rows. The logits' node gets none (SIZE_MAX): its
 * rows have a buffer of their own. An output whose op is in_place takes the place of input 0 when
 * that dies there. With `keep` all outputs stay, each in memory of its own. Errors: MEMORY (also on
 * overflow).
 */
OPT_MUST_USE opt_status opt_plan_buffers(opt_ctx *ctx, const opt_model *m,
                                         const opt_exec_node *nodes, const opt_step *steps,
                                         int n_steps, int64_t n_batch, bool keep, size_t *off,
                                         size_t *bytes);

/**
 * The same for the gradients of the outputs, which live from the last reader of an output back to
 * its own node. Nodes with needs [n_nodes] false, and the logits, get none (SIZE_MAX).
 */
OPT_MUST_USE opt_status opt_plan_gradients(opt_ctx *ctx, const opt_model *m,
                                           const opt_exec_node *nodes, const bool *needs,
                                           int64_t n_batch, size_t *off, size_t *bytes);

#endif
