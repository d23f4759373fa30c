#include "model/graph.h"

#include <string.h>

const char *opt_role_name(opt_role role) {
    switch (role) {
    case OPT_ROLE_LINEAR: return "linear";
    case OPT_ROLE_EMBEDDING: return "embedding";
    case OPT_ROLE_HEAD: return "head";
    case OPT_ROLE_NORM: return "norm";
    case OPT_ROLE_BIAS: return "bias";
    case OPT_ROLE_OTHER: return "other";
    }
    return "unknown";
}

/* Source row of canonical row r: in each head of n/heads rows, canonical 2i + s is source s * half
 * + i. */
static int64_t source_row(int64_t r, int64_t n, int heads) {
    const int64_t head_dim = n / heads;
    const int64_t h = r / head_dim, j = r % head_dim;
    return h * head_dim + (j % 2) * (head_dim / 2) + j / 2;
}

void opt_weight_decode_rows(const opt_weight *w, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst) {
    const opt_tensor *t = w->tensor;
    const int64_t n_cols = opt_tensor_n_cols(t);
    if (w->permute_heads == 0) {
        opt_tensor_decode_rows(t, k, row0, n, dst);
    } else if (w->n_dims == 1) { /* checked when bound: one element a block */
        for (int64_t c = 0; c < n_cols; c++) {
            const int64_t from = source_row(c, n_cols, w->permute_heads);
            t->format->decode(t->format, k, t->data + (size_t)from * t->format->block_bytes,
                              dst + c, 1);
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            const int64_t from = source_row(row0 + i, w->dims[0], w->permute_heads);
            opt_tensor_decode_rows(t, k, from, 1, dst + i * n_cols);
        }
    }
}

void opt_weight_copy_rows(const opt_weight *w, int64_t row0, int64_t n, uint8_t *dst) {
    const opt_tensor *t = w->tensor;
    const bool vector = w->n_dims == 1;
    const int64_t n_rows = opt_tensor_n_rows(t);
    const size_t row_bytes = n_rows > 0 ? t->bytes / (size_t)n_rows : 0;
    if (w->permute_heads == 0) {
        memcpy(dst, t->data + (size_t)row0 * row_bytes, (size_t)n * row_bytes);
        return;
    }
    const size_t item = vector ? t->format->block_bytes : row_bytes;
    const int64_t first = vector ? 0 : row0, count = vector ? w->dims[0] : n;
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = source_row(first + i, w->dims[0], w->permute_heads);
        memcpy(dst + (size_t)i * item, t->data + (size_t)from * item, item);
    }
}

void opt_weight_copy_runs(const opt_weight *w, bool runs, int64_t row0, int64_t n, uint8_t *dst) {
    const opt_tensor *t = w->tensor;
    if (runs == t->runs) {
        opt_weight_copy_rows(w, row0, n, dst);
        return;
    }
    const opt_kspec spec = opt_format_kspec(t->format);
    const size_t row_bytes = t->bytes / (size_t)opt_tensor_n_rows(t);
    const int64_t n_blocks = (int64_t)(row_bytes / spec.block_bytes);
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = opt_weight_source_row(w, row0 + i);
        if (runs) {
            const int in_run = (int)(i % OPT_RUN_ROWS);
            opt_run_put(&spec, t->data + (size_t)from * row_bytes, in_run, n_blocks,
                        dst + (size_t)(i - in_run) * row_bytes);
        } else {
            opt_tensor_take_row(t, from, 0, n_blocks, dst + (size_t)i * row_bytes);
        }
    }
}

int64_t opt_weight_source_row(const opt_weight *w, int64_t r) {
    return w->permute_heads == 0 ? r : source_row(r, w->dims[0], w->permute_heads);
}
