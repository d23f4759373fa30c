/* The lathe.* keys of our own GGUF files: what every tensor is, how many columns it has, and its
 * checksum. */
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "io/gguf.h"
#include "io/parse.h"

/* A key that must be an array of n elements of a type. */
static opt_status need_array(opt_ctx *ctx, const opt_kv *kv, const char *key, opt_kv_type elem,
                             int64_t n, const opt_kv_entry **out) {
    opt_status st = OPT_OK;
    const opt_kv_entry *const e = opt_kv_find(kv, key);
    OPT_REQUIRE(e != NULL, ctx, OPT_ERR_INPUT, opt_kv_origin(kv), "the metadata key %s is missing",
                key);
    OPT_REQUIRE(e->type == OPT_KV_ARRAY && e->elem == elem, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                "the metadata key %s is not an array of %s", key, opt_kv_type_name(elem));
    OPT_REQUIRE(e->n == (size_t)n, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                "the metadata key %s describes %zu tensors; the file has %" PRId64, key, e->n, n);
    *out = e;
done:
    return st;
}

static opt_status find_format(opt_ctx *ctx, const opt_kv *kv, const char *tensor,
                              const opt_kv_str *name, const opt_format **out, bool *runs) {
    opt_status st = OPT_OK;
    char text[64] = "";
    if (name->len < sizeof text) {
        memcpy(text, name->data, name->len);
    }
    *out = strlen(text) == name->len ? opt_tensor_format_by_name(text, runs) : NULL;
    OPT_REQUIRE(*out != NULL, ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                "tensor '%s' has format '%.*s', which this version does not know", tensor,
                (int)(name->len < 64 ? name->len : 64), name->data);
done:
    return st;
}

/* Replaces the stored I8 shape by the logical one, or checks that a ggml type is what the key says.
 */
static opt_status apply_one(opt_ctx *ctx, const opt_kv *kv, const opt_format *format, bool runs,
                            uint64_t n_cols, opt_tensor *t) {
    opt_status st = OPT_OK;
    const char *const origin = opt_kv_origin(kv);
    const int last = t->n_dims - 1;
    const int64_t stored = last >= 0 ? t->dims[last] : 1;
    if ((format->flags & OPT_FORMAT_OWN) == 0 && !runs) {
        OPT_REQUIRE(format == t->format, ctx, OPT_ERR_INPUT, origin,
                    "tensor '%s' is stored as %s but " OPT_GGUF_KEY_FORMAT
                    " says %s: another tool changed the file",
                    t->name, t->format->name, format->name);
        OPT_REQUIRE(n_cols == (uint64_t)stored, ctx, OPT_ERR_INPUT, origin,
                    "tensor '%s' has %" PRId64 " columns but " OPT_GGUF_KEY_COLUMNS
                    " says %" PRIu64,
                    t->name, stored, n_cols);
        goto done;
    }
    size_t row_bytes = 0;
    OPT_REQUIRE(t->format == &opt_format_i8 && last >= 0, ctx, OPT_ERR_INPUT, origin,
                "tensor '%s' is stored as %s; its format %s needs i8", t->name, t->format->name,
                format->name);
    OPT_REQUIRE(n_cols <= INT64_MAX && opt_format_row_bytes(format, (int64_t)n_cols, &row_bytes),
                ctx, OPT_ERR_INPUT, origin,
                "tensor '%s': rows of %" PRIu64 " columns cannot have format %s", t->name, n_cols,
                format->name);
    OPT_REQUIRE(row_bytes == (size_t)stored, ctx, OPT_ERR_INPUT, origin,
                "tensor '%s' has rows of %" PRId64 " bytes; %" PRIu64 " columns in format %s "
                "need %zu",
                t->name, stored, n_cols, format->name, row_bytes);
    OPT_REQUIRE(!runs || n_cols % (uint64_t)format->block_elems == 0, ctx, OPT_ERR_INPUT, origin,
                "tensor '%s' has %" PRIu64 " columns; with rows %d together their number must be a "
                "multiple of %" PRId64,
                t->name, n_cols, OPT_RUN_ROWS, format->block_elems);
    OPT_REQUIRE(!runs || opt_tensor_n_rows(t) % OPT_RUN_ROWS == 0, ctx, OPT_ERR_INPUT, origin,
                "tensor '%s' has %" PRId64 " rows; with rows %d together their number must be a "
                "multiple of that",
                t->name, opt_tensor_n_rows(t), OPT_RUN_ROWS);
    t->runs = runs;
    t->format = format;
    t->dims[last] = (int64_t)n_cols;
    /* with rows of 0 bytes any count of elements passes until here */
    int64_t n_elems = 0;
    OPT_REQUIRE(opt_mul_dims(t->dims, t->n_dims, &n_elems), ctx, OPT_ERR_INPUT, origin,
                "tensor '%s': its shape overflows", t->name);
done:
    return st;
}

opt_status opt_gguf_apply_own(opt_ctx *ctx, const opt_kv *kv, opt_tensor *tensors, int64_t n,
                              const uint8_t **checksums) {
    opt_status st = OPT_OK;
    const opt_kv_entry *formats = NULL;
    const opt_kv_entry *columns = NULL;
    const opt_kv_entry *sums = NULL;
    int64_t version = 0;
    *checksums = NULL;
    const bool ours = opt_kv_find(kv, OPT_GGUF_KEY_VERSION) != NULL ||
                      opt_kv_find(kv, OPT_GGUF_KEY_FORMAT) != NULL ||
                      opt_kv_find(kv, OPT_GGUF_KEY_COLUMNS) != NULL ||
                      opt_kv_find(kv, OPT_GGUF_KEY_CHECKSUM) != NULL ||
                      opt_kv_find(kv, OPT_GGUF_KEY_HEADER) != NULL;
    if (!ours) {
        goto done;
    }
    OPT_TRY(opt_kv_get_i64(ctx, kv, OPT_GGUF_KEY_VERSION, true, 1, UINT32_MAX, &version));
    OPT_REQUIRE(version <= OPT_GGUF_FORMAT_VERSION, ctx, OPT_ERR_UNSUPPORTED, opt_kv_origin(kv),
                "the file has format version %" PRId64 "; this version reads up to %d", version,
                OPT_GGUF_FORMAT_VERSION);
    const opt_kv_entry *const header = opt_kv_find(kv, OPT_GGUF_KEY_HEADER);
    OPT_REQUIRE(header != NULL, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                "the metadata key " OPT_GGUF_KEY_HEADER " is missing");
    OPT_REQUIRE(header->type == OPT_KV_U64, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                "the metadata key " OPT_GGUF_KEY_HEADER " has type %s; expected u64",
                opt_kv_type_name(header->type));
    OPT_TRY(need_array(ctx, kv, OPT_GGUF_KEY_FORMAT, OPT_KV_STRING, n, &formats));
    OPT_TRY(need_array(ctx, kv, OPT_GGUF_KEY_COLUMNS, OPT_KV_U64, n, &columns));
    OPT_TRY(need_array(ctx, kv, OPT_GGUF_KEY_CHECKSUM, OPT_KV_U64, n, &sums));
    for (int64_t i = 0; i < n; i++) {
        const opt_format *format = NULL;
        bool runs = false;
        OPT_TRY(find_format(ctx, kv, tensors[i].name, (const opt_kv_str *)formats->data + i,
                            &format, &runs));
        OPT_TRY(apply_one(ctx, kv, format, runs, (uint64_t)opt_kv_elem_i64(columns, (size_t)i),
                          &tensors[i]));
    }
    *checksums = sums->data;
done:
    return st;
}
