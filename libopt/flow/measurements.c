#include "flow/measurements.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

#define SCHEMA "lathe.measurements/1"

enum {
    MAX_FILE_BYTES = 256 << 20,
    MAX_TENSORS = 20000,
    MAX_FORMATS = 256, /* of one tensor: no table is longer */
    HASH_CHARS = 16
};

void opt_measurements_free(opt_measurements *m) {
    opt_arena_free(m->arena);
    *m = (opt_measurements){0};
}

const opt_tensor_costs *opt_measurements_find(const opt_measurements *m, const char *name) {
    for (int i = 0; i < m->n; i++) {
        if (strcmp(m->tensors[i].name, name) == 0) {
            return &m->tensors[i];
        }
    }
    return NULL;
}

const opt_format_cost *opt_measurements_format(const opt_tensor_costs *t, const opt_format *f) {
    for (int i = 0; i < t->n; i++) {
        if (t->formats[i].format == f) {
            return &t->formats[i];
        }
    }
    return NULL;
}

opt_status opt_measurements_hash(opt_ctx *ctx, const opt_model *m, uint64_t *out) {
    opt_status st = OPT_OK;
    opt_xxh3_state *state = NULL;
    OPT_TRY(opt_xxh3_new(ctx, &state));
    for (int i = 0; i < m->n_weights; i++) {
        const opt_tensor *t = m->weights[i].tensor;
        opt_xxh3_update(state, m->weights[i].name, strlen(m->weights[i].name) + 1);
        opt_xxh3_update(state, t->format->name, strlen(t->format->name) + 1);
        opt_xxh3_update(state, t->data, t->bytes);
        if (!m->weights[i].computed) {
            opt_source_dont_need(m->source, t);
        }
    }
    *out = opt_xxh3_digest(state);
done:
    opt_xxh3_free(state);
    return st;
}

/* ---- writing ---- */

static void put_hash(opt_jsonw *w, const char *key, uint64_t hash) {
    char hex[HASH_CHARS + 1];
    snprintf(hex, sizeof hex, "%016" PRIx64, hash);
    opt_jsonw_put_str(w, key, hex);
}

static void put_tensor(opt_jsonw *w, const opt_tensor_costs *t) {
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "name", t->name);
    opt_jsonw_put_i64(w, "rows", t->n_rows);
    opt_jsonw_put_i64(w, "columns", t->n_cols);
    opt_jsonw_put_f64(w, "probe_error", t->probe_error);
    opt_jsonw_put_f64(w, "probe_kld", t->probe_kld);
    opt_jsonw_key(w, "formats");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < t->n; i++) {
        opt_jsonw_begin_object(w);
        opt_jsonw_put_str(w, "format", t->formats[i].format->name);
        opt_jsonw_put_f64(w, "error", t->formats[i].error);
        opt_jsonw_put_f64(w, "kld", t->formats[i].kld);
        opt_jsonw_end_object(w);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_end_object(w);
}

static void put_document(opt_jsonw *w, const opt_measurements *m) {
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "schema", SCHEMA);
    put_hash(w, "model", m->model_hash);
    put_hash(w, "text", m->text_hash);
    opt_jsonw_put_str(w, "method", m->method);
    opt_jsonw_put_i64(w, "sweeps", m->sweeps);
    opt_jsonw_put_i64(w, "tokens", m->n_tokens);
    opt_jsonw_put_i64(w, "held_tokens", m->n_held_tokens);
    opt_jsonw_key(w, "tensors");
    opt_jsonw_begin_array(w);
    for (int i = 0; i < m->n; i++) {
        put_tensor(w, &m->tensors[i]);
    }
    opt_jsonw_end_array(w);
    opt_jsonw_end_object(w);
}

opt_status opt_measurements_write(opt_ctx *ctx, const opt_measurements *m, const char *path,
                                  bool force) {
    opt_status st = OPT_OK;
    opt_str text = {0};
    opt_jsonw w;
    opt_outfile *file = NULL;
    opt_jsonw_init(&w, ctx, &text, 1);
    put_document(&w, m);
    OPT_TRY(opt_jsonw_finish(&w));
    OPT_TRY(opt_str_append(ctx, &text, "\n", 1));
    OPT_TRY(opt_outfile_open(ctx, path, force, text.len, &file));
    OPT_TRY(opt_outfile_pwrite(file, 0, text.data, text.len));
    st = opt_outfile_commit(file, NULL, NULL);
    file = NULL;
done:
    opt_outfile_discard(file);
    opt_str_free(ctx, &text);
    return st;
}

/* ---- reading ---- */

typedef struct reader {
    opt_ctx *ctx;
    const char *name; /* of the file */
    opt_measurements *m;
} reader;

static opt_status read_hash(const reader *r, const opt_json *root, const char *key, uint64_t *out) {
    opt_status st = OPT_OK;
    const char *hex = NULL;
    OPT_TRY(opt_json_need_str(r->ctx, r->name, root, key, true, &hex));
    uint64_t value = 0;
    size_t n = 0;
    for (; hex[n] != 0 && n <= HASH_CHARS; n++) {
        const char c = hex[n];
        const bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        OPT_REQUIRE(digit || letter, r->ctx, OPT_ERR_INPUT, r->name,
                    "'%s' is no hash of 16 hexadecimal digits", key);
        value = value << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    OPT_REQUIRE(n == HASH_CHARS, r->ctx, OPT_ERR_INPUT, r->name,
                "'%s' is no hash of 16 hexadecimal digits", key);
    *out = value;
done:
    return st;
}

static opt_status read_format(const reader *r, const opt_json *v, const opt_tensor_costs *t,
                              opt_format_cost *out) {
    opt_status st = OPT_OK;
    const char *name = NULL;
    OPT_TRY(opt_json_need_str(r->ctx, r->name, v, "format", true, &name));
    out->format = opt_format_by_name(name);
    OPT_REQUIRE(out->format != NULL, r->ctx, OPT_ERR_INPUT, r->name, "%s: unknown format '%s'",
                t->name, name);
    OPT_REQUIRE(opt_format_fits(out->format, t->n_cols), r->ctx, OPT_ERR_INPUT, r->name,
                "%s: %s does not fit rows of %" PRId64, t->name, name, t->n_cols);
    OPT_REQUIRE(opt_measurements_format(t, out->format) == NULL, r->ctx, OPT_ERR_INPUT, r->name,
                "%s: %s is there twice", t->name, name);
    OPT_TRY(opt_json_need_f64(r->ctx, r->name, v, "error", true, 0.0, 1e300, &out->error));
    OPT_TRY(opt_json_need_f64(r->ctx, r->name, v, "kld", true, 0.0, 1e6, &out->kld));
done:
    return st;
}

/* An array with at least one element. */
static opt_status need_array(const reader *r, const opt_json *object, const char *key, size_t max,
                             const opt_json **out) {
    opt_status st = OPT_OK;
    const opt_json *v = opt_json_get(object, key);
    OPT_REQUIRE(opt_json_type_of(v) == OPT_JSON_ARRAY, r->ctx, OPT_ERR_INPUT, r->name,
                "'%s' must be an array, it is %s", key, opt_json_type_name(opt_json_type_of(v)));
    OPT_REQUIRE(opt_json_size(v) > 0 && opt_json_size(v) <= max, r->ctx, OPT_ERR_INPUT, r->name,
                "'%s' has %zu elements, expected 1 to %zu", key, opt_json_size(v), max);
    *out = v;
done:
    return st;
}

static opt_status read_tensor(const reader *r, const opt_json *v, opt_tensor_costs *t) {
    opt_status st = OPT_OK;
    const opt_json *formats = NULL;
    const char *name = NULL;
    OPT_TRY(opt_json_need_str(r->ctx, r->name, v, "name", true, &name));
    OPT_REQUIRE(opt_measurements_find(r->m, name) == NULL, r->ctx, OPT_ERR_INPUT, r->name,
                "tensor %s is there twice", name);
    OPT_TRY_PTR(t->name = opt_arena_strdup(r->m->arena, name));
    OPT_TRY(opt_json_need_i64(r->ctx, r->name, v, "rows", true, 1, INT64_MAX, &t->n_rows));
    OPT_TRY(opt_json_need_i64(r->ctx, r->name, v, "columns", true, 1, INT64_MAX, &t->n_cols));
    OPT_TRY(
        opt_json_need_f64(r->ctx, r->name, v, "probe_error", true, 0.0, 1e300, &t->probe_error));
    OPT_TRY(opt_json_need_f64(r->ctx, r->name, v, "probe_kld", true, 0.0, 1e6, &t->probe_kld));
    OPT_TRY(need_array(r, v, "formats", MAX_FORMATS, &formats));
    const size_t n = opt_json_size(formats);
    OPT_TRY_PTR(t->formats = opt_arena_array(r->m->arena, n, sizeof *t->formats));
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(read_format(r, opt_json_at(formats, i), t, &t->formats[i]));
        t->n++; /* only now: what is looked for twice is complete */
    }
done:
    return st;
}

static opt_status read_document(const reader *r, const opt_json *root) {
    opt_status st = OPT_OK;
    opt_measurements *m = r->m;
    const opt_json *tensors = NULL;
    const char *schema = NULL, *method = NULL;
    OPT_TRY(opt_json_need_str(r->ctx, r->name, root, "schema", true, &schema));
    OPT_REQUIRE(strcmp(schema, SCHEMA) == 0, r->ctx, OPT_ERR_INPUT, r->name,
                "the schema is '%s', expected '%s'", schema, SCHEMA);
    OPT_TRY(read_hash(r, root, "model", &m->model_hash));
    OPT_TRY(read_hash(r, root, "text", &m->text_hash));
    OPT_TRY(opt_json_need_str(r->ctx, r->name, root, "method", true, &method));
    OPT_TRY_PTR(m->method = opt_arena_strdup(m->arena, method));
    OPT_TRY(opt_json_need_i64(r->ctx, r->name, root, "sweeps", true, 0, 1000000, &m->sweeps));
    OPT_TRY(opt_json_need_i64(r->ctx, r->name, root, "tokens", true, 0, INT64_MAX, &m->n_tokens));
    OPT_TRY(opt_json_need_i64(r->ctx, r->name, root, "held_tokens", true, 0, INT64_MAX,
                              &m->n_held_tokens));
    OPT_TRY(need_array(r, root, "tensors", MAX_TENSORS, &tensors));
    const size_t n = opt_json_size(tensors);
    OPT_TRY_PTR(m->tensors = opt_arena_array(m->arena, n, sizeof *m->tensors));
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(read_tensor(r, opt_json_at(tensors, i), &m->tensors[i]));
        m->n++;
    }
done:
    return st;
}

opt_status opt_measurements_parse(opt_ctx *ctx, const char *name, const char *text, size_t bytes,
                                  opt_measurements *out) {
    opt_status st = OPT_OK;
    opt_json *root = NULL;
    opt_measurements m = {0};
    const reader r = {ctx, name, &m};
    OPT_TRY(opt_json_parse(ctx, name, text, bytes, &root));
    OPT_TRY(opt_arena_new(ctx, &m.arena));
    OPT_TRY(read_document(&r, root));
    *out = m;
    m.arena = NULL;
done:
    opt_json_free(root);
    opt_measurements_free(&m);
    return st;
}

opt_status opt_measurements_read(opt_ctx *ctx, const char *path, opt_measurements *out) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    OPT_TRY(opt_buf_read(ctx, path, MAX_FILE_BYTES, &buf));
    OPT_TRY(opt_measurements_parse(ctx, path, (const char *)buf->data, buf->bytes, out));
done:
    opt_buf_release(buf);
    return st;
}
