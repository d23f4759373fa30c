#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

int64_t opt_tensor_n_cols(const opt_tensor *t) {
    return t->n_dims == 0 ? 1 : t->dims[t->n_dims - 1];
}

int64_t opt_tensor_n_rows(const opt_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->n_dims - 1; i++) {
        n *= t->dims[i];
    }
    return n;
}

int64_t opt_tensor_n_elems(const opt_tensor *t) {
    return opt_tensor_n_rows(t) * opt_tensor_n_cols(t);
}

/** Stored bytes of a row; the shape was checked when the tensor was made. */
static size_t row_bytes(const opt_tensor *t) {
    return (size_t)opt_ceil_div(opt_tensor_n_cols(t), t->format->block_elems) *
           t->format->block_bytes;
}

const uint8_t *opt_tensor_row(const opt_tensor *t, int64_t row) {
    return t->data + (size_t)row * row_bytes(t);
}

#define RUN_SUFFIX "_r16"

/* Names of all formats with rows together, those that cannot included. */
static const char *const run_names[] = {
#define OPT_FORMAT(name) #name RUN_SUFFIX,
#include "tensor/formats.def"
};

enum { N_RUN_NAMES = sizeof run_names / sizeof *run_names, RUN_BYTES = 1024 };

_Static_assert(RUN_BYTES >= OPT_RUN_BLOCK_BYTES, "a block of any format");

/* Whether `name` is that of the format with rows together. */
static bool is_run_name(const char *name, const opt_format *format) {
    const size_t n = strlen(format->name);
    return strncmp(name, format->name, n) == 0 && strcmp(name + n, RUN_SUFFIX) == 0;
}

bool opt_tensor_can_run(const opt_format *format, int64_t n_rows, int64_t n_cols) {
    return opt_run_has(format->kfmt) && n_rows > 0 && n_rows % OPT_RUN_ROWS == 0 &&
           n_cols % format->block_elems == 0;
}

const char *opt_tensor_format_name(const opt_tensor *t) {
    for (int i = 0; t->runs && i < N_RUN_NAMES; i++) {
        if (is_run_name(run_names[i], t->format)) {
            return run_names[i];
        }
    }
    return t->format->name;
}

const opt_format *opt_tensor_format_by_name(const char *name, bool *runs) {
    for (int i = 0; opt_formats[i] != NULL; i++) {
        if (opt_run_has(opt_formats[i]->kfmt) && is_run_name(name, opt_formats[i])) {
            *runs = true;
            return opt_formats[i];
        }
    }
    *runs = false;
    return opt_format_by_name(name);
}

void opt_tensor_take_row(const opt_tensor *t, int64_t row, int64_t first, int64_t n, uint8_t *dst) {
    const opt_kspec spec = opt_format_kspec(t->format);
    if (t->runs) {
        const int in_run = (int)(row % OPT_RUN_ROWS);
        const uint8_t *run = t->data + (size_t)(row - in_run) * row_bytes(t);
        opt_run_take(&spec, run, in_run, first, n, dst);
    } else {
        memcpy(dst, t->data + (size_t)row * row_bytes(t) + (size_t)first * spec.block_bytes,
               (size_t)n * spec.block_bytes);
    }
}

/* Through a few blocks at a time in their own order. */
static void decode_run_row(const opt_tensor *t, const opt_kern *k, int64_t row, float *dst) {
    uint8_t blocks[RUN_BYTES];
    const opt_format *f = t->format;
    const int64_t n_blocks = opt_tensor_n_cols(t) / f->block_elems;
    const int64_t n_fit = RUN_BYTES / (int64_t)f->block_bytes;
    for (int64_t b = 0; b < n_blocks; b += n_fit) {
        const int64_t n = opt_min_i64(n_fit, n_blocks - b);
        opt_tensor_take_row(t, row, b, n, blocks);
        f->decode(f, k, blocks, dst + b * f->block_elems, n * f->block_elems);
    }
}

void opt_tensor_decode_rows(const opt_tensor *t, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst) {
    const opt_format *f = t->format;
    const int64_t n_cols = opt_tensor_n_cols(t);
    for (int64_t r = 0; t->runs && r < n; r++) {
        decode_run_row(t, k, row0 + r, dst + r * n_cols);
    }
    if (t->runs) {
        return;
    }
    const uint8_t *src = opt_tensor_row(t, row0);
    if (n_cols % f->block_elems == 0) {
        f->decode(f, k, src, dst, n * n_cols);
        return;
    }
    const size_t stride = row_bytes(t);
    for (int64_t r = 0; r < n; r++) {
        f->decode(f, k, src + (size_t)r * stride, dst + r * n_cols, n_cols);
    }
}

const char *opt_tensor_shape_text(const opt_tensor *t, char *buf, size_t n) {
    size_t used = 0;
    if (n == 0) {
        return buf;
    }
    buf[0] = 0;
    for (int i = 0; i < t->n_dims && used < n; i++) {
        const int len =
            snprintf(buf + used, n - used, "%s%" PRId64, i == 0 ? "[" : ", ", t->dims[i]);
        used += len > 0 ? (size_t)len : 0;
    }
    if (used < n) {
        snprintf(buf + used, n - used, "%s", t->n_dims == 0 ? "[]" : "]");
    }
    return buf;
}
