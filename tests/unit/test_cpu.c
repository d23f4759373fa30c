#include "base/cpu.h"

#include <sched.h>

#include "support.h"

static void test_cpu__isa_names(void **state) {
    (void)state;
    static const char *const names[OPT_ISA_COUNT] = {"ref", "avx2", "avx512", "amx"};
    for (int i = 0; i < OPT_ISA_COUNT; i++) {
        assert_string_equal(opt_isa_name((opt_isa)i), names[i]);
    }
}

static void test_cpu__environment_caps_the_level(void **state) {
    (void)state;
    static const struct {
        const char *value;
        bool ok;
        opt_isa cap;
    } rows[] = {
        {"portable", true, OPT_ISA_REF}, {"ref", true, OPT_ISA_REF},
        {"avx2", true, OPT_ISA_AVX2},    {"avx512", true, OPT_ISA_AVX512},
        {"amx", true, OPT_ISA_AMX},      {"", true, OPT_ISA_AMX},
        {"AVX2", false, OPT_ISA_REF},    {"sse9", false, OPT_ISA_REF},
        {"avx2 ", false, OPT_ISA_REF},
    };
    opt_cpu all = {0};
    assert_int_equal(unsetenv("OPT_ISA"), 0);
    assert_true(opt_cpu_detect(&all));
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_cpu cpu = {0};
        assert_int_equal(setenv("OPT_ISA", rows[i].value, 1), 0);
        assert_int_equal(opt_cpu_detect(&cpu), rows[i].ok);
        if (!rows[i].ok) {
            opt_ctx *ctx = NULL;
            assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_ERR_USAGE);
            continue;
        }
        assert_int_equal(cpu.isa, rows[i].cap < all.isa ? rows[i].cap : all.isa);
        const unsigned of_avx512 = OPT_CPU_AVX512_BF16 | OPT_CPU_AVX512_VBMI | OPT_CPU_AVX512_FP16;
        assert_true(cpu.isa >= OPT_ISA_AVX2 || cpu.features == 0);
        assert_true(cpu.isa >= OPT_ISA_AVX512 || (cpu.features & of_avx512) == 0);
        assert_true((cpu.features & ~all.features) == 0);
        assert_true((cpu.names[0] == 0) == (cpu.isa == OPT_ISA_REF));
        assert_true((strstr(cpu.names, "amx") != NULL) == (cpu.isa == OPT_ISA_AMX));
        assert_true((strstr(cpu.names, "avx512_bf16") != NULL) ==
                    ((cpu.features & OPT_CPU_AVX512_BF16) != 0));
    }
    assert_int_equal(unsetenv("OPT_ISA"), 0);
}

static void test_cpu__count_follows_the_affinity_mask(void **state) {
    (void)state;
    cpu_set_t before;
    cpu_set_t one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    const int n = opt_cpu_count();
    assert_true(n >= 1 && n <= CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &before)) {
            CPU_SET(i, &one);
            break;
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(opt_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(opt_cpu_count(), n);
}

/** Writes `text` to dir/path, making the folders between. */
static void put(const char *dir, const char *path, const char *text) {
    char full[512];
    (void)snprintf(full, sizeof full, "%s/%s", dir, path);
    for (char *p = full + strlen(dir) + 1; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(full, 0700);
            *p = '/';
        }
    }
    test_write_file(full, text, strlen(text));
}

static void test_cpu__cgroup_quota(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const char *proc;
        const char *files[6]; /* path, content, ... */
        int expected;
    } rows[] = {
        {"v2 limit", "0::/job\n", {"job/cpu.max", "150000 100000\n"}, 2},
        {"v2 none", "0::/job\n", {"job/cpu.max", "max 100000\n"}, 0},
        {"v2 parent is stricter",
         "0::/a/b\n",
         {"a/b/cpu.max", "400000 100000\n", "a/cpu.max", "100000 100000\n"},
         1},
        {"v2 inside a container", "0::/\n", {"cpu.max", "300000 100000\n"}, 3},
        {"v2 path of the host", "0::/host/path\n", {"cpu.max", "300000 100000\n"}, 3},
        {"v2 fraction", "0::/job\n", {"job/cpu.max", "1000 100000\n"}, 1},
        {"v1 limit",
         "5:cpu,cpuacct:/j\n",
         {"cpu,cpuacct/j/cpu.cfs_quota_us", "250000\n", "cpu,cpuacct/j/cpu.cfs_period_us",
          "100000\n"},
         3},
        {"v1 none",
         "5:cpu:/j\n",
         {"cpu/j/cpu.cfs_quota_us", "-1\n", "cpu/j/cpu.cfs_period_us", "100000\n"},
         0},
        {"v1 other name of the folder",
         "5:cpuacct,cpu:/\n",
         {"cpu/cpu.cfs_quota_us", "200000\n", "cpu/cpu.cfs_period_us", "100000\n"},
         2},
        {"v1 cpuset is no cpu",
         "5:cpuset:/j\n",
         {"cpu/j/cpu.cfs_quota_us", "100000\n", "cpu/j/cpu.cfs_period_us", "100000\n"},
         0},
        {"nothing", "", {NULL}, 0},
        {"garbage", "x\n::\n0:\n", {"cpu.max", "abc\n"}, 0},
        {"negative", "0::/\n", {"cpu.max", "-5 100000\n"}, 0},
        {"zero period", "0::/\n", {"cpu.max", "5 0\n"}, 0},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char dir[256];
        char proc[300];
        test_make_dir(dir, sizeof dir);
        (void)snprintf(proc, sizeof proc, "%s/proc", dir);
        put(dir, "proc", rows[i].proc);
        for (int f = 0; f < 6 && rows[i].files[f] != NULL; f += 2) {
            put(dir, rows[i].files[f], rows[i].files[f + 1]);
        }
        const int found = opt_cpu_quota(proc, dir);
        test_remove_dir(dir);
        if (found != rows[i].expected) {
            fail_msg("%s: found %d, expected %d", rows[i].name, found, rows[i].expected);
        }
    }
    assert_int_equal(opt_cpu_quota("/nonexistent", "/nonexistent"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu__isa_names),
        cmocka_unit_test(test_cpu__environment_caps_the_level),
        cmocka_unit_test(test_cpu__count_follows_the_affinity_mask),
        cmocka_unit_test(test_cpu__cgroup_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
