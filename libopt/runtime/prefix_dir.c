#include "runtime/prefix_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum { NAME_BYTES = 64, HEX_DIGITS = 16, NAME_LENGTH = 3 * HEX_DIGITS + 5 };

struct opt_prefix_dir {
    opt_ctx *ctx;
    char *path;
    opt_str shown;
    uint64_t max_bytes;
    int fd, lock_fd;
};

static void file_name(const opt_prefix_name *name, char out[NAME_BYTES]) {
    (void)snprintf(out, NAME_BYTES, "%016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 ".kv", name->key,
                   name->parent, name->self);
}

static bool parse_hex(const char *text, uint64_t *out) {
    *out = 0;
    for (int i = 0; i < HEX_DIGITS; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = text[i] != 0 ? strchr(digits, text[i]) : NULL;
        if (at == NULL) {
            return false;
        }
        *out = *out << 4 | (uint64_t)(at - digits);
    }
    return true;
}

/** Whether a file is one of ours. */
static bool parse_name(const char *text, opt_prefix_name *out) {
    return strlen(text) == NAME_LENGTH && text[HEX_DIGITS] == '-' &&
           text[2 * HEX_DIGITS + 1] == '-' && strcmp(text + 3 * HEX_DIGITS + 2, ".kv") == 0 &&
           parse_hex(text, &out->key) && parse_hex(text + HEX_DIGITS + 1, &out->parent) &&
           parse_hex(text + 2 * HEX_DIGITS + 2, &out->self);
}

opt_status opt_prefix_dir_open(opt_ctx *ctx, const char *path, uint64_t max_bytes,
                               opt_prefix_dir **out) {
    opt_status st = OPT_OK;
    opt_prefix_dir *d = opt_alloc_zero(ctx, sizeof *d);
    OPT_TRY_PTR(d);
    d->ctx = ctx;
    d->fd = d->lock_fd = -1;
    d->max_bytes = max_bytes;
    const size_t n = strlen(path) + 1;
    d->path = opt_alloc(ctx, n);
    OPT_TRY_PTR(d->path);
    memcpy(d->path, path, n);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        st = opt_fail_errno(ctx, errno, path, "cannot be made");
        goto done;
    }
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0) {
        st = opt_fail_errno(ctx, errno, path, "cannot be opened as a directory");
        goto done;
    }
    *out = d;
    d = NULL;
done:
    opt_prefix_dir_close(d);
    return st;
}

void opt_prefix_dir_close(opt_prefix_dir *d) {
    if (d == NULL) {
        return;
    }
    opt_prefix_dir_end(d);
    if (d->fd >= 0) {
        (void)close(d->fd);
    }
    opt_str_free(d->ctx, &d->shown);
    opt_free(d->ctx, d->path);
    opt_free(d->ctx, d);
}

const char *opt_prefix_dir_path(opt_prefix_dir *d, const opt_prefix_name *name) {
    char file[NAME_BYTES];
    file_name(name, file);
    d->shown.len = 0;
    return opt_str_printf(d->ctx, &d->shown, "%s/%s", d->path, file) == OPT_OK ? d->shown.data
                                                                               : d->path;
}

uint64_t opt_prefix_dir_size(const opt_prefix_dir *d, const opt_prefix_name *name) {
    char file[NAME_BYTES];
    struct stat s = {0};
    file_name(name, file);
    return fstatat(d->fd, file, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode)
               ? (uint64_t)s.st_size
               : 0;
}

int opt_prefix_dir_read(const opt_prefix_dir *d, const opt_prefix_name *name, uint8_t *out,
                        size_t cap, size_t *n) {
    char file[NAME_BYTES];
    int err = 0;
    *n = 0;
    file_name(name, file);
    const int fd = openat(d->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno;
    }
    while (err == 0 && *n < cap) {
        const ssize_t got = read(fd, out + *n, cap - *n);
        if (got == 0) {
            break;
        }
        err = got < 0 && errno != EINTR ? errno : 0;
        *n += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    return err;
}

/** Opens the directory for a walk of its own. */
static DIR *walk(const opt_prefix_dir *d) {
    const int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL && fd >= 0) {
        (void)close(fd);
    }
    return dir;
}

void opt_prefix_dir_children(const opt_prefix_dir *d, uint64_t key, uint64_t parent,
                             void (*fn)(void *user, uint64_t self), void *user) {
    DIR *dir = walk(d);
    const struct dirent *e;
    opt_prefix_name name;
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (parse_name(e->d_name, &name) && name.key == key && name.parent == parent) {
            fn(user, name.self);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

void opt_prefix_dir_touch(const opt_prefix_dir *d, const opt_prefix_name *names, size_t n) {
    const int64_t second = 1000000000;
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < n; i++) { /* a microsecond apart */
        char file[NAME_BYTES];
        const int64_t back = 1000 * (int64_t)i, ns = (int64_t)now.tv_nsec - back % second;
        const struct timespec t = {.tv_sec = now.tv_sec - back / second - (ns < 0),
                                   .tv_nsec = ns < 0 ? ns + second : ns};
        const struct timespec times[2] = {t, t};
        file_name(&names[i], file);
        (void)utimensat(d->fd, file, times, AT_SYMLINK_NOFOLLOW); /* gone, or read only: so be it */
    }
}

void opt_prefix_dir_remove(const opt_prefix_dir *d, const opt_prefix_name *name) {
    char file[NAME_BYTES];
    file_name(name, file);
    (void)unlinkat(d->fd, file, 0);
}

/* ---- writing ---- */

typedef struct old_file {
    opt_prefix_name name;
    struct timespec used;
    uint64_t bytes;
} old_file;

static int by_use(const void *a, const void *b) {
    const old_file *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) {
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    }
    if (x->used.tv_nsec != y->used.tv_nsec) {
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    }
    return memcmp(&x->name, &y->name, sizeof x->name);
}

/** A temporary file of an output; nobody else writes while we hold the lock. */
static bool is_left_over(const char *name) {
    return name[0] == '.' && strstr(name, ".kv.tmp.") != NULL;
}

static opt_status list_files(opt_prefix_dir *d, old_file **files, size_t *n) {
    opt_status st = OPT_OK;
    size_t cap = 0;
    DIR *dir = walk(d);
    const struct dirent *e;
    if (dir == NULL) {
        return opt_fail_errno(d->ctx, errno, d->path, "cannot be listed");
    }
    while ((e = readdir(dir)) != NULL) {
        struct stat s = {0};
        old_file f;
        if (is_left_over(e->d_name)) {
            (void)unlinkat(d->fd, e->d_name, 0);
        }
        if (!parse_name(e->d_name, &f.name) ||
            fstatat(d->fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (*n == cap) {
            cap = 2 * cap + 64;
            void *more = opt_realloc(d->ctx, *files, cap * sizeof **files);
            OPT_TRY_PTR(more);
            *files = more;
        }
        f.used = s.st_mtim;
        f.bytes = (uint64_t)s.st_size;
        (*files)[(*n)++] = f;
    }
done:
    (void)closedir(dir);
    return st;
}

opt_status opt_prefix_dir_begin(opt_prefix_dir *d, uint64_t bytes, int64_t *n_removed) {
    opt_status st = OPT_OK;
    old_file *files = NULL;
    size_t n = 0;
    uint64_t total = bytes;
    *n_removed = 0;
    d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d->lock_fd < 0) {
        return opt_fail_errno(d->ctx, errno, d->path, "its lock cannot be opened");
    }
    while (flock(d->lock_fd, LOCK_EX) != 0 && errno == EINTR) {
        OPT_TRY(opt_check_cancel(d->ctx)); /* where locks do not work, writers may meet: every file
                                              is whole all the same */
    }
    OPT_TRY(list_files(d, &files, &n));
    for (size_t i = 0; i < n; i++) {
        total += files[i].bytes;
    }
    if (n > 0) {
        qsort(files, n, sizeof *files, by_use);
    }
    for (size_t i = 0; i < n && total > d->max_bytes; i++) {
        opt_prefix_dir_remove(d, &files[i].name);
        total -= files[i].bytes;
        (*n_removed)++;
    }
done:
    opt_free(d->ctx, files);
    return st;
}

void opt_prefix_dir_end(opt_prefix_dir *d) {
    if (d->lock_fd >= 0) {
        (void)close(d->lock_fd); /* and so the lock is gone */
        d->lock_fd = -1;
    }
}

opt_status opt_prefix_dir_put(opt_prefix_dir *d, const opt_prefix_name *name, const uint8_t *data,
                              size_t bytes) {
    opt_status st = OPT_OK;
    opt_outfile *file = NULL;
    OPT_TRY(opt_outfile_open(d->ctx, opt_prefix_dir_path(d, name), true, bytes, &file));
    OPT_TRY(opt_outfile_pwrite(file, 0, data, bytes));
    st = opt_outfile_commit(file, NULL, NULL);
    file = NULL;
done:
    opt_outfile_discard(file);
    return st;
}
