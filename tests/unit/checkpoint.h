/** Copies of a small checkpoint with one thing changed. */
#ifndef OPT_UNIT_CHECKPOINT_H
#define OPT_UNIT_CHECKPOINT_H

#include "support.h"

#include "io/safetensors_write.h"
#include "io/source.h"

/** What a copy does differently; zero-initialised: nothing. */
typedef struct checkpoint_edit {
    const char *drop; /* tensor that is left out */
    const char *add;  /* tensor [2] of zeros that is added */
    const char
        *reshape;       /* matrix whose dimensions are exchanged, or vector that becomes a matrix */
    const char *as_i32; /* tensor whose numbers are declared as integers of the same size */
    const char *nan_in; /* f32 tensor whose first number becomes NaN */
    const char *config; /* text in place of config.json */
    bool no_config;
} checkpoint_edit;

static inline bool is_edited(const char *edit, const opt_tensor *t) {
    return edit != NULL && strcmp(edit, t->name) == 0;
}

static inline opt_st_decl checkpoint_decl(const opt_tensor *t, const checkpoint_edit *e) {
    opt_st_decl d = {.name = t->name, .format = t->format, .n_dims = t->n_dims};
    memcpy(d.dims, t->dims, sizeof d.dims);
    if (is_edited(e->reshape, t)) {
        d.n_dims = 2;
        d.dims[1] = t->n_dims == 2 ? t->dims[0] : 1;
        d.dims[0] = t->n_dims == 2 ? t->dims[1] : t->dims[0];
    }
    if (is_edited(e->as_i32, t)) {
        assert_int_equal(t->format->block_bytes, 4);
        d.format = opt_format_by_name("i32");
    }
    return d;
}

static inline void checkpoint_append(opt_st_writer *w, int64_t i, const opt_tensor *t,
                                     const checkpoint_edit *e) {
    uint8_t *data = malloc(t->bytes);
    assert_non_null(data);
    memcpy(data, t->data, t->bytes);
    if (is_edited(e->nan_in, t)) {
        assert_ptr_equal(t->format, &opt_format_f32);
        const uint32_t nan = 0x7fc00000U;
        memcpy(data, &nan, sizeof nan);
    }
    assert_int_equal(opt_st_append(w, i, data, t->bytes), OPT_OK);
    free(data);
}

static inline void checkpoint_write_tensors(opt_ctx *ctx, const opt_source *from, const char *path,
                                            const checkpoint_edit *e) {
    const int64_t n = opt_source_n_tensors(from);
    opt_st_decl *decls = calloc((size_t)n + 1, sizeof *decls);
    const opt_tensor **tensors = calloc((size_t)n + 1, sizeof *tensors);
    opt_st_writer *w = NULL;
    int64_t n_out = 0;
    if (decls == NULL || tensors == NULL) {
        abort();
    }
    for (int64_t i = 0; i < n; i++) {
        const opt_tensor *t = opt_source_tensor(from, i);
        if (!is_edited(e->drop, t)) {
            tensors[n_out] = t;
            decls[n_out++] = checkpoint_decl(t, e);
        }
    }
    if (e->add != NULL) {
        decls[n_out++] =
            (opt_st_decl){.name = e->add, .format = &opt_format_f32, .n_dims = 1, .dims = {2}};
    }
    assert_int_equal(opt_st_create(ctx, path, true, NULL, decls, n_out, &w), OPT_OK);
    for (int64_t i = 0; i < n_out; i++) {
        if (tensors[i] != NULL) {
            checkpoint_append(w, i, tensors[i], e);
        } else {
            const float zeros[2] = {0};
            assert_int_equal(opt_st_append(w, i, zeros, sizeof zeros), OPT_OK);
        }
    }
    assert_int_equal(opt_st_commit(w), OPT_OK);
    free(tensors);
    free(decls);
}

/** Writes the edited copy of the checkpoint `from` to the directory `dir`. */
static inline void checkpoint_copy(opt_ctx *ctx, const char *from, const char *dir,
                                   const checkpoint_edit *e) {
    char path[512];
    opt_source *source = NULL;
    opt_buf *config = NULL;
    assert_int_equal(opt_source_open(ctx, from, &source), OPT_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    checkpoint_write_tensors(ctx, source, path, e);
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_int_equal(opt_source_side_file(source, "config.json", &config), OPT_OK);
    if (e->config != NULL) {
        test_write_file(path, e->config, strlen(e->config));
    } else if (!e->no_config) {
        test_write_file(path, config->data, config->bytes);
    }
    opt_buf_release(config);
    opt_source_close(source);
}

#endif
