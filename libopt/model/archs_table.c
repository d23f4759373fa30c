/* Nothing but the table, so that a program (a test) can bring a table of its own. */
#include "model/arch.h"

#define OPT_ARCH(row) extern const opt_arch opt_arch_##row;
#include "model/archs.def"

#define OPT_ARCH(row) &opt_arch_##row,
const opt_arch *const opt_archs[] = {
#include "model/archs.def"
    NULL,
};
