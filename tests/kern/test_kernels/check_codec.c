/*
 * Checks of decode and encode rows. References have their own tests against other implementations
 * (tests/unit); here a row must give the reference's bits for every format that it serves.
 */
#include "kern/test_kernels/checks.h"

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
