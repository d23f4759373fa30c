#include "base/json.h"

#include <float.h>
#include <math.h>

#include "support.h"

static const opt_json *parse(opt_ctx *ctx, const char *text, opt_json **root) {
    *root = NULL;
    assert_int_equal(opt_json_parse(ctx, "t.json", text, strlen(text), root), OPT_OK);
    return *root;
}

static void test_json__values(void **state) {
    (void)state;
    static const char text[] = "{\"z\": 1, \"a\": [true, null, -2.5, \"x\\u00e9\\n\"], \"o\": {}}";
    opt_ctx *ctx = test_ctx(1);
    opt_json *root = NULL;
    const opt_json *v = parse(ctx, text, &root);
    int64_t i = 0;
    double d = 0;
    size_t len = 0;
    assert_int_equal(opt_json_type_of(v), OPT_JSON_OBJECT);
    assert_int_equal(opt_json_size(v), 3);
    assert_true(opt_json_i64(opt_json_get(v, "z"), &i) && i == 1);
    assert_true(opt_json_f64(opt_json_get(v, "z"), &d) && d == 1.0);
    const opt_json *a = opt_json_get(v, "a");
    assert_int_equal(opt_json_size(a), 4);
    assert_true(opt_json_bool(opt_json_at(a, 0), false));
    assert_int_equal(opt_json_type_of(opt_json_at(a, 1)), OPT_JSON_NULL);
    assert_true(opt_json_f64(opt_json_at(a, 2), &d) && d == -2.5);
    assert_false(opt_json_i64(opt_json_at(a, 2), &i));
    assert_string_equal(opt_json_str(opt_json_at(a, 3), &len), "x\xc3\xa9\n");
    assert_int_equal(len, 4);
    /* what is not there, and wrong types */
    assert_null(opt_json_at(a, 4));
    assert_null(opt_json_get(v, "missing"));
    assert_null(opt_json_get(a, "z"));
    assert_null(opt_json_at(v, 0));
    assert_null(opt_json_str(a, NULL));
    assert_int_equal(opt_json_size(opt_json_at(a, 3)), 0);
    assert_true(opt_json_bool(NULL, true));
    assert_int_equal(opt_json_type_of(NULL), OPT_JSON_NULL);
    assert_null(opt_json_get(NULL, "z"));
    opt_json_free(root);
    opt_json_free(NULL);
    opt_ctx_free(ctx);
}

static void test_json__members_come_in_file_order(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_json *root = NULL;
    char text[4000] = "{";
    for (int i = 0; i < 200; i++) {
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"k%d\":%d",
                       i > 0 ? "," : "", (i * 73) % 200, i);
    }
    text[strlen(text)] = '}';
    const opt_json *v = parse(ctx, text, &root);
    void *it = NULL;
    const char *key = NULL;
    const opt_json *value = NULL;
    int64_t n = 0;
    while (opt_json_next(v, &it, &key, &value)) {
        int64_t found = -1;
        char expected[16];
        (void)snprintf(expected, sizeof expected, "k%d", (int)(n * 73 % 200));
        assert_string_equal(key, expected);
        assert_true(opt_json_i64(value, &found) && found == n);
        n++;
    }
    assert_int_equal(n, 200);
    it = NULL;
    assert_false(opt_json_next(NULL, &it, &key, &value));
    opt_json_free(root);
    opt_ctx_free(ctx);
}

static void test_json__bad_text_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n; /* 0: strlen */
        const char *message;
    } rows[] = {
        {"", 0, "line 1 column 0: unexpected token near end of file"},
        {" \n ", 0, "line 2 column"},
        {"{", 0, "line 1 column 1: string or '}' expected"},
        {"{\"a\":1", 0, "'}' expected"},
        {"{\"a\" 1}", 0, "':' expected"},
        {"{\"a\":1,}", 0, "line 1 column 8: string or '}' expected near '}'"},
        {"{a:1}", 0, "string or '}' expected"},
        {"[1,]", 0, "unexpected token near ']'"},
        {"[1 2]", 0, "']' expected near '2'"},
        {"{\"a\":1}\n x", 0, "line 2 column 2: end of file expected near 'x'"},
        {"{\"a\":1,\"a\":2}", 0, "duplicate object key near '\"a\"'"},
        {"{\"a\":1,\"\\u0061\":2}", 0, "duplicate object key"},
        {"[01]", 0, "invalid token near '0'"},
        {"[1.]", 0, "invalid token"},
        {"[.5]", 0, "invalid token"},
        {"[+1]", 0, "invalid token"},
        {"[0x10]", 0, "']' expected near 'x'"},
        {"[NaN]", 0, "invalid token near 'NaN'"},
        {"[Infinity]", 0, "invalid token"},
        {"[1e999]", 0, "real number overflow"},
        {"[9223372036854775808]", 0, "too big integer"},
        {"[-9223372036854775809]", 0, "too big negative integer"},
        {"['a']", 0, "invalid token near '''"},
        {"[\"a]", 0, "premature end of input"},
        {"[\"\\q\"]", 0, "invalid escape"},
        {"[\"\\ud800\"]", 0, "invalid Unicode '\\uD800'"},
        {"[\"\\u0000\"]", 0, "\\u0000 is not allowed"},
        {"{\"\\u0000\":1}", 0, "NUL byte in object key not supported"},
        {"[\"\x01\"]", 0, "control character 0x1"},
        {"[\"\xff\"]", 0, "unable to decode byte 0xff"},
        {"[\"\xc0\xaf\"]", 0, "unable to decode byte 0xc0"},
        {"[\"\xed\xa0\x80\"]", 0, "unable to decode byte 0xed"},
        {"[1]\0[2]", 7, "end of file expected"},
        {"\xef\xbb\xbf[1]", 0, "invalid token"},
        {"[tru]", 0, "invalid token near 'tru'"},
        {"[/* c */ 1]", 0, "invalid token near '/'"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_json *root = NULL;
        const size_t n = rows[i].n > 0 ? rows[i].n : strlen(rows[i].text);
        if (opt_json_parse(ctx, "t.json", rows[i].text, n, &root) != OPT_ERR_INPUT) {
            fail_msg("row %d: accepted", i);
        }
        assert_null(root);
        assert_error(ctx, OPT_ERR_INPUT, "t.json", rows[i].message);
    }
    opt_ctx_free(ctx);
}

static void test_json__nesting_is_bounded(void **state) {
    (void)state;
    static char text[200000];
    memset(text, '[', sizeof text);
    opt_ctx *ctx = test_ctx(1);
    opt_json *root = NULL;
    assert_int_equal(opt_json_parse(ctx, "deep", text, sizeof text, &root), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "deep", "maximum parsing depth reached");
    opt_ctx_free(ctx);
}

static void test_json__exactly_the_given_bytes_are_read(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_json *root = NULL;
    char *text = malloc(3); /* no 0 behind it: a sanitizer would see a read too far */
    assert_non_null(text);
    text[0] = '[';
    text[1] = '1';
    text[2] = ']';
    assert_int_equal(opt_json_parse(ctx, "t", text, 3, &root), OPT_OK);
    opt_json_free(root);
    free(text);
    opt_ctx_free(ctx);
}

static void test_json__typed_members(void **state) {
    (void)state;
    static const char text[] =
        "{\"i\": 7, \"r\": 1.5, \"s\": \"text\", \"b\": true, \"n\": null, \"a\": []}";
    opt_ctx *ctx = test_ctx(1);
    opt_json *root = NULL;
    const opt_json *v = parse(ctx, text, &root);
    int64_t i = -1;
    double d = -1;
    bool b = false;
    const char *s = "unchanged";
    assert_int_equal(opt_json_need_i64(ctx, "c", v, "i", true, 0, 10, &i), OPT_OK);
    assert_int_equal(i, 7);
    assert_int_equal(opt_json_need_f64(ctx, "c", v, "r", true, 0, 10, &d), OPT_OK);
    assert_true(d == 1.5);
    assert_int_equal(opt_json_need_f64(ctx, "c", v, "i", true, 0, 10, &d), OPT_OK);
    assert_true(d == 7.0);
    assert_int_equal(opt_json_need_bool(ctx, "c", v, "b", true, &b), OPT_OK);
    assert_true(b);
    assert_int_equal(opt_json_need_str(ctx, "c", v, "none", false, &s), OPT_OK);
    assert_int_equal(opt_json_need_str(ctx, "c", v, "n", false, &s), OPT_OK);
    assert_string_equal(s, "unchanged");
    assert_int_equal(opt_json_need_str(ctx, "c", v, "s", true, &s), OPT_OK);
    assert_string_equal(s, "text");

    i = -1;
    assert_int_equal(opt_json_need_i64(ctx, "c", v, "i", true, 8, 10, &i), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"i\" is 7, expected 8 to 10");
    assert_int_equal(opt_json_need_i64(ctx, "c", v, "r", true, 0, 10, &i), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"r\" is a number, expected an integer");
    assert_int_equal(opt_json_need_i64(ctx, "c", v, "x", true, 0, 10, &i), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"x\" is missing, expected an integer");
    assert_int_equal(opt_json_need_i64(ctx, "c", v, "n", true, 0, 10, &i), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"n\" is null, expected an integer");
    assert_int_equal(i, -1);
    assert_int_equal(opt_json_need_f64(ctx, "c", v, "r", true, 0, 1, &d), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"r\" is 1.5, expected 0 to 1");
    assert_int_equal(opt_json_need_bool(ctx, "c", v, "s", false, &b), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"s\" is a string, expected a boolean");
    assert_int_equal(opt_json_need_str(ctx, "c", v, "a", false, &s), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "\"a\" is an array, expected a string");
    assert_int_equal(opt_json_need_str(ctx, "c", opt_json_get(v, "a"), "k", false, &s),
                     OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, "c", "found an array where an object with \"k\" is expected");
    opt_json_free(root);
    opt_ctx_free(ctx);
}

/** Writes a small document that uses every kind of value. */
static void write_all(opt_jsonw *w) {
    opt_jsonw_begin_object(w);
    opt_jsonw_key(w, "a");
    opt_jsonw_begin_array(w);
    opt_jsonw_i64(w, INT64_MIN);
    opt_jsonw_u64(w, UINT64_MAX);
    opt_jsonw_bool(w, true);
    opt_jsonw_bool(w, false);
    opt_jsonw_null(w);
    opt_jsonw_str(w, NULL);
    opt_jsonw_end_array(w);
    opt_jsonw_key(w, "e");
    opt_jsonw_begin_object(w);
    opt_jsonw_end_object(w);
    opt_jsonw_key(w, "f");
    opt_jsonw_f64(w, 0.1);
    opt_jsonw_end_object(w);
}

static void test_jsonw__layout(void **state) {
    (void)state;
    static const struct {
        int indent;
        const char *expected;
    } rows[] = {
        {0, "{\"a\":[-9223372036854775808,18446744073709551615,true,false,null,null],\"e\":{},"
            "\"f\":0.1}"},
        {2, "{\n  \"a\": [\n    -9223372036854775808,\n    18446744073709551615,\n    true,\n    "
            "false,\n"
            "    null,\n    null\n  ],\n  \"e\": {},\n  \"f\": 0.1\n}\n"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_str s = {0};
        opt_jsonw w;
        opt_jsonw_init(&w, ctx, &s, rows[i].indent);
        write_all(&w);
        assert_int_equal(opt_jsonw_finish(&w), OPT_OK);
        assert_string_equal(s.data, rows[i].expected);
        opt_str_free(ctx, &s);
    }
    opt_ctx_free(ctx);
}

static void test_jsonw__strings(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } rows[] = {
        {"", 0, "\"\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f", 3, "\"\\u0001\\u001f\\u007f\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"\xe2\x80\xa8", 3, "\"\\u2028\""},
        {"x\xffy\xc3", 4, "\"x\xef\xbf\xbdy\xef\xbf\xbd\""},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_str s = {0};
        opt_jsonw w;
        opt_jsonw_init(&w, ctx, &s, 0);
        opt_jsonw_strn(&w, rows[i].in, rows[i].n);
        assert_int_equal(opt_jsonw_finish(&w), OPT_OK);
        assert_string_equal(s.data, rows[i].out);
        opt_str_free(ctx, &s);
    }
    opt_ctx_free(ctx);
}

static void check_number(opt_ctx *ctx, double v, const char *expected) {
    opt_str s = {0};
    opt_jsonw w;
    opt_json *root = NULL;
    double back = 0;
    opt_jsonw_init(&w, ctx, &s, 0);
    opt_jsonw_f64(&w, v);
    assert_int_equal(opt_jsonw_finish(&w), OPT_OK);
    if (expected != NULL) {
        assert_string_equal(s.data, expected);
    }
    if (isfinite(v)) {
        assert_int_equal(opt_json_parse(ctx, "number", s.data, s.len, &root), OPT_OK);
        assert_int_equal(opt_json_type_of(root), OPT_JSON_REAL);
        assert_true(opt_json_f64(root, &back));
        assert_memory_equal(&back, &v, sizeof v);
        opt_json_free(root);
    }
    opt_str_free(ctx, &s);
}

static void test_jsonw__numbers_read_back_equal(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-3.0, "-3.0"},
        {0.1, "0.1"},
        {1e22, "1e+22"},
        {1e-7, "1e-07"},
        {1.5, "1.5"},
        {0.1 + 0.2, "0.30000000000000004"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
        {1e15, "1e+15"},
        {123456789012345.0, "123456789012345.0"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        check_number(ctx, rows[i].v, rows[i].text);
    }
    static const double hard[] = {DBL_MAX,
                                  DBL_MIN,
                                  4.9406564584124654e-324,
                                  1.0 / 3.0,
                                  0x1.fffffffffffffp-1,
                                  9007199254740993.0,
                                  2.2250738585072011e-308};
    for (int i = 0; i < COUNT_OF(hard); i++) {
        check_number(ctx, hard[i], NULL);
        check_number(ctx, -hard[i], NULL);
    }
    uint64_t bits = 0x123456789abcdef1u;
    for (int i = 0; i < 2000; i++) {
        double v = 0;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v)) {
            check_number(ctx, v, NULL);
        }
    }
    opt_ctx_free(ctx);
}

static void test_jsonw__misuse_is_a_bug(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    opt_str s = {0};
    opt_jsonw w;
    opt_jsonw_init(&w, ctx, &s, 0);
    opt_jsonw_begin_object(&w);
    assert_int_equal(opt_jsonw_finish(&w), OPT_ERR_BUG);
    assert_error(ctx, OPT_ERR_BUG, "", "1 levels are still open");
    opt_jsonw_init(&w, ctx, &s, 0);
    opt_jsonw_end_array(&w);
    assert_int_equal(opt_jsonw_finish(&w), OPT_ERR_BUG);
    assert_error(ctx, OPT_ERR_BUG, "", "without its beginning");
    opt_jsonw_init(&w, ctx, &s, 0);
    opt_jsonw_begin_object(&w);
    opt_jsonw_key(&w, "k");
    opt_jsonw_end_object(&w);
    assert_int_equal(opt_jsonw_finish(&w), OPT_ERR_BUG);
    opt_str_free(ctx, &s);
    opt_ctx_free(ctx);
}

static void test_jsonw__out_of_memory_is_kept(void **state) {
    (void)state;
    for (int n = 1; n <= 3; n++) {
        char text[8];
        (void)snprintf(text, sizeof text, "%d", n);
        assert_int_equal(setenv("OPT_FAULT_ALLOC", text, 1), 0);
        opt_ctx *ctx = test_ctx(1);
        assert_int_equal(unsetenv("OPT_FAULT_ALLOC"), 0);
        opt_str s = {0};
        opt_jsonw w;
        opt_jsonw_init(&w, ctx, &s, 2);
        write_all(&w);
        assert_int_equal(opt_jsonw_finish(&w), OPT_ERR_MEMORY);
        opt_str_free(ctx, &s);
        opt_ctx_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__values),
        cmocka_unit_test(test_json__members_come_in_file_order),
        cmocka_unit_test(test_json__bad_text_is_refused),
        cmocka_unit_test(test_json__nesting_is_bounded),
        cmocka_unit_test(test_json__exactly_the_given_bytes_are_read),
        cmocka_unit_test(test_json__typed_members),
        cmocka_unit_test(test_jsonw__layout),
        cmocka_unit_test(test_jsonw__strings),
        cmocka_unit_test(test_jsonw__numbers_read_back_equal),
        cmocka_unit_test(test_jsonw__misuse_is_a_bug),
        cmocka_unit_test(test_jsonw__out_of_memory_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
