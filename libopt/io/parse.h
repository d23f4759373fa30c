/**
 * Parsers of headers over bytes in memory: no file system, so that tests and fuzzers can call them
 * directly. Everything that they hand out lives in the arena or points into the bytes. Errors:
 * INPUT, UNSUPPORTED, MEMORY; the first parameter `name` is the file, which every message names.
 */
#ifndef OPT_IO_PARSE_H
#define OPT_IO_PARSE_H

#include "base/mem.h"
#include "io/kv.h"
#include "tensor/tensor.h"

/** Tensors of one file in the order of their bytes; data points into the file. */
typedef struct opt_tensor_list {
    opt_tensor *tensors; /* [n] */
    int64_t n;
} opt_tensor_list;

/** safetensors: `data` [bytes] is the whole file. */
OPT_MUST_USE opt_status opt_st_parse(opt_ctx *ctx, opt_arena *arena, const char *name,
                                     const uint8_t *data, size_t bytes, opt_tensor_list *out);

/** One line of a weight map. */
typedef struct opt_hf_index_entry {
    const char *tensor;
    size_t shard; /* index into shards */
} opt_hf_index_entry;

/** model.safetensors.index.json. */
typedef struct opt_hf_index {
    const char **shards; /* [n_shards] plain file names, sorted bytewise, unique */
    size_t n_shards;
    opt_hf_index_entry *entries; /* [n_entries] sorted by tensor name */
    size_t n_entries;
    double total_size; /* bytes of all tensors as the file claims, negative if it does not say */
} opt_hf_index;

OPT_MUST_USE opt_status opt_hf_index_parse(opt_ctx *ctx, opt_arena *arena, const char *name,
                                           const char *text, size_t bytes, opt_hf_index *out);

/** One GGUF file as it is stored: ggml types, own formats still as I8. */
typedef struct opt_gguf {
    uint32_t version; /* 2 or 3 */
    opt_kv *kv;       /* owned: free with opt_kv_free */
    opt_tensor_list list;
    size_t header_bytes;   /* from the start of the file to the first tensor's bytes */
    size_t header_sum_off; /* where the value of lathe.header.xxh3 stands; 0: nowhere */
} opt_gguf;

/** GGUF: `data` [bytes] is the whole file. Names are checked to be unique by the caller (they span
 * shards). */
OPT_MUST_USE opt_status opt_gguf_parse(opt_ctx *ctx, opt_arena *arena, const char *name,
                                       const uint8_t *data, size_t bytes, opt_gguf *out);

/**
 * Applies the lathe.* keys of a file of ours (docs/FORMAT.md) to its tensors [n], in file order:
 * own formats get their format and logical shape. *checksums gets [n] XXH3 sums that live as long
 * as kv, or NULL when the file is not ours.
 */
OPT_MUST_USE opt_status opt_gguf_apply_own(opt_ctx *ctx, const opt_kv *kv, opt_tensor *tensors,
                                           int64_t n, const uint8_t **checksums);

#endif
