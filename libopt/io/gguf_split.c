/* GGUF files as a source, whole or split into NAME-00001-of-0000N.gguf. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "io/container.h"
#include "io/gguf.h"
#include "io/parse.h"

#define SPLIT_COUNT_MAX 65535

/* The split.* keys; absent in a whole file, which is part 0 of 1. */
typedef struct split_info {
    int64_t no;
    int64_t count;
    int64_t n_tensors; /* of all parts, -1 if the key is absent */
} split_info;

static opt_status read_split(opt_ctx *ctx, const opt_kv *kv, split_info *out) {
    opt_status st = OPT_OK;
    *out = (split_info){.no = 0, .count = 1, .n_tensors = -1};
    OPT_TRY(
        opt_kv_get_i64(ctx, kv, OPT_GGUF_KEY_SPLIT_COUNT, false, 0, SPLIT_COUNT_MAX, &out->count));
    const bool split = out->count > 1;
    OPT_TRY(opt_kv_get_i64(ctx, kv, OPT_GGUF_KEY_SPLIT_NO, split, 0, SPLIT_COUNT_MAX, &out->no));
    OPT_TRY(
        opt_kv_get_i64(ctx, kv, OPT_GGUF_KEY_SPLIT_TENSORS, split, 0, INT32_MAX, &out->n_tensors));
    OPT_REQUIRE(out->no == 0 || out->no < out->count, ctx, OPT_ERR_INPUT, opt_kv_origin(kv),
                "the file says that it is part %" PRId64 " of %" PRId64, out->no + 1, out->count);
done:
    return st;
}

/* Path of part `no`, made from that of part `named`, which must end as such a part does. */
static opt_status part_path(opt_source *s, const char *path, int64_t named, int64_t no,
                            int64_t count, const char **out) {
    opt_status st = OPT_OK;
    char suffix[64];
    (void)snprintf(suffix, sizeof suffix, "-%05" PRId64 "-of-%05" PRId64 ".gguf", named + 1, count);
    const size_t n = strlen(path);
    const size_t n_suffix = strlen(suffix);
    OPT_REQUIRE(n > n_suffix && strcmp(path + n - n_suffix, suffix) == 0, s->ctx, OPT_ERR_INPUT,
                path, "part %" PRId64 " of %" PRId64 " of a split model; its name must end in %s",
                named + 1, count, suffix);
    *out = opt_arena_printf(s->arena, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf",
                            (int)(n - n_suffix), path, no + 1, count);
    OPT_TRY_PTR(*out);
done:
    return st;
}

static bool same_entry(const opt_kv_entry *a, const opt_kv_entry *b) {
    if (a->type != b->type || a->elem != b->elem || a->n != b->n) {
        return false;
    }
    if (a->elem != OPT_KV_STRING) {
        return memcmp(a->data, b->data, a->n * opt_kv_type_bytes(a->elem)) == 0;
    }
    const opt_kv_str *const x = a->data;
    const opt_kv_str *const y = b->data;
    for (size_t i = 0; i < a->n; i++) {
        if (x[i].len != y[i].len || memcmp(x[i].data, y[i].data, x[i].len) != 0) {
            return false;
        }
    }
    return true;
}

/* A later part repeats what the first one says, or does not mention it. */
static opt_status check_agreement(opt_ctx *ctx, const opt_kv *first, const opt_kv *part) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < opt_kv_count(part); i++) {
        const opt_kv_entry *const e = opt_kv_at(part, i);
        if (strcmp(e->key, OPT_GGUF_KEY_SPLIT_NO) == 0 ||
            strcmp(e->key, OPT_GGUF_KEY_ALIGNMENT) == 0) {
            continue; /* these belong to the part */
        }
        const opt_kv_entry *const f = opt_kv_find(first, e->key);
        OPT_REQUIRE(f == NULL || same_entry(e, f), ctx, OPT_ERR_INPUT, opt_kv_origin(part),
                    "the metadata key %s differs from the one in %s", e->key, opt_kv_origin(first));
    }
done:
    return st;
}

/* Maps and parses one file. */
static opt_status read_part(opt_source *s, const char *path, size_t *file, opt_gguf *out) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_source_add_file(s, path, file));
    const opt_buf *const buf = s->files[*file].buf;
    OPT_TRY(opt_gguf_parse(s->ctx, s->arena, s->files[*file].path, buf->data, buf->bytes, out));
    s->files[*file].header_bytes = out->header_bytes;
    s->files[*file].header_sum_off = out->header_sum_off;
done:
    return st;
}

/* Part `no` of a split model, checked against the first. */
static opt_status read_later_part(opt_source *s, const split_info *first, int64_t no, size_t *file,
                                  opt_tensor_list *out) {
    opt_status st = OPT_OK;
    opt_gguf g = {0};
    const char *path = NULL;
    split_info split;
    OPT_TRY(part_path(s, s->path, 0, no, first->count, &path));
    OPT_REQUIRE(opt_path_exists(path), s->ctx, OPT_ERR_INPUT, s->path,
                "part %" PRId64 " of %" PRId64 " is missing: %s", no + 1, first->count, path);
    OPT_TRY(read_part(s, path, file, &g));
    OPT_TRY(read_split(s->ctx, g.kv, &split));
    OPT_REQUIRE(split.no == no && split.count == first->count, s->ctx, OPT_ERR_INPUT, path,
                "the file says that it is part %" PRId64 " of %" PRId64 "; expected %" PRId64
                " of %" PRId64,
                split.no + 1, split.count, no + 1, first->count);
    OPT_TRY(check_agreement(s->ctx, s->kv, g.kv));
    *out = g.list;
done:
    opt_kv_free(g.kv);
    return st;
}

/* Adds the tensors of all parts. The lathe.* keys of the first part describe them all, in the order
 * of the parts. */
static opt_status add_all(opt_source *s, const opt_tensor_list *parts, size_t n_parts) {
    opt_status st = OPT_OK;
    int64_t n_all = 0;
    const uint8_t *checksums = NULL;
    for (size_t i = 0; i < n_parts; i++) {
        n_all += parts[i].n;
    }
    opt_tensor *all = opt_alloc_array(s->ctx, (size_t)n_all, sizeof *all);
    OPT_TRY_PTR(all);
    opt_tensor *next = all;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].n > 0) {
            memcpy(next, parts[i].tensors, (size_t)parts[i].n * sizeof *all);
        }
        next += parts[i].n;
    }
    OPT_TRY(opt_gguf_apply_own(s->ctx, s->kv, all, n_all, &checksums));
    next = all;
    for (size_t i = 0; i < n_parts; i++) {
        const opt_tensor_list list = {.tensors = next, .n = parts[i].n};
        OPT_TRY(opt_source_add_tensors(s, i, &list,
                                       checksums != NULL ? checksums + 8 * (next - all) : NULL));
        next += parts[i].n;
    }
done:
    opt_free(s->ctx, all);
    return st;
}

/* The parts behind the first. */
static opt_status read_parts(opt_source *s, const split_info *first, opt_tensor_list *parts) {
    opt_status st = OPT_OK;
    int64_t n_tensors = parts[0].n;
    for (int64_t no = 1; no < first->count; no++) {
        size_t file = 0;
        OPT_TRY(read_later_part(s, first, no, &file, &parts[no]));
        n_tensors += parts[no].n;
    }
    OPT_REQUIRE(first->n_tensors < 0 || first->n_tensors == n_tensors, s->ctx, OPT_ERR_INPUT,
                s->path,
                OPT_GGUF_KEY_SPLIT_TENSORS " is %" PRId64 "; the parts hold %" PRId64 " tensors",
                first->n_tensors, n_tensors);
done:
    return st;
}

static bool probe_file(const char *path, bool is_dir, const uint8_t *head, size_t n_head) {
    static const char suffix[] = ".gguf";
    const size_t n = strlen(path);
    const bool named = n >= strlen(suffix) && strcmp(path + n - strlen(suffix), suffix) == 0;
    return !is_dir && (named || (n_head >= 4 && memcmp(head, "GGUF", 4) == 0));
}

static opt_status open_file(opt_source *s) {
    opt_status st = OPT_OK;
    opt_tensor_list *parts = NULL;
    size_t file = 0;
    opt_gguf g = {0};
    split_info split;
    s->kind = OPT_SOURCE_GGUF;
    OPT_TRY(read_part(s, s->path, &file, &g));
    s->kv = g.kv;
    OPT_TRY(read_split(s->ctx, s->kv, &split));
    if (split.no > 0) {
        const char *first = NULL;
        OPT_TRY(part_path(s, s->path, split.no, 0, split.count, &first));
        OPT_REQUIRE(false, s->ctx, OPT_ERR_INPUT, s->path,
                    "this is part %" PRId64 " of %" PRId64 " of a split model; open the first: %s",
                    split.no + 1, split.count, first);
    }
    const size_t n_parts = split.count > 1 ? (size_t)split.count : 1;
    if (n_parts > 1) { /* whoever split the file copied the keys and changed the header */
        s->files[file].header_sum_off = 0;
    }
    parts = opt_alloc_zero(s->ctx, n_parts * sizeof *parts);
    OPT_TRY_PTR(parts);
    parts[0] = g.list;
    OPT_TRY(read_parts(s, &split, parts));
    OPT_TRY(add_all(s, parts, n_parts));
done:
    opt_free(s->ctx, parts);
    return st;
}

const opt_container opt_container_gguf = {
    .name = "GGUF",
    .probe = probe_file,
    .open = open_file,
};
