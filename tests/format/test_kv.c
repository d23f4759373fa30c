#include "io_test.h"

#include "base/num.h"

typedef struct fixture {
    opt_ctx *ctx;
    opt_kv *kv;
} fixture;

static int set_up(void **state) {
    static fixture f;
    f.ctx = new_ctx(1);
    assert_int_equal(opt_kv_new(f.ctx, &f.kv), OPT_OK);
    assert_int_equal(opt_kv_set_origin(f.kv, "model.gguf"), OPT_OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    const fixture *const f = *state;
    opt_kv_free(f->kv);
    opt_ctx_free(f->ctx);
    return 0;
}

static void test_kv__keeps_order_and_replaces_in_place(void **state) {
    const fixture *const f = *state;
    assert_null(opt_kv_find(f->kv, "a"));
    assert_int_equal(opt_kv_set_u32(f->kv, "a", 1), OPT_OK);
    assert_int_equal(opt_kv_set_str(f->kv, "b", "text"), OPT_OK);
    assert_int_equal(opt_kv_set_bool(f->kv, "c", true), OPT_OK);
    assert_int_equal(opt_kv_set_str(f->kv, "a", "now a string"), OPT_OK);
    assert_int_equal(opt_kv_count(f->kv), 3);
    assert_string_equal(opt_kv_at(f->kv, 0)->key, "a");
    assert_int_equal(opt_kv_at(f->kv, 0)->type, OPT_KV_STRING);
    assert_string_equal(opt_kv_at(f->kv, 2)->key, "c");
    assert_null(opt_kv_at(f->kv, 3));
}

static void test_kv__removes_and_still_finds_the_others(void **state) {
    const fixture *const f = *state;
    enum { N = 1000 };
    char key[16];
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(key, sizeof key, "key.%u", i);
        assert_int_equal(opt_kv_set_u32(f->kv, key, i), OPT_OK);
    }
    for (uint32_t i = 0; i < N; i += 3) {
        (void)snprintf(key, sizeof key, "key.%u", i);
        opt_kv_remove(f->kv, key);
    }
    opt_kv_remove(f->kv, "absent");
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(key, sizeof key, "key.%u", i);
        const opt_kv_entry *const e = opt_kv_find(f->kv, key);
        assert_int_equal(e == NULL, i % 3 == 0);
        if (e != NULL) {
            assert_int_equal(opt_kv_elem_i64(e, 0), i);
        }
    }
}

static void test_kv__copies_what_it_is_given(void **state) {
    const fixture *const f = *state;
    char text[] = "abc";
    const int16_t numbers[] = {-1, 2, -3};
    assert_int_equal(opt_kv_set_strn(f->kv, "s", text, 3), OPT_OK);
    assert_int_equal(opt_kv_set_array(f->kv, "n", OPT_KV_I16, numbers, 3), OPT_OK);
    text[0] = 'x';
    opt_kv *other = NULL;
    assert_int_equal(opt_kv_new(f->ctx, &other), OPT_OK);
    assert_int_equal(opt_kv_copy(other, opt_kv_find(f->kv, "s")), OPT_OK);
    assert_int_equal(opt_kv_copy(other, opt_kv_find(f->kv, "n")), OPT_OK);
    opt_kv_remove(f->kv, "s");
    const char *s = NULL;
    assert_int_equal(opt_kv_get_str(f->ctx, other, "s", true, &s), OPT_OK);
    assert_string_equal(s, "abc");
    assert_int_equal(opt_kv_elem_i64(opt_kv_find(other, "n"), 2), -3);
    opt_kv_free(other);
}

static void test_kv__strings_may_hold_any_bytes(void **state) {
    const fixture *const f = *state;
    static const char odd[] = {'\0', '\xff', 'x'};
    const opt_kv_str in[] = {{odd, 3}, {"", 0}, {"ab", 2}};
    const opt_kv_str *out = NULL;
    size_t n = 0;
    assert_int_equal(opt_kv_set_str_array(f->kv, "strings", in, 3), OPT_OK);
    assert_int_equal(opt_kv_get_str_array(f->ctx, f->kv, "strings", true, &out, &n), OPT_OK);
    assert_int_equal(n, 3);
    assert_int_equal(out[0].len, 3);
    assert_memory_equal(out[0].data, odd, 3);
    assert_int_equal(out[1].len, 0);
    assert_memory_equal(out[2].data, "ab", 2);
}

static void test_kv__integers_of_every_type_are_read_in_range(void **state) {
    const fixture *const f = *state;
    static const struct {
        opt_kv_type type;
        uint64_t bits;
        int64_t value;
    } rows[] = {
        {OPT_KV_U8, 200, 200},
        {OPT_KV_I8, 0x80, -128},
        {OPT_KV_U16, 0xffff, 65535},
        {OPT_KV_I16, 0x8000, -32768},
        {OPT_KV_U32, 0xffffffff, 4294967295},
        {OPT_KV_I32, 0x80000000, INT32_MIN},
        {OPT_KV_U64, INT64_MAX, INT64_MAX},
        {OPT_KV_I64, 1ull << 63, INT64_MIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const opt_kv_entry e = {
            .key = "k", .type = rows[i].type, .elem = rows[i].type, .n = 1, .data = &rows[i].bits};
        int64_t v = 0;
        assert_int_equal(opt_kv_copy(f->kv, &e), OPT_OK);
        assert_int_equal(opt_kv_get_i64(f->ctx, f->kv, "k", true, INT64_MIN, INT64_MAX, &v),
                         OPT_OK);
        assert_int_equal(v, rows[i].value);
    }
}

static void test_kv__floats_are_read_from_both_types(void **state) {
    const fixture *const f = *state;
    double v = 0;
    assert_int_equal(opt_kv_set_f32(f->kv, "f", 0.5F), OPT_OK);
    assert_int_equal(opt_kv_get_f64(f->ctx, f->kv, "f", true, &v), OPT_OK);
    assert_true(v == 0.5);
    const double third = 1.0 / 3;
    const opt_kv_entry e = {
        .key = "f", .type = OPT_KV_F64, .elem = OPT_KV_F64, .n = 1, .data = &third};
    assert_int_equal(opt_kv_copy(f->kv, &e), OPT_OK);
    assert_int_equal(opt_kv_get_f64(f->ctx, f->kv, "f", true, &v), OPT_OK);
    assert_true(v == third);
    assert_true(opt_kv_elem_f64(opt_kv_find(f->kv, "f"), 0) == third);
}

static void test_kv__absent_optional_keys_leave_the_value(void **state) {
    const fixture *const f = *state;
    int64_t i = 7;
    double d = 7;
    bool b = true;
    const char *s = "seven";
    assert_int_equal(opt_kv_get_i64(f->ctx, f->kv, "x", false, 0, 1, &i), OPT_OK);
    assert_int_equal(opt_kv_get_f64(f->ctx, f->kv, "x", false, &d), OPT_OK);
    assert_int_equal(opt_kv_get_bool(f->ctx, f->kv, "x", false, &b), OPT_OK);
    assert_int_equal(opt_kv_get_str(f->ctx, f->kv, "x", false, &s), OPT_OK);
    assert_true(i == 7 && d == 7 && b && strcmp(s, "seven") == 0);
}

/* One getter call that must fail. */
typedef enum getter { GET_I64, GET_F64, GET_BOOL, GET_STR, GET_STRS } getter;

static opt_status call(const fixture *f, getter which, const char *key) {
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    const opt_kv_str *strings = NULL;
    size_t n = 0;
    switch (which) {
    case GET_I64: return opt_kv_get_i64(f->ctx, f->kv, key, true, 1, 100, &i);
    case GET_F64: return opt_kv_get_f64(f->ctx, f->kv, key, true, &d);
    case GET_BOOL: return opt_kv_get_bool(f->ctx, f->kv, key, true, &b);
    case GET_STR: return opt_kv_get_str(f->ctx, f->kv, key, true, &s);
    case GET_STRS: return opt_kv_get_str_array(f->ctx, f->kv, key, true, &strings, &n);
    }
    return OPT_OK;
}

static void test_kv__errors_name_file_key_and_types(void **state) {
    const fixture *const f = *state;
    static const struct {
        getter which;
        const char *key;
        const char *message;
    } rows[] = {
        {GET_I64, "absent", "the metadata key absent is missing"},
        {GET_I64, "text", "the metadata key text has type string; expected an integer"},
        {GET_I64, "zero", "the metadata key zero is 0; expected 1 to 100"},
        {GET_I64, "huge", "the metadata key huge is 18446744073709551615; expected at most 100"},
        {GET_I64, "float", "the metadata key float has type f32; expected an integer"},
        {GET_I64, "list", "the metadata key list has type array of u8; expected an integer"},
        {GET_F64, "zero", "the metadata key zero has type u32; expected a floating-point number"},
        {GET_BOOL, "zero", "the metadata key zero has type u32; expected a bool"},
        {GET_STR, "zero", "the metadata key zero has type u32; expected a string"},
        {GET_STR, "nul", "the metadata key nul is a text with a 0 byte in it"},
        {GET_STRS, "text", "the metadata key text has type string; expected an array of strings"},
        {GET_STRS, "list", "the metadata key list has type array of u8; expected an array of str"},
    };
    assert_int_equal(opt_kv_set_str(f->kv, "text", "12"), OPT_OK);
    assert_int_equal(opt_kv_set_strn(f->kv, "nul", "a\0b", 3), OPT_OK);
    assert_int_equal(opt_kv_set_u32(f->kv, "zero", 0), OPT_OK);
    assert_int_equal(opt_kv_set_u64(f->kv, "huge", UINT64_MAX), OPT_OK);
    assert_int_equal(opt_kv_set_f32(f->kv, "float", 1), OPT_OK);
    assert_int_equal(opt_kv_set_array(f->kv, "list", OPT_KV_U8, "ab", 2), OPT_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_ctx_clear_error(f->ctx);
        assert_int_equal(call(f, rows[i].which, rows[i].key), OPT_ERR_INPUT);
        expect_error(f->ctx, rows[i].message, OPT_ERR_INPUT, rows[i].message);
        assert_string_equal(opt_ctx_error_object(f->ctx), "model.gguf");
    }
}

static void test_kv__refuses_keys_that_no_file_can_hold(void **state) {
    const fixture *const f = *state;
    char *const longest = calloc(65537, 1);
    assert_non_null(longest);
    memset(longest, 'k', 65536);
    assert_int_equal(opt_kv_set_u32(f->kv, longest, 1), OPT_ERR_BUG);
    opt_ctx_clear_error(f->ctx);
    assert_int_equal(opt_kv_set_u32(f->kv, longest + 1, 1), OPT_OK);
    assert_int_equal(opt_kv_set_u32(f->kv, "", 1), OPT_ERR_BUG);
    free(longest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kv__keeps_order_and_replaces_in_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kv__removes_and_still_finds_the_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kv__copies_what_it_is_given, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kv__strings_may_hold_any_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kv__integers_of_every_type_are_read_in_range, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kv__floats_are_read_from_both_types, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kv__absent_optional_keys_leave_the_value, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_kv__errors_name_file_key_and_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kv__refuses_keys_that_no_file_can_hold, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
