#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/file_impl.h"
#include "base/mem.h"

opt_status opt_file_size(opt_ctx *ctx, const char *path, uint64_t *out) {
    struct stat info = {0};
    if (stat(path, &info) != 0) {
        return opt_fail_errno(ctx, errno, path, "cannot read the size");
    }
    if (!S_ISREG(info.st_mode)) {
        return opt_fail(ctx, OPT_ERR_IO, path, "%s, expected a regular file",
                        S_ISDIR(info.st_mode) ? "is a directory" : "is a pipe or a device");
    }
    *out = (uint64_t)info.st_size;
    return OPT_OK;
}

opt_status opt_file_stamp_of(opt_ctx *ctx, const char *path, opt_file_stamp *out) {
    struct stat info = {0};
    if (stat(path, &info) != 0) {
        return opt_fail_errno(ctx, errno, path, "cannot read the size");
    }
    *out = (opt_file_stamp){.bytes = (uint64_t)info.st_size,
                            .modified_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 +
                                           (int64_t)info.st_mtim.tv_nsec};
    return OPT_OK;
}

bool opt_path_is_dir(const char *path) {
    struct stat info = {0};
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int write_all(opt_ctx *ctx, int fd, const char *data, size_t bytes) {
    const int fault = opt_fault_write(ctx);
    if (fault != 0) {
        return fault;
    }
    while (bytes > 0) {
        const ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : ENOSPC;
        }
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/** Copies all bytes between two open files. */
static opt_status copy_bytes(opt_ctx *ctx, int in, const char *from, int out, const char *to) {
    enum { CHUNK = 1 << 20 };
    opt_status st = OPT_OK;
    char *chunk = opt_alloc(ctx, CHUNK);
    OPT_TRY_PTR(chunk);
    for (;;) {
        const ssize_t n = read(in, chunk, CHUNK);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            st = opt_fail_errno(ctx, errno, from, "cannot read");
            goto done;
        }
        if (n == 0) {
            break;
        }
        OPT_TRY(opt_check_cancel(ctx));
        const int err = write_all(ctx, out, chunk, (size_t)n);
        if (err != 0) {
            st = opt_fail_errno(ctx, err, to, "cannot write");
            goto done;
        }
    }
done:
    opt_free(ctx, chunk);
    return st;
}

opt_status opt_file_copy(opt_ctx *ctx, const char *from, const char *to) {
    opt_status st = OPT_OK;
    bool made = false;
    int out = -1;
    int err = 0;
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        return opt_fail_errno(ctx, errno, from, "cannot open");
    }
    err = opt_fault_write(ctx);
    if (err == 0) {
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        err = out < 0 ? errno : 0;
    }
    if (err != 0) {
        st = opt_fail_errno(ctx, err, to, "cannot create");
        goto done;
    }
    made = true;
    OPT_TRY(copy_bytes(ctx, in, from, out, to));
    err = opt_sync_fd(ctx, out);
    if (err != 0) {
        st = opt_fail_errno(ctx, err, to, "fsync failed");
    }
done:
    if (out >= 0) {
        (void)close(out);
    }
    if (made && st != OPT_OK) {
        (void)unlink(to);
    }
    (void)close(in);
    return st;
}
