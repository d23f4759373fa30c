#include "flow/open.h"

#include <string.h>

#include "base/hash.h"

/** Side files that a tokenizer is made of. */
typedef struct side_files {
    opt_buf *json, *config, *generation_config, *model_config, *chat_template;
} side_files;

static opt_status read_side_files(const opt_source *source, side_files *f) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_source_side_file(source, "tokenizer.json", &f->json));
    OPT_TRY(opt_source_side_file(source, "tokenizer_config.json", &f->config));
    OPT_TRY(opt_source_side_file(source, "generation_config.json", &f->generation_config));
    OPT_TRY(opt_source_side_file(source, "config.json", &f->model_config));
    OPT_TRY(opt_source_side_file(source, "chat_template.jinja", &f->chat_template));
done:
    return st;
}

static opt_status tokenizer_from_directory(opt_opened *o) {
    opt_status st = OPT_OK;
    side_files f = {0};
    OPT_TRY(read_side_files(o->source, &f));
    if (f.json == NULL) {
        opt_warn(o->ctx, opt_source_path(o->source),
                 "there is no tokenizer.json: the model can be converted, but "
                 "not run on text");
        goto done;
    }
    const opt_tokenizer_files files = {
        .json = f.json,
        .config = f.config,
        .generation_config = f.generation_config,
        .model_config = f.model_config,
        .chat_template = f.chat_template,
        .origin = opt_source_path(o->source),
    };
    OPT_TRY(opt_tokenizer_from_files(o->ctx, &files, o->model->hp.n_vocab, &o->tokenizer));
done:
    opt_buf_release(f.json);
    opt_buf_release(f.config);
    opt_buf_release(f.generation_config);
    opt_buf_release(f.model_config);
    opt_buf_release(f.chat_template);
    return st;
}

/** Whether a GGUF file says that it has a vocabulary. */
static bool kv_has_tokenizer(const opt_kv *kv) {
    const opt_kv_entry *e = opt_kv_find(kv, "tokenizer.ggml.model");
    if (e == NULL || e->type != OPT_KV_STRING) {
        return false;
    }
    const opt_kv_str *s = e->data;
    return !(s->len == 8 && memcmp(s->data, "no_vocab", 8) == 0) &&
           !(s->len == 4 && memcmp(s->data, "none", 4) == 0);
}

opt_status opt_open_model(opt_ctx *ctx, const char *path, opt_opened *out) {
    opt_status st = OPT_OK;
    opt_opened o = {.ctx = ctx};
    OPT_TRY(opt_source_open(ctx, path, &o.source));
    OPT_TRY(opt_model_open(ctx, o.source, &o.model));
    *out = o;
    o = (opt_opened){0};
done:
    opt_opened_close(&o);
    return st;
}

opt_status opt_open_tokenizer(opt_opened *o) {
    const opt_kv *kv = opt_source_kv(o->source);
    if (kv == NULL) {
        return tokenizer_from_directory(o);
    }
    return kv_has_tokenizer(kv)
               ? opt_tokenizer_from_kv(o->ctx, kv, o->model->hp.n_vocab, &o->tokenizer)
               : OPT_OK;
}

opt_status opt_open(opt_ctx *ctx, const char *path, opt_opened *out) {
    opt_status st = OPT_OK;
    opt_opened o = {0};
    OPT_TRY(opt_open_model(ctx, path, &o));
    OPT_TRY(opt_open_tokenizer(&o));
    *out = o;
    o = (opt_opened){0};
done:
    opt_opened_close(&o);
    return st;
}

void opt_opened_close(opt_opened *o) {
    opt_tokenizer_free(o->tokenizer);
    opt_model_free(o->model);
    opt_source_close(o->source);
    *o = (opt_opened){0};
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/** Entries of a source file that describe that file and not the model. */
static bool describes_file(const char *key) {
    return starts_with(key, "split.") || starts_with(key, "lathe.quantize.") ||
           strcmp(key, "general.alignment") == 0 || strcmp(key, "general.file_type") == 0 ||
           strcmp(key, "general.quantization_version") == 0;
}

static opt_status kv_of_gguf(const opt_opened *o, opt_kv *kv) {
    opt_status st = OPT_OK;
    const opt_kv *source = opt_source_kv(o->source);
    for (size_t i = 0; i < opt_kv_count(source); i++) {
        const opt_kv_entry *e = opt_kv_at(source, i);
        if (!describes_file(e->key)) {
            OPT_TRY(opt_kv_copy(kv, e));
        }
    }
done:
    return st;
}

static opt_status kv_of_directory(const opt_opened *o, opt_kv *kv) {
    opt_status st = OPT_OK;
    opt_buf *config = NULL;
    OPT_TRY(opt_model_to_kv(o->ctx, o->model, kv));
    if (o->tokenizer != NULL) {
        OPT_TRY(opt_tokenizer_to_kv(o->ctx, o->tokenizer, o->model->hp.n_vocab, kv));
    } else {
        OPT_TRY(opt_kv_set_str(kv, "tokenizer.ggml.model", "no_vocab"));
    }
    OPT_TRY(opt_source_side_file(o->source, "config.json", &config));
    if (config != NULL) {
        char hex[65];
        OPT_TRY(opt_sha256_hex(o->ctx, config->data, config->bytes, hex));
        OPT_TRY(opt_kv_set_str(kv, "lathe.source.config_sha256", hex));
    }
done:
    opt_buf_release(config);
    return st;
}

opt_status opt_opened_kv(const opt_opened *o, opt_kv **out) {
    opt_status st = OPT_OK;
    opt_kv *kv = NULL;
    OPT_TRY(opt_kv_new(o->ctx, &kv));
    OPT_TRY(opt_source_kv(o->source) != NULL ? kv_of_gguf(o, kv) : kv_of_directory(o, kv));
    *out = kv;
    kv = NULL;
done:
    opt_kv_free(kv);
    return st;
}
