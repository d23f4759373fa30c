/* The only file that names the containers. */
#include <string.h>

#include "base/file.h"
#include "io/container.h"

static const opt_container *const containers[] = {
    &opt_container_hf_dir,
    &opt_container_gguf,
    &opt_container_safetensors,
};
#define N_CONTAINERS (sizeof containers / sizeof containers[0])

/* Files that people will try, which other versions or other tools read. */
static const struct {
    const char *magic;
    size_t n;
    const char *what;
} known_others[] = {
    {"PK\x03\x04", 4, "a zip archive (PyTorch, Keras or NumPy)"},
    {"\x80\x02", 2, "a Python pickle (old PyTorch)"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file"},
    {"ggjt", 4, "a GGJT file, older than GGUF"},
    {"tjgg", 4, "a GGJT file, older than GGUF"},
};

static opt_status refuse(opt_ctx *ctx, const char *path, const uint8_t *head, size_t n_head) {
    for (size_t i = 0; i < sizeof known_others / sizeof known_others[0]; i++) {
        if (n_head >= known_others[i].n &&
            memcmp(head, known_others[i].magic, known_others[i].n) == 0) {
            return opt_fail(ctx, OPT_ERR_UNSUPPORTED, path,
                            "this is %s; expected a GGUF file, a .safetensors file or a Hugging "
                            "Face directory",
                            known_others[i].what);
        }
    }
    return opt_fail(ctx, OPT_ERR_INPUT, path,
                    "not a model: expected a GGUF file, a .safetensors file or a Hugging Face "
                    "directory");
}

static const opt_container *find_container(const char *path, bool is_dir, const uint8_t *head,
                                           size_t n_head) {
    for (size_t i = 0; i < N_CONTAINERS; i++) {
        if (containers[i]->probe(path, is_dir, head, n_head)) {
            return containers[i];
        }
    }
    return NULL;
}

/* Fills the source by the reader that takes its path. */
static opt_status fill(opt_source *s) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    const uint8_t *head = (const uint8_t *)"";
    size_t n_head = 0;
    const bool is_dir = opt_path_is_dir(s->path);
    if (!is_dir) {
        OPT_TRY(opt_buf_map(s->ctx, s->path, &buf));
        head = buf->data;
        n_head = buf->bytes;
    }
    const opt_container *const container = find_container(s->path, is_dir, head, n_head);
    OPT_TRY(container != NULL ? container->open(s) : refuse(s->ctx, s->path, head, n_head));
done:
    opt_buf_release(buf);
    return st;
}

opt_status opt_source_open(opt_ctx *ctx, const char *path, opt_source **out) {
    opt_status st = OPT_OK;
    opt_source *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    OPT_TRY(opt_arena_new(ctx, &s->arena));
    s->path = opt_arena_strdup(s->arena, path);
    OPT_TRY_PTR(s->path);
    OPT_TRY(fill(s));
    OPT_TRY(opt_source_finish(s));
    *out = s;
    s = NULL;
done:
    opt_source_close(s);
    return st;
}
