/* Checks of the matrix products and of rounding to scalar grids. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#include "base/num.h"
#include "kern/scalar.h"
#include "tensor/format.h"

#define N_OF(array) ((int64_t)(sizeof(array) / sizeof *(array)))

/** Around every edge of the tiles: 1, 4 and 8 rows, vectors of 4, 8 and 16, bands of 12, 24 and 48
 * columns, 64 rows and 128 steps that are packed together. */
static const int64_t row_counts[] = {1, 3, 4, 5, 7, 8, 9, 16, 63, 64, 65};
static const int64_t col_counts[] = {1,  3,  4,  5,  8,  11, 12, 13, 16, 17,
                                     24, 25, 31, 33, 47, 48, 49, 64, 100};
static const int64_t steps[] = {0, 1, 2, 17, 127, 128, 129, 300};

typedef struct product {
    int64_t n_rows, n_cols, k;
    int64_t a_row, a_col, n_a; /* either may be 1 */
    int64_t ldb, ldy;
} product;

static product pick(int64_t i) {
    product p = {.n_rows = row_counts[i * 5 % N_OF(row_counts)],
                 .n_cols = col_counts[i * 3 % N_OF(col_counts)],
                 .k = steps[i % N_OF(steps)]};
    const int64_t gap = i % 3;
    p.ldb = p.n_cols + gap;
    p.ldy = p.n_cols + gap;
    const bool transposed = i / 2 % 2 == 1;
    p.a_row = transposed ? 1 : p.k + gap;
    p.a_col = transposed ? p.n_rows + gap : 1;
    p.n_a = p.k == 0 ? 1 : (p.n_rows - 1) * p.a_row + (p.k - 1) * p.a_col + 1;
    return p;
}

#define N_PICKS 120

static int64_t extent(int64_t n, int64_t stride, int64_t width) {
    return n == 0 ? 1 : (n - 1) * stride + width;
}

static void within_bound(const product *p, const float *a, const float *b, const float *y0,
                         const float *y, const float *expected, const char *what) {
    for (int64_t r = 0; r < p->n_rows; r++) {
        for (int64_t c = 0; c < p->n_cols; c++) {
            double size = fabs((double)y0[r * p->ldy + c]);
            for (int64_t i = 0; i < p->k; i++) {
                size += fabs((double)a[r * p->a_row + i * p->a_col] * (double)b[i * p->ldb + c]);
            }
            const int64_t at = r * p->ldy + c;
            const double bound = size * ((double)p->k + 1) * 0x1p-24;
            assert_close((double)y[at], (double)expected[at], bound, what, at);
        }
    }
}

/** One output in two calls gives the bits that all of them together gave. */
static void same_alone(opt_kern_gemm_add_f32_fn *fn, const product *p, const float *a,
                       const float *b, const float *y0, const float *y, const char *what) {
    for (int64_t i = 0; i < p->n_rows * p->n_cols; i += 7) {
        const int64_t r = i / p->n_cols, c = i % p->n_cols, half = p->k / 2;
        float one = y0[r * p->ldy + c];
        const float *ar = a + r * p->a_row;
        fn(ar, p->a_row, p->a_col, b + c, p->ldb, &one, 1, 1, 1, half);
        fn(ar + half * p->a_col, p->a_row, p->a_col, b + half * p->ldb + c, p->ldb, &one, 1, 1, 1,
           p->k - half);
        assert_same_floats(&one, &y[r * p->ldy + c], 1, what);
    }
}

void check_gemm_add_f32(opt_kern_gemm_add_f32_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 2 * N_PICKS; i++) {
        const product p = pick(i / 2);
        const bool exact_data = i % 2 == 0;
        char what[160];
        (void)snprintf(what, sizeof what, "%s: %lld x %lld x %lld", row->name, (long long)p.n_rows,
                       (long long)p.n_cols, (long long)p.k);
        const int64_t nb = extent(p.k, p.ldb, p.n_cols), ny = extent(p.n_rows, p.ldy, p.n_cols);
        float *a = exact_data ? integers(p.n_a, 8, 1) : normals(p.n_a, 1);
        float *b = exact_data ? integers(nb, 8, 2) : normals(nb, 2);
        float *y0 = exact_data ? integers(ny, 100, 3) : normals(ny, 3);
        float *y = copy_floats(y0, ny), *expected = copy_floats(y0, ny);
        fn(a, p.a_row, p.a_col, b, p.ldb, y, p.ldy, p.n_rows, p.n_cols, p.k);
        row->ref->gemm_add_f32(a, p.a_row, p.a_col, b, p.ldb, expected, p.ldy, p.n_rows, p.n_cols,
                               p.k);
        if (exact_data) {
            assert_same_floats(y, expected, ny, what);
        } else {
            within_bound(&p, a, b, y0, y, expected, what);
            if (fn != row->ref->gemm_add_f32) { /* that one rounds once a call */
                same_alone(fn, &p, a, b, y0, y, what);
            }
        }
        free(a);
        free(b);
        free(y0);
        free(y);
        free(expected);
    }
}

static double *doubles(int64_t n, bool exact_data, uint64_t seed) {
    float *from = exact_data ? integers(n, 8, seed) : normals(n, seed);
    double *to = exact(n, sizeof *to);
    for (int64_t i = 0; i < n; i++) {
        to[i] = (double)from[i];
    }
    free(from);
    return to;
}

void check_gemm_sub_f64(opt_kern_gemm_sub_f64_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 2 * N_PICKS; i++) {
        const product p = pick(i / 2);
        const bool exact_data = i % 2 == 0;
        const int64_t nb = extent(p.k, p.ldb, p.n_cols), ny = extent(p.n_rows, p.ldy, p.n_cols);
        double *a = doubles(p.n_a, exact_data, 1), *b = doubles(nb, exact_data, 2);
        double *y = doubles(ny, exact_data, 3), *expected = doubles(ny, exact_data, 3);
        fn(a, p.a_row, p.a_col, b, p.ldb, y, p.ldy, p.n_rows, p.n_cols, p.k);
        row->ref->gemm_sub_f64(a, p.a_row, p.a_col, b, p.ldb, expected, p.ldy, p.n_rows, p.n_cols,
                               p.k);
        for (int64_t at = 0; at < ny; at++) { /* the factors are below 6 */
            const double bound = exact_data ? 0.0 : 36.0 * (double)(p.k * (p.k + 1)) * 0x1p-53;
            assert_close(y[at], expected[at], bound, row->name, at);
        }
        free(a);
        free(b);
        free(y);
        free(expected);
    }
}

void check_add_rows(opt_kern_add_rows_fn *fn, const row_info *row) {
    for (int64_t i = 0; i < 2 * N_PICKS; i++) {
        const int64_t n = i < 140 ? i + 1 : 576 + i, n_terms = i % 11, n_x = 13;
        const int64_t ldx = n + i % 3;
        float *a = i % 2 == 0 ? integers(12, 8, 1) : normals(12, 1);
        float *x =
            i % 2 == 0 ? integers(extent(n_x, ldx, n), 8, 2) : normals(extent(n_x, ldx, n), 2);
        float *y = integers(n, 50, 3), *expected = copy_floats(y, n);
        int32_t idx[12];
        for (int t = 0; t < 12; t++) {
            idx[t] = (int32_t)((t * 5 + i) % n_x);
        }
        fn(y, n, a, idx, n_terms, x, ldx);
        row->ref->add_rows(expected, n, a, idx, n_terms, x, ldx);
        for (int64_t c = 0; c < n; c++) {
            const double bound = i % 2 == 0 ? 0.0 : 500.0 * 0x1p-24 * (double)(n_terms + 1);
            assert_close((double)y[c], (double)expected[c], bound, row->name, c);
        }
        free(a);
        free(x);
        free(y);
        free(expected);
    }
}

/** Every scalar grid, parameters side by side, apart and shared: the bits of the reference. */
void check_round_scalar(opt_kern_round_scalar_fn *fn, const row_info *row) {
    int n_grids = 0;
    for (int f = 0; opt_formats[f] != NULL; f++) {
        const opt_kfmt kfmt = opt_formats[f]->kfmt;
        if (kfmt != OPT_KFMT_INT && kfmt != OPT_KFMT_Q4_0 && kfmt != OPT_KFMT_Q4_1 &&
            kfmt != OPT_KFMT_Q5_0 && kfmt != OPT_KFMT_Q5_1 && kfmt != OPT_KFMT_Q8_0) {
            continue;
        }
        const opt_kspec spec = opt_format_kspec(opt_formats[f]);
        const optk_scalar g = optk_scalar_of(&spec);
        n_grids++;
        for (int64_t i = 0; i < 100; i++) {
            const int64_t n = i + 1, stride = i % 3 == 0 ? 0 : i % 3 == 1 ? 3 : 11;
            float *params = exact((n - 1) * stride + 3, sizeof *params);
            float *weights = normals(32 * n, (uint64_t)i);
            float *x = normals(n, (uint64_t)i + 7);
            for (int64_t j = 0; j < (stride == 0 ? 1 : n); j++) {
                const optk_scalar_params p = optk_scalar_fit(&g, weights + 32 * j, NULL, 32);
                params[j * stride] = i == 5 ? 0.0F : p.d;
                params[j * stride + 1] = p.offset;
                params[j * stride + 2] = i == 5 ? 0.0F : p.inv;
            }
            x[n / 2] = i % 4 == 0 ? 0.0F : i % 4 == 1 ? 1e30F : i % 4 == 2 ? -1e30F : x[n / 2];
            int32_t *codes = exact(n, sizeof *codes), *expected_codes = exact(n, sizeof *codes);
            float *values = exact(n, sizeof *values), *expected = exact(n, sizeof *values);
            fn(&g, params, stride, x, n, codes, values);
            for (int64_t j = 0; j < n; j++) {
                const float *from = params + j * stride;
                const optk_scalar_params p = {from[0], from[1], from[2]};
                expected_codes[j] = optk_scalar_round(&g, &p, x[j], &expected[j]);
            }
            assert_same_floats(values, expected, n, row->name);
            assert_memory_equal(codes, expected_codes, (size_t)n * sizeof *codes);
            free(params);
            free(weights);
            free(x);
            free(codes);
            free(expected_codes);
            free(values);
            free(expected);
        }
    }
    assert_true(n_grids > 20);
}
