/*
 * Checks of decode and encode rows. References have their own tests against other implementations
 * (tests/unit); here a row must give the reference's bits for every format that it serves.
 */
#include "kern/test_kernels/checks.h"

#include "kern/parts.h"
#include "tensor/format.h"
#include "unit/format_cases.h"

/** Elements of number i of the run: whole blocks, or any number where the last block may be
 * partial. */
static int64_t elements(const opt_format *f, int64_t i) {
    const bool any = f->block_elems == 1 || f->flags & OPT_FORMAT_PARTIAL;
    return any ? i + 1 : (i % 9 + 1) * f->block_elems;
}

static void check_decode_of(opt_kern_decode_fn *fn, const row_info *row, const opt_format *f) {
    const opt_kspec spec = opt_format_kspec(f);
    for (int64_t i = 0; i < 80; i++) {
        const int64_t n = elements(f, i);
        size_t bytes = 0;
        assert_true(opt_format_row_bytes(f, n, &bytes));
        uint8_t *src = exact((int64_t)bytes, 1);
        float *dst = exact(n, sizeof *dst);
        float *expected = exact(n, sizeof *dst);
        test_random_bytes(f->name, src, bytes);
        fn(&spec, src, dst, n);
        row->ref->decode[row->kfmt](&spec, src, expected, n);
        assert_same_floats(dst, expected, n, row->name);
        free(src);
        free(dst);
        free(expected);
    }
}

void check_decode(opt_kern_decode_fn *fn, const row_info *row) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt == row->kfmt) {
            check_decode_of(fn, row, opt_formats[f]);
        }
    }
}

static void check_encode_of(opt_kern_encode_fn *fn, const row_info *row, const opt_format *f) {
    const opt_kspec spec = opt_format_kspec(f);
    for (int64_t i = 0; i < 80; i++) {
        const int64_t n = elements(f, i);
        size_t bytes = 0;
        assert_true(opt_format_row_bytes(f, n, &bytes));
        float *w = normals(n, (uint64_t)i);
        float *importance = normals(n, (uint64_t)i + 1000);
        for (int64_t j = 0; j < n; j++) {
            importance[j] *= importance[j];
        }
        uint8_t *dst = exact((int64_t)bytes, 1);
        uint8_t *expected = exact((int64_t)bytes, 1);
        fn(&spec, w, i % 2 ? importance : NULL, dst, n);
        row->ref->encode[row->kfmt](&spec, w, i % 2 ? importance : NULL, expected, n);
        assert_memory_equal(dst, expected, bytes);
        free(w);
        free(importance);
        free(dst);
        free(expected);
    }
}

void check_encode(opt_kern_encode_fn *fn, const row_info *row) {
    for (int f = 0; opt_formats[f] != NULL; f++) {
        if (opt_formats[f]->kfmt == row->kfmt) {
            check_encode_of(fn, row, opt_formats[f]);
        }
    }
}

/** One grid: n elements of a block from the first on, or element `first` of n blocks. */
static void check_round_of(opt_kern_round_parts_fn *fn, const row_info *row, const opt_format *f,
                           int64_t first, int64_t n, bool apart) {
    enum { STRIDE = sizeof(optk_part_params) / sizeof(float) };
    const opt_kspec spec = opt_format_kspec(f);
    const optk_parts *g = optk_parts_of(&spec);
    const int64_t n_blocks = apart ? n : 1;
    optk_part_params *params = exact(n_blocks, sizeof *params);
    float *weights = normals(g->block * n_blocks, (uint64_t)(first + n));
    float *x = normals(n, (uint64_t)n + 7), *values = exact(n, sizeof *values);
    float *expected = exact(n, sizeof *values);
    int32_t *codes = exact(n, sizeof *codes), *expected_codes = exact(n, sizeof *codes);
    for (int64_t b = 0; b < n_blocks; b++) {
        memset(weights + b * g->block, 0, b % 5 == 4 ? (size_t)g->block * sizeof *weights : 0);
        optk_parts_fit(&spec, weights + b * g->block, NULL, g->block, &params[b]);
    }
    x[n / 2] = n % 4 == 0 ? 0.0F : n % 4 == 1 ? 1e30F : n % 4 == 2 ? -1e30F : x[n / 2];
    fn(g, params, apart ? STRIDE : 0, first, x, n, codes, values);
    for (int64_t j = 0; j < n; j++) {
        expected_codes[j] = optk_parts_round(g, &params[apart ? j : 0], apart ? first : first + j,
                                             x[j], &expected[j]);
    }
    assert_same_floats(values, expected, n, row->name);
    assert_memory_equal(codes, expected_codes, (size_t)n * sizeof *codes);
    free(params);
    free(weights);
    free(x);
    free(values);
    free(expected);
    free(codes);
    free(expected_codes);
}

/** Every grid of parts: the bits of optk_parts_round, for pieces of a block and for many blocks. */
void check_round_parts(opt_kern_round_parts_fn *fn, const row_info *row) {
    int n_grids = 0;
    for (int f = 0; opt_formats[f] != NULL; f++) {
        const opt_kspec spec = opt_format_kspec(opt_formats[f]);
        if (optk_parts_of(&spec) == NULL) {
            continue;
        }
        const int64_t block = opt_formats[f]->block_elems;
        n_grids++;
        for (int64_t n = 1; n <= 37; n += 3) {
            const int64_t first = n * 7 % block;
            check_round_of(fn, row, opt_formats[f], first, n, true);
            check_round_of(fn, row, opt_formats[f], n == 37 ? 0 : first,
                           n == 37             ? block
                           : n < block - first ? n
                                               : block - first,
                           false);
        }
    }
    assert_true(n_grids >= 14);
}
