/* Windows and statistics of the evaluation: which tokens are fed and scored, and how the numbers
 * are summed up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "eval/stats.h"
#include "eval/windows.h"

static void test_stats__mean_and_standard_error(void **state) {
    (void)state;
    const double x[] = {1.0, 2.0, 3.0, 4.0};
    double mean;
    double error;
    opt_stats_mean(x, 4, &mean, &error);
    assert_float_equal(mean, 2.5, 1e-12);
    assert_float_equal(error, 0.6454972243679028, 1e-12); /* sqrt(5/3 / 4) */
    opt_stats_mean(x, 1, &mean, &error);
    assert_float_equal(mean, 1.0, 0.0);
    assert_float_equal(error, 0.0, 0.0);
}

static void test_stats__percentiles_interpolate(void **state) {
    (void)state;
    double x[] = {4.0, 1.0, 3.0, 2.0};
    opt_stats_sort(x, 4);
    assert_float_equal(opt_stats_percentile(x, 4, 0.0), 1.0, 0.0);
    assert_float_equal(opt_stats_percentile(x, 4, 50.0), 2.5, 1e-12);
    assert_float_equal(opt_stats_percentile(x, 4, 100.0), 4.0, 0.0);
    assert_float_equal(opt_stats_percentile(x, 4, 90.0), 3.7, 1e-12);
    assert_float_equal(opt_stats_percentile(x, 1, 99.0), 1.0, 0.0);
}

/* Values of the formula as binom.confint(method = "wilson") of R gives them. */
static void test_stats__wilson_interval(void **state) {
    (void)state;
    static const struct {
        double share;
        int64_t n;
        double low, high;
    } rows[] = {
        {0.9, 100, 0.8256343, 0.9447709}, {0.5, 10, 0.2365931, 0.7634069},
        {1.0, 10, 0.7224672, 1.0},        {0.0, 10, 0.0, 0.2775328},
        {1.0, 1, 0.2065493, 1.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double low;
        double high;
        opt_stats_wilson(rows[i].share, rows[i].n, 1.959963984540054, &low, &high);
        assert_float_equal(low, rows[i].low, 1e-6);
        assert_float_equal(high, rows[i].high, 1e-6);
        assert_true(rows[i].share < 1 || high == 1.0);
        assert_true(rows[i].share > 0 || low == 0.0);
    }
}

static opt_ctx *make_ctx(void) {
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    return ctx;
}

static void test_windows__cut_and_score(void **state) {
    (void)state;
    const int32_t tokens[] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
    opt_ctx *ctx = make_ctx();
    opt_windows w;
    assert_int_equal(opt_windows_make(ctx, "a.txt", tokens, 10, 4, 0, 0, -1, &w), OPT_OK);
    assert_int_equal(w.n_windows, 2);
    assert_int_equal(opt_windows_n_scored(&w), 6);
    int32_t got[4];
    opt_windows_get(&w, 1, got);
    assert_int_equal(got[0], 14);
    assert_int_equal(got[3], 17);
    assert_int_equal(opt_windows_make(ctx, "a.txt", tokens, 10, 4, 1, 2, 1, &w), OPT_OK);
    assert_int_equal(opt_windows_n_scored(&w), 1);
    opt_windows_get(&w, 0, got);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 11);
    opt_ctx_free(ctx);
}

static void test_windows__refuse_what_cannot_be_scored(void **state) {
    (void)state;
    static const struct {
        int64_t n_tokens, window, n_windows;
        const char *message;
    } rows[] = {
        {10, 1, 0, "use at least 2"},
        {3, 4, 0, "has 3 tokens"},
        {10, 4, 3, "enough for 2 windows of 4; asked for 3"},
    };
    const int32_t tokens[10] = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        opt_ctx *ctx = make_ctx();
        opt_windows w;
        assert_int_equal(opt_windows_make(ctx, "a.txt", tokens, rows[i].n_tokens, rows[i].window,
                                          rows[i].n_windows, 0, -1, &w),
                         OPT_ERR_USAGE);
        assert_non_null(strstr(opt_ctx_error_message(ctx), rows[i].message));
        assert_string_equal(opt_ctx_error_object(ctx), rows[i].window > 1 ? "a.txt" : "ctx");
        opt_ctx_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__mean_and_standard_error),
        cmocka_unit_test(test_stats__percentiles_interpolate),
        cmocka_unit_test(test_stats__wilson_interval),
        cmocka_unit_test(test_windows__cut_and_score),
        cmocka_unit_test(test_windows__refuse_what_cannot_be_scored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
