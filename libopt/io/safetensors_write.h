/** safetensors writer: tensors in the given order, header first, streamed, atomic. */
#ifndef OPT_IO_SAFETENSORS_WRITE_H
#define OPT_IO_SAFETENSORS_WRITE_H

#include "io/kv.h"
#include "tensor/tensor.h"

/** A tensor to be written, in file order; the format must have a safetensors dtype. */
typedef struct opt_st_decl {
    const char *name;
    const opt_format *format;
    int n_dims;
    int64_t dims[OPT_MAX_DIMS]; /* outermost first */
} opt_st_decl;

typedef struct opt_st_writer opt_st_writer;

/** `metadata`: string entries for __metadata__, or NULL. Same rules as opt_gguf_create and its
 * companions. */
OPT_MUST_USE opt_status opt_st_create(opt_ctx *ctx, const char *path, bool force,
                                      const opt_kv *metadata, const opt_st_decl *tensors, int64_t n,
                                      opt_st_writer **out);
OPT_MUST_USE opt_status opt_st_append(opt_st_writer *w, int64_t i, const void *data, size_t bytes);
OPT_MUST_USE opt_status opt_st_commit(opt_st_writer *w);
void opt_st_discard(opt_st_writer *w);

#endif
