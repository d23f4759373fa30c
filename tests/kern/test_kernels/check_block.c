/* Checks of what surrounds the linear layers in a decoder block. */
#include "kern/test_kernels/checks.h"

#include <float.h>
#include <math.h>

#include "base/rng.h"
#include "kern/half.h"

#define ULP 0x1p-23 /* of numbers in [1, 2) */

/** Sizes 1 .. 70 and some larger ones, number i of N_SIZES. */
#define N_SIZES 76
static int64_t size_at(int i) {
    static const int64_t large[] = {100, 127, 128, 576, 1000, 1536};
    return i < 70 ? i + 1 : large[i - 70];
}

/** Groups that a quantizer may trip over: zeros, the smallest and largest numbers, infinities, NaN.
 */
static void put_odd_values(float *x, int64_t n, int i) {
    static const float odd[] = {0.0f,    -0.0f,    FLT_MIN,  FLT_TRUE_MIN, 0x1p-101f,
                                FLT_MAX, -FLT_MAX, INFINITY, -INFINITY,    NAN};
    const int which = i % 12;
    if (which < 10) {
        x[(i * 5) % n] = odd[which];
    } else if (which == 10) {
        memset(x, 0, (size_t)n * sizeof *x);
    } else {
        for (int64_t j = 0; j < n; j++) {
            x[j] *= 0x1p-110f;
        }
    }
}

/** Every element is within half a step of its scale. */
static void quantized_well(const float *x, int64_t n, const int8_t *q, const float *scale) {
    for (int64_t i = 0; i < n; i++) {
        if (!isnan(scale[i / 32])) {
            const double step = (double)scale[i / 32];
            const double bound = step * 0.5001 + 0x1p-100;
            assert_close(step * q[i], (double)x[i], bound, "quantize_act", i);
        }
    }
}

void check_quantize_act(opt_kern_quantize_act_fn *fn, const row_info *row) {
    for (int i = 0; i < 12 * N_SIZES; i++) {
        const int64_t n = size_at(i % N_SIZES);
        const int64_t padded = (n + 63) / 64 * 64;
        float *x = normals(n, (uint64_t)i);
        put_odd_values(x, n, i / N_SIZES + i);
        int8_t *q = exact(2 * padded, 1);
        int16_t *sum4 = exact(2 * padded / 4, sizeof *sum4);
        float *scale = exact(2 * padded / 32, sizeof *scale);
        float *scaled = exact(2 * padded / 32, sizeof *scaled);
        memset(q, 77, (size_t)(2 * padded));
        fn(x, n, padded, q, scale, sum4, scaled);
        row->ref->quantize_act(x, n, padded, q + padded, scale + padded / 32, sum4 + padded / 4,
                               scaled + padded / 32);
        assert_memory_equal(q, q + padded, (size_t)padded);
        assert_memory_equal(sum4, sum4 + padded / 4, (size_t)padded / 4 * sizeof *sum4);
        assert_same_floats(scale, scale + padded / 32, padded / 32, row->name);
        assert_same_floats(scaled, scaled + padded / 32, padded / 32, row->name);
        quantized_well(x, n, q, scale);
        for (int64_t j = n; j < padded; j++) {
            assert_int_equal(q[j], 0);
        }
        free(x);
        free(q);
        free(sum4);
        free(scale);
        free(scaled);
    }
}

void check_rms_norm(opt_kern_rms_norm_fn *fn, const row_info *row) {
    for (int i = 0; i < N_SIZES; i++) {
        const int64_t n = size_at(i);
        float *x = normals(n, 1);
        float *w = normals(n, 2);
        float *y = exact(n, sizeof *y);
        float *expected = exact(n, sizeof *y);
        fn(x, w, y, n, 1e-5f);
        row->ref->rms_norm(x, w, expected, n, 1e-5f);
        for (int64_t j = 0; j < n; j++) {
            const double bound = fabs((double)expected[j]) * (4 + (double)n / 64) * ULP;
            assert_close((double)y[j], (double)expected[j], bound, row->name, j);
        }
        fn(x, w, x, n, 1e-5f); /* in place */
        assert_same_floats(x, y, n, row->name);
        free(x);
        free(w);
        free(y);
        free(expected);
    }
}

void check_rope(opt_kern_rope_fn *fn, const row_info *row) {
    for (int i = 0; i < 2 * N_SIZES; i++) {
        const int64_t n = 2 * size_at(i / 2);
        const bool halves = i % 2 == 0;
        float *x = normals(n, 1);
        float *expected = copy_floats(x, n);
        float *before = copy_floats(x, n);
        float *cosine = exact(n / 2, sizeof *cosine);
        float *sine = exact(n / 2, sizeof *sine);
        for (int64_t j = 0; j < n / 2; j++) {
            const double angle = 6.3 * opt_rng_uniform(3, (uint64_t)j);
            cosine[j] = (float)cos(angle);
            sine[j] = (float)sin(angle);
        }
        fn(x, cosine, sine, n, halves);
        row->ref->rope(expected, cosine, sine, n, halves);
        for (int64_t j = 0; j < n; j++) {
            const int64_t other = halves ? (j + n / 2) % n : j ^ 1;
            const double size = fabs((double)before[j]) + fabs((double)before[other]);
            assert_close((double)x[j], (double)expected[j], size * ULP, row->name, j);
        }
        free(x);
        free(expected);
        free(before);
        free(cosine);
        free(sine);
    }
}

void check_swiglu(opt_kern_swiglu_fn *fn, const row_info *row) {
    static const float odd[] = {0.0f, -0.0f, 87.0f, -87.0f, 104.0f, -104.0f, 1e30f, -1e30f, NAN};
    for (int i = 0; i < N_SIZES; i++) {
        const int64_t n = size_at(i);
        float *gate = normals(n, 1);
        float *up = normals(n, 2);
        for (int64_t j = 0; j < n; j++) {
            gate[j] *= 10;
        }
        gate[i % n] = odd[i % 9];
        float *y = exact(n, sizeof *y);
        float *expected = exact(n, sizeof *y);
        fn(gate, up, y, n);
        row->ref->swiglu(gate, up, expected, n);
        for (int64_t j = 0; j < n; j++) {
            /* Where exp(-z) overflows, 0 stands for a value below 2^-110. */
            const double bound = fabs((double)expected[j]) * 4 * ULP + 0x1p-110;
            assert_close((double)y[j], (double)expected[j], bound, row->name, j);
        }
        fn(gate, up, gate, n); /* in place */
        assert_same_floats(gate, y, n, row->name);
        free(gate);
        free(up);
        free(y);
        free(expected);
    }
}

void check_add(opt_kern_add_fn *fn, const row_info *row) {
    for (int i = 0; i < N_SIZES; i++) {
        const int64_t n = size_at(i);
        float *x = normals(n, 1);
        float *y = normals(n, 2);
        float *expected = copy_floats(y, n);
        fn(y, x, n);
        row->ref->add(expected, x, n);
        assert_same_floats(y, expected, n, row->name);
        free(x);
        free(y);
        free(expected);
    }
}

void check_add_errors(opt_kern_add_errors_fn *fn, const row_info *row) {
    for (int i = 0; i < N_SIZES; i++) {
        const int64_t n = size_at(i);
        float *w = normals(n, 1);
        float *v = normals(n, 2);
        double found[2] = {3, 5};
        double expected[2] = {3, 5};
        fn(w, v, n, &found[0], &found[1]);
        row->ref->add_errors(w, v, n, &expected[0], &expected[1]);
        assert_memory_equal(found, expected, sizeof found); /* same bits */
        double plain[2] = {3, 5};
        for (int64_t j = 0; j < n; j++) {
            plain[0] += ((double)w[j] - (double)v[j]) * ((double)w[j] - (double)v[j]);
            plain[1] += (double)w[j] * (double)w[j];
        }
        assert_close(found[0], plain[0], plain[0] * 1e-12, row->name, i);
        assert_close(found[1], plain[1], plain[1] * 1e-12, row->name, i);
        free(w);
        free(v);
    }
}

void check_sum_words(opt_kern_sum_words_fn *fn, const row_info *row) {
    for (int64_t n = 0; n < 300; n++) {
        uint64_t *x = exact(n, sizeof *x);
        for (int64_t i = 0; i < n; i++) {
            x[i] = opt_rng_u64(3, (uint64_t)i);
        }
        assert_true(fn(x, n) == row->ref->sum_words(x, n));
        free(x);
    }
}

void check_peak_i8(opt_kern_peak_i8_fn *fn, const row_info *row) {
    uint8_t *u = exact(64, 1);
    int8_t *s = exact(64, 1);
    for (int i = 0; i < 64; i++) {
        u[i] = (uint8_t)(i * 7 % 128);
        s[i] = (int8_t)(i * 37 % 255 - 127);
    }
    for (int64_t rounds = 0; rounds < 5; rounds++) {
        assert_int_equal(fn(u, s, rounds), row->ref->peak_i8(u, s, rounds));
    }
    assert_int_equal(fn(u, s, 100003), row->ref->peak_i8(u, s, 1) * UINT32_C(100003));
    free(u);
    free(s);
}

void check_f32_to_f16(opt_kern_f32_to_f16_fn *fn, const row_info *row) {
    /* Every half; the points in the middle of two and their neighbours; NaN; then random bits. */
    const int64_t n = 5 * 65536 + 13;
    float *x = exact(n, sizeof *x);
    for (int64_t i = 0; i < 65536; i++) {
        const float h = optk_f16_to_f32((uint16_t)i);
        const uint32_t middle = optk_f32_bits(h) + 0x1000;
        x[5 * i] = h;
        x[5 * i + 1] = optk_bits_f32(middle);
        x[5 * i + 2] = optk_bits_f32(middle - 1);
        x[5 * i + 3] = optk_bits_f32(middle + 1);
        x[5 * i + 4] = optk_bits_f32((uint32_t)opt_rng_u64(1, (uint64_t)i));
    }
    for (int64_t i = 5 * 65536; i < n; i++) {
        x[i] = (float)(i - 5 * 65536) * 0x1p-25f; /* subnormal halves and their middles */
    }
    uint16_t *y = exact(n, sizeof *y);
    uint16_t *expected = exact(n, sizeof *y);
    fn(x, y, n);
    row->ref->f32_to_f16(x, expected, n);
    for (int64_t i = 0; i < n; i++) {
        if (y[i] != expected[i]) {
            fail_msg("%s: %a gives %04x, expected %04x", row->name, (double)x[i], y[i],
                     expected[i]);
        }
    }
    for (int64_t i = 0; i < 65536; i++) { /* what is a half already stays (NaN become quiet) */
        assert_int_equal(y[5 * i] | (isnan(x[5 * i]) ? 0x200 : 0),
                         i | (isnan(x[5 * i]) ? 0x200 : 0));
    }
    for (int64_t m = 1; m < 40; m++) { /* tails */
        uint16_t *part = exact(m, sizeof *part);
        float *source = copy_floats(x + 7, m);
        fn(source, part, m);
        assert_memory_equal(part, expected + 7, (size_t)m * sizeof *part);
        free(part);
        free(source);
    }
    free(x);
    free(y);
    free(expected);
}

void check_logsumexp(opt_kern_logsumexp_fn *fn, const row_info *row) {
    static const struct {
        float value;
        int64_t at;
    } odd[] = {{INFINITY, 3}, {-INFINITY, 5}, {NAN, 0}, {NAN, 9}, {50.0f, 7}, {FLT_MAX, 2}};
    for (int i = 0; i < 7 * N_SIZES; i++) {
        const int64_t n = size_at(i % N_SIZES);
        float *x = normals(n, (uint64_t)i);
        for (int64_t j = 0; j < n; j++) {
            x[j] =
                i % 2 ? x[j] * 8 : roundf(x[j]); /* rounded: the largest appears more than once */
        }
        if (i / N_SIZES < 6) {
            x[odd[i / N_SIZES].at % n] = odd[i / N_SIZES].value;
        }
        int64_t best = -1;
        int64_t expected_best = -1;
        const double found = fn(x, n, &best);
        const double expected = row->ref->logsumexp(x, n, &expected_best);
        assert_close(found, expected, 2e-7 + fabs(expected) * 1e-15, row->name, n);
        assert_int_equal(best, expected_best);
        assert_close(fn(x, n, NULL), found, 0, row->name, n);
        free(x);
    }
    const float all_low[3] = {-INFINITY, -INFINITY, -INFINITY};
    int64_t best = -1;
    assert_true(fn(all_low, 3, &best) == -INFINITY && best == 0);
    const float both[3] = {-INFINITY, INFINITY, 0};
    assert_true(fn(both, 3, &best) == INFINITY && best == 1);
}
