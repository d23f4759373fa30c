/** Encoders: error bounds, never worse than the plain choice, hard blocks, grids; at every
 * instruction-set level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kern/half.h"
#include "unit/format_cases.h"

/* Kinds of data that the tests draw. */
enum { NORMAL, HEAVY, UNIFORM, OUTLIER, POSITIVE, NEGATIVE, SHORT_MANTISSA, OFFSET, N_KINDS };

static void draw(int kind, uint64_t key, float *w, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint64_t u = (uint64_t)i;
        double x = opt_rng_normal(key, u);
        switch (kind) {
        case HEAVY: x = x * x * x; break;
        case UNIFORM: x = opt_rng_uniform(key, u) - 0.5; break;
        case OUTLIER: x = i % 50 == 7 ? 30.0 * x : x; break;
        case POSITIVE: x = fabs(x); break;
        case NEGATIVE: x = -fabs(x) - 0.25; break;
        case OFFSET: x += 4.0; break;
        default: break;
        }
        w[i] = (float)(0.02 * x);
        if (kind == SHORT_MANTISSA) {
            w[i] = optk_bf16_to_f32(optk_f32_to_bf16(w[i]));
        }
    }
}

static bool is_quant(const opt_format *f) {
    const uint32_t both = OPT_FORMAT_QUANT | OPT_FORMAT_ENCODES;
    return (f->flags & both) == both;
}

/** Whether the codes of a block are evenly spaced, under one scale: what plain_error knows. */
static bool is_scalar(const opt_format *f) {
    static const char *const names[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], f->name) == 0) {
            return true;
        }
    }
    return f->kfmt == OPT_KFMT_INT;
}

static double error_of(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double r = (double)a[i] - (double)b[i];
        sum += r * r;
    }
    return sum;
}

/** Encodes and decodes n elements through exactly sized heap blocks. */
static void round_trip(const opt_format *f, const opt_kern *k, const float *w,
                       const float *importance, int64_t n, float *out) {
    size_t bytes = 0;
    assert_true(opt_format_row_bytes(f, n, &bytes));
    uint8_t *blocks = test_alloc((int64_t)bytes, 1);
    f->encode(f, k, w, importance, blocks, n);
    f->decode(f, k, blocks, out, n);
    free(blocks);
}

/**
 * Squared error of the plain choice: the range of w [n] mapped to the range of codes, scale and
 * offset rounded as they are stored.
 */
static double plain_error(const opt_format *f, const float *w, int64_t n) {
    float min = w[0], max = w[0];
    for (int64_t i = 1; i < n; i++) {
        min = fminf(min, w[i]);
        max = fmaxf(max, w[i]);
    }
    const float peak = -min > max ? min : max;
    const bool offset = (f->flags & OPT_FORMAT_ZERO_POINT) != 0;
    const bool own = (f->flags & OPT_FORMAT_OWN) != 0;
    const double lo = offset ? 0 : strcmp(f->name, "q8_0") == 0 ? -127 : -(1 << (f->bits - 1));
    const double hi = offset ? (1 << f->bits) - 1 : (1 << (f->bits - 1)) - 1;
    if (offset && own) {
        min = fminf(min, 0);
        max = fmaxf(max, 0);
    }
    const float scale = offset ? (max - min) / (float)hi : peak / (float)lo;
    const double d = (double)optk_f16_to_f32(optk_f32_to_f16(scale));
    double m = 0;
    if (offset) {
        m = (double)optk_f16_to_f32(optk_f32_to_f16(min));
        if (own) {
            const double unit = (hi + 1) / 256;
            m = d == 0 ? 0 : -d * unit * fmin(255, rint(-(double)min / d / unit));
        }
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double q = d == 0 ? 0 : fmin(hi, fmax(lo, rint(((double)w[i] - m) / d)));
        const double r = (double)w[i] - (d * q + m);
        sum += r * r;
    }
    return sum;
}

static void test_format_encode__never_worse_than_the_plain_choice(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (!is_quant(f) || !is_scalar(f)) {
            continue;
        }
        for (int trial = 0; trial < 400; trial++) {
            const bool partial = (f->flags & OPT_FORMAT_PARTIAL) != 0;
            const int64_t n = partial ? 1 + trial % f->block_elems : f->block_elems;
            float w[128], out[128];
            draw(trial % N_KINDS, opt_rng_key((uint64_t)trial, f->name, "plain"), w, n);
            const double plain = plain_error(f, w, n);
            for (int level = 0; level < n_levels; level++) {
                round_trip(f, &levels[level], w, NULL, n, out);
                const double error = error_of(w, out, n);
                if (error > plain * (1 + 1e-4) + 1e-13 * (double)n) {
                    fail_msg("%s level %d trial %d: error %g, plain %g", f->name, level, trial,
                             error, plain);
                }
            }
        }
    }
}

/* Error of normal data relative to its size, as measured: a change of the search shows here. */
static void test_format_encode__error_bounds(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double error;
    } cases[] = {
        {"f16", 0.00021},          {"bf16", 0.00166},         {"q8_0", 0.00480},
        {"q5_0", 0.04024},         {"q5_1", 0.03361},         {"q4_0", 0.08120},
        {"q4_1", 0.06948},         {"int8_g32", 0.00476},     {"int8_g128", 0.00620},
        {"int4_g32", 0.08120},     {"int4_g64", 0.09031},     {"int4_g128", 0.09741},
        {"int3_g32", 0.16358},     {"int3_g128", 0.18785},    {"int2_g32", 0.33366},
        {"int2_g128", 0.37002},    {"int8_g32_zp", 0.00455},  {"int4_g32_zp", 0.06960},
        {"int4_g128_zp", 0.09171}, {"int3_g32_zp", 0.14413},  {"int3_g128_zp", 0.17923},
        {"int2_g32_zp", 0.29622},  {"int2_g128_zp", 0.33574}, {"q2_k", 0.25934},
        {"q3_k", 0.14427},         {"q4_k", 0.06942},         {"q5_k", 0.03418},
        {"q6_k", 0.01658},         {"iq4_nl", 0.07347},       {"iq4_xs", 0.07396},
        {"tq2_0", 0.43609},        {"mxfp4", 0.11202},        {"nvfp4", 0.08990},
        {"nf4", 0.08304},          {"fp8_g128", 0.02312},     {"ternary_g64", 0.43059},
        {"ternary_g128", 0.43455},
    };
    enum { N = 32768 };
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    float *w = test_alloc(N, sizeof *w);
    float *out = test_alloc(N, sizeof *out);
    draw(NORMAL, 1, w, N);
    double total = 0;
    for (int64_t i = 0; i < N; i++) {
        total += (double)w[i] * (double)w[i];
    }
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const opt_format *f = opt_format_by_name(cases[c].name);
        assert_non_null(f);
        round_trip(f, &levels[n_levels - 1], w, NULL, N, out);
        const double error = sqrt(error_of(w, out, N) / total);
        if (fabs(error - cases[c].error) > 0.01 * cases[c].error + 1e-5) {
            fail_msg("%s: relative error %.5f, expected %.5f", f->name, error, cases[c].error);
        }
    }
    free(w);
    free(out);
}

/** All levels give the bytes of the reference, for all kinds of data, odd addresses and every tail.
 */
static void test_format_encode__same_bytes_at_every_level(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (f->encode == NULL) {
            continue;
        }
        for (int trial = 0; trial < 64; trial++) {
            const bool any = (f->flags & OPT_FORMAT_PARTIAL) != 0 || f->block_elems == 1;
            const int64_t n = any ? 1 + trial * 37 : (1 + trial % 40) * f->block_elems;
            size_t bytes = 0;
            assert_true(opt_format_row_bytes(f, n, &bytes));
            uint8_t *expected = test_alloc((int64_t)bytes, 1);
            uint8_t *got = test_alloc((int64_t)bytes + 1, 1);
            float *w = test_alloc(n, sizeof *w);
            draw(trial % N_KINDS, opt_rng_key((uint64_t)trial, f->name, "levels"), w, n);
            f->encode(f, &levels[0], w, NULL, expected, n);
            for (int level = 1; level < n_levels; level++) {
                f->encode(f, &levels[level], w, NULL, got + 1, n);
                if (memcmp(got + 1, expected, bytes) != 0) {
                    fail_msg("%s level %d trial %d: bytes differ", f->name, level, trial);
                }
            }
            free(w);
            free(got);
            free(expected);
        }
    }
}

static void test_format_encode__hard_blocks(void **state) {
    (void)state;
    static const struct {
        const char *what;
        float first, others;
    } cases[] = {
        {"zero", 0, 0},
        {"negative zero", -0.0f, -0.0f},
        {"smallest subnormal", FLT_TRUE_MIN, 0},
        {"subnormals", 1e-40f, -2e-40f},
        {"tiny", 1e-20f, -1e-21f},
        {"below a half's subnormals", 2e-8f, -1e-8f},
        {"subnormal scale", 3e-7f, -2e-7f},
        {"edge of the search", 0x1p-40f, -0x1p-40f},
        {"below the edge", 0x1.fffffep-41f, 0x1p-41f},
        {"constant", 0.3f, 0.3f},
        {"negative constant", -0.3f, -0.3f},
        {"nearly constant", 0x1.000002p-40f, 0x1p-40f},
        {"far from zero", 1000.5f, 1000.25f},
        {"largest half", 65504, -65504},
        {"scale beyond a half", 1e7f, -1e7f},
        {"upper edge of the search", 0x1p40f, -0x1p40f},
        {"beyond the edge", 0x1.000002p40f, -0x1p40f},
        {"huge", 1e38f, -3e38f},
        {"largest", FLT_MAX, -FLT_MAX},
        {"one huge among small", FLT_MAX, 1e-3f},
        {"one huge negative", -FLT_MAX, 1e-3f},
    };
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (!is_quant(f)) {
            continue;
        }
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            const int64_t n = f->block_elems;
            float w[256], out[256];
            uint8_t expected[512], got[512];
            float largest = 0;
            for (int64_t i = 0; i < n; i++) {
                w[i] = i == 3 ? cases[c].first : i % 5 == 4 ? 0.0f : cases[c].others;
                largest = fmaxf(largest, fabsf(w[i]));
            }
            f->encode(f, &levels[0], w, NULL, expected, n);
            for (int level = 0; level < n_levels; level++) {
                f->encode(f, &levels[level], w, NULL, got, n);
                assert_memory_equal(got, expected, f->block_bytes);
            }
            f->decode(f, &levels[0], expected, out, n);
            for (int64_t i = 0; i < n; i++) {
                if (!isfinite(out[i]) || fabsf(out[i]) > largest * 1.2f + 1e-6f) {
                    fail_msg("%s, %s: element %d is %g, from %g", f->name, cases[c].what, (int)i,
                             (double)out[i], (double)w[i]);
                }
            }
            if (largest == 0) {
                for (int64_t i = 0; i < n; i++) {
                    assert_true(out[i] == 0.0f);
                }
            }
        }
    }
}

static void test_format_encode__grid_gives_the_same_bytes(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (!is_quant(f)) {
            assert_null(f->grid);
            continue;
        }
        assert_non_null(f->grid);
        assert_true(f->grid->params_bytes <= OPT_GRID_PARAMS_MAX);
        for (int trial = 0; trial < 200; trial++) {
            const bool partial = (f->flags & OPT_FORMAT_PARTIAL) != 0;
            const int64_t n = partial ? 1 + trial % f->block_elems : f->block_elems;
            float w[256], importance[256], values[256], decoded[256];
            int32_t codes[256];
            uint8_t expected[512], got[512];
            _Alignas(16) uint8_t params[OPT_GRID_PARAMS_MAX];
            const uint64_t key = opt_rng_key((uint64_t)trial, f->name, "grid");
            draw(trial % N_KINDS, key, w, n);
            for (int64_t i = 0; i < n; i++) {
                importance[i] = (float)opt_rng_uniform(key + 1, (uint64_t)i);
            }
            const float *weights = trial % 3 == 0 ? importance : NULL;
            f->grid->fit(f, w, weights, n, params);
            for (int64_t i = 0; i < n; i += f->grid->dim) {
                f->grid->round(f, params, i, w + i, codes + i, values + i);
            }
            f->grid->emit(f, params, codes, n, got);
            for (int level = 0; level < n_levels; level++) {
                f->encode(f, &levels[level], w, weights, expected, n);
                assert_memory_equal(got, expected, f->block_bytes);
            }
            f->decode(f, &levels[0], got, decoded, n);
            assert_memory_equal(decoded, values, (size_t)n * sizeof *values);
        }
    }
}

/** Every grid: what a number rounds to is the nearest of all values that any number rounds to. */
static void test_format_encode__rounds_to_the_nearest_value(void **state) {
    (void)state;
    enum { N = 4001 };
    float *values = test_alloc(N, sizeof *values);
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (!is_quant(f)) {
            continue;
        }
        for (int kind = 0; kind < N_KINDS; kind++) {
            _Alignas(16) uint8_t params[OPT_GRID_PARAMS_MAX];
            float w[256], peak = 0;
            int32_t code;
            draw(kind, opt_rng_key((uint64_t)kind, f->name, "nearest"), w, f->block_elems);
            f->grid->fit(f, w, NULL, f->block_elems, params);
            const int64_t size = opt_format_part_elems(f), at = f->block_elems - 1;
            for (int64_t i = f->block_elems - size; i < f->block_elems; i++) {
                peak = fmaxf(peak, fabsf(w[i]));
            }
            for (int i = 0; i < N; i++) {
                const float x = 1.5f * peak * (2.0f * (float)i / (N - 1) - 1.0f);
                f->grid->round(f, params, at, &x, &code, &values[i]);
                assert_true(i == 0 || values[i] >= values[i - 1]);
            }
            for (int i = 0; i < N; i += 7) {
                const float x = 1.5f * peak * (2.0f * (float)i / (N - 1) - 1.0f);
                float least = INFINITY;
                for (int j = 0; j < N; j++) {
                    least = fminf(least, fabsf(values[j] - x));
                }
                if (fabsf(values[i] - x) > least + 2e-6f * peak) {
                    fail_msg("%s: %g rounds to %g, a value %g away exists", f->name, (double)x,
                             (double)values[i], (double)least);
                }
            }
        }
    }
    free(values);
}

/** Many rows at once give the bytes of each alone, with partial blocks and importance or without.
 */
static void test_format_encode__rows(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t n_cols;
    } cases[] = {{"q4_0", 64},        {"q5_1", 32},       {"int4_g64", 172},   {"int3_g32_zp", 96},
                 {"int2_g128_zp", 1}, {"int8_g128", 130}, {"int4_g32_zp", 33}, {"f16", 7},
                 {"nf4", 172},        {"fp8_g128", 130},  {"ternary_g64", 33}, {"nvfp4", 128},
                 {"iq4_nl", 160}};
    enum { N_ROWS = 21 };
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    float *w = test_alloc(N_ROWS * 172, sizeof *w);
    uint8_t *all = test_alloc(N_ROWS * 1024, 1);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const opt_format *f = opt_format_by_name(cases[c].name);
        const int64_t n_cols = cases[c].n_cols;
        float importance[172];
        draw(NORMAL, 5, w, N_ROWS * n_cols);
        draw(POSITIVE, 6, importance, n_cols);
        size_t row_bytes = 0;
        assert_true(opt_format_row_bytes(f, n_cols, &row_bytes));
        for (int run = 0; run < 2 * n_levels; run++) {
            const int level = run / 2;
            const float *weights = run % 2 ? importance : NULL;
            opt_format_encode_rows(f, &levels[level], w, weights, all, N_ROWS, n_cols);
            for (int r = 0; r < N_ROWS; r++) {
                uint8_t one[1024];
                f->encode(f, &levels[0], w + r * n_cols, weights, one, n_cols);
                if (memcmp(all + (size_t)r * row_bytes, one, row_bytes) != 0) {
                    fail_msg("%s level %d, %s, row %d differs", f->name, level,
                             weights != NULL ? "importance" : "plain", r);
                }
            }
        }
    }
    free(all);
    free(w);
}

/** Importance moves the error away from elements that matter. */
static void test_format_encode__importance(void **state) {
    (void)state;
    opt_kern kern;
    opt_kern_fill(&kern, OPT_ISA_REF, 0);
    enum { N = 8192 };
    float *w = test_alloc(N, sizeof *w);
    float *importance = test_alloc(N, sizeof *importance);
    float *out = test_alloc(N, sizeof *out);
    draw(NORMAL, 2, w, N);
    for (int64_t i = 0; i < N; i++) {
        importance[i] = (float)pow(opt_rng_uniform(3, (uint64_t)i), 4.0) * 1e20f;
    }
    for (const opt_format *const *row = opt_formats; *row != NULL; row++) {
        const opt_format *f = *row;
        if (!is_quant(f)) {
            continue;
        }
        double sum[2] = {0, 0};
        for (int weighted = 0; weighted < 2; weighted++) {
            round_trip(f, &kern, w, weighted ? importance : NULL, N, out);
            for (int64_t i = 0; i < N; i++) {
                const double r = (double)w[i] - (double)out[i];
                sum[weighted] += (double)importance[i] * r * r;
            }
        }
        /* three levels leave little to choose */
        const bool ternary = strncmp(f->name, "ternary", 7) == 0 || strcmp(f->name, "tq2_0") == 0;
        if (!(sum[1] < (ternary ? 0.993 : 0.985) * sum[0])) {
            fail_msg("%s: weighted error %g with importance, %g without", f->name, sum[1], sum[0]);
        }
        for (int64_t i = 0; i < N; i++) {
            importance[i] = -importance[i] * 0; /* none: as if there were no importance */
        }
        float *same = test_alloc(N, sizeof *same);
        round_trip(f, &kern, w, NULL, N, out);
        round_trip(f, &kern, w, importance, N, same);
        assert_memory_equal(out, same, N * sizeof *same);
        free(same);
        for (int64_t i = 0; i < N; i++) {
            importance[i] = (float)pow(opt_rng_uniform(3, (uint64_t)i), 4.0) * 1e20f;
        }
    }
    free(w);
    free(importance);
    free(out);
}

/** Every finite half and bfloat is encoded as itself. */
static void test_format_encode__short_floats_are_exact(void **state) {
    (void)state;
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    uint16_t *codes = test_alloc(65536, sizeof *codes);
    uint16_t *again = test_alloc(65536, sizeof *again);
    float *values = test_alloc(65536, sizeof *values);
    for (int i = 0; i < 65536; i++) {
        codes[i] = (uint16_t)i;
    }
    for (int which = 0; which < 2; which++) {
        const opt_format *f = which ? &opt_format_bf16 : &opt_format_f16;
        for (int level = 0; level < n_levels; level++) {
            f->decode(f, &levels[level], codes, values, 65536);
            f->encode(f, &levels[level], values, NULL, again, 65536);
            for (int i = 0; i < 65536; i++) {
                assert_true(codes[i] == again[i] || isnan(values[i]));
                assert_true(!isnan(values[i]) || (again[i] & 0x7fff) > (which ? 0x7f80 : 0x7c00));
            }
        }
    }
    free(codes);
    free(again);
    free(values);
}

static void test_format_encode__short_floats_round_to_nearest_even(void **state) {
    (void)state;
    static const struct {
        bool brain;
        float value;
        uint16_t code;
    } cases[] = {
        {false, 1.0f, 0x3c00},         {false, 0x1.002p0f, 0x3c00},
        {false, 0x1.006p0f, 0x3c02},   {false, 0x1.002002p0f, 0x3c01},
        {false, 65504.0f, 0x7bff},     {false, 65519.996f, 0x7bff},
        {false, 65520.0f, 0x7c00},     {false, -1e9f, 0xfc00},
        {false, 0x1p-25f, 0x0000},     {false, 0x1.000002p-25f, 0x0001},
        {false, 0x1.8p-24f, 0x0002},   {false, -0x1p-24f, 0x8001},
        {false, 0x1.ffap-15f, 0x03ff}, {false, 0x1.ffep-15f, 0x0400},
        {false, FLT_TRUE_MIN, 0x0000}, {true, 1.0f, 0x3f80},
        {true, 0x1.01p0f, 0x3f80},     {true, 0x1.03p0f, 0x3f82},
        {true, 0x1.010002p0f, 0x3f81}, {true, 0x1.fep127f, 0x7f7f},
        {true, FLT_MAX, 0x7f80},       {true, -0.0f, 0x8000},
        {true, FLT_TRUE_MIN, 0x0000},  {true, 0x1p-133f, 0x0001},
    };
    opt_kern levels[OPT_ISA_COUNT];
    const int n_levels = test_levels(levels);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const opt_format *f = cases[c].brain ? &opt_format_bf16 : &opt_format_f16;
        for (int level = 0; level < n_levels; level++) {
            float w[33];
            uint16_t codes[33];
            for (int i = 0; i < 33; i++) {
                w[i] = cases[c].value;
            }
            f->encode(f, &levels[level], w, NULL, codes, 33);
            for (int i = 0; i < 33; i++) {
                if (codes[i] != cases[c].code) {
                    fail_msg("%s level %d: %a gives %04x, expected %04x", f->name, level,
                             (double)cases[c].value, codes[i], cases[c].code);
                }
            }
        }
    }
}

static void test_format_encode__find_bad(void **state) {
    (void)state;
    static const struct {
        const char *name;
        float value;
        bool bad;
    } cases[] = {
        {"f32", FLT_MAX, false},
        {"f32", INFINITY, true},
        {"f32", NAN, true},
        {"f16", 65504.0f, false},
        {"f16", -65536.0f, true},
        {"bf16", 3e38f, false},
        {"bf16", FLT_MAX, true},
        {"q4_0", 524032.0f, false},
        {"q4_0", -524100.0f, true},
        {"q8_0", 8e6f, false},
        {"q8_0", 9e6f, true},
        {"q8_0", -INFINITY, true},
        {"q4_1", 65504.0f, false},
        {"q4_1", -70000.0f, true},
        {"int2_g64_zp", -98256.0f, false},
        {"int2_g64_zp", 99000.0f, true},
        {"q4_0", -NAN, true},
        {"q4_0", -0.0f, false},
        {"q4_k", 4126752.0f, false},
        {"q4_k", 4126800.0f, true},
        {"mxfp4", 2.5e38f, false},
        {"mxfp4", 2.6e38f, true},
        {"nvfp4", 2688.0f, false},
        {"nvfp4", -2689.0f, true},
    };
    enum { N = 10000 };
    float *w = test_alloc(N, sizeof *w);
    memset(w, 0, N * sizeof *w);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const opt_format *f = opt_format_by_name(cases[c].name);
        static const int64_t places[] = {0, 1, 4095, 4096, 9999};
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            w[places[p]] = cases[c].value;
            assert_int_equal(opt_format_find_bad(f, w, N), cases[c].bad ? places[p] : -1);
            assert_int_equal(opt_format_find_bad(f, w, places[p]), -1);
            w[places[p]] = 0;
        }
    }
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_encode__never_worse_than_the_plain_choice),
        cmocka_unit_test(test_format_encode__error_bounds),
        cmocka_unit_test(test_format_encode__same_bytes_at_every_level),
        cmocka_unit_test(test_format_encode__hard_blocks),
        cmocka_unit_test(test_format_encode__grid_gives_the_same_bytes),
        cmocka_unit_test(test_format_encode__rounds_to_the_nearest_value),
        cmocka_unit_test(test_format_encode__rows),
        cmocka_unit_test(test_format_encode__importance),
        cmocka_unit_test(test_format_encode__short_floats_are_exact),
        cmocka_unit_test(test_format_encode__short_floats_round_to_nearest_even),
        cmocka_unit_test(test_format_encode__find_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
