/**
 * The directory of a prefix cache: files that appear whole or not at all and are never changed, the
 * ones used longest ago removed to keep a size. Several processes may use it: a file that another
 * one has removed is a miss, writers exclude each other by a lock.
 */
#ifndef OPT_RUNTIME_PREFIX_DIR_H
#define OPT_RUNTIME_PREFIX_DIR_H

#include "base/mem.h"

typedef struct opt_prefix_dir opt_prefix_dir;

/** A file is named after what is in it: three numbers, "KEY-PARENT-SELF.kv". */
typedef struct opt_prefix_name {
    uint64_t key, parent, self;
} opt_prefix_name;

/** Opens `path`, making it if it is not there. Errors: IO. */
OPT_MUST_USE opt_status opt_prefix_dir_open(opt_ctx *ctx, const char *path, uint64_t max_bytes,
                                            opt_prefix_dir **out);
void opt_prefix_dir_close(opt_prefix_dir *d);
/** Path of a file, for messages; borrowed until the next call. */
const char *opt_prefix_dir_path(opt_prefix_dir *d, const opt_prefix_name *name);
/** Size of a file; 0 if it is not there. */
uint64_t opt_prefix_dir_size(const opt_prefix_dir *d, const opt_prefix_name *name);
/**
 * Reads at most `cap` bytes of a file. 0 or an errno (ENOENT: it is not there, which is no
 * mistake). Thread-safe.
 */
int opt_prefix_dir_read(const opt_prefix_dir *d, const opt_prefix_name *name, uint8_t *out,
                        size_t cap, size_t *n);
/** Calls fn for the files of a key and a parent, in no order. */
void opt_prefix_dir_children(const opt_prefix_dir *d, uint64_t key, uint64_t parent,
                             void (*fn)(void *user, uint64_t self), void *user);
/** Marks files as used now, the first one last of all: what stands in front is needed longest. */
void opt_prefix_dir_touch(const opt_prefix_dir *d, const opt_prefix_name *names, size_t n);
void opt_prefix_dir_remove(const opt_prefix_dir *d, const opt_prefix_name *name);

/**
 * Begins to write `bytes` more: waits for the lock, removes what dead writers left and, oldest use
 * first, what has to go. *n_removed files went. Ends with opt_prefix_dir_end in every case.
 */
OPT_MUST_USE opt_status opt_prefix_dir_begin(opt_prefix_dir *d, uint64_t bytes, int64_t *n_removed);
void opt_prefix_dir_end(opt_prefix_dir *d);
/** Writes a file, replacing one of that name. Errors: IO, and those of cancellation. */
OPT_MUST_USE opt_status opt_prefix_dir_put(opt_prefix_dir *d, const opt_prefix_name *name,
                                           const uint8_t *data, size_t bytes);

#endif
