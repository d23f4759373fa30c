/* GGUF v3 writer. The header is built twice by the same code, once to count bytes and once to write
   them, so a predicted size cannot differ from a written one. */
#include "io/gguf_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "io/gguf.h"
#include "io/sink.h"

struct opt_gguf_writer {
    opt_ctx *ctx;
    opt_sink *sink;
    int64_t n;
    opt_str header; /* with zeros where the checksums go */
    size_t checksums_off;
    size_t header_sum_off;
};

/* A tensor as it is stored. */
typedef struct stored {
    int64_t n_rows;
    size_t row_bytes;
    size_t bytes;
    size_t off; /* relative to the data section */
} stored;

typedef struct layout {
    const opt_kv *kv; /* may be NULL */
    const opt_gguf_decl *decls;
    stored *tensors; /* [n] */
    int64_t n;
    size_t align;
    size_t header_bytes;   /* padded */
    size_t checksums_off;  /* of the array's elements */
    size_t header_sum_off; /* of the value */
    size_t file_bytes;
} layout;

/* Receives the header; counts only when out is NULL. The first error stays. */
typedef struct emitter {
    opt_ctx *ctx;
    opt_str *out;
    size_t n;
    opt_status st;
} emitter;

static void put(emitter *e, const void *data, size_t bytes) {
    if (e->st == OPT_OK && e->out != NULL) {
        e->st = opt_str_append(e->ctx, e->out, data, bytes);
    }
    e->n += bytes;
}

static void put_u32(emitter *e, uint32_t v) { put(e, &v, sizeof v); }
static void put_u64(emitter *e, uint64_t v) { put(e, &v, sizeof v); }

static void put_strn(emitter *e, const char *s, size_t n) {
    put_u64(e, n);
    put(e, s, n);
}

static void put_str(emitter *e, const char *s) { put_strn(e, s, strlen(s)); }

static void put_array_head(emitter *e, const char *key, opt_kv_type elem, size_t n) {
    put_str(e, key);
    put_u32(e, OPT_KV_ARRAY);
    put_u32(e, elem);
    put_u64(e, n);
}

static void put_entry(emitter *e, const opt_kv_entry *entry) {
    if (entry->type == OPT_KV_ARRAY) {
        put_array_head(e, entry->key, entry->elem, entry->n);
    } else {
        put_str(e, entry->key);
        put_u32(e, entry->type);
    }
    if (entry->elem != OPT_KV_STRING) {
        put(e, entry->data, entry->n * opt_kv_type_bytes(entry->elem));
        return;
    }
    const opt_kv_str *const strings = entry->data;
    for (size_t i = 0; i < entry->n; i++) {
        put_strn(e, strings[i].data, strings[i].len);
    }
}

/* Keys that describe one particular file: written anew, or wrong in a file that is not split. */
static bool is_replaced(const char *key) {
    static const char *const keys[] = {
        OPT_GGUF_KEY_VERSION,  OPT_GGUF_KEY_GENERATOR,   OPT_GGUF_KEY_FORMAT,
        OPT_GGUF_KEY_COLUMNS,  OPT_GGUF_KEY_CHECKSUM,    OPT_GGUF_KEY_HEADER,
        OPT_GGUF_KEY_SPLIT_NO, OPT_GGUF_KEY_SPLIT_COUNT, OPT_GGUF_KEY_SPLIT_TENSORS,
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void put_own_keys(emitter *e, layout *l) {
    put_str(e, OPT_GGUF_KEY_VERSION);
    put_u32(e, OPT_KV_U32);
    put_u32(e, OPT_GGUF_FORMAT_VERSION);
    put_str(e, OPT_GGUF_KEY_GENERATOR);
    put_u32(e, OPT_KV_STRING);
    put_u64(e, strlen("lathe ") + strlen(opt_version()));
    put(e, "lathe ", strlen("lathe "));
    put(e, opt_version(), strlen(opt_version()));
    put_array_head(e, OPT_GGUF_KEY_FORMAT, OPT_KV_STRING, (size_t)l->n);
    for (int64_t i = 0; i < l->n; i++) {
        const opt_tensor named = {.format = l->decls[i].format, .runs = l->decls[i].runs};
        put_str(e, opt_tensor_format_name(&named));
    }
    put_array_head(e, OPT_GGUF_KEY_COLUMNS, OPT_KV_U64, (size_t)l->n);
    for (int64_t i = 0; i < l->n; i++) {
        put_u64(e, (uint64_t)l->decls[i].dims[l->decls[i].n_dims - 1]);
    }
    put_array_head(e, OPT_GGUF_KEY_CHECKSUM, OPT_KV_U64, (size_t)l->n);
    l->checksums_off = e->n;
    for (int64_t i = 0; i < l->n; i++) {
        put_u64(e, 0); /* until the tensors are written */
    }
    put_str(e, OPT_GGUF_KEY_HEADER);
    put_u32(e, OPT_KV_U64);
    l->header_sum_off = e->n;
    put_u64(e, 0);
}

enum { N_OWN_KEYS = 6 };

static void put_header(emitter *e, layout *l) {
    static const uint8_t zeros[64] = {0};
    const size_t n_kv = l->kv != NULL ? opt_kv_count(l->kv) : 0;
    uint64_t n_kept = 0;
    for (size_t i = 0; i < n_kv; i++) {
        n_kept += !is_replaced(opt_kv_at(l->kv, i)->key);
    }
    put(e, "GGUF", 4);
    put_u32(e, 3);
    put_u64(e, (uint64_t)l->n);
    put_u64(e, n_kept + N_OWN_KEYS);
    for (size_t i = 0; i < n_kv; i++) {
        if (!is_replaced(opt_kv_at(l->kv, i)->key)) {
            put_entry(e, opt_kv_at(l->kv, i));
        }
    }
    put_own_keys(e, l);
    for (int64_t i = 0; i < l->n; i++) {
        const opt_gguf_decl *const d = &l->decls[i];
        const bool own = (d->format->flags & OPT_FORMAT_OWN) != 0 || d->runs;
        put_str(e, d->name);
        put_u32(e, (uint32_t)d->n_dims);
        put_u64(e, own ? l->tensors[i].row_bytes : (uint64_t)d->dims[d->n_dims - 1]);
        for (int j = d->n_dims - 2; j >= 0; j--) {
            put_u64(e, (uint64_t)d->dims[j]);
        }
        put_u32(e, (uint32_t)(own ? opt_format_i8.ggml_type : d->format->ggml_type));
        put_u64(e, l->tensors[i].off);
    }
    while (e->n % l->align != 0) {
        const size_t gap = l->align - e->n % l->align;
        put(e, zeros, gap < sizeof zeros ? gap : sizeof zeros);
    }
}

static opt_status check_decl(opt_ctx *ctx, const opt_gguf_decl *d, stored *out) {
    opt_status st = OPT_OK;
    const size_t n_name = strlen(d->name);
    OPT_REQUIRE(n_name > 0 && n_name <= OPT_GGUF_NAME_MAX, ctx, OPT_ERR_UNSUPPORTED, d->name,
                "a tensor name of %zu bytes; GGUF allows 1 to %d", n_name, OPT_GGUF_NAME_MAX);
    OPT_REQUIRE(d->n_dims >= 1 && d->n_dims <= 4, ctx, OPT_ERR_UNSUPPORTED, d->name,
                "a tensor of %d dimensions; GGUF allows 1 to 4", d->n_dims);
    OPT_REQUIRE(d->format->ggml_type >= 0 || (d->format->flags & OPT_FORMAT_OWN) != 0, ctx,
                OPT_ERR_UNSUPPORTED, d->name, "GGUF has no type for %s", d->format->name);
    const int64_t n_cols = d->dims[d->n_dims - 1];
    int64_t n_elems = 0;
    OPT_REQUIRE(opt_mul_dims(d->dims, d->n_dims, &n_elems) &&
                    opt_mul_dims(d->dims, d->n_dims - 1, &out->n_rows),
                ctx, OPT_ERR_BUG, d->name, "the shape is negative or overflows");
    OPT_REQUIRE(opt_format_row_bytes(d->format, n_cols, &out->row_bytes) &&
                    opt_format_bytes(d->format, out->n_rows, n_cols, &out->bytes),
                ctx, OPT_ERR_UNSUPPORTED, d->name,
                "rows of %" PRId64 " elements cannot be stored as %s", n_cols, d->format->name);
done:
    return st;
}

/* Offsets and sizes; l->tensors is to be freed by the caller. */
static opt_status plan(opt_ctx *ctx, const opt_kv *kv, const opt_gguf_decl *decls, int64_t n,
                       layout *l) {
    opt_status st = OPT_OK;
    size_t end = 0;
    *l = (layout){.kv = kv, .decls = decls, .n = n, .align = OPT_GGUF_ALIGNMENT};
    if (kv != NULL) {
        OPT_TRY(opt_gguf_alignment(ctx, kv, &l->align));
    }
    l->tensors = opt_alloc_array(ctx, (size_t)n, sizeof *l->tensors);
    OPT_TRY_PTR(l->tensors);
    for (int64_t i = 0; i < n; i++) {
        OPT_TRY(check_decl(ctx, &decls[i], &l->tensors[i]));
        l->tensors[i].off = end; /* aligned: every size is padded, the last one too */
        OPT_REQUIRE(opt_add_size(end, l->tensors[i].bytes, &end) &&
                        opt_align_size(end, l->align, &end),
                    ctx, OPT_ERR_UNSUPPORTED, decls[i].name, "the file would be too large");
    }
    emitter e = {.ctx = ctx};
    put_header(&e, l);
    l->header_bytes = e.n;
    OPT_REQUIRE(opt_add_size(e.n, end, &l->file_bytes), ctx, OPT_ERR_UNSUPPORTED, NULL,
                "the file would be too large");
done:
    return st;
}

opt_status opt_gguf_predict_bytes(opt_ctx *ctx, const opt_kv *kv, const opt_gguf_decl *tensors,
                                  int64_t n, uint64_t *bytes) {
    opt_status st = OPT_OK;
    layout l = {0};
    OPT_TRY(plan(ctx, kv, tensors, n, &l));
    *bytes = l.file_bytes;
done:
    opt_free(ctx, l.tensors);
    return st;
}

/* Opens the sink for a layout. */
static opt_status open_sink(opt_ctx *ctx, const char *path, bool force, const layout *l,
                            opt_sink **out) {
    opt_status st = OPT_OK;
    opt_sink_tensor *tensors = opt_alloc_array(ctx, (size_t)l->n, sizeof *tensors);
    OPT_TRY_PTR(tensors);
    for (int64_t i = 0; i < l->n; i++) {
        tensors[i] = (opt_sink_tensor){.name = l->decls[i].name,
                                       .off = l->header_bytes + l->tensors[i].off,
                                       .bytes = l->tensors[i].bytes};
    }
    OPT_TRY(opt_sink_open(ctx, path, force, l->file_bytes, tensors, l->n, out));
done:
    opt_free(ctx, tensors);
    return st;
}

opt_status opt_gguf_create(opt_ctx *ctx, const char *path, bool force, const opt_kv *kv,
                           const opt_gguf_decl *tensors, int64_t n, opt_gguf_writer **out) {
    opt_status st = OPT_OK;
    layout l = {0};
    opt_gguf_writer *w = opt_alloc_zero(ctx, sizeof *w);
    OPT_TRY_PTR(w);
    w->ctx = ctx;
    w->n = n;
    OPT_TRY(plan(ctx, kv, tensors, n, &l));
    OPT_TRY(opt_str_reserve(ctx, &w->header, l.header_bytes));
    emitter e = {.ctx = ctx, .out = &w->header};
    put_header(&e, &l);
    OPT_TRY(e.st);
    OPT_TRY(open_sink(ctx, path, force, &l, &w->sink));
    OPT_TRY(opt_sink_write(w->sink, 0, w->header.data, w->header.len));
    if (l.file_bytes > l.header_bytes) { /* the padding of the last tensor ends the file */
        OPT_TRY(opt_sink_write(w->sink, l.file_bytes - 1, "", 1));
    }
    w->checksums_off = l.checksums_off;
    w->header_sum_off = l.header_sum_off;
    *out = w;
    w = NULL;
done:
    opt_gguf_discard(w);
    opt_free(ctx, l.tensors);
    return st;
}

opt_status opt_gguf_append(opt_gguf_writer *w, int64_t i, const void *data, size_t bytes) {
    return opt_sink_append(w->sink, i, data, bytes);
}

opt_status opt_gguf_put(opt_gguf_writer *w, int64_t i, size_t off, const void *data, size_t bytes) {
    return opt_sink_put(w->sink, i, off, data, bytes);
}

opt_status opt_gguf_account(opt_gguf_writer *w, int64_t i, const void *data, size_t bytes) {
    return opt_sink_account(w->sink, i, data, bytes);
}

opt_status opt_gguf_commit(opt_gguf_writer *w) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_sink_check_complete(w->sink));
    for (int64_t i = 0; i < w->n; i++) {
        opt_wr_u64le(w->header.data + w->checksums_off + 8 * i, opt_sink_checksum(w->sink, i));
    }
    opt_wr_u64le(w->header.data + w->header_sum_off, opt_xxh3(w->header.data, w->header.len));
    OPT_TRY(opt_sink_write(w->sink, 0, w->header.data, w->header.len));
    opt_sink *const sink = w->sink;
    w->sink = NULL;
    OPT_TRY(opt_sink_commit(sink));
done:
    opt_gguf_discard(w);
    return st;
}

void opt_gguf_discard(opt_gguf_writer *w) {
    if (w != NULL) {
        opt_sink_discard(w->sink);
        opt_str_free(w->ctx, &w->header);
        opt_free(w->ctx, w);
    }
}
