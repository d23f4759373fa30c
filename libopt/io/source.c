#include "io/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/pool.h"
#include "io/container.h"

#define SIDE_FILE_BYTES_MAX ((size_t)256 << 20)

void opt_source_close(opt_source *source) {
    if (source == NULL) {
        return;
    }
    opt_ctx *const ctx = source->ctx;
    for (size_t i = 0; i < source->n_files; i++) {
        opt_buf_release(source->files[i].buf);
    }
    opt_free(ctx, source->files);
    opt_free(ctx, source->items);
    opt_kv_free(source->kv);
    opt_arena_free(source->arena);
    opt_free(ctx, source);
}

bool opt_path_exists(const char *path) { return access(path, F_OK) == 0; }

const char *opt_source_dir_of(opt_source *s, const char *path) {
    const char *const slash = strrchr(path, '/');
    if (slash == NULL) {
        return opt_arena_strdup(s->arena, ".");
    }
    return opt_arena_strndup(s->arena, path, slash == path ? 1 : (size_t)(slash - path));
}

opt_status opt_source_add_file(opt_source *s, const char *path, size_t *index) {
    opt_status st = OPT_OK;
    if (s->n_files == s->files_cap) {
        const size_t cap = s->files_cap == 0 ? 4 : s->files_cap * 2;
        opt_source_file_ref *const files = opt_realloc(s->ctx, s->files, cap * sizeof *files);
        OPT_TRY_PTR(files);
        s->files = files;
        s->files_cap = cap;
    }
    opt_source_file_ref ref = {.path = opt_arena_strdup(s->arena, path)};
    OPT_TRY_PTR(ref.path);
    OPT_TRY(opt_buf_map(s->ctx, path, &ref.buf));
    *index = s->n_files;
    s->files[s->n_files++] = ref;
done:
    return st;
}

opt_status opt_source_add_tensors(opt_source *s, size_t file, const opt_tensor_list *list,
                                  const uint8_t *checksums) {
    opt_status st = OPT_OK;
    if (list->n > s->items_cap - s->n_items) {
        /* at least doubled, so that many shards do not cost quadratic time */
        const int64_t cap = opt_max_i64(s->n_items + list->n, 2 * s->items_cap);
        opt_source_item *const items = opt_realloc(s->ctx, s->items, (size_t)cap * sizeof *items);
        OPT_TRY_PTR(items);
        s->items = items;
        s->items_cap = cap;
    }
    for (int64_t i = 0; i < list->n; i++) {
        s->items[s->n_items++] = (opt_source_item){
            .tensor = list->tensors[i],
            .checksum = checksums != NULL ? opt_rd_u64le(checksums + 8 * i) : 0,
            .file = file,
            .has_checksum = checksums != NULL,
        };
    }
done:
    return st;
}

static int compare_items(const void *a, const void *b) {
    const opt_source_item *const x = a;
    const opt_source_item *const y = b;
    const int order = strcmp(x->tensor.name, y->tensor.name);
    return order != 0 ? order : (x->file > y->file) - (x->file < y->file);
}

opt_status opt_source_finish(opt_source *s) {
    opt_status st = OPT_OK;
    if (s->n_items > 0) {
        qsort(s->items, (size_t)s->n_items, sizeof *s->items, compare_items);
    }
    for (int64_t i = 1; i < s->n_items; i++) {
        const opt_source_item *const a = &s->items[i - 1];
        const opt_source_item *const b = &s->items[i];
        if (strcmp(a->tensor.name, b->tensor.name) != 0) {
            continue;
        }
        OPT_REQUIRE(a->file != b->file, s->ctx, OPT_ERR_INPUT, s->files[a->file].path,
                    "tensor '%s' is there twice", a->tensor.name);
        OPT_REQUIRE(false, s->ctx, OPT_ERR_INPUT, s->files[a->file].path,
                    "tensor '%s' is also in %s", a->tensor.name, s->files[b->file].path);
    }
done:
    return st;
}

opt_source_kind opt_source_kind_of(const opt_source *source) { return source->kind; }
const char *opt_source_path(const opt_source *source) { return source->path; }
int64_t opt_source_n_tensors(const opt_source *source) { return source->n_items; }

const opt_tensor *opt_source_tensor(const opt_source *source, int64_t i) {
    return i >= 0 && i < source->n_items ? &source->items[i].tensor : NULL;
}

static int compare_name(const void *key, const void *item) {
    return strcmp(key, ((const opt_source_item *)item)->tensor.name);
}

static const opt_source_item *find_item(const opt_source *source, const char *name) {
    return source->n_items == 0 ? NULL
                                : bsearch(name, source->items, (size_t)source->n_items,
                                          sizeof *source->items, compare_name);
}

const opt_tensor *opt_source_find(const opt_source *source, const char *name) {
    const opt_source_item *const found = find_item(source, name);
    return found != NULL ? &found->tensor : NULL;
}

opt_source_item *opt_source_find_item(opt_source *source, const char *name) {
    const opt_source_item *const found = find_item(source, name);
    return found != NULL ? &source->items[found - source->items] : NULL;
}

const opt_kv *opt_source_kv(const opt_source *source) { return source->kv; }

uint64_t opt_source_file_bytes(const opt_source *source) {
    uint64_t total = 0;
    for (size_t i = 0; i < source->n_files; i++) {
        total += source->files[i].buf->bytes;
    }
    return total;
}

opt_status opt_source_side_file(const opt_source *source, const char *name, opt_buf **out) {
    opt_status st = OPT_OK;
    opt_str path = {0};
    *out = NULL;
    OPT_REQUIRE(strchr(name, '/') == NULL, source->ctx, OPT_ERR_BUG, name,
                "a side file is asked for by its plain name");
    if (source->dir == NULL) {
        goto done;
    }
    OPT_TRY(opt_str_printf(source->ctx, &path, "%s/%s", source->dir, name));
    if (opt_path_exists(path.data)) {
        OPT_TRY(opt_buf_read(source->ctx, path.data, SIDE_FILE_BYTES_MAX, out));
    }
done:
    opt_str_free(source->ctx, &path);
    return st;
}

size_t opt_source_n_files(const opt_source *source) { return source->n_files; }

const char *opt_source_file(const opt_source *source, size_t i) {
    return i < source->n_files ? source->files[i].path : NULL;
}

/* The mapping that holds a tensor, and the tensor's place in it; NULL for a tensor of someone else.
 */
static const opt_buf *buf_of(const opt_source *source, const opt_tensor *t, size_t *off) {
    for (size_t i = 0; i < source->n_files; i++) {
        const opt_buf *const buf = source->files[i].buf;
        if (t->data >= buf->data && t->data <= buf->data + buf->bytes) {
            *off = (size_t)(t->data - buf->data);
            if (t->bytes <= buf->bytes - *off) {
                return buf;
            }
        }
    }
    return NULL;
}

void opt_source_will_need(const opt_source *source, const opt_tensor *t) {
    size_t off = 0;
    const opt_buf *const buf = buf_of(source, t, &off);
    if (buf != NULL) {
        opt_buf_will_need(buf, off, t->bytes);
    }
}

void opt_source_dont_need(const opt_source *source, const opt_tensor *t) {
    size_t off = 0;
    const opt_buf *const buf = buf_of(source, t, &off);
    if (buf != NULL) {
        opt_buf_dont_need(buf, off, t->bytes);
    }
}

/* Tensors with a checksum, the largest first so that the threads end together. */
typedef struct verify_job {
    const opt_source *source;
    const opt_source_item **items; /* [n] */
    int64_t n;
} verify_job;

static int compare_size(const void *a, const void *b) {
    const opt_source_item *const x = *(const opt_source_item *const *)a;
    const opt_source_item *const y = *(const opt_source_item *const *)b;
    if (x->tensor.bytes != y->tensor.bytes) {
        return x->tensor.bytes > y->tensor.bytes ? -1 : 1;
    }
    return strcmp(x->tensor.name, y->tensor.name);
}

static opt_status verify_one(void *user, int64_t tile, int worker) {
    (void)worker;
    const verify_job *const job = user;
    const opt_source_item *const item = job->items[tile];
    const uint64_t found = opt_xxh3(item->tensor.data, item->tensor.bytes);
    if (found != item->checksum) {
        return opt_fail(job->source->ctx, OPT_ERR_INPUT, job->source->files[item->file].path,
                        "tensor '%s' is damaged: its checksum is %016" PRIx64
                        ", the file says %016" PRIx64,
                        item->tensor.name, found, item->checksum);
    }
    return OPT_OK;
}

/* A file that was cut since it was mapped would end the process with SIGBUS; say so instead while
 * we can. */
static opt_status check_sizes(const opt_source *source) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < source->n_files; i++) {
        uint64_t now = 0;
        OPT_TRY(opt_file_size(source->ctx, source->files[i].path, &now));
        OPT_REQUIRE(now == source->files[i].buf->bytes, source->ctx, OPT_ERR_INPUT,
                    source->files[i].path,
                    "the file changed while it was in use: it had %zu bytes and has %" PRIu64,
                    source->files[i].buf->bytes, now);
    }
done:
    return st;
}

/* The sum of a header of ours. */
static opt_status verify_header(opt_ctx *ctx, const opt_source_file_ref *f) {
    opt_status st = OPT_OK;
    static const uint8_t zeros[sizeof(uint64_t)] = {0};
    opt_xxh3_state *hash = NULL;
    if (f->header_sum_off == 0) {
        goto done;
    }
    const size_t behind = f->header_sum_off + sizeof zeros;
    OPT_TRY(opt_xxh3_new(ctx, &hash));
    opt_xxh3_update(hash, f->buf->data, f->header_sum_off);
    opt_xxh3_update(hash, zeros, sizeof zeros);
    opt_xxh3_update(hash, f->buf->data + behind, f->header_bytes - behind);
    const uint64_t found = opt_xxh3_digest(hash);
    const uint64_t expected = opt_rd_u64le(f->buf->data + f->header_sum_off);
    OPT_REQUIRE(found == expected, ctx, OPT_ERR_INPUT, f->path,
                "the metadata was damaged, or changed by another tool: its checksum is %016" PRIx64
                ", the file says %016" PRIx64,
                found, expected);
done:
    opt_xxh3_free(hash);
    return st;
}

opt_status opt_source_verify(const opt_source *source, int64_t *n_checked) {
    opt_status st = OPT_OK;
    verify_job job = {.source = source};
    OPT_TRY(check_sizes(source));
    for (size_t i = 0; i < source->n_files; i++) {
        OPT_TRY(verify_header(source->ctx, &source->files[i]));
    }
    job.items = opt_alloc_array(source->ctx, (size_t)source->n_items, sizeof *job.items);
    OPT_TRY_PTR(job.items);
    for (int64_t i = 0; i < source->n_items; i++) {
        if (source->items[i].has_checksum) {
            job.items[job.n++] = &source->items[i];
        }
    }
    qsort(job.items, (size_t)job.n, sizeof *job.items, compare_size);
    OPT_TRY(opt_parallel_for(source->ctx, job.n, verify_one, &job));
    *n_checked = job.n;
done:
    opt_free(source->ctx, job.items);
    return st;
}
