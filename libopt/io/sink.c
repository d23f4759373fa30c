#include "io/sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/container.h"

struct opt_sink {
    opt_ctx *ctx;
    opt_arena *arena; /* names */
    const char *path;
    opt_outfile *file;
    opt_sink_tensor *tensors; /* [n] */
    int64_t n;
    uint64_t file_bytes;
};

static void sink_free(opt_sink *sink) {
    opt_ctx *const ctx = sink->ctx;
    for (int64_t i = 0; sink->tensors != NULL && i < sink->n; i++) {
        opt_xxh3_free(sink->tensors[i].hash);
    }
    opt_free(ctx, sink->tensors);
    opt_arena_free(sink->arena);
    opt_free(ctx, sink);
}

void opt_sink_discard(opt_sink *sink) {
    if (sink != NULL) {
        opt_outfile_discard(sink->file);
        sink_free(sink);
    }
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static opt_status check_names(opt_ctx *ctx, const char *path, const opt_sink_tensor *tensors,
                              int64_t n) {
    opt_status st = OPT_OK;
    const char **names = opt_alloc_array(ctx, (size_t)n, sizeof *names);
    OPT_TRY_PTR(names);
    for (int64_t i = 0; i < n; i++) {
        names[i] = tensors[i].name;
    }
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int64_t i = 1; i < n; i++) {
        OPT_REQUIRE(strcmp(names[i - 1], names[i]) != 0, ctx, OPT_ERR_BUG, path,
                    "two tensors of the name '%s' are to be written", names[i]);
    }
done:
    opt_free(ctx, names);
    return st;
}

opt_status opt_sink_open(opt_ctx *ctx, const char *path, bool force, uint64_t file_bytes,
                         const opt_sink_tensor *tensors, int64_t n, opt_sink **out) {
    opt_status st = OPT_OK;
    opt_sink *sink = opt_alloc_zero(ctx, sizeof *sink);
    OPT_TRY_PTR(sink);
    sink->ctx = ctx;
    sink->file_bytes = file_bytes;
    OPT_TRY(check_names(ctx, path, tensors, n));
    OPT_TRY(opt_arena_new(ctx, &sink->arena));
    sink->path = opt_arena_strdup(sink->arena, path);
    OPT_TRY_PTR(sink->path);
    sink->tensors = opt_alloc_array(ctx, (size_t)n, sizeof *sink->tensors);
    OPT_TRY_PTR(sink->tensors);
    for (int64_t i = 0; i < n; i++) {
        const char *const name = opt_arena_strdup(sink->arena, tensors[i].name);
        OPT_TRY_PTR(name);
        sink->tensors[sink->n++] = (opt_sink_tensor){
            .name = name,
            .off = tensors[i].off,
            .bytes = tensors[i].bytes,
            .checksum = opt_xxh3("", 0), /* right already for an empty tensor */
        };
    }
    OPT_TRY(opt_outfile_open(ctx, path, force, file_bytes, &sink->file));
    *out = sink;
    sink = NULL;
done:
    opt_sink_discard(sink);
    return st;
}

opt_status opt_sink_write(opt_sink *sink, uint64_t off, const void *data, size_t bytes) {
    return opt_outfile_pwrite(sink->file, off, data, bytes);
}

/* Adds bytes to the tensor's checksum. A tensor that comes in one piece needs no state. */
static opt_status add_to_checksum(opt_ctx *ctx, opt_sink_tensor *t, const void *data,
                                  size_t bytes) {
    opt_status st = OPT_OK;
    if (bytes == t->bytes) {
        t->checksum = opt_xxh3(data, bytes);
        goto done;
    }
    if (t->hash == NULL) {
        OPT_TRY(opt_xxh3_new(ctx, &t->hash));
    }
    opt_xxh3_update(t->hash, data, bytes);
    if (t->n_done + bytes == t->bytes) {
        t->checksum = opt_xxh3_digest(t->hash);
        opt_xxh3_free(t->hash);
        t->hash = NULL;
    }
done:
    return st;
}

/* The tensor i, if `bytes` at `off` lie inside it. */
static opt_status find_room(const opt_sink *sink, int64_t i, size_t off, size_t bytes,
                            opt_sink_tensor **out) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(i >= 0 && i < sink->n, sink->ctx, OPT_ERR_BUG, sink->path,
                "no tensor has number %lld", (long long)i);
    opt_sink_tensor *const t = &sink->tensors[i];
    OPT_REQUIRE(off <= t->bytes && bytes <= t->bytes - off, sink->ctx, OPT_ERR_BUG, sink->path,
                "tensor '%s' gets %zu bytes at offset %zu; it has %zu", t->name, bytes, off,
                t->bytes);
    *out = t;
done:
    return st;
}

opt_status opt_sink_put(opt_sink *sink, int64_t i, size_t off, const void *data, size_t bytes) {
    opt_status st = OPT_OK;
    opt_sink_tensor *t = NULL;
    OPT_TRY(find_room(sink, i, off, bytes, &t));
    if (bytes > 0) {
        OPT_TRY(opt_outfile_pwrite(sink->file, t->off + off, data, bytes));
    }
done:
    return st;
}

opt_status opt_sink_account(opt_sink *sink, int64_t i, const void *data, size_t bytes) {
    opt_status st = OPT_OK;
    opt_sink_tensor *t = NULL;
    OPT_REQUIRE(i >= 0 && i < sink->n, sink->ctx, OPT_ERR_BUG, sink->path,
                "no tensor has number %lld", (long long)i);
    OPT_TRY(find_room(sink, i, sink->tensors[i].n_done, bytes, &t));
    if (bytes > 0) {
        OPT_TRY(add_to_checksum(sink->ctx, t, data, bytes));
        t->n_done += bytes;
    }
done:
    return st;
}

opt_status opt_sink_append(opt_sink *sink, int64_t i, const void *data, size_t bytes) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(i >= 0 && i < sink->n, sink->ctx, OPT_ERR_BUG, sink->path,
                "no tensor has number %lld", (long long)i);
    OPT_TRY(opt_sink_put(sink, i, sink->tensors[i].n_done, data, bytes));
    OPT_TRY(opt_sink_account(sink, i, data, bytes));
done:
    return st;
}

opt_status opt_sink_check_complete(opt_sink *sink) {
    opt_status st = OPT_OK;
    for (int64_t i = 0; i < sink->n; i++) {
        const opt_sink_tensor *const t = &sink->tensors[i];
        OPT_REQUIRE(t->n_done == t->bytes, sink->ctx, OPT_ERR_BUG, sink->path,
                    "tensor '%s' got %zu of its %zu bytes", t->name, t->n_done, t->bytes);
    }
done:
    return st;
}

uint64_t opt_sink_checksum(const opt_sink *sink, int64_t i) { return sink->tensors[i].checksum; }

/* Gives every tensor of the re-opened file the checksum of what was written. */
static opt_status expect_checksums(const opt_sink *sink, opt_source *source) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(opt_source_n_tensors(source) == sink->n, sink->ctx, OPT_ERR_IO, sink->path,
                "it has %lld tensors, %lld were written", (long long)opt_source_n_tensors(source),
                (long long)sink->n);
    for (int64_t i = 0; i < sink->n; i++) {
        const opt_sink_tensor *const t = &sink->tensors[i];
        opt_source_item *const item = opt_source_find_item(source, t->name);
        OPT_REQUIRE(item != NULL, sink->ctx, OPT_ERR_IO, sink->path, "tensor '%s' is missing",
                    t->name);
        OPT_REQUIRE(item->tensor.bytes == t->bytes &&
                        (!item->has_checksum || item->checksum == t->checksum),
                    sink->ctx, OPT_ERR_IO, sink->path, "the record of tensor '%s' differs",
                    t->name);
        item->checksum = t->checksum;
        item->has_checksum = true;
    }
done:
    return st;
}

static opt_status read_back(const opt_sink *sink, const char *path) {
    opt_status st = OPT_OK;
    opt_source *source = NULL;
    int64_t n_checked = 0;
    OPT_TRY(opt_source_open(sink->ctx, path, &source));
    OPT_REQUIRE(opt_source_file_bytes(source) == sink->file_bytes, sink->ctx, OPT_ERR_IO, path,
                "it has %llu bytes, %llu were written",
                (unsigned long long)opt_source_file_bytes(source),
                (unsigned long long)sink->file_bytes);
    OPT_TRY(expect_checksums(sink, source));
    OPT_TRY(opt_source_verify(source, &n_checked));
done:
    opt_source_close(source);
    return st;
}

/* Whatever the reader says against our own file is not the fault of an input. */
static opt_status verify(void *user, const char *path) {
    const opt_sink *const sink = user;
    const bool had_error = opt_ctx_status(sink->ctx) != OPT_OK;
    opt_status st = read_back(sink, path);
    if (st == OPT_ERR_INPUT || st == OPT_ERR_UNSUPPORTED) {
        char reason[400];
        (void)snprintf(reason, sizeof reason, "%s", opt_ctx_error_message(sink->ctx));
        if (!had_error) {
            opt_ctx_clear_error(sink->ctx);
        }
        st = opt_fail(sink->ctx, OPT_ERR_IO, sink->path,
                      "the output does not read back as it was written: %s", reason);
    }
    return st;
}

opt_status opt_sink_commit(opt_sink *sink) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_sink_check_complete(sink));
    opt_outfile *const file = sink->file;
    sink->file = NULL;
    OPT_TRY(opt_outfile_commit(file, verify, sink));
done:
    opt_sink_discard(sink);
    return st;
}
