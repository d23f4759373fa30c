/* The n-th allocation or write of readers and writers fails, for every n: a clear status, nothing
   leaked (with the sanitizers), no half-written file. */
#include "format/io_test.h"

#include <dirent.h>
#include <sys/wait.h>

#include "io/gguf_write.h"
#include "io/safetensors_write.h"

enum { N_MAX = 5000 };

static opt_status write_gguf(opt_ctx *ctx, const char *path) {
    opt_status st = OPT_OK;
    const opt_gguf_decl decls[] = {{"b.weight", opt_format_by_name("int4_g32"), 2, {2, 40}, false},
                                   {"a.weight", &opt_format_f32, 1, {8}, false}};
    static const uint8_t data[72] = {1, 2, 3};
    opt_kv *kv = NULL;
    opt_gguf_writer *w = NULL;
    OPT_TRY(opt_kv_new(ctx, &kv));
    OPT_TRY(opt_kv_set_str(kv, "general.architecture", "llama"));
    OPT_TRY(opt_gguf_create(ctx, path, true, kv, decls, 2, &w));
    OPT_TRY(opt_gguf_append(w, 0, data, 40));
    OPT_TRY(opt_gguf_append(w, 0, data, 32));
    OPT_TRY(opt_gguf_append(w, 1, data, 32));
    opt_gguf_writer *const whole = w;
    w = NULL;
    OPT_TRY(opt_gguf_commit(whole));
done:
    opt_gguf_discard(w);
    opt_kv_free(kv);
    return st;
}

static opt_status write_safetensors(opt_ctx *ctx, const char *path) {
    opt_status st = OPT_OK;
    const opt_st_decl decls[] = {{"b", &opt_format_f32, 1, {2}}, {"a", &opt_format_i8, 0, {0}}};
    opt_st_writer *w = NULL;
    OPT_TRY(opt_st_create(ctx, path, true, NULL, decls, 2, &w));
    OPT_TRY(opt_st_append(w, 0, "1234", 4));
    OPT_TRY(opt_st_append(w, 0, "5678", 4));
    OPT_TRY(opt_st_append(w, 1, "9", 1));
    opt_st_writer *const whole = w;
    w = NULL;
    OPT_TRY(opt_st_commit(whole));
done:
    opt_st_discard(w);
    return st;
}

static opt_status open_and_verify(opt_ctx *ctx, const char *path) {
    opt_status st = OPT_OK;
    opt_source *source = NULL;
    int64_t n_checked = 0;
    OPT_TRY(opt_source_open(ctx, path, &source));
    OPT_TRY(opt_source_verify(source, &n_checked));
done:
    opt_source_close(source);
    return st;
}

/* A context in which step n of a kind fails; 0: none. */
static opt_ctx *faulty_ctx(const char *variable, int n) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", n);
    assert_int_equal(setenv(variable, text, 1), 0);
    opt_ctx *const ctx = new_ctx(1);
    assert_int_equal(unsetenv(variable), 0);
    return ctx;
}

static int count_files(const char *dir) {
    int n = 0;
    DIR *const d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    (void)closedir(d);
    return n;
}

typedef opt_status (*action)(opt_ctx *ctx, const char *path);

/* Runs the action with the n-th fault until one run meets none; returns the number of failed runs.
 */
static int run_with_faults(const char *variable, opt_status expected, action act, const char *path,
                           const char *out_dir) {
    for (int n = 1; n < N_MAX; n++) {
        opt_ctx *const ctx = faulty_ctx(variable, n);
        const opt_status st = act(ctx, path);
        if (st != OPT_OK) {
            assert_int_equal(st, expected);
            assert_int_equal(opt_ctx_status(ctx), expected);
        }
        opt_ctx_free(ctx);
        if (st == OPT_OK) {
            return n - 1;
        }
        if (out_dir != NULL && access(path, F_OK) == 0) {
            expect_open("renamed before the fault", path, OPT_OK, NULL);
            assert_int_equal(unlink(path), 0);
        }
        assert_true(out_dir == NULL || count_files(out_dir) == 0);
    }
    fail_msg("no end after %d faults", N_MAX);
    return 0;
}

static void test_fault_io__every_allocation_of_the_readers_may_fail(void **state) {
    static const char *const paths[] = {
        OPT_TESTDATA "/io/dtypes.safetensors",
        OPT_TESTDATA "/io/kv_types.gguf",
        OPT_TESTDATA "/io/split-00001-of-00003.gguf",
        OPT_TESTDATA "/families/qwen3",
    };
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const int n =
            run_with_faults("OPT_FAULT_ALLOC", OPT_ERR_MEMORY, open_and_verify, paths[i], NULL);
        print_message("%s: %d allocations\n", paths[i], n);
        assert_true(n > 5);
    }
}

static void check_writer(action act, const char *name) {
    scratch s;
    scratch_new(&s);
    const char *const path = scratch_path(&s, name);
    const int n_allocs = run_with_faults("OPT_FAULT_ALLOC", OPT_ERR_MEMORY, act, path, s.dir);
    assert_true(n_allocs > 10);
    assert_int_equal(unlink(path), 0);
    const int n_writes = run_with_faults("OPT_FAULT_WRITE", OPT_ERR_IO, act, path, s.dir);
    assert_true(n_writes > 5);
    print_message("%s: %d allocations, %d writes\n", name, n_allocs, n_writes);
    expect_open(name, path, OPT_OK, NULL);
    scratch_remove(&s);
}

static void test_fault_io__every_step_of_the_writers_may_fail(void **state) {
    (void)state;
    check_writer(write_gguf, "m.gguf");
    check_writer(write_safetensors, "m.safetensors");
}

/* Killed at the n-th write: the old file, or the new one as a whole. */
static void test_fault_io__a_killed_writer_leaves_old_or_new(void **state) {
    scratch s;
    int n_old = 0;
    (void)state;
    scratch_new(&s);
    const char *const path = scratch_path(&s, "m.gguf");
    for (int n = 1; n < N_MAX; n++) {
        int status = 0;
        write_file(path, "old", 3);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            opt_ctx *const ctx = faulty_ctx("OPT_FAULT_KILL", n);
            _exit((int)write_gguf(ctx, path));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        char head[4] = "";
        FILE *const f = fopen(path, "rb");
        assert_non_null(f);
        assert_true(fread(head, 1, 3, f) == 3);
        (void)fclose(f);
        if (strcmp(head, "old") == 0) {
            n_old++;
        } else {
            opt_ctx *const ctx = new_ctx(1);
            assert_int_equal(open_and_verify(ctx, path), OPT_OK);
            opt_ctx_free(ctx);
        }
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), OPT_OK);
            break;
        }
    }
    assert_true(n_old > 5);
    assert_int_equal(count_files(s.dir), 1); /* what killed ones left is swept */
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault_io__every_allocation_of_the_readers_may_fail),
        cmocka_unit_test(test_fault_io__every_step_of_the_writers_may_fail),
        cmocka_unit_test(test_fault_io__a_killed_writer_leaves_old_or_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
