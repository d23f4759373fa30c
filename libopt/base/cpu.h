/** What the processor can do, and how many threads this process should use. */
#ifndef OPT_BASE_CPU_H
#define OPT_BASE_CPU_H

#include <stdbool.h>

/** Instruction-set levels of kernel rows, weakest first. A level includes the ones below it. */
typedef enum opt_isa {
    OPT_ISA_REF = 0,  /**< portable C, the same bytes everywhere (OPT_ISA=portable or ref) */
    OPT_ISA_AVX2 = 1, /**< AVX2, FMA, F16C */
    OPT_ISA_AVX512 =
        2,           /**< AVX-512 F/BW/DQ/VL, VNNI; rows that need BF16 or VBMI ask for the bit */
    OPT_ISA_AMX = 3, /**< AMX-TILE, AMX-INT8, AMX-BF16 on top of AVX-512 with BF16 and VBMI, with
                        the kernel's permission */
    OPT_ISA_COUNT
} opt_isa;

/** Bits that single kernel rows may need beyond their level. */
enum {
    OPT_CPU_AVX_VNNI = 1 << 0,
    OPT_CPU_AVX512_BF16 = 1 << 1,
    OPT_CPU_AVX512_VBMI = 1 << 2,
    OPT_CPU_GFNI = 1 << 3,
    OPT_CPU_AVX512_FP16 = 1 << 4
};

typedef struct opt_cpu {
    opt_isa isa;       /**< highest level that may be used: hardware, operating system and OPT_ISA
                          considered */
    unsigned features; /**< OPT_CPU_* bits, all zero below the level that they belong to */
    char model[64];    /**< processor name, for reports only */
    char names[96];    /**< levels (but ref) and features, separated by spaces, for reports only */
} opt_cpu;

/**
 * Reads CPUID and the environment variable OPT_ISA (portable|ref|avx2|avx512|amx). False: OPT_ISA
 * has an unknown value.
 */
bool opt_cpu_detect(opt_cpu *out);

/** Lower-case name of a level. */
const char *opt_isa_name(opt_isa isa);

/** Threads to use by default: min(affinity mask, cgroup v1/v2 quota rounded up), at least 1. */
int opt_cpu_count(void);

/**
 * Strictest CPU quota, rounded up, of the groups listed in `proc_cgroup` below `sys_root`; 0: none.
 * Paths for tests.
 */
int opt_cpu_quota(const char *proc_cgroup, const char *sys_root);

#endif
