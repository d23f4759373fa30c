/* GGUF v2 and v3, little-endian. Every read goes through one cursor that knows how many bytes are
   left, every count is bounded by those bytes before anything is allocated, and every sum is
   checked. */
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "io/container.h"
#include "io/gguf.h"
#include "io/parse.h"

_Static_assert(sizeof(size_t) == 8, "64-bit file sizes must fit size_t");

/* The smallest records: key length + 1 byte + type + 1 byte; name length + 1 byte + rank + type +
 * offset. */
#define KV_BYTES_MIN (8 + 1 + 4 + 1)
#define INFO_BYTES_MIN (8 + 1 + 4 + 4 + 8)
#define KEY_BYTES_MAX 65535
#define N_DIMS_MAX 4

typedef struct cursor {
    opt_ctx *ctx;
    const char *name;
    const uint8_t *data;
    size_t bytes;
    size_t off; /* <= bytes */
    /* what is being read, for messages: "the value of metadata key" 'a.b' */
    const char *part;
    const char *subject;   /* NULL: there is none */
    size_t header_sum_off; /* see opt_gguf */
} cursor;

static void enter(cursor *c, const char *part, const char *subject) {
    c->part = part;
    c->subject = subject;
}

static size_t bytes_left(const cursor *c) { return c->bytes - c->off; }

/* The next n bytes. */
static opt_status take(cursor *c, uint64_t n, const uint8_t **out) {
    opt_status st = OPT_OK;
    const bool named = c->subject != NULL;
    OPT_REQUIRE(n <= bytes_left(c), c->ctx, OPT_ERR_INPUT, c->name,
                "%s%s%s%s at offset %zu needs %" PRIu64 " bytes but the file ends after %zu",
                c->part, named ? " '" : "", named ? c->subject : "", named ? "'" : "", c->off, n,
                bytes_left(c));
    *out = c->data + c->off;
    c->off += (size_t)n;
done:
    return st;
}

static opt_status take_u32(cursor *c, uint32_t *out) {
    const uint8_t *p = c->data;
    const opt_status st = take(c, sizeof *out, &p);
    if (st == OPT_OK) {
        *out = opt_rd_u32le(p);
    }
    return st;
}

static opt_status take_u64(cursor *c, uint64_t *out) {
    const uint8_t *p = c->data;
    const opt_status st = take(c, sizeof *out, &p);
    if (st == OPT_OK) {
        *out = opt_rd_u64le(p);
    }
    return st;
}

static opt_status take_str(cursor *c, opt_kv_str *out) {
    opt_status st = OPT_OK;
    uint64_t len = 0;
    const uint8_t *p = c->data;
    OPT_TRY(take_u64(c, &len));
    OPT_TRY(take(c, len, &p));
    *out = (opt_kv_str){.data = (const char *)p, .len = (size_t)len};
done:
    return st;
}

static opt_status read_version(cursor *c, uint32_t *out) {
    opt_status st = OPT_OK;
    const uint8_t *magic = c->data;
    uint32_t version = 0;
    enter(c, "the magic number", NULL);
    OPT_TRY(take(c, 4, &magic));
    OPT_REQUIRE(memcmp(magic, "GGUF", 4) == 0, c->ctx, OPT_ERR_INPUT, c->name,
                "the file starts with %02x %02x %02x %02x; expected 'GGUF'", magic[0], magic[1],
                magic[2], magic[3]);
    enter(c, "the version", NULL);
    OPT_TRY(take_u32(c, &version));
    OPT_REQUIRE(version != 0, c->ctx, OPT_ERR_INPUT, c->name, "GGUF version 0 does not exist");
    OPT_REQUIRE((version & 0xffff) != 0, c->ctx, OPT_ERR_UNSUPPORTED, c->name,
                "a big-endian GGUF file (version field %08" PRIx32
                "); only little-endian ones can be read",
                version);
    OPT_REQUIRE(version == 2 || version == 3, c->ctx, OPT_ERR_UNSUPPORTED, c->name,
                "GGUF version %" PRIu32 "; versions 2 and 3 can be read", version);
    *out = version;
done:
    return st;
}

/* Reads a key into `key` as a C string. The format allows printable ASCII. */
static opt_status read_key(cursor *c, uint64_t i, const opt_kv *kv, opt_str *key) {
    opt_status st = OPT_OK;
    opt_kv_str s = {.data = ""};
    enter(c, "a metadata key", NULL);
    OPT_TRY(take_str(c, &s));
    OPT_REQUIRE(s.len > 0, c->ctx, OPT_ERR_INPUT, c->name, "metadata key %" PRIu64 " is empty", i);
    OPT_REQUIRE(s.len <= KEY_BYTES_MAX, c->ctx, OPT_ERR_INPUT, c->name,
                "metadata key %" PRIu64 " has %zu bytes; at most %d are allowed", i, s.len,
                KEY_BYTES_MAX);
    for (size_t j = 0; j < s.len; j++) {
        OPT_REQUIRE(s.data[j] > 0x20 && s.data[j] < 0x7f, c->ctx, OPT_ERR_INPUT, c->name,
                    "metadata key %" PRIu64 " holds byte 0x%02x; keys are printable ASCII", i,
                    (unsigned char)s.data[j]);
    }
    key->len = 0;
    OPT_TRY(opt_str_append(c->ctx, key, s.data, s.len));
    OPT_REQUIRE(opt_kv_find(kv, key->data) == NULL, c->ctx, OPT_ERR_INPUT, c->name,
                "the metadata key %s is there twice", key->data);
done:
    return st;
}

static opt_status check_bools(cursor *c, const char *key, const uint8_t *data, size_t n) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n; i++) {
        OPT_REQUIRE(data[i] <= 1, c->ctx, OPT_ERR_INPUT, c->name,
                    "the metadata key %s holds %d as a bool; expected 0 or 1", key, data[i]);
    }
done:
    return st;
}

/* n strings (n was bounded by the bytes left). */
static opt_status read_strings(cursor *c, opt_kv *kv, const char *key, size_t n) {
    opt_status st = OPT_OK;
    opt_kv_str *strings = opt_alloc_array(c->ctx, n, sizeof *strings);
    OPT_TRY_PTR(strings);
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(take_str(c, &strings[i]));
    }
    OPT_TRY(opt_kv_set_str_array(kv, key, strings, n));
done:
    opt_free(c->ctx, strings);
    return st;
}

static opt_status read_array(cursor *c, opt_kv *kv, const char *key) {
    opt_status st = OPT_OK;
    uint32_t elem = 0;
    uint64_t n = 0;
    const uint8_t *data = c->data;
    OPT_TRY(take_u32(c, &elem));
    OPT_TRY(take_u64(c, &n));
    OPT_REQUIRE(elem != OPT_KV_ARRAY, c->ctx, OPT_ERR_UNSUPPORTED, c->name,
                "the metadata key %s is an array of arrays, which cannot be read", key);
    const bool strings = elem == OPT_KV_STRING;
    const size_t size = strings ? sizeof(uint64_t) : opt_kv_type_bytes(elem);
    OPT_REQUIRE(size != 0, c->ctx, OPT_ERR_INPUT, c->name,
                "the metadata key %s is an array of type %" PRIu32 ", which does not exist", key,
                elem);
    OPT_REQUIRE(n <= bytes_left(c) / size, c->ctx, OPT_ERR_INPUT, c->name,
                "the metadata key %s claims %" PRIu64 " elements but the file ends after %zu bytes",
                key, n, bytes_left(c));
    if (strings) {
        OPT_TRY(read_strings(c, kv, key, (size_t)n));
        goto done;
    }
    OPT_TRY(take(c, n * size, &data));
    if (elem == OPT_KV_BOOL) {
        OPT_TRY(check_bools(c, key, data, (size_t)n));
    }
    OPT_TRY(opt_kv_set_array(kv, key, (opt_kv_type)elem, data, (size_t)n));
done:
    return st;
}

static opt_status read_value(cursor *c, opt_kv *kv, const char *key) {
    opt_status st = OPT_OK;
    uint32_t type = 0;
    const uint8_t *data = c->data;
    enter(c, "the value of metadata key", key);
    OPT_TRY(take_u32(c, &type));
    if (type == OPT_KV_ARRAY) {
        OPT_TRY(read_array(c, kv, key));
        goto done;
    }
    if (type == OPT_KV_STRING) {
        opt_kv_str s = {0};
        OPT_TRY(take_str(c, &s));
        OPT_TRY(opt_kv_set_strn(kv, key, s.data, s.len));
        goto done;
    }
    const size_t size = opt_kv_type_bytes(type);
    OPT_REQUIRE(size != 0, c->ctx, OPT_ERR_INPUT, c->name,
                "the metadata key %s has type %" PRIu32 ", which does not exist", key, type);
    OPT_TRY(take(c, size, &data));
    if (type == OPT_KV_BOOL) {
        OPT_TRY(check_bools(c, key, data, 1));
    }
    if (type == OPT_KV_U64 && strcmp(key, OPT_GGUF_KEY_HEADER) == 0) {
        c->header_sum_off = (size_t)(data - c->data);
    }
    const opt_kv_entry entry = {
        .key = key, .type = (opt_kv_type)type, .elem = (opt_kv_type)type, .n = 1, .data = data};
    OPT_TRY(opt_kv_copy(kv, &entry));
done:
    return st;
}

static opt_status read_kv(cursor *c, uint64_t n, opt_kv *kv) {
    opt_status st = OPT_OK;
    opt_str key = {0};
    for (uint64_t i = 0; i < n; i++) {
        OPT_TRY(read_key(c, i, kv, &key));
        OPT_TRY(read_value(c, kv, key.data));
    }
done:
    opt_str_free(c->ctx, &key);
    return st;
}

opt_status opt_gguf_alignment(opt_ctx *ctx, const opt_kv *kv, size_t *out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *const e = opt_kv_find(kv, OPT_GGUF_KEY_ALIGNMENT);
    uint32_t align = OPT_GGUF_ALIGNMENT;
    if (e != NULL) {
        OPT_REQUIRE(e->type == OPT_KV_U32, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                    "the metadata key " OPT_GGUF_KEY_ALIGNMENT " has type %s; expected u32",
                    opt_kv_type_name(e->type));
        align = opt_rd_u32le(e->data);
    }
    OPT_REQUIRE(align >= 8 && align <= (1u << 20) && (align & (align - 1)) == 0, ctx, OPT_ERR_INPUT,
                opt_kv_origin(kv),
                "the metadata key " OPT_GGUF_KEY_ALIGNMENT " is %" PRIu32
                "; expected a power of two from 8 to 1048576",
                align);
    *out = align;
done:
    return st;
}

/* Names of type numbers that ggml gave up. */
static const char *removed_type(uint32_t type) {
    switch (type) {
    case 4: return "Q4_2";
    case 5: return "Q4_3";
    case 31: return "Q4_0_4_4";
    case 32: return "Q4_0_4_8";
    case 33: return "Q4_0_8_8";
    case 36: return "IQ4_NL_4_4";
    case 37: return "IQ4_NL_4_8";
    case 38: return "IQ4_NL_8_8";
    default: return NULL;
    }
}

static opt_status find_type(cursor *c, const char *tensor, uint32_t type, const opt_format **out) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(type <= INT32_MAX, c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s' has the negative type number %" PRId32, tensor, (int32_t)type);
    OPT_REQUIRE(removed_type(type) == NULL, c->ctx, OPT_ERR_UNSUPPORTED, c->name,
                "tensor '%s' has type %" PRIu32 " (%s), which ggml has removed", tensor, type,
                removed_type(type));
    *out = opt_format_by_ggml(type);
    OPT_REQUIRE(*out != NULL, c->ctx, OPT_ERR_UNSUPPORTED, c->name,
                "tensor '%s' has type number %" PRIu32 ", which this version does not know", tensor,
                type);
done:
    return st;
}

static opt_status read_name(cursor *c, opt_arena *arena, int64_t i, const char **out) {
    opt_status st = OPT_OK;
    opt_kv_str s = {.data = ""};
    enter(c, "a tensor name", NULL);
    OPT_TRY(take_str(c, &s));
    OPT_REQUIRE(s.len > 0 && s.len <= OPT_GGUF_NAME_MAX, c->ctx, OPT_ERR_INPUT, c->name,
                "the name of tensor %" PRId64 " has %zu bytes; expected 1 to %d", i, s.len,
                OPT_GGUF_NAME_MAX);
    OPT_REQUIRE(memchr(s.data, 0, s.len) == NULL, c->ctx, OPT_ERR_INPUT, c->name,
                "the name of tensor %" PRId64 " has a 0 byte in it", i);
    *out = opt_arena_strndup(arena, s.data, s.len);
    OPT_TRY_PTR(*out);
done:
    return st;
}

/* Dimensions, innermost first in the file and outermost first here. */
static opt_status read_dims(cursor *c, opt_tensor *t) {
    opt_status st = OPT_OK;
    uint32_t n = 0;
    OPT_TRY(take_u32(c, &n));
    OPT_REQUIRE(n <= N_DIMS_MAX, c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s' has %" PRIu32 " dimensions; at most %d are allowed", t->name, n,
                N_DIMS_MAX);
    t->n_dims = (int)n;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        uint64_t dim = 0;
        OPT_TRY(take_u64(c, &dim));
        OPT_REQUIRE(dim <= INT64_MAX, c->ctx, OPT_ERR_INPUT, c->name,
                    "tensor '%s' has a negative dimension", t->name);
        t->dims[i] = (int64_t)dim;
    }
done:
    return st;
}

/* One tensor record. *end is the end of the tensor before, unpadded, and gets the end of this one;
   the data pointer is left for place_tensors, which knows where the data section begins. */
static opt_status read_info(cursor *c, opt_arena *arena, int64_t i, size_t align, size_t *end,
                            opt_tensor *t) {
    opt_status st = OPT_OK;
    uint32_t type = 0;
    uint64_t off = 0;
    size_t expected = 0;
    OPT_TRY(read_name(c, arena, i, &t->name));
    enter(c, "the record of tensor", t->name);
    OPT_TRY(read_dims(c, t));
    OPT_TRY(take_u32(c, &type));
    OPT_TRY(take_u64(c, &off));
    OPT_TRY(find_type(c, t->name, type, &t->format));

    const int64_t n_cols = t->n_dims > 0 ? t->dims[t->n_dims - 1] : 1;
    int64_t n_rows = 0;
    int64_t n_elems = 0;
    OPT_REQUIRE(n_cols % t->format->block_elems == 0, c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s' has rows of %" PRId64
                " elements; type %s needs a multiple of %" PRId64,
                t->name, n_cols, t->format->name, t->format->block_elems);
    OPT_REQUIRE(opt_mul_dims(t->dims, t->n_dims, &n_elems) &&
                    opt_mul_dims(t->dims, t->n_dims > 0 ? t->n_dims - 1 : 0, &n_rows) &&
                    opt_format_bytes(t->format, n_rows, n_cols, &t->bytes),
                c->ctx, OPT_ERR_INPUT, c->name, "tensor '%s': its shape overflows", t->name);
    OPT_REQUIRE(opt_align_size(*end, align, &expected), c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s': the sizes before it overflow", t->name);
    OPT_REQUIRE(off == expected, c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s' has offset %" PRIu64 "; the sizes before it give %zu", t->name, off,
                expected);
    OPT_REQUIRE(opt_add_size(expected, t->bytes, end), c->ctx, OPT_ERR_INPUT, c->name,
                "tensor '%s': the sum of all sizes overflows", t->name);
done:
    return st;
}

/* Sets the data pointers. Data beyond the last tensor means nothing and is only warned about. */
static opt_status place_tensors(cursor *c, size_t align, size_t header_bytes,
                                const opt_tensor_list *list) {
    opt_status st = OPT_OK;
    size_t off = header_bytes;
    for (int64_t i = 0; i < list->n; i++) {
        opt_tensor *const t = &list->tensors[i];
        OPT_REQUIRE(off <= c->bytes && t->bytes <= c->bytes - off, c->ctx, OPT_ERR_INPUT, c->name,
                    "tensor '%s' needs %zu bytes at offset %zu but the file has %zu bytes", t->name,
                    t->bytes, off, c->bytes);
        t->data = c->data + off;
        /* cannot overflow: off + bytes <= file size, and the padded offsets were summed before */
        off = (off + t->bytes + align - 1) & ~(align - 1);
    }
    if (c->bytes > off) {
        opt_warn(c->ctx, c->name, "%zu bytes behind the last tensor are ignored", c->bytes - off);
    }
done:
    return st;
}

opt_status opt_gguf_parse(opt_ctx *ctx, opt_arena *arena, const char *name, const uint8_t *data,
                          size_t bytes, opt_gguf *out) {
    opt_status st = OPT_OK;
    cursor c = {.ctx = ctx, .name = name, .data = data, .bytes = bytes};
    opt_gguf g = {0};
    uint64_t n_tensors = 0;
    uint64_t n_kv = 0;
    size_t align = 0;
    size_t end = 0;
    OPT_TRY(read_version(&c, &g.version));
    enter(&c, "the number of tensors", NULL);
    OPT_TRY(take_u64(&c, &n_tensors));
    enter(&c, "the number of metadata keys", NULL);
    OPT_TRY(take_u64(&c, &n_kv));
    OPT_REQUIRE(n_tensors <= bytes_left(&c) / INFO_BYTES_MIN, ctx, OPT_ERR_INPUT, name,
                "the header claims %" PRIu64 " tensors but only %zu bytes follow", n_tensors,
                bytes_left(&c));
    OPT_REQUIRE(n_kv <= bytes_left(&c) / KV_BYTES_MIN, ctx, OPT_ERR_INPUT, name,
                "the header claims %" PRIu64 " metadata keys but only %zu bytes follow", n_kv,
                bytes_left(&c));
    OPT_TRY(opt_kv_new(ctx, &g.kv));
    OPT_TRY(opt_kv_set_origin(g.kv, name));
    OPT_TRY(read_kv(&c, n_kv, g.kv));
    OPT_TRY(opt_gguf_alignment(ctx, g.kv, &align));

    g.list.n = (int64_t)n_tensors;
    g.list.tensors = opt_arena_array(arena, (size_t)n_tensors, sizeof *g.list.tensors);
    OPT_TRY_PTR(g.list.tensors);
    for (int64_t i = 0; i < g.list.n; i++) {
        OPT_TRY(read_info(&c, arena, i, align, &end, &g.list.tensors[i]));
    }
    OPT_REQUIRE(opt_align_size(c.off, align, &g.header_bytes), ctx, OPT_ERR_INPUT, name,
                "the header overflows");
    OPT_TRY(place_tensors(&c, align, g.header_bytes, &g.list));
    g.header_bytes = g.header_bytes < bytes ? g.header_bytes : bytes; /* no tensor, no padding */
    g.header_sum_off = c.header_sum_off;
    *out = g;
    g.kv = NULL;
done:
    opt_kv_free(g.kv);
    return st;
}
