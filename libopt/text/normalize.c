#include "text/normalize.h"

#include <string.h>

#include <utf8proc.h>

#include "text/utf8.h"

opt_status opt_replace_all(opt_ctx *ctx, const char *text, size_t n, const char *find,
                           size_t n_find, const char *with, size_t n_with, opt_str *out) {
    opt_status st = OPT_OK;
    size_t i = 0;
    while (i < n) {
        const char *hit = memmem(text + i, n - i, find, n_find);
        const size_t end = hit ? (size_t)(hit - text) : n;
        OPT_TRY(opt_str_append(ctx, out, text + i, end - i));
        i = end;
        if (hit != NULL) {
            OPT_TRY(opt_str_append(ctx, out, with, n_with));
            i += n_find;
        }
    }
done:
    return st;
}

opt_status opt_replace_matches(opt_ctx *ctx, opt_regex_scratch *s, const char *text, size_t n,
                               const opt_regex *pattern, const char *with, size_t n_with,
                               opt_str *out) {
    opt_status st = OPT_OK;
    opt_str copy = {0};
    const char *subject;
    opt_regex_search search = {0};
    size_t copied = 0;
    if (n == 0) {
        return OPT_OK; /* patterns that match nothing leave the empty text alone */
    }
    OPT_TRY(opt_regex_subject(ctx, text, n, &copy, &subject));
    for (;;) {
        bool found;
        size_t start;
        size_t end;
        OPT_TRY(opt_regex_next(ctx, pattern, s, subject, n, &search, &found, &start, &end));
        if (!found) {
            break;
        }
        OPT_TRY(opt_str_append(ctx, out, text + copied, start - copied));
        OPT_TRY(opt_str_append(ctx, out, with, n_with));
        copied = end;
    }
    OPT_TRY(opt_str_append(ctx, out, text + copied, n - copied));
done:
    opt_str_free(ctx, &copy);
    return st;
}

/* ---- the other steps ---- */

/** utf8proc's lower case, and that of letters newer than its Unicode 15 (up to Unicode 17). */
static uint32_t to_lower(uint32_t cp) {
    static const struct {
        uint32_t first;
        uint32_t last;
        uint32_t lower; /* of `first` */
    } newer[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                 {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                 {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                 {0x16EA0, 0x16EB8, 0x16EBB}};
    for (size_t i = 0; cp >= newer[0].first && i < sizeof newer / sizeof *newer; i++) {
        if (cp >= newer[i].first && cp <= newer[i].last) {
            return newer[i].lower + (cp - newer[i].first);
        }
    }
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

static opt_status lowercase(opt_ctx *ctx, const char *text, size_t n, opt_str *out) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n;) {
        char c[4];
        const uint32_t cp = opt_utf8_get(text, &i);
        if (cp == 0x130) { /* the one character whose lower case is two */
            OPT_TRY(opt_str_append(ctx, out, "i\xCC\x87", 3));
            continue;
        }
        OPT_TRY(opt_str_append(ctx, out, c, opt_utf8_put(to_lower(cp), c)));
    }
done:
    return st;
}

static opt_status strip(opt_ctx *ctx, const opt_norm_step *step, const char *text, size_t n,
                        opt_str *out) {
    size_t begin = 0;
    while (step->left && begin < n) {
        size_t next = begin;
        if (!opt_utf8_is_space(opt_utf8_get(text, &next))) {
            break;
        }
        begin = next;
    }
    while (step->right && n > begin) {
        const size_t last = opt_utf8_back(text, n);
        size_t at = last;
        if (!opt_utf8_is_space(opt_utf8_get(text, &at))) {
            break;
        }
        n = last;
    }
    return opt_str_append(ctx, out, text + begin, n - begin);
}

static opt_status run_step(opt_ctx *ctx, const opt_norm_step *step, opt_regex_scratch *s,
                           const char *text, size_t n, opt_str *out) {
    opt_status st = OPT_OK;
    switch (step->kind) {
    case OPT_NORM_NFC:
    case OPT_NORM_NFD:
    case OPT_NORM_NFKC:
    case OPT_NORM_NFKD: return opt_normalize_unicode(ctx, step->kind, text, n, out);
    case OPT_NORM_LOWERCASE: return lowercase(ctx, text, n, out);
    case OPT_NORM_STRIP: return strip(ctx, step, text, n, out);
    case OPT_NORM_PREPEND:
        if (n > 0) {
            OPT_TRY(opt_str_append(ctx, out, step->text, step->n_text));
        }
        OPT_TRY(opt_str_append(ctx, out, text, n));
        break;
    case OPT_NORM_REPLACE:
        if (step->find != NULL) {
            return opt_replace_all(ctx, text, n, step->find, step->n_find, step->text, step->n_text,
                                   out);
        }
        return opt_replace_matches(ctx, s, text, n, step->pattern, step->text, step->n_text, out);
    }
done:
    return st;
}

opt_status opt_normalize(opt_ctx *ctx, const opt_norm_step *steps, size_t n_steps,
                         opt_regex_scratch *s, const char *text, size_t n, opt_str *out) {
    opt_status st = OPT_OK;
    opt_str now = {0};
    opt_str next = {0};
    const char *from = text;
    for (size_t i = 0; i < n_steps; i++) {
        next.len = 0;
        OPT_TRY(run_step(ctx, &steps[i], s, from, n, &next));
        const opt_str swap = now;
        now = next;
        next = swap;
        from = now.data ? now.data : "";
        n = now.len;
    }
    OPT_TRY(opt_str_append(ctx, out, from, n));
done:
    opt_str_free(ctx, &now);
    opt_str_free(ctx, &next);
    return st;
}
