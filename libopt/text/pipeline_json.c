#include <stdio.h>
#include <string.h>

#include "text/pipeline.h"
#include "text/utf8.h"

/** Sequences inside sequences, at most. */
#define DEPTH_MAX 8

/** What reading one component needs. */
typedef struct reader {
    opt_ctx *ctx;
    opt_pipeline *p;
    const char *object; /* the file */
    const opt_vocab *vocab;
    int depth;
} reader;

/** A row for each type of a component. */
typedef struct row {
    const char *type;
    const char *keys; /* members that are understood */
    opt_status (*read)(reader *r, const opt_json *v);
} row;

opt_status opt_pipeline_check_keys(opt_ctx *ctx, const char *object, const char *component,
                                   const opt_json *v, const char *allowed) {
    opt_status st = OPT_OK;
    void *it = NULL;
    const char *key;
    const opt_json *value;
    while (opt_json_next(v, &it, &key, &value)) {
        const size_t n = strlen(key);
        bool known = opt_json_type_of(value) == OPT_JSON_NULL;
        for (const char *at = allowed; n > 0 && !known && (at = strstr(at, key)) != NULL; at++) {
            known = (at == allowed || at[-1] == ',') && (at[n] == ',' || at[n] == '\0');
        }
        OPT_REQUIRE(known, ctx, OPT_ERR_UNSUPPORTED, object,
                    "%s has the member '%s', which is not supported", component, key);
    }
done:
    return st;
}

static opt_status read_typed(reader *r, const char *what, const row *rows, size_t n_rows,
                             const opt_json *v) {
    opt_status st = OPT_OK;
    const char *type = NULL;
    char name[96];
    if (opt_json_type_of(v) == OPT_JSON_NULL) {
        return OPT_OK;
    }
    OPT_REQUIRE(opt_json_type_of(v) == OPT_JSON_OBJECT, r->ctx, OPT_ERR_INPUT, r->object,
                "%s is %s, expected an object", what, opt_json_type_name(opt_json_type_of(v)));
    OPT_TRY(opt_json_need_str(r->ctx, r->object, v, "type", true, &type));
    for (size_t i = 0; i < n_rows; i++) {
        if (strcmp(rows[i].type, type) == 0) {
            (void)snprintf(name, sizeof name, "the %s %s", what, type);
            OPT_TRY(opt_pipeline_check_keys(r->ctx, r->object, name, v, rows[i].keys));
            st = rows[i].read(r, v);
            goto done;
        }
    }
    st = opt_fail(r->ctx, OPT_ERR_UNSUPPORTED, r->object, "the %s '%.64s' is not supported", what,
                  type);
done:
    return st;
}

static opt_status read_list(reader *r, const opt_json *v, const char *key,
                            opt_status (*read)(reader *r, const opt_json *v)) {
    opt_status st = OPT_OK;
    const opt_json *list = opt_json_get(v, key);
    OPT_REQUIRE(opt_json_type_of(list) == OPT_JSON_ARRAY, r->ctx, OPT_ERR_INPUT, r->object,
                "a Sequence has no array '%s'", key);
    OPT_REQUIRE(r->depth < DEPTH_MAX, r->ctx, OPT_ERR_UNSUPPORTED, r->object,
                "more than %d Sequences inside each other are not supported", DEPTH_MAX);
    r->depth++;
    for (size_t i = 0; i < opt_json_size(list); i++) {
        OPT_TRY(read(r, opt_json_at(list, i)));
    }
    r->depth--;
done:
    return st;
}

/** A copy of a string member in the arena. */
static opt_status read_text(reader *r, const opt_json *v, const char *key, const char **out,
                            size_t *n) {
    opt_status st = OPT_OK;
    const opt_json *member = opt_json_get(v, key);
    const char *s = opt_json_str(member, n);
    OPT_REQUIRE(s != NULL, r->ctx, OPT_ERR_INPUT, r->object, "'%s' is %s, expected a string", key,
                opt_json_type_name(opt_json_type_of(member)));
    *out = opt_arena_strndup(r->p->arena, s, *n);
    OPT_TRY_PTR(*out);
done:
    return st;
}

/** A member of exactly one character. */
static opt_status read_char(reader *r, const opt_json *v, const char *key, const char **out,
                            size_t *n) {
    opt_status st = OPT_OK;
    OPT_TRY(read_text(r, v, key, out, n));
    OPT_REQUIRE(*n > 0 && opt_utf8_size((*out)[0]) == *n, r->ctx, OPT_ERR_INPUT, r->object,
                "'%s' is '%.32s', expected one character", key, *out);
done:
    return st;
}

/** {"String": text} or {"Regex": pattern}. */
static opt_status read_pattern(reader *r, const opt_json *v, const char **text, size_t *n,
                               bool *literal) {
    opt_status st = OPT_OK;
    const opt_json *pattern = opt_json_get(v, "pattern");
    const bool is_object = opt_json_type_of(pattern) == OPT_JSON_OBJECT;
    *literal = opt_json_get(pattern, "String") != NULL;
    OPT_REQUIRE(is_object && opt_json_size(pattern) == 1 &&
                    (*literal || opt_json_get(pattern, "Regex") != NULL),
                r->ctx, OPT_ERR_INPUT, r->object,
                "'pattern' is %s, expected an object with one member String or Regex",
                opt_json_type_name(opt_json_type_of(pattern)));
    OPT_TRY(read_text(r, pattern, *literal ? "String" : "Regex", text, n));
    OPT_REQUIRE(*n > 0, r->ctx, OPT_ERR_UNSUPPORTED, r->object,
                "an empty pattern is not supported");
done:
    return st;
}

/* ---- normalizers ---- */

static opt_status read_normalizer(reader *r, const opt_json *v);

static opt_status read_form(reader *r, const opt_json *v) {
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"};
    static const opt_norm_kind kinds[] = {OPT_NORM_NFC, OPT_NORM_NFD, OPT_NORM_NFKC, OPT_NORM_NFKD,
                                          OPT_NORM_LOWERCASE};
    size_t i = 0;
    while (strcmp(forms[i], opt_json_str(opt_json_get(v, "type"), NULL)) != 0) {
        i++;
    }
    return opt_pipeline_add_norm(r->ctx, r->p, &(opt_norm_step){.kind = kinds[i]});
}

static opt_status read_prepend(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    opt_norm_step step = {.kind = OPT_NORM_PREPEND};
    OPT_TRY(read_text(r, v, "prepend", &step.text, &step.n_text));
    OPT_TRY(opt_pipeline_add_norm(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_replace(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    bool literal;
    opt_norm_step step = {.kind = OPT_NORM_REPLACE};
    OPT_TRY(read_pattern(r, v, &step.find, &step.n_find, &literal));
    OPT_TRY(read_text(r, v, "content", &step.text, &step.n_text));
    if (!literal) {
        OPT_TRY(opt_pipeline_pattern(r->ctx, r->p, r->object, step.find, step.n_find, false,
                                     &step.pattern));
        step.find = NULL;
    }
    OPT_TRY(opt_pipeline_add_norm(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_strip(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    opt_norm_step step = {.kind = OPT_NORM_STRIP};
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "strip_left", true, &step.left));
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "strip_right", true, &step.right));
    OPT_TRY(opt_pipeline_add_norm(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_normalizers(reader *r, const opt_json *v) {
    return read_list(r, v, "normalizers", read_normalizer);
}

static opt_status read_normalizer(reader *r, const opt_json *v) {
    static const row rows[] = {
        {"Sequence", "type,normalizers", read_normalizers},
        {"NFC", "type", read_form},
        {"NFD", "type", read_form},
        {"NFKC", "type", read_form},
        {"NFKD", "type", read_form},
        {"Lowercase", "type", read_form},
        {"Prepend", "type,prepend", read_prepend},
        {"Replace", "type,pattern,content", read_replace},
        {"Strip", "type,strip_left,strip_right", read_strip},
    };
    return read_typed(r, "normalizer", rows, sizeof rows / sizeof *rows, v);
}

/* ---- pre-tokenizers ---- */

static opt_status read_pretok(reader *r, const opt_json *v);

static opt_status read_behavior(reader *r, const opt_json *v, bool required,
                                opt_split_behavior *out) {
    opt_status st = OPT_OK;
    static const struct {
        const char *name;
        opt_split_behavior behavior;
    } rows[] = {{"Removed", OPT_SPLIT_REMOVED},
                {"Isolated", OPT_SPLIT_ISOLATED},
                {"MergedWithPrevious", OPT_SPLIT_MERGED_WITH_PREVIOUS},
                {"MergedWithNext", OPT_SPLIT_MERGED_WITH_NEXT},
                {"Contiguous", OPT_SPLIT_CONTIGUOUS}};
    const char *name = NULL;
    OPT_TRY(opt_json_need_str(r->ctx, r->object, v, "behavior", required, &name));
    if (name == NULL) {
        return OPT_OK;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *out = rows[i].behavior;
            return OPT_OK;
        }
    }
    st = opt_fail(
        r->ctx, OPT_ERR_INPUT, r->object,
        "the behavior of a split is '%.64s', expected Removed, Isolated, MergedWithPrevious, "
        "MergedWithNext or Contiguous",
        name);
done:
    return st;
}

static opt_status read_split(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    opt_pretok_step step = {.kind = OPT_PRETOK_SPLIT};
    size_t n = 0;
    OPT_TRY(read_pattern(r, v, &step.source, &n, &step.literal));
    OPT_TRY(read_behavior(r, v, true, &step.behavior));
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "invert", true, &step.invert));
    OPT_TRY(
        opt_pipeline_pattern(r->ctx, r->p, r->object, step.source, n, step.literal, &step.pattern));
    OPT_TRY(opt_pipeline_add_pre(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_byte_level(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    bool add_prefix_space = true;
    bool use_regex = true;
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "add_prefix_space", true, &add_prefix_space));
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "use_regex", false, &use_regex));
    if (add_prefix_space) {
        OPT_TRY(
            opt_pipeline_add_pre(r->ctx, r->p, &(opt_pretok_step){.kind = OPT_PRETOK_ADD_PREFIX}));
    }
    if (use_regex) {
        OPT_TRY(
            opt_pipeline_add_split(r->ctx, r->p, r->object, OPT_PATTERN_GPT2, OPT_SPLIT_ISOLATED));
    }
    OPT_TRY(opt_pipeline_add_pre(r->ctx, r->p, &(opt_pretok_step){.kind = OPT_PRETOK_BYTE_CHARS}));
done:
    return st;
}

static opt_status read_digits(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    bool individual = false;
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "individual_digits", true, &individual));
    OPT_TRY(opt_pipeline_add_split(r->ctx, r->p, r->object, "\\p{N}",
                                   individual ? OPT_SPLIT_ISOLATED : OPT_SPLIT_CONTIGUOUS));
done:
    return st;
}

static opt_status read_punctuation(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    opt_split_behavior behavior = OPT_SPLIT_ISOLATED;
    OPT_TRY(read_behavior(r, v, false, &behavior));
    OPT_TRY(opt_pipeline_add_split(r->ctx, r->p, r->object, "[\\p{P}$+<=>^`|~]", behavior));
done:
    return st;
}

static opt_status read_whitespace(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    const bool only_space =
        strcmp(opt_json_str(opt_json_get(v, "type"), NULL), "WhitespaceSplit") == 0;
    OPT_TRY(opt_pipeline_add_split(
        r->ctx, r->p, r->object,
        only_space ? "\\s" : "[\\w\\x{200C}\\x{200D}]+|[^\\w\\x{200C}\\x{200D}\\s]+",
        OPT_SPLIT_REMOVED));
    r->p->pre[r->p->n_pre - 1].invert = !only_space;
done:
    return st;
}

static opt_status read_prepend_scheme(reader *r, const opt_json *v, opt_prepend_scheme *out) {
    opt_status st = OPT_OK;
    static const char *const names[] = {"never", "first", "always"};
    const char *name = "always";
    bool add_prefix_space = true;
    OPT_TRY(opt_json_need_str(r->ctx, r->object, v, "prepend_scheme", false, &name));
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "add_prefix_space", false, &add_prefix_space));
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = add_prefix_space ? (opt_prepend_scheme)i : OPT_PREPEND_NEVER;
            return OPT_OK;
        }
    }
    st = opt_fail(r->ctx, OPT_ERR_INPUT, r->object,
                  "the prepend_scheme of Metaspace is '%.64s', expected never, first or always",
                  name);
done:
    return st;
}

static opt_status read_metaspace(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    bool split = true;
    opt_pretok_step step = {.kind = OPT_PRETOK_METASPACE};
    opt_pretok_step cut = {.kind = OPT_PRETOK_SPLIT, .behavior = OPT_SPLIT_MERGED_WITH_NEXT};
    OPT_TRY(read_char(r, v, "replacement", &step.text, &step.n_text));
    OPT_TRY(read_prepend_scheme(r, v, &step.scheme));
    OPT_TRY(opt_json_need_bool(r->ctx, r->object, v, "split", false, &split));
    OPT_TRY(opt_pipeline_add_pre(r->ctx, r->p, &step));
    cut.source = step.text;
    cut.literal = true;
    if (split) {
        OPT_TRY(opt_pipeline_pattern(r->ctx, r->p, r->object, step.text, step.n_text, true,
                                     &cut.pattern));
        OPT_TRY(opt_pipeline_add_pre(r->ctx, r->p, &cut));
    }
done:
    return st;
}

static opt_status read_pretoks(reader *r, const opt_json *v) {
    return read_list(r, v, "pretokenizers", read_pretok);
}

static opt_status read_pretok(reader *r, const opt_json *v) {
    static const row rows[] = {
        {"Sequence", "type,pretokenizers", read_pretoks},
        {"Split", "type,pattern,behavior,invert", read_split},
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex", read_byte_level},
        {"Digits", "type,individual_digits", read_digits},
        {"Punctuation", "type,behavior", read_punctuation},
        {"Whitespace", "type", read_whitespace},
        {"WhitespaceSplit", "type", read_whitespace},
        {"Metaspace", "type,replacement,prepend_scheme,add_prefix_space,split,str_rep",
         read_metaspace},
    };
    return read_typed(r, "pre-tokenizer", rows, sizeof rows / sizeof *rows, v);
}

/* ---- post-processors: only what they add to a single text matters here ---- */

static opt_status read_post(reader *r, const opt_json *v);

static opt_status no_post(reader *r, const opt_json *v) {
    (void)r;
    (void)v;
    return OPT_OK;
}

/** Reads the token ids that a template's special token stands for. */
static opt_status read_template_ids(reader *r, const opt_json *specials, const char *name,
                                    bool behind, opt_pipeline *add) {
    opt_status st = OPT_OK;
    const opt_json *ids = opt_json_get(opt_json_get(specials, name), "ids");
    OPT_REQUIRE(opt_json_type_of(ids) == OPT_JSON_ARRAY, r->ctx, OPT_ERR_INPUT, r->object,
                "the template's token '%.64s' has no ids in special_tokens", name);
    for (size_t i = 0; i < opt_json_size(ids); i++) {
        int64_t id = -1;
        OPT_REQUIRE(opt_json_i64(opt_json_at(ids, i), &id) && opt_vocab_has(r->vocab, id), r->ctx,
                    OPT_ERR_INPUT, r->object,
                    "the template's token '%.64s' has the id %lld, which is not in the vocabulary",
                    name, (long long)id);
        OPT_TRY(behind ? opt_pipeline_add_suffix(r->ctx, r->p, (int32_t)id)
                       : opt_pipeline_add_suffix(r->ctx, add, (int32_t)id));
    }
done:
    return st;
}

static opt_status read_template(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    const opt_json *single = opt_json_get(v, "single");
    bool behind = false;
    opt_pipeline front = {0}; /* only its suffix is used: the tokens in front, in order */
    OPT_REQUIRE(opt_json_type_of(single) == OPT_JSON_ARRAY, r->ctx, OPT_ERR_INPUT, r->object,
                "TemplateProcessing has no array 'single'");
    for (size_t i = 0; i < opt_json_size(single); i++) {
        const opt_json *piece = opt_json_at(single, i);
        const opt_json *special = opt_json_get(piece, "SpecialToken");
        const char *id = NULL;
        if (special != NULL) {
            OPT_TRY(opt_json_need_str(r->ctx, r->object, special, "id", true, &id));
            OPT_TRY(read_template_ids(r, opt_json_get(v, "special_tokens"), id, behind, &front));
            continue;
        }
        OPT_TRY(
            opt_json_need_str(r->ctx, r->object, opt_json_get(piece, "Sequence"), "id", true, &id));
        OPT_REQUIRE(strcmp(id, "A") == 0 && !behind, r->ctx, OPT_ERR_UNSUPPORTED, r->object,
                    "a template with the text '%.16s' %s is not supported", id,
                    behind ? "twice" : "in 'single'");
        behind = true;
    }
    OPT_REQUIRE(behind, r->ctx, OPT_ERR_INPUT, r->object,
                "the template 'single' does not hold the text A");
    for (size_t i = front.n_suffix; i-- > 0;) {
        OPT_TRY(opt_pipeline_add_prefix(r->ctx, r->p, front.suffix[i]));
    }
done:
    opt_pipeline_free(r->ctx, &front);
    return st;
}

static opt_status read_bert_token(reader *r, const opt_json *v, const char *key, int32_t *out) {
    opt_status st = OPT_OK;
    int64_t id = -1;
    OPT_REQUIRE(opt_json_i64(opt_json_at(opt_json_get(v, key), 1), &id) &&
                    opt_vocab_has(r->vocab, id),
                r->ctx, OPT_ERR_INPUT, r->object,
                "the post-processor's '%s' has the id %lld, which is not in the vocabulary", key,
                (long long)id);
    *out = (int32_t)id;
done:
    return st;
}

static opt_status read_bert(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    int32_t cls = 0;
    int32_t sep = 0;
    OPT_TRY(read_bert_token(r, v, "cls", &cls));
    OPT_TRY(read_bert_token(r, v, "sep", &sep));
    OPT_TRY(opt_pipeline_add_prefix(r->ctx, r->p, cls));
    OPT_TRY(opt_pipeline_add_suffix(r->ctx, r->p, sep));
done:
    return st;
}

static opt_status read_posts(reader *r, const opt_json *v) {
    return read_list(r, v, "processors", read_post);
}

static opt_status read_post(reader *r, const opt_json *v) {
    static const row rows[] = {
        {"Sequence", "type,processors", read_posts},
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex", no_post},
        {"TemplateProcessing", "type,single,pair,special_tokens", read_template},
        {"BertProcessing", "type,cls,sep", read_bert},
        {"RobertaProcessing", "type,cls,sep,trim_offsets,add_prefix_space", read_bert},
    };
    return read_typed(r, "post-processor", rows, sizeof rows / sizeof *rows, v);
}

/* ---- decoders ---- */

static opt_status read_decoder(reader *r, const opt_json *v);

static opt_status read_plain_decoder(reader *r, const opt_json *v) {
    const char *type = opt_json_str(opt_json_get(v, "type"), NULL);
    const opt_decode_kind kind = strcmp(type, "ByteLevel") == 0      ? OPT_DECODE_BYTE_LEVEL
                                 : strcmp(type, "ByteFallback") == 0 ? OPT_DECODE_BYTE_FALLBACK
                                                                     : OPT_DECODE_FUSE;
    return opt_pipeline_add_dec(r->ctx, r->p, &(opt_decode_step){.kind = kind});
}

static opt_status read_replace_decoder(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    bool literal;
    opt_decode_step step = {.kind = OPT_DECODE_REPLACE};
    OPT_TRY(read_pattern(r, v, &step.find, &step.n_find, &literal));
    OPT_TRY(read_text(r, v, "content", &step.text, &step.n_text));
    if (!literal) {
        OPT_TRY(opt_pipeline_pattern(r->ctx, r->p, r->object, step.find, step.n_find, false,
                                     &step.pattern));
    }
    OPT_TRY(opt_pipeline_add_dec(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_strip_decoder(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    int64_t start = 0;
    int64_t stop = 0;
    bool joined = false;
    opt_decode_step step = {.kind = OPT_DECODE_STRIP};
    OPT_TRY(read_char(r, v, "content", &step.text, &step.n_text));
    OPT_TRY(opt_json_need_i64(r->ctx, r->object, v, "start", true, 0, 255, &start));
    OPT_TRY(opt_json_need_i64(r->ctx, r->object, v, "stop", true, 0, 255, &stop));
    for (size_t i = 0; i < r->p->n_dec; i++) {
        joined = joined || r->p->dec[i].kind == OPT_DECODE_FUSE ||
                 r->p->dec[i].kind == OPT_DECODE_BYTE_LEVEL;
    }
    OPT_REQUIRE(!joined || stop == 0, r->ctx, OPT_ERR_UNSUPPORTED, r->object,
                "a decoder that strips the end of the whole text is not supported");
    step.start = (size_t)start;
    step.stop = (size_t)stop;
    OPT_TRY(opt_pipeline_add_dec(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_metaspace_decoder(reader *r, const opt_json *v) {
    opt_status st = OPT_OK;
    opt_prepend_scheme scheme;
    opt_decode_step step = {.kind = OPT_DECODE_METASPACE};
    OPT_TRY(read_char(r, v, "replacement", &step.find, &step.n_find));
    OPT_TRY(read_prepend_scheme(r, v, &scheme));
    step.start = scheme != OPT_PREPEND_NEVER;
    OPT_TRY(opt_pipeline_add_dec(r->ctx, r->p, &step));
done:
    return st;
}

static opt_status read_decoders(reader *r, const opt_json *v) {
    return read_list(r, v, "decoders", read_decoder);
}

static opt_status read_decoder(reader *r, const opt_json *v) {
    static const row rows[] = {
        {"Sequence", "type,decoders", read_decoders},
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex", read_plain_decoder},
        {"ByteFallback", "type", read_plain_decoder},
        {"Fuse", "type", read_plain_decoder},
        {"Replace", "type,pattern,content", read_replace_decoder},
        {"Strip", "type,content,start,stop", read_strip_decoder},
        {"Metaspace", "type,replacement,prepend_scheme,add_prefix_space,split,str_rep",
         read_metaspace_decoder},
    };
    return read_typed(r, "decoder", rows, sizeof rows / sizeof *rows, v);
}

opt_status opt_pipeline_read(opt_ctx *ctx, opt_pipeline *p, const char *object,
                             const opt_json *root, const opt_vocab *vocab) {
    opt_status st = OPT_OK;
    reader r = {.ctx = ctx, .p = p, .object = object, .vocab = vocab};
    OPT_TRY(read_normalizer(&r, opt_json_get(root, "normalizer")));
    OPT_TRY(read_pretok(&r, opt_json_get(root, "pre_tokenizer")));
    opt_pipeline_finish(p);
    OPT_TRY(read_post(&r, opt_json_get(root, "post_processor")));
    OPT_TRY(read_decoder(&r, opt_json_get(root, "decoder")));
    if (opt_json_type_of(opt_json_get(root, "decoder")) == OPT_JSON_NULL) {
        OPT_TRY(opt_pipeline_add_dec(ctx, p, &(opt_decode_step){.kind = OPT_DECODE_JOIN_SPACE}));
    }
done:
    return st;
}
