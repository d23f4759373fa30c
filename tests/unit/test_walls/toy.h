/** What the parts of the toy share: an op that no library row knows. */
#ifndef OPT_UNIT_TEST_WALLS_TOY_H
#define OPT_UNIT_TEST_WALLS_TOY_H

#include "exec/exec.h"
#include "model/arch.h"
#include "tensor/format.h"

/** Parameters of the toy op: an op of its own keeps them behind opt_node_params.custom. */
typedef struct toy_twist {
    float offset;
} toy_twist;

/** y = x * weight + offset: the model's row and the executor's. */
extern const opt_op opt_op_twist;
extern const opt_exec_op opt_exec_twist;
/** embed -> twist -> head. */
extern const opt_arch opt_arch_toy;
/** One byte an element: (code - 100) / 8. */
extern const opt_format opt_format_toy;

#endif
