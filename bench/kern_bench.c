/*
 * Speed of every row of kernels.def on one thread, and its ratio to the reference row.
 *
 *   kern_bench [PART]     rows whose name contains PART, for example linear_i8 or __avx512
 *
 * Times are the least of several runs, in CPU time of the thread, so that other load disturbs
 * little. GOP/s counts two operations for a multiply-add; GB/s counts the weights of linear layers,
 * and what is read and written otherwise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "kern/half.h"
#include "kern/rows.h"
#include "kern/parts.h"
#include "kern/scalar.h"
#include "tensor/format.h"

/* A row that is measured, and the same slot of the reference table. */
typedef struct row_info {
    const char *name;
    opt_kfmt kfmt;
    const opt_kern *ref;
} row_info;

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/** Seconds of one call: the least of runs for 0.2 s, at least 3, of many calls where one is short.
 */
#define MEASURE(seconds, call)                                                                     \
    do {                                                                                           \
        (seconds) = INFINITY;                                                                      \
        double used = 0;                                                                           \
        int calls = 1;                                                                             \
        for (int run = 0; run < 3 || used < 0.2; run++) {                                          \
            const double start = now();                                                            \
            for (int i_call = 0; i_call < calls; i_call++) {                                       \
                call;                                                                              \
            }                                                                                      \
            const double took = now() - start;                                                     \
            used += took;                                                                          \
            (seconds) = took / calls < (seconds) ? took / calls : (seconds);                       \
            calls = run == 0 && took < 2e-5 ? 100 : calls;                                         \
        }                                                                                          \
    } while (0)

static void report(const row_info *row, const char *shape, double seconds, double ref_seconds,
                   double ops, double bytes) {
    printf("%-32s %-22s %10.1f us", row->name, shape, seconds * 1e6);
    if (ops > 0) {
        printf(" %8.1f GOP/s", ops / seconds * 1e-9);
    } else {
        printf(" %14s", "");
    }
    printf(" %7.2f GB/s", bytes / seconds * 1e-9);
    if (ref_seconds > 0) {
        printf(" %8.1f x ref", ref_seconds / seconds);
    }
    printf("\n");
}

/** n bytes, aligned and touched; the program ends when memory does. */
static void *bytes_of(size_t n, int fill) {
    void *p = aligned_alloc(64, (n + 127) / 64 * 64);
    if (p == NULL) {
        (void)fprintf(stderr, "out of memory\n");
        exit(5);
    }
    memset(p, fill, n);
    return p;
}

static float *floats_of(int64_t n) {
    float *x = bytes_of((size_t)n * sizeof *x, 0);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(i * 7919 % 1001 - 500) * 0.002f;
    }
    return x;
}

/* The linear layers of a 135M model: attention, feed-forward up and down, head. */
static const struct {
    int64_t n_rows;
    int64_t n_tokens;
    int64_t k;
} shapes[] = {{576, 512, 576}, {1536, 512, 576}, {576, 512, 1536}, {576, 1, 576},
              {1536, 1, 576},  {576, 1, 1536},   {576, 4, 576},    {49152, 1, 576}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

static void shape_text(char out[40], int i) {
    (void)snprintf(out, 40, "%lldx%lld, %lld tokens", (long long)shapes[i].n_rows,
                   (long long)shapes[i].k, (long long)shapes[i].n_tokens);
}

static double shape_ops(int i) {
    return 2.0 * (double)shapes[i].n_rows * (double)shapes[i].n_tokens * (double)shapes[i].k;
}

static void bench_linear_f32(opt_kern_linear_f32_fn *fn, const row_info *row) {
    for (int i = 0; i < N_SHAPES; i++) {
        const int64_t r = shapes[i].n_rows;
        const int64_t t = shapes[i].n_tokens;
        const int64_t k = shapes[i].k;
        float *w = floats_of(r * k);
        float *x = floats_of(t * k);
        float *y = floats_of(t * r);
        double seconds;
        double ref_seconds;
        char text[40];
        shape_text(text, i);
        MEASURE(seconds, fn(w, k, x, k, y, r, r, t, k));
        MEASURE(ref_seconds, row->ref->linear_f32(w, k, x, k, y, r, r, t, k));
        report(row, text, seconds, ref_seconds, shape_ops(i), (double)r * (double)k * 4);
        free(w);
        free(x);
        free(y);
    }
}

/* Products of the solvers: an update of a panel, a piece of a Gram matrix, of a factor. */
static const struct {
    int64_t n_rows, n_cols, k;
    bool transposed;
} products[] = {{64, 576, 128, false},  {64, 1536, 128, false}, {64, 64, 64, false},
                {576, 576, 576, false}, {48, 48, 512, true},    {64, 64, 64, true}};
#define N_PRODUCTS ((int)(sizeof products / sizeof *products))

#define BENCH_GEMM(slot, elem)                                                                     \
    static void bench_##slot(opt_kern_##slot##_fn *fn, const row_info *row) {                      \
        for (int i = 0; i < N_PRODUCTS; i++) {                                                     \
            const int64_t r = products[i].n_rows, c = products[i].n_cols, k = products[i].k;       \
            const int64_t a_row = products[i].transposed ? 1 : k;                                  \
            const int64_t a_col = products[i].transposed ? r : 1;                                  \
            elem *a = bytes_of((size_t)(r * k) * sizeof *a, 0x3c);                                 \
            elem *b = bytes_of((size_t)(k * c) * sizeof *b, 0x3c);                                 \
            elem *y = bytes_of((size_t)(r * c) * sizeof *y, 0);                                    \
            double seconds;                                                                        \
            double ref_seconds;                                                                    \
            char text[64];                                                                         \
            (void)snprintf(text, sizeof text, "%lldx%lldx%lld", (long long)r, (long long)c,        \
                           (long long)k);                                                          \
            MEASURE(seconds, fn(a, a_row, a_col, b, c, y, c, r, c, k));                            \
            MEASURE(ref_seconds, row->ref->slot(a, a_row, a_col, b, c, y, c, r, c, k));            \
            const double ops = 2.0 * (double)r * (double)c * (double)k;                            \
            report(row, text, seconds, ref_seconds, ops, (double)(k * c) * sizeof *b);             \
            free(a);                                                                               \
            free(b);                                                                               \
            free(y);                                                                               \
        }                                                                                          \
    }
BENCH_GEMM(gemm_add_f32, float)
BENCH_GEMM(gemm_sub_f64, double)

/** Linear layers, and a band of a Gram matrix (columns of the activations on both sides). */
static void bench_gemm_i16(opt_kern_gemm_i16_fn *fn, const row_info *row) {
    for (int i = 0; i < 4; i++) {
        const bool gram = i == 3;
        const int64_t r = gram ? 576 : shapes[i].n_tokens, c = gram ? 48 : shapes[i].n_rows;
        const int64_t k = gram ? 512 : shapes[i].k;
        int32_t *a = bytes_of((size_t)(r * k) * 2, 1);
        int32_t *b = bytes_of((size_t)(c * k) * 2, 1);
        float *scale = floats_of((r + c) * k / 64);
        float *y = floats_of(r * c);
        const opt_i16 rows =
            gram ? (opt_i16){a, 1, r, scale, 1, r} : (opt_i16){a, k / 2, 1, scale, k / 64, 1};
        const opt_i16 cols =
            gram ? (opt_i16){b, 1, c, scale, 1, c} : (opt_i16){b, k / 2, 1, scale, k / 64, 1};
        double seconds;
        double ref_seconds;
        char text[64];
        (void)snprintf(text, sizeof text, "%lldx%lldx%lld%s", (long long)r, (long long)c,
                       (long long)k, gram ? " columns" : "");
        MEASURE(seconds, fn(&rows, &cols, y, c, r, c, k));
        MEASURE(ref_seconds, row->ref->gemm_i16(&rows, &cols, y, c, r, c, k));
        report(row, text, seconds, ref_seconds, 2.0 * (double)r * (double)c * (double)k,
               2.0 * (double)(c * k));
        free(a);
        free(b);
        free(scale);
        free(y);
    }
}

static void bench_gemm_bf16(opt_kern_gemm_bf16_fn *fn, const row_info *row) {
    for (int i = 0; i < 3; i++) {
        const int64_t r = shapes[i].n_tokens, c = shapes[i].n_rows, k = shapes[i].k;
        int32_t *a = bytes_of((size_t)(r * k) * 2, 0x3c);
        int32_t *b = bytes_of((size_t)(c * k) * 2, 0x3c);
        float *y = floats_of(r * c);
        const opt_bf16 rows = {a, k / 2, 1}, cols = {b, k / 2, 1};
        double seconds;
        double ref_seconds;
        char text[64];
        (void)snprintf(text, sizeof text, "%lldx%lldx%lld", (long long)r, (long long)c,
                       (long long)k);
        MEASURE(seconds, fn(&rows, &cols, y, c, r, c, k));
        MEASURE(ref_seconds, row->ref->gemm_bf16(&rows, &cols, y, c, r, c, k));
        report(row, text, seconds, ref_seconds, 2.0 * (double)r * (double)c * (double)k,
               2.0 * (double)(c * k));
        free(a);
        free(b);
        free(y);
    }
}

static void bench_quantize_i16(opt_kern_quantize_i16_fn *fn, const row_info *row) {
    enum { N = 576 };
    float *x = floats_of(N);
    int32_t *q = bytes_of(N / 2 * sizeof *q, 0);
    float *scale = floats_of(N / 64);
    double seconds;
    double ref_seconds;
    MEASURE(seconds, fn(x, N, N, q, scale));
    MEASURE(ref_seconds, row->ref->quantize_i16(x, N, N, q, scale));
    report(row, "576", seconds, ref_seconds, 0, 6.0 * N);
    free(x);
    free(q);
    free(scale);
}

static void bench_quantize_i16_columns(opt_kern_quantize_i16_columns_fn *fn, const row_info *row) {
    enum { ROWS = 512, N = 48, LDX = 576 };
    float *x = floats_of(ROWS * LDX);
    int32_t *pairs = bytes_of(ROWS * N * 2, 0);
    float *scale = floats_of(ROWS / 64 * N);
    double seconds;
    double ref_seconds;
    MEASURE(seconds, fn(x, LDX, ROWS, N, pairs, scale, N));
    MEASURE(ref_seconds, row->ref->quantize_i16_columns(x, LDX, ROWS, N, pairs, scale, N));
    report(row, "48 columns of 512", seconds, ref_seconds, 0, 6.0 * ROWS * N);
    free(x);
    free(pairs);
    free(scale);
}

static void bench_add_rows(opt_kern_add_rows_fn *fn, const row_info *row) {
    enum { N = 576, TERMS = 16 };
    float *x = floats_of(N * TERMS);
    float *y = floats_of(N);
    int32_t idx[TERMS];
    double seconds;
    double ref_seconds;
    for (int i = 0; i < TERMS; i++) {
        idx[i] = TERMS - 1 - i;
    }
    MEASURE(seconds, fn(y, N, x, idx, TERMS, x, N));
    MEASURE(ref_seconds, row->ref->add_rows(y, N, x, idx, TERMS, x, N));
    report(row, "16 rows of 576", seconds, ref_seconds, 2.0 * N * TERMS, 4.0 * N * TERMS);
    free(x);
    free(y);
}

static void bench_round_scalar(opt_kern_round_scalar_fn *fn, const row_info *row) {
    enum { N = 4096, STRIDE = 36 };
    const opt_format *f = opt_format_by_name("int4_g64");
    const opt_kspec spec = opt_format_kspec(f);
    const optk_scalar g = optk_scalar_of(&spec);
    float *x = floats_of(N);
    float *params = floats_of(N * STRIDE);
    float *values = floats_of(N);
    int32_t *codes = bytes_of(N * sizeof *codes, 0);
    for (int stride = 0; stride <= STRIDE; stride += STRIDE) {
        double seconds;
        double ref_seconds;
        MEASURE(seconds, fn(&g, params, stride, x, N, codes, values));
        MEASURE(ref_seconds, row->ref->round_scalar(&g, params, stride, x, N, codes, values));
        report(row, stride == 0 ? "4096 of one grid" : "4096 of 4096 grids", seconds, ref_seconds,
               0, 12.0 * N);
    }
    free(x);
    free(params);
    free(values);
    free(codes);
}

static void bench_round_parts(opt_kern_round_parts_fn *fn, const row_info *row) {
    enum { N = 1024, STRIDE = sizeof(optk_part_params) / sizeof(float) };
    static const char *const names[] = {"iq4_nl", "q4_k"};
    optk_part_params *params = bytes_of(N * sizeof *params, 0);
    float *x = floats_of(N), *w = floats_of(256), *values = floats_of(N);
    int32_t *codes = bytes_of(N * sizeof *codes, 0);
    for (int i = 0; i < 2; i++) {
        const opt_kspec spec = opt_format_kspec(opt_format_by_name(names[i]));
        const optk_parts *g = optk_parts_of(&spec);
        double seconds;
        double ref_seconds;
        for (int b = 0; b < N; b++) {
            optk_parts_fit(&spec, w, NULL, g->block, &params[b]);
        }
        MEASURE(seconds, fn(g, params, STRIDE, 5, x, N, codes, values));
        MEASURE(ref_seconds, row->ref->round_parts(g, params, STRIDE, 5, x, N, codes, values));
        report(row, names[i], seconds, ref_seconds, 0, 12.0 * N);
    }
    free(params);
    free(x);
    free(w);
    free(values);
    free(codes);
}

/** First format that a kfmt's kernels serve. */
static const opt_format *format_of(opt_kfmt kfmt) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt == kfmt) {
            return opt_formats[f];
        }
    }
    (void)fprintf(stderr, "a row of a format that has no entry in formats.def\n");
    exit(70);
}

/** Stored rows with finite scales: all bytes 0x2c is about 0.06 as a half. */
static uint8_t *stored_rows(const opt_format *f, int i, size_t *row_bytes) {
    size_t bytes = 0;
    if (!opt_format_row_bytes(f, shapes[i].k, row_bytes) ||
        !opt_format_bytes(f, shapes[i].n_rows, shapes[i].k, &bytes)) {
        (void)fprintf(stderr, "%s does not fit a bench shape\n", f->name);
        exit(70);
    }
    return bytes_of(bytes, 0x2c);
}

/* The reference's time is that of linear_f32 on decoded rows, its decoding not counted. */
static void bench_linear_direct(opt_kern_linear_direct_fn *fn, const row_info *row) {
    const opt_format *f = format_of(row->kfmt);
    const opt_kspec spec = opt_format_kspec(f);
    for (int i = 0; i < N_SHAPES; i++) {
        const int64_t r = shapes[i].n_rows;
        const int64_t t = shapes[i].n_tokens;
        const int64_t k = shapes[i].k;
        size_t row_bytes = 0;
        uint8_t *w = stored_rows(f, i, &row_bytes);
        float *x = floats_of(t * k);
        float *y = floats_of(t * r);
        double seconds;
        char text[40];
        shape_text(text, i);
        MEASURE(seconds, fn(&spec, w, row_bytes, x, k, y, r, r, t, k));
        report(row, text, seconds, 0, shape_ops(i), (double)r * (double)row_bytes);
        free(w);
        free(x);
        free(y);
    }
}

static void bench_int8(opt_kern_linear_i8_fn *fn, opt_kern_linear_i8_fn *ref, const row_info *row) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt != row->kfmt) {
            continue;
        }
        const opt_kspec spec = opt_format_kspec(opt_formats[f]);
        for (int i = 0; i < N_SHAPES; i++) {
            const int64_t r = shapes[i].n_rows;
            const int64_t t = shapes[i].n_tokens;
            const int64_t k = shapes[i].k;
            if (!opt_format_fits(opt_formats[f], k)) {
                continue;
            }
            size_t row_bytes = 0;
            uint8_t *w = stored_rows(opt_formats[f], i, &row_bytes);
            float *values = floats_of(t * k);
            int8_t *q = bytes_of((size_t)(t * k), 0);
            float *scale = floats_of(t * k / 32);
            float *scaled_sum = floats_of(t * k / 32);
            int16_t *sum4 = bytes_of((size_t)(t * k) / 2, 0);
            float *y = floats_of(t * r);
            for (int64_t a = 0; a < t; a++) {
                row->ref->quantize_act(values + a * k, k, k, q + a * k, scale + a * k / 32,
                                       sum4 + a * k / 4, scaled_sum + a * k / 32);
            }
            const opt_act_i8 x = {
                .q = q, .scale = scale, .sum4 = sum4, .scaled_sum = scaled_sum, .n_padded = k};
            double seconds;
            double ref_seconds = 0;
            char text[40];
            char name[64];
            shape_text(text, i);
            MEASURE(seconds, fn(&spec, w, row_bytes, &x, y, r, r, t, k));
            if (t == 1) { /* many tokens take the reference as long for each */
                MEASURE(ref_seconds, ref(&spec, w, row_bytes, &x, y, r, r, t, k));
            }
            (void)snprintf(name, sizeof name, "%s %s", row->name,
                           row->kfmt == OPT_KFMT_INT ? opt_formats[f]->name : "");
            const row_info named = {name, row->kfmt, row->ref};
            report(&named, text, seconds, ref_seconds, shape_ops(i), (double)r * (double)row_bytes);
            free(w);
            free(values);
            free(q);
            free(scale);
            free(scaled_sum);
            free(sum4);
            free(y);
        }
    }
}

static void bench_linear_i8(opt_kern_linear_i8_fn *fn, const row_info *row) {
    bench_int8(fn, row->ref->linear_i8[row->kfmt], row);
}

/* All bytes are the same, so that runs of rows are what rows are. */
static void bench_linear_run(opt_kern_linear_run_fn *fn, const row_info *row) {
    bench_int8(fn, row->ref->linear_run[row->kfmt], row);
}

/* Element-wise slots: rows of the width that a 135M model has, and one of a vocabulary. */
#define N_WIDTHS 3
static const int64_t widths[N_WIDTHS] = {576, 1536, 49152};

/** Runs `call_fn` and `call_ref` for every width; x, z are inputs and y the output, n the width. */
#define BENCH_WIDTHS(row, bytes_per_element, call_fn, call_ref)                                    \
    do {                                                                                           \
        for (int i = 0; i < N_WIDTHS; i++) {                                                       \
            const int64_t n = widths[i];                                                           \
            float *x = floats_of(n);                                                               \
            float *z = floats_of(n);                                                               \
            float *y = floats_of(2 * n);                                                           \
            double seconds;                                                                        \
            double ref_seconds;                                                                    \
            char text[40];                                                                         \
            (void)snprintf(text, sizeof text, "%lld", (long long)n);                               \
            MEASURE(seconds, call_fn);                                                             \
            MEASURE(ref_seconds, call_ref);                                                        \
            report((row), text, seconds, ref_seconds, 0, (double)n *(bytes_per_element));          \
            free(x);                                                                               \
            free(z);                                                                               \
            free(y);                                                                               \
        }                                                                                          \
    } while (0)

static void bench_quantize_act(opt_kern_quantize_act_fn *fn, const row_info *row) {
    int8_t *q = bytes_of(49152, 0);
    int16_t *sum4 = bytes_of(49152, 0);
    BENCH_WIDTHS(row, 5, fn(x, n, n, q, z, sum4, y),
                 row->ref->quantize_act(x, n, n, q, z, sum4, y));
    free(q);
    free(sum4);
}

static void bench_rms_norm(opt_kern_rms_norm_fn *fn, const row_info *row) {
    BENCH_WIDTHS(row, 12, fn(x, z, y, n, 1e-5f), row->ref->rms_norm(x, z, y, n, 1e-5f));
}

static void bench_rope(opt_kern_rope_fn *fn, const row_info *row) {
    float *one = floats_of(49152); /* by an angle of 0, so that no number vanishes in many turns */
    for (int i = 0; i < 49152; i++) {
        one[i] = 1;
    }
    float *zero = bytes_of(49152 * sizeof *zero, 0);
    BENCH_WIDTHS(row, 12, fn(y, one, zero, n, true), row->ref->rope(y, one, zero, n, true));
    BENCH_WIDTHS(row, 12, fn(y, one, zero, n, false), row->ref->rope(y, one, zero, n, false));
    free(one);
    free(zero);
}

static void bench_swiglu(opt_kern_swiglu_fn *fn, const row_info *row) {
    BENCH_WIDTHS(row, 12, fn(x, z, y, n), row->ref->swiglu(x, z, y, n));
}

static void bench_swiglu_grad(opt_kern_swiglu_grad_fn *fn, const row_info *row) {
    BENCH_WIDTHS(row, 28, fn(x, z, x, y, y + n, n), row->ref->swiglu_grad(x, z, x, y, y + n, n));
}

static void bench_softmax(opt_kern_softmax_fn *fn, const row_info *row) {
    BENCH_WIDTHS(row, 8, fn(x, n, 1.0F), row->ref->softmax(x, n, 1.0F));
}

static void bench_add(opt_kern_add_fn *fn, const row_info *row) {
    BENCH_WIDTHS(row, 12, fn(y, x, n), row->ref->add(y, x, n));
}

static void bench_f32_to_f16(opt_kern_f32_to_f16_fn *fn, const row_info *row) {
    uint16_t *h = bytes_of(2 * 49152, 0);
    BENCH_WIDTHS(row, 6, fn(x, h, n), row->ref->f32_to_f16(x, h, n));
    free(h);
}

static void bench_sum_words(opt_kern_sum_words_fn *fn, const row_info *row) {
    enum { N = 1 << 23 };
    uint64_t *x = bytes_of(8 * (int64_t)N, 1);
    double seconds, ref_seconds;
    MEASURE(seconds, (void)fn(x, N));
    MEASURE(ref_seconds, (void)row->ref->sum_words(x, N));
    report(row, "64 MiB", seconds, ref_seconds, N, 8.0 * N);
    free(x);
}

static void bench_peak_i8(opt_kern_peak_i8_fn *fn, const row_info *row) {
    uint8_t u[64] = {1};
    int8_t s[64] = {1};
    double seconds, ref_seconds;
    MEASURE(seconds, (void)fn(u, s, 1000));
    MEASURE(ref_seconds, (void)row->ref->peak_i8(u, s, 1000));
    report(row, "registers", seconds, ref_seconds, 1000.0 * OPT_PEAK_DOTS * 128, 0);
}

static void bench_logsumexp(opt_kern_logsumexp_fn *fn, const row_info *row) {
    int64_t best;
    BENCH_WIDTHS(row, 4, (void)fn(x, n, &best), (void)row->ref->logsumexp(x, n, &best));
}

static void bench_add_errors(opt_kern_add_errors_fn *fn, const row_info *row) {
    double err = 0;
    double ref = 0;
    BENCH_WIDTHS(row, 8, fn(x, z, n, &err, &ref), row->ref->add_errors(x, z, n, &err, &ref));
}

/* One head of 64 elements, one token or 16 of them. One of the functions is not NULL. */
static void bench_attend(opt_kern_attend_f32_fn *f32, opt_kern_attend_f16_fn *f16,
                         opt_kern_attend_i8_fn *i8, const row_info *row) {
    static const struct {
        int64_t n;
        int64_t n_keys;
    } runs[] = {{1, 32}, {1, 512}, {1, 2048}, {16, 512}};
    const int64_t d = 64;
    for (int i = 0; i < 4; i++) {
        const int64_t n = runs[i].n;
        const int64_t n_keys = runs[i].n_keys;
        float *q = floats_of(n * d);
        float *k = floats_of(n_keys * d);
        uint16_t *k16 = bytes_of((size_t)(n_keys * d) * 2, 0x2c);
        const opt_rows_i8 rows = {(const int8_t *)k16, d, k};
        float *scores = floats_of(OPT_ATTEND_QUERIES * n_keys);
        float *out = floats_of(n * d);
        const opt_queries s = {.n = n,
                               .q = q,
                               .out = out,
                               .q_stride = d,
                               .out_stride = d,
                               .n_keys = n_keys,
                               .scores = scores};
        double seconds;
        double ref_seconds;
        char text[40];
        (void)snprintf(text, sizeof text, "d 64, %lld queries x %lld", (long long)n,
                       (long long)n_keys);
        if (f32 != NULL) {
            MEASURE(seconds, f32(&s, k, d, k, d, d, d, 0.125f));
            MEASURE(ref_seconds, row->ref->attend_f32(&s, k, d, k, d, d, d, 0.125f));
        } else if (i8 != NULL) {
            MEASURE(seconds, i8(&s, &rows, &rows, d, d, 0.125f));
            MEASURE(ref_seconds, row->ref->attend_i8(&s, &rows, &rows, d, d, 0.125f));
        } else {
            MEASURE(seconds, f16(&s, k16, d, k16, d, d, d, 0.125f));
            MEASURE(ref_seconds, row->ref->attend_f16(&s, k16, d, k16, d, d, d, 0.125f));
        }
        const double elements = 2.0 * (double)n_keys * (double)d;
        report(row, text, seconds, ref_seconds, 2 * elements * (double)n,
               elements * (f32 != NULL  ? 4
                           : i8 != NULL ? 1
                                        : 2));
        free(q);
        free(k);
        free(k16);
        free(scores);
        free(out);
    }
}

static void bench_attend_f32(opt_kern_attend_f32_fn *fn, const row_info *row) {
    bench_attend(fn, NULL, NULL, row);
}
static void bench_attend_f16(opt_kern_attend_f16_fn *fn, const row_info *row) {
    bench_attend(NULL, fn, NULL, row);
}
static void bench_attend_i8(opt_kern_attend_i8_fn *fn, const row_info *row) {
    bench_attend(NULL, NULL, fn, row);
}

static void bench_quantize_row(opt_kern_quantize_row_fn *fn, const row_info *row) {
    float scale;
    int8_t *q = bytes_of(49152, 0);
    BENCH_WIDTHS(row, 5, fn(x, n, q, &scale), row->ref->quantize_row(x, n, q, &scale));
    free(q);
}

static void bench_decode(opt_kern_decode_fn *fn, const row_info *row) {
    const opt_format *f = format_of(row->kfmt);
    const opt_kspec spec = opt_format_kspec(f);
    const int64_t n = 49152;
    size_t bytes = 0;
    if (!opt_format_row_bytes(f, n, &bytes)) {
        return;
    }
    uint8_t *src = bytes_of(bytes, 0x2c);
    float *dst = floats_of(n);
    double seconds;
    double ref_seconds;
    MEASURE(seconds, fn(&spec, src, dst, n));
    MEASURE(ref_seconds, row->ref->decode[row->kfmt](&spec, src, dst, n));
    report(row, "49152", seconds, ref_seconds, 0, (double)bytes + 4 * (double)n);
    free(src);
    free(dst);
}

static inline void bench_encode(opt_kern_encode_fn *fn, const row_info *row) {
    const opt_format *f = format_of(row->kfmt);
    const opt_kspec spec = opt_format_kspec(f);
    const int64_t n = 49152;
    size_t bytes = 0;
    if (!opt_format_row_bytes(f, n, &bytes)) {
        return;
    }
    float *w = floats_of(n);
    uint8_t *dst = bytes_of(bytes, 0);
    double seconds;
    double ref_seconds;
    MEASURE(seconds, fn(&spec, w, NULL, dst, n));
    MEASURE(ref_seconds, row->ref->encode[row->kfmt](&spec, w, NULL, dst, n));
    report(row, "49152", seconds, ref_seconds, 0, (double)bytes + 4 * (double)n);
    free(w);
    free(dst);
}

/** Whether the machine runs a row, and the user asked for it. */
static bool wanted(const char *name, const char *part, const opt_cpu *cpu, opt_isa level,
                   unsigned needs) {
    return cpu->isa >= level && (cpu->features & needs) == needs && strstr(name, part) != NULL;
}

// NOLINTNEXTLINE(readability-function-size): one statement a row of kernels.def
int main(int argc, char **argv) {
    const char *part = argc > 1 ? argv[1] : "";
    opt_cpu cpu;
    if (!opt_cpu_detect(&cpu)) {
        (void)fprintf(stderr, "unknown value of OPT_ISA\n");
        return 2;
    }
    opt_kern ref;
    opt_kern_fill(&ref, OPT_ISA_REF, 0);
    printf("# %s, level %s, one thread\n", cpu.model, opt_isa_name(cpu.isa));
#define OPT_KERN(slot, suffix, level, needs)                                                       \
    if (wanted(#slot "__" #suffix, part, &cpu, OPT_ISA_##level, (unsigned)(needs))) {              \
        const row_info row = {#slot "__" #suffix, OPT_KFMT_COUNT, &ref};                           \
        bench_##slot(optk_##slot##__##suffix, &row);                                               \
    }
#define OPT_KERN_FMT(slot, kfmt, name, suffix, level, needs)                                       \
    if (wanted(#slot "_" #name "__" #suffix, part, &cpu, OPT_ISA_##level, (unsigned)(needs))) {    \
        const row_info row = {#slot "_" #name "__" #suffix, OPT_KFMT_##kfmt, &ref};                \
        bench_##slot(optk_##slot##_##name##__##suffix, &row);                                      \
    }
#include "kern/kernels.def"
    return 0;
}
