/**
 * JSON: a strict reader (duplicate keys, bad UTF-8, trailing bytes are errors) and a streaming
 * writer.
 */
#ifndef OPT_BASE_JSON_H
#define OPT_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/mem.h"

/** A parsed value; owned by its document, freed with the root. Members of a NULL value are NULL. */
typedef struct opt_json opt_json;

typedef enum opt_json_type {
    OPT_JSON_NULL,
    OPT_JSON_BOOL,
    OPT_JSON_INT,
    OPT_JSON_REAL,
    OPT_JSON_STRING,
    OPT_JSON_ARRAY,
    OPT_JSON_OBJECT
} opt_json_type;

/**
 * Parses `bytes` of text; `name` is the file for messages, which give line and column. Errors:
 * INPUT.
 */
OPT_MUST_USE opt_status opt_json_parse(opt_ctx *ctx, const char *name, const char *text,
                                       size_t bytes, opt_json **out);
void opt_json_free(opt_json *root);

opt_json_type opt_json_type_of(const opt_json *v); /* NULL counts as OPT_JSON_NULL */
const char *opt_json_type_name(opt_json_type type);
/** Member of an object, or NULL (absent, or `v` is no object). */
const opt_json *opt_json_get(const opt_json *v, const char *key);
size_t
opt_json_size(const opt_json *v); /* elements of an array, members of an object; otherwise 0 */
const opt_json *opt_json_at(const opt_json *v, size_t i);
/** Strings may hold any UTF-8, without NUL. `len` may be NULL. Returns NULL if `v` is no string. */
const char *opt_json_str(const opt_json *v, size_t *len);
bool opt_json_bool(const opt_json *v, bool fallback);
bool opt_json_i64(const opt_json *v, int64_t *out); /* false unless an integer */
bool opt_json_f64(const opt_json *v, double *out);  /* integers too */

/** Iterates members in file order: start with *it = NULL; false at the end. */
bool opt_json_next(const opt_json *object, void **it, const char **key, const opt_json **value);

/*
 * Typed members of an object with a clear INPUT error: `name` = file, message gives key, expected
 * and found type. `required` false: an absent or null member leaves *out as it is.
 */
OPT_MUST_USE opt_status opt_json_need_i64(opt_ctx *ctx, const char *name, const opt_json *object,
                                          const char *key, bool required, int64_t min, int64_t max,
                                          int64_t *out);
OPT_MUST_USE opt_status opt_json_need_f64(opt_ctx *ctx, const char *name, const opt_json *object,
                                          const char *key, bool required, double min, double max,
                                          double *out);
OPT_MUST_USE opt_status opt_json_need_bool(opt_ctx *ctx, const char *name, const opt_json *object,
                                           const char *key, bool required, bool *out);
OPT_MUST_USE opt_status opt_json_need_str(opt_ctx *ctx, const char *name, const opt_json *object,
                                          const char *key, bool required, const char **out);

/** Streaming writer: appends to an opt_str. Errors are kept and returned by opt_jsonw_finish. */
typedef struct opt_jsonw {
    opt_ctx *ctx;
    opt_str *out;
    opt_status status;
    int depth;
    int indent; /* spaces a level; 0: one line */
    bool need_comma;
    bool after_key;
} opt_jsonw;

void opt_jsonw_init(opt_jsonw *w, opt_ctx *ctx, opt_str *out, int indent);
void opt_jsonw_begin_object(opt_jsonw *w);
void opt_jsonw_end_object(opt_jsonw *w);
void opt_jsonw_begin_array(opt_jsonw *w);
void opt_jsonw_end_array(opt_jsonw *w);
void opt_jsonw_key(opt_jsonw *w, const char *key);
void opt_jsonw_str(opt_jsonw *w, const char *s); /* NULL writes null; bad UTF-8 becomes U+FFFD */
void opt_jsonw_strn(opt_jsonw *w, const char *s, size_t n);
void opt_jsonw_i64(opt_jsonw *w, int64_t v);
void opt_jsonw_u64(opt_jsonw *w, uint64_t v);
void opt_jsonw_f64(opt_jsonw *w,
                   double v); /* shortest text that reads back equal; NaN and infinity write null */
void opt_jsonw_bool(opt_jsonw *w, bool v);
void opt_jsonw_null(opt_jsonw *w);
/* A member of an object: its key and value. */
void opt_jsonw_put_str(opt_jsonw *w, const char *key, const char *s);
void opt_jsonw_put_i64(opt_jsonw *w, const char *key, int64_t v);
void opt_jsonw_put_u64(opt_jsonw *w, const char *key, uint64_t v);
void opt_jsonw_put_f64(opt_jsonw *w, const char *key, double v);
void opt_jsonw_put_bool(opt_jsonw *w, const char *key, bool v);
OPT_MUST_USE opt_status opt_jsonw_finish(opt_jsonw *w);

#endif
