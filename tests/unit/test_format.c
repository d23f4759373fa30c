/** The format table: lookups, sizes, tensors; and that a format is added by one file and one table
 * row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/rows.h"
#include "tensor/tensor.h"

/* A format that libopt does not know: one byte an element in steps of 1/16. */
static void decode_toy(const opt_format *f, const opt_kern *k, const void *src, float *dst,
                       int64_t n) {
    (void)f;
    (void)k;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = (float)((const int8_t *)src)[i] / 16.0f;
    }
}

static const opt_format opt_format_toy = {.name = "toy",
                                          .help = "steps of 1/16",
                                          .kfmt = OPT_KFMT_NONE,
                                          .ggml_type = -1,
                                          .block_elems = 1,
                                          .block_bytes = 1,
                                          .flags = OPT_FORMAT_FLOAT,
                                          .decode = decode_toy};

/* The library's table lies alone in its object file, so this one takes its place when the test is
 * linked. */
const opt_format *const opt_formats[] = {
#define OPT_FORMAT(name) &opt_format_##name,
#include "tensor/formats.def"
    &opt_format_toy,
    NULL,
};

static void test_format__a_new_format_is_one_row(void **state) {
    (void)state;
    const opt_format *f = opt_format_by_name("toy");
    assert_ptr_equal(f, &opt_format_toy);
    opt_kern kern;
    opt_kern_fill(&kern, OPT_ISA_REF, 0);
    assert_null(kern.linear_i8[f->kfmt]);
    const uint8_t data[6] = {16, 8, 0, 240, 1, 32};
    const opt_tensor t = {
        .name = "t", .format = f, .n_dims = 2, .dims = {2, 3}, .bytes = 6, .data = data};
    float got[3];
    opt_tensor_decode_rows(&t, &kern, 1, 1, got);
    assert_true(got[0] == -1.0f && got[1] == 0.0625f && got[2] == 2.0f);
}

static void test_format__by_name(void **state) {
    (void)state;
    assert_ptr_equal(opt_format_by_name("q8_0"), &opt_format_q8_0);
    assert_ptr_equal(opt_format_by_name("Q8_0"), &opt_format_q8_0);
    assert_ptr_equal(opt_format_by_name("F32"), &opt_format_f32);
    assert_string_equal(opt_format_by_name("Q4_K")->name, "q4_k");
    assert_string_equal(opt_format_by_name("int3_g64_ZP")->name, "int3_g64_zp");
    const char *unknown[] = {"", "q8", "q8_0 ", "q8_00", " q8_0", "int5_g64", "int4_g16"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(opt_format_by_name(unknown[i]));
    }
}

static void test_format__names_are_unique_and_lower_case(void **state) {
    (void)state;
    for (const opt_format *const *f = opt_formats; *f != NULL; f++) {
        assert_ptr_equal(opt_format_by_name((*f)->name), *f);
        for (const char *c = (*f)->name; *c != 0; c++) {
            assert_false(*c >= 'A' && *c <= 'Z');
        }
        assert_true(strlen((*f)->help) > 10 || *f == &opt_format_f32);
        assert_non_null((*f)->decode);
        assert_true((*f)->block_elems >= 1 && (*f)->block_bytes >= 1);
    }
}

/* Ids, block sizes and bytes as ggml prints them. */
static void test_format__ggml_types(void **state) {
    (void)state;
    static const struct {
        int id;
        const char *name;
        int elems, bytes;
    } cases[] = {
        {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},
        {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},
        {8, "q8_0", 32, 34},      {9, "q8_1", 32, 36},      {10, "q2_k", 256, 84},
        {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},
        {14, "q6_k", 256, 210},   {15, "q8_k", 256, 292},   {16, "iq2_xxs", 256, 66},
        {17, "iq2_xs", 256, 74},  {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},
        {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},
        {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},         {25, "i16", 1, 2},
        {26, "i32", 1, 4},        {27, "i64", 1, 8},        {28, "f64", 1, 8},
        {29, "iq1_m", 256, 56},   {30, "bf16", 1, 2},       {34, "tq1_0", 256, 54},
        {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17},    {40, "nvfp4", 64, 36},
        {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const opt_format *f = opt_format_by_ggml(cases[i].id);
        assert_non_null(f);
        assert_string_equal(f->name, cases[i].name);
        assert_int_equal(f->block_elems, cases[i].elems);
        assert_int_equal(f->block_bytes, cases[i].bytes);
    }
    const int64_t unknown[] = {
        -1, 4, 5, 31, 33, 36, 38, 43, INT64_MAX, INT64_MIN, (int64_t)1 << 32};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(opt_format_by_ggml(unknown[i]));
    }
}

static void test_format__safetensors_dtypes(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"F64", "f64"},         {"F32", "f32"},         {"F16", "f16"},   {"BF16", "bf16"},
        {"F8_E4M3", "f8_e4m3"}, {"F8_E5M2", "f8_e5m2"}, {"I8", "i8"},     {"I16", "i16"},
        {"I32", "i32"},         {"I64", "i64"},         {"U8", "u8"},     {"U16", "u16"},
        {"U32", "u32"},         {"U64", "u64"},         {"BOOL", "bool"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const opt_format *f = opt_format_by_st_dtype(cases[i][0]);
        assert_non_null(f);
        assert_string_equal(f->name, cases[i][1]);
    }
    assert_null(opt_format_by_st_dtype("f32"));
    assert_null(opt_format_by_st_dtype("C64"));
    assert_null(opt_format_by_st_dtype(""));
}

static void test_format__row_bytes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t n_rows, n_cols;
        bool fits;
        size_t bytes;
    } cases[] = {
        {"f32", 3, 5, true, 60},          {"q8_0", 2, 64, true, 136},
        {"q8_0", 2, 48, false, 0},        {"q4_k", 1, 256, true, 144},
        {"q4_k", 1, 576, false, 0},       {"int4_g64", 2, 64, true, 68},
        {"int4_g64", 2, 172, true, 204},  {"int4_g64_zp", 1, 1, true, 35},
        {"int3_g128", 1, 129, true, 100}, {"q8_0", 0, 64, true, 0},
        {"q8_0", 7, 0, true, 0},          {"q8_0", -1, 64, false, 0},
        {"q8_0", 1, -32, false, 0},       {"int2_g32", 1, -1, false, 0},
        {"f64", INT64_MAX, 2, false, 0},  {"f64", 1, INT64_MAX, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const opt_format *f = opt_format_by_name(cases[i].name);
        size_t bytes = 0;
        assert_int_equal(opt_format_bytes(f, cases[i].n_rows, cases[i].n_cols, &bytes),
                         cases[i].fits);
        if (cases[i].fits) {
            assert_int_equal(bytes, cases[i].bytes);
        }
    }
    assert_true(opt_format_fits(opt_format_by_name("int4_g128"), 172));
    assert_false(opt_format_fits(opt_format_by_name("q8_0"), 172));
}

static void test_format__bits_per_weight(void **state) {
    (void)state;
    assert_true(opt_format_bpw(&opt_format_f32) == 32.0);
    assert_true(opt_format_bpw(&opt_format_q8_0) == 8.5);
    assert_true(opt_format_bpw(opt_format_by_name("iq2_xxs")) == 2.0625);
    assert_true(opt_format_bpw(opt_format_by_name("int4_g128_zp")) == 4.1875);
}

static void test_tensor__shapes(void **state) {
    (void)state;
    static const struct {
        int n_dims;
        int64_t dims[3];
        int64_t n_rows, n_cols, n_elems;
        const char *text;
    } cases[] = {
        {0, {0}, 1, 1, 1, "[]"},
        {1, {7}, 1, 7, 7, "[7]"},
        {2, {49152, 576}, 49152, 576, 49152 * 576, "[49152, 576]"},
        {3, {2, 3, 4}, 6, 4, 24, "[2, 3, 4]"},
        {2, {0, 4}, 0, 4, 0, "[0, 4]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        opt_tensor t = {.format = &opt_format_f32, .n_dims = cases[i].n_dims};
        memcpy(t.dims, cases[i].dims, sizeof cases[i].dims);
        char text[64];
        assert_int_equal(opt_tensor_n_rows(&t), cases[i].n_rows);
        assert_int_equal(opt_tensor_n_cols(&t), cases[i].n_cols);
        assert_int_equal(opt_tensor_n_elems(&t), cases[i].n_elems);
        assert_string_equal(opt_tensor_shape_text(&t, text, sizeof text), cases[i].text);
    }
    const opt_tensor t = {.format = &opt_format_f32, .n_dims = 2, .dims = {49152, 576}};
    char small[8];
    assert_string_equal(opt_tensor_shape_text(&t, small, sizeof small), "[49152,");
}

static void test_tensor__rows_with_a_partial_block(void **state) {
    (void)state;
    opt_kern kern;
    opt_kern_fill(&kern, OPT_ISA_REF, 0);
    const opt_format *f = opt_format_by_name("int8_g32"); /* 34 bytes a block, d = 1 is 0x3c00 */
    uint8_t data[3 * 2 * 34];
    for (int b = 0; b < 6; b++) {
        memset(data + b * 34, 128 + b, 34);
        data[b * 34] = 0;
        data[b * 34 + 1] = 0x3c;
    }
    const opt_tensor t = {
        .name = "t", .format = f, .n_dims = 2, .dims = {3, 40}, .bytes = sizeof data, .data = data};
    assert_ptr_equal(opt_tensor_row(&t, 2), data + 4 * 34);
    float got[80];
    opt_tensor_decode_rows(&t, &kern, 1, 2, got);
    for (int i = 0; i < 80; i++) {
        const int value = 2 + i / 40 * 2 + (i % 40 >= 32 ? 1 : 0);
        assert_true(got[i] == (float)value);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format__a_new_format_is_one_row),
        cmocka_unit_test(test_format__by_name),
        cmocka_unit_test(test_format__names_are_unique_and_lower_case),
        cmocka_unit_test(test_format__ggml_types),
        cmocka_unit_test(test_format__safetensors_dtypes),
        cmocka_unit_test(test_format__row_bytes),
        cmocka_unit_test(test_format__bits_per_weight),
        cmocka_unit_test(test_tensor__shapes),
        cmocka_unit_test(test_tensor__rows_with_a_partial_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
