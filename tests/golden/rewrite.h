/** Writes an opened model as a GGUF in f32: what quantize does, with nothing quantized. */
#ifndef OPT_GOLDEN_REWRITE_H
#define OPT_GOLDEN_REWRITE_H

#include "golden/golden.h"
#include "io/gguf_write.h"

static inline void rewrite_weight(opt_ctx *ctx, opt_gguf_writer *w, int64_t i,
                                  const opt_weight *weight) {
    const int64_t n_rows = weight->n_dims > 1 ? weight->dims[0] : 1;
    const int64_t n_cols = weight->dims[weight->n_dims - 1];
    float *row = malloc((size_t)n_cols * sizeof *row);
    assert_non_null(row);
    for (int64_t r = 0; r < n_rows; r++) {
        opt_weight_decode_rows(weight, opt_kern_get(ctx), r, 1, row);
        GOLDEN_OK(ctx, opt_gguf_append(w, i, row, (size_t)n_cols * sizeof *row));
    }
    free(row);
}

static inline void rewrite_as_gguf(opt_ctx *ctx, const opt_model *m, const char *path) {
    opt_kv *kv = NULL;
    opt_gguf_writer *w = NULL;
    opt_gguf_decl *decls = calloc((size_t)m->n_weights, sizeof *decls);
    assert_non_null(decls);
    for (int i = 0; i < m->n_weights; i++) {
        decls[i] = (opt_gguf_decl){
            .name = m->weights[i].name, .format = &opt_format_f32, .n_dims = m->weights[i].n_dims};
        memcpy(decls[i].dims, m->weights[i].dims, sizeof decls[i].dims);
    }
    GOLDEN_OK(ctx, opt_kv_new(ctx, &kv));
    GOLDEN_OK(ctx, opt_model_to_kv(ctx, m, kv));
    GOLDEN_OK(ctx, opt_gguf_create(ctx, path, true, kv, decls, m->n_weights, &w));
    for (int i = 0; i < m->n_weights; i++) {
        rewrite_weight(ctx, w, i, &m->weights[i]);
    }
    GOLDEN_OK(ctx, opt_gguf_commit(w));
    opt_kv_free(kv);
    free(decls);
}

#endif
