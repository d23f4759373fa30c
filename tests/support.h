/** What most test programs need: cmocka with its prerequisites, contexts, temporary directories. */
#ifndef OPT_TESTS_SUPPORT_H
#define OPT_TESTS_SUPPORT_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "opt/ctx.h"

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

/** A context with `n_threads` threads (0: default); the test fails if there is none. */
static inline opt_ctx *test_ctx(int n_threads) {
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.n_threads = n_threads};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    return ctx;
}

/** Checks the recorded error and forgets it; `part` must occur in the message. */
static inline void assert_error(opt_ctx *ctx, opt_status status, const char *object,
                                const char *part) {
    assert_string_equal(opt_status_name(opt_ctx_status(ctx)), opt_status_name(status));
    if (object != NULL) {
        assert_string_equal(opt_ctx_error_object(ctx), object);
    }
    if (strstr(opt_ctx_error_message(ctx), part) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", part, opt_ctx_error_message(ctx));
    }
    opt_ctx_clear_error(ctx);
}

/** Makes a directory of its own for the test into path[cap]; remove it with test_remove_dir. */
static inline void test_make_dir(char *path, size_t cap) {
    const char *base = getenv("TMPDIR");
    assert_true(snprintf(path, cap, "%s/opt-test-XXXXXX", base != NULL ? base : "/tmp") < (int)cap);
    assert_non_null(mkdtemp(path));
}

/** Removes a directory with everything in it. */
static inline void test_remove_dir(const char *path) {
    char entry[4096];
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        struct stat info;
        assert_true(snprintf(entry, sizeof entry, "%s/%s", path, e->d_name) < (int)sizeof entry);
        assert_int_equal(lstat(entry, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            test_remove_dir(entry);
        } else {
            assert_int_equal(unlink(entry), 0);
        }
    }
    (void)closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

/** Writes a whole file. */
static inline void test_write_file(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/** True if the file holds exactly these bytes. */
static inline int test_file_equals(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return 0;
    }
    char *found = malloc(bytes + 1);
    const size_t n = found != NULL ? fread(found, 1, bytes + 1, f) : 0;
    const int equal = found != NULL && n == bytes && memcmp(found, data, bytes) == 0;
    free(found);
    (void)fclose(f);
    return equal;
}

/** Number of entries of a directory, without "." and "..". */
static inline int test_count_entries(const char *path) {
    int n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    (void)closedir(dir);
    return n;
}

#endif
