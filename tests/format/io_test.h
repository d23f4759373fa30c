/* Help for the tests of io: a byte builder, a scratch directory, and one way to compare an error
 * with a table row. */
#ifndef OPT_TESTS_IO_TEST_H
#define OPT_TESTS_IO_TEST_H

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

#include "base/ctx.h"
#include "io/kv.h"
#include "io/source.h"

/** Bytes of a file in the making. */
typedef struct bytes {
    uint8_t *data;
    size_t n;
    size_t cap;
} bytes;

static inline void add(bytes *b, const void *data, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n) + 64;
        b->data = realloc(b->data, b->cap);
        assert_non_null(b->data);
    }
    if (n > 0) {
        memcpy(b->data + b->n, data, n);
    }
    b->n += n;
}

static inline void add_u8(bytes *b, uint8_t v) { add(b, &v, sizeof v); }
static inline void add_u16(bytes *b, uint16_t v) { add(b, &v, sizeof v); }
static inline void add_u32(bytes *b, uint32_t v) { add(b, &v, sizeof v); }
static inline void add_u64(bytes *b, uint64_t v) { add(b, &v, sizeof v); }
static inline void add_text(bytes *b, const char *s) { add(b, s, strlen(s)); }

/** A GGUF string: u64 length and bytes. */
static inline void add_str(bytes *b, const char *s) {
    add_u64(b, strlen(s));
    add_text(b, s);
}

static inline void add_zeros(bytes *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        add_u8(b, 0);
    }
}

static inline void add_padding(bytes *b, size_t align) {
    add_zeros(b, (align - b->n % align) % align);
}

/** A scratch directory, removed by scratch_remove with everything in it. */
typedef struct scratch {
    char dir[256];
    char path[512]; /* of the last scratch_path */
} scratch;

static inline void scratch_new(scratch *s) {
    const char *const base = getenv("TMPDIR");
    (void)snprintf(s->dir, sizeof s->dir, "%s/opt-io-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(s->dir));
}

static inline void scratch_remove(const scratch *s) {
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    assert_int_equal(system(command), 0);
}

/** Path of a file in the directory; valid until the next call. */
static inline const char *scratch_path(scratch *s, const char *name) {
    (void)snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    return s->path;
}

static inline void write_file(const char *path, const void *data, size_t n) {
    FILE *const f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(n == 0 ? 0 : fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline opt_ctx *new_ctx(int n_threads) {
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.n_threads = n_threads};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    return ctx;
}

/** Fails the test, saying what `name` gave, unless the context's error is the expected one. */
static inline void expect_error(const opt_ctx *ctx, const char *name, opt_status status,
                                const char *message) {
    if (opt_ctx_status(ctx) != status || strstr(opt_ctx_error_message(ctx), message) == NULL) {
        fail_msg("%s: expected %s \"%s\", found %s \"%s\"", name, opt_status_name(status), message,
                 opt_status_name(opt_ctx_status(ctx)), opt_ctx_error_message(ctx));
    }
}

/** Opens a path and wants an error; with a NULL message success. */
static inline void expect_open(const char *row, const char *path, opt_status status,
                               const char *message) {
    opt_ctx *const ctx = new_ctx(1);
    opt_source *source = NULL;
    const opt_status st = opt_source_open(ctx, path, &source);
    if (message == NULL) {
        if (st != OPT_OK) {
            fail_msg("%s: %s", row, opt_ctx_error_message(ctx));
        }
    } else {
        expect_error(ctx, row, status, message);
        assert_int_equal(st, status);
        assert_null(source);
    }
    opt_source_close(source);
    opt_ctx_free(ctx);
}

#endif
