/* safetensors writer: length, JSON header padded with spaces to a multiple of 8, tensor bytes
 * without gaps. */
#include "io/safetensors_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/utf8.h"
#include "io/sink.h"

#define HEADER_BYTES_MAX 100000000u
#define LENGTH_BYTES 8

struct opt_st_writer {
    opt_ctx *ctx;
    opt_sink *sink;
};

static opt_status check_decl(opt_ctx *ctx, const opt_st_decl *d, size_t *bytes) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(opt_utf8_valid(d->name, strlen(d->name)) && strcmp(d->name, "__metadata__") != 0,
                ctx, OPT_ERR_UNSUPPORTED, d->name, "safetensors cannot hold a tensor of this name");
    OPT_REQUIRE(d->n_dims >= 0 && d->n_dims <= OPT_MAX_DIMS, ctx, OPT_ERR_BUG, d->name,
                "a tensor of %d dimensions", d->n_dims);
    OPT_REQUIRE(d->format->st_dtype != NULL, ctx, OPT_ERR_UNSUPPORTED, d->name,
                "safetensors has no dtype for %s", d->format->name);
    int64_t n_elems = 0;
    OPT_REQUIRE(opt_mul_dims(d->dims, d->n_dims, &n_elems) &&
                    opt_mul_size((size_t)n_elems, d->format->block_bytes, bytes),
                ctx, OPT_ERR_BUG, d->name, "the shape is negative or overflows");
done:
    return st;
}

static opt_status put_metadata(opt_ctx *ctx, opt_jsonw *w, const opt_kv *metadata) {
    opt_status st = OPT_OK;
    opt_jsonw_key(w, "__metadata__");
    opt_jsonw_begin_object(w);
    for (size_t i = 0; i < opt_kv_count(metadata); i++) {
        const opt_kv_entry *const e = opt_kv_at(metadata, i);
        OPT_REQUIRE(e->type == OPT_KV_STRING, ctx, OPT_ERR_BUG, e->key,
                    "safetensors metadata of type %s; only strings are allowed",
                    opt_kv_type_name(e->type));
        const opt_kv_str *const s = e->data;
        opt_jsonw_key(w, e->key);
        opt_jsonw_strn(w, s->data, s->len);
    }
    opt_jsonw_end_object(w);
done:
    return st;
}

static void put_tensor(opt_jsonw *w, const opt_st_decl *d, const opt_sink_tensor *t) {
    opt_jsonw_key(w, d->name);
    opt_jsonw_begin_object(w);
    opt_jsonw_key(w, "dtype");
    opt_jsonw_str(w, d->format->st_dtype);
    opt_jsonw_key(w, "shape");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < d->n_dims; i++) {
        opt_jsonw_i64(w, d->dims[i]);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_key(w, "data_offsets");
    opt_jsonw_begin_array(w);
    opt_jsonw_u64(w, t->off);
    opt_jsonw_u64(w, t->off + t->bytes);
    opt_jsonw_end_array(w);
    opt_jsonw_end_object(w);
}

/* The length and the padded JSON. Offsets in `tensors` are relative to the end of the header here.
 */
static opt_status build_header(opt_ctx *ctx, const char *path, const opt_kv *metadata,
                               const opt_st_decl *decls, const opt_sink_tensor *tensors, int64_t n,
                               opt_str *out) {
    opt_status st = OPT_OK;
    static const uint8_t no_length[LENGTH_BYTES] = {0};
    opt_jsonw w;
    OPT_TRY(opt_str_append(ctx, out, no_length, LENGTH_BYTES));
    opt_jsonw_init(&w, ctx, out, 0);
    opt_jsonw_begin_object(&w);
    if (metadata != NULL && opt_kv_count(metadata) > 0) {
        OPT_TRY(put_metadata(ctx, &w, metadata));
    }
    for (int64_t i = 0; i < n; i++) {
        put_tensor(&w, &decls[i], &tensors[i]);
    }
    opt_jsonw_end_object(&w);
    OPT_TRY(opt_jsonw_finish(&w));
    while (out->len > 0 && out->data[out->len - 1] == '\n') {
        out->len--;
    }
    while (out->len % 8 != 0) {
        OPT_TRY(opt_str_append(ctx, out, " ", 1));
    }
    OPT_REQUIRE(out->len - LENGTH_BYTES <= HEADER_BYTES_MAX, ctx, OPT_ERR_UNSUPPORTED, path,
                "the header would have %zu bytes; safetensors allows %u", out->len - LENGTH_BYTES,
                HEADER_BYTES_MAX);
    opt_wr_u64le(out->data, out->len - LENGTH_BYTES);
done:
    return st;
}

opt_status opt_st_create(opt_ctx *ctx, const char *path, bool force, const opt_kv *metadata,
                         const opt_st_decl *decls, int64_t n, opt_st_writer **out) {
    opt_status st = OPT_OK;
    opt_str header = {0};
    size_t end = 0;
    opt_sink_tensor *tensors = NULL;
    opt_st_writer *w = opt_alloc_zero(ctx, sizeof *w);
    OPT_TRY_PTR(w);
    w->ctx = ctx;
    tensors = opt_alloc_array(ctx, (size_t)n, sizeof *tensors);
    OPT_TRY_PTR(tensors);
    for (int64_t i = 0; i < n; i++) {
        tensors[i] = (opt_sink_tensor){.name = decls[i].name, .off = end};
        OPT_TRY(check_decl(ctx, &decls[i], &tensors[i].bytes));
        OPT_REQUIRE(opt_add_size(end, tensors[i].bytes, &end) && end <= INT64_MAX / 2, ctx,
                    OPT_ERR_UNSUPPORTED, path, "the file would be too large");
    }
    OPT_TRY(build_header(ctx, path, metadata, decls, tensors, n, &header));
    for (int64_t i = 0; i < n; i++) {
        tensors[i].off += header.len;
    }
    OPT_TRY(opt_sink_open(ctx, path, force, header.len + end, tensors, n, &w->sink));
    OPT_TRY(opt_sink_write(w->sink, 0, header.data, header.len));
    *out = w;
    w = NULL;
done:
    opt_st_discard(w);
    opt_free(ctx, tensors);
    opt_str_free(ctx, &header);
    return st;
}

opt_status opt_st_append(opt_st_writer *w, int64_t i, const void *data, size_t bytes) {
    return opt_sink_append(w->sink, i, data, bytes);
}

opt_status opt_st_commit(opt_st_writer *w) {
    opt_sink *const sink = w->sink;
    w->sink = NULL;
    opt_st_discard(w);
    return opt_sink_commit(sink);
}

void opt_st_discard(opt_st_writer *w) {
    if (w != NULL) {
        opt_sink_discard(w->sink);
        opt_free(w->ctx, w);
    }
}
