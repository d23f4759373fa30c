/**
 * Tensors on their way into an output file of fixed layout: final offsets, checksums on the fly,
 * and a comparison of what was written with what is on disk before the file gets its name. Shared
 * by the writers of containers.
 */
#ifndef OPT_IO_SINK_H
#define OPT_IO_SINK_H

#include "base/file.h"
#include "base/hash.h"

/** A tensor of the layout. */
typedef struct opt_sink_tensor {
    const char *name;
    uint64_t off; /* in the file */
    size_t bytes;
    uint64_t checksum;    /* XXH3 of the bytes, once they are complete */
    size_t n_done;        /* bytes accounted for so far */
    opt_xxh3_state *hash; /* while between the first and the last byte */
} opt_sink_tensor;

typedef struct opt_sink opt_sink;

/**
 * Opens the output (see opt_outfile_open) for n tensors: the caller's name, off and bytes are
 * copied, the rest is zero. file_bytes is the final size; bytes that nobody writes are zero.
 * Errors: those of opt_outfile_open; BUG for two tensors of one name.
 */
OPT_MUST_USE opt_status opt_sink_open(opt_ctx *ctx, const char *path, bool force,
                                      uint64_t file_bytes, const opt_sink_tensor *tensors,
                                      int64_t n, opt_sink **out);
/** Writes bytes that belong to no tensor. */
OPT_MUST_USE opt_status opt_sink_write(opt_sink *sink, uint64_t off, const void *data,
                                       size_t bytes);
/** Writes bytes of tensor i at an offset inside it: any order, any thread, each byte once. Its
 * checksum follows with opt_sink_account. BUG behind the tensor's end. */
OPT_MUST_USE opt_status opt_sink_put(opt_sink *sink, int64_t i, size_t off, const void *data,
                                     size_t bytes);
/** Adds bytes of tensor i to its checksum, strictly in order. BUG when there are too many. */
OPT_MUST_USE opt_status opt_sink_account(opt_sink *sink, int64_t i, const void *data, size_t bytes);
/** Both: appends bytes of tensor i; different tensors from different threads. */
OPT_MUST_USE opt_status opt_sink_append(opt_sink *sink, int64_t i, const void *data, size_t bytes);
/** BUG, naming the tensor, unless all tensors are complete. Their checksums are valid afterwards.
 */
OPT_MUST_USE opt_status opt_sink_check_complete(opt_sink *sink);
uint64_t opt_sink_checksum(const opt_sink *sink, int64_t i);
/**
 * Syncs, opens the temporary file with the reader, compares every tensor's checksum, renames. Frees
 * the sink always. A file that does not read back as written: IO.
 */
OPT_MUST_USE opt_status opt_sink_commit(opt_sink *sink);
/** Throws the temporary file away. NULL is allowed. */
void opt_sink_discard(opt_sink *sink);

#endif
