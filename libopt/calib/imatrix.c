#include "calib/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "io/gguf.h"
#include "io/gguf_write.h"
#include "io/source.h"

#define KEY_TYPE "general.type"
#define KEY_DATASETS "imatrix.datasets"
#define KEY_CHUNKS "imatrix.chunk_count"
#define KEY_CHUNK_SIZE "imatrix.chunk_size"
#define SUFFIX_SUMS ".in_sum2"
#define SUFFIX_COUNTS ".counts"

enum { NAME_BYTES = 128 };

struct opt_imatrix {
    opt_ctx *ctx;
    opt_source *source;
};

opt_status opt_imatrix_open(opt_ctx *ctx, const char *path, opt_imatrix **out) {
    opt_status st = OPT_OK;
    const char *type = NULL;
    opt_imatrix *im = opt_alloc_zero(ctx, sizeof *im);
    OPT_TRY_PTR(im);
    im->ctx = ctx;
    OPT_TRY(opt_source_open(ctx, path, &im->source));
    const opt_kv *kv = opt_source_kv(im->source);
    if (kv != NULL) {
        OPT_TRY(opt_kv_get_str(ctx, kv, KEY_TYPE, false, &type));
    }
    OPT_REQUIRE(type != NULL && strcmp(type, "imatrix") == 0, ctx, OPT_ERR_INPUT, path,
                "its " KEY_TYPE " is %s%s%s, expected \"imatrix\": llama-imatrix writes such files "
                "(as GGUF), and quantize --save-imatrix",
                type != NULL ? "\"" : "", type != NULL ? type : "missing",
                type != NULL ? "\"" : "");
    *out = im;
    im = NULL;
done:
    opt_imatrix_free(im);
    return st;
}

void opt_imatrix_free(opt_imatrix *im) {
    if (im != NULL) {
        opt_source_close(im->source);
        opt_free(im->ctx, im);
    }
}

/* The f32 tensor of a weight and a suffix; NULL if there is none. */
static const opt_tensor *find(const opt_imatrix *im, const char *name, const char *suffix) {
    char full[NAME_BYTES];
    const int n = snprintf(full, sizeof full, "%s%s", name, suffix);
    return n > 0 && (size_t)n < sizeof full ? opt_source_find(im->source, full) : NULL;
}

static opt_status check_shape(const opt_imatrix *im, const opt_tensor *t, int64_t n_cols) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(t->format == &opt_format_f32, im->ctx, OPT_ERR_INPUT, t->name,
                "is stored as %s, expected f32", t->format->name);
    OPT_REQUIRE(opt_tensor_n_rows(t) == 1, im->ctx, OPT_ERR_INPUT, t->name,
                "has %" PRId64 " rows, expected 1 (statistics of experts are not supported)",
                opt_tensor_n_rows(t));
    OPT_REQUIRE(opt_tensor_n_cols(t) == n_cols, im->ctx, OPT_ERR_INPUT, t->name,
                "has %" PRId64 " columns, the model %" PRId64, opt_tensor_n_cols(t), n_cols);
done:
    return st;
}

static float element(const opt_tensor *t, int64_t i) {
    float v;
    memcpy(&v, t->data + (size_t)i * sizeof v, sizeof v); /* files need not be aligned */
    return v;
}

opt_status opt_imatrix_get(const opt_imatrix *im, const char *name, int64_t n_cols, float *out,
                           bool *found) {
    opt_status st = OPT_OK;
    const opt_tensor *sums = find(im, name, SUFFIX_SUMS);
    const opt_tensor *counts = find(im, name, SUFFIX_COUNTS);
    *found = false;
    if (sums == NULL) {
        return OPT_OK;
    }
    OPT_REQUIRE(counts != NULL, im->ctx, OPT_ERR_INPUT, sums->name,
                "there is no %s" SUFFIX_COUNTS " beside it", name);
    OPT_TRY(check_shape(im, sums, n_cols));
    OPT_TRY(check_shape(im, counts, 1));
    const float count = element(counts, 0);
    OPT_REQUIRE(isfinite(count) && count > 0.0F, im->ctx, OPT_ERR_INPUT, counts->name,
                "is %g, expected a number of tokens", (double)count);
    for (int64_t i = 0; i < n_cols; i++) {
        const float sum = element(sums, i);
        OPT_REQUIRE(isfinite(sum) && sum >= 0.0F, im->ctx, OPT_ERR_INPUT, sums->name,
                    "column %" PRId64 " is %g, expected a sum of squares", i, (double)sum);
        out[i] = sum / count;
    }
    *found = true;
done:
    return st;
}

static opt_status put_keys(opt_ctx *ctx, opt_kv *kv, const char *const *datasets, size_t n_datasets,
                           int64_t n_windows, int64_t n_ctx) {
    opt_status st = OPT_OK;
    opt_kv_str *names = opt_alloc_array(ctx, n_datasets + 1, sizeof *names);
    OPT_TRY_PTR(names);
    for (size_t i = 0; i < n_datasets; i++) {
        const char *slash = strrchr(datasets[i], '/'); /* outputs name no places */
        const char *base = slash != NULL ? slash + 1 : datasets[i];
        names[i] = (opt_kv_str){base, strlen(base)};
    }
    OPT_TRY(opt_kv_set_str(kv, KEY_TYPE, "imatrix"));
    OPT_TRY(opt_kv_set_str_array(kv, KEY_DATASETS, names, n_datasets));
    OPT_TRY(opt_kv_set_u32(kv, KEY_CHUNKS, (uint32_t)n_windows));
    OPT_TRY(opt_kv_set_u32(kv, KEY_CHUNK_SIZE, (uint32_t)n_ctx));
done:
    opt_free(ctx, names);
    return st;
}

static opt_status write_entry(opt_ctx *ctx, opt_gguf_writer *w, int64_t i,
                              const opt_imatrix_entry *e) {
    opt_status st = OPT_OK;
    const float count = (float)e->n_tokens;
    float *sums = opt_alloc_array(ctx, (size_t)e->n_cols, sizeof *sums);
    OPT_TRY_PTR(sums);
    for (int64_t c = 0; c < e->n_cols; c++) {
        sums[c] = e->mean[c] * count;
    }
    OPT_TRY(opt_gguf_append(w, 2 * i, sums, (size_t)e->n_cols * sizeof *sums));
    OPT_TRY(opt_gguf_append(w, 2 * i + 1, &count, sizeof count));
done:
    opt_free(ctx, sums);
    return st;
}

opt_status opt_imatrix_write(opt_ctx *ctx, const char *path, bool force,
                             const opt_imatrix_entry *entries, int64_t n,
                             const char *const *datasets, size_t n_datasets, int64_t n_windows,
                             int64_t n_ctx) {
    opt_status st = OPT_OK;
    opt_kv *kv = NULL;
    opt_arena *arena = NULL;
    opt_gguf_writer *w = NULL;
    int64_t n_named = 0;
    OPT_TRY(opt_kv_new(ctx, &kv));
    OPT_TRY(put_keys(ctx, kv, datasets, n_datasets, n_windows, n_ctx));
    OPT_TRY(opt_arena_new(ctx, &arena));
    opt_gguf_decl *decls = opt_arena_array(arena, 2 * (size_t)n + 1, sizeof *decls);
    OPT_TRY_PTR(decls);
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; entries[i].name != NULL && k < 2; k++) {
            char full[NAME_BYTES];
            (void)snprintf(full, sizeof full, "%s%s", entries[i].name,
                           k == 0 ? SUFFIX_SUMS : SUFFIX_COUNTS);
            opt_gguf_decl *d = &decls[2 * n_named + k];
            *d = (opt_gguf_decl){.format = &opt_format_f32, .n_dims = 2};
            d->dims[0] = 1;
            d->dims[1] = k == 0 ? entries[i].n_cols : 1;
            OPT_TRY_PTR(d->name = opt_arena_strdup(arena, full));
        }
        n_named += entries[i].name != NULL;
    }
    OPT_TRY(opt_gguf_create(ctx, path, force, kv, decls, 2 * n_named, &w));
    n_named = 0;
    for (int64_t i = 0; i < n; i++) {
        if (entries[i].name != NULL) {
            OPT_TRY(write_entry(ctx, w, n_named++, &entries[i]));
        }
    }
    opt_gguf_writer *const whole = w;
    w = NULL; /* commit frees it */
    OPT_TRY(opt_gguf_commit(whole));
done:
    opt_gguf_discard(w);
    opt_arena_free(arena);
    opt_kv_free(kv);
    return st;
}
