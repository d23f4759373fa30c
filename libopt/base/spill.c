#include "base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/mem.h"

struct opt_spill {
    opt_ctx *ctx;
    int fd;
    char dir[PATH_MAX];
};

/* Not every file system has files without a name: otherwise one whose name goes at once. */
static int open_unnamed(const char *dir) {
    char path[PATH_MAX];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        return fd;
    }
    const int n = snprintf(path, sizeof path, "%s/.spill.tmp.%d", dir, (int)getpid());
    if (n <= 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)unlink(path);
    }
    return fd;
}

opt_status opt_spill_new(opt_ctx *ctx, const char *dir, uint64_t bytes, opt_spill **out) {
    opt_status st = OPT_OK;
    int err = opt_fault_write(ctx);
    opt_spill *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    s->fd = -1;
    OPT_REQUIRE(strlen(dir) < sizeof s->dir && bytes <= INT64_MAX, ctx, OPT_ERR_IO, dir,
                "cannot hold %llu bytes", (unsigned long long)bytes);
    memcpy(s->dir, dir, strlen(dir) + 1);
    if (err == 0) {
        s->fd = open_unnamed(dir);
        err = s->fd < 0 ? errno : 0;
    }
    if (err == 0 && bytes > 0) {
        err = posix_fallocate(s->fd, 0, (off_t)bytes);
        err = err == EOPNOTSUPP || err == EINVAL || err == ENOSYS ? 0 : err; /* writes will tell */
    }
    if (err != 0) {
        st = opt_fail_errno(ctx, err, dir, "cannot make a file of %llu bytes there",
                            (unsigned long long)bytes);
        goto done;
    }
    *out = s;
    s = NULL;
done:
    opt_spill_free(s);
    return st;
}

opt_status opt_spill_write(opt_spill *s, uint64_t off, const void *data, size_t bytes) {
    const uint8_t *at = data;
    int err = opt_fault_write(s->ctx);
    while (err == 0 && bytes > 0) {
        const ssize_t n = pwrite(s->fd, at, bytes, (off_t)off);
        if (n > 0) {
            at += n;
            off += (uint64_t)n;
            bytes -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            err = n == 0 ? ENOSPC : errno;
        }
    }
    return err == 0 ? OPT_OK
                    : opt_fail_errno(s->ctx, err, s->dir, "cannot write intermediate data there");
}

opt_status opt_spill_read(const opt_spill *s, uint64_t off, void *data, size_t bytes) {
    uint8_t *at = data;
    int err = 0;
    while (err == 0 && bytes > 0) {
        const ssize_t n = pread(s->fd, at, bytes, (off_t)off);
        if (n > 0) {
            at += n;
            off += (uint64_t)n;
            bytes -= (size_t)n;
        } else if (n == 0) { /* never written: behind the end */
            memset(at, 0, bytes);
            bytes = 0;
        } else if (errno != EINTR) {
            err = errno;
        }
    }
    return err == 0 ? OPT_OK
                    : opt_fail_errno(s->ctx, err, s->dir, "cannot read intermediate data there");
}

void opt_spill_free(opt_spill *s) {
    if (s != NULL) {
        if (s->fd >= 0) {
            (void)close(s->fd);
        }
        opt_free(s->ctx, s);
    }
}
