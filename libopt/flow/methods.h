/** All methods; methods.c is the only file that names them. */
#ifndef OPT_FLOW_METHODS_H
#define OPT_FLOW_METHODS_H

#include "quant/method.h"
#include "quant/transform.h"

/** Terminated by NULL; the first is the default. */
extern const opt_quant_method *const opt_quant_methods[];

/** By name, or NULL. */
const opt_quant_method *opt_quant_method_by_name(const char *name);

/** Terminated by NULL. */
extern const opt_transform *const opt_transform_rows[];

#endif
