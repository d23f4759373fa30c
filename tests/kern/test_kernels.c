/*
 * Every row of kernels.def becomes a test that calls check_<slot>; a slot without a check does not
 * compile. Rows that this machine cannot run are reported as skipped.
 */
#include "kern/test_kernels/checks.h"

#include "kern/rows.h"

/** False if the machine (or OPT_ISA) does not have the level or the bits. */
static bool machine_runs(opt_isa level, unsigned needs) {
    opt_cpu cpu;
    assert_true(opt_cpu_detect(&cpu));
    return cpu.isa >= level && (cpu.features & needs) == needs;
}

#define RUN_CHECK(slot, fn, row_name, format, level_name, needs)                                   \
    do {                                                                                           \
        if (!machine_runs(OPT_ISA_##level_name, (unsigned)(needs))) {                              \
            skip();                                                                                \
        }                                                                                          \
        opt_kern ref_table;                                                                        \
        opt_kern level_table;                                                                      \
        opt_kern_fill(&ref_table, OPT_ISA_REF, 0);                                                 \
        opt_kern_fill(&level_table, OPT_ISA_##level_name, (unsigned)(needs));                      \
        const row_info info = {(row_name), (format), &ref_table, &level_table};                    \
        check_##slot((fn), &info);                                                                 \
    } while (0)

#define OPT_KERN(slot, suffix, level, needs)                                                       \
    static void test_##slot##__##suffix(void **state) {                                            \
        (void)state;                                                                               \
        RUN_CHECK(slot, optk_##slot##__##suffix, #slot "__" #suffix, OPT_KFMT_COUNT, level,        \
                  needs);                                                                          \
    }
#define OPT_KERN_FMT(slot, kfmt, name, suffix, level, needs)                                       \
    static void test_##slot##_##name##__##suffix(void **state) {                                   \
        (void)state;                                                                               \
        RUN_CHECK(slot, optk_##slot##_##name##__##suffix, #slot "_" #name "__" #suffix,            \
                  OPT_KFMT_##kfmt, level, needs);                                                  \
    }
#include "kern/kernels.def"

/** Every slot of a table has a row at every level, but for those that may be NULL. */
static void test_fill__leaves_no_slot_empty(void **state) {
    (void)state;
    for (int isa = 0; isa < OPT_ISA_COUNT; isa++) {
        opt_kern k;
        opt_kern_fill(&k, (opt_isa)isa, 0);
        assert_int_equal(k.isa, isa);
        assert_true(k.rows_isa <= k.isa);
        assert_true(k.rows_isa == k.isa);
        assert_true(k.linear_f32 && k.quantize_act && k.rms_norm && k.rope && k.swiglu && k.add);
        assert_true(k.gemm_bf16 && k.gemm_i16 && k.quantize_i16 && k.quantize_i16_columns);
        assert_true(k.gemm_add_f32 && k.gemm_sub_f64 && k.add_rows && k.round_scalar);
        assert_non_null(k.round_parts);
        assert_true(k.attend_f32 && k.attend_f16 && k.attend_i8 && k.quantize_row && k.f32_to_f16 &&
                    k.logsumexp);
        assert_non_null(k.add_errors);
        assert_non_null(k.linear_i8[OPT_KFMT_Q8_0]);
        assert_non_null(k.linear_i8[OPT_KFMT_INT]);
        assert_null(k.linear_i8[OPT_KFMT_F32]);
    }
}

/** The context's table is made once and is of the context's level. */
static void test_get__is_made_once_per_context(void **state) {
    (void)state;
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    const opt_kern *k = opt_kern_get(ctx);
    assert_non_null(k);
    assert_ptr_equal(opt_kern_get(ctx), k);
    assert_int_equal(k->isa, opt_ctx_isa_level(ctx));
    opt_ctx_free(ctx);
}

#if defined(__x86_64__)
/** The source of the AMX row, with its tile operations in plain C. */
static void test_amx__emulated_gemm_bf16(void **state) {
    opt_kern ref;
    (void)state;
    opt_kern_fill(&ref, OPT_ISA_REF, 0);
    const row_info row = {"gemm_bf16__amx, emulated", OPT_KFMT_COUNT, &ref, &ref};
    check_gemm_bf16(emulated_gemm_bf16, &row);
}

static void wrong_gemm_bf16(const opt_bf16 *a, const opt_bf16 *b, float *y, int64_t ldy,
                            int64_t n_rows, int64_t n_cols, int64_t k) {
    emulated_gemm_bf16(a, b, y, ldy, n_rows, n_cols, k);
    y[(n_rows - 1) * ldy + n_cols - 1] += 1.0F;
}

/** What opt_kern_get asks before it hands out tile kernels. */
static void test_amx__self_test_finds_wrong_sums(void **state) {
    opt_kern k;
    (void)state;
    opt_kern_fill(&k, OPT_ISA_REF, 0);
    assert_true(opt_kern_tiles_work(&k));
    k.gemm_bf16 = emulated_gemm_bf16;
    assert_true(opt_kern_tiles_work(&k));
    k.gemm_bf16 = wrong_gemm_bf16;
    assert_false(opt_kern_tiles_work(&k));
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(test_amx__emulated_gemm_bf16),
        cmocka_unit_test(test_amx__self_test_finds_wrong_sums),
#endif
        cmocka_unit_test(test_fill__leaves_no_slot_empty),
        cmocka_unit_test(test_get__is_made_once_per_context),
#define OPT_KERN(slot, suffix, level, needs) cmocka_unit_test(test_##slot##__##suffix),
#define OPT_KERN_FMT(slot, kfmt, name, suffix, level, needs)                                       \
    cmocka_unit_test(test_##slot##_##name##__##suffix),
#include "kern/kernels.def"
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
