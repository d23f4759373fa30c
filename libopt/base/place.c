#include "base/file_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/mem.h"

enum {
    NAME_KEPT = 200
}; /* bytes of the name in a temporary name, so that it stays below NAME_MAX */

static char *copy_text(opt_ctx *ctx, const char *s, size_t n) {
    char *copy = opt_alloc(ctx, n + 1);
    if (copy != NULL) {
        memcpy(copy, s, n);
        copy[n] = '\0';
    }
    return copy;
}

/**
 * Splits a path into directory and last component. False if there is no component that could be a
 * new name.
 */
static bool split_path(const char *path, size_t *dir_len, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    *dir_len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    return (*name)[0] != '\0' && strcmp(*name, ".") != 0 && strcmp(*name, "..") != 0;
}

/**
 * Follows symbolic links at the end of the path: the output goes where the link points, and the
 * link stays.
 */
static opt_status resolve(opt_ctx *ctx, const char *path, char real[PATH_MAX]) {
    struct stat info = {0};
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        if (realpath(path, real) == NULL) {
            return opt_fail(ctx, OPT_ERR_USAGE, path, "is a symbolic link that leads nowhere (%s)",
                            strerror(errno));
        }
        return OPT_OK;
    }
    size_t n = strlen(path);
    if (n >= PATH_MAX) {
        return opt_fail_errno(ctx, ENAMETOOLONG, path, "cannot be an output");
    }
    memcpy(real, path, n + 1);
    while (n > 1 && real[n - 1] == '/') { /* "dir/" is "dir" */
        real[--n] = '\0';
    }
    return OPT_OK;
}

opt_status opt_place_open(opt_ctx *ctx, const char *path, bool force, opt_place *place) {
    opt_status st = OPT_OK;
    char real[PATH_MAX] = "";
    const char *name = NULL;
    size_t dir_len = 0;
    *place = (opt_place){.ctx = ctx, .dir_fd = -1, .force = force};
    place->shown = copy_text(ctx, path, strlen(path));
    OPT_TRY_PTR(place->shown);
    OPT_TRY(resolve(ctx, path, real));
    OPT_REQUIRE(split_path(real, &dir_len, &name), ctx, OPT_ERR_USAGE, path,
                "has no file name that could be written");
    place->dir = dir_len > 0 ? copy_text(ctx, real, dir_len) : copy_text(ctx, ".", 1);
    OPT_TRY_PTR(place->dir);
    place->name = copy_text(ctx, name, strlen(name));
    OPT_TRY_PTR(place->name);
    place->dir_fd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->dir_fd < 0) {
        st = opt_fail_errno(ctx, errno, path, "cannot open its directory");
        goto done;
    }
    place->exists = fstatat(place->dir_fd, place->name, &place->target, AT_SYMLINK_NOFOLLOW) == 0;
    if (!place->exists && errno != ENOENT) {
        st = opt_fail_errno(ctx, errno, path, "cannot be an output");
    }
done:
    return st;
}

opt_status opt_place_temp(opt_place *place, int attempt) {
    char suffix[32] = "";
    char name[NAME_MAX + 1];
    opt_free(place->ctx, place->temp);
    opt_free(place->ctx, place->temp_path);
    place->temp = NULL;
    place->temp_path = NULL;
    if (attempt > 0) {
        (void)snprintf(suffix, sizeof suffix, ".%d", attempt);
    }
    (void)snprintf(name, sizeof name, ".%.*s.tmp.%d%s", NAME_KEPT, place->name, (int)getpid(),
                   suffix);
    place->temp = copy_text(place->ctx, name, strlen(name));
    const size_t n = strlen(place->dir) + strlen(name) + 2;
    place->temp_path = opt_alloc(place->ctx, n);
    if (place->temp == NULL || place->temp_path == NULL) {
        return OPT_ERR_MEMORY;
    }
    (void)snprintf(place->temp_path, n, "%s/%s", place->dir, name);
    return OPT_OK;
}

void opt_place_close(opt_place *place) {
    if (place->dir_fd >= 0) {
        (void)close(place->dir_fd);
    }
    opt_free(place->ctx, place->shown);
    opt_free(place->ctx, place->dir);
    opt_free(place->ctx, place->name);
    opt_free(place->ctx, place->temp);
    opt_free(place->ctx, place->temp_path);
    *place = (opt_place){.dir_fd = -1};
}

/**
 * True for the temporary name of a process that is gone, whose lock nobody holds (other hosts,
 * other namespaces).
 */
static bool is_stale(const opt_place *place, const char *entry) {
    char prefix[NAME_MAX + 1];
    const int n = snprintf(prefix, sizeof prefix, ".%.*s.tmp.", NAME_KEPT, place->name);
    if (strncmp(entry, prefix, (size_t)n) != 0) {
        return false;
    }
    const long pid = strtol(entry + n, NULL, 10);
    const bool alive = pid > 0 && pid <= INT_MAX && pid != getpid() &&
                       (kill((pid_t)pid, 0) == 0 || errno != ESRCH);
    if (pid <= 0 || alive) {
        return false;
    }
    const int fd = openat(place->dir_fd, entry, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    const bool free_lock = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return free_lock;
}

void opt_place_sweep(opt_place *place) {
    const int fd = openat(place->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return; /* only tidiness is lost */
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' && is_stale(place, entry->d_name)) {
            (void)opt_remove_tree(place->dir_fd, entry->d_name);
        }
    }
    (void)closedir(dir);
}

int opt_sync_fd(opt_ctx *ctx, int fd) {
    const int fault = opt_fault_write(ctx);
    if (fault != 0) {
        return fault;
    }
    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int opt_rename_at(opt_ctx *ctx, int dir_fd, const char *from, const char *to, unsigned flags) {
    const int fault = opt_fault_write(ctx);
    if (fault != 0) {
        return fault;
    }
    if (renameat2(dir_fd, from, dir_fd, to, flags) == 0) {
        return 0;
    }
    if (flags != RENAME_NOREPLACE || (errno != EINVAL && errno != ENOSYS)) {
        return errno;
    }
    /* A file system without the flag: the check and the rename are then two steps. */
    if (faccessat(dir_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        return EEXIST;
    }
    return renameat(dir_fd, from, dir_fd, to) == 0 ? 0 : errno;
}

opt_status opt_place_rename(opt_place *place) {
    const bool replace =
        place->force || place->exists; /* an empty directory may be replaced without force */
    int err = opt_rename_at(place->ctx, place->dir_fd, place->temp, place->name,
                            replace ? 0 : RENAME_NOREPLACE);
    if (err == EEXIST) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "was created by somebody else meanwhile; use --force to replace it");
    }
    if (err != 0) {
        return opt_fail_errno(place->ctx, err, place->shown, "cannot rename %s", place->temp);
    }
    err = opt_sync_fd(place->ctx, place->dir_fd);
    if (err != 0) {
        return opt_fail_errno(place->ctx, err, place->shown,
                              "is written, but fsync of its directory failed");
    }
    return OPT_OK;
}

/** Removes the entries of an open directory; closes `fd`. */
static int remove_entries(int fd) {
    int err = 0;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        err = errno;
        (void)close(fd);
        return err;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            const int failed = opt_remove_tree(dirfd(dir), entry->d_name);
            err = err != 0 ? err : failed;
        }
    }
    (void)closedir(dir);
    return err;
}

int opt_remove_tree(int dir_fd, const char *name) {
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return errno;
    }
    const int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    const int err = remove_entries(fd);
    return err != 0 ? err : unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}
