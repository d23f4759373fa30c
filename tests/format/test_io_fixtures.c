/* Files of the reference writers (packages safetensors and gguf); scripts/make_io_fixtures.py makes
 * them. */
#include "io_test.h"

#include <math.h>

#include "kern/kern.h"

#define FIXTURE(name) OPT_TESTDATA "/io/" name

static const float floats[] = {0, 1, -2, 0.5F, 96, -0.25F};
static const float signeds[] = {0, -1, 2, -3, 100, -128};
static const float unsigneds[] = {0, 1, 2, 3, 100, 255};
static const float bools[] = {0, 1, 1, 0, 1, 0};

typedef struct expected {
    const char *name;
    const float *values; /* [2, 3] */
} expected;

static void check_tensor(opt_ctx *ctx, const opt_source *source, const expected *e) {
    float found[6];
    const opt_tensor *const t = opt_source_find(source, e->name);
    assert_non_null(t);
    assert_string_equal(t->format->name, e->name);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 2);
    assert_int_equal(t->dims[1], 3);
    opt_tensor_decode_rows(t, opt_kern_get(ctx), 0, 2, found);
    for (size_t i = 0; i < 6; i++) {
        if (found[i] != e->values[i]) {
            fail_msg("%s[%zu]: expected %g, found %g", e->name, i, (double)e->values[i],
                     (double)found[i]);
        }
    }
}

static void test_fixtures__safetensors_of_every_dtype(void **state) {
    static const expected all[] = {
        {"f64", floats},     {"f32", floats},     {"f16", floats},    {"bf16", floats},
        {"f8_e4m3", floats}, {"f8_e5m2", floats}, {"i64", signeds},   {"i32", signeds},
        {"i16", signeds},    {"i8", signeds},     {"u64", unsigneds}, {"u32", unsigneds},
        {"u16", unsigneds},  {"u8", unsigneds},   {"bool", bools},
    };
    enum { N = sizeof all / sizeof all[0] };
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    assert_int_equal(opt_source_open(ctx, FIXTURE("dtypes.safetensors"), &source), OPT_OK);
    assert_int_equal(opt_source_n_tensors(source), N + 2);
    for (size_t i = 0; i < N; i++) {
        check_tensor(ctx, source, &all[i]);
    }
    float scalar = 0;
    assert_int_equal(opt_source_find(source, "scalar")->n_dims, 0);
    opt_tensor_decode_rows(opt_source_find(source, "scalar"), opt_kern_get(ctx), 0, 1, &scalar);
    assert_true(scalar == 1.5F);
    assert_int_equal(opt_source_find(source, "empty")->bytes, 0);
    opt_source_close(source);
    opt_ctx_free(ctx);
}

/* An array holds the value, 7 (false, ""), and the value again. */
static void check_integer(const opt_kv *kv, const char *name, int64_t value, int64_t second) {
    char key[64];
    (void)snprintf(key, sizeof key, "test.%s", name);
    const opt_kv_entry *const one = opt_kv_find(kv, key);
    assert_non_null(one);
    assert_string_equal(opt_kv_type_name(one->type), name);
    assert_int_equal(opt_kv_elem_i64(one, 0), value);
    (void)snprintf(key, sizeof key, "test.array.%s", name);
    const opt_kv_entry *const three = opt_kv_find(kv, key);
    assert_non_null(three);
    assert_int_equal(three->type, OPT_KV_ARRAY);
    assert_string_equal(opt_kv_type_name(three->elem), name);
    assert_int_equal(three->n, 3);
    assert_int_equal(opt_kv_elem_i64(three, 0), value);
    assert_int_equal(opt_kv_elem_i64(three, 1), second);
    assert_int_equal(opt_kv_elem_i64(three, 2), value);
}

static void check_float(const opt_kv *kv, const char *name, double value) {
    char key[64];
    (void)snprintf(key, sizeof key, "test.%s", name);
    assert_true(opt_kv_elem_f64(opt_kv_find(kv, key), 0) == value);
    (void)snprintf(key, sizeof key, "test.array.%s", name);
    const opt_kv_entry *const three = opt_kv_find(kv, key);
    assert_string_equal(opt_kv_type_name(three->elem), name);
    assert_int_equal(three->n, 3);
    assert_true(opt_kv_elem_f64(three, 1) == 7.0);
    assert_true(opt_kv_elem_f64(three, 2) == value);
}

static void test_fixtures__gguf_keys_of_every_type(void **state) {
    static const char text[] = "tekst: \xc3\xa6\xc3\xb8\xc3\xa5";
    opt_source *source = NULL;
    const char *s = NULL;
    const opt_kv_str *strings = NULL;
    size_t n = 0;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    assert_int_equal(opt_source_open(ctx, FIXTURE("kv_types.gguf"), &source), OPT_OK);
    const opt_kv *const kv = opt_source_kv(source);
    assert_int_equal(opt_kv_count(kv), 2 + 24);
    check_integer(kv, "u8", 200, 7);
    check_integer(kv, "i8", -100, 7);
    check_integer(kv, "u16", 60000, 7);
    check_integer(kv, "i16", -30000, 7);
    check_integer(kv, "u32", 4000000000, 7);
    check_integer(kv, "i32", -2000000000, 7);
    check_integer(kv, "u64", -1, 7); /* all bits */
    check_integer(kv, "i64", INT64_MIN, 7);
    check_integer(kv, "bool", 1, 0);
    check_float(kv, "f32", 0.15625);
    check_float(kv, "f64", 1.0 / 3);
    assert_int_equal(opt_kv_get_str(ctx, kv, "test.string", true, &s), OPT_OK);
    assert_string_equal(s, text);
    assert_int_equal(opt_kv_get_str_array(ctx, kv, "test.array.string", true, &strings, &n),
                     OPT_OK);
    assert_int_equal(n, 3);
    assert_int_equal(strings[1].len, 0);
    assert_int_equal(strings[2].len, strlen(text));
    assert_memory_equal(strings[2].data, text, strlen(text));
    opt_source_close(source);
    opt_ctx_free(ctx);
}

static const expected gguf_tensors[] = {
    {"f32", floats},  {"f16", floats},  {"f64", floats},  {"bf16", floats},
    {"i64", signeds}, {"i32", signeds}, {"i16", signeds}, {"i8", signeds},
};
enum { N_GGUF = sizeof gguf_tensors / sizeof gguf_tensors[0] };

/* w[i] = (i - 64) / 8 in q8_0: the largest of a group of 32 is 127 steps, so half a step is the
 * bound. */
static void check_q8_0(opt_ctx *ctx, const opt_source *source) {
    float found[3 * 64];
    const opt_tensor *const t = opt_source_find(source, "q8_0");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->dims[1], 64);
    assert_int_equal(t->bytes, 3 * 2 * 34);
    opt_tensor_decode_rows(t, opt_kern_get(ctx), 0, 3, found);
    for (int i = 0; i < 3 * 64; i++) {
        assert_true(fabsf(found[i] - (float)(i - 64) / 8) <= 0.5F * 16 / 127 + 0.01F);
    }
}

static void test_fixtures__gguf_tensors_of_plain_types(void **state) {
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    assert_int_equal(opt_source_open(ctx, FIXTURE("kv_types.gguf"), &source), OPT_OK);
    assert_int_equal(opt_source_n_tensors(source), N_GGUF + 1);
    for (size_t i = 0; i < N_GGUF; i++) {
        check_tensor(ctx, source, &gguf_tensors[i]);
    }
    check_q8_0(ctx, source);
    opt_source_close(source);
    opt_ctx_free(ctx);
}

static void test_fixtures__split_gguf_gives_the_same_tensors(void **state) {
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    assert_int_equal(opt_source_open(ctx, FIXTURE("split-00001-of-00003.gguf"), &source), OPT_OK);
    assert_int_equal(opt_source_n_files(source), 3);
    assert_int_equal(opt_source_n_tensors(source), N_GGUF + 1);
    for (size_t i = 0; i < N_GGUF; i++) {
        check_tensor(ctx, source, &gguf_tensors[i]);
    }
    check_q8_0(ctx, source);
    opt_source_close(source);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures__safetensors_of_every_dtype),
        cmocka_unit_test(test_fixtures__gguf_keys_of_every_type),
        cmocka_unit_test(test_fixtures__gguf_tensors_of_plain_types),
        cmocka_unit_test(test_fixtures__split_gguf_gives_the_same_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
