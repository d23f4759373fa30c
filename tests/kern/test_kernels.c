/*
 * Every row of kernels.def becomes a test that calls check_<slot>; a slot without a check does not
 * compile. Rows that this machine cannot run are reported as skipped.
 */
#include "kern/test_kernels/checks.h"
#include "kern/test_kernels/tile_machine.h"

#include "kern/rows.h"

/** False if the machine (or OPT_ISA) does not have the level or the bits. */
static bool machine_runs(opt_isa level, unsigned needs) {
    opt_cpu cpu;
    assert_true(opt_cpu_detect(&cpu));
    return cpu.isa >= level && (cpu.features & needs) == needs;
}

/**
 * Whether the row can be tested here: on the machine itself, or where only AMX is missing with the
 * tile instructions of the row's own code done by the tile machine.
 */
static bool begin_row(opt_isa level, unsigned needs) {
    if (level < OPT_ISA_AMX || machine_runs(level, needs)) {
        return machine_runs(level, needs);
    }
    if (!machine_runs(OPT_ISA_AVX512, needs | OPT_CPU_AVX512_BF16 | OPT_CPU_AVX512_VBMI)) {
        return false;
    }
    tile_machine_start();
    return true;
}

static void end_row(opt_isa level) {
    if (level == OPT_ISA_AMX && !machine_runs(OPT_ISA_AMX, 0)) {
        assert_true(tile_machine_stop() > 0);
    }
}

#define RUN_CHECK(slot, fn, row_name, format, level_name, needs)                                   \
    do {                                                                                           \
        if (!begin_row(OPT_ISA_##level_name, (unsigned)(needs))) {                                 \
            skip();                                                                                \
        }                                                                                          \
        opt_kern ref_table;                                                                        \
        opt_kern level_table;                                                                      \
        opt_kern_fill(&ref_table, OPT_ISA_REF, 0);                                                 \
        opt_kern_fill(&level_table, OPT_ISA_##level_name, (unsigned)(needs));                      \
        const row_info info = {.name = (row_name),                                                 \
                               .kfmt = (format),                                                   \
                               .ref = &ref_table,                                                  \
                               .level = &level_table,                                              \
                               .slow = OPT_ISA_##level_name > OPT_ISA_AVX512 &&                    \
                                       !machine_runs(OPT_ISA_AMX, 0)};                             \
        check_##slot((fn), &info);                                                                 \
        end_row(OPT_ISA_##level_name);                                                             \
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
static void wrong_gemm_bf16(const opt_bf16 *a, const opt_bf16 *b, float *y, int64_t ldy,
                            int64_t n_rows, int64_t n_cols, int64_t k) {
    optk_gemm_bf16__ref(a, b, y, ldy, n_rows, n_cols, k);
    y[(n_rows - 1) * ldy + n_cols - 1] += 1.0F;
}

static void wrong_linear(const opt_kspec *s, const void *w, size_t row_bytes, const opt_act_i8 *x,
                         float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens, int64_t k) {
    optk_linear_i8_q6_k__ref(s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);
    y[(n_tokens - 1) * ldy] *= 2.0F;
}

/** What opt_kern_get asks before it hands out tile kernels. */
static void test_amx__self_test_finds_wrong_sums(void **state) {
    opt_kern right, k;
    (void)state;
    opt_kern_fill(&right, OPT_ISA_REF, 0);
    assert_true(opt_kern_tiles_work(&right));
    k = right;
    k.gemm_bf16 = wrong_gemm_bf16;
    assert_false(opt_kern_tiles_work(&k));
    k = right;
    k.linear_i8[OPT_KFMT_Q6_K] = wrong_linear;
    assert_false(opt_kern_tiles_work(&k));
}

/** The rows of AMX, where need be in an emulation of the processor. */
static void test_amx__self_test_accepts_tiles(void **state) {
    opt_kern k;
    (void)state;
    if (!begin_row(OPT_ISA_AMX, 0)) {
        skip();
    }
    opt_kern_fill(&k, OPT_ISA_AMX, 0);
    assert_int_equal(k.rows_isa, OPT_ISA_AMX);
    assert_true(opt_kern_tiles_work(&k));
    end_row(OPT_ISA_AMX);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(test_amx__self_test_finds_wrong_sums),
        cmocka_unit_test(test_amx__self_test_accepts_tiles),
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
