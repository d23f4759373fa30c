/**
 * An opened checkpoint of any container: a sorted index of tensors over mapped files, metadata, and
 * side files. io/registry.c is the only file that names the containers.
 */
#ifndef OPT_IO_SOURCE_H
#define OPT_IO_SOURCE_H

#include "base/mem.h"
#include "io/kv.h"
#include "tensor/tensor.h"

typedef enum opt_source_kind {
    OPT_SOURCE_HF,  /**< a Hugging Face directory: config.json, model*.safetensors, ... */
    OPT_SOURCE_GGUF /**< one GGUF file, or the first file of a split one */
} opt_source_kind;

typedef struct opt_source opt_source;

/**
 * Opens a checkpoint: a directory, a .safetensors file, a GGUF file. Maps the data, validates every
 * header, reads no weights. Own formats inside a GGUF appear with their own format and logical
 * shape. Errors: IO, INPUT, UNSUPPORTED.
 */
OPT_MUST_USE opt_status opt_source_open(opt_ctx *ctx, const char *path, opt_source **out);
void opt_source_close(opt_source *source);

opt_source_kind opt_source_kind_of(const opt_source *source);
const char *opt_source_path(const opt_source *source);
/** Tensors sorted by name (bytewise). */
int64_t opt_source_n_tensors(const opt_source *source);
const opt_tensor *opt_source_tensor(const opt_source *source, int64_t i);
const opt_tensor *opt_source_find(const opt_source *source, const char *name); /* NULL if absent */
/** Metadata of a GGUF file (all shards agree with the first); NULL for other containers. */
const opt_kv *opt_source_kv(const opt_source *source);
/** Bytes of all files that hold tensors. */
uint64_t opt_source_file_bytes(const opt_source *source);
/** A side file of a directory ("config.json"), whole, at most 256 MiB; *out is NULL when it does
 * not exist. */
OPT_MUST_USE opt_status opt_source_side_file(const opt_source *source, const char *name,
                                             opt_buf **out);
/** Paths of all input files, for refusing to overwrite one of them. */
size_t opt_source_n_files(const opt_source *source);
const char *opt_source_file(const opt_source *source, size_t i);
/** Tells the system that a tensor's pages are needed soon / not needed any more. */
void opt_source_will_need(const opt_source *source, const opt_tensor *t);
void opt_source_dont_need(const opt_source *source, const opt_tensor *t);
/** Checks the checksums of header and tensors where the files carry them (docs/FORMAT.md): INPUT
   naming the tensor that differs. *n_checked gets the number of tensors compared. Runs on all
   threads. */
OPT_MUST_USE opt_status opt_source_verify(const opt_source *source, int64_t *n_checked);

#endif
