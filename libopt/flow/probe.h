/** What the machine can do at best, measured now: the yardstick of bench and profile. */
#ifndef OPT_FLOW_PROBE_H
#define OPT_FLOW_PROBE_H

#include "base/ctx.h"
#include "opt/infer.h"

/**
 * Bandwidth: the best of several reads of a buffer of OPT_PROBE_BYTES (more than the caches hold;
 * less where the memory limit asks for it) by all threads, each its own part. Peak: int8
 * multiply-adds from registers, of the kernels' instruction set. Takes about half a second.
 */
OPT_MUST_USE opt_status opt_probe(opt_ctx *ctx, opt_probe_result *out);

#define OPT_PROBE_BYTES ((uint64_t)512 << 20)

#endif
