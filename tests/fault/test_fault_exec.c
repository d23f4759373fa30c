/* Every allocation on the way to a running model fails once; and none happens while tokens run. */
#include "golden/golden.h"
#include "support.h"

typedef struct attempt {
    opt_status st;
    rig r;
} attempt;

static attempt try_open(const char *path, int n) {
    char text[32];
    attempt a = {.st = OPT_OK};
    const opt_session_options options = {.compute = OPT_COMPUTE_FAST, .n_ctx = 64, .n_batch = 8};
    snprintf(text, sizeof text, "%d", n);
    assert_int_equal(setenv("OPT_FAULT_ALLOC", text, 1), 0);
    a.st = opt_ctx_new(&(opt_ctx_options){.n_threads = 2}, &a.r.ctx);
    assert_int_equal(unsetenv("OPT_FAULT_ALLOC"), 0);
    if (a.st == OPT_OK) {
        a.st = opt_source_open(a.r.ctx, path, &a.r.source);
    }
    if (a.st == OPT_OK) {
        a.st = opt_model_open(a.r.ctx, a.r.source, &a.r.model);
    }
    if (a.st == OPT_OK) {
        a.st = opt_session_new(a.r.ctx, a.r.model, &options, &a.r.session);
    }
    return a;
}

static void check_every_allocation(const char *path) {
    const int32_t ids[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    int n_failed = 0;
    for (int n = 1; n < 5000; n++) {
        attempt a = try_open(path, n);
        if (a.st != OPT_OK) {
            assert_int_equal(a.st, OPT_ERR_MEMORY);
            assert_null(a.r.session);
            if (a.r.ctx != NULL) {
                assert_error(a.r.ctx, OPT_ERR_MEMORY, NULL, "");
            }
            rig_close(&a.r);
            n_failed++;
            continue;
        }
        /* The next allocation would fail: running tokens must not need one. */
        GOLDEN_OK(a.r.ctx, opt_session_eval(a.r.session, ids, 20, 20, NULL, NULL));
        for (int i = 0; i < 20; i++) {
            GOLDEN_OK(a.r.ctx, opt_session_eval(a.r.session, ids + i, 1, 1, NULL, NULL));
        }
        rig_close(&a.r);
        assert_true(n_failed > 20);
        return;
    }
    fail_msg("it never succeeds");
}

static void test_fault_exec__every_allocation(void **state) {
    (void)state;
    check_every_allocation(OPT_TESTDATA "/families/llama3-scaling");
    check_every_allocation(OPT_TESTDATA "/families/qwen2-sliding");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fault_exec__every_allocation)};
    return cmocka_run_group_tests_name("fault_exec", tests, NULL, NULL);
}
