/** Norm folding, for the transforms that begin with it. */
#ifndef OPT_QUANT_FOLD_NORMS_H
#define OPT_QUANT_FOLD_NORMS_H

#include "quant/transform.h"

/** plan and apply of the transform fold-norms; folding what is folded already changes nothing. */
OPT_MUST_USE opt_status opt_fold_norms_plan(opt_transform_job *job);
OPT_MUST_USE opt_status opt_fold_norms_apply(opt_transform_job *job);

#endif
