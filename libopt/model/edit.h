/** Changes of a graph that leave its function as it is, before it is planned or run. */
#ifndef OPT_MODEL_EDIT_H
#define OPT_MODEL_EDIT_H

#include "model/graph.h"

/**
 * Gives a tied head a weight of its own, "output.weight", bound to the embedding's tensor. Does
 * nothing where they are not tied. Errors: MEMORY.
 */
OPT_MUST_USE opt_status opt_model_untie(opt_model *m);

/**
 * Gives linear node `node` a bias of zeros (f32, computed) behind its weight, where it has none.
 * Indices of weights behind it grow by one. Errors: MEMORY.
 */
OPT_MUST_USE opt_status opt_model_add_bias(opt_model *m, int node);

#endif
