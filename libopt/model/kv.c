#include "model/graph.h"

#include <string.h>

#include "model/arch.h"

static bool starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Keys of a GGUF source that describe the file at hand rather than the model, or that are written
 * anew. */
static bool is_file_key(const char *key) {
    static const char *const prefixes[] = {"tokenizer.", "lathe.", "split.", "quantize.",
                                           "imatrix."};
    static const char *const keys[] = {"general.alignment", "general.file_type",
                                       "general.quantization_version"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (starts_with(key, prefixes[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

opt_status opt_model_to_kv(opt_ctx *ctx, const opt_model *m, opt_kv *kv) {
    opt_status st = OPT_OK;
    const opt_kv *from = opt_source_kv(m->source);
    OPT_TRY(opt_kv_set_str(kv, "general.architecture", m->arch->gguf_name));
    OPT_TRY(opt_kv_set_str(kv, "general.type", "model"));
    OPT_TRY(opt_kv_set_str(kv, "general.name", m->name));
    for (size_t i = 0; from != NULL && i < opt_kv_count(from); i++) {
        const opt_kv_entry *entry = opt_kv_at(from, i);
        if (!is_file_key(entry->key)) {
            OPT_TRY(opt_kv_copy(kv, entry));
        }
    }
    OPT_TRY(m->arch->to_kv(ctx, m, kv));
done:
    return st;
}
