#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ctx_impl.h"
#include "base/file.h"
#include "base/file_impl.h"
#include "base/mem.h"

enum { MAX_ATTEMPTS = 100 };

struct opt_outdir {
    opt_place place;
    int fd; /* the temporary directory, locked */
    bool made;
    bool replaces; /* the target is a directory that is not empty */
};

/** True if the directory has no entries; false when unsure. */
static bool is_empty_dir(int dir_fd, const char *name) {
    const int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return false;
    }
    bool empty = true;
    for (const struct dirent *e = readdir(dir); e != NULL && empty; e = readdir(dir)) {
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    }
    (void)closedir(dir);
    return empty;
}

/**
 * True if the working directory is `target` or below it: removing that would pull the floor away.
 */
static bool holds_working_dir(const struct stat *target) {
    char path[PATH_MAX];
    struct stat info = {0};
    if (getcwd(path, sizeof path) == NULL) {
        return false;
    }
    for (;;) {
        if (stat(path, &info) == 0 && info.st_dev == target->st_dev &&
            info.st_ino == target->st_ino) {
            return true;
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL || path[1] == '\0') {
            return false;
        }
        slash[slash == path ? 1 : 0] = '\0';
    }
}

static opt_status check_target(opt_outdir *dir) {
    const opt_place *place = &dir->place;
    struct stat parent = {0};
    if (!place->exists) {
        return OPT_OK;
    }
    if (!S_ISDIR(place->target.st_mode)) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "is a file, expected the name of a directory");
    }
    dir->replaces = !is_empty_dir(place->dir_fd, place->name);
    if (dir->replaces && !place->force) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "exists already; use --force to replace it");
    }
    if (holds_working_dir(&place->target)) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "is or holds the working directory; it is not replaced");
    }
    if (fstat(place->dir_fd, &parent) != 0 || parent.st_dev != place->target.st_dev) {
        return opt_fail(place->ctx, OPT_ERR_USAGE, place->shown,
                        "is a mount point; choose a directory inside it");
    }
    return OPT_OK;
}

static opt_status create_temp(opt_outdir *dir) {
    opt_place *place = &dir->place;
    int err = opt_fault_write(place->ctx);
    for (int attempt = 0; err == 0 && attempt < MAX_ATTEMPTS; attempt++) {
        const opt_status st = opt_place_temp(place, attempt);
        if (st != OPT_OK) {
            return st;
        }
        if (mkdirat(place->dir_fd, place->temp, 0777) == 0) {
            dir->made = true;
            dir->fd = openat(place->dir_fd, place->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (dir->fd >= 0) {
                (void)flock(dir->fd, LOCK_EX | LOCK_NB);
                return OPT_OK;
            }
        }
        err = errno == EEXIST ? 0 : errno;
    }
    return opt_fail_errno(place->ctx, err != 0 ? err : EEXIST, place->shown,
                          "cannot create a temporary directory beside it");
}

opt_status opt_outdir_open(opt_ctx *ctx, const char *path, bool force, opt_outdir **out) {
    opt_status st = OPT_OK;
    opt_outdir *dir = opt_alloc_zero(ctx, sizeof *dir);
    OPT_TRY_PTR(dir);
    dir->fd = -1;
    dir->place.ctx = ctx;
    OPT_TRY(opt_place_open(ctx, path, force, &dir->place));
    OPT_TRY(check_target(dir));
    opt_place_sweep(&dir->place);
    OPT_TRY(create_temp(dir));
    *out = dir;
    dir = NULL;
done:
    opt_outdir_discard(dir);
    return st;
}

const char *opt_outdir_temp_path(const opt_outdir *dir) { return dir->place.temp_path; }

static int sync_tree(opt_ctx *ctx, int fd);

static int sync_entry(opt_ctx *ctx, int dir_fd, const char *name) {
    struct stat info = {0};
    if (fstatat(dir_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno;
    }
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        return 0;
    }
    const int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    const int err = S_ISDIR(info.st_mode) ? sync_tree(ctx, fd) : opt_sync_fd(ctx, fd);
    (void)close(fd);
    return err;
}

/** fsync of everything below the directory, then of itself. */
static int sync_tree(opt_ctx *ctx, int fd) {
    int err = 0;
    const int list_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd >= 0 ? fdopendir(list_fd) : NULL;
    if (dir == NULL) {
        err = errno;
        if (list_fd >= 0) {
            (void)close(list_fd);
        }
        return err;
    }
    for (const struct dirent *e = readdir(dir); e != NULL && err == 0; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            err = sync_entry(ctx, fd, e->d_name);
        }
    }
    (void)closedir(dir);
    return err != 0 ? err : opt_sync_fd(ctx, fd);
}

/**
 * Puts the temporary directory into the place of the old one, which then stands under the temporary
 * name. Without RENAME_EXCHANGE (some network file systems) there is a moment without a target; the
 * old one is kept on failure.
 */
static int exchange(const opt_place *place) {
    int err = opt_rename_at(place->ctx, place->dir_fd, place->temp, place->name, RENAME_EXCHANGE);
    if (err != EINVAL && err != ENOSYS) {
        return err;
    }
    char old[NAME_MAX + 1];
    if (snprintf(old, sizeof old, "%s.old", place->temp) >= (int)sizeof old) {
        return ENAMETOOLONG;
    }
    err = opt_rename_at(place->ctx, place->dir_fd, place->name, old, RENAME_NOREPLACE);
    if (err != 0) {
        return err;
    }
    err = opt_rename_at(place->ctx, place->dir_fd, place->temp, place->name, RENAME_NOREPLACE);
    (void)renameat(place->dir_fd, old, place->dir_fd, err == 0 ? place->temp : place->name);
    return err;
}

static opt_status replace_old(opt_outdir *dir) {
    opt_place *place = &dir->place;
    int err = exchange(place);
    if (err != 0) {
        return opt_fail_errno(place->ctx, err, place->shown,
                              "cannot exchange it with the new directory");
    }
    dir->made = false; /* from here on the temporary name is the old directory's */
    err = opt_sync_fd(place->ctx, place->dir_fd);
    if (err != 0) {
        return opt_fail_errno(
            place->ctx, err, place->shown,
            "is replaced, but fsync of its directory failed; the old one is kept as %s",
            place->temp);
    }
    err = opt_remove_tree(place->dir_fd, place->temp);
    if (err != 0) {
        opt_warn(place->ctx, place->shown,
                 "is replaced, but the old directory could not be removed: %s is left (%s)",
                 place->temp_path, strerror(err));
    }
    return OPT_OK;
}

opt_status opt_outdir_commit(opt_outdir *dir) {
    opt_status st = OPT_OK;
    opt_place *place = &dir->place;
    const int err = sync_tree(place->ctx, dir->fd);
    if (err != 0) {
        st = opt_fail_errno(place->ctx, err, place->shown, "fsync failed");
        goto done;
    }
    OPT_TRY(opt_check_cancel(place->ctx));
    if (dir->replaces) {
        OPT_TRY(replace_old(dir));
    } else {
        OPT_TRY(opt_place_rename(place));
    }
    dir->made = false;
done:
    opt_outdir_discard(dir);
    return st;
}

void opt_outdir_discard(opt_outdir *dir) {
    if (dir == NULL) {
        return;
    }
    opt_ctx *ctx = dir->place.ctx;
    if (dir->made) {
        (void)opt_remove_tree(dir->place.dir_fd, dir->place.temp);
    }
    if (dir->fd >= 0) {
        (void)close(dir->fd);
    }
    opt_place_close(&dir->place);
    opt_free(ctx, dir);
}
