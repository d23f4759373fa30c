/** Importance of input columns from and to files of llama.cpp (calib/imatrix.h). */
#ifndef OPT_FLOW_IMPORTANCE_H
#define OPT_FLOW_IMPORTANCE_H

#include "calib/imatrix.h"
#include "flow/calibrate.h"

/**
 * Sets the importance of all tensors of the plan that are quantized and that the file knows; one
 * warning for those of linear layers that it does not know. Errors: those of the file; INPUT if it
 * knows none.
 */
OPT_MUST_USE opt_status opt_importance_read(opt_plan *plan, const char *path);
/** Writes what calibration saw (opt_plan_tensor.mean_square) to a file. Errors: IO, USAGE. */
OPT_MUST_USE opt_status opt_importance_write(const opt_plan *plan, const opt_corpus_options *text,
                                             const char *path, bool force);

#endif
