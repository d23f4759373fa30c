/** Moving a scale of columns from the weights that read them to the weight that makes them. */
#ifndef OPT_QUANT_SCALING_H
#define OPT_QUANT_SCALING_H

#include "model/wiring.h"
#include "quant/transform.h"

/** Calls `each` for every group of columns of a stage that can be scaled (stage -2: of all). */
OPT_MUST_USE opt_status opt_scaling_each(opt_transform_job *job, int stage,
                                         opt_status (*each)(opt_transform_job *job,
                                                            const opt_scaling *s));
/** plan of the transforms that scale: marks weights, wants matrices, opens effects. */
OPT_MUST_USE opt_status opt_scaling_plan(opt_transform_job *job, const char *transform);

/**
 * Divides channel p of the producer by s[p] and multiplies the columns of the readers (norms take
 * the division in their weights, linear nodes in rows and biases); the Gram matrix of the input
 * follows. s [n_channels], positive. The function stays as it is: W' x' = (W s) (x / s).
 */
OPT_MUST_USE opt_status opt_scaling_apply(opt_transform_job *job, const opt_scaling *g,
                                          const double *s);
/** Root mean square of every channel [n_channels] over the tokens of calibration. */
void opt_scaling_rms(const opt_transform_job *job, const opt_scaling *g, double *rms);

#endif
