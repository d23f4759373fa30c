/*
 * Every step of writing an output fails once, and every step is where the process is killed once.
 * Afterwards the old output or the new one is there, never a part, and nothing temporary is left
 * (after a kill: by the next run).
 */
#include "base/file.h"

#include <signal.h>
#include <sys/wait.h>

#include "support.h"

enum { MAX_STEPS = 100, N_BLOCKS = 5, BLOCK = 1000 };

static char dir[256];
static char target[300];

/** A way to write the target; force replaces it. */
typedef opt_status (*job_fn)(opt_ctx *ctx, bool force, char fill);

static opt_status write_file(opt_ctx *ctx, bool force, char fill) {
    char block[BLOCK];
    opt_status st = OPT_OK;
    opt_outfile *f = NULL;
    memset(block, fill, sizeof block);
    OPT_TRY(opt_outfile_open(ctx, target, force, sizeof block * N_BLOCKS, &f));
    for (uint64_t i = 0; i < N_BLOCKS; i++) {
        OPT_TRY(opt_outfile_pwrite(f, i * sizeof block, block, sizeof block));
    }
    st = opt_outfile_commit(f, NULL, NULL);
    f = NULL;
done:
    opt_outfile_discard(f);
    return st;
}

static opt_status write_dir(opt_ctx *ctx, bool force, char fill) {
    char block[BLOCK];
    char path[1024];
    char from[400];
    opt_status st = OPT_OK;
    opt_outdir *d = NULL;
    opt_outfile *f = NULL;
    memset(block, fill, sizeof block);
    (void)snprintf(from, sizeof from, "%s/source-%c", dir, fill);
    OPT_TRY(opt_outdir_open(ctx, target, force, &d));
    (void)snprintf(path, sizeof path, "%s/model", opt_outdir_temp_path(d));
    OPT_TRY(opt_outfile_open(ctx, path, false, 0, &f));
    OPT_TRY(opt_outfile_pwrite(f, 0, block, sizeof block));
    st = opt_outfile_commit(f, NULL, NULL);
    f = NULL;
    OPT_TRY(st);
    (void)snprintf(path, sizeof path, "%s/copy", opt_outdir_temp_path(d));
    OPT_TRY(opt_file_copy(ctx, from, path));
    st = opt_outdir_commit(d);
    d = NULL;
done:
    opt_outfile_discard(f);
    opt_outdir_discard(d);
    return st;
}

static bool file_is(const char *path, char fill, size_t bytes) {
    char *expected = malloc(bytes);
    assert_non_null(expected);
    memset(expected, fill, bytes);
    const int equal = test_file_equals(path, expected, bytes);
    free(expected);
    return equal != 0;
}

static bool target_file_is(char fill) { return file_is(target, fill, (size_t)BLOCK * N_BLOCKS); }

static bool target_dir_is(char fill) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/model", target);
    const bool model = file_is(path, fill, BLOCK);
    (void)snprintf(path, sizeof path, "%s/copy", target);
    return model && file_is(path, fill, BLOCK) && test_count_entries(target) == 2;
}

static const struct {
    const char *name;
    job_fn job;
    bool (*target_is)(char fill);
    int n_sources; /* files beside the target */
} jobs[] = {
    {"file", write_file, target_file_is, 0},
    {"directory", write_dir, target_dir_is, 2},
};

static void set_up(int job, bool with_old) {
    char path[400];
    char block[BLOCK];
    test_make_dir(dir, sizeof dir);
    (void)snprintf(target, sizeof target, "%s/out", dir);
    for (char fill = 'a'; fill <= 'b' && jobs[job].n_sources > 0; fill++) {
        memset(block, fill, sizeof block);
        (void)snprintf(path, sizeof path, "%s/source-%c", dir, fill);
        test_write_file(path, block, sizeof block);
    }
    if (with_old) {
        opt_ctx *ctx = test_ctx(1);
        assert_int_equal(jobs[job].job(ctx, false, 'a'), OPT_OK);
        opt_ctx_free(ctx);
        assert_true(jobs[job].target_is('a'));
    }
}

static opt_ctx *ctx_with_fault(const char *variable, int n) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", n);
    assert_int_equal(setenv(variable, text, 1), 0);
    opt_ctx *ctx = test_ctx(1);
    assert_int_equal(unsetenv(variable), 0);
    return ctx;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

/**
 * Lets step n fail for n = 1, 2, ... until the job succeeds; checks what is left each time. Returns
 * the number of steps.
 */
static int fail_each_step(int job, bool with_old, const char *variable, opt_status expected) {
    for (int n = 1; n <= MAX_STEPS; n++) {
        set_up(job, with_old);
        opt_ctx *ctx = ctx_with_fault(variable, n);
        const opt_status st = jobs[job].job(ctx, with_old, 'b');
        const int n_entries = test_count_entries(dir) - jobs[job].n_sources;
        const bool is_new = exists(target) && jobs[job].target_is('b');
        const bool is_old = with_old ? exists(target) && jobs[job].target_is('a') : !exists(target);
        if (st == OPT_OK) {
            assert_true(is_new);
            assert_int_equal(n_entries, 1);
        } else {
            assert_int_equal(st, expected);
            assert_int_equal(opt_ctx_status(ctx), expected);
            assert_true(strlen(opt_ctx_error_message(ctx)) > 0);
            /*
             * After the rename only the fsync of the directory can fail; the new output is complete
             * then, and an exchanged old directory is kept.
             */
            const bool renamed =
                strstr(opt_ctx_error_message(ctx), "fsync of its directory failed") != NULL &&
                strcmp(opt_ctx_error_object(ctx), target) == 0;
            if (renamed ? !is_new : !is_old || n_entries != (with_old ? 1 : 0)) {
                fail_msg("%s, %s=%d: neither old nor new is there: %s", jobs[job].name, variable, n,
                         opt_ctx_error_message(ctx));
            }
        }
        opt_ctx_free(ctx);
        test_remove_dir(dir);
        if (st == OPT_OK) {
            return n - 1;
        }
    }
    fail_msg("%s: more than %d steps", jobs[job].name, MAX_STEPS);
    return -1;
}

static void test_fault__write_errors(void **state) {
    (void)state;
    for (int job = 0; job < COUNT_OF(jobs); job++) {
        for (int with_old = 0; with_old <= 1; with_old++) {
            const int n = fail_each_step(job, with_old == 1, "OPT_FAULT_WRITE", OPT_ERR_IO);
            /* open, blocks, fsync, rename, fsync of the directory */
            assert_in_range(n, job == 0 ? N_BLOCKS + 4 : 12, MAX_STEPS);
        }
    }
}

static void test_fault__allocation_failures(void **state) {
    (void)state;
    for (int job = 0; job < COUNT_OF(jobs); job++) {
        for (int with_old = 0; with_old <= 1; with_old++) {
            assert_in_range(fail_each_step(job, with_old == 1, "OPT_FAULT_ALLOC", OPT_ERR_MEMORY),
                            5, MAX_STEPS);
        }
    }
}

/** Runs the job in a child that is killed at step n; true if the child came to its end. */
static bool run_and_kill(int job, bool force, int n) {
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        opt_ctx *ctx = ctx_with_fault("OPT_FAULT_KILL", n);
        const opt_status st = jobs[job].job(ctx, force, 'b');
        _exit((int)st);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 0);
        return true;
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return false;
}

static void test_fault__kill(void **state) {
    (void)state;
    for (int job = 0; job < COUNT_OF(jobs); job++) {
        for (int with_old = 0; with_old <= 1; with_old++) {
            bool finished = false;
            int n = 0;
            while (!finished && n < MAX_STEPS) {
                n++;
                set_up(job, with_old == 1);
                finished = run_and_kill(job, with_old == 1, n);
                const bool is_new = exists(target) && jobs[job].target_is('b');
                const bool is_old =
                    with_old == 1 ? exists(target) && jobs[job].target_is('a') : !exists(target);
                if (finished ? !is_new : !is_new && !is_old) {
                    fail_msg("%s killed at step %d: neither old nor new is there", jobs[job].name,
                             n);
                }
                /* The next run succeeds and sweeps up. */
                opt_ctx *ctx = test_ctx(1);
                assert_int_equal(jobs[job].job(ctx, true, 'b'), OPT_OK);
                opt_ctx_free(ctx);
                assert_true(jobs[job].target_is('b'));
                assert_int_equal(test_count_entries(dir) - jobs[job].n_sources, 1);
                test_remove_dir(dir);
            }
            assert_true(finished);
            assert_in_range(n, job == 0 ? N_BLOCKS + 5 : 13, MAX_STEPS);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault__write_errors),
        cmocka_unit_test(test_fault__allocation_failures),
        cmocka_unit_test(test_fault__kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
