#include "base/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const isa_names[OPT_ISA_COUNT] = {"ref", "avx2", "avx512", "amx"};

const char *opt_isa_name(opt_isa isa) {
    return isa >= 0 && isa < OPT_ISA_COUNT ? isa_names[isa] : "unknown";
}

#if defined(__x86_64__)

typedef struct cpuid_regs {
    unsigned eax, ebx, ecx, edx;
} cpuid_regs;

static cpuid_regs cpuid(unsigned leaf, unsigned subleaf) {
    cpuid_regs r = {0};
    (void)__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx,
                            &r.edx); /* zeros for an unknown leaf */
    return r;
}

/** Register states that the operating system saves (XCR0). */
static uint64_t os_states(void) {
    unsigned lo = 0;
    unsigned hi = 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool bits(unsigned reg, unsigned mask) { return (reg & mask) == mask; }

/**
 * Asks Linux for the AMX tile registers of this process (arch_prctl ARCH_REQ_XCOMP_PERM,
 * XTILEDATA).
 */
static bool request_amx(void) {
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

static void read_model(opt_cpu *out) {
    char name[49] = {0};
    for (unsigned i = 0; i < 3; i++) {
        const cpuid_regs r = cpuid(0x80000002u + i, 0);
        memcpy(name + 16 * i, &r, 16);
    }
    const char *start = name;
    while (*start == ' ') {
        start++;
    }
    (void)snprintf(out->model, sizeof out->model, "%s", start);
}

static void detect_hardware(opt_isa cap, opt_cpu *out) {
    const cpuid_regs l1 = cpuid(1, 0);
    const cpuid_regs l7 = cpuid(7, 0);
    const cpuid_regs l71 = l7.eax >= 1 ? cpuid(7, 1) : (cpuid_regs){0};
    read_model(out);
    const uint64_t os = bits(l1.ecx, 1u << 27) ? os_states() : 0; /* OSXSAVE */
    const bool avx2 = (os & 0x6) == 0x6 &&
                      bits(l1.ecx, 1u << 28 | 1u << 12 | 1u << 29)  /* AVX FMA F16C */
                      && bits(l7.ebx, 1u << 5 | 1u << 3 | 1u << 8); /* AVX2 BMI1 BMI2 */
    const bool avx512 = avx2 && (os & 0xe6) == 0xe6 &&
                        bits(l7.ebx, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F DQ BW VL */
                        && bits(l7.ecx, 1u << 11);                              /* VNNI */
    const bool amx = avx512 && (os & 0x60000) == 0x60000 &&
                     bits(l7.edx, 1u << 24 | 1u << 25 | 1u << 22)        /* TILE INT8 BF16 */
                     && bits(l71.eax, 1u << 5) && bits(l7.ecx, 1u << 1); /* AVX512_BF16 VBMI */
    if (avx2 && cap >= OPT_ISA_AVX2) {
        out->isa = OPT_ISA_AVX2;
        out->features |= bits(l71.eax, 1u << 4) ? OPT_CPU_AVX_VNNI : 0u;
        out->features |= bits(l7.ecx, 1u << 8) ? OPT_CPU_GFNI : 0u;
    }
    if (avx512 && cap >= OPT_ISA_AVX512) {
        out->isa = OPT_ISA_AVX512;
        out->features |= bits(l71.eax, 1u << 5) ? OPT_CPU_AVX512_BF16 : 0u;
        out->features |= bits(l7.ecx, 1u << 1) ? OPT_CPU_AVX512_VBMI : 0u;
        out->features |= bits(l7.edx, 1u << 23) ? OPT_CPU_AVX512_FP16 : 0u;
    }
    if (amx && cap >= OPT_ISA_AMX && request_amx()) {
        out->isa = OPT_ISA_AMX;
    }
}

#else

static void detect_hardware(opt_isa cap, opt_cpu *out) {
    (void)cap;
    (void)snprintf(out->model, sizeof out->model, "unknown");
}

#endif

/** Writes the names of what was found: "avx2 avx512 avx_vnni". */
static void fill_names(opt_cpu *out) {
    static const struct {
        unsigned bit;
        const char *name;
    } features[] = {
        {OPT_CPU_AVX_VNNI, "avx_vnni"},       {OPT_CPU_GFNI, "gfni"},
        {OPT_CPU_AVX512_BF16, "avx512_bf16"}, {OPT_CPU_AVX512_VBMI, "avx512_vbmi"},
        {OPT_CPU_AVX512_FP16, "avx512_fp16"},
    };
    size_t n = 0;
    for (int level = OPT_ISA_REF + 1; level <= (int)out->isa; level++) {
        n += (size_t)snprintf(out->names + n, sizeof out->names - n, "%s%s", n > 0 ? " " : "",
                              isa_names[level]);
    }
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if ((out->features & features[i].bit) != 0) { /* all names together fit */
            n += (size_t)snprintf(out->names + n, sizeof out->names - n, " %s", features[i].name);
        }
    }
}

bool opt_cpu_detect(opt_cpu *out) {
    opt_isa cap = OPT_ISA_AMX;
    const char *wanted = getenv("OPT_ISA");
    if (wanted != NULL && wanted[0] != '\0') {
        int level = strcmp(wanted, "portable") == 0 ? 0 : -1;
        for (int i = 0; i < OPT_ISA_COUNT; i++) {
            level = strcmp(wanted, isa_names[i]) == 0 ? i : level;
        }
        if (level < 0) {
            return false;
        }
        cap = (opt_isa)level;
    }
    *out = (opt_cpu){0};
    detect_hardware(cap, out);
    fill_names(out);
    return true;
}

/** Reads the first line of a small file; false if there is none. */
static bool read_line(const char *path, char *line, int cap) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    const bool ok = fgets(line, cap, f) != NULL;
    (void)fclose(f);
    return ok;
}

/**
 * ceil(quota / period) of one group of version 2 ("max 100000" or "150000 100000"); 0: no limit.
 */
static int quota_v2(const char *dir) {
    char path[PATH_MAX];
    char line[128];
    long long quota = 0;
    long long period = 0;
    if (snprintf(path, sizeof path, "%s/cpu.max", dir) >= (int)sizeof path ||
        !read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2 ||
        quota <= 0 || period <= 0) {
        return 0;
    }
    const long long n = quota / period + (quota % period != 0);
    return n > INT_MAX ? 0 : (int)n;
}

/** The same of version 1; a quota of -1 is no limit. */
static int quota_v1(const char *dir) {
    char path[PATH_MAX];
    char line[128];
    long long quota = 0;
    long long period = 0;
    if (snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir) >= (int)sizeof path ||
        !read_line(path, line, sizeof line) || sscanf(line, "%lld", &quota) != 1 || quota <= 0) {
        return 0;
    }
    if (snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir) >= (int)sizeof path ||
        !read_line(path, line, sizeof line) || sscanf(line, "%lld", &period) != 1 || period <= 0) {
        return 0;
    }
    const long long n = quota / period + (quota % period != 0);
    return n > INT_MAX ? 0 : (int)n;
}

static int stricter(int a, int b) { return a == 0 ? b : b == 0 ? a : a < b ? a : b; }

/**
 * Strictest quota of `group` and its parents below `root` (inside a container the group may be the
 * root itself).
 */
static int walk_up(const char *root, const char *group, int (*quota_of)(const char *dir)) {
    char dir[PATH_MAX];
    int quota = 0;
    const int n = snprintf(dir, sizeof dir, "%s%s", root, group);
    if (n < 0 || n >= (int)sizeof dir) {
        return quota_of(root);
    }
    for (;;) {
        quota = stricter(quota, quota_of(dir));
        char *slash = strrchr(dir, '/');
        if (slash == NULL || (size_t)(slash - dir) < strlen(root)) {
            return quota;
        }
        *slash = '\0';
    }
}

/** True if the comma-separated list has the controller "cpu". */
static bool has_cpu(const char *list, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && list[end] != ',') {
            end++;
        }
        if (end - i == 3 && memcmp(list + i, "cpu", 3) == 0) {
            return true;
        }
        i = end + 1;
    }
    return false;
}

int opt_cpu_quota(const char *proc_cgroup, const char *sys_root) {
    char line[PATH_MAX];
    char root[PATH_MAX];
    int quota = 0;
    FILE *f = fopen(proc_cgroup, "re");
    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, f) != NULL) { /* "id:controllers:/path" */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':');
        char *group = list != NULL ? strchr(list + 1, ':') : NULL;
        if (group == NULL) {
            continue;
        }
        const size_t n_list = (size_t)(group - list) - 1;
        if (n_list == 0) {
            quota = stricter(quota, walk_up(sys_root, group + 1, quota_v2));
            if (snprintf(root, sizeof root, "%s/unified", sys_root) < (int)sizeof root) {
                quota = stricter(quota, walk_up(root, group + 1, quota_v2));
            }
        } else if (has_cpu(list + 1, n_list)) {
            if (snprintf(root, sizeof root, "%s/%.*s", sys_root, (int)n_list, list + 1) <
                (int)sizeof root) {
                quota = stricter(quota, walk_up(root, group + 1, quota_v1));
            }
            if (snprintf(root, sizeof root, "%s/cpu", sys_root) < (int)sizeof root) {
                quota = stricter(quota, walk_up(root, group + 1, quota_v1));
            }
        }
    }
    (void)fclose(f);
    return quota;
}

/** Processors in the affinity mask, for any size of the machine. */
static int affinity_count(void) {
    for (int n = 1024; n <= 1 << 20; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (set == NULL) {
            return 1;
        }
        const size_t bytes = CPU_ALLOC_SIZE((size_t)n);
        const int err = sched_getaffinity(0, bytes, set) == 0 ? 0 : errno;
        const int count = err == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (err == 0) {
            return count > 0 ? count : 1;
        }
        if (err != EINVAL) {
            return 1;
        }
    }
    return 1;
}

int opt_cpu_count(void) {
    return stricter(affinity_count(), opt_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}
