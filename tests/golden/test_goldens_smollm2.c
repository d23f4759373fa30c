/*
 * SmolLM2-135M against transformers in float32, for machines that have the checkpoint: the
 * environment variable LATHE_SMOLLM2 names the directory that scripts/make_smollm2.py writes.
 */
#include "golden/trained.h"

/* Single-precision sums over 30 layers in another order; logits reach 30 and the bar is 1e-3. */
#define BOUND 2e-4

static trained model;

static int setup(void **state) {
    (void)state;
    model = trained_open(getenv("LATHE_SMOLLM2"), "SmolLM2-135M");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    trained_close(&model);
    return 0;
}

static void test_goldens__smollm2_window_at_once(void **state) {
    (void)state;
    check_first_window(&model, WINDOW, BOUND);
}

static void test_goldens__smollm2_window_token_by_token(void **state) {
    (void)state;
    check_first_window(&model, 1, BOUND);
}

static void test_goldens__smollm2_prompt(void **state) {
    (void)state;
    check_prompt(&model, BOUND);
}

static void test_goldens__smollm2_greedy(void **state) {
    (void)state;
    check_greedy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens__smollm2_window_at_once),
        cmocka_unit_test(test_goldens__smollm2_window_token_by_token),
        cmocka_unit_test(test_goldens__smollm2_prompt),
        cmocka_unit_test(test_goldens__smollm2_greedy),
    };
    if (getenv("LATHE_SMOLLM2") == NULL) {
        print_message("skipped: LATHE_SMOLLM2 is not set\n");
        return 77;
    }
    return cmocka_run_group_tests_name("goldens_smollm2", tests, setup, teardown);
}
