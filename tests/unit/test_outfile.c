#include "base/file.h"

#include <sys/stat.h>

#include "base/pool.h"

#include "support.h"

static char dir[256];
static opt_ctx *ctx;

static int set_up(void **state) {
    (void)state;
    test_make_dir(dir, sizeof dir);
    ctx = test_ctx(3);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    opt_ctx_free(ctx);
    test_remove_dir(dir);
    return 0;
}

/** Path of `name` in the test's directory; four of them may be in use at once. */
static const char *in_dir(const char *name) {
    static char paths[4][1024];
    static int next = 0;
    char *p = paths[next++ % 4];
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static opt_outfile *open_file(const char *path, bool force) {
    opt_outfile *f = NULL;
    assert_int_equal(opt_outfile_open(ctx, path, force, 0, &f), OPT_OK);
    return f;
}

static void write_text(const char *path, bool force, const char *text) {
    opt_outfile *f = open_file(path, force);
    assert_int_equal(opt_outfile_pwrite(f, 0, text, strlen(text)), OPT_OK);
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_OK);
}

static void test_outfile__nothing_is_seen_before_commit(void **state) {
    (void)state;
    const char *path = in_dir("out");
    opt_outfile *f = open_file(path, false);
    assert_int_equal(opt_outfile_pwrite(f, 3, "def", 3), OPT_OK);
    assert_int_equal(opt_outfile_pwrite(f, 0, "abc", 3), OPT_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(opt_outfile_temp_path(f), F_OK), 0);
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_OK);
    assert_true(test_file_equals(path, "abcdef", 6));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__discard_leaves_nothing(void **state) {
    (void)state;
    opt_outfile *f = open_file(in_dir("out"), false);
    assert_int_equal(opt_outfile_pwrite(f, 0, "abc", 3), OPT_OK);
    opt_outfile_discard(f);
    opt_outfile_discard(NULL);
    assert_int_equal(test_count_entries(dir), 0);
}

static void test_outfile__existing_file_needs_force(void **state) {
    (void)state;
    const char *path = in_dir("out");
    opt_outfile *f = NULL;
    test_write_file(path, "old", 3);
    assert_int_equal(opt_outfile_open(ctx, path, false, 0, &f), OPT_ERR_USAGE);
    assert_null(f);
    assert_error(ctx, OPT_ERR_USAGE, path, "exists already; use --force");
    f = open_file(path, true);
    assert_int_equal(opt_outfile_pwrite(f, 0, "newer", 5), OPT_OK);
    assert_true(test_file_equals(path, "old", 3));
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_OK);
    assert_true(test_file_equals(path, "newer", 5));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__file_that_appears_meanwhile_is_not_replaced(void **state) {
    (void)state;
    const char *path = in_dir("out");
    opt_outfile *f = open_file(path, false);
    test_write_file(path, "other", 5);
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, path, "was created by somebody else meanwhile");
    assert_true(test_file_equals(path, "other", 5));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__permissions(void **state) {
    (void)state;
    struct stat info;
    const mode_t mask = umask(027);
    write_text(in_dir("new"), false, "x");
    (void)umask(mask);
    assert_int_equal(stat(in_dir("new"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(chmod(in_dir("new"), 0604), 0);
    write_text(in_dir("new"), true, "y");
    assert_int_equal(stat(in_dir("new"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0604); /* as the replaced file */
}

static void test_outfile__targets_that_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *path; /* relative to the test's directory unless it begins with '/' */
        opt_status status;
        const char *message;
    } rows[] = {
        {"folder", OPT_ERR_USAGE, "is a directory, expected a file name"},
        {"folder/", OPT_ERR_USAGE, "is a directory, expected a file name"},
        {"folder/..", OPT_ERR_USAGE, "has no file name that could be written"},
        {"folder/.", OPT_ERR_USAGE, "has no file name that could be written"},
        {"missing/out", OPT_ERR_IO, "cannot open its directory: No such file or directory"},
        {"file/out", OPT_ERR_IO, "cannot open its directory: Not a directory"},
        {"fifo", OPT_ERR_USAGE, "is a device, a pipe or a socket"},
        {"dangling", OPT_ERR_USAGE, "is a symbolic link that leads nowhere"},
        {"to_folder", OPT_ERR_USAGE, "is a directory, expected a file name"},
        {"to_null", OPT_ERR_USAGE, "is a device, a pipe or a socket"},
        {"/dev/null", OPT_ERR_USAGE, "is a device, a pipe or a socket"},
        {"/dev/full", OPT_ERR_USAGE, "is a device, a pipe or a socket"},
        {"/", OPT_ERR_USAGE, "has no file name that could be written"},
        {"", OPT_ERR_USAGE, NULL}, /* the empty path itself, below */
    };
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    test_write_file(in_dir("file"), "x", 1);
    assert_int_equal(symlink("nowhere", in_dir("dangling")), 0);
    assert_int_equal(symlink("folder", in_dir("to_folder")), 0);
    assert_int_equal(symlink("/dev/null", in_dir("to_null")), 0);
    const int n_before = test_count_entries(dir);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_outfile *f = NULL;
        const bool absolute = rows[i].path[0] == '/' || rows[i].path[0] == '\0';
        const char *path = absolute ? rows[i].path : in_dir(rows[i].path);
        const char *message =
            rows[i].message != NULL ? rows[i].message : "has no file name that could be written";
        if (opt_outfile_open(ctx, path, true, 0, &f) != rows[i].status) {
            fail_msg("\"%s\": wrong status %s", rows[i].path, opt_status_name(opt_ctx_status(ctx)));
        }
        assert_null(f);
        assert_error(ctx, rows[i].status, path, message);
        assert_int_equal(test_count_entries(dir), n_before);
    }
}

static void test_outfile__symbolic_link_stays_and_its_target_is_replaced(void **state) {
    (void)state;
    struct stat info;
    assert_int_equal(mkdir(in_dir("disk"), 0700), 0);
    test_write_file(in_dir("disk/real"), "old", 3);
    assert_int_equal(symlink("disk/real", in_dir("link")), 0);
    opt_outfile *f = NULL;
    assert_int_equal(opt_outfile_open(ctx, in_dir("link"), false, 0, &f), OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, NULL, "exists already");
    write_text(in_dir("link"), true, "new");
    assert_int_equal(lstat(in_dir("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_true(test_file_equals(in_dir("disk/real"), "new", 3));
    assert_int_equal(test_count_entries(in_dir("disk")), 1);
}

static void test_outfile__long_names(void **state) {
    (void)state;
    char name[256];
    memset(name, 'n', sizeof name - 1);
    name[255] = '\0';
    write_text(in_dir(name), false, "x");
    assert_true(test_file_equals(in_dir(name), "x", 1));
    opt_outfile *f = NULL;
    char longer[300];
    memset(longer, 'n', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(opt_outfile_open(ctx, in_dir(longer), false, 0, &f), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, NULL, "File name too long");
}

static void test_outfile__free_space_is_checked(void **state) {
    (void)state;
    opt_outfile *f = NULL;
    assert_int_equal(opt_outfile_open(ctx, in_dir("out"), false, UINT64_C(1) << 60, &f),
                     OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, in_dir("out"),
                 "needs 1152921504606846976 bytes, but the file system has");
    assert_int_equal(opt_outfile_open(ctx, in_dir("out"), false, 1000, &f), OPT_OK);
    opt_outfile_discard(f);
}

static opt_status check_path(void *user, const char *path) {
    return test_file_equals(path, user, strlen(user)) ? OPT_OK
                                                      : opt_fail(ctx, OPT_ERR_IO, path, "differs");
}

static void test_outfile__verification_decides(void **state) {
    (void)state;
    char good[] = "content";
    char bad[] = "something else";
    opt_outfile *f = open_file(in_dir("out"), false);
    assert_int_equal(opt_outfile_pwrite(f, 0, good, strlen(good)), OPT_OK);
    assert_int_equal(opt_outfile_commit(f, check_path, bad), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, NULL, "differs");
    assert_int_equal(test_count_entries(dir), 0);
    f = open_file(in_dir("out"), false);
    assert_int_equal(opt_outfile_pwrite(f, 0, good, strlen(good)), OPT_OK);
    assert_int_equal(opt_outfile_commit(f, check_path, good), OPT_OK);
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__cancelled_commit_leaves_the_old_file(void **state) {
    (void)state;
    test_write_file(in_dir("out"), "old", 3);
    opt_outfile *f = open_file(in_dir("out"), true);
    assert_int_equal(opt_outfile_pwrite(f, 0, "new", 3), OPT_OK);
    opt_ctx_cancel(ctx, 2);
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_ERR_INTERRUPTED);
    opt_ctx_clear_error(ctx);
    assert_true(test_file_equals(in_dir("out"), "old", 3));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__two_writers_of_one_target(void **state) {
    (void)state;
    opt_outfile *a = open_file(in_dir("out"), false);
    opt_outfile *b = open_file(in_dir("out"), false);
    assert_string_not_equal(opt_outfile_temp_path(a), opt_outfile_temp_path(b));
    assert_int_equal(opt_outfile_pwrite(a, 0, "a", 1), OPT_OK);
    assert_int_equal(opt_outfile_pwrite(b, 0, "b", 1), OPT_OK);
    assert_int_equal(opt_outfile_commit(b, NULL, NULL), OPT_OK);
    assert_int_equal(opt_outfile_commit(a, NULL, NULL), OPT_ERR_USAGE);
    opt_ctx_clear_error(ctx);
    assert_true(test_file_equals(in_dir("out"), "b", 1));
    assert_int_equal(test_count_entries(dir), 1);
}

static void test_outfile__leftovers_of_dead_processes_are_removed(void **state) {
    (void)state;
    char alive[64];
    (void)snprintf(alive, sizeof alive, ".out.tmp.%d", (int)getppid());
    test_write_file(in_dir(".out.tmp.999999999"), "x", 1); /* above the highest process number */
    test_write_file(in_dir(".out.tmp.999999999.3"), "x", 1);
    assert_int_equal(mkdir(in_dir(".out.tmp.999999998"), 0700), 0);
    test_write_file(in_dir(".out.tmp.999999998/model"), "x", 1);
    test_write_file(in_dir(alive), "x", 1);                  /* somebody works on it */
    test_write_file(in_dir(".other.tmp.999999999"), "x", 1); /* another output's */
    test_write_file(in_dir(".out.tmp.txt"), "x", 1);         /* not of this form */
    write_text(in_dir("out"), false, "y");
    assert_int_equal(access(in_dir(".out.tmp.999999999"), F_OK), -1);
    assert_int_equal(access(in_dir(".out.tmp.999999999.3"), F_OK), -1);
    assert_int_equal(access(in_dir(".out.tmp.999999998"), F_OK), -1);
    assert_int_equal(access(in_dir(alive), F_OK), 0);
    assert_int_equal(test_count_entries(dir), 4);
}

static opt_status write_tile(void *user, int64_t tile, int worker) {
    char block[1000];
    (void)worker;
    memset(block, (int)('a' + tile % 26), sizeof block);
    return opt_outfile_pwrite(user, (uint64_t)tile * sizeof block, block, sizeof block);
}

static void test_outfile__parallel_writes(void **state) {
    (void)state;
    enum { N = 20000 };
    opt_outfile *f = open_file(in_dir("out"), false);
    assert_int_equal(opt_parallel_for(ctx, N, write_tile, f), OPT_OK);
    assert_int_equal(opt_outfile_commit(f, NULL, NULL), OPT_OK);
    char *expected = malloc((size_t)N * 1000);
    assert_non_null(expected);
    for (size_t i = 0; i < N; i++) {
        memset(expected + i * 1000, (int)('a' + i % 26), 1000);
    }
    assert_true(test_file_equals(in_dir("out"), expected, (size_t)N * 1000));
    free(expected);
}

static void test_outfile__input_is_never_the_output(void **state) {
    (void)state;
    test_write_file(in_dir("in"), "x", 1);
    assert_int_equal(link(in_dir("in"), in_dir("hard")), 0);
    assert_int_equal(symlink("in", in_dir("soft")), 0);
    test_write_file(in_dir("other"), "x", 1);
    static const char *const same[] = {"in", "./in", "hard", "soft"};
    for (int i = 0; i < COUNT_OF(same); i++) {
        assert_int_equal(opt_refuse_same_file(ctx, in_dir(same[i]), in_dir("in")), OPT_ERR_USAGE);
        assert_error(ctx, OPT_ERR_USAGE, NULL, "is the input");
    }
    assert_int_equal(opt_refuse_same_file(ctx, in_dir("other"), in_dir("in")), OPT_OK);
    assert_int_equal(opt_refuse_same_file(ctx, in_dir("new"), in_dir("in")), OPT_OK);
    assert_int_equal(opt_refuse_same_file(ctx, dir, dir), OPT_ERR_USAGE);
    opt_ctx_clear_error(ctx);
}

static void test_outfile__write_offsets_are_checked(void **state) {
    (void)state;
    opt_outfile *f = open_file(in_dir("out"), false);
    assert_int_equal(opt_outfile_pwrite(f, UINT64_MAX, "x", 1), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, NULL, "File too large");
    assert_int_equal(opt_outfile_pwrite(f, INT64_MAX, "x", 1), OPT_ERR_IO);
    opt_ctx_clear_error(ctx);
    opt_outfile_discard(f);
}

static void test_file__size_and_copy(void **state) {
    (void)state;
    static char data[(3 << 20) + 17];
    uint64_t size = 0;
    memset(data, 'c', sizeof data);
    test_write_file(in_dir("a"), data, sizeof data);
    assert_int_equal(opt_file_size(ctx, in_dir("a"), &size), OPT_OK);
    assert_true(size == sizeof data);
    assert_int_equal(opt_file_copy(ctx, in_dir("a"), in_dir("b")), OPT_OK);
    assert_true(test_file_equals(in_dir("b"), data, sizeof data));
    assert_int_equal(opt_file_copy(ctx, in_dir("a"), in_dir("b")), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, in_dir("b"), "cannot create: File exists");
    assert_true(test_file_equals(in_dir("b"), data, sizeof data));
    assert_int_equal(opt_file_copy(ctx, in_dir("missing"), in_dir("c")), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, in_dir("missing"), "cannot open");
    assert_int_equal(opt_file_copy(ctx, dir, in_dir("c")), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, dir, "cannot read: Is a directory");
    assert_int_equal(access(in_dir("c"), F_OK), -1);
    assert_int_equal(opt_file_size(ctx, dir, &size), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, dir, "is a directory");
    assert_true(opt_path_is_dir(dir));
    assert_false(opt_path_is_dir(in_dir("a")));
    assert_false(opt_path_is_dir(in_dir("missing")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_outfile__nothing_is_seen_before_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__discard_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__existing_file_needs_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__file_that_appears_meanwhile_is_not_replaced,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__permissions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__targets_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_outfile__symbolic_link_stays_and_its_target_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__long_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__free_space_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__verification_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__cancelled_commit_leaves_the_old_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__two_writers_of_one_target, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__leftovers_of_dead_processes_are_removed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__parallel_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__input_is_never_the_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile__write_offsets_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file__size_and_copy, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
