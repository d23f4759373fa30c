#include "model/arch.h"

#include <string.h>

/* "llama, mistral, qwen2": what this version can read, for messages. */
static opt_status list_archs(opt_ctx *ctx, bool gguf, opt_str *out) {
    opt_status st = OPT_OK;
    const char *separator = "";
    for (size_t i = 0; opt_archs[i] != NULL; i++) {
        if (!gguf || opt_archs[i]->reads_gguf) {
            OPT_TRY(opt_str_printf(ctx, out, "%s%s", separator,
                                   gguf ? opt_archs[i]->gguf_name : opt_archs[i]->model_type));
            separator = ", ";
        }
    }
done:
    return st;
}

static opt_status fail_unknown_arch(opt_ctx *ctx, const char *file, const char *key,
                                    const char *found, bool gguf) {
    opt_status st = OPT_OK;
    opt_str list = {0}, safe = {0};
    OPT_TRY(opt_str_append_printable(ctx, &safe, found, strnlen(found, 64)));
    OPT_TRY(list_archs(ctx, gguf, &list));
    st = opt_fail(ctx, OPT_ERR_UNSUPPORTED, file, "%s \"%s\" is not supported (supported: %s)", key,
                  safe.data, list.data);
done:
    opt_str_free(ctx, &safe);
    opt_str_free(ctx, &list);
    return st;
}

/* ---- Hugging Face ---- */

/* First element of "architectures", or NULL. */
static opt_status first_class(opt_ctx *ctx, const char *file, const opt_json *root,
                              const char **out) {
    const opt_json *list = opt_json_get(root, "architectures");
    *out = NULL;
    if (opt_json_type_of(list) == OPT_JSON_NULL ||
        (opt_json_type_of(list) == OPT_JSON_ARRAY && opt_json_size(list) == 0)) {
        return OPT_OK;
    }
    *out = opt_json_str(opt_json_at(list, 0), NULL);
    if (opt_json_type_of(list) != OPT_JSON_ARRAY || *out == NULL) {
        return opt_fail(ctx, OPT_ERR_INPUT, file, "\"architectures\" must be a list of strings");
    }
    return OPT_OK;
}

/* A checkpoint that is quantized already has codes in place of the weights: refuse it by name. */
static opt_status refuse_quantized(opt_ctx *ctx, const char *file, const opt_json *root) {
    const opt_json *q = opt_json_get(root, "quantization_config");
    if (opt_json_type_of(q) == OPT_JSON_NULL) {
        return OPT_OK;
    }
    const char *method = opt_json_str(opt_json_get(q, "quant_method"), NULL);
    return opt_fail(ctx, OPT_ERR_UNSUPPORTED, file,
                    "the checkpoint is quantized already (quantization_config, method \"%.32s\"); "
                    "a float checkpoint is needed",
                    method != NULL ? method : "unknown");
}

static opt_status find_row_hf(opt_ctx *ctx, const char *file, const opt_json *root,
                              const opt_arch **out) {
    opt_status st = OPT_OK;
    const char *model_type = NULL, *class_name = NULL;
    const opt_arch *row = NULL;
    OPT_TRY(opt_json_need_str(ctx, file, root, "model_type", false, &model_type));
    OPT_TRY(first_class(ctx, file, root, &class_name));
    OPT_REQUIRE(model_type != NULL || class_name != NULL, ctx, OPT_ERR_INPUT, file,
                "neither \"model_type\" nor \"architectures\" is present");
    for (size_t i = 0; opt_archs[i] != NULL && row == NULL; i++) {
        const char *key = model_type != NULL ? opt_archs[i]->model_type : opt_archs[i]->hf_class;
        if (strcmp(key, model_type != NULL ? model_type : class_name) == 0) {
            row = opt_archs[i];
        }
    }
    if (row == NULL) {
        st = model_type != NULL ? fail_unknown_arch(ctx, file, "model_type", model_type, false)
                                : fail_unknown_arch(ctx, file, "architecture", class_name, false);
        goto done;
    }
    OPT_REQUIRE(class_name == NULL || strcmp(class_name, row->hf_class) == 0, ctx,
                OPT_ERR_UNSUPPORTED, file,
                "class \"%.64s\" of model_type \"%s\" is not supported (expected %s)", class_name,
                row->model_type, row->hf_class);
    *out = row;
done:
    return st;
}

opt_status opt_config_read_hf(opt_ctx *ctx, opt_arena *arena, const char *file, const char *text,
                              size_t bytes, const opt_arch **arch, opt_hparams *hp) {
    opt_status st = OPT_OK;
    opt_json *root = NULL;
    const opt_arch *row = NULL;
    opt_hparams found = {0};
    OPT_TRY(opt_json_parse(ctx, file, text, bytes, &root));
    OPT_REQUIRE(opt_json_type_of(root) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, file,
                "must be a JSON object, found %s", opt_json_type_name(opt_json_type_of(root)));
    OPT_TRY(find_row_hf(ctx, file, root, &row));
    OPT_TRY(refuse_quantized(ctx, file, root));
    OPT_TRY(row->config_hf(ctx, arena, file, root, &found));
    *arch = row;
    *hp = found;
done:
    opt_json_free(root);
    return st;
}

/* ---- GGUF ---- */

opt_status opt_config_read_gguf(opt_ctx *ctx, opt_arena *arena, const opt_kv *kv,
                                const opt_arch **arch, opt_hparams *hp) {
    opt_status st = OPT_OK;
    const char *name = NULL;
    const opt_arch *row = NULL;
    opt_hparams found = {0};
    OPT_TRY(opt_kv_get_str(ctx, kv, "general.architecture", true, &name));
    for (size_t i = 0; opt_archs[i] != NULL && row == NULL; i++) {
        if (opt_archs[i]->reads_gguf && strcmp(opt_archs[i]->gguf_name, name) == 0) {
            row = opt_archs[i];
        }
    }
    if (row == NULL) {
        st = fail_unknown_arch(ctx, opt_kv_origin(kv), "general.architecture", name, true);
        goto done;
    }
    OPT_TRY(row->config_gguf(ctx, arena, kv, &found));
    *arch = row;
    *hp = found;
done:
    return st;
}
