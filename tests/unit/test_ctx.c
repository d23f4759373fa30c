#include "base/ctx.h"

#include <errno.h>
#include <pthread.h>

#include "support.h"

static void test_ctx__options_are_checked(void **state) {
    (void)state;
    static const struct {
        opt_ctx_options options;
        opt_status expected;
    } rows[] = {
        {{.n_threads = 0}, OPT_OK},
        {{.n_threads = 5}, OPT_OK},
        {{.n_threads = -1}, OPT_ERR_USAGE},
        {{.n_threads = 100000}, OPT_ERR_USAGE},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = NULL;
        assert_int_equal(opt_ctx_new(&rows[i].options, &ctx), rows[i].expected);
        if (rows[i].expected == OPT_OK) {
            const int n = rows[i].options.n_threads;
            assert_int_equal(opt_ctx_n_threads(ctx), n > 0 ? n : opt_cpu_count());
        } else {
            assert_null(ctx);
        }
        opt_ctx_free(ctx);
    }
    opt_ctx_free(NULL);
}

static void test_ctx__defaults(void **state) {
    (void)state;
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    assert_int_equal(opt_ctx_status(ctx), OPT_OK);
    assert_string_equal(opt_ctx_error_object(ctx), "");
    assert_string_equal(opt_ctx_error_message(ctx), "");
    assert_int_equal(opt_ctx_n_warnings(ctx), 0);
    assert_true(opt_ctx_seed(ctx) == 0);
    assert_true(opt_ctx_max_memory(ctx) == 0);
    assert_string_equal(opt_ctx_isa(ctx), opt_isa_name(opt_ctx_isa_level(ctx)));
    assert_int_equal(opt_ctx_cpu(ctx)->isa, opt_ctx_isa_level(ctx));
    opt_ctx_free(ctx);
}

static void test_ctx__first_error_wins(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(opt_fail(ctx, OPT_ERR_INPUT, "a.gguf", "found %d, expected %d", 1, 2),
                     OPT_ERR_INPUT);
    assert_int_equal(opt_fail(ctx, OPT_ERR_IO, "b", "later"), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_INPUT, "a.gguf", "found 1, expected 2");
    assert_int_equal(opt_ctx_status(ctx), OPT_OK);
    assert_int_equal(opt_fail(ctx, OPT_ERR_IO, NULL, "next job"), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, "", "next job");
    opt_ctx_free(ctx);
}

static void test_ctx__ok_is_no_error(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(opt_fail(ctx, OPT_OK, NULL, "impossible"), OPT_ERR_BUG);
    assert_error(ctx, OPT_ERR_BUG, "", "impossible");
    opt_ctx_free(ctx);
}

static void test_ctx__errno_is_translated(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(opt_fail_errno(ctx, ENOENT, "x", "cannot open"), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, "x", "cannot open: No such file or directory");
    assert_int_equal(opt_fail_errno(ctx, ENOMEM, "x", "cannot map"), OPT_ERR_MEMORY);
    assert_error(ctx, OPT_ERR_MEMORY, "x", "cannot map: Cannot allocate memory");
    opt_ctx_free(ctx);
}

static void test_ctx__foreign_text_is_made_safe(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    // NOLINTNEXTLINE(misc-misleading-bidirectional): the point of the test
    static const char name[] = "a\nb\xff\xe2\x80\xae";
    opt_ignore(opt_fail(ctx, OPT_ERR_INPUT, "evil\x1b[2J", "tensor \"%s\"", name));
    assert_error(ctx, OPT_ERR_INPUT, "evil\\x1b[2J", "tensor \"a\\nb\\xff\\u{202e}\"");
    opt_ctx_free(ctx);
}

static void test_ctx__long_text_is_cut(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    opt_ctx *ctx = test_ctx(1);
    opt_ignore(opt_fail(ctx, OPT_ERR_INPUT, text, "%s", text));
    const char *object = opt_ctx_error_object(ctx);
    assert_int_equal(strlen(object), 511);
    assert_string_equal(object + 508, "...");
    opt_warn(ctx, text, "%s", text);
    assert_non_null(strstr(opt_ctx_warning(ctx, 0), "...: xxx"));
    opt_ctx_free(ctx);
}

typedef struct lines {
    int n;
    opt_log_level level;
    char last[256];
} lines;

static void keep_line(void *user, opt_log_level level, const char *message) {
    lines *l = user;
    l->n++;
    l->level = level;
    (void)snprintf(l->last, sizeof l->last, "%s", message);
}

static void test_ctx__warnings_are_kept_and_logged(void **state) {
    (void)state;
    lines l = {0};
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.log = keep_line, .log_user = &l};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    opt_warn(ctx, "layer 3", "is %s", "odd");
    assert_string_equal(l.last, "layer 3: is odd");
    assert_int_equal(l.level, OPT_LOG_WARNING);
    opt_log(ctx, OPT_LOG_INFO, "step %d", 4);
    assert_string_equal(l.last, "step 4");
    assert_int_equal(l.level, OPT_LOG_INFO);
    opt_warn(ctx, NULL, "plain");
    assert_int_equal(opt_ctx_n_warnings(ctx), 2);
    assert_string_equal(opt_ctx_warning(ctx, 0), "layer 3: is odd");
    assert_string_equal(opt_ctx_warning(ctx, 1), "plain");
    assert_string_equal(opt_ctx_warning(ctx, 2), "");
    assert_string_equal(opt_ctx_warning(ctx, -1), "");
    opt_ctx_free(ctx);
}

static void test_ctx__warnings_are_bounded(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < 5000; i++) {
        opt_warn(ctx, NULL, "%d", i);
    }
    assert_int_equal(opt_ctx_n_warnings(ctx), 1001);
    assert_string_equal(opt_ctx_warning(ctx, 999), "999");
    assert_string_equal(opt_ctx_warning(ctx, 1000), "further warnings were not kept");
    opt_ctx_free(ctx);
}

static void count_progress(void *user, const char *step, double done, double total) {
    (void)step;
    int *n = user;
    assert_true(done <= total);
    ++*n;
}

static void test_ctx__progress_is_thinned(void **state) {
    (void)state;
    int n = 0;
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.progress = count_progress, .progress_user = &n};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    static const char step[] = "read";
    for (int i = 0; i <= 10000; i++) {
        opt_progress(ctx, step, i, 10000);
    }
    assert_in_range(n, 2, 200); /* the first, the last, and a few between */
    opt_progress(ctx, "write", 0, 1);
    opt_progress(ctx, "verify", 0, 1); /* a new step is always shown */
    assert_in_range(n, 4, 202);
    opt_ctx_free(ctx);
}

static void test_ctx__cancellation(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(opt_check_cancel(ctx), OPT_OK);
    opt_ctx_cancel(ctx, 2);
    opt_ctx_clear_error(ctx); /* nothing was reported yet: the request stays */
    assert_int_equal(opt_check_cancel(ctx), OPT_ERR_INTERRUPTED);
    assert_error(ctx, OPT_ERR_INTERRUPTED, "", "stopped by signal 2");
    assert_int_equal(opt_check_cancel(ctx), OPT_OK);
    opt_ctx_cancel(ctx, 15);
    assert_int_equal(opt_check_cancel(ctx), OPT_ERR_TERMINATED);
    opt_ctx_free(ctx);
}

static char freed[8];

static void note_free(void *value) { (void)strncat(freed, value, 1); }

static void test_ctx__attachments(void **state) {
    (void)state;
    static const char key_a = 0;
    static const char key_b = 0;
    char a[] = "a";
    char b[] = "b";
    char c[] = "c";
    freed[0] = '\0';
    opt_ctx *ctx = test_ctx(1);
    assert_null(opt_ctx_attached(ctx, &key_a));
    assert_ptr_equal(opt_ctx_attach(ctx, &key_a, a, note_free), a);
    assert_ptr_equal(opt_ctx_attach(ctx, &key_b, b, note_free), b);
    assert_ptr_equal(opt_ctx_attach(ctx, &key_a, c, note_free), a); /* the first stays */
    assert_string_equal(freed, "c");
    assert_ptr_equal(opt_ctx_attached(ctx, &key_a), a);
    opt_ctx_free(ctx);
    assert_string_equal(freed, "cba"); /* newest first */
}

typedef struct racer {
    opt_ctx *ctx;
    int id;
} racer;

static void *race_main(void *arg) {
    const racer *r = arg;
    for (int i = 0; i < 500; i++) {
        opt_ignore(opt_fail(r->ctx, OPT_ERR_INPUT, "o", "thread %d", r->id));
        opt_warn(r->ctx, "o", "thread %d", r->id);
        opt_log(r->ctx, OPT_LOG_DEBUG, "thread %d", r->id);
    }
    return NULL;
}

static void test_ctx__recording_is_thread_safe(void **state) {
    (void)state;
    lines l = {0};
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.log = keep_line, .log_user = &l};
    pthread_t threads[4];
    racer racers[4];
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    for (int i = 0; i < 4; i++) {
        racers[i] = (racer){ctx, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_main, &racers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(l.n, 4 * 500 * 2);
    assert_int_equal(opt_ctx_n_warnings(ctx), 1001);
    assert_error(ctx, OPT_ERR_INPUT, "o", "thread ");
    opt_ctx_free(ctx);
}

static void test_ctx__status_names_and_exit_codes(void **state) {
    (void)state;
    static const struct {
        opt_status status;
        int code;
        const char *name;
    } rows[] = {{OPT_OK, 0, "ok"},
                {OPT_ERR_GATE, 1, "gate"},
                {OPT_ERR_USAGE, 2, "usage"},
                {OPT_ERR_INPUT, 3, "input"},
                {OPT_ERR_IO, 4, "io"},
                {OPT_ERR_MEMORY, 5, "memory"},
                {OPT_ERR_NUMERIC, 6, "numeric"},
                {OPT_ERR_UNSUPPORTED, 7, "unsupported"},
                {OPT_ERR_BUG, 70, "bug"},
                {OPT_ERR_INTERRUPTED, 130, "interrupted"},
                {OPT_ERR_TERMINATED, 143, "terminated"}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal((int)rows[i].status, rows[i].code);
        assert_string_equal(opt_status_name(rows[i].status), rows[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ctx__options_are_checked),
        cmocka_unit_test(test_ctx__defaults),
        cmocka_unit_test(test_ctx__first_error_wins),
        cmocka_unit_test(test_ctx__ok_is_no_error),
        cmocka_unit_test(test_ctx__errno_is_translated),
        cmocka_unit_test(test_ctx__foreign_text_is_made_safe),
        cmocka_unit_test(test_ctx__long_text_is_cut),
        cmocka_unit_test(test_ctx__warnings_are_kept_and_logged),
        cmocka_unit_test(test_ctx__warnings_are_bounded),
        cmocka_unit_test(test_ctx__progress_is_thinned),
        cmocka_unit_test(test_ctx__cancellation),
        cmocka_unit_test(test_ctx__attachments),
        cmocka_unit_test(test_ctx__recording_is_thread_safe),
        cmocka_unit_test(test_ctx__status_names_and_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
