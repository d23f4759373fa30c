#include "tensor/rows.h"

#include <string.h>

#include "base/num.h"

static int lower(int c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

static bool same_name(const char *a, const char *b) {
    while (*a != 0 && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

const opt_format *opt_format_by_name(const char *name) {
    for (const opt_format *const *f = opt_formats; *f != NULL; f++) {
        if (same_name((*f)->name, name)) {
            return *f;
        }
    }
    return NULL;
}

const opt_format *opt_format_by_ggml(int64_t ggml_type) {
    for (const opt_format *const *f = opt_formats; *f != NULL; f++) {
        if ((*f)->ggml_type >= 0 && (*f)->ggml_type == ggml_type) {
            return *f;
        }
    }
    return NULL;
}

const opt_format *opt_format_by_st_dtype(const char *dtype) {
    for (const opt_format *const *f = opt_formats; *f != NULL; f++) {
        if ((*f)->st_dtype != NULL && strcmp((*f)->st_dtype, dtype) == 0) {
            return *f;
        }
    }
    return NULL;
}

bool opt_format_fits(const opt_format *f, int64_t n_cols) {
    return n_cols >= 0 && ((f->flags & OPT_FORMAT_PARTIAL) != 0 || n_cols % f->block_elems == 0);
}

bool opt_format_row_bytes(const opt_format *f, int64_t n_cols, size_t *out) {
    return opt_format_fits(f, n_cols) &&
           opt_mul_size((size_t)opt_ceil_div(n_cols, f->block_elems), f->block_bytes, out);
}

bool opt_format_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols, size_t *out) {
    size_t row_bytes;
    return n_rows >= 0 && opt_format_row_bytes(f, n_cols, &row_bytes) &&
           opt_mul_size((size_t)n_rows, row_bytes, out);
}

double opt_format_bpw(const opt_format *f) {
    return 8.0 * (double)f->block_bytes / (double)f->block_elems;
}

int64_t opt_format_part_elems(const opt_format *f) {
    return f->part_elems > 0 ? f->part_elems : f->block_elems;
}

void opt_grid_round_many(const opt_format *f, const opt_kern *k, const void *params, size_t stride,
                         int64_t i, int64_t n, const float *w, int32_t *codes, float *values) {
    const uint8_t *p = params;
    if (f->grid->round_many != NULL) {
        f->grid->round_many(f, k, params, stride, i, n, w, codes, values);
        return;
    }
    for (int64_t j = 0; j < n; j++, p += stride) {
        f->grid->round(f, p, stride == 0 ? i + j : i, &w[j], &codes[j], &values[j]);
    }
}

opt_kspec opt_format_kspec(const opt_format *f) {
    return (opt_kspec){.kfmt = f->kfmt,
                       .bits = f->bits,
                       .group = (int)f->block_elems,
                       .symmetric = f->symmetric,
                       .block_bytes = f->block_bytes};
}

void opt_format_decode_slot(const opt_format *f, const opt_kern *k, const void *src, float *dst,
                            int64_t n) {
    const opt_kspec spec = opt_format_kspec(f);
    k->decode[f->kfmt](&spec, src, dst, n);
}

void opt_format_encode_slot(const opt_format *f, const opt_kern *k, const float *w,
                            const float *importance, void *dst, int64_t n) {
    const opt_kspec spec = opt_format_kspec(f);
    k->encode[f->kfmt](&spec, w, importance, dst, n);
}

void opt_format_encode_rows(const opt_format *f, const opt_kern *k, const float *w,
                            const float *importance, void *dst, int64_t n_rows, int64_t n_cols) {
    if (f->encode == opt_format_encode_slot) {
        opt_kspec spec = opt_format_kspec(f);
        spec.n_cols = n_cols;
        k->encode[f->kfmt](&spec, w, importance, dst, n_rows * n_cols);
        return;
    }
    const size_t row_bytes = (size_t)opt_ceil_div(n_cols, f->block_elems) * f->block_bytes;
    for (int64_t r = 0; r < n_rows; r++) {
        f->encode(f, k, w + r * n_cols, importance, (uint8_t *)dst + (size_t)r * row_bytes, n_cols);
    }
}

int64_t opt_format_find_bad(const opt_format *f, const float *w, int64_t n) {
    /* As integers, magnitudes compare like numbers and a NaN is above them all. Few pieces hold a
     * bad element, so a piece is first tested as a whole, without branches. */
    enum { PIECE = 4096 };
    uint32_t limit;
    memcpy(&limit, &f->max_abs, sizeof limit);
    for (int64_t start = 0; start < n; start += PIECE) {
        const int64_t end = opt_min_i64(n, start + PIECE);
        uint32_t over = 0;
        for (int64_t i = start; i < end; i++) {
            uint32_t bits;
            memcpy(&bits, &w[i], sizeof bits);
            over |= limit - (bits & 0x7fffffff); /* the top bit tells: both are below 2^31 */
        }
        for (int64_t i = start; over >> 31 != 0 && i < end; i++) {
            uint32_t bits;
            memcpy(&bits, &w[i], sizeof bits);
            if ((bits & 0x7fffffff) > limit) {
                return i;
            }
        }
    }
    return -1;
}
