#include "io/kv.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"

#define KEY_BYTES_MAX 65535
#define SLOTS_MIN 64

struct opt_kv {
    opt_ctx *ctx;
    opt_arena *arena; /* keys and values; a replaced value stays until the set is freed */
    opt_kv_entry *entries;
    uint64_t *hashes; /* [cap], of the keys */
    size_t n;
    size_t cap;
    uint32_t *slots; /* [n_slots] open addressing, index of the entry + 1, 0 = free */
    size_t n_slots;  /* a power of two, at least half of it free */
    const char *origin;
};

static const struct {
    const char *name;
    size_t bytes;
} kv_types[] = {
    [OPT_KV_U8] = {"u8", 1},       [OPT_KV_I8] = {"i8", 1},     [OPT_KV_U16] = {"u16", 2},
    [OPT_KV_I16] = {"i16", 2},     [OPT_KV_U32] = {"u32", 4},   [OPT_KV_I32] = {"i32", 4},
    [OPT_KV_F32] = {"f32", 4},     [OPT_KV_BOOL] = {"bool", 1}, [OPT_KV_STRING] = {"string", 0},
    [OPT_KV_ARRAY] = {"array", 0}, [OPT_KV_U64] = {"u64", 8},   [OPT_KV_I64] = {"i64", 8},
    [OPT_KV_F64] = {"f64", 8},
};
#define N_KV_TYPES ((int64_t)(sizeof kv_types / sizeof kv_types[0]))

size_t opt_kv_type_bytes(int64_t type) {
    return type >= 0 && type < N_KV_TYPES ? kv_types[type].bytes : 0;
}

const char *opt_kv_type_name(int64_t type) {
    return type >= 0 && type < N_KV_TYPES ? kv_types[type].name : "unknown";
}

opt_status opt_kv_new(opt_ctx *ctx, opt_kv **out) {
    opt_status st = OPT_OK;
    opt_kv *kv = opt_alloc_zero(ctx, sizeof *kv);
    OPT_TRY_PTR(kv);
    kv->ctx = ctx;
    kv->origin = "";
    OPT_TRY(opt_arena_new(ctx, &kv->arena));
    *out = kv;
    kv = NULL;
done:
    opt_kv_free(kv);
    return st;
}

void opt_kv_free(opt_kv *kv) {
    if (kv == NULL) {
        return;
    }
    opt_ctx *const ctx = kv->ctx;
    opt_arena_free(kv->arena);
    opt_free(ctx, kv->entries);
    opt_free(ctx, kv->hashes);
    opt_free(ctx, kv->slots);
    opt_free(ctx, kv);
}

size_t opt_kv_count(const opt_kv *kv) { return kv->n; }

const opt_kv_entry *opt_kv_at(const opt_kv *kv, size_t i) {
    return i < kv->n ? &kv->entries[i] : NULL;
}

/* Slot that holds the key, or the free one where it would go. There is always a free slot. */
static size_t find_slot(const opt_kv *kv, const char *key, uint64_t hash) {
    const size_t mask = kv->n_slots - 1;
    size_t slot = (size_t)hash & mask;
    while (kv->slots[slot] != 0) {
        const size_t i = kv->slots[slot] - 1;
        if (kv->hashes[i] == hash && strcmp(kv->entries[i].key, key) == 0) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

const opt_kv_entry *opt_kv_find(const opt_kv *kv, const char *key) {
    if (kv->n == 0) {
        return NULL;
    }
    const uint32_t found = kv->slots[find_slot(kv, key, opt_xxh3(key, strlen(key)))];
    return found != 0 ? &kv->entries[found - 1] : NULL;
}

const char *opt_kv_origin(const opt_kv *kv) { return kv->origin; }

opt_status opt_kv_set_origin(opt_kv *kv, const char *name) {
    const char *const copy = opt_arena_strdup(kv->arena, name);
    if (copy == NULL) {
        return OPT_ERR_MEMORY;
    }
    kv->origin = copy;
    return OPT_OK;
}

static void rebuild_slots(opt_kv *kv) {
    memset(kv->slots, 0, kv->n_slots * sizeof *kv->slots);
    for (size_t i = 0; i < kv->n; i++) {
        kv->slots[find_slot(kv, kv->entries[i].key, kv->hashes[i])] = (uint32_t)(i + 1);
    }
}

/* Makes room for one more entry. */
static opt_status reserve(opt_kv *kv) {
    opt_status st = OPT_OK;
    uint32_t *slots = NULL;
    if (kv->n == kv->cap) {
        const size_t cap = kv->cap == 0 ? SLOTS_MIN / 2 : kv->cap * 2;
        OPT_REQUIRE(cap <= UINT32_MAX / 4, kv->ctx, OPT_ERR_BUG, kv->origin, "too many keys");
        opt_kv_entry *const entries = opt_realloc(kv->ctx, kv->entries, cap * sizeof *entries);
        OPT_TRY_PTR(entries);
        kv->entries = entries;
        uint64_t *const hashes = opt_realloc(kv->ctx, kv->hashes, cap * sizeof *hashes);
        OPT_TRY_PTR(hashes);
        kv->hashes = hashes;
        slots = opt_alloc_array(kv->ctx, cap * 2, sizeof *slots);
        OPT_TRY_PTR(slots);
        opt_free(kv->ctx, kv->slots);
        kv->slots = slots;
        kv->n_slots = cap * 2;
        kv->cap = cap;
        rebuild_slots(kv);
    }
done:
    return st;
}

/* Stores an entry whose key is still the caller's and whose data lives in the arena. */
static opt_status put(opt_kv *kv, opt_kv_entry entry) {
    opt_status st = OPT_OK;
    const size_t len = strlen(entry.key);
    OPT_REQUIRE(len > 0 && len <= KEY_BYTES_MAX, kv->ctx, OPT_ERR_BUG, kv->origin,
                "a metadata key of %zu bytes; allowed are 1 to %d", len, KEY_BYTES_MAX);
    OPT_TRY(reserve(kv));
    const uint64_t hash = opt_xxh3(entry.key, len);
    const size_t slot = find_slot(kv, entry.key, hash);
    if (kv->slots[slot] != 0) {
        opt_kv_entry *const old = &kv->entries[kv->slots[slot] - 1];
        entry.key = old->key;
        *old = entry;
    } else {
        entry.key = opt_arena_strndup(kv->arena, entry.key, len);
        OPT_TRY_PTR(entry.key);
        kv->entries[kv->n] = entry;
        kv->hashes[kv->n] = hash;
        kv->slots[slot] = (uint32_t)++kv->n;
    }
done:
    return st;
}

static opt_status put_fixed(opt_kv *kv, const char *key, opt_kv_type type, opt_kv_type elem,
                            const void *data, size_t n) {
    opt_status st = OPT_OK;
    const size_t size = opt_kv_type_bytes(elem);
    OPT_REQUIRE(size != 0, kv->ctx, OPT_ERR_BUG, key, "a %s cannot be stored as a number",
                opt_kv_type_name(elem));
    uint8_t *const copy = opt_arena_array(kv->arena, n, size);
    OPT_TRY_PTR(copy);
    if (n > 0) {
        memcpy(copy, data, n * size);
    }
    OPT_TRY(put(kv, (opt_kv_entry){.key = key, .type = type, .elem = elem, .n = n, .data = copy}));
done:
    return st;
}

static opt_status put_strings(opt_kv *kv, const char *key, opt_kv_type type,
                              const opt_kv_str *strings, size_t n) {
    opt_status st = OPT_OK;
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        OPT_REQUIRE(opt_add_size(total, strings[i].len + 1, &total), kv->ctx, OPT_ERR_BUG, key,
                    "strings too long");
    }
    opt_kv_str *const copy = opt_arena_array(kv->arena, n, sizeof *copy);
    OPT_TRY_PTR(copy);
    char *text = opt_arena_alloc(kv->arena, total);
    OPT_TRY_PTR(text);
    for (size_t i = 0; i < n; i++) { /* a 0 behind each, so that text can be lent as a C string */
        if (strings[i].len > 0) {
            memcpy(text, strings[i].data, strings[i].len);
        }
        text[strings[i].len] = 0;
        copy[i] = (opt_kv_str){.data = text, .len = strings[i].len};
        text += strings[i].len + 1;
    }
    OPT_TRY(put(
        kv, (opt_kv_entry){.key = key, .type = type, .elem = OPT_KV_STRING, .n = n, .data = copy}));
done:
    return st;
}

opt_status opt_kv_set_u32(opt_kv *kv, const char *key, uint32_t v) {
    return put_fixed(kv, key, OPT_KV_U32, OPT_KV_U32, &v, 1);
}

opt_status opt_kv_set_i32(opt_kv *kv, const char *key, int32_t v) {
    return put_fixed(kv, key, OPT_KV_I32, OPT_KV_I32, &v, 1);
}

opt_status opt_kv_set_u64(opt_kv *kv, const char *key, uint64_t v) {
    return put_fixed(kv, key, OPT_KV_U64, OPT_KV_U64, &v, 1);
}

opt_status opt_kv_set_f32(opt_kv *kv, const char *key, float v) {
    return put_fixed(kv, key, OPT_KV_F32, OPT_KV_F32, &v, 1);
}

opt_status opt_kv_set_bool(opt_kv *kv, const char *key, bool v) {
    const uint8_t byte = v;
    return put_fixed(kv, key, OPT_KV_BOOL, OPT_KV_BOOL, &byte, 1);
}

opt_status opt_kv_set_str(opt_kv *kv, const char *key, const char *s) {
    return opt_kv_set_strn(kv, key, s, strlen(s));
}

opt_status opt_kv_set_strn(opt_kv *kv, const char *key, const char *s, size_t n) {
    return put_strings(kv, key, OPT_KV_STRING, &(opt_kv_str){.data = s, .len = n}, 1);
}

opt_status opt_kv_set_array(opt_kv *kv, const char *key, opt_kv_type elem, const void *data,
                            size_t n) {
    return put_fixed(kv, key, OPT_KV_ARRAY, elem, data, n);
}

opt_status opt_kv_set_str_array(opt_kv *kv, const char *key, const opt_kv_str *strings, size_t n) {
    return put_strings(kv, key, OPT_KV_ARRAY, strings, n);
}

opt_status opt_kv_copy(opt_kv *kv, const opt_kv_entry *e) {
    return e->elem == OPT_KV_STRING ? put_strings(kv, e->key, e->type, e->data, e->n)
                                    : put_fixed(kv, e->key, e->type, e->elem, e->data, e->n);
}

void opt_kv_remove(opt_kv *kv, const char *key) {
    const opt_kv_entry *const found = opt_kv_find(kv, key);
    if (found == NULL) {
        return;
    }
    const size_t i = (size_t)(found - kv->entries);
    const size_t n_behind = kv->n - i - 1;
    memmove(&kv->entries[i], &kv->entries[i + 1], n_behind * sizeof *kv->entries);
    memmove(&kv->hashes[i], &kv->hashes[i + 1], n_behind * sizeof *kv->hashes);
    kv->n--;
    rebuild_slots(kv);
}

static bool is_integer(opt_kv_type type) {
    switch (type) {
    case OPT_KV_U8:
    case OPT_KV_I8:
    case OPT_KV_U16:
    case OPT_KV_I16:
    case OPT_KV_U32:
    case OPT_KV_I32:
    case OPT_KV_U64:
    case OPT_KV_I64: return true;
    default: return false;
    }
}

/* The entry of a key, NULL in *out if it is absent and need not be there. */
static opt_status look_up(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                          const opt_kv_entry **out) {
    *out = opt_kv_find(kv, key);
    if (*out == NULL && required) {
        return opt_fail(ctx, OPT_ERR_INPUT, kv->origin, "the metadata key %s is missing", key);
    }
    return OPT_OK;
}

static opt_status wrong_type(opt_ctx *ctx, const opt_kv *kv, const opt_kv_entry *e,
                             const char *expected) {
    if (e->type == OPT_KV_ARRAY) {
        return opt_fail(ctx, OPT_ERR_INPUT, kv->origin,
                        "the metadata key %s has type array of %s; expected %s", e->key,
                        opt_kv_type_name(e->elem), expected);
    }
    return opt_fail(ctx, OPT_ERR_INPUT, kv->origin, "the metadata key %s has type %s; expected %s",
                    e->key, opt_kv_type_name(e->type), expected);
}

opt_status opt_kv_get_i64(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                          int64_t min, int64_t max, int64_t *out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = NULL;
    OPT_TRY(look_up(ctx, kv, key, required, &e));
    if (e == NULL) {
        goto done;
    }
    if (!is_integer(e->type)) {
        OPT_TRY(wrong_type(ctx, kv, e, "an integer"));
    }
    const int64_t v = opt_kv_elem_i64(e, 0);
    const bool too_big = e->type == OPT_KV_U64 && v < 0;
    OPT_REQUIRE(!too_big, ctx, OPT_ERR_INPUT, kv->origin,
                "the metadata key %s is %" PRIu64 "; expected at most %" PRId64, key, (uint64_t)v,
                max);
    OPT_REQUIRE(v >= min && v <= max, ctx, OPT_ERR_INPUT, kv->origin,
                "the metadata key %s is %" PRId64 "; expected %" PRId64 " to %" PRId64, key, v, min,
                max);
    *out = v;
done:
    return st;
}

opt_status opt_kv_get_f64(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                          double *out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = NULL;
    OPT_TRY(look_up(ctx, kv, key, required, &e));
    if (e != NULL) {
        if (e->type != OPT_KV_F32 && e->type != OPT_KV_F64) {
            OPT_TRY(wrong_type(ctx, kv, e, "a floating-point number"));
        }
        *out = opt_kv_elem_f64(e, 0);
    }
done:
    return st;
}

opt_status opt_kv_get_bool(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                           bool *out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = NULL;
    OPT_TRY(look_up(ctx, kv, key, required, &e));
    if (e != NULL) {
        if (e->type != OPT_KV_BOOL) {
            OPT_TRY(wrong_type(ctx, kv, e, "a bool"));
        }
        *out = opt_kv_elem_i64(e, 0) != 0;
    }
done:
    return st;
}

opt_status opt_kv_get_str(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                          const char **out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = NULL;
    OPT_TRY(look_up(ctx, kv, key, required, &e));
    if (e != NULL) {
        if (e->type != OPT_KV_STRING) {
            OPT_TRY(wrong_type(ctx, kv, e, "a string"));
        }
        const opt_kv_str *const s = e->data;
        OPT_REQUIRE(memchr(s->data, 0, s->len) == NULL, ctx, OPT_ERR_INPUT, kv->origin,
                    "the metadata key %s is a text with a 0 byte in it", key);
        *out = s->data;
    }
done:
    return st;
}

opt_status opt_kv_get_str_array(opt_ctx *ctx, const opt_kv *kv, const char *key, bool required,
                                const opt_kv_str **out, size_t *n) {
    opt_status st = OPT_OK;
    const opt_kv_entry *e = NULL;
    OPT_TRY(look_up(ctx, kv, key, required, &e));
    if (e != NULL) {
        if (e->type != OPT_KV_ARRAY || e->elem != OPT_KV_STRING) {
            OPT_TRY(wrong_type(ctx, kv, e, "an array of strings"));
        }
        *out = e->data;
        *n = e->n;
    }
done:
    return st;
}

int64_t opt_kv_elem_i64(const opt_kv_entry *entry, size_t i) {
    const size_t size = opt_kv_type_bytes(entry->elem);
    const uint8_t *const p = (const uint8_t *)entry->data + i * size;
    switch (entry->elem) {
    case OPT_KV_U8:
    case OPT_KV_BOOL: return p[0];
    case OPT_KV_I8: return (int8_t)p[0];
    case OPT_KV_U16: return opt_rd_u16le(p);
    case OPT_KV_I16: return (int16_t)opt_rd_u16le(p);
    case OPT_KV_U32: return opt_rd_u32le(p);
    case OPT_KV_I32: return (int32_t)opt_rd_u32le(p);
    case OPT_KV_U64:
    case OPT_KV_I64: return (int64_t)opt_rd_u64le(p);
    default: return 0;
    }
}

double opt_kv_elem_f64(const opt_kv_entry *entry, size_t i) {
    const uint8_t *const data = entry->data;
    if (entry->elem == OPT_KV_F32) {
        float v;
        memcpy(&v, data + i * sizeof v, sizeof v);
        return (double)v;
    }
    if (entry->elem == OPT_KV_F64) {
        double v;
        memcpy(&v, data + i * sizeof v, sizeof v);
        return v;
    }
    if (entry->elem == OPT_KV_U64) {
        return (double)opt_rd_u64le(data + i * sizeof(uint64_t));
    }
    return (double)opt_kv_elem_i64(entry, i);
}
