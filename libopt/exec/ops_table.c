/* Nothing but the table, so that a program (a test) can bring a table of its own. */
#include "exec/exec.h"

#define OPT_EXEC_OP(row) extern const opt_exec_op opt_exec_##row;
#include "exec/ops.def"

#define OPT_EXEC_OP(row) &opt_exec_##row,
const opt_exec_op *const opt_exec_ops[] = {
#include "exec/ops.def"
    NULL,
};
