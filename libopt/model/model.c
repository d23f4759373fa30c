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

/* The last part of a path that says something: "models/Tiny/" and "models/Tiny/model.safetensors"
 * give "Tiny". */
static char *name_from_path(opt_arena *arena, const char *path, bool is_dir) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    const char *suffix = ".safetensors";
    const size_t n_suffix = strlen(suffix);
    if (is_dir && end > n_suffix && memcmp(path + end - n_suffix, suffix, n_suffix) == 0) {
        while (end > 0 && path[end - 1] != '/') {
            end--;
        }
        while (end > 1 && path[end - 1] == '/') {
            end--;
        }
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    if (!is_dir && end - begin > 5 && memcmp(path + end - 5, ".gguf", 5) == 0) {
        end -= 5;
    }
    const bool nameless = end == begin || path[begin] == '.';
    return nameless ? opt_arena_strdup(arena, "model")
                    : opt_arena_strndup(arena, path + begin, end - begin);
}

static opt_status read_config_hf(opt_model *m) {
    opt_status st = OPT_OK;
    opt_buf *text = NULL;
    const char *path = opt_source_path(m->source);
    const char *file = opt_arena_printf(m->arena, "%s/config.json", path);
    OPT_TRY_PTR(file);
    OPT_TRY(opt_source_side_file(m->source, "config.json", &text));
    OPT_REQUIRE(text != NULL, m->ctx, OPT_ERR_INPUT, path,
                "there is no config.json beside the weights");
    OPT_TRY(opt_config_read_hf(m->ctx, m->arena, file, (const char *)text->data, text->bytes,
                               &m->arch, &m->hp));
    OPT_TRY_PTR(m->name = name_from_path(m->arena, path, true));
done:
    opt_buf_release(text);
    return st;
}

static opt_status read_config_gguf(opt_model *m) {
    opt_status st = OPT_OK;
    const opt_kv *kv = opt_source_kv(m->source);
    const char *name = NULL;
    OPT_TRY(opt_config_read_gguf(m->ctx, m->arena, kv, &m->arch, &m->hp));
    OPT_TRY(opt_kv_get_str(m->ctx, kv, "general.name", false, &name));
    m->name = name != NULL ? opt_arena_strdup(m->arena, name)
                           : name_from_path(m->arena, opt_source_path(m->source), false);
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
