/* Checks of linear_f32, linear_direct and linear_i8. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/half.h"
#include "kern/interleave.h"
#include "kern/scales.h"
#include "tensor/format.h"
#include "unit/format_cases.h"

/** Sizes of one linear layer. `gap` elements lie between rows of every matrix. */
typedef struct shape {
    int64_t n_rows;
    int64_t n_tokens;
    int64_t k;
    int64_t gap;
} shape;

/* Around every tile edge of the rows: 4 and 8 rows, 3 and 6 tokens, 16 and 32 rows, 16 groups
 * of 32. */
static const int64_t row_counts[] = {1, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 50};
static const int64_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13};
static const int64_t long_ks[] = {127, 128, 129, 511, 512, 513, 544, 576, 1056, 1536};

#define N_OF(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/** A random selection of sizes, the same every time: number i of the run. */
static shape pick(int64_t i) {
    const int64_t k = i < 70 ? i + 1 : long_ks[i % N_OF(long_ks)];
    return (shape){row_counts[i * 7 % N_OF(row_counts)], token_counts[i * 3 % N_OF(token_counts)],
                   k, i % 3 == 0 ? 3 : 0};
}

#define N_PICKS 200

/** Elements of a matrix whose last row has no gap behind it. */
static int64_t extent(int64_t n, int64_t stride, int64_t width) {
    return n == 0 ? 0 : (n - 1) * stride + width;
}

static void fail_text(char *out, size_t cap, const row_info *row, const shape *s,
                      const char *what) {
    (void)snprintf(out, cap, "%s: %s, %lld rows, %lld tokens, k %lld", row->name, what,
                   (long long)s->n_rows, (long long)s->n_tokens, (long long)s->k);
}

/* ----------------------------------------------------------------------------------------------
 * linear_f32 */

/** Bound of a sum of k products in any order with 16 lanes: each is rounded at most k/16 + 6 times.
 */
static void within_f32_bound(const shape *s, const float *w, const float *x, const float *y,
                             const float *expected, const char *what) {
    const int64_t ld = s->k + s->gap;
    for (int64_t t = 0; t < s->n_tokens; t++) {
        for (int64_t r = 0; r < s->n_rows; r++) {
            double size = 0;
            for (int64_t i = 0; i < s->k; i++) {
                size += fabs((double)w[r * ld + i] * (double)x[t * ld + i]);
            }
            const double bound = size * ((double)s->k / 16 + 7) * 0x1p-24;
            const int64_t at = t * (s->n_rows + s->gap) + r;
            assert_close((double)y[at], (double)expected[at], bound, what, at);
        }
    }
}

/** One output at a time gives the bits that all of them together gave. */
static void same_alone_f32(opt_kern_linear_f32_fn *fn, const shape *s, const float *w,
                           const float *x, const float *y, const char *what) {
    const int64_t ld = s->k + s->gap;
    for (int64_t t = 0; t < s->n_tokens; t++) {
        for (int64_t r = 0; r < s->n_rows; r++) {
            float *wr = copy_floats(w + r * ld, s->k);
            float one = NAN;
            fn(wr, s->k, x + t * ld, s->k, &one, 1, 1, 1, s->k);
            assert_same_floats(&one, &y[t * (s->n_rows + s->gap) + r], 1, what);
            free(wr);
        }
    }
}

static void check_linear_f32_shape(opt_kern_linear_f32_fn *fn, const row_info *row, const shape *s,
                                   bool exact_data) {
    char what[160];
    fail_text(what, sizeof what, row, s, exact_data ? "integers" : "normal numbers");
    const int64_t ld = s->k + s->gap;
    const int64_t ldy = s->n_rows + s->gap;
    const int64_t nw = extent(s->n_rows, ld, s->k);
    const int64_t nx = extent(s->n_tokens, ld, s->k);
    const int64_t ny = extent(s->n_tokens, ldy, s->n_rows);
    float *w = exact_data ? integers(nw, 8, 1) : normals(nw, 1);
    float *x = exact_data ? integers(nx, 8, 2) : normals(nx, 2);
    float *y = integers(ny, 100, 3); /* the gaps must stay as they are */
    float *expected = copy_floats(y, ny);
    fn(w, ld, x, ld, y, ldy, s->n_rows, s->n_tokens, s->k);
    row->ref->linear_f32(w, ld, x, ld, expected, ldy, s->n_rows, s->n_tokens, s->k);
    if (exact_data) {
        assert_same_floats(y, expected, ny, what);
    } else {
        within_f32_bound(s, w, x, y, expected, what);
        same_alone_f32(fn, s, w, x, y, what);
    }
    free(w);
    free(x);
    free(y);
    free(expected);
}

void check_linear_f32(opt_kern_linear_f32_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < N_PICKS; i++) {
        const shape s = pick(i);
        check_linear_f32_shape(fn, row, &s, true);
        check_linear_f32_shape(fn, row, &s, false);
    }
}

/* ----------------------------------------------------------------------------------------------
 * linear_direct */

/** Random stored rows of a format with finite scales. */
static uint8_t *stored_rows(const opt_format *f, int64_t n_rows, int64_t k, size_t *row_bytes) {
    size_t bytes = 0;
    assert_true(opt_format_row_bytes(f, k, row_bytes) && opt_format_bytes(f, n_rows, k, &bytes));
    uint8_t *rows = exact((int64_t)bytes, 1);
    if (f->flags & OPT_FORMAT_QUANT) {
        test_random_bytes(f->name, rows, bytes);
        test_finite_scales(f, rows, (int64_t)(bytes / f->block_bytes));
        for (size_t b = 0; f->kfmt == OPT_KFMT_MXFP4 && b < bytes; b += f->block_bytes) {
            rows[b] &= 0xbf; /* powers of two whose sums are finite */
        }
        return rows;
    }
    float *w = normals(n_rows * k, 4);
    for (int64_t i = 0; i < n_rows * k; i++) {
        if (f->kfmt == OPT_KFMT_F32) {
            memcpy(rows + 4 * i, &w[i], 4);
        } else {
            assert_true(f->kfmt == OPT_KFMT_F16 || f->kfmt == OPT_KFMT_BF16);
            const bool half = f->kfmt == OPT_KFMT_F16;
            opt_wr_u16le(rows + 2 * i, half ? optk_f32_to_f16(w[i]) : optk_f32_to_bf16(w[i]));
        }
    }
    free(w);
    return rows;
}

static void check_direct_shape(opt_kern_linear_direct_fn *fn, const row_info *row,
                               const opt_format *f, const shape *s) {
    char what[160];
    fail_text(what, sizeof what, row, s, "against decode and linear_f32");
    size_t row_bytes = 0;
    uint8_t *w = stored_rows(f, s->n_rows, s->k, &row_bytes);
    float *decoded = exact(s->n_rows * s->k, sizeof *decoded);
    for (int64_t r = 0; r < s->n_rows; r++) {
        f->decode(f, row->ref, w + (size_t)r * row_bytes, decoded + r * s->k, s->k);
    }
    const int64_t ldx = s->k + s->gap;
    float *x = normals(extent(s->n_tokens, ldx, s->k), 5);
    float *y = exact(s->n_tokens * s->n_rows, sizeof *y);
    float *expected = exact(s->n_tokens * s->n_rows, sizeof *y);
    const opt_kspec spec = opt_format_kspec(f);
    fn(&spec, w, row_bytes, x, ldx, y, s->n_rows, s->n_rows, s->n_tokens, s->k);
    row->level->linear_f32(decoded, s->k, x, ldx, expected, s->n_rows, s->n_rows, s->n_tokens,
                           s->k);
    assert_same_floats(y, expected, s->n_tokens * s->n_rows, what);
    free(w);
    free(decoded);
    free(x);
    free(y);
    free(expected);
}

void check_linear_direct(opt_kern_linear_direct_fn *fn, const row_info *row) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt != row->kfmt) {
            continue;
        }
        for (int64_t i = 0; i < N_PICKS; i++) {
            const shape s = pick(i);
            if (opt_format_fits(opt_formats[f], s.k)) {
                check_direct_shape(fn, row, opt_formats[f], &s);
            }
        }
    }
}

/* ----------------------------------------------------------------------------------------------
 * linear_i8 */

/** Activations in every form, in exact-size blocks. */
typedef struct act {
    int8_t *q, *q_low;
    float *scale;
    int16_t *sum4, *sum_low;
    float *scaled_sum;
    uint16_t *low;
    opt_act_i8 view;
} act;

/** Gives some groups a second plane. What is in it does not matter to a product, so it is anything
 * there is room for, the largest magnitudes among it. */
static void add_low(act *a, int64_t n_tokens, int64_t k, int64_t n) {
    const int64_t n_words = opt_act_low_words(n);
    memset(a->low, 0, (size_t)(n_tokens * n_words) * sizeof *a->low);
    for (int64_t at = 0; at < n_tokens * (n / 32); at++) {
        const int64_t t = at / (n / 32), g = at % (n / 32);
        if (g * 32 >= k || !(at * 7 % 13 < 3 || at * 7 % 29 == 5)) {
            continue;
        }
        a->low[t * n_words + g / 16] |= (uint16_t)(1 << g % 16);
        int32_t sum = 0, low = 0;
        for (int64_t i = at * 32; i < (at + 1) * 32; i++) {
            const int value = at % 3 == 0 ? 127 - 254 * (int)(at % 2) : (int)(i * 7919 % 255 - 127);
            a->q_low[i] = (int8_t)(i % n < k ? value : 0);
            a->sum_low[i / 16] = (int16_t)((i % 16 != 0 ? a->sum_low[i / 16] : 0) + a->q_low[i]);
            sum += a->q[i];
            low += a->q_low[i];
        }
        a->scaled_sum[at] = opt_act_both_sums(a->scale[at], sum, low);
    }
    a->view.low = a->low;
    a->view.q_low = a->q_low;
    a->view.sum_low = a->sum_low;
}

/** `low`: with second planes. */
static act make_act(const opt_kern *ref, const float *x, int64_t n_tokens, int64_t k, bool low) {
    const int64_t n = (k + 63) / 64 * 64;
    act a = {.q = exact(n_tokens * n, 1),
             .q_low = exact(n_tokens * n, 1),
             .scale = exact(n_tokens * n / 32, sizeof(float)),
             .sum4 = exact(n_tokens * n / 4, sizeof(int16_t)),
             .sum_low = exact(n_tokens * n / 16, sizeof(int16_t)),
             .scaled_sum = exact(n_tokens * n / 32, sizeof(float)),
             .low = exact(n_tokens * opt_act_low_words(n), sizeof(uint16_t))};
    memset(a.q_low, 0x55, (size_t)(n_tokens * n)); /* what has no second plane is not looked at */
    memset(a.sum_low, 0x55, (size_t)(n_tokens * n / 16) * sizeof *a.sum_low);
    for (int64_t t = 0; t < n_tokens; t++) {
        ref->quantize_act(x + t * k, k, n, a.q + t * n, a.scale + t * n / 32, a.sum4 + t * n / 4,
                          a.scaled_sum + t * n / 32);
    }
    a.view = (opt_act_i8){
        .q = a.q, .scale = a.scale, .sum4 = a.sum4, .scaled_sum = a.scaled_sum, .n_padded = n};
    if (low) {
        add_low(&a, n_tokens, k, n);
    }
    return a;
}

static void free_act(act *a) {
    free(a->q);
    free(a->q_low);
    free(a->low);
    free(a->scale);
    free(a->sum4);
    free(a->sum_low);
    free(a->scaled_sum);
}

/** By how much a code of 16 bits may differ from its level: see kern/scales.h. */
static double code16_error(opt_kfmt kfmt) {
    return kfmt == OPT_KFMT_NF4   ? 0.51 * (double)OPTK_NF4_UNIT
           : kfmt == OPT_KFMT_FP8 ? (double)OPTK_FP8_UNIT
                                  : 0;
}

/** What fp8 has for NaN counts as 480: see kern/scales.h. */
static double number_or_480(const opt_format *f, float value, float d) {
    return f->kfmt == OPT_KFMT_FP8 && isnan(value) ? copysign(480.0, (double)value) * (double)d
                                                   : (double)value;
}

/** The reference itself, against the decoded weights in double. */
static void within_i8_bound(const opt_format *f, const row_info *row, const shape *s,
                            const uint8_t *w, size_t row_bytes, const opt_act_i8 *x, const float *y,
                            const char *what) {
    float *decoded = exact(s->k, sizeof *decoded);
    for (int64_t r = 0; r < s->n_rows; r++) {
        f->decode(f, row->ref, w + (size_t)r * row_bytes, decoded, s->k);
        for (int64_t t = 0; t < s->n_tokens; t++) {
            double sum = 0;
            double size = 0;
            double code_error = 0;
            for (int64_t i = 0; i < s->k; i++) {
                /* the scale, where a block begins with it */
                const float d = optk_ld_f16(w + (size_t)r * row_bytes +
                                            (size_t)(i / f->block_elems) * f->block_bytes);
                const int64_t at = t * x->n_padded + i;
                const double low = opt_act_has_low(x, t, i / 32) ? x->q_low[at] / 256.0 : 0.0;
                const double activation =
                    (x->q[at] + low) * (double)x->scale[t * (x->n_padded / 32) + i / 32];
                const double product = number_or_480(f, decoded[i], d) * activation;
                sum += product;
                size += fabs(product);
                code_error += code16_error(f->kfmt) == 0
                                  ? 0
                                  : code16_error(f->kfmt) * fabs((double)d * activation);
            }
            /* With an offset the codes' sum and the offset's are larger than their difference. */
            const double bound =
                (size * 32 + 1e-30) * ((double)s->k / 16 + 4) * 0x1p-24 + code_error;
            assert_close((double)y[t * s->n_rows + r], sum, bound, what, t * s->n_rows + r);
        }
    }
    free(decoded);
}

/** Single rows and single tokens give the bits that all of them together gave. */
static void same_alone_i8(opt_kern_linear_i8_fn *fn, const opt_kspec *spec, const shape *s,
                          const uint8_t *w, size_t row_bytes, const opt_act_i8 *x, const float *y,
                          const char *what) {
    float *one = exact(s->n_rows, sizeof *one);
    for (int64_t t = 0; t < s->n_tokens; t++) {
        const opt_act_i8 xt = opt_act_from(x, t);
        fn(spec, w, row_bytes, &xt, one, s->n_rows, s->n_rows, 1, s->k);
        assert_same_floats(one, y + t * s->n_rows, s->n_rows, what);
    }
    free(one);
    float *column = exact(s->n_tokens, sizeof *column);
    for (int64_t r = 0; r < s->n_rows; r++) {
        fn(spec, w + (size_t)r * row_bytes, row_bytes, x, column, 1, 1, s->n_tokens, s->k);
        for (int64_t t = 0; t < s->n_tokens; t++) {
            assert_same_floats(&column[t], &y[t * s->n_rows + r], 1, what);
        }
    }
    free(column);
}

static void check_i8_shape(opt_kern_linear_i8_fn *fn, const row_info *row, const opt_format *f,
                           const shape *s, bool alone) {
    char what[160];
    fail_text(what, sizeof what, row, s, f->name);
    const opt_kspec spec = opt_format_kspec(f);
    size_t row_bytes = 0;
    uint8_t *w = stored_rows(f, s->n_rows, s->k, &row_bytes);
    float *values = normals(s->n_tokens * s->k, 6);
    act x = make_act(row->ref, values, s->n_tokens, s->k, (s->n_rows + s->k / 32) % 3 != 0);
    float *y = exact(s->n_tokens * s->n_rows, sizeof *y);
    float *expected = exact(s->n_tokens * s->n_rows, sizeof *y);
    fn(&spec, w, row_bytes, &x.view, y, s->n_rows, s->n_rows, s->n_tokens, s->k);
    if (fn == row->ref->linear_i8[row->kfmt]) {
        within_i8_bound(f, row, s, w, row_bytes, &x.view, y, what);
    } else {
        row->ref->linear_i8[row->kfmt](&spec, w, row_bytes, &x.view, expected, s->n_rows, s->n_rows,
                                       s->n_tokens, s->k);
        assert_same_floats(y, expected, s->n_tokens * s->n_rows, what);
        if (alone) {
            same_alone_i8(fn, &spec, s, w, row_bytes, &x.view, y, what);
        }
    }
    free(w);
    free(values);
    free_act(&x);
    free(y);
    free(expected);
}

/* Where rows take other ways for many tokens: tiles of 16, rows of 4 KiB, more than one panel. */
static const shape many[] = {{50, 40, 96, 0},   {33, 17, 576, 0},  {16, 16, 32, 0}, {1, 31, 64, 0},
                             {64, 130, 544, 0}, {32, 23, 1056, 0}, {3, 17, 4096, 0}};

/** Every number of tokens up to 40, and many of them. */
static void check_i8_many(opt_kern_linear_i8_fn *fn, const row_info *row, const opt_format *f,
                          int64_t seed) {
    const bool whole = !(f->flags & OPT_FORMAT_PARTIAL);
    const int64_t step = row->kfmt == OPT_KFMT_INT ? 5 : 1;
    for (int64_t t = seed % step; t < 40 + N_OF(many); t += step) {
        shape s = t < 40 ? (shape){33, t + 1, 96, 0} : many[t - 40];
        if (whole) {
            s.k = opt_ceil_div(s.k, f->block_elems) * f->block_elems;
        }
        if (opt_format_fits(f, s.k)) {
            check_i8_shape(fn, row, f, &s, false);
        }
    }
}

/** Rows of a format that share its kernel but not its layout (own groups) are all checked. */
void check_linear_i8(opt_kern_linear_i8_fn *fn, const row_info *row) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt != row->kfmt) {
            continue;
        }
        /* There are many own formats: each takes other sizes. */
        const int step = row->kfmt == OPT_KFMT_INT ? 5 : 1;
        for (int64_t i = f % step; i < N_PICKS; i += row->slow ? 5 * step : step) {
            shape s = pick(i);
            const int64_t block = opt_formats[f]->block_elems;
            if (block > 32 && !(opt_formats[f]->flags & OPT_FORMAT_PARTIAL)) {
                s.k = (i % 5 + 1) * block;
            } else if (!(opt_formats[f]->flags & OPT_FORMAT_PARTIAL) && i < 70) {
                s.k *= 32;
            }
            if (opt_format_fits(opt_formats[f], s.k)) {
                check_i8_shape(fn, row, opt_formats[f], &s, !row->slow || i < 50);
            }
        }
        check_i8_many(fn, row, opt_formats[f], f);
    }
}

/* ----------------------------------------------------------------------------------------------
 * linear_run */

/** The rows in their own order give the same bits, on the reference of linear_i8. */
static void check_run_shape(opt_kern_linear_run_fn *fn, const row_info *row, const opt_format *f,
                            const shape *s) {
    char what[160];
    fail_text(what, sizeof what, row, s, f->name);
    const opt_kspec spec = opt_format_kspec(f);
    size_t row_bytes = 0;
    uint8_t *w = stored_rows(f, s->n_rows, s->k, &row_bytes);
    uint8_t *runs = exact(s->n_rows, row_bytes);
    uint8_t *back = exact(1, row_bytes);
    const int64_t n_blocks = s->k / f->block_elems;
    for (int64_t r = 0; r < s->n_rows; r++) {
        uint8_t *run = runs + (size_t)(r / OPT_RUN_ROWS * OPT_RUN_ROWS) * row_bytes;
        opt_run_put(&spec, w + (size_t)r * row_bytes, (int)(r % OPT_RUN_ROWS), n_blocks, run);
    }
    for (int64_t r = 0; r < s->n_rows; r++) {
        const uint8_t *run = runs + (size_t)(r / OPT_RUN_ROWS * OPT_RUN_ROWS) * row_bytes;
        opt_run_take(&spec, run, (int)(r % OPT_RUN_ROWS), 0, n_blocks, back);
        assert_memory_equal(back, w + (size_t)r * row_bytes, row_bytes);
    }
    float *values = normals(s->n_tokens * s->k, 6);
    act x = make_act(row->ref, values, s->n_tokens, s->k, (s->n_rows + s->k / 32) % 3 != 0);
    const int64_t ldy = s->n_rows + 3;
    float *y = exact(s->n_tokens * ldy, sizeof *y);
    float *expected = exact(s->n_tokens * ldy, sizeof *y);
    for (int64_t i = 0; i < s->n_tokens * ldy; i++) {
        y[i] = expected[i] = 7; /* what lies between the rows stays */
    }
    fn(&spec, runs, row_bytes, &x.view, y, ldy, s->n_rows, s->n_tokens, s->k);
    row->ref->linear_i8[row->kfmt](&spec, w, row_bytes, &x.view, expected, ldy, s->n_rows,
                                   s->n_tokens, s->k);
    assert_same_floats(y, expected, s->n_tokens * ldy, what);
    free(w);
    free(runs);
    free(back);
    free(values);
    free_act(&x);
    free(y);
    free(expected);
}

/** A scale that is infinite shows in the rows that have it, and in no other. */
static void check_infinite_scale(opt_kern_linear_run_fn *fn, const row_info *row,
                                 const opt_format *f) {
    enum { ROWS = 32, BAD = 19, D = 80, DMIN = 82 }; /* of a block of q2_k */
    static const int64_t n_tokens[] = {1, 3, 8, 20};
    const int64_t k = 2 * f->block_elems;
    const opt_kspec spec = opt_format_kspec(f);
    for (size_t i = 0; i < 2 * (sizeof n_tokens / sizeof *n_tokens); i++) {
        const int64_t n = n_tokens[i / 2];
        size_t row_bytes = 0;
        uint8_t *w = stored_rows(f, ROWS, k, &row_bytes);
        uint8_t *runs = exact(ROWS, row_bytes);
        memcpy(w + BAD * row_bytes + (i % 2 == 0 ? D : DMIN), (const uint8_t[2]){0, 0x7c}, 2);
        for (int r = 0; r < ROWS; r++) {
            opt_run_put(&spec, w + (size_t)r * row_bytes, r % OPT_RUN_ROWS, 2,
                        runs + (size_t)(r / OPT_RUN_ROWS * OPT_RUN_ROWS) * row_bytes);
        }
        float *values = normals(n * k, 6);
        act x = make_act(row->ref, values, n, k, true);
        float *y = exact(n * ROWS, sizeof *y);
        fn(&spec, runs, row_bytes, &x.view, y, ROWS, ROWS, n, k);
        for (int64_t at = 0; at < n * ROWS; at++) {
            assert_int_equal(isfinite(y[at]) != 0, at % ROWS != BAD);
        }
        row->ref->linear_i8[row->kfmt](&spec, w, row_bytes, &x.view, y, ROWS, ROWS, n, k);
        for (int64_t at = 0; at < n * ROWS; at++) {
            assert_int_equal(isfinite(y[at]) != 0, at % ROWS != BAD);
        }
        free(w);
        free(runs);
        free(values);
        free_act(&x);
        free(y);
    }
}

void check_linear_run(opt_kern_linear_run_fn *fn, const row_info *row) {
    static const int64_t n_blocks[] = {1, 2, 3, 15, 16, 17, 18, 33}; /* panels take 512 columns */
    static const int64_t n_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 20, 33};
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt != row->kfmt) {
            continue;
        }
        if (row->kfmt == OPT_KFMT_Q2_K) {
            check_infinite_scale(fn, row, opt_formats[f]);
        }
        for (size_t g = 0; g < sizeof n_blocks / sizeof *n_blocks; g++) {
            for (size_t t = 0; t < sizeof n_tokens / sizeof *n_tokens; t++) {
                if (opt_formats[f]->block_elems > 32 && g > 2 && (g + t + (size_t)f) % 4 != 0) {
                    continue; /* long rows take the reference long */
                }
                const shape s = {.n_rows = 16 * (int64_t)(1 + (g + t) % 4),
                                 .n_tokens = n_tokens[t],
                                 .k = opt_formats[f]->block_elems * n_blocks[g]};
                check_run_shape(fn, row, opt_formats[f], &s);
            }
        }
    }
}
