/**
 * GGUF v3 writer: the header is of final size before any tensor is written, tensors stream to their
 * final offsets, per-tensor checksums are patched in at the end, and the file appears under its
 * name only when it has been verified.
 */
#ifndef OPT_IO_GGUF_WRITE_H
#define OPT_IO_GGUF_WRITE_H

#include "io/kv.h"
#include "tensor/tensor.h"

/** A tensor to be written, in file order. Own formats are stored as I8 [n_rows, row bytes] and
 * described by lathe.* keys. */
typedef struct opt_gguf_decl {
    const char *name; /* at most 63 bytes */
    const opt_format *format;
    int n_dims; /* 1 .. 4, outermost first; dims[n_dims-1] must fit the format */
    int64_t dims[4];
    bool runs; /* the rows come 16 together: an own type, too */
} opt_gguf_decl;

typedef struct opt_gguf_writer opt_gguf_writer;

/** Size of the file that these entries and tensors give, in bytes, exactly. Errors: UNSUPPORTED,
 * BUG. */
OPT_MUST_USE opt_status opt_gguf_predict_bytes(opt_ctx *ctx, const opt_kv *kv,
                                               const opt_gguf_decl *tensors, int64_t n,
                                               uint64_t *bytes);

/**
 * Opens the output under a temporary name and writes the header. `general.alignment` of kv is
 * honoured (default 32). The writer adds the lathe.* keys of FORMAT.md (format version, own
 * formats, checksums), replacing any that kv holds.
 */
OPT_MUST_USE opt_status opt_gguf_create(opt_ctx *ctx, const char *path, bool force,
                                        const opt_kv *kv, const opt_gguf_decl *tensors, int64_t n,
                                        opt_gguf_writer **out);
/** Appends bytes of tensor i (0-based, file order). Within one tensor strictly in order; tensors in
   any order, also from different threads (one thread a tensor at a time). */
OPT_MUST_USE opt_status opt_gguf_append(opt_gguf_writer *w, int64_t i, const void *data,
                                        size_t bytes);
/** The halves of opt_gguf_append: bytes of tensor i at an offset inside it, in any order and from
 * any thread; and their part in its checksum, strictly in order. */
OPT_MUST_USE opt_status opt_gguf_put(opt_gguf_writer *w, int64_t i, size_t off, const void *data,
                                     size_t bytes);
OPT_MUST_USE opt_status opt_gguf_account(opt_gguf_writer *w, int64_t i, const void *data,
                                         size_t bytes);
/** Every tensor complete? Then patches checksums, syncs, re-opens and compares checksums, renames.
 * Frees w always. */
OPT_MUST_USE opt_status opt_gguf_commit(opt_gguf_writer *w);
/** Throws the temporary file away. NULL is allowed. */
void opt_gguf_discard(opt_gguf_writer *w);

#endif
