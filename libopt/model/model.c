#include "model/graph.h"

#include <string.h>

#include "model/arch.h"

int opt_model_find_node(const opt_model *m, const char *name) {
    for (int i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int opt_model_find_weight(const opt_model *m, const char *name) {
    for (int i = 0; i < m->n_weights; i++) {
        if (strcmp(m->weights[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static bool ends_with(const char *s, size_t n, const char *suffix) {
    const size_t n_suffix = strlen(suffix);
    return n >= n_suffix && memcmp(s + n - n_suffix, suffix, n_suffix) == 0;
}

static size_t without_slashes(const char *path, size_t n) {
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    return n;
}

static size_t start_of_last_part(const char *path, size_t n) {
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    return n;
}

/* Bytes of `path` that name the checkpoint's directory: "Tiny/" and "Tiny/model.safetensors". */
static size_t directory_bytes(const char *path) {
    const size_t n = without_slashes(path, strlen(path));
    return ends_with(path, n, ".safetensors") ? without_slashes(path, start_of_last_part(path, n))
                                              : n;
}

/* A name from the last part of a path; never a path. */
static char *name_from_path(opt_arena *arena, const char *path, size_t n) {
    const size_t begin = start_of_last_part(path, n);
    n = ends_with(path + begin, n - begin, ".gguf") ? n - strlen(".gguf") : n;
    const size_t n_name = n - begin;
    const bool dots = strspn(path + begin, ".") >= n_name; /* "", "." and ".." */
    return dots ? opt_arena_strdup(arena, "model") : opt_arena_strndup(arena, path + begin, n_name);
}

static opt_status read_config_hf(opt_model *m) {
    opt_status st = OPT_OK;
    opt_buf *text = NULL;
    const char *path = opt_source_path(m->source);
    const size_t n_dir = directory_bytes(path);
    const char *file =
        opt_arena_printf(m->arena, "%.*s%sconfig.json", (int)n_dir, path, n_dir == 0 ? "" : "/");
    OPT_TRY_PTR(file);
    OPT_TRY(opt_source_side_file(m->source, "config.json", &text));
    OPT_REQUIRE(text != NULL, m->ctx, OPT_ERR_INPUT, path,
                "there is no config.json beside the weights");
    OPT_TRY(opt_config_read_hf(m->ctx, m->arena, file, (const char *)text->data, text->bytes,
                               &m->arch, &m->hp));
    OPT_TRY_PTR(m->name = name_from_path(m->arena, path, n_dir));
done:
    opt_buf_release(text);
    return st;
}

static opt_status read_config_gguf(opt_model *m) {
    opt_status st = OPT_OK;
    const opt_kv *kv = opt_source_kv(m->source);
    const char *path = opt_source_path(m->source);
    const char *name = NULL;
    OPT_TRY(opt_config_read_gguf(m->ctx, m->arena, kv, &m->arch, &m->hp));
    OPT_TRY(opt_kv_get_str(m->ctx, kv, "general.name", false, &name));
    m->name = name != NULL ? opt_arena_strdup(m->arena, name)
                           : name_from_path(m->arena, path, strlen(path));
    OPT_TRY_PTR(m->name);
done:
    return st;
}

opt_status opt_model_open(opt_ctx *ctx, const opt_source *source, opt_model **out) {
    opt_status st = OPT_OK;
    opt_builder *b = NULL;
    opt_model *m = opt_alloc_zero(ctx, sizeof *m);
    OPT_TRY_PTR(m);
    m->ctx = ctx;
    m->source = source;
    OPT_TRY(opt_arena_new(ctx, &m->arena));
    OPT_TRY(opt_source_kind_of(source) == OPT_SOURCE_GGUF ? read_config_gguf(m)
                                                          : read_config_hf(m));
    m->n_units = (int)m->hp.n_layers;
    OPT_TRY(opt_builder_new(ctx, m, &b));
    OPT_TRY(opt_builder_finish(b, m->arch->build(b, &m->hp)));
    *out = m;
    m = NULL;
done:
    opt_builder_free(b);
    opt_model_free(m);
    return st;
}

void opt_model_free(opt_model *m) {
    if (m != NULL) {
        opt_arena_free(m->arena);
        opt_free(m->ctx, m);
    }
}
