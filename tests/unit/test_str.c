#include "base/mem.h"
#include "base/utf8.h"

#include "support.h"

static void test_utf8__decode(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int len; /* 0: refused */
        uint32_t cp;
    } rows[] = {
        {"A", 1, 1, 'A'},
        {"\0", 1, 1, 0},
        {"", 0, 0, 0},
        {"\xc2\x80", 2, 2, 0x80},
        {"\xc3\xa9x", 3, 2, 0xe9},
        {"\xdf\xbf", 2, 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 3, 0x800},
        {"\xed\x9f\xbf", 3, 3, 0xd7ff},
        {"\xee\x80\x80", 3, 3, 0xe000},
        {"\xef\xbf\xbf", 3, 3, 0xffff},
        {"\xf0\x90\x80\x80", 4, 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
        {"\x80", 1, 0, 0},             /* continuation alone */
        {"\xc3", 1, 0, 0},             /* cut */
        {"\xe2\x82", 2, 0, 0},         /* cut */
        {"\xf0\x9f\x98", 3, 0, 0},     /* cut */
        {"\xc0\xaf", 2, 0, 0},         /* overlong */
        {"\xc1\xbf", 2, 0, 0},         /* overlong */
        {"\xe0\x9f\xbf", 3, 0, 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, 0, 0}, /* overlong */
        {"\xed\xa0\x80", 3, 0, 0},     /* surrogate */
        {"\xed\xbf\xbf", 3, 0, 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, 0, 0}, /* above the end */
        {"\xf5\x80\x80\x80", 4, 0, 0},
        {"\xff", 1, 0, 0},
        {"\xc3(", 2, 0, 0}, /* no continuation */
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        uint32_t cp = 0;
        assert_int_equal(opt_utf8_decode(rows[i].bytes, rows[i].n, &cp), rows[i].len);
        assert_int_equal(cp, rows[i].cp);
    }
}

static void test_utf8__round_trip_of_every_character(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        char bytes[4];
        uint32_t back = 0;
        const bool valid = cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);
        const int len = opt_utf8_encode(cp, bytes);
        if ((len > 0) != valid) {
            fail_msg("U+%04x: length %d", (unsigned)cp, len);
        }
        if (valid && (opt_utf8_decode(bytes, (size_t)len, &back) != len || back != cp)) {
            fail_msg("U+%04x came back as U+%04x", (unsigned)cp, (unsigned)back);
        }
    }
    assert_true(opt_utf8_valid("a\xc3\xa9\xf0\x9f\x98\x80", 7));
    assert_false(opt_utf8_valid("a\xc3", 2));
    assert_true(opt_utf8_valid("", 0));
}

static void test_str__append_and_printf(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_str s = {0};
    assert_int_equal(opt_str_append(ctx, &s, NULL, 0), OPT_OK);
    assert_string_equal(s.data, "");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(opt_str_printf(ctx, &s, "%03d,", i), OPT_OK);
        assert_int_equal(opt_str_append(ctx, &s, "x\0y", 3), OPT_OK);
    }
    assert_int_equal(s.len, 7000);
    assert_memory_equal(s.data + 6993, "999,x\0y", 8); /* and the 0 behind it */
    opt_str_free(ctx, &s);
    assert_null(s.data);
    opt_ctx_free(ctx);
}

static void test_str__out_of_memory_leaves_the_text(void **state) {
    (void)state;
    assert_int_equal(setenv("OPT_FAULT_ALLOC", "2", 1), 0);
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(unsetenv("OPT_FAULT_ALLOC"), 0);
    opt_str s = {0};
    char large[500];
    memset(large, 'x', sizeof large);
    assert_int_equal(opt_str_append(ctx, &s, "abc", 3), OPT_OK);
    assert_int_equal(opt_str_append(ctx, &s, large, sizeof large), OPT_ERR_MEMORY);
    assert_string_equal(s.data, "abc");
    opt_str_free(ctx, &s);
    opt_ctx_free(ctx);
}

static void test_str__printable(void **state) {
    (void)state;
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        // NOLINTBEGIN(misc-misleading-bidirectional): the point of the test
        {"plain text", "plain text"},
        {"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80"},
        {"a\nb\tc\rd", "a\\nb\\tc\\rd"},
        {"\x1b[31mred", "\\x1b[31mred"},
        {"\x7f\b", "\\x7f\\x08"},
        {"\xc2\x9b"
         "2J",
         "\\u{9b}2J"}, /* C1: CSI in one character */
        {"\xe2\x80\xae"
         "abc",
         "\\u{202e}abc"},              /* right-to-left override */
        {"\xe2\x81\xa6", "\\u{2066}"}, /* isolate */
        {"\xe2\x80\xa8", "\\u{2028}"}, /* line separator */
        {"\xef\xbb\xbf", "\\u{feff}"}, /* byte order mark */
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xe2\x82", "\\xe2\\x82"},
        // NOLINTEND(misc-misleading-bidirectional)
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_str s = {0};
        assert_int_equal(opt_str_append_printable(ctx, &s, rows[i].in, strlen(rows[i].in)), OPT_OK);
        assert_string_equal(s.data, rows[i].out);
        opt_str_free(ctx, &s);
    }
    opt_str s = {0};
    assert_int_equal(opt_str_append_printable(ctx, &s, "a\0b", 3), OPT_OK);
    assert_string_equal(s.data, "a\\x00b");
    opt_str_free(ctx, &s);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8__decode),
        cmocka_unit_test(test_utf8__round_trip_of_every_character),
        cmocka_unit_test(test_str__append_and_printf),
        cmocka_unit_test(test_str__out_of_memory_leaves_the_text),
        cmocka_unit_test(test_str__printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
