#include "base/rng.h"

#include <math.h>

#include "support.h"

/* Known answers of Random123 1.14 (kat_vectors, philox 4x32 10). */
static void test_rng__philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        uint32_t out[4];
        opt_philox4x32(rows[i].counter, rows[i].key, out);
        assert_memory_equal(out, rows[i].out, sizeof out);
    }
    /* Values 0 and 1 of key 0 are the block of counter 0. */
    assert_true(opt_rng_u64(0, 0) == 0xe169c58d6627e8d5u);
    assert_true(opt_rng_u64(0, 1) == 0x9b00dbd8bc57ac4cu);
}

static void test_rng__keys_differ(void **state) {
    (void)state;
    const uint64_t keys[] = {
        opt_rng_key(1, "a", "sample"), opt_rng_key(2, "a", "sample"),
        opt_rng_key(1, "b", "sample"), opt_rng_key(1, "a", "shuffle"),
        opt_rng_key(1, "as", "ample"), opt_rng_key(1, "", "asample"),
        opt_rng_key(1, "sample", "a"),
    };
    for (int i = 0; i < COUNT_OF(keys); i++) {
        for (int j = 0; j < i; j++) {
            assert_true(keys[i] != keys[j]);
        }
    }
    assert_true(opt_rng_key(1, "a", "sample") == keys[0]);
}

static void test_rng__uniform_is_uniform(void **state) {
    (void)state;
    enum { N = 200000, BINS = 20 };
    int bins[BINS] = {0};
    double sum = 0;
    const uint64_t key = opt_rng_key(5, "t", "u");
    for (uint64_t i = 0; i < N; i++) {
        const double u = opt_rng_uniform(key, i);
        assert_true(u >= 0.0 && u < 1.0);
        bins[(int)(u * BINS)]++;
        sum += u;
    }
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
    double chi2 = 0;
    for (int i = 0; i < BINS; i++) {
        const double d = bins[i] - (double)N / BINS;
        chi2 += d * d / ((double)N / BINS);
    }
    assert_true(chi2 < 55); /* 19 degrees of freedom: p < 1e-4 above 51 */
}

static void test_rng__normal_is_box_muller(void **state) {
    (void)state;
    enum { N = 200000 };
    static const double two_pi = 6.283185307179586;
    const uint64_t key = opt_rng_key(5, "t", "n");
    double sum = 0;
    double sum2 = 0;
    double sum4 = 0;
    double worst = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double x = opt_rng_normal(key, i);
        const double expected = sqrt(-2.0 * log(1.0 - opt_rng_uniform(key, 2 * i))) *
                                cos(two_pi * opt_rng_uniform(key, 2 * i + 1));
        worst = fmax(worst, fabs(x - expected));
        sum += x;
        sum2 += x * x;
        sum4 += x * x * x * x;
    }
    assert_true(worst < 2e-14); /* own logarithm and cosine against libm */
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(sum2 / N - 1.0) < 5 * sqrt(2.0 / N));
    assert_true(fabs(sum4 / N - 3.0) < 5 * sqrt(96.0 / N));
}

/* Frozen: outputs made with a seed must not change between versions or machines. */
static void test_rng__values_are_frozen(void **state) {
    (void)state;
    const uint64_t key = opt_rng_key(42, "blk.0.attn_q.weight", "test");
    static const double normals[3] = {-0x1.58e09d982bb3p-1, 0x1.8ece6cfe9b0d8p-2,
                                      -0x1.dfd3c8eb88af4p-1};
    assert_true(key == 0xf419ca1e0c3ff078u);
    for (uint64_t i = 0; i < 3; i++) {
        const double x = opt_rng_normal(key, i);
        assert_memory_equal(&x, &normals[i], sizeof x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rng__philox_known_answers),
        cmocka_unit_test(test_rng__keys_differ),
        cmocka_unit_test(test_rng__uniform_is_uniform),
        cmocka_unit_test(test_rng__normal_is_box_muller),
        cmocka_unit_test(test_rng__values_are_frozen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
