#include "base/file.h"

#include <fcntl.h>
#include <limits.h>

#include "support.h"

static char dir[256];
static opt_ctx *ctx;

static int set_up(void **state) {
    (void)state;
    test_make_dir(dir, sizeof dir);
    ctx = test_ctx(1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    opt_ctx_free(ctx);
    test_remove_dir(dir);
    return 0;
}

static const char *in_dir(const char *name) {
    static char paths[4][1024];
    static int next = 0;
    char *p = paths[next++ % 4];
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

/** Opens an output directory and puts one file and one folder with a file into it. */
static opt_outdir *fill(const char *path, bool force, const char *text) {
    opt_outdir *d = NULL;
    char file[1024];
    assert_int_equal(opt_outdir_open(ctx, path, force, &d), OPT_OK);
    (void)snprintf(file, sizeof file, "%s/model", opt_outdir_temp_path(d));
    test_write_file(file, text, strlen(text));
    (void)snprintf(file, sizeof file, "%s/sub", opt_outdir_temp_path(d));
    assert_int_equal(mkdir(file, 0700), 0);
    (void)snprintf(file, sizeof file, "%s/sub/tokenizer", opt_outdir_temp_path(d));
    test_write_file(file, text, strlen(text));
    return d;
}

static void test_outdir__appears_whole(void **state) {
    (void)state;
    opt_outdir *d = fill(in_dir("out"), false, "one");
    assert_int_equal(access(in_dir("out"), F_OK), -1);
    assert_int_equal(opt_outdir_commit(d), OPT_OK);
    assert_true(test_file_equals(in_dir("out/model"), "one", 3));
    assert_true(test_file_equals(in_dir("out/sub/tokenizer"), "one", 3));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outdir__trailing_slash_is_the_same(void **state) {
    (void)state;
    assert_int_equal(opt_outdir_commit(fill(in_dir("out//"), false, "one")), OPT_OK);
    assert_true(test_file_equals(in_dir("out/model"), "one", 3));
}

static void test_outdir__discard_removes_everything(void **state) {
    (void)state;
    opt_outdir_discard(fill(in_dir("out"), false, "one"));
    opt_outdir_discard(NULL);
    assert_int_equal(test_count_entries(dir), 0);
}

static void test_outdir__existing_directory_needs_force(void **state) {
    (void)state;
    opt_outdir *d = NULL;
    assert_int_equal(opt_outdir_commit(fill(in_dir("out"), false, "one")), OPT_OK);
    assert_int_equal(opt_outdir_open(ctx, in_dir("out"), false, &d), OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, in_dir("out"), "exists already; use --force");
    test_write_file(in_dir("out/only_in_old"), "x", 1);
    d = fill(in_dir("out"), true, "two");
    assert_true(test_file_equals(in_dir("out/model"), "one", 3));
    assert_int_equal(opt_outdir_commit(d), OPT_OK);
    assert_true(test_file_equals(in_dir("out/model"), "two", 3));
    assert_int_equal(access(in_dir("out/only_in_old"), F_OK), -1);
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outdir__empty_directory_may_be_filled(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_dir("out"), 0700), 0);
    assert_int_equal(opt_outdir_commit(fill(in_dir("out"), false, "one")), OPT_OK);
    assert_true(test_file_equals(in_dir("out/model"), "one", 3));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outdir__directory_that_appears_meanwhile_is_kept(void **state) {
    (void)state;
    opt_outdir *d = fill(in_dir("out"), false, "one");
    assert_int_equal(mkdir(in_dir("out"), 0700), 0);
    test_write_file(in_dir("out/other"), "x", 1);
    assert_int_equal(opt_outdir_commit(d), OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, in_dir("out"), "was created by somebody else meanwhile");
    assert_true(test_file_equals(in_dir("out/other"), "x", 1));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outdir__targets_that_are_refused(void **state) {
    (void)state;
    char before[PATH_MAX];
    opt_outdir *d = NULL;
    test_write_file(in_dir("file"), "x", 1);
    assert_int_equal(mkdir(in_dir("here"), 0700), 0);
    assert_int_equal(mkdir(in_dir("here/below"), 0700), 0);
    static const struct {
        const char *path;
        opt_status status;
        const char *message;
    } rows[] = {
        {"file", OPT_ERR_USAGE, "is a file, expected the name of a directory"},
        {"missing/out", OPT_ERR_IO, "cannot open its directory"},
        {"here/below/..", OPT_ERR_USAGE, "has no file name that could be written"},
        {"here/below", OPT_ERR_USAGE, "is or holds the working directory"},
        {"here", OPT_ERR_USAGE, "is or holds the working directory"},
        {"/proc", OPT_ERR_USAGE, "is a mount point"},
        {"/", OPT_ERR_USAGE, "has no file name that could be written"},
    };
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(in_dir("here/below")), 0);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        const char *path = rows[i].path[0] == '/' ? rows[i].path : in_dir(rows[i].path);
        assert_int_equal(opt_outdir_open(ctx, path, true, &d), rows[i].status);
        assert_error(ctx, rows[i].status, path, rows[i].message);
    }
    assert_int_equal(chdir(before), 0);
    assert_int_equal(test_count_entries(dir), 2);
}

static void test_outdir__links_inside_the_old_one_are_not_followed(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_dir("precious"), 0700), 0);
    test_write_file(in_dir("precious/data"), "x", 1);
    assert_int_equal(opt_outdir_commit(fill(in_dir("out"), false, "one")), OPT_OK);
    assert_int_equal(symlink("../precious", in_dir("out/link")), 0);
    assert_int_equal(opt_outdir_commit(fill(in_dir("out"), true, "two")), OPT_OK);
    assert_true(test_file_equals(in_dir("precious/data"), "x", 1));
    assert_int_equal(access(in_dir("out/link"), F_OK), -1);
    assert_int_equal(test_count_entries(dir), 2);
}

static void test_outdir__cancelled_commit_leaves_the_old_one(void **state) {
    (void)state;
    assert_int_equal(opt_outdir_commit(fill(in_dir("out"), false, "one")), OPT_OK);
    opt_outdir *d = fill(in_dir("out"), true, "two");
    opt_ctx_cancel(ctx, 15);
    assert_int_equal(opt_outdir_commit(d), OPT_ERR_TERMINATED);
    opt_ctx_clear_error(ctx);
    assert_true(test_file_equals(in_dir("out/model"), "one", 3));
    assert_int_equal(test_count_entries(dir), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_outdir__appears_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__trailing_slash_is_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__discard_removes_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__existing_directory_needs_force, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__empty_directory_may_be_filled, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__directory_that_appears_meanwhile_is_kept,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__targets_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__links_inside_the_old_one_are_not_followed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outdir__cancelled_commit_leaves_the_old_one, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
