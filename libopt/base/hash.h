/** Checksums: XXH3 for tensors (fast), SHA-256 for files (provenance). */
#ifndef OPT_BASE_HASH_H
#define OPT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

/** XXH3-64 of a byte string, seed 0. */
uint64_t opt_xxh3(const void *data, size_t bytes);

/** The same, piece by piece. */
typedef struct opt_xxh3_state opt_xxh3_state;
OPT_MUST_USE opt_status opt_xxh3_new(opt_ctx *ctx, opt_xxh3_state **out);
void opt_xxh3_reset(opt_xxh3_state *state);
void opt_xxh3_update(opt_xxh3_state *state, const void *data, size_t bytes);
uint64_t opt_xxh3_digest(const opt_xxh3_state *state);
void opt_xxh3_free(opt_xxh3_state *state);

/** SHA-256 of a byte string as 64 lower-case hexadecimal digits and a 0. */
OPT_MUST_USE opt_status opt_sha256_hex(opt_ctx *ctx, const void *data, size_t bytes, char out[65]);
/** SHA-256 of a file. */
OPT_MUST_USE opt_status opt_sha256_file(opt_ctx *ctx, const char *path, char out[65]);

#endif
