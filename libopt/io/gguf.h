/** What the GGUF reader and writer share: limits, and the names of the keys of our own files
 * (docs/FORMAT.md). */
#ifndef OPT_IO_GGUF_H
#define OPT_IO_GGUF_H

#include "io/kv.h"

#define OPT_GGUF_ALIGNMENT 32 /* default of general.alignment */
#define OPT_GGUF_NAME_MAX 63  /* bytes of a tensor name; ggml's buffer has one more */
#define OPT_GGUF_FORMAT_VERSION 1

#define OPT_GGUF_KEY_ALIGNMENT "general.alignment"
#define OPT_GGUF_KEY_SPLIT_NO "split.no"
#define OPT_GGUF_KEY_SPLIT_COUNT "split.count"
#define OPT_GGUF_KEY_SPLIT_TENSORS "split.tensors.count"
#define OPT_GGUF_KEY_VERSION "lathe.format_version" /* u32 */
#define OPT_GGUF_KEY_GENERATOR "lathe.generator"    /* string: program and version */
#define OPT_GGUF_KEY_FORMAT "lathe.tensor.format"   /* [string; n_tensors] in file order */
#define OPT_GGUF_KEY_COLUMNS "lathe.tensor.columns" /* [u64; n_tensors] logical columns */
#define OPT_GGUF_KEY_CHECKSUM "lathe.tensor.xxh3"   /* [u64; n_tensors] of the stored bytes */

/* u64: XXH3 of the header with this value as 0, from the first byte of the file to the first of the
 * tensor data */
#define OPT_GGUF_KEY_HEADER "lathe.header.xxh3"

/** Value of general.alignment, checked (u32, a power of two, 8 to 1 MiB), or the default. Errors:
 * INPUT. */
OPT_MUST_USE opt_status opt_gguf_alignment(opt_ctx *ctx, const opt_kv *kv, size_t *out);

#endif
