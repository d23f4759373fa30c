/** Writes an opened model as a GGUF: the least that quantize does. */
#ifndef OPT_GOLDEN_REWRITE_H
#define OPT_GOLDEN_REWRITE_H

#include "golden/golden.h"
#include "io/gguf_write.h"

/** Format of a weight: matrices get `format` where it fits, all else stays f32. */
static inline const opt_format *rewrite_format(const opt_weight *w, const opt_format *format) {
    const bool matrix = w->n_dims == 2 && opt_format_fits(format, w->dims[1]);
    return matrix ? format : &opt_format_f32;
}

static inline void rewrite_weight(opt_ctx *ctx, opt_gguf_writer *w, int64_t i,
                                  const opt_weight *weight, const opt_format *f) {
    const opt_kern *k = opt_kern_get(ctx);
    const int64_t n_rows = weight->n_dims > 1 ? weight->dims[0] : 1;
    const int64_t n_cols = weight->dims[weight->n_dims - 1];
    size_t row_bytes = 0;
    assert_true(opt_format_row_bytes(f, n_cols, &row_bytes));
    float *row = malloc((size_t)n_cols * sizeof *row);
    uint8_t *stored = malloc(row_bytes);
    assert_true(row != NULL && stored != NULL);
    for (int64_t r = 0; r < n_rows; r++) {
        opt_weight_decode_rows(weight, k, r, 1, row);
        f->encode(f, k, row, NULL, stored, n_cols);
        GOLDEN_OK(ctx, opt_gguf_append(w, i, stored, row_bytes));
    }
    free(stored);
    free(row);
}

static inline void rewrite_as_gguf(opt_ctx *ctx, const opt_model *m, const char *path,
                                   const opt_format *format) {
    opt_kv *kv = NULL;
    opt_gguf_writer *w = NULL;
    opt_gguf_decl *decls = calloc((size_t)m->n_weights, sizeof *decls);
    assert_non_null(decls);
    for (int i = 0; i < m->n_weights; i++) {
        decls[i] = (opt_gguf_decl){.name = m->weights[i].name,
                                   .format = rewrite_format(&m->weights[i], format),
                                   .n_dims = m->weights[i].n_dims};
        memcpy(decls[i].dims, m->weights[i].dims, sizeof decls[i].dims);
    }
    GOLDEN_OK(ctx, opt_kv_new(ctx, &kv));
    GOLDEN_OK(ctx, opt_model_to_kv(ctx, m, kv));
    GOLDEN_OK(ctx, opt_gguf_create(ctx, path, true, kv, decls, m->n_weights, &w));
    for (int i = 0; i < m->n_weights; i++) {
        rewrite_weight(ctx, w, i, &m->weights[i], decls[i].format);
    }
    GOLDEN_OK(ctx, opt_gguf_commit(w));
    opt_kv_free(kv);
    free(decls);
}

#endif
