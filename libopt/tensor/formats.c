/** The format table, alone in its object so that a test can link a table with one more row. */
#include "tensor/rows.h"

const opt_format *const opt_formats[] = {
#define OPT_FORMAT(name) &opt_format_##name,
#include "tensor/formats.def"
    NULL,
};
