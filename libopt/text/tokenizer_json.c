#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "text/tok.h"

/** Names of the files for messages: "DIR/tokenizer.json". */
typedef struct file_names {
    opt_str json;
    opt_str config;
    opt_str generation;
    opt_str model;
} file_names;

static opt_status make_name(opt_ctx *ctx, const char *origin, const char *file, opt_str *out) {
    const bool dir = origin != NULL && origin[0] != '\0';
    return opt_str_printf(ctx, out, "%s%s%s", dir ? origin : "", dir ? "/" : "", file);
}

/** Parses a side file that may be absent; it must be an object. */
static opt_status parse_side(opt_ctx *ctx, const char *name, const opt_buf *buf, opt_json **out) {
    opt_status st = OPT_OK;
    if (buf == NULL) {
        return OPT_OK;
    }
    OPT_TRY(opt_json_parse(ctx, name, (const char *)buf->data, buf->bytes, out));
    OPT_REQUIRE(opt_json_type_of(*out) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, name,
                "found %s, expected an object", opt_json_type_name(opt_json_type_of(*out)));
done:
    return st;
}

/* ---- tokenizer.json ---- */

static opt_status read_vocab(opt_tokenizer *t, const char *object, const opt_json *root,
                             int64_t n_vocab_model) {
    opt_status st = OPT_OK;
    const opt_json *vocab = opt_json_get(opt_json_get(root, "model"), "vocab");
    const opt_json *added = opt_json_get(root, "added_tokens");
    const opt_json *value;
    const char *key;
    void *it = NULL;
    int64_t n_ids = 0;
    int64_t id = 0;
    OPT_REQUIRE(opt_json_type_of(vocab) == OPT_JSON_OBJECT, t->ctx, OPT_ERR_INPUT, object,
                "the model's 'vocab' is %s, expected an object",
                opt_json_type_name(opt_json_type_of(vocab)));
    while (opt_json_next(vocab, &it, &key, &value)) {
        OPT_REQUIRE(
            opt_json_i64(value, &id) && id >= 0 && id < INT32_MAX, t->ctx, OPT_ERR_INPUT, object,
            "the id of the token '%.64s' is %s, expected an integer from 0 to 2147483646", key,
            opt_json_type_of(value) == OPT_JSON_INT ? "out of range"
                                                    : opt_json_type_name(opt_json_type_of(value)));
        n_ids = id >= n_ids ? id + 1 : n_ids;
    }
    for (size_t i = 0; i < opt_json_size(added); i++) { /* checked again when they are read */
        if (opt_json_i64(opt_json_get(opt_json_at(added, i), "id"), &id) && id >= n_ids &&
            id < INT32_MAX) {
            n_ids = id + 1;
        }
    }
    OPT_TRY(opt_tok_check_range(t->ctx, object, n_ids,
                                (int64_t)(opt_json_size(vocab) + opt_json_size(added)),
                                n_vocab_model));
    OPT_TRY(opt_vocab_init(t->ctx, &t->vocab, (int32_t)n_ids));
    it = NULL;
    while (opt_json_next(vocab, &it, &key, &value)) {
        (void)opt_json_i64(value, &id);
        OPT_TRY(opt_vocab_add(t->ctx, &t->vocab, object, (int32_t)id, key, strlen(key),
                              OPT_TOKEN_NORMAL));
    }
    OPT_TRY(opt_tok_read_added(t, object, added));
done:
    return st;
}

static opt_status read_merge(opt_tokenizer *t, const char *object, const opt_json *v) {
    opt_status st = OPT_OK;
    size_t n;
    size_t n_right;
    const char *line = opt_json_str(v, &n);
    if (line != NULL) {
        return opt_tok_add_merge_line(t, object, line, n);
    }
    const char *left = opt_json_str(opt_json_at(v, 0), &n);
    const char *right = opt_json_str(opt_json_at(v, 1), &n_right);
    OPT_REQUIRE(left != NULL && right != NULL && opt_json_size(v) == 2, t->ctx, OPT_ERR_INPUT,
                object, "merge %zu is %s, expected a string or an array of two strings",
                t->n_merges, opt_json_type_name(opt_json_type_of(v)));
    OPT_TRY(opt_tok_add_merge(t, object, left, n, right, n_right));
done:
    return st;
}

static opt_status read_merges(opt_tokenizer *t, const char *object, const opt_json *model) {
    opt_status st = OPT_OK;
    const opt_json *merges = opt_json_get(model, "merges");
    OPT_REQUIRE(opt_json_type_of(merges) == OPT_JSON_ARRAY, t->ctx, OPT_ERR_INPUT, object,
                "the model's 'merges' is %s, expected an array",
                opt_json_type_name(opt_json_type_of(merges)));
    const size_t n = opt_json_size(merges);
    OPT_TRY(opt_tok_reserve_merges(t, n));
    for (size_t i = 0; i < n; i++) {
        OPT_TRY(read_merge(t, object, opt_json_at(merges, i)));
    }
done:
    return st;
}

static opt_status check_model_type(opt_ctx *ctx, const char *object, const opt_json *model) {
    opt_status st = OPT_OK;
    const char *type = NULL;
    OPT_REQUIRE(opt_json_type_of(model) == OPT_JSON_OBJECT, ctx, OPT_ERR_INPUT, object,
                "'model' is %s, expected an object", opt_json_type_name(opt_json_type_of(model)));
    OPT_TRY(opt_json_need_str(ctx, object, model, "type", false, &type));
    if (type == NULL) { /* files from before the member existed */
        type = opt_json_get(model, "merges") != NULL ? "BPE" : "without a type";
    }
    OPT_REQUIRE(strcmp(type, "BPE") == 0, ctx, OPT_ERR_UNSUPPORTED, object,
                "the tokenizer model '%.64s' is not supported, only BPE is", type);
done:
    return st;
}

static opt_status read_tokenizer(opt_tokenizer *t, const char *object, const opt_json *root,
                                 int64_t n_vocab_model) {
    opt_status st = OPT_OK;
    const opt_json *model = opt_json_get(root, "model");
    opt_jsonw w;
    OPT_REQUIRE(opt_json_type_of(root) == OPT_JSON_OBJECT, t->ctx, OPT_ERR_INPUT, object,
                "found %s, expected an object", opt_json_type_name(opt_json_type_of(root)));
    OPT_TRY(
        opt_pipeline_check_keys(t->ctx, object, "the file", root,
                                "version,truncation,padding,added_tokens,normalizer,pre_tokenizer,"
                                "post_processor,decoder,model"));
    if (opt_json_type_of(opt_json_get(root, "truncation")) != OPT_JSON_NULL) {
        opt_warn(t->ctx, object, "'truncation' is not used: texts are never cut");
    }
    if (opt_json_type_of(opt_json_get(root, "padding")) != OPT_JSON_NULL) {
        opt_warn(t->ctx, object, "'padding' is not used: texts are never padded");
    }
    OPT_TRY(check_model_type(t->ctx, object, model));
    OPT_TRY(read_vocab(t, object, root, n_vocab_model));
    opt_bpe_set_vocab(&t->bpe, &t->vocab);
    OPT_TRY(opt_tok_read_model(t, object, model));
    OPT_TRY(read_merges(t, object, model));
    OPT_TRY(opt_pipeline_read(t->ctx, &t->pipe, object, root, &t->vocab));
    OPT_TRY(opt_tok_finish(t, object));
    opt_jsonw_init(&w, t->ctx, &t->pipeline_json, 0);
    opt_tok_write_json(&w, root, 0);
    OPT_TRY(opt_jsonw_finish(&w));
done:
    return st;
}

/* ---- side files ---- */

/** A special token of tokenizer_config.json: a string, or an object with a member content. */
static opt_status config_token(opt_tokenizer *t, const char *object, const opt_json *config,
                               const char *key, int32_t *id) {
    opt_status st = OPT_OK;
    size_t n;
    const opt_json *v = opt_json_get(config, key);
    const char *text = opt_json_str(v, &n);
    if (text == NULL) {
        text = opt_json_str(opt_json_get(v, "content"), &n);
    }
    OPT_REQUIRE(text != NULL || opt_json_type_of(v) == OPT_JSON_NULL, t->ctx, OPT_ERR_INPUT, object,
                "'%s' is %s, expected a string or an object with a string 'content'", key,
                opt_json_type_name(opt_json_type_of(v)));
    if (text == NULL || n == 0) {
        return OPT_OK;
    }
    const int32_t found = opt_vocab_find(&t->vocab, text, n);
    if (found < 0) {
        opt_warn(t->ctx, object, "'%s' is '%.64s', which is not in the vocabulary; it is not used",
                 key, text);
    } else {
        *id = found;
    }
done:
    return st;
}

static opt_status check_id(opt_tokenizer *t, const char *object, const char *key, const opt_json *v,
                           int32_t *out) {
    opt_status st = OPT_OK;
    int64_t id = -1;
    OPT_REQUIRE(opt_json_i64(v, &id), t->ctx, OPT_ERR_INPUT, object,
                "'%s' is %s, expected a token id", key, opt_json_type_name(opt_json_type_of(v)));
    OPT_REQUIRE(id >= -1 && id < t->n_vocab, t->ctx, OPT_ERR_INPUT, object,
                "'%s' is %lld, but the vocabulary has the ids 0 to %d", key, (long long)id,
                t->n_vocab - 1);
    *out = (int32_t)id;
done:
    return st;
}

/** A token id, or a list of them, of config.json and generation_config.json; all of them end
 * generation if `eog`. */
static opt_status id_member(opt_tokenizer *t, const char *object, const opt_json *config,
                            const char *key, bool eog, int32_t *first) {
    opt_status st = OPT_OK;
    const opt_json *v = opt_json_get(config, key);
    const bool list = opt_json_type_of(v) == OPT_JSON_ARRAY;
    const size_t n = list ? opt_json_size(v) : opt_json_type_of(v) != OPT_JSON_NULL;
    for (size_t i = 0; i < n; i++) {
        int32_t id = -1;
        OPT_TRY(check_id(t, object, key, list ? opt_json_at(v, i) : v, &id));
        if (id >= 0 && eog) {
            t->is_eog[id] = 1;
        }
        if (*first < 0) {
            *first = id;
        }
    }
done:
    return st;
}

static opt_status read_specials(opt_tokenizer *t, const file_names *names, const opt_json *config,
                                const opt_json *generation, const opt_json *model) {
    opt_status st = OPT_OK;
    OPT_TRY(config_token(t, names->config.data, config, "bos_token", &t->special.bos));
    OPT_TRY(config_token(t, names->config.data, config, "eos_token", &t->special.eos));
    OPT_TRY(config_token(t, names->config.data, config, "unk_token", &t->special.unk));
    OPT_TRY(config_token(t, names->config.data, config, "pad_token", &t->special.pad));
    OPT_TRY(id_member(t, names->model.data, model, "bos_token_id", false, &t->special.bos));
    OPT_TRY(
        id_member(t, names->generation.data, generation, "bos_token_id", false, &t->special.bos));
    OPT_TRY(id_member(t, names->model.data, model, "eos_token_id", true, &t->special.eos));
    OPT_TRY(
        id_member(t, names->generation.data, generation, "eos_token_id", true, &t->special.eos));
    if (t->special.bos < 0 && t->pipe.n_prefix == 1 && t->is_special[t->pipe.prefix[0]]) {
        t->special.bos = t->pipe.prefix[0]; /* nothing names it, but every text begins with it */
    }
    opt_tok_mark_eog(t);
    bool add = false;
    if (opt_json_type_of(opt_json_get(config, "add_bos_token")) != OPT_JSON_NULL) {
        OPT_TRY(
            opt_json_need_bool(t->ctx, names->config.data, config, "add_bos_token", true, &add));
        OPT_TRY(opt_tok_set_adds_bos(t, names->config.data, add));
    }
    if (opt_json_type_of(opt_json_get(config, "add_eos_token")) != OPT_JSON_NULL) {
        OPT_TRY(
            opt_json_need_bool(t->ctx, names->config.data, config, "add_eos_token", true, &add));
        OPT_TRY(opt_tok_set_adds_eos(t, names->config.data, add));
    }
done:
    return st;
}

/** chat_template.jinja wins over tokenizer_config.json, where it is a string or a list of {name,
 * template}. */
static opt_status read_template(opt_tokenizer *t, const char *object, const opt_json *config,
                                const opt_buf *file) {
    opt_status st = OPT_OK;
    const opt_json *v = opt_json_get(config, "chat_template");
    const opt_json_type type = opt_json_type_of(v);
    size_t n = 0;
    const char *text = NULL;
    if (file != NULL) {
        text = (const char *)file->data;
        n = file->bytes;
        OPT_REQUIRE(memchr(text, '\0', n) == NULL, t->ctx, OPT_ERR_INPUT, "chat_template.jinja",
                    "the chat template holds a NUL byte");
    } else if (type == OPT_JSON_ARRAY) {
        for (size_t i = 0; i < opt_json_size(v); i++) {
            const char *name = opt_json_str(opt_json_get(opt_json_at(v, i), "name"), NULL);
            if (name != NULL && strcmp(name, "default") == 0) {
                text = opt_json_str(opt_json_get(opt_json_at(v, i), "template"), &n);
            }
        }
        OPT_REQUIRE(text != NULL, t->ctx, OPT_ERR_INPUT, object,
                    "none of the %zu chat templates is named 'default'", opt_json_size(v));
    } else {
        OPT_REQUIRE(type == OPT_JSON_STRING || type == OPT_JSON_NULL, t->ctx, OPT_ERR_INPUT, object,
                    "'chat_template' is %s, expected a string or an array",
                    opt_json_type_name(type));
        text = opt_json_str(v, &n);
    }
    if (text != NULL) {
        OPT_TRY(opt_str_append(t->ctx, &t->chat_template, text, n));
        t->has_template = true;
    }
done:
    return st;
}

opt_status opt_tokenizer_from_files(opt_ctx *ctx, const opt_tokenizer_files *files,
                                    int64_t n_vocab_model, opt_tokenizer **out) {
    opt_status st = OPT_OK;
    opt_tokenizer *t = NULL;
    opt_json *json = NULL;
    opt_json *config = NULL;
    opt_json *generation = NULL;
    opt_json *model = NULL;
    file_names names = {0};
    OPT_TRY(make_name(ctx, files->origin, "tokenizer.json", &names.json));
    OPT_TRY(make_name(ctx, files->origin, "tokenizer_config.json", &names.config));
    OPT_TRY(make_name(ctx, files->origin, "generation_config.json", &names.generation));
    OPT_TRY(make_name(ctx, files->origin, "config.json", &names.model));
    OPT_TRY(parse_side(ctx, names.json.data, files->json, &json));
    OPT_TRY(parse_side(ctx, names.config.data, files->config, &config));
    OPT_TRY(parse_side(ctx, names.generation.data, files->generation_config, &generation));
    OPT_TRY(parse_side(ctx, names.model.data, files->model_config, &model));
    OPT_TRY(opt_tok_new(ctx, &t));
    OPT_TRY(read_tokenizer(t, names.json.data, json, n_vocab_model));
    OPT_TRY(read_specials(t, &names, config, generation, model));
    OPT_TRY(read_template(t, names.config.data, config, files->chat_template));
    *out = t;
    t = NULL;
done:
    opt_tokenizer_free(t);
    opt_json_free(json);
    opt_json_free(config);
    opt_json_free(generation);
    opt_json_free(model);
    opt_str_free(ctx, &names.json);
    opt_str_free(ctx, &names.config);
    opt_str_free(ctx, &names.generation);
    opt_str_free(ctx, &names.model);
    return st;
}
