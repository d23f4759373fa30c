/* Stop texts across token boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/generate.h"

static void test_stopper__cuts_before_the_first_stop(void **state) {
    (void)state;
    static const struct {
        const char *stops[3];
        const char *pieces[6];
        const char *text; /* everything that comes out */
        bool stopped;
    } rows[] = {
        {{NULL}, {"a", "b", "c"}, "abc", false},
        {{"END"}, {"one ", "END", "two"}, "one ", true},
        {{"END"}, {"one E", "N", "D two"}, "one ", true},
        {{"END"}, {"one E", "N", "ough"}, "one ENough", false},
        {{"END"}, {"EN"}, "EN", false},             /* still held when the text ends */
        {{"aab"}, {"a", "a", "a", "b"}, "a", true}, /* the held part overlaps itself */
        {{"x", "yz"}, {"ay", "z", "x"}, "a", true}, /* the first in the text, not in the list */
        {{"yz", "z"}, {"ayz"}, "a", true},
        {{"", "q"}, {"abc", "q"}, "abc", true}, /* an empty stop text says nothing */
        {{"\n\n"}, {"a\n", "b\n\n"}, "a\nb", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_ctx *ctx = NULL;
        assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
        opt_stopper s = {.stops = rows[i].stops};
        while (s.n < 3 && rows[i].stops[s.n] != NULL) {
            s.n++;
        }
        opt_str out = {0};
        bool stopped = false;
        for (int k = 0; k < 6 && rows[i].pieces[k] != NULL && !stopped; k++) {
            assert_int_equal(opt_stopper_push(ctx, &s, rows[i].pieces[k], strlen(rows[i].pieces[k]),
                                              &out, &stopped),
                             OPT_OK);
        }
        if (!stopped) {
            assert_int_equal(opt_stopper_finish(ctx, &s, &out), OPT_OK);
        }
        assert_int_equal(stopped, rows[i].stopped);
        assert_string_equal(out.data, rows[i].text);
        opt_str_free(ctx, &out);
        opt_stopper_free(ctx, &s);
        opt_ctx_free(ctx);
    }
}

static void test_stopper__holds_back_no_more_than_needed(void **state) {
    (void)state;
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    const char *stops[] = {"abcd"};
    opt_stopper s = {.stops = stops, .n = 1};
    opt_str out = {0};
    bool stopped = false;
    assert_int_equal(opt_stopper_push(ctx, &s, "xxabxxabc", 9, &out, &stopped), OPT_OK);
    assert_string_equal(out.data, "xxabxx");
    assert_false(stopped);
    opt_str_free(ctx, &out);
    opt_stopper_free(ctx, &s);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopper__cuts_before_the_first_stop),
        cmocka_unit_test(test_stopper__holds_back_no_more_than_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
