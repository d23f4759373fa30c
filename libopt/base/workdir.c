#include "base/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/file.h"
#include "base/file_impl.h"

#define LOCK_NAME "lock"
#define JOURNAL_NAME "journal"

enum { MAX_JOURNAL_BYTES = 1 << 16 };

struct opt_workdir {
    opt_ctx *ctx;
    opt_place place; /* of the output: its directory is opened */
    char name[NAME_MAX + 1];
    char path[PATH_MAX];
    int lock_fd;
    bool kept; /* a file beside lock and journal is there */
};

const char *opt_workdir_path(const opt_workdir *w) { return w->path; }

static opt_status file_path(const opt_workdir *w, const char *name, char out[PATH_MAX]) {
    const int n = snprintf(out, PATH_MAX, "%s/%s", w->path, name);
    return n > 0 && n < PATH_MAX ? OPT_OK
                                 : opt_fail_errno(w->ctx, ENAMETOOLONG, w->path, "%s", name);
}

static opt_status set_names(opt_workdir *w) {
    const int n = snprintf(w->name, sizeof w->name, "%s.work", w->place.name);
    const int m = snprintf(w->path, sizeof w->path, "%s/%s", w->place.dir, w->name);
    const bool fits = n > 0 && (size_t)n < sizeof w->name && m > 0 && (size_t)m < sizeof w->path;
    return fits ? OPT_OK
                : opt_fail_errno(w->ctx, ENAMETOOLONG, w->place.shown,
                                 "no directory for intermediate results can stand beside it");
}

static opt_status lock(opt_workdir *w) {
    int err = opt_fault_write(w->ctx);
    if (err == 0 && mkdirat(w->place.dir_fd, w->name, 0777) != 0 && errno != EEXIST) {
        err = errno;
    }
    const int dir_fd = err != 0 ? -1
                                : openat(w->place.dir_fd, w->name,
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (err == 0 && dir_fd < 0) {
        err = errno;
    }
    if (err == 0) {
        w->lock_fd = openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        err = w->lock_fd < 0 ? errno : 0;
        (void)close(dir_fd);
    }
    if (err != 0) {
        return opt_fail_errno(w->ctx, err, w->path,
                              "cannot make the directory for intermediate results");
    }
    if (flock(w->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return opt_fail(w->ctx, OPT_ERR_USAGE, w->path,
                        "another process works there; wait for it or choose another output");
    }
    return OPT_OK;
}

/* Looks at what is there, or with `clear` removes it, all but the lock. */
static opt_status list(opt_workdir *w, bool clear, bool *has_journal) {
    const int fd = openat(w->place.dir_fd, w->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int err = dir == NULL ? errno : 0;
    w->kept = false;
    *has_journal = false;
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL && err == 0;
         e = readdir(dir)) {
        /* temporary files of a killed process begin with a dot */
        const bool other = e->d_name[0] != '.' && strcmp(e->d_name, LOCK_NAME) != 0;
        const bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (clear && !dots && strcmp(e->d_name, LOCK_NAME) != 0) {
            err = opt_remove_tree(fd, e->d_name);
        } else if (other && strcmp(e->d_name, JOURNAL_NAME) == 0) {
            *has_journal = true;
        } else if (other) {
            w->kept = true;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    return err == 0 ? OPT_OK : opt_fail_errno(w->ctx, err, w->path, "cannot read the directory");
}

/* The line of `want` that `have` has not got in its place, for a message; its length in *n. */
static const char *first_difference(const char *want, const char *have, size_t n_have, size_t *n) {
    const char *line = want;
    size_t at = 0;
    while (*line != 0) {
        const char *end = strchr(line, '\n');
        const size_t len = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        if (at + len > n_have || memcmp(have + at, line, len) != 0) {
            break;
        }
        at += len;
        line += len;
    }
    *n = strcspn(line, ":\n");
    return line;
}

static opt_status compare_journal(opt_workdir *w, const char *journal) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    char path[PATH_MAX];
    OPT_TRY(file_path(w, JOURNAL_NAME, path));
    OPT_TRY(opt_buf_read(w->ctx, path, MAX_JOURNAL_BYTES, &buf));
    if (buf->bytes != strlen(journal) || memcmp(buf->data, journal, buf->bytes) != 0) {
        size_t n = 0;
        const char *line = first_difference(journal, (const char *)buf->data, buf->bytes, &n);
        st = opt_fail(w->ctx, OPT_ERR_USAGE, w->path,
                      "an interrupted run left this, but with another %.*s; run it with the same "
                      "again, or begin anew with --fresh",
                      n > 0 ? (int)n : (int)strlen("journal"), n > 0 ? line : "journal");
    }
done:
    opt_buf_release(buf);
    return st;
}

opt_status opt_workdir_open(opt_ctx *ctx, const char *output, const char *journal, bool fresh,
                            opt_workdir **out) {
    opt_status st = OPT_OK;
    bool has_journal = false;
    opt_workdir *w = opt_alloc_zero(ctx, sizeof *w);
    OPT_TRY_PTR(w);
    w->ctx = ctx;
    w->lock_fd = -1;
    w->place.dir_fd = -1;
    OPT_TRY(opt_place_open(ctx, output, true, &w->place));
    OPT_TRY(set_names(w));
    OPT_TRY(lock(w));
    OPT_TRY(list(w, false, &has_journal));
    if (!has_journal && w->kept) {
        st = opt_fail(ctx, OPT_ERR_USAGE, w->path,
                      "is in the way: it is no directory of intermediate results; remove it");
        goto done;
    }
    if (fresh) {
        OPT_TRY(list(w, true, &has_journal));
        has_journal = false;
    }
    if (has_journal) {
        OPT_TRY(compare_journal(w, journal));
    } else {
        const opt_piece piece = {journal, strlen(journal)};
        OPT_TRY(opt_workdir_put(w, JOURNAL_NAME, &piece, 1));
        w->kept = false;
    }
    *out = w;
    w = NULL;
done:
    if (w != NULL && w->lock_fd < 0) {
        w->kept = true; /* not ours to remove */
    }
    if (w != NULL && st == OPT_ERR_USAGE) {
        w->kept = true;
    }
    opt_workdir_close(w, false);
    return st;
}

opt_status opt_workdir_get(const opt_workdir *w, const char *name, opt_buf **out) {
    opt_status st = OPT_OK;
    char path[PATH_MAX];
    *out = NULL;
    OPT_TRY(file_path(w, name, path));
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return OPT_OK;
    }
    OPT_TRY(opt_buf_map(w->ctx, path, out));
done:
    return st;
}

opt_status opt_workdir_put(opt_workdir *w, const char *name, const opt_piece *pieces, size_t n) {
    opt_status st = OPT_OK;
    opt_outfile *file = NULL;
    char path[PATH_MAX];
    uint64_t off = 0;
    for (size_t i = 0; i < n; i++) {
        off += pieces[i].bytes;
    }
    OPT_TRY(file_path(w, name, path));
    OPT_TRY(opt_outfile_open(w->ctx, path, true, off, &file));
    off = 0;
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(opt_outfile_pwrite(file, off, pieces[i].data, pieces[i].bytes));
        off += pieces[i].bytes;
    }
    opt_outfile *const whole = file;
    file = NULL; /* commit frees it */
    OPT_TRY(opt_outfile_commit(whole, NULL, NULL));
    w->kept = true;
done:
    opt_outfile_discard(file);
    return st;
}

void opt_workdir_close(opt_workdir *w, bool done) {
    if (w == NULL) {
        return;
    }
    if (done || !w->kept) {
        (void)opt_remove_tree(w->place.dir_fd, w->name);
    }
    if (w->lock_fd >= 0) {
        (void)close(w->lock_fd);
    }
    opt_place_close(&w->place);
    opt_free(w->ctx, w);
}
