/** Typed key-value metadata: what GGUF files carry. Used by the readers, the tokenizers and the
 * writers. */
#ifndef OPT_IO_KV_H
#define OPT_IO_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

/** Value types; the numbers are GGUF's. */
typedef enum opt_kv_type {
    OPT_KV_U8 = 0,
    OPT_KV_I8 = 1,
    OPT_KV_U16 = 2,
    OPT_KV_I16 = 3,
    OPT_KV_U32 = 4,
    OPT_KV_I32 = 5,
    OPT_KV_F32 = 6,
    OPT_KV_BOOL = 7,
    OPT_KV_STRING = 8,
    OPT_KV_ARRAY = 9,
    OPT_KV_U64 = 10,
    OPT_KV_I64 = 11,
    OPT_KV_F64 = 12
} opt_kv_type;

/** A string that may hold any bytes. */
typedef struct opt_kv_str {
    const char *data; /* [len], not 0-terminated */
    size_t len;
} opt_kv_str;

/** One entry. For arrays `type` is OPT_KV_ARRAY and `elem` the type of the n elements; otherwise
 * elem == type. */
typedef struct opt_kv_entry {
    const char *key;
    opt_kv_type type;
    opt_kv_type elem;
    size_t n;         /* elements of an array, otherwise 1 */
    const void *data; /* n packed little-endian values (bool: 1 byte), unaligned; for strings
                         opt_kv_str [n] */
} opt_kv_entry;

/** An ordered set of entries with unique keys; owns copies of all it holds. */
typedef struct opt_kv opt_kv;

/** Bytes of one packed value of a fixed-size type; 0 for strings, arrays and unknown numbers. */
size_t opt_kv_type_bytes(int64_t type);
/** "u32", "string", ...; "unknown" for a number that is no type. */
const char *opt_kv_type_name(int64_t type);

/** Errors of this module: MEMORY; BUG for a key that is empty or longer than 65535 bytes. */
OPT_MUST_USE opt_status opt_kv_new(opt_ctx *ctx, opt_kv **out);
void opt_kv_free(opt_kv *kv);
size_t opt_kv_count(const opt_kv *kv);
const opt_kv_entry *opt_kv_at(const opt_kv *kv, size_t i);
const opt_kv_entry *opt_kv_find(const opt_kv *kv, const char *key); /* NULL if absent */
/** Name of the file that the entries came from, for messages (set by the reader; "" otherwise). */
const char *opt_kv_origin(const opt_kv *kv);
OPT_MUST_USE opt_status opt_kv_set_origin(opt_kv *kv, const char *name);

/* Setters replace an entry of the same key in place. */
OPT_MUST_USE opt_status opt_kv_set_u32(opt_kv *kv, const char *key, uint32_t v);
OPT_MUST_USE opt_status opt_kv_set_i32(opt_kv *kv, const char *key, int32_t v);
OPT_MUST_USE opt_status opt_kv_set_u64(opt_kv *kv, const char *key, uint64_t v);
OPT_MUST_USE opt_status opt_kv_set_f32(opt_kv *kv, const char *key, float v);
OPT_MUST_USE opt_status opt_kv_set_bool(opt_kv *kv, const char *key, bool v);
OPT_MUST_USE opt_status opt_kv_set_str(opt_kv *kv, const char *key, const char *s);
OPT_MUST_USE opt_status opt_kv_set_strn(opt_kv *kv, const char *key, const char *s, size_t n);
/** Array of n values of a fixed-size type (native layout; bool as uint8_t). */
OPT_MUST_USE opt_status opt_kv_set_array(opt_kv *kv, const char *key, opt_kv_type elem,
                                         const void *data, size_t n);
OPT_MUST_USE opt_status opt_kv_set_str_array(opt_kv *kv, const char *key, const opt_kv_str *strings,
                                             size_t n);
/** Copies an entry of another set. */
OPT_MUST_USE opt_status opt_kv_copy(opt_kv *kv, const opt_kv_entry *entry);
/** Removes an entry; the others keep their order. Nothing happens when it is absent. */
void opt_kv_remove(opt_kv *kv, const char *key);

/* Typed readers with a clear INPUT error (file, key, expected and found type). Any integer type is
   accepted where the value lies in [min, max]; f32 and f64 where a float is asked for. `required`
   false: an absent key leaves *out as it is. */
OPT_MUST_USE opt_status opt_kv_get_i64(opt_ctx *ctx, const opt_kv *kv, const char *key,
                                       bool required, int64_t min, int64_t max, int64_t *out);
OPT_MUST_USE opt_status opt_kv_get_f64(opt_ctx *ctx, const opt_kv *kv, const char *key,
                                       bool required, double *out);
OPT_MUST_USE opt_status opt_kv_get_bool(opt_ctx *ctx, const opt_kv *kv, const char *key,
                                        bool required, bool *out);
/** A string without NUL bytes; the text lives as long as kv. */
OPT_MUST_USE opt_status opt_kv_get_str(opt_ctx *ctx, const opt_kv *kv, const char *key,
                                       bool required, const char **out);
/** An array of strings; *out is borrowed. */
OPT_MUST_USE opt_status opt_kv_get_str_array(opt_ctx *ctx, const opt_kv *kv, const char *key,
                                             bool required, const opt_kv_str **out, size_t *n);
/** Element i of a numeric array as an integer or a float (bounds and type were checked by the
 * caller through opt_kv_find). */
int64_t opt_kv_elem_i64(const opt_kv_entry *entry, size_t i);
double opt_kv_elem_f64(const opt_kv_entry *entry, size_t i);

#endif
