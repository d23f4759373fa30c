/** Shared by the tests of formats and codecs: levels of this machine, pseudo-random blocks. */
#ifndef OPT_TESTS_UNIT_FORMAT_CASES_H
#define OPT_TESTS_UNIT_FORMAT_CASES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"
#include "tensor/format.h"

/** Kernel tables of every level up to what this machine can run; returns their number. */
static inline int test_levels(opt_kern out[OPT_ISA_COUNT]) {
    opt_cpu cpu;
    if (!opt_cpu_detect(&cpu)) {
        return 0;
    }
    for (int isa = 0; isa <= (int)cpu.isa; isa++) {
        opt_kern_fill(&out[isa], (opt_isa)isa, cpu.features);
    }
    return (int)cpu.isa + 1;
}

/** Exactly n elements of heap memory, so that a sanitizer sees what is read or written beyond. */
static inline void *test_alloc(int64_t n, size_t size) {
    void *p = malloc((size_t)n * size);
    if (p == NULL) {
        abort();
    }
    return p;
}

/** Fills bytes [n] with SplitMix64 (Steele et al. 2014) seeded with the FNV-1a hash of `name`. */
static inline void test_random_bytes(const char *name, uint8_t *bytes, size_t n) {
    uint64_t state = 0xcbf29ce484222325u;
    for (const char *c = name; *c != 0; c++) {
        state = (state ^ (uint8_t)*c) * 0x100000001b3u;
    }
    for (size_t i = 0; i < n; i += 8) {
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        memcpy(bytes + i, &z, n - i < 8 ? n - i : 8);
    }
}

/** Makes the scales of random blocks finite: clears a bit of the exponent, in the high byte of each
 * scale. */
static inline void test_finite_scales(const opt_format *f, uint8_t *blocks, int64_t n_blocks) {
    static const struct {
        const char *name;
        int high[2];
    } cases[] = {
        {"q4_0", {1, 1}},   {"q4_1", {1, 3}},    {"q5_0", {1, 1}},     {"q5_1", {1, 3}},
        {"q8_0", {1, 1}},   {"q8_1", {1, 3}},    {"q2_k", {81, 83}},   {"q3_k", {109, 109}},
        {"q4_k", {1, 3}},   {"q5_k", {1, 3}},    {"q6_k", {209, 209}}, {"q8_k", {3, 3}},
        {"iq1_s", {1, 1}},  {"iq1_m", {55, 55}}, {"iq2_xxs", {1, 1}},  {"iq2_xs", {1, 1}},
        {"iq2_s", {1, 1}},  {"iq3_xxs", {1, 1}}, {"iq3_s", {1, 1}},    {"iq4_nl", {1, 1}},
        {"iq4_xs", {1, 1}}, {"tq1_0", {53, 53}}, {"tq2_0", {65, 65}},  {"q1_0", {1, 1}},
        {"q2_0", {1, 1}},
    };
    int high[2] = {-1, -1};
    if ((f->flags & OPT_FORMAT_OWN) != 0) {
        high[0] = high[1] = 1;
    }
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        if (strcmp(cases[c].name, f->name) == 0) {
            memcpy(high, cases[c].high, sizeof high);
        }
    }
    for (int64_t b = 0; b < n_blocks && high[0] >= 0; b++) {
        blocks[(size_t)b * f->block_bytes + (size_t)high[0]] &= 0xbf;
        blocks[(size_t)b * f->block_bytes + (size_t)high[1]] &= 0xbf;
    }
}

#endif
