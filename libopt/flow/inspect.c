#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/cache.h"
#include "base/hash.h"
#include "flow/runner.h"
#include "io/gguf.h"
#include "model/arch.h"
#include "model/ops.h"

/** Arrays of metadata up to this length are written out; longer ones are summarised. */
#define MAX_ELEMENTS 8

#define MAX_FORMATS 128

/** Tokens that run at once where nothing else is said (exec/session.h). */
#define CACHE_BATCH 512

static const char *kv_type_name(opt_kv_type type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

static void put_kv_value(opt_jsonw *w, const opt_kv_entry *e, opt_kv_type type, size_t i) {
    if (type == OPT_KV_STRING) {
        const opt_kv_str *s = (const opt_kv_str *)e->data + i;
        opt_jsonw_strn(w, s->data, s->len);
    } else if (type == OPT_KV_BOOL) {
        opt_jsonw_bool(w, opt_kv_elem_i64(e, i) != 0);
    } else if (type == OPT_KV_F32 || type == OPT_KV_F64) {
        opt_jsonw_f64(w, opt_kv_elem_f64(e, i));
    } else if (type == OPT_KV_U64 &&
               opt_kv_elem_i64(e, i) < 0) { /* more than readers of JSON keep */
        char text[32];
        snprintf(text, sizeof text, "%" PRIu64, (uint64_t)opt_kv_elem_i64(e, i));
        opt_jsonw_str(w, text);
    } else {
        opt_jsonw_i64(w, opt_kv_elem_i64(e, i));
    }
}

/** An entry's value; a chat template is a program and is named by its hash, never shown. */
static opt_status put_entry(opt_ctx *ctx, opt_jsonw *w, const opt_kv_entry *e) {
    opt_status st = OPT_OK;
    opt_jsonw_key(w, e->key);
    if (e->type == OPT_KV_STRING && strncmp(e->key, "tokenizer.chat_template", 23) == 0) {
        const opt_kv_str *s = e->data;
        char text[128] = "sha256:";
        OPT_TRY(opt_sha256_hex(ctx, s->data, s->len, text + 7));
        opt_jsonw_str(w, text);
    } else if (e->type != OPT_KV_ARRAY) {
        put_kv_value(w, e, e->type, 0);
    } else if (e->n <= MAX_ELEMENTS) {
        opt_jsonw_begin_array(w);
        for (size_t i = 0; i < e->n; i++) {
            put_kv_value(w, e, e->elem, i);
        }
        opt_jsonw_end_array(w);
    } else {
        opt_jsonw_begin_object(w);
        opt_jsonw_put_i64(w, "length", (int64_t)e->n);
        opt_jsonw_put_str(w, "elements", kv_type_name(e->elem));
        opt_jsonw_end_object(w);
    }
done:
    return st;
}

static opt_status put_metadata(opt_ctx *ctx, opt_jsonw *w, const opt_kv *kv) {
    opt_status st = OPT_OK;
    opt_jsonw_key(w, "metadata");
    opt_jsonw_begin_object(w);
    for (size_t i = 0; kv != NULL && i < opt_kv_count(kv); i++) {
        OPT_TRY(put_entry(ctx, w, opt_kv_at(kv, i)));
    }
    opt_jsonw_end_object(w);
done:
    return st;
}

static void put_tensor(opt_jsonw *w, const opt_tensor *t) {
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "name", t->name);
    opt_jsonw_put_str(w, "format", opt_tensor_format_name(t));
    opt_jsonw_key(w, "shape");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < t->n_dims; i++) {
        opt_jsonw_i64(w, t->dims[i]);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_put_i64(w, "bytes", (int64_t)t->bytes);
    opt_jsonw_end_object(w);
}

/* Of one format; rows in their own order, and 16 together. */
typedef struct totals {
    const char *name;
    int64_t n;
    double elems, bytes;
} totals;

static void put_formats(opt_jsonw *w, const opt_source *source) {
    totals all[MAX_FORMATS][2] = {{{0}}};
    double elems = 0, bytes = 0;
    for (int64_t i = 0; i < opt_source_n_tensors(source); i++) {
        const opt_tensor *tensor = opt_source_tensor(source, i);
        int f = 0;
        while (opt_formats[f] != NULL && opt_formats[f] != tensor->format) {
            f++;
        }
        if (f < MAX_FORMATS) {
            totals *t = &all[f][tensor->runs];
            t->name = opt_tensor_format_name(tensor);
            t->n++;
            t->elems += (double)opt_tensor_n_elems(tensor);
            t->bytes += (double)tensor->bytes;
        }
        elems += (double)opt_tensor_n_elems(tensor);
        bytes += (double)tensor->bytes;
    }
    opt_jsonw_put_i64(w, "weights", (int64_t)elems);
    opt_jsonw_put_f64(w, "bits_per_weight", elems > 0 ? 8 * bytes / elems : 0);
    opt_jsonw_key(w, "formats");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < 2 * MAX_FORMATS; i++) {
        const totals *t = &all[i / 2][i % 2];
        if (t->n > 0) {
            opt_jsonw_begin_object(w);
            opt_jsonw_put_str(w, "format", t->name);
            opt_jsonw_put_i64(w, "tensors", t->n);
            opt_jsonw_put_i64(w, "bytes", (int64_t)t->bytes);
            opt_jsonw_put_f64(w, "bits_per_weight", t->elems > 0 ? 8 * t->bytes / t->elems : 0);
            opt_jsonw_end_object(w);
        }
    }
    opt_jsonw_end_array(w);
}

/** "verified" is null unless the tensors were read and compared. */
static opt_status put_checksums(opt_jsonw *w, opt_source *source, bool verify) {
    opt_status st = OPT_OK;
    const opt_kv *kv = opt_source_kv(source);
    const opt_kv_entry *e = kv != NULL ? opt_kv_find(kv, OPT_GGUF_KEY_CHECKSUM) : NULL;
    int64_t n_checked = 0;
    if (verify) {
        OPT_TRY(opt_source_verify(source, &n_checked));
    }
    opt_jsonw_key(w, "checksums");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_i64(w, "stored", e != NULL ? (int64_t)e->n : 0);
    opt_jsonw_key(w, "verified");
    if (verify) {
        opt_jsonw_i64(w, n_checked);
    } else {
        opt_jsonw_null(w);
    }
    opt_jsonw_end_object(w);
done:
    return st;
}

static void put_model(opt_jsonw *w, const opt_model *m) {
    opt_jsonw_put_str(w, "name", m->name);
    opt_jsonw_key(w, "model");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_i64(w, "layers", m->hp.n_layers);
    opt_jsonw_put_i64(w, "width", m->hp.n_embd);
    opt_jsonw_put_i64(w, "feed_forward_width", m->hp.n_ff);
    opt_jsonw_put_i64(w, "heads", m->hp.n_heads);
    opt_jsonw_put_i64(w, "kv_heads", m->hp.n_heads_kv);
    opt_jsonw_put_i64(w, "head_width", m->hp.head_dim);
    opt_jsonw_put_i64(w, "vocabulary", m->hp.n_vocab);
    opt_jsonw_put_i64(w, "trained_context", m->hp.n_ctx_train);
    opt_jsonw_put_bool(w, "tied", m->hp.tied);
    opt_jsonw_end_object(w);
}

/** Bytes of keys and values of a sequence that fills the context that the model was trained for. */
static uint64_t cache_bytes(const opt_model *m, opt_cache_type type, int64_t *n_windows) {
    size_t total = 0;
    *n_windows = 0;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        size_t bytes = 0;
        if (node->op != &opt_op_attention) {
            continue;
        }
        const opt_cache c = {.type = type,
                             .n_heads = node->p.attention.n_heads_kv,
                             .n_rows = opt_cache_rows_needed(node->p.attention.window,
                                                             m->hp.n_ctx_train, CACHE_BATCH),
                             .d = node->p.attention.head_dim,
                             .d_v = node->p.attention.head_dim_v};
        if (!opt_cache_bytes(&c, &bytes) || !opt_add_size(total, bytes, &total)) {
            total = INT64_MAX; /* more than there is */
        }
        *n_windows += node->p.attention.window > 0;
    }
    return total;
}

static void put_cache(opt_jsonw *w, const opt_model *m) {
    int64_t n_windows = 0;
    opt_jsonw_key(w, "cache");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_i64(w, "positions", m->hp.n_ctx_train);
    for (int type = OPT_CACHE_F32; type <= OPT_CACHE_I8; type++) {
        char key[32];
        snprintf(key, sizeof key, "bytes_%s", opt_cache_type_name((opt_cache_type)type));
        opt_jsonw_put_u64(w, key, cache_bytes(m, (opt_cache_type)type, &n_windows));
    }
    opt_jsonw_put_i64(w, "window", m->hp.sliding_window);
    opt_jsonw_put_i64(w, "layers_with_window", n_windows);
    opt_jsonw_end_object(w);
}

opt_status opt_inspect_json(opt_ctx *ctx, const char *path, bool verify, char **out) {
    opt_status st = OPT_OK;
    opt_source *source = NULL;
    opt_model *model = NULL;
    opt_str text = {0};
    opt_jsonw w;
    OPT_TRY(opt_source_open(ctx, path, &source));
    OPT_TRY(opt_model_open(ctx, source, &model));
    opt_jsonw_init(&w, ctx, &text, 1);
    opt_jsonw_begin_object(&w);
    put_model(&w, model);
    put_cache(&w, model);
    opt_jsonw_put_str(&w, "container",
                      opt_source_kind_of(source) == OPT_SOURCE_GGUF ? "GGUF"
                                                                    : "Hugging Face directory");
    opt_jsonw_put_str(&w, "architecture", model->arch->name);
    opt_jsonw_put_i64(&w, "file_bytes", (int64_t)opt_source_file_bytes(source));
    put_formats(&w, source);
    OPT_TRY(put_checksums(&w, source, verify));
    OPT_TRY(put_metadata(ctx, &w, opt_source_kv(source)));
    opt_jsonw_key(&w, "tensors");
    opt_jsonw_begin_array(&w);
    for (int64_t i = 0; i < opt_source_n_tensors(source); i++) {
        put_tensor(&w, opt_source_tensor(source, i));
    }
    opt_jsonw_end_array(&w);
    opt_jsonw_end_object(&w);
    OPT_TRY(opt_jsonw_finish(&w));
    *out = text.data;
    text.data = NULL;
done:
    if (text.data != NULL) {
        opt_str_free(ctx, &text);
    }
    opt_model_free(model);
    opt_source_close(source);
    return st;
}
