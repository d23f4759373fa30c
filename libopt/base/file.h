/** Output that is never seen half-written: temporary name, fsync, verification, rename. */
#ifndef OPT_BASE_FILE_H
#define OPT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

/** An output file under a temporary name in the target's directory until it is committed. */
typedef struct opt_outfile opt_outfile;

/**
 * Opens `.<name>.tmp.<pid>` beside `path` (O_EXCL). If `path` exists: USAGE unless `force`.
 * `expected_bytes` (0: unknown) is checked against the free space (IO). Errors name the path.
 */
OPT_MUST_USE opt_status opt_outfile_open(opt_ctx *ctx, const char *path, bool force,
                                         uint64_t expected_bytes, opt_outfile **out);
/** Refuses (USAGE) if `path` resolves to the same file (device and inode) as `input`. */
OPT_MUST_USE opt_status opt_refuse_same_file(opt_ctx *ctx, const char *path, const char *input);
/** Writes all bytes at an offset; thread-safe. */
OPT_MUST_USE opt_status opt_outfile_pwrite(opt_outfile *file, uint64_t off, const void *data,
                                           size_t bytes);
/** Path of the temporary file, for verification. */
const char *opt_outfile_temp_path(const opt_outfile *file);
/**
 * fsync, then verify(user, temp path) if given, rename, fsync of the directory. Frees `file` in
 * every case.
 */
OPT_MUST_USE opt_status opt_outfile_commit(opt_outfile *file,
                                           opt_status (*verify)(void *user, const char *path),
                                           void *user);
/** Removes the temporary file. NULL is allowed. */
void opt_outfile_discard(opt_outfile *file);

/**
 * A directory built under a temporary name; commit renames it, or exchanges it with an existing one
 * (`force`).
 */
typedef struct opt_outdir opt_outdir;
OPT_MUST_USE opt_status opt_outdir_open(opt_ctx *ctx, const char *path, bool force,
                                        opt_outdir **out);
const char *opt_outdir_temp_path(const opt_outdir *dir);
OPT_MUST_USE opt_status opt_outdir_commit(opt_outdir *dir);
void opt_outdir_discard(opt_outdir *dir);

/** Copies a file byte for byte (new file, fsync). */
OPT_MUST_USE opt_status opt_file_copy(opt_ctx *ctx, const char *from, const char *to);
/** Size of a regular file, or IO. */
OPT_MUST_USE opt_status opt_file_size(opt_ctx *ctx, const char *path, uint64_t *out);
/** What tells that a file was changed: its size and the time of its last modification. */
typedef struct opt_file_stamp {
    uint64_t bytes;
    int64_t modified_ns;
} opt_file_stamp;
OPT_MUST_USE opt_status opt_file_stamp_of(opt_ctx *ctx, const char *path, opt_file_stamp *out);
bool opt_path_is_dir(const char *path);

#endif
