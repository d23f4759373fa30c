#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* An opt_json pointer is a json_t pointer; only this file knows. */

static const json_t *value_of(const opt_json *v) { return (const json_t *)(const void *)v; }

static const opt_json *json_of(const json_t *v) { return (const opt_json *)(const void *)v; }

opt_status opt_json_parse(opt_ctx *ctx, const char *name, const char *text, size_t bytes,
                          opt_json **out) {
    json_error_t error = {0};
    const json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root != NULL) {
        *out = (opt_json *)(void *)root;
        return OPT_OK;
    }
    if (json_error_code(&error) == json_error_out_of_memory) {
        return opt_fail(ctx, OPT_ERR_MEMORY, name, "out of memory while parsing %zu bytes of JSON",
                        bytes);
    }
    return opt_fail(ctx, OPT_ERR_INPUT, name, "line %d column %d: %s", error.line, error.column,
                    error.text);
}

void opt_json_free(opt_json *root) { json_decref((json_t *)(void *)root); }

opt_json_type opt_json_type_of(const opt_json *v) {
    if (v == NULL) {
        return OPT_JSON_NULL;
    }
    switch (json_typeof(value_of(v))) {
    case JSON_OBJECT: return OPT_JSON_OBJECT;
    case JSON_ARRAY: return OPT_JSON_ARRAY;
    case JSON_STRING: return OPT_JSON_STRING;
    case JSON_INTEGER: return OPT_JSON_INT;
    case JSON_REAL: return OPT_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return OPT_JSON_BOOL;
    case JSON_NULL: return OPT_JSON_NULL;
    }
    return OPT_JSON_NULL;
}

const char *opt_json_type_name(opt_json_type type) {
    switch (type) {
    case OPT_JSON_NULL: return "null";
    case OPT_JSON_BOOL: return "a boolean";
    case OPT_JSON_INT: return "an integer";
    case OPT_JSON_REAL: return "a number";
    case OPT_JSON_STRING: return "a string";
    case OPT_JSON_ARRAY: return "an array";
    case OPT_JSON_OBJECT: return "an object";
    }
    return "unknown";
}

const opt_json *opt_json_get(const opt_json *v, const char *key) {
    return v == NULL ? NULL
                     : json_of(json_object_get(value_of(v), key)); /* NULL unless an object */
}

size_t opt_json_size(const opt_json *v) {
    return v == NULL                    ? 0
           : json_is_array(value_of(v)) ? json_array_size(value_of(v))
                                        : json_object_size(value_of(v));
}

const opt_json *opt_json_at(const opt_json *v, size_t i) {
    return v == NULL ? NULL : json_of(json_array_get(value_of(v), i)); /* NULL unless an array */
}

const char *opt_json_str(const opt_json *v, size_t *len) {
    if (opt_json_type_of(v) != OPT_JSON_STRING) {
        return NULL;
    }
    if (len != NULL) {
        *len = json_string_length(value_of(v));
    }
    return json_string_value(value_of(v));
}

bool opt_json_bool(const opt_json *v, bool fallback) {
    return opt_json_type_of(v) == OPT_JSON_BOOL ? json_is_true(value_of(v)) : fallback;
}

bool opt_json_i64(const opt_json *v, int64_t *out) {
    if (opt_json_type_of(v) != OPT_JSON_INT) {
        return false;
    }
    *out = json_integer_value(value_of(v));
    return true;
}

bool opt_json_f64(const opt_json *v, double *out) {
    const opt_json_type type = opt_json_type_of(v);
    if (type != OPT_JSON_INT && type != OPT_JSON_REAL) {
        return false;
    }
    *out = json_number_value(value_of(v));
    return true;
}

bool opt_json_next(const opt_json *object, void **it, const char **key, const opt_json **value) {
    if (opt_json_type_of(object) != OPT_JSON_OBJECT) {
        return false;
    }
    json_t *o =
        (json_t *)(void *)value_of(object); /* the iterator only reads, but its type is not const */
    *it = *it == NULL ? json_object_iter(o) : json_object_iter_next(o, *it);
    if (*it == NULL) {
        return false;
    }
    *key = json_object_iter_key(*it);
    *value = json_of(json_object_iter_value(*it));
    return true;
}

/**
 * Finds a member for the functions below. *found is NULL when it may be missing and is (absent or
 * null); otherwise it has the right type, where integers count as numbers.
 */
static opt_status find_member(opt_ctx *ctx, const char *name, const opt_json *object,
                              const char *key, bool required, opt_json_type wanted,
                              const opt_json **found) {
    *found = NULL;
    if (opt_json_type_of(object) != OPT_JSON_OBJECT) {
        return opt_fail(ctx, OPT_ERR_INPUT, name,
                        "found %s where an object with \"%s\" is expected",
                        opt_json_type_name(opt_json_type_of(object)), key);
    }
    const opt_json *v = opt_json_get(object, key);
    const opt_json_type type = opt_json_type_of(v);
    if (type == OPT_JSON_NULL) {
        if (required) {
            return opt_fail(ctx, OPT_ERR_INPUT, name,
                            v == NULL ? "\"%s\" is missing, expected %s"
                                      : "\"%s\" is null, expected %s",
                            key, opt_json_type_name(wanted));
        }
        return OPT_OK;
    }
    if (type != wanted && !(wanted == OPT_JSON_REAL && type == OPT_JSON_INT)) {
        return opt_fail(ctx, OPT_ERR_INPUT, name, "\"%s\" is %s, expected %s", key,
                        opt_json_type_name(type), opt_json_type_name(wanted));
    }
    *found = v;
    return OPT_OK;
}

opt_status opt_json_need_i64(opt_ctx *ctx, const char *name, const opt_json *object,
                             const char *key, bool required, int64_t min, int64_t max,
                             int64_t *out) {
    opt_status st = OPT_OK;
    const opt_json *v = NULL;
    int64_t value = 0;
    OPT_TRY(find_member(ctx, name, object, key, required, OPT_JSON_INT, &v));
    if (opt_json_i64(v, &value)) {
        OPT_REQUIRE(value >= min && value <= max, ctx, OPT_ERR_INPUT, name,
                    "\"%s\" is %lld, expected %lld to %lld", key, (long long)value, (long long)min,
                    (long long)max);
        *out = value;
    }
done:
    return st;
}

opt_status opt_json_need_f64(opt_ctx *ctx, const char *name, const opt_json *object,
                             const char *key, bool required, double min, double max, double *out) {
    opt_status st = OPT_OK;
    const opt_json *v = NULL;
    double value = 0.0;
    OPT_TRY(find_member(ctx, name, object, key, required, OPT_JSON_REAL, &v));
    if (opt_json_f64(v, &value)) {
        OPT_REQUIRE(isfinite(value) && value >= min && value <= max, ctx, OPT_ERR_INPUT, name,
                    "\"%s\" is %g, expected %g to %g", key, value, min, max);
        *out = value;
    }
done:
    return st;
}

opt_status opt_json_need_bool(opt_ctx *ctx, const char *name, const opt_json *object,
                              const char *key, bool required, bool *out) {
    const opt_json *v = NULL;
    const opt_status st = find_member(ctx, name, object, key, required, OPT_JSON_BOOL, &v);
    if (v != NULL) {
        *out = opt_json_bool(v, false);
    }
    return st;
}

opt_status opt_json_need_str(opt_ctx *ctx, const char *name, const opt_json *object,
                             const char *key, bool required, const char **out) {
    const opt_json *v = NULL;
    const opt_status st = find_member(ctx, name, object, key, required, OPT_JSON_STRING, &v);
    if (v != NULL) {
        *out = opt_json_str(v, NULL);
    }
    return st;
}
