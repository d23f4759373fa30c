#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/file.h"
#include "base/file_impl.h"
#include "base/mem.h"

enum {
    MAX_ATTEMPTS = 100,
    WRITEBACK_BYTES =
        8 << 20 /* written bytes after which the system is told to start writing them out */
};

struct opt_outfile {
    opt_place place;
    int fd;
    bool made;            /* the temporary file exists */
    _Atomic uint64_t end; /* highest byte written, plus 1 */
    _Atomic uint64_t written;
};

/** What stands at the target must be a regular file, and may be replaced only on request. */
static opt_status check_target(const opt_place *place) {
    if (!place->exists) {
        return OPT_OK;
    }
    if (S_ISDIR(place->target.st_mode)) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "is a directory, expected a file name");
    }
    if (!S_ISREG(place->target.st_mode)) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "is a device, a pipe or a socket; the output must be a regular file, "
                        "because it is read back for "
                        "verification and then renamed");
    }
    if (!place->force) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "exists already; use --force to replace it");
    }
    return OPT_OK;
}

static opt_status check_space(const opt_place *place, uint64_t expected_bytes) {
    struct statvfs fs = {0};
    if (expected_bytes == 0 || fstatvfs(place->dir_fd, &fs) != 0 || fs.f_blocks == 0) {
        return OPT_OK; /* unknown: the writes will tell */
    }
    const uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (expected_bytes > free_bytes) {
        return opt_fail(place->ctx, OPT_ERR_IO, place->shown,
                        "needs %llu bytes, but the file system has %llu free",
                        (unsigned long long)expected_bytes, (unsigned long long)free_bytes);
    }
    return OPT_OK;
}

/** Creates the temporary file and locks it, so that another process can tell that it is in use. */
static opt_status create_temp(opt_outfile *file) {
    opt_place *place = &file->place;
    int err = opt_fault_write(place->ctx);
    for (int attempt = 0; err == 0 && attempt < MAX_ATTEMPTS; attempt++) {
        const opt_status st = opt_place_temp(place, attempt);
        if (st != OPT_OK) {
            return st;
        }
        file->fd = openat(place->dir_fd, place->temp,
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (file->fd >= 0) {
            file->made = true;
            (void)flock(file->fd,
                        LOCK_EX | LOCK_NB); /* where locks do not work, nobody relies on them */
            return OPT_OK;
        }
        err = errno == EEXIST ? 0 : errno;
    }
    return opt_fail_errno(place->ctx, err != 0 ? err : EEXIST, place->shown,
                          "cannot create a temporary file beside it");
}

opt_status opt_outfile_open(opt_ctx *ctx, const char *path, bool force, uint64_t expected_bytes,
                            opt_outfile **out) {
    opt_status st = OPT_OK;
    opt_outfile *file = opt_alloc_zero(ctx, sizeof *file);
    OPT_TRY_PTR(file);
    file->fd = -1;
    OPT_TRY(opt_place_open(ctx, path, force, &file->place));
    OPT_TRY(check_target(&file->place));
    opt_place_sweep(&file->place);
    OPT_TRY(check_space(&file->place, expected_bytes));
    OPT_TRY(create_temp(file));
    if (file->place.exists) {
        (void)fchmod(file->fd,
                     file->place.target.st_mode & 0777); /* a replaced file keeps its permissions */
    }
    *out = file;
    file = NULL;
done:
    opt_outfile_discard(file);
    return st;
}

opt_status opt_refuse_same_file(opt_ctx *ctx, const char *path, const char *input) {
    struct stat a = {0};
    struct stat b = {0};
    if (stat(path, &a) == 0 && stat(input, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino) {
        return opt_fail(ctx, OPT_ERR_USAGE, path, "is the input %s itself; choose another output",
                        input);
    }
    return OPT_OK;
}

static void raise_to(_Atomic uint64_t *value, uint64_t candidate) {
    uint64_t now = atomic_load_explicit(value, memory_order_relaxed);
    while (now < candidate && !atomic_compare_exchange_weak(value, &now, candidate)) {
    }
}

opt_status opt_outfile_pwrite(opt_outfile *file, uint64_t off, const void *data, size_t bytes) {
    opt_ctx *ctx = file->place.ctx;
    const char *p = data;
    size_t left = bytes;
    int err = opt_fault_write(ctx);
    if (err != 0) {
        left = bytes / 2; /* a full disk takes a part */
    }
    if (off > INT64_MAX || bytes > INT64_MAX - off) {
        return opt_fail_errno(ctx, EFBIG, file->place.shown, "cannot write %zu bytes", bytes);
    }
    for (uint64_t at = off; left > 0;) {
        const ssize_t n = pwrite(file->fd, p, left, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            err = n < 0 ? errno : ENOSPC;
            break;
        }
        p += n;
        at += (uint64_t)n;
        left -= (size_t)n;
    }
    if (err != 0) {
        return opt_fail_errno(ctx, err, file->place.shown, "cannot write %zu bytes at offset %llu",
                              bytes, (unsigned long long)off);
    }
    raise_to(&file->end, off + bytes);
    const uint64_t before = atomic_fetch_add(&file->written, bytes);
    if (before / WRITEBACK_BYTES != (before + bytes) / WRITEBACK_BYTES) {
        (void)sync_file_range(file->fd, 0, 0,
                              SYNC_FILE_RANGE_WRITE); /* a hint: makes the final fsync short */
    }
    return OPT_OK;
}

const char *opt_outfile_temp_path(const opt_outfile *file) { return file->place.temp_path; }

opt_status opt_outfile_commit(opt_outfile *file, opt_status (*verify)(void *user, const char *path),
                              void *user) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = file->place.ctx;
    int err = opt_sync_fd(ctx, file->fd);
    if (err != 0) {
        st = opt_fail_errno(ctx, err, file->place.shown, "fsync failed");
        goto done;
    }
    if (verify != NULL) {
        OPT_TRY(verify(user, file->place.temp_path));
    }
    OPT_TRY(opt_check_cancel(ctx));
    OPT_TRY(opt_place_rename(&file->place));
    file->made = false;
done:
    opt_outfile_discard(file);
    return st;
}

void opt_outfile_discard(opt_outfile *file) {
    if (file == NULL) {
        return;
    }
    opt_ctx *ctx = file->place.ctx;
    if (file->made) {
        (void)unlinkat(file->place.dir_fd, file->place.temp, 0);
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    opt_place_close(&file->place);
    opt_free(ctx, file);
}
