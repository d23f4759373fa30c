#include "opt/status.h"

const char *opt_status_name(opt_status status) {
    switch (status) {
    case OPT_OK: return "ok";
    case OPT_ERR_GATE: return "gate";
    case OPT_ERR_USAGE: return "usage";
    case OPT_ERR_INPUT: return "input";
    case OPT_ERR_IO: return "io";
    case OPT_ERR_MEMORY: return "memory";
    case OPT_ERR_NUMERIC: return "numeric";
    case OPT_ERR_UNSUPPORTED: return "unsupported";
    case OPT_ERR_BUG: return "bug";
    case OPT_ERR_INTERRUPTED: return "interrupted";
    case OPT_ERR_TERMINATED: return "terminated";
    }
    return "unknown";
}
