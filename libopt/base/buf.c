#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"

struct opt_buf_impl {
    opt_buf buf;
    opt_ctx *ctx;
    atomic_int n_refs;
    bool mapped;        /* data is a mapping of a file */
    uint8_t nothing[8]; /* what `data` points to when there are no bytes */
};

static struct opt_buf_impl *impl_new(opt_ctx *ctx) {
    struct opt_buf_impl *impl = opt_alloc_zero(ctx, sizeof *impl);
    if (impl != NULL) {
        impl->ctx = ctx;
        impl->buf.impl = impl;
        impl->buf.data = impl->nothing;
        atomic_init(&impl->n_refs, 1);
    }
    return impl;
}

opt_status opt_buf_new(opt_ctx *ctx, size_t bytes, opt_buf **out) {
    struct opt_buf_impl *impl = impl_new(ctx);
    if (impl == NULL) {
        return OPT_ERR_MEMORY;
    }
    if (bytes > 0) {
        uint8_t *data = opt_alloc(ctx, bytes);
        if (data == NULL) {
            opt_buf_release(&impl->buf);
            return OPT_ERR_MEMORY;
        }
        impl->buf.data = data;
        impl->buf.bytes = bytes;
    }
    *out = &impl->buf;
    return OPT_OK;
}

opt_status opt_buf_map(opt_ctx *ctx, const char *path, opt_buf **out) {
    opt_status st = OPT_OK;
    struct opt_buf_impl *impl = NULL;
    struct stat info = {0};
    void *map = NULL;
    const int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block us here */
    if (fd < 0) {
        return opt_fail_errno(ctx, errno, path, "cannot open");
    }
    if (fstat(fd, &info) != 0) {
        st = opt_fail_errno(ctx, errno, path, "cannot read the size");
        goto done;
    }
    OPT_REQUIRE(S_ISREG(info.st_mode), ctx, OPT_ERR_IO, path, "%s, expected a regular file",
                S_ISDIR(info.st_mode) ? "is a directory" : "is a pipe or a device");
    impl = impl_new(ctx);
    OPT_TRY_PTR(impl);
    if (info.st_size > 0) {
        map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            st = opt_fail_errno(ctx, errno, path, "cannot map %lld bytes", (long long)info.st_size);
            goto done;
        }
        impl->mapped = true;
        impl->buf.data = map;
        impl->buf.bytes = (size_t)info.st_size;
    }
    *out = &impl->buf;
    impl = NULL;
done:
    (void)close(fd);
    if (impl != NULL) {
        opt_buf_release(&impl->buf);
    }
    return st;
}

/** Reads to the end of the stream. The block grows by half; one byte stays free for the 0. */
static opt_status read_all(opt_ctx *ctx, int fd, const char *name, size_t max_bytes, size_t cap,
                           struct opt_buf_impl *impl) {
    opt_status st = OPT_OK;
    uint8_t *data = opt_alloc(ctx, cap);
    size_t n = 0;
    OPT_TRY_PTR(data);
    for (;;) {
        if (n == cap) {
            OPT_REQUIRE(opt_add_size(cap, cap / 2, &cap), ctx, OPT_ERR_MEMORY, name,
                        "too large to read");
            uint8_t *grown = opt_realloc(ctx, data, cap);
            OPT_TRY_PTR(grown);
            data = grown;
        }
        const ssize_t got = read(fd, data + n, cap - n);
        if (got < 0) {
            if (errno == EINTR) {
                OPT_TRY(opt_check_cancel(ctx));
                continue;
            }
            st = opt_fail_errno(ctx, errno, name, "cannot read");
            goto done;
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
        OPT_REQUIRE(n <= max_bytes, ctx, OPT_ERR_INPUT, name,
                    "is larger than the allowed %zu bytes", max_bytes);
    }
    data[n] = 0; /* n < cap: a full block grows before the read that finds the end */
    impl->buf.data = data;
    impl->buf.bytes = n;
    data = NULL;
done:
    opt_free(ctx, data);
    return st;
}

opt_status opt_buf_read(opt_ctx *ctx, const char *path, size_t max_bytes, opt_buf **out) {
    opt_status st = OPT_OK;
    struct opt_buf_impl *impl = NULL;
    struct stat info = {0};
    size_t cap = 64 << 10;
    const bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return opt_fail_errno(ctx, errno, name, "cannot open");
    }
    if (fstat(fd, &info) != 0) {
        st = opt_fail_errno(ctx, errno, name, "cannot read the size");
        goto done;
    }
    OPT_REQUIRE(!S_ISDIR(info.st_mode), ctx, OPT_ERR_IO, name, "is a directory, expected a file");
    if (S_ISREG(info.st_mode)) {
        OPT_REQUIRE((uint64_t)info.st_size <= max_bytes, ctx, OPT_ERR_INPUT, name,
                    "has %lld bytes, more than the allowed %zu", (long long)info.st_size,
                    max_bytes);
        cap = (size_t)info.st_size + 1;
    }
    impl = impl_new(ctx);
    OPT_TRY_PTR(impl);
    OPT_TRY(read_all(ctx, fd, name, max_bytes, cap, impl));
    *out = &impl->buf;
    impl = NULL;
done:
    if (!is_stdin) {
        (void)close(fd);
    }
    if (impl != NULL) {
        opt_buf_release(&impl->buf);
    }
    return st;
}

opt_status opt_buf_probe(opt_ctx *ctx, const char *path) {
    opt_status st = OPT_OK;
    struct stat info = {0};
    if (strcmp(path, "-") == 0) {
        return OPT_OK;
    }
    if (stat(path, &info) != 0) {
        return opt_fail_errno(ctx, errno, path, "cannot open");
    }
    OPT_REQUIRE(!S_ISDIR(info.st_mode), ctx, OPT_ERR_IO, path, "is a directory, expected a file");
    if (S_ISREG(info.st_mode)) { /* opening a pipe would disturb who writes into it */
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return opt_fail_errno(ctx, errno, path, "cannot open");
        }
        (void)close(fd);
    }
done:
    return st;
}

opt_buf *opt_buf_retain(opt_buf *buf) {
    atomic_fetch_add_explicit(&buf->impl->n_refs, 1, memory_order_relaxed);
    return buf;
}

void opt_buf_release(opt_buf *buf) {
    if (buf == NULL ||
        atomic_fetch_sub_explicit(&buf->impl->n_refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    struct opt_buf_impl *impl = buf->impl;
    if (impl->mapped) {
        (void)munmap(buf->data, buf->bytes);
    } else if (buf->data != impl->nothing) {
        opt_free(impl->ctx, buf->data);
    }
    opt_free(impl->ctx, impl);
}

void opt_buf_will_need(const opt_buf *buf, size_t off, size_t bytes) {
    if (!buf->impl->mapped || off >= buf->bytes) {
        return;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t begin = off & ~(page - 1);
    const size_t n = (bytes < buf->bytes - off ? bytes : buf->bytes - off) + (off - begin);
    (void)madvise(buf->data + begin, n, MADV_WILLNEED); /* only a hint */
}

void opt_buf_dont_need(const opt_buf *buf, size_t off, size_t bytes) {
    if (!buf->impl->mapped || off >= buf->bytes) {
        return;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t end = bytes < buf->bytes - off ? off + bytes : buf->bytes;
    const size_t begin = (off + page - 1) & ~(page - 1); /* pages shared with a neighbour stay */
    const size_t stop = end == buf->bytes ? end : end & ~(page - 1);
    if (begin < stop) {
        (void)madvise(buf->data + begin, stop - begin, MADV_DONTNEED);
    }
}
