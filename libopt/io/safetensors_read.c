/* safetensors: u64 length of the header, JSON header, tensor bytes that tile the rest of the file
   exactly. The rules are those of the reference implementation (huggingface/safetensors), which
   refuses holes, overlaps and trailing bytes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "io/container.h"
#include "io/parse.h"

#define HEADER_BYTES_MAX 100000000u
#define LENGTH_BYTES 8

/* The header's text without its padding, and where the tensor bytes begin. */
static opt_status find_header(opt_ctx *ctx, const char *name, const uint8_t *data, size_t bytes,
                              const char **text, size_t *n_text, size_t *data_off) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(bytes >= LENGTH_BYTES, ctx, OPT_ERR_INPUT, name,
                "%zu bytes are too few for a safetensors file", bytes);
    const uint64_t length = opt_rd_u64le(data);
    OPT_REQUIRE(length <= HEADER_BYTES_MAX, ctx, OPT_ERR_INPUT, name,
                "the header claims %" PRIu64 " bytes; at most %u are allowed", length,
                HEADER_BYTES_MAX);
    OPT_REQUIRE(length <= bytes - LENGTH_BYTES, ctx, OPT_ERR_INPUT, name,
                "the header claims %" PRIu64 " bytes but the file ends after %zu", length,
                bytes - LENGTH_BYTES);
    const char *const start = (const char *)data + LENGTH_BYTES;
    size_t n = (size_t)length;
    while (n > 0 && start[n - 1] == ' ') {
        n--;
    }
    OPT_REQUIRE(n > 0 && start[0] == '{', ctx, OPT_ERR_INPUT, name,
                "the header does not start with '{'");
    OPT_REQUIRE(start[n - 1] == '}', ctx, OPT_ERR_INPUT, name,
                "the header does not end with '}' and spaces");
    *text = start;
    *n_text = n;
    *data_off = LENGTH_BYTES + (size_t)length;
done:
    return st;
}

static opt_status check_metadata(opt_ctx *ctx, const char *name, const opt_json *metadata) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(opt_json_type_of(metadata) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, name,
                "__metadata__ is %s; expected an object",
                opt_json_type_name(opt_json_type_of(metadata)));
    void *it = NULL;
    const char *key = NULL;
    const opt_json *value = NULL;
    while (opt_json_next(metadata, &it, &key, &value)) {
        OPT_REQUIRE(opt_json_str(value, NULL) != NULL, ctx, OPT_ERR_INPUT, name,
                    "__metadata__ member '%s' is %s; expected a string", key,
                    opt_json_type_name(opt_json_type_of(value)));
    }
done:
    return st;
}

/* Element i of an array of non-negative integers. */
static opt_status read_size(opt_ctx *ctx, const char *name, const char *tensor, const char *member,
                            const opt_json *array, size_t i, int64_t *out) {
    opt_status st = OPT_OK;
    const opt_json *const v = opt_json_at(array, i);
    OPT_REQUIRE(opt_json_i64(v, out), ctx, OPT_ERR_INPUT, name,
                "tensor '%s': %s[%zu] is %s; expected an integer", tensor, member, i,
                opt_json_type_name(opt_json_type_of(v)));
    OPT_REQUIRE(*out >= 0, ctx, OPT_ERR_INPUT, name,
                "tensor '%s': %s[%zu] is %" PRId64 "; expected 0 or more", tensor, member, i, *out);
done:
    return st;
}

static opt_status read_shape(opt_ctx *ctx, const char *name, const opt_json *shape, opt_tensor *t) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(opt_json_type_of(shape) == OPT_JSON_ARRAY, ctx, OPT_ERR_INPUT, name,
                "tensor '%s': shape is %s; expected an array", t->name,
                opt_json_type_name(opt_json_type_of(shape)));
    const size_t n = opt_json_size(shape);
    OPT_REQUIRE(n <= OPT_MAX_DIMS, ctx, OPT_ERR_UNSUPPORTED, name,
                "tensor '%s' has %zu dimensions; at most %d can be read", t->name, n, OPT_MAX_DIMS);
    t->n_dims = (int)n;
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(read_size(ctx, name, t->name, "shape", shape, i, &t->dims[i]));
    }
done:
    return st;
}

/* The members of a tensor that decide how bytes are read; anything else could change their meaning
 * unnoticed. */
static opt_status check_members(opt_ctx *ctx, const char *name, const char *tensor,
                                const opt_json *info) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(opt_json_type_of(info) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, name,
                "tensor '%s' is %s; expected an object", tensor,
                opt_json_type_name(opt_json_type_of(info)));
    void *it = NULL;
    const char *key = NULL;
    const opt_json *value = NULL;
    while (opt_json_next(info, &it, &key, &value)) {
        OPT_REQUIRE(strcmp(key, "dtype") == 0 || strcmp(key, "shape") == 0 ||
                        strcmp(key, "data_offsets") == 0,
                    ctx, OPT_ERR_UNSUPPORTED, name, "tensor '%s' has an unknown member '%s'",
                    tensor, key);
    }
done:
    return st;
}

/* One tensor; its data points at `body` + its first offset. */
static opt_status read_tensor(opt_ctx *ctx, const char *name, const opt_json *info,
                              const uint8_t *body, size_t n_body, opt_tensor *t) {
    opt_status st = OPT_OK;
    OPT_TRY(check_members(ctx, name, t->name, info));
    const char *const dtype = opt_json_str(opt_json_get(info, "dtype"), NULL);
    OPT_REQUIRE(dtype != NULL, ctx, OPT_ERR_INPUT, name,
                "tensor '%s': dtype is %s; expected a string", t->name,
                opt_json_type_name(opt_json_type_of(opt_json_get(info, "dtype"))));
    t->format = opt_format_by_st_dtype(dtype);
    OPT_REQUIRE(t->format != NULL, ctx, OPT_ERR_UNSUPPORTED, name,
                "tensor '%s' has dtype %s, which this version does not read", t->name, dtype);
    OPT_TRY(read_shape(ctx, name, opt_json_get(info, "shape"), t));

    const opt_json *const offsets = opt_json_get(info, "data_offsets");
    OPT_REQUIRE(opt_json_type_of(offsets) == OPT_JSON_ARRAY && opt_json_size(offsets) == 2, ctx,
                OPT_ERR_INPUT, name, "tensor '%s': data_offsets is not an array of two integers",
                t->name);
    int64_t begin = 0;
    int64_t end = 0;
    OPT_TRY(read_size(ctx, name, t->name, "data_offsets", offsets, 0, &begin));
    OPT_TRY(read_size(ctx, name, t->name, "data_offsets", offsets, 1, &end));
    OPT_REQUIRE(begin <= end, ctx, OPT_ERR_INPUT, name,
                "tensor '%s' ends at offset %" PRId64 " before it begins at %" PRId64, t->name, end,
                begin);
    OPT_REQUIRE((uint64_t)end <= n_body, ctx, OPT_ERR_INPUT, name,
                "tensor '%s' ends at offset %" PRId64 " but the file holds %zu bytes of tensors",
                t->name, end, n_body);

    int64_t n_elems = 0;
    size_t bytes = 0;
    OPT_REQUIRE(opt_mul_dims(t->dims, t->n_dims, &n_elems) &&
                    opt_mul_size((size_t)n_elems, t->format->block_bytes, &bytes),
                ctx, OPT_ERR_INPUT, name, "tensor '%s': its shape overflows", t->name);
    OPT_REQUIRE(bytes == (size_t)(end - begin), ctx, OPT_ERR_INPUT, name,
                "tensor '%s' has %" PRId64 " bytes of data; its shape and dtype %s need %zu",
                t->name, end - begin, dtype, bytes);
    t->bytes = bytes;
    t->data = body + begin;
done:
    return st;
}

static int compare_offsets(const void *a, const void *b) {
    const opt_tensor *const x = a;
    const opt_tensor *const y = b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    if (x->bytes != y->bytes) { /* an empty tensor may share the offset of the next one */
        return x->bytes < y->bytes ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

/* Sorted by offset, every tensor begins where the one before it ends, and the last ends with the
 * file. */
static opt_status check_tiling(opt_ctx *ctx, const char *name, const uint8_t *body, size_t n_body,
                               const opt_tensor_list *list) {
    opt_status st = OPT_OK;
    size_t end = 0;
    for (int64_t i = 0; i < list->n; i++) {
        const opt_tensor *const t = &list->tensors[i];
        const size_t begin = (size_t)(t->data - body);
        OPT_REQUIRE(begin >= end, ctx, OPT_ERR_INPUT, name,
                    "tensor '%s' begins at offset %zu inside tensor '%s', which ends at %zu",
                    t->name, begin, list->tensors[i > 0 ? i - 1 : 0].name, end);
        OPT_REQUIRE(begin == end, ctx, OPT_ERR_INPUT, name,
                    "no tensor covers offsets %zu to %zu, before tensor '%s'", end, begin, t->name);
        end = begin + t->bytes;
    }
    OPT_REQUIRE(end == n_body, ctx, OPT_ERR_INPUT, name,
                "the last tensor ends at offset %zu but the file holds %zu bytes of tensors", end,
                n_body);
done:
    return st;
}

opt_status opt_st_parse(opt_ctx *ctx, opt_arena *arena, const char *name, const uint8_t *data,
                        size_t bytes, opt_tensor_list *out) {
    opt_status st = OPT_OK;
    opt_json *root = NULL;
    const char *text = NULL;
    size_t n_text = 0;
    size_t data_off = 0;
    OPT_TRY(find_header(ctx, name, data, bytes, &text, &n_text, &data_off));
    OPT_TRY(opt_json_parse(ctx, name, text, n_text, &root));

    opt_tensor_list list = {0};
    list.tensors = opt_arena_array(arena, opt_json_size(root), sizeof *list.tensors);
    OPT_TRY_PTR(list.tensors);
    void *it = NULL;
    const char *key = NULL;
    const opt_json *value = NULL;
    while (opt_json_next(root, &it, &key, &value)) {
        if (strcmp(key, "__metadata__") == 0) {
            OPT_TRY(check_metadata(ctx, name, value));
            continue;
        }
        opt_tensor *const t = &list.tensors[list.n++];
        t->name = opt_arena_strdup(arena, key);
        OPT_TRY_PTR(t->name);
        OPT_TRY(read_tensor(ctx, name, value, data + data_off, bytes - data_off, t));
    }
    qsort(list.tensors, (size_t)list.n, sizeof *list.tensors, compare_offsets);
    OPT_TRY(check_tiling(ctx, name, data + data_off, bytes - data_off, &list));
    *out = list;
done:
    opt_json_free(root);
    return st;
}

static bool probe_file(const char *path, bool is_dir, const uint8_t *head, size_t n_head) {
    static const char suffix[] = ".safetensors";
    const size_t n = strlen(path);
    const bool named = n >= strlen(suffix) && strcmp(path + n - strlen(suffix), suffix) == 0;
    return !is_dir && (named || (n_head > LENGTH_BYTES && head[LENGTH_BYTES] == '{'));
}

/* "model-00002-of-00003.safetensors" */
static bool is_shard_name(const char *path) {
    const char *const dash = strstr(path, "-of-");
    return dash != NULL && dash - path >= 6 && dash[-6] == '-' &&
           strspn(dash - 5, "0123456789") == 5 && strspn(dash + 4, "0123456789") == 5 &&
           strcmp(dash + 9, ".safetensors") == 0;
}

static opt_status open_file(opt_source *s) {
    opt_status st = OPT_OK;
    size_t file = 0;
    opt_tensor_list list = {0};
    OPT_REQUIRE(!is_shard_name(s->path), s->ctx, OPT_ERR_INPUT, s->path,
                "this is one shard of a checkpoint; give its directory instead");
    s->kind = OPT_SOURCE_HF;
    s->dir = opt_source_dir_of(s, s->path);
    OPT_TRY_PTR(s->dir);
    OPT_TRY(opt_source_add_file(s, s->path, &file));
    const opt_buf *const buf = s->files[file].buf;
    OPT_TRY(opt_st_parse(s->ctx, s->arena, s->path, buf->data, buf->bytes, &list));
    OPT_TRY(opt_source_add_tensors(s, file, &list, NULL));
done:
    return st;
}

const opt_container opt_container_safetensors = {
    .name = "safetensors",
    .probe = probe_file,
    .open = open_file,
};
