/* What the reader accepts is written again; the text of the writer must read back as the same
 * value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_value(opt_jsonw *w, const opt_json *v) {
    int64_t i = 0;
    double d = 0;
    size_t len = 0;
    void *it = NULL;
    const char *key = NULL;
    const opt_json *member = NULL;
    switch (opt_json_type_of(v)) {
    case OPT_JSON_NULL: opt_jsonw_null(w); break;
    case OPT_JSON_BOOL: opt_jsonw_bool(w, opt_json_bool(v, false)); break;
    case OPT_JSON_INT:
        if (opt_json_i64(v, &i)) {
            opt_jsonw_i64(w, i);
        }
        break;
    case OPT_JSON_REAL:
        if (opt_json_f64(v, &d)) {
            opt_jsonw_f64(w, d);
        }
        break;
    case OPT_JSON_STRING:
        key = opt_json_str(v, &len);
        opt_jsonw_strn(w, key, len);
        break;
    case OPT_JSON_ARRAY:
        opt_jsonw_begin_array(w);
        for (size_t k = 0; k < opt_json_size(v); k++) {
            write_value(w, opt_json_at(v, k));
        }
        opt_jsonw_end_array(w);
        break;
    case OPT_JSON_OBJECT:
        opt_jsonw_begin_object(w);
        while (opt_json_next(v, &it, &key, &member)) {
            opt_jsonw_key(w, key);
            write_value(w, member);
        }
        opt_jsonw_end_object(w);
        break;
    }
}

static void write_text(opt_ctx *ctx, const opt_json *v, int indent, opt_str *out) {
    opt_jsonw w;
    opt_jsonw_init(&w, ctx, out, indent);
    write_value(&w, v);
    if (opt_jsonw_finish(&w) != OPT_OK) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *ctx = NULL;
    opt_json *first = NULL;
    opt_json *second = NULL;
    opt_str compact = {0};
    opt_str indented = {0};
    opt_str again = {0};
    if (opt_ctx_new(&(opt_ctx_options){.n_threads = 1}, &ctx) != OPT_OK) {
        abort();
    }
    if (opt_json_parse(ctx, "fuzz", (const char *)data, size, &first) == OPT_OK) {
        write_text(ctx, first, 0, &compact);
        write_text(ctx, first, 3, &indented);
        if (opt_json_parse(ctx, "again", indented.data, indented.len, &second) != OPT_OK) {
            abort();
        }
        write_text(ctx, second, 0, &again);
        if (again.len != compact.len || memcmp(again.data, compact.data, again.len) != 0) {
            abort();
        }
    } else if (opt_ctx_status(ctx) != OPT_ERR_INPUT || opt_ctx_error_message(ctx)[0] == '\0') {
        abort();
    }
    opt_str_free(ctx, &compact);
    opt_str_free(ctx, &indented);
    opt_str_free(ctx, &again);
    opt_json_free(first);
    opt_json_free(second);
    opt_ctx_free(ctx);
    return 0;
}
