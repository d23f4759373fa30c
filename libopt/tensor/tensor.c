#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>

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

void opt_tensor_decode_rows(const opt_tensor *t, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst) {
    const opt_format *f = t->format;
    const int64_t n_cols = opt_tensor_n_cols(t);
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
