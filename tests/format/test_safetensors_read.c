#include "io_test.h"

#include "base/num.h"
#include "io/parse.h"

/* A file: length, header text, n_data bytes counting up from 0. */
typedef struct st_file {
    const char *name;
    const char *json;
    size_t n_data;
    uint64_t length; /* what the first 8 bytes claim; 0: the truth */
    opt_status status;
    const char *message;
} st_file;

static void build(bytes *b, const st_file *f) {
    add_u64(b, f->length != 0 ? f->length : strlen(f->json));
    add_text(b, f->json);
    for (size_t i = 0; i < f->n_data; i++) {
        add_u8(b, (uint8_t)i);
    }
}

#define F32(name, shape, begin, end)                                                               \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
#define ONE(dtype, shape, offsets)                                                                 \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define I OPT_ERR_INPUT
#define U OPT_ERR_UNSUPPORTED

static const st_file corrupt[] = {
    {"length beyond the limit", "{}", 0, 100000001, I, "claims 100000001 bytes; at most 100000000"},
    {"length that wraps", "{}", 0, UINT64_MAX, I, "claims 18446744073709551615 bytes; at most"},
    {"length beyond the file", "{}", 4, 7, I, "claims 7 bytes but the file ends after 6"},
    {"no header", "", 0, 0, I, "the header does not start with '{'"},
    {"only padding", "    ", 0, 0, I, "the header does not start with '{'"},
    {"space first", " {}", 0, 0, I, "the header does not start with '{'"},
    {"an array", "[]", 0, 0, I, "the header does not start with '{'"},
    {"newline at the end", "{}\n", 0, 0, I, "the header does not end with '}' and spaces"},
    {"text behind", "{} ]", 0, 0, I, "the header does not end with '}' and spaces"},
    {"two objects", "{}{}", 0, 0, I, "line 1 column"},
    {"cut JSON", "{\"t\":{ }", 0, 0, I, "line 1 column"},
    {"double tensor", "{" F32("t", "[1]", "0", "4") "," F32("t", "[1]", "4", "8") "}", 8, 0, I,
     "duplicate"},
    {"double member", "{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, 0, I, "duplicate"},
    {"bad UTF-8", "{\"\xff\":1}", 0, 0, I, "unable to decode byte 0xff"},
    {"0 in a name", "{\"a\\u0000b\":1}", 0, 0, I, "NUL byte in object key"},
    {"metadata is a list", "{\"__metadata__\":[]}", 0, 0, I,
     "__metadata__ is an array; expected an object"},
    {"metadata number", "{\"__metadata__\":{\"a\":1}}", 0, 0, I,
     "__metadata__ member 'a' is an integer; expected a string"},
    {"tensor is a number", "{\"t\":1}", 0, 0, I, "tensor 't' is an integer; expected an object"},
    {"unknown member",
     "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"scale\":2}}", 4, 0, U,
     "tensor 't' has an unknown member 'scale'"},
    {"no dtype", "{\"t\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 0, I,
     "tensor 't': dtype is null; expected a string"},
    {"dtype number", ONE("32", "[1]", "[0,4]"), 4, 0, I,
     "tensor 't': dtype is an integer; expected a string"},
    {"dtype of a later version", ONE("\"F4\"", "[8]", "[0,4]"), 4, 0, U,
     "tensor 't' has dtype F4, which"},
    {"complex numbers", ONE("\"C64\"", "[1]", "[0,8]"), 8, 0, U, "tensor 't' has dtype C64, which"},
    {"dtype in lower case", ONE("\"f32\"", "[1]", "[0,4]"), 4, 0, U, "has dtype f32, which"},
    {"no shape", "{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, 0, I,
     "tensor 't': shape is null; expected an array"},
    {"shape number", ONE("\"F32\"", "1", "[0,4]"), 4, 0, I,
     "tensor 't': shape is an integer; expected an array"},
    {"shape of text", ONE("\"F32\"", "[\"1\"]", "[0,4]"), 4, 0, I,
     "tensor 't': shape[0] is a string; expected an integer"},
    {"shape fraction", ONE("\"F32\"", "[1.0]", "[0,4]"), 4, 0, I,
     "tensor 't': shape[0] is a number; expected an integer"},
    {"negative dimension", ONE("\"F32\"", "[1,-1]", "[0,4]"), 4, 0, I,
     "tensor 't': shape[1] is -1; expected 0 or more"},
    {"dimension beyond 64 bits", ONE("\"F32\"", "[18446744073709551617]", "[0,4]"), 4, 0, I,
     "too big integer"},
    {"elements overflow", ONE("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, 0, I,
     "tensor 't': its shape overflows"},
    {"bytes overflow", ONE("\"F64\"", "[4611686018427387904]", "[0,0]"), 0, 0, I,
     "tensor 't': its shape overflows"},
    {"overflow behind a 0", ONE("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0, 0, I,
     "tensor 't': its shape overflows"},
    {"nine dimensions", ONE("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, 0, U,
     "tensor 't' has 9 dimensions; at most 8"},
    {"no offsets", "{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, 0, I,
     "tensor 't': data_offsets is not an array of two integers"},
    {"one offset", ONE("\"F32\"", "[1]", "[0]"), 4, 0, I, "is not an array of two integers"},
    {"three offsets", ONE("\"F32\"", "[1]", "[0,4,4]"), 4, 0, I, "is not an array of two integers"},
    {"negative offset", ONE("\"F32\"", "[1]", "[-4,0]"), 4, 0, I,
     "tensor 't': data_offsets[0] is -4; expected 0 or more"},
    {"fraction offset", ONE("\"F32\"", "[1]", "[0,4.5]"), 4, 0, I,
     "tensor 't': data_offsets[1] is a number; expected an integer"},
    {"end before begin", ONE("\"F32\"", "[1]", "[4,0]"), 4, 0, I,
     "tensor 't' ends at offset 0 before it begins at 4"},
    {"beyond the file", ONE("\"F32\"", "[2]", "[0,8]"), 7, 0, I,
     "tensor 't' ends at offset 8 but the file holds 7 bytes of tensors"},
    {"shape smaller than the data", ONE("\"F32\"", "[1]", "[0,8]"), 8, 0, I,
     "tensor 't' has 8 bytes of data; its shape and dtype F32 need 4"},
    {"shape larger than the data", ONE("\"F32\"", "[3]", "[0,8]"), 8, 0, I,
     "tensor 't' has 8 bytes of data; its shape and dtype F32 need 12"},
    {"hole at the start", ONE("\"F32\"", "[1]", "[4,8]"), 8, 0, I,
     "no tensor covers offsets 0 to 4, before tensor 't'"},
    {"hole in the middle", "{" F32("a", "[1]", "0", "4") "," F32("b", "[1]", "8", "12") "}", 12, 0,
     I, "no tensor covers offsets 4 to 8, before tensor 'b'"},
    {"overlap", "{" F32("a", "[2]", "0", "8") "," F32("b", "[2]", "4", "12") "}", 12, 0, I,
     "tensor 'b' begins at offset 4 inside tensor 'a', which ends at 8"},
    {"same place", "{" F32("a", "[1]", "0", "4") "," F32("b", "[1]", "0", "4") "}", 4, 0, I,
     "tensor 'b' begins at offset 0 inside tensor 'a', which ends at 4"},
    {"bytes behind the last tensor", ONE("\"F32\"", "[1]", "[0,4]"), 5, 0, I,
     "the last tensor ends at offset 4 but the file holds 5 bytes"},
    {"bytes without a tensor", "{}", 1, 0, I,
     "the last tensor ends at offset 0 but the file holds 1 bytes"},
};

static const st_file legal[] = {
    {.name = "no tensor", .json = "{}"},
    {.name = "padding", .json = "{}      "},
    {.name = "scalar", .json = ONE("\"F32\"", "[]", "[0,4]"), .n_data = 4},
    {.name = "empty tensor", .json = ONE("\"F32\"", "[3,0]", "[0,0]")},
    {.name = "empty tensor between",
     .json = "{" F32("a", "[1]", "0", "4") "," F32("b", "[0]", "4", "4") "," F32("c", "[1]", "4",
                                                                                 "8") "}",
     .n_data = 8},
    {.name = "order of the header is free",
     .json = "{" F32("a", "[1]", "4", "8") "," F32("b", "[1]", "0", "4") "}",
     .n_data = 8},
    {.name = "eight dimensions", .json = ONE("\"U8\"", "[1,1,1,1,1,1,1,1]", "[0,1]"), .n_data = 1},
    {.name = "metadata",
     .json = "{\"__metadata__\":{\"format\":\"pt\"}," F32("a", "[1]", "0", "4") "}",
     .n_data = 4},
};

static void test_safetensors__corrupt_files_are_refused(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof corrupt / sizeof corrupt[0]; i++) {
        bytes b = {0};
        build(&b, &corrupt[i]);
        write_file(scratch_path(&s, "model.safetensors"), b.data, b.n);
        expect_open(corrupt[i].name, s.path, corrupt[i].status, corrupt[i].message);
        free(b.data);
    }
    scratch_remove(&s);
}

static void test_safetensors__legal_corner_cases_are_read(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++) {
        bytes b = {0};
        build(&b, &legal[i]);
        write_file(scratch_path(&s, "model.safetensors"), b.data, b.n);
        expect_open(legal[i].name, s.path, OPT_OK, NULL);
        free(b.data);
    }
    scratch_remove(&s);
}

static void test_safetensors__too_deep_nesting_is_refused(void **state) {
    enum { DEPTH = 100000 };
    scratch s;
    bytes b = {0};
    (void)state;
    scratch_new(&s);
    add_u64(&b, 2 * DEPTH + 6);
    add_text(&b, "{\"t\":");
    for (int i = 0; i < 2 * DEPTH; i++) {
        add_text(&b, i < DEPTH ? "[" : "]");
    }
    add_text(&b, "}");
    write_file(scratch_path(&s, "model.safetensors"), b.data, b.n);
    expect_open("depth", s.path, OPT_ERR_INPUT, "maximum parsing depth");
    free(b.data);
    scratch_remove(&s);
}

/* Cut at any byte, the file is refused: the header says how long it must be. */
static void test_safetensors__every_truncation_is_refused(void **state) {
    const st_file whole = {
        .json = "{" F32("a", "[2]", "0", "8") "," F32("b", "[1]", "8", "12") "}  ", .n_data = 12};
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    build(&b, &whole);
    for (size_t n = 0; n < b.n; n++) {
        opt_arena *arena = NULL;
        opt_tensor_list list;
        uint8_t *const part = malloc(n + 1); /* of exact size for the sanitizer, but for n = 0 */
        assert_non_null(part);
        memcpy(part, b.data, n);
        uint8_t *const exact = n > 0 ? realloc(part, n) : part;
        assert_int_equal(opt_arena_new(ctx, &arena), OPT_OK);
        assert_int_equal(opt_st_parse(ctx, arena, "cut", exact, n, &list), OPT_ERR_INPUT);
        assert_string_not_equal(opt_ctx_error_message(ctx), "");
        opt_ctx_clear_error(ctx);
        opt_arena_free(arena);
        free(exact);
    }
    free(b.data);
    opt_ctx_free(ctx);
}

static void test_safetensors__errors_name_the_file(void **state) {
    scratch s;
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    write_file(scratch_path(&s, "weights.safetensors"), "1234567", 7);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_ERR_INPUT);
    expect_error(ctx, "7 bytes", OPT_ERR_INPUT, "7 bytes are too few for a safetensors file");
    assert_string_equal(opt_ctx_error_object(ctx), s.path);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors__corrupt_files_are_refused),
        cmocka_unit_test(test_safetensors__legal_corner_cases_are_read),
        cmocka_unit_test(test_safetensors__too_deep_nesting_is_refused),
        cmocka_unit_test(test_safetensors__every_truncation_is_refused),
        cmocka_unit_test(test_safetensors__errors_name_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
