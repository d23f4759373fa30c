/** Large intermediate data in a file without a name: it goes when the process goes. */
#ifndef OPT_BASE_SPILL_H
#define OPT_BASE_SPILL_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

typedef struct opt_spill opt_spill;

/** Makes a file of `bytes` in directory `dir`, its space reserved where the system can. Errors: IO,
 * naming the directory. */
OPT_MUST_USE opt_status opt_spill_new(opt_ctx *ctx, const char *dir, uint64_t bytes,
                                      opt_spill **out);
/** Moves bytes at an offset; what was never written is 0. Errors: IO. */
OPT_MUST_USE opt_status opt_spill_write(opt_spill *s, uint64_t off, const void *data, size_t bytes);
OPT_MUST_USE opt_status opt_spill_read(const opt_spill *s, uint64_t off, void *data, size_t bytes);
/** NULL is allowed. */
void opt_spill_free(opt_spill *s);

#endif
