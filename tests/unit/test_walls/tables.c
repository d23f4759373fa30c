/* The library's three tables, each with one more row: this is all that names the toy. */
#include "unit/test_walls/toy.h"

#include "tensor/rows.h"

const opt_format *const opt_formats[] = {
#define OPT_FORMAT(name) &opt_format_##name,
#include "tensor/formats.def"
    &opt_format_toy,
    NULL,
};

#define OPT_ARCH(row) extern const opt_arch opt_arch_##row;
#include "model/archs.def"

const opt_arch *const opt_archs[] = {
#define OPT_ARCH(row) &opt_arch_##row,
#include "model/archs.def"
    &opt_arch_toy,
    NULL,
};

#define OPT_EXEC_OP(row) extern const opt_exec_op opt_exec_##row;
#include "exec/ops.def"

const opt_exec_op *const opt_exec_ops[] = {
#define OPT_EXEC_OP(row) &opt_exec_##row,
#include "exec/ops.def"
    &opt_exec_twist,
    NULL,
};
