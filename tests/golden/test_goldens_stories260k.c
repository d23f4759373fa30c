/* stories260K against transformers in float32: exact mode, at once and token by token. */
#include "golden/trained.h"

/* Single-precision sums of the same numbers in another order; the bar is 1e-3. */
#define BOUND 1e-4

static trained model;

static int setup(void **state) {
    (void)state;
    model = trained_open(OPT_TESTDATA "/stories260K", "stories260K");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    trained_close(&model);
    return 0;
}

static void test_goldens__stories260k_window_at_once(void **state) {
    (void)state;
    check_first_window(&model, WINDOW, BOUND);
}

static void test_goldens__stories260k_window_token_by_token(void **state) {
    (void)state;
    check_first_window(&model, 1, BOUND);
}

static void test_goldens__stories260k_prompt(void **state) {
    (void)state;
    check_prompt(&model, BOUND);
}

static void test_goldens__stories260k_greedy(void **state) {
    (void)state;
    check_greedy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens__stories260k_window_at_once),
        cmocka_unit_test(test_goldens__stories260k_window_token_by_token),
        cmocka_unit_test(test_goldens__stories260k_prompt),
        cmocka_unit_test(test_goldens__stories260k_greedy),
    };
    return cmocka_run_group_tests_name("goldens_stories260k", tests, setup, teardown);
}
