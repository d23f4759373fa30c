#include "text/pipeline.h"

#include <string.h>

static opt_status grow(opt_ctx *ctx, void **array, size_t n, size_t size) {
    opt_status st = OPT_OK;
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        void *p = opt_realloc(ctx, *array, (n ? 2 * n : 1) * size);
        OPT_TRY_PTR(p);
        *array = p;
    }
done:
    return st;
}

opt_status opt_pipeline_add_norm(opt_ctx *ctx, opt_pipeline *p, const opt_norm_step *step) {
    opt_status st = OPT_OK;
    void *array = p->norm;
    OPT_TRY(grow(ctx, &array, p->n_norm, sizeof *step));
    p->norm = array;
    p->norm[p->n_norm++] = *step;
done:
    return st;
}

opt_status opt_pipeline_add_pre(opt_ctx *ctx, opt_pipeline *p, const opt_pretok_step *step) {
    opt_status st = OPT_OK;
    void *array = p->pre;
    OPT_TRY(grow(ctx, &array, p->n_pre, sizeof *step));
    p->pre = array;
    p->pre[p->n_pre++] = *step;
done:
    return st;
}

opt_status opt_pipeline_add_dec(opt_ctx *ctx, opt_pipeline *p, const opt_decode_step *step) {
    opt_status st = OPT_OK;
    void *array = p->dec;
    OPT_TRY(grow(ctx, &array, p->n_dec, sizeof *step));
    p->dec = array;
    p->dec[p->n_dec++] = *step;
done:
    return st;
}

opt_status opt_pipeline_add_prefix(opt_ctx *ctx, opt_pipeline *p, int32_t id) {
    opt_status st = OPT_OK;
    void *array = p->prefix;
    OPT_TRY(grow(ctx, &array, p->n_prefix, sizeof id));
    p->prefix = array;
    memmove(p->prefix + 1, p->prefix, p->n_prefix * sizeof id);
    p->prefix[0] = id;
    p->n_prefix++;
done:
    return st;
}

opt_status opt_pipeline_add_suffix(opt_ctx *ctx, opt_pipeline *p, int32_t id) {
    opt_status st = OPT_OK;
    void *array = p->suffix;
    OPT_TRY(grow(ctx, &array, p->n_suffix, sizeof id));
    p->suffix = array;
    p->suffix[p->n_suffix++] = id;
done:
    return st;
}

opt_status opt_pipeline_pattern(opt_ctx *ctx, opt_pipeline *p, const char *object,
                                const char *pattern, size_t n, bool literal,
                                const opt_regex **out) {
    opt_status st = OPT_OK;
    opt_regex *re = NULL;
    void *array = p->patterns;
    OPT_TRY(grow(ctx, &array, p->n_patterns, sizeof re));
    p->patterns = array;
    OPT_TRY(literal ? opt_regex_new_literal(ctx, object, pattern, n, &re)
                    : opt_regex_new(ctx, object, pattern, n, &re));
    p->patterns[p->n_patterns++] = re;
    *out = re;
done:
    return st;
}

opt_status opt_pipeline_add_split(opt_ctx *ctx, opt_pipeline *p, const char *object,
                                  const char *pattern, opt_split_behavior behavior) {
    opt_status st = OPT_OK;
    opt_pretok_step step = {.kind = OPT_PRETOK_SPLIT, .behavior = behavior, .source = pattern};
    OPT_TRY(opt_pipeline_pattern(ctx, p, object, pattern, strlen(pattern), false, &step.pattern));
    OPT_TRY(opt_pipeline_add_pre(ctx, p, &step));
done:
    return st;
}

void opt_pipeline_finish(opt_pipeline *p) {
    p->bytes = p->n_pre > 0 && p->pre[p->n_pre - 1].kind == OPT_PRETOK_BYTE_CHARS;
    p->n_pre -= p->bytes;
}

void opt_pipeline_free(opt_ctx *ctx, opt_pipeline *p) {
    for (size_t i = 0; i < p->n_patterns; i++) {
        opt_regex_free(p->patterns[i]);
    }
    opt_free(ctx, p->patterns);
    opt_free(ctx, p->norm);
    opt_free(ctx, p->pre);
    opt_free(ctx, p->dec);
    opt_free(ctx, p->prefix);
    opt_free(ctx, p->suffix);
    opt_arena_free(p->arena);
    memset(p, 0, sizeof *p);
}
