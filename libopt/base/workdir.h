/**
 * A directory beside an output, `<output>.work`, from which an interrupted run is continued. It
 * holds a lock, a journal that says what the run is, and files that appear whole or not at all.
 */
#ifndef OPT_BASE_WORKDIR_H
#define OPT_BASE_WORKDIR_H

#include <stdbool.h>

#include "base/mem.h"

typedef struct opt_workdir opt_workdir;

/**
 * Opens or makes the directory of `output` and locks it. `journal` is a text of lines "name: value"
 * that names everything the result depends on. A directory with the same journal is continued; with
 * `fresh` whatever is there of an earlier run is removed. Errors: USAGE if another process works
 * there, if the journal differs (naming the line), or if something else has that name; IO.
 */
OPT_MUST_USE opt_status opt_workdir_open(opt_ctx *ctx, const char *output, const char *journal,
                                         bool fresh, opt_workdir **out);
/** Path of the directory, and of a file in it that the caller uses as he likes. */
const char *opt_workdir_path(const opt_workdir *w);
/** Maps the file `name` to *out; NULL if it is not there. */
OPT_MUST_USE opt_status opt_workdir_get(const opt_workdir *w, const char *name, opt_buf **out);

/** Bytes of a file that is written from pieces. */
typedef struct opt_piece {
    const void *data;
    size_t bytes;
} opt_piece;

/** Writes a file, replacing one of the same name; it is there in full when this returns. */
OPT_MUST_USE opt_status opt_workdir_put(opt_workdir *w, const char *name, const opt_piece *pieces,
                                        size_t n);
/**
 * Ends: `done` removes the directory with everything in it. Otherwise it stays if it holds any file
 * beside lock and journal. NULL is allowed.
 */
void opt_workdir_close(opt_workdir *w, bool done);

#endif
