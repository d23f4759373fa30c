/* The small helpers of the public API: spelling hints, base names, reading and escaping text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "opt/text.h"

static void test_text__nearest(void **state) {
    (void)state;
    static const char *const words[] = {"format", "width", "q4_0", "q8_0", "perplexity", "--"};
    static const struct {
        const char *word, *near;
    } rows[] = {
        {"fromat", "format"},
        {"formt", "format"},
        {"widht", "width"},
        {"q4-0", "q4_0"},
        {"perplexty", "perplexity"},
        {"prepelxity", "perplexity"},
        {"zebra", NULL},
        {"", NULL},
        {"f", NULL},
        {"colour", NULL},
        {"formatformatformat", NULL},
        {"q40", "q4_0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *near = opt_text_nearest(rows[i].word, words, sizeof words / sizeof words[0]);
        if (near == NULL || rows[i].near == NULL ? near != rows[i].near
                                                 : strcmp(near, rows[i].near) != 0) {
            fail_msg("'%s' gives %s", rows[i].word, near != NULL ? near : "nothing");
        }
    }
    char longest[200];
    memset(longest, 'f', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_null(opt_text_nearest(longest, words, 4));
}

static void test_text__base_name(void **state) {
    (void)state;
    static const struct {
        const char *path, *name;
    } rows[] = {
        {"a.gguf", "a.gguf"},
        {"/x/y/a.gguf", "a.gguf"},
        {"models/SmolLM2/", "SmolLM2"},
        {"models/SmolLM2//", "SmolLM2"},
        {"/", "/"},
        {"//", "/"},
        {"", ""},
        {".", "."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = 99;
        const char *name = opt_text_base_name(rows[i].path, &n);
        assert_int_equal(n, strlen(rows[i].name));
        assert_memory_equal(name, rows[i].name, n);
    }
}

static void test_text__read_file(void **state) {
    (void)state;
    char path[] = "/tmp/lathe-text-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\0b\n", 4), 4);
    close(fd);
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(opt_text_read(ctx, path, &text, &n), OPT_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(text, "a\0b\n", 5);
    opt_text_free(ctx, text);
    unlink(path);
    assert_int_equal(opt_text_read(ctx, path, &text, &n), OPT_ERR_IO);
    assert_string_equal(opt_ctx_error_object(ctx), path);
    opt_ctx_free(ctx);
}

static void test_text__printable_escapes_controls(void **state) {
    (void)state;
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    char *safe = NULL;
    assert_int_equal(opt_text_printable(ctx, "a\033[2Jb", 6, &safe), OPT_OK);
    assert_null(strchr(safe, '\033'));
    assert_non_null(strstr(safe, "[2Jb"));
    opt_text_free(ctx, safe);
    assert_int_equal(opt_text_printable(ctx, "", 0, &safe), OPT_OK);
    assert_string_equal(safe, "");
    opt_text_free(ctx, safe);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text__nearest),
        cmocka_unit_test(test_text__base_name),
        cmocka_unit_test(test_text__read_file),
        cmocka_unit_test(test_text__printable_escapes_controls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
