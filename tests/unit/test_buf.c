#include "base/mem.h"

#include <fcntl.h>

#include "support.h"

static char dir[256];
static char path[300];

static int make_dir(void **state) {
    (void)state;
    test_make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/file", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    test_remove_dir(dir);
    return 0;
}

static void test_buf__new(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    static const size_t sizes[] = {0, 1, 5000000};
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        opt_buf *b = NULL;
        assert_int_equal(opt_buf_new(ctx, sizes[i], &b), OPT_OK);
        assert_int_equal(b->bytes, sizes[i]);
        assert_non_null(b->data);
        memset(b->data, 1, sizes[i]);
        assert_ptr_equal(opt_buf_retain(b), b);
        opt_buf_release(b);
        memset(b->data, 2, sizes[i]); /* one reference is left */
        opt_buf_will_need(b, 0, sizes[i]);
        opt_buf_dont_need(b, 0, sizes[i]); /* must not touch heap memory */
        if (sizes[i] > 0) {
            assert_int_equal(b->data[sizes[i] - 1], 2);
        }
        opt_buf_release(b);
    }
    opt_buf_release(NULL);
    opt_ctx_free(ctx);
}

static void test_buf__map(void **state) {
    (void)state;
    static char text[100000];
    static const size_t sizes[] = {0, 1, 4096, 100000};
    opt_ctx *ctx = test_ctx(1);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)(i * 31);
    }
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        opt_buf *b = NULL;
        test_write_file(path, text, sizes[i]);
        assert_int_equal(opt_buf_map(ctx, path, &b), OPT_OK);
        assert_int_equal(b->bytes, sizes[i]);
        assert_non_null(b->data);
        opt_buf_will_need(b, 100, 5000);
        opt_buf_dont_need(b, 100, SIZE_MAX);
        opt_buf_dont_need(b, SIZE_MAX, 1);
        assert_memory_equal(b->data, text, sizes[i]);
        assert_in_range(opt_ctx_peak_memory(ctx), 0, 1000); /* mappings of files are not counted */
        opt_buf_release(b);
    }
    opt_ctx_free(ctx);
}

static void test_buf__map_refuses_what_is_no_file(void **state) {
    (void)state;
    char fifo[300];
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const struct {
        const char *path;
        const char *message;
    } rows[] = {
        {"/nonexistent/model", "cannot open: No such file or directory"},
        {dir, "is a directory, expected a regular file"},
        {"/dev/null", "is a pipe or a device, expected a regular file"},
        {fifo, "is a pipe or a device, expected a regular file"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_buf *b = NULL;
        assert_int_equal(opt_buf_map(ctx, rows[i].path, &b), OPT_ERR_IO);
        assert_null(b);
        assert_error(ctx, OPT_ERR_IO, rows[i].path, rows[i].message);
    }
    opt_ctx_free(ctx);
}

static void test_buf__probe(void **state) {
    (void)state;
    char fifo[300];
    (void)snprintf(fifo, sizeof fifo, "%s/probed", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    test_write_file(path, "x", 1);
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(opt_buf_probe(ctx, path), OPT_OK);
    assert_int_equal(opt_buf_probe(ctx, "-"), OPT_OK);
    assert_int_equal(opt_buf_probe(ctx, fifo), OPT_OK); /* does not wait for a writer */
    assert_int_equal(opt_buf_probe(ctx, "/nonexistent/a"), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, "/nonexistent/a", "cannot open: No such file or directory");
    assert_int_equal(opt_buf_probe(ctx, dir), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, dir, "is a directory, expected a file");
    opt_ctx_free(ctx);
}

static void test_buf__read(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 300000};
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(sizes); i++) {
        char *text = malloc(sizes[i] + 1);
        assert_non_null(text);
        memset(text, 'r', sizes[i]);
        test_write_file(path, text, sizes[i]);
        opt_buf *b = NULL;
        assert_int_equal(opt_buf_read(ctx, path, sizes[i], &b), OPT_OK);
        assert_int_equal(b->bytes, sizes[i]);
        assert_memory_equal(b->data, text, sizes[i]);
        assert_int_equal(b->data[sizes[i]], 0);
        opt_buf_release(b);
        if (sizes[i] > 0) {
            b = NULL;
            assert_int_equal(opt_buf_read(ctx, path, sizes[i] - 1, &b), OPT_ERR_INPUT);
            assert_null(b);
            assert_error(ctx, OPT_ERR_INPUT, path, "more than the allowed");
        }
        free(text);
    }
    opt_buf *none = NULL;
    assert_int_equal(opt_buf_read(ctx, dir, 10, &none), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, dir, "is a directory");
    assert_int_equal(opt_buf_read(ctx, "/nonexistent", 10, &none), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, "/nonexistent", "cannot open");
    opt_ctx_free(ctx);
}

/** Puts a pipe with `n` bytes in the place of standard input. */
static int pipe_as_stdin(const char *bytes, size_t n) {
    int ends[2];
    const int saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, n), n);
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(close(ends[0]), 0);
    return saved;
}

static void test_buf__read_standard_input(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_buf *b = NULL;
    int saved = pipe_as_stdin("hello", 5);
    assert_int_equal(opt_buf_read(ctx, "-", 100, &b), OPT_OK);
    assert_int_equal(b->bytes, 5);
    assert_string_equal((const char *)b->data, "hello");
    opt_buf_release(b);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(close(saved), 0);
    saved = pipe_as_stdin("hello", 5);
    assert_int_equal(opt_buf_read(ctx, "-", 4, &b), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "standard input", "is larger than the allowed 4 bytes");
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(close(saved), 0);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf__new),
        cmocka_unit_test(test_buf__map),
        cmocka_unit_test(test_buf__map_refuses_what_is_no_file),
        cmocka_unit_test(test_buf__probe),
        cmocka_unit_test(test_buf__read),
        cmocka_unit_test(test_buf__read_standard_input),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
