/* Measured divergences as a file: what is written comes back bit for bit, and damage is named. */
#include "support.h"

#include <math.h>
#include <unistd.h>

#include "flow/measurements.h"

#define HEAD                                                                                       \
    "{\"schema\":\"lathe.measurements/1\",\"model\":\"0123456789abcdef\","                         \
    "\"text\":\"fedcba9876543210\",\"method\":\"gptq\",\"sweeps\":3,\"tokens\":100,"               \
    "\"held_tokens\":50,"
#define TENSOR(formats)                                                                            \
    "{\"name\":\"a\",\"rows\":4,\"columns\":64,\"probe_error\":0.5,\"probe_kld\":0.25,"            \
    "\"formats\":[" formats "]}"
#define Q4 "{\"format\":\"q4_0\",\"error\":0.1,\"kld\":0.01}"

static void test_measurements__read_what_was_written(void **state) {
    opt_ctx *ctx = test_ctx(1);
    static const double values[] = {0.0, 0.1, 1.0 / 3.0, 5e-324, 123456.789, 1e-17};
    opt_measurements m = {.model_hash = 0xfedcba9876543210U, .text_hash = 7, .sweeps = 3};
    opt_measurements back = {0};
    opt_format_cost costs[COUNT_OF(values)];
    opt_tensor_costs tensors[2] = {{.name = "blk.0.ffn_down.weight", .n_rows = 4, .n_cols = 64}};
    char path[] = "/tmp/test_measurements_XXXXXX";
    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    static const char *const names[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "int4_g64"};
    for (int i = 0; i < COUNT_OF(values); i++) {
        costs[i] = (opt_format_cost){opt_format_by_name(names[i]), values[i], values[i] / 3.0};
    }
    tensors[0].formats = costs;
    tensors[0].n = COUNT_OF(values);
    tensors[0].probe_error = M_PI;
    tensors[0].probe_kld = M_E;
    tensors[1] = tensors[0];
    tensors[1].name = "other \"name\"";
    m.method = "gptq";
    m.n_tokens = 65536;
    m.n_held_tokens = 508;
    m.tensors = tensors;
    m.n = 2;
    assert_int_equal(opt_measurements_write(ctx, &m, path, true), OPT_OK);
    assert_int_equal(opt_measurements_read(ctx, path, &back), OPT_OK);
    assert_true(back.model_hash == m.model_hash && back.text_hash == m.text_hash);
    assert_string_equal(back.method, "gptq");
    assert_true(back.sweeps == 3 && back.n_tokens == 65536 && back.n_held_tokens == 508);
    assert_int_equal(back.n, 2);
    for (int t = 0; t < 2; t++) {
        const opt_tensor_costs *b = opt_measurements_find(&back, tensors[t].name);
        assert_non_null(b);
        assert_true(b->n_rows == 4 && b->n_cols == 64);
        assert_true(b->probe_error == M_PI && b->probe_kld == M_E);
        assert_int_equal(b->n, COUNT_OF(values));
        for (int i = 0; i < b->n; i++) {
            assert_ptr_equal(b->formats[i].format, costs[i].format);
            assert_true(b->formats[i].error == costs[i].error);
            assert_true(b->formats[i].kld == costs[i].kld);
        }
    }
    assert_null(opt_measurements_find(&back, "blk.0.ffn_down"));
    assert_null(opt_measurements_format(&back.tensors[0], opt_format_by_name("int8_g32")));
    opt_measurements_free(&back);
    unlink(path);
    opt_ctx_free(ctx);
}

static void test_measurements__damage_is_named(void **state) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "expected"},
        {"[]", "schema"},
        {"{\"schema\":\"lathe.report/1\"}", "the schema is 'lathe.report/1'"},
        {"{\"schema\":\"lathe.measurements/1\",\"model\":\"0123456789abcde\"}",
         "'model' is no hash"},
        {"{\"schema\":\"lathe.measurements/1\",\"model\":\"0123456789abcdeg\"}",
         "'model' is no hash"},
        {"{\"schema\":\"lathe.measurements/1\",\"model\":\"0123456789abcdef0\"}",
         "'model' is no hash"},
        {HEAD "\"tensors\":{}}", "'tensors' must be an array, it is"},
        {HEAD "\"tensors\":[]}", "'tensors' has 0 elements"},
        {HEAD "\"tensors\":[1]}", "name"},
        {HEAD "\"tensors\":[" TENSOR("") "]}", "'formats' has 0 elements"},
        {HEAD "\"tensors\":[" TENSOR("{}") "]}", "format"},
        {HEAD "\"tensors\":[" TENSOR("{\"format\":\"q9_9\",\"error\":1,\"kld\":1}") "]}",
         "a: unknown format 'q9_9'"},
        {HEAD "\"tensors\":[" TENSOR("{\"format\":\"q4_k\",\"error\":1,\"kld\":1}") "]}",
         "a: q4_k does not fit rows of 64"},
        {HEAD "\"tensors\":[" TENSOR("{\"format\":\"q4_0\",\"error\":-1,\"kld\":1}") "]}",
         "\"error\" is -1"},
        {HEAD "\"tensors\":[" TENSOR("{\"format\":\"q4_0\",\"error\":1,\"kld\":1e7}") "]}",
         "\"kld\" is 1e+07"},
        {HEAD "\"tensors\":[" TENSOR("{\"format\":\"q4_0\",\"error\":1,\"kld\":null}") "]}", "kld"},
        {HEAD "\"tensors\":[" TENSOR(Q4 "," Q4) "]}", "a: q4_0 is there twice"},
        {HEAD "\"tensors\":[" TENSOR(Q4) "," TENSOR(Q4) "]}", "tensor a is there twice"},
        {HEAD "\"tensors\":[" TENSOR(Q4) "],\"tensors\":[]}", "tensors"},
        {HEAD "\"tensors\":[" TENSOR(Q4) "]} x", "expected"},
    };
    opt_ctx *ctx = test_ctx(1);
    opt_measurements m = {0};
    (void)state;
    for (int i = 0; i < COUNT_OF(cases); i++) {
        opt_ctx_clear_error(ctx);
        assert_int_equal(
            opt_measurements_parse(ctx, "f.json", cases[i].text, strlen(cases[i].text), &m),
            OPT_ERR_INPUT);
        if (strstr(opt_ctx_error_message(ctx), cases[i].message) == NULL) {
            fail_msg("case %d: '%s' lacks '%s'", i, opt_ctx_error_message(ctx), cases[i].message);
        }
        assert_non_null(strstr(opt_ctx_error_object(ctx), "f.json"));
        assert_null(m.arena);
    }
    opt_ctx_clear_error(ctx);
    static const char good[] = HEAD "\"tensors\":[" TENSOR(Q4) "]}";
    assert_int_equal(opt_measurements_parse(ctx, "f.json", good, sizeof good - 1, &m), OPT_OK);
    assert_int_equal(m.n, 1);
    opt_measurements_free(&m);
    for (size_t n = 0; n < sizeof good - 1; n++) { /* cut off anywhere */
        opt_ctx_clear_error(ctx);
        assert_int_equal(opt_measurements_parse(ctx, "f.json", good, n, &m), OPT_ERR_INPUT);
    }
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measurements__read_what_was_written),
        cmocka_unit_test(test_measurements__damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
