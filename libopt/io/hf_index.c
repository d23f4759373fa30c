/* Hugging Face directories: model.safetensors, or shards listed by model.safetensors.index.json. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "io/container.h"
#include "io/parse.h"

#define INDEX_NAME "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"
#define INDEX_BYTES_MAX 100000000u

/* A name that cannot lead out of the directory. */
static bool is_plain_name(const char *name) {
    return name[0] != 0 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const opt_hf_index_entry *)a)->tensor, ((const opt_hf_index_entry *)b)->tensor);
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_to_string(const void *key, const void *element) {
    return strcmp(key, *(const char *const *)element);
}

/* The sorted, unique shard names of the weight map. */
static opt_status collect_shards(opt_ctx *ctx, opt_arena *arena, const char *name,
                                 const opt_json *map, opt_hf_index *index) {
    opt_status st = OPT_OK;
    const size_t n = opt_json_size(map);
    const char **all = opt_alloc_array(ctx, n, sizeof *all);
    OPT_TRY_PTR(all);
    size_t i = 0;
    void *it = NULL;
    const char *tensor = NULL;
    const opt_json *value = NULL;
    while (opt_json_next(map, &it, &tensor, &value)) {
        const char *const shard = opt_json_str(value, NULL);
        OPT_REQUIRE(shard != NULL, ctx, OPT_ERR_INPUT, name,
                    "weight_map member '%s' is %s; expected a file name", tensor,
                    opt_json_type_name(opt_json_type_of(value)));
        OPT_REQUIRE(is_plain_name(shard), ctx, OPT_ERR_INPUT, name,
                    "weight_map puts tensor '%s' into '%s'; expected the plain name of a file in "
                    "the same directory",
                    tensor, shard);
        all[i++] = shard;
    }
    qsort(all, n, sizeof *all, compare_strings);
    size_t n_unique = 0;
    for (i = 0; i < n; i++) {
        if (i == 0 || strcmp(all[i], all[n_unique - 1]) != 0) {
            all[n_unique++] = all[i];
        }
    }
    index->shards = opt_arena_array(arena, n_unique, sizeof *index->shards);
    OPT_TRY_PTR(index->shards);
    for (i = 0; i < n_unique; i++) {
        index->shards[i] = opt_arena_strdup(arena, all[i]);
        OPT_TRY_PTR(index->shards[i]);
    }
    index->n_shards = n_unique;
done:
    opt_free(ctx, all);
    return st;
}

static opt_status collect_entries(opt_arena *arena, const opt_json *map, opt_hf_index *index) {
    opt_status st = OPT_OK;
    index->entries = opt_arena_array(arena, opt_json_size(map), sizeof *index->entries);
    OPT_TRY_PTR(index->entries);
    void *it = NULL;
    const char *tensor = NULL;
    const opt_json *value = NULL;
    while (opt_json_next(map, &it, &tensor, &value)) {
        opt_hf_index_entry *const entry = &index->entries[index->n_entries++];
        const char **const shard =
            (const char **)bsearch(opt_json_str(value, NULL), index->shards, index->n_shards,
                                   sizeof *index->shards, compare_to_string);
        entry->shard = (size_t)(shard - index->shards);
        entry->tensor = opt_arena_strdup(arena, tensor);
        OPT_TRY_PTR(entry->tensor);
    }
    qsort(index->entries, index->n_entries, sizeof *index->entries, compare_entries);
done:
    return st;
}

opt_status opt_hf_index_parse(opt_ctx *ctx, opt_arena *arena, const char *name, const char *text,
                              size_t bytes, opt_hf_index *out) {
    opt_status st = OPT_OK;
    opt_json *root = NULL;
    opt_hf_index index = {.total_size = -1.0};
    OPT_REQUIRE(bytes <= INDEX_BYTES_MAX, ctx, OPT_ERR_INPUT, name,
                "the index has %zu bytes; at most %u are allowed", bytes, INDEX_BYTES_MAX);
    OPT_TRY(opt_json_parse(ctx, name, text, bytes, &root));
    OPT_REQUIRE(opt_json_type_of(root) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, name,
                "the index is %s; expected an object", opt_json_type_name(opt_json_type_of(root)));
    const opt_json *const map = opt_json_get(root, "weight_map");
    OPT_REQUIRE(map != NULL, ctx, OPT_ERR_INPUT, name, "the member weight_map is missing");
    OPT_REQUIRE(opt_json_type_of(map) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, name,
                "weight_map is %s; expected an object", opt_json_type_name(opt_json_type_of(map)));
    OPT_REQUIRE(opt_json_size(map) > 0, ctx, OPT_ERR_INPUT, name, "weight_map lists no tensor");
    const opt_json *const metadata = opt_json_get(root, "metadata");
    OPT_REQUIRE(metadata == NULL || opt_json_type_of(metadata) == OPT_JSON_OBJECT, ctx,
                OPT_ERR_INPUT, name, "metadata is %s; expected an object",
                opt_json_type_name(opt_json_type_of(metadata)));
    const opt_json *const total = opt_json_get(metadata, "total_size");
    OPT_REQUIRE(total == NULL || opt_json_f64(total, &index.total_size), ctx, OPT_ERR_INPUT, name,
                "metadata.total_size is %s; expected a number",
                opt_json_type_name(opt_json_type_of(total)));
    OPT_TRY(collect_shards(ctx, arena, name, map, &index));
    OPT_TRY(collect_entries(arena, map, &index));
    *out = index;
done:
    opt_json_free(root);
    return st;
}

static bool probe_dir(const char *path, bool is_dir, const uint8_t *head, size_t n_head) {
    (void)path;
    (void)head;
    (void)n_head;
    return is_dir;
}

/* Maps one file of the directory and gives its tensors. */
static opt_status read_shard(opt_source *s, const char *name, size_t *file, opt_tensor_list *list) {
    opt_status st = OPT_OK;
    const char *const path = opt_arena_printf(s->arena, "%s/%s", s->dir, name);
    OPT_TRY_PTR(path);
    OPT_TRY(opt_source_add_file(s, path, file));
    const opt_buf *const buf = s->files[*file].buf;
    OPT_TRY(opt_st_parse(s->ctx, s->arena, path, buf->data, buf->bytes, list));
done:
    return st;
}

/* Every tensor of a shard is listed for that shard; `seen` [n_entries] marks those that were found.
 */
static opt_status check_shard(opt_source *s, const opt_hf_index *index, size_t shard,
                              const char *path, const opt_tensor_list *list, uint8_t *seen) {
    opt_status st = OPT_OK;
    for (int64_t i = 0; i < list->n; i++) {
        const opt_hf_index_entry key = {.tensor = list->tensors[i].name};
        const opt_hf_index_entry *const entry =
            bsearch(&key, index->entries, index->n_entries, sizeof key, compare_entries);
        OPT_REQUIRE(entry != NULL, s->ctx, OPT_ERR_INPUT, path,
                    "tensor '%s' is not listed in " INDEX_NAME, key.tensor);
        OPT_REQUIRE(entry->shard == shard, s->ctx, OPT_ERR_INPUT, path,
                    "tensor '%s' is here, but " INDEX_NAME " puts it into %s", key.tensor,
                    index->shards[entry->shard]);
        seen[entry - index->entries] = 1;
    }
done:
    return st;
}

static opt_status open_shards(opt_source *s, const char *index_path, const opt_hf_index *index) {
    opt_status st = OPT_OK;
    double total = 0;
    uint8_t *seen = opt_alloc_zero(s->ctx, index->n_entries);
    OPT_TRY_PTR(seen);
    for (size_t shard = 0; shard < index->n_shards; shard++) {
        size_t file = 0;
        opt_tensor_list list = {0};
        const char *const path = opt_arena_printf(s->arena, "%s/%s", s->dir, index->shards[shard]);
        OPT_TRY_PTR(path);
        OPT_REQUIRE(opt_path_exists(path), s->ctx, OPT_ERR_INPUT, index_path,
                    "weight_map names the file %s, which does not exist", index->shards[shard]);
        OPT_TRY(read_shard(s, index->shards[shard], &file, &list));
        OPT_TRY(check_shard(s, index, shard, path, &list, seen));
        OPT_TRY(opt_source_add_tensors(s, file, &list, NULL));
        for (int64_t i = 0; i < list.n; i++) {
            total += (double)list.tensors[i].bytes;
        }
    }
    for (size_t i = 0; i < index->n_entries; i++) {
        OPT_REQUIRE(seen[i], s->ctx, OPT_ERR_INPUT, index_path,
                    "tensor '%s' is not in %s, where weight_map puts it", index->entries[i].tensor,
                    index->shards[index->entries[i].shard]);
    }
    if (index->total_size >= 0 && index->total_size != total) {
        opt_warn(s->ctx, index_path, "metadata.total_size is %.0f; the tensors have %.0f bytes",
                 index->total_size, total);
    }
done:
    opt_free(s->ctx, seen);
    return st;
}

/* Says what is missing, and knows the usual reason. */
static opt_status refuse_dir(const opt_source *s, const char *pytorch) {
    if (opt_path_exists(pytorch)) {
        return opt_fail(s->ctx, OPT_ERR_UNSUPPORTED, s->path,
                        "the weights are in pytorch_model.bin, which this version does not read; "
                        "expected " SINGLE_NAME " or " INDEX_NAME);
    }
    return opt_fail(s->ctx, OPT_ERR_INPUT, s->path,
                    "neither " SINGLE_NAME " nor " INDEX_NAME " is in this directory");
}

static opt_status open_dir(opt_source *s) {
    opt_status st = OPT_OK;
    opt_buf *text = NULL;
    size_t n_dir = strlen(s->path);
    while (n_dir > 1 && s->path[n_dir - 1] == '/') {
        n_dir--;
    }
    s->kind = OPT_SOURCE_HF;
    s->dir = opt_arena_strndup(s->arena, s->path, n_dir);
    OPT_TRY_PTR(s->dir);
    const char *const single = opt_arena_printf(s->arena, "%s/" SINGLE_NAME, s->dir);
    OPT_TRY_PTR(single);
    const char *const index_path = opt_arena_printf(s->arena, "%s/" INDEX_NAME, s->dir);
    OPT_TRY_PTR(index_path);
    const char *const pytorch = opt_arena_printf(s->arena, "%s/pytorch_model.bin", s->dir);
    OPT_TRY_PTR(pytorch);
    if (opt_path_exists(single)) { /* the order in which transformers looks */
        size_t file = 0;
        opt_tensor_list list = {0};
        if (opt_path_exists(index_path)) {
            opt_warn(s->ctx, s->path, "reading " SINGLE_NAME "; " INDEX_NAME " is ignored");
        }
        OPT_TRY(read_shard(s, SINGLE_NAME, &file, &list));
        OPT_TRY(opt_source_add_tensors(s, file, &list, NULL));
    } else if (opt_path_exists(index_path)) {
        opt_hf_index index = {0};
        OPT_TRY(opt_buf_read(s->ctx, index_path, INDEX_BYTES_MAX, &text));
        OPT_TRY(opt_hf_index_parse(s->ctx, s->arena, index_path, (const char *)text->data,
                                   text->bytes, &index));
        OPT_TRY(open_shards(s, index_path, &index));
    } else {
        OPT_TRY(refuse_dir(s, pytorch));
    }
done:
    opt_buf_release(text);
    return st;
}

const opt_container opt_container_hf_dir = {
    .name = "Hugging Face directory",
    .probe = probe_dir,
    .open = open_dir,
};
