/** Decoders against goldens (testdata/blocks, scripts/make_block_goldens.py), at every
 * instruction-set level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "unit/format_cases.h"

typedef struct golden {
    char name[32];
    long n_blocks;
    char sha256[65];
} golden;

/** Reads sums.txt; returns the number of rows. */
static int read_goldens(golden *out, int max) {
    FILE *file = fopen(OPT_TESTDATA "/blocks/sums.txt", "r");
    assert_non_null(file);
    int n = 0;
    while (n < max &&
           fscanf(file, "%31s %ld %64s", out[n].name, &out[n].n_blocks, out[n].sha256) == 3) {
        n++;
    }
    fclose(file);
    return n;
}

/** NaN payloads are not part of the contract. */
static void canonical(float *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (values[i] != values[i]) {
            const uint32_t nan = 0x7fc00000;
            memcpy(&values[i], &nan, sizeof nan);
        }
    }
}

static void test_format_decode__explicit_blocks(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    golden goldens[128];
    const int n = read_goldens(goldens, 128);
    assert_true(n > 60);
    for (int g = 0; g < n; g++) {
        const opt_format *f = opt_format_by_name(goldens[g].name);
        assert_non_null(f);
        char path[512];
        snprintf(path, sizeof path, OPT_TESTDATA "/blocks/%s.bin", f->name);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        uint8_t blocks[1024];
        float expected[512], got[512];
        const int64_t n_blocks = f->block_elems > 1 ? 2 : 64;
        const int64_t n_elems = n_blocks * f->block_elems;
        assert_int_equal(fread(blocks, f->block_bytes, (size_t)n_blocks, file), n_blocks);
        assert_int_equal(fread(expected, 4, (size_t)n_elems, file), n_elems);
        fclose(file);
        for (int level = 0; level < n_levels; level++) {
            f->decode(f, &levels[level], blocks, got, n_elems);
            canonical(got, n_elems);
            for (int64_t i = 0; i < n_elems; i++) {
                if (memcmp(&got[i], &expected[i], 4) != 0) {
                    fail_msg("%s level %d element %d: got %a, expected %a", f->name, level, (int)i,
                             (double)got[i], (double)expected[i]);
                }
            }
        }
    }
}

static void test_format_decode__hashes(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    golden goldens[128];
    const int n = read_goldens(goldens, 128);
    for (int g = 0; g < n; g++) {
        const opt_format *f = opt_format_by_name(goldens[g].name);
        assert_non_null(f);
        const size_t bytes = (size_t)goldens[g].n_blocks * f->block_bytes;
        const int64_t n_elems = goldens[g].n_blocks * f->block_elems;
        uint8_t *blocks = test_alloc((int64_t)bytes, 1);
        float *values = test_alloc(n_elems, sizeof *values);
        test_random_bytes(f->name, blocks, bytes);
        test_finite_scales(f, blocks, goldens[g].n_blocks);
        for (int level = 0; level < n_levels; level++) {
            char hex[65];
            f->decode(f, &levels[level], blocks, values, n_elems);
            canonical(values, n_elems);
            assert_int_equal(opt_sha256_hex(ctx, values, (size_t)n_elems * 4, hex), OPT_OK);
            if (strcmp(hex, goldens[g].sha256) != 0) {
                fail_msg("%s level %d: values differ from gguf's", f->name, level);
            }
        }
        free(values);
        free(blocks);
    }
    opt_ctx_free(ctx);
}

static void test_format_decode__every_row_has_a_golden(void **state) {
    (void)state;
    golden goldens[128];
    const int n = read_goldens(goldens, 128);
    for (const opt_format *const *f = opt_formats; *f != NULL; f++) {
        bool found = strcmp((*f)->name, "bool") == 0; /* below */
        for (int g = 0; g < n && !found; g++) {
            found = strcmp(goldens[g].name, (*f)->name) == 0;
        }
        if (!found) {
            fail_msg("%s has no golden", (*f)->name);
        }
    }
}

static void test_format_decode__bool(void **state) {
    (void)state;
    opt_kern kern;
    opt_kern_fill(&kern, OPT_ISA_REF, 0);
    const uint8_t bytes[3] = {0, 1, 255};
    float got[3];
    const opt_format *f = opt_format_by_name("bool");
    f->decode(f, &kern, bytes, got, 3);
    assert_true(got[0] == 0.0f && got[1] == 1.0f && got[2] == 1.0f);
}

/** A partial last group gives the same values as the front of a full one, and reads or writes
 * nothing else. */
static void test_format_decode__partial_groups(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if ((f->flags & OPT_FORMAT_PARTIAL) == 0) {
            continue;
        }
        const int64_t n_full = 2 * f->block_elems;
        uint8_t *blocks = test_alloc(2, f->block_bytes);
        test_random_bytes(f->name, blocks, 2 * f->block_bytes);
        test_finite_scales(f, blocks, 2);
        float full[256];
        f->decode(f, &levels[0], blocks, full, n_full);
        for (int64_t n = 1; n <= n_full; n++) {
            for (int level = 0; level < n_levels; level++) {
                float *part = test_alloc(n, sizeof *part);
                f->decode(f, &levels[level], blocks, part, n);
                assert_memory_equal(part, full, (size_t)n * sizeof *part);
                free(part);
            }
        }
        free(blocks);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_decode__explicit_blocks),
        cmocka_unit_test(test_format_decode__hashes),
        cmocka_unit_test(test_format_decode__every_row_has_a_golden),
        cmocka_unit_test(test_format_decode__bool),
        cmocka_unit_test(test_format_decode__partial_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
