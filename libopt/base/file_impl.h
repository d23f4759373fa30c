/** Pieces that output files and output directories share. Included by the sources of base only. */
#ifndef OPT_BASE_FILE_IMPL_H
#define OPT_BASE_FILE_IMPL_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/ctx.h"

/**
 * Where an output goes: the real target (symbolic links followed), its directory, and the temporary
 * name in it. Half-built ones can be closed.
 */
typedef struct opt_place {
    opt_ctx *ctx;
    char *shown;     /**< the path as the user wrote it, for messages */
    char *dir;       /**< directory of the target */
    char *name;      /**< last component of the target */
    char *temp;      /**< name of the temporary file or directory in `dir` */
    char *temp_path; /**< dir/temp */
    int dir_fd;      /**< `dir`, opened */
    bool exists;
    bool force;
    struct stat target; /**< of the target, if it exists */
} opt_place;

/**
 * Resolves `path` and opens its directory; fills everything but `temp`, `temp_path`. Errors: USAGE
 * for a path that names nothing that can be written, IO for a missing or unreadable directory.
 * Close after an error too.
 */
OPT_MUST_USE opt_status opt_place_open(opt_ctx *ctx, const char *path, bool force,
                                       opt_place *place);
/**
 * Sets `temp` and `temp_path`: ".<name>.tmp.<pid>", with ".<attempt>" behind it from the second
 * attempt on.
 */
OPT_MUST_USE opt_status opt_place_temp(opt_place *place, int attempt);
void opt_place_close(opt_place *place);

/** Removes temporary files and directories of this target that dead processes left. */
void opt_place_sweep(opt_place *place);

/** fsync with fault injection; 0 or an errno. */
int opt_sync_fd(opt_ctx *ctx, int fd);
/** renameat2 with fault injection; 0 or an errno. */
int opt_rename_at(opt_ctx *ctx, int dir_fd, const char *from, const char *to, unsigned flags);
/**
 * Renames the temporary to the target, which must not have appeared meanwhile unless `force`; then
 * fsync of `dir`.
 */
OPT_MUST_USE opt_status opt_place_rename(opt_place *place);

/** Removes a file, or a directory with everything in it; links are not followed. 0 or an errno. */
int opt_remove_tree(int dir_fd, const char *name);

#endif
