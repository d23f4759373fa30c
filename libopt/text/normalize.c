#include "text/normalize.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/num.h"
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

/* ---- Unicode normalization forms ---- */

/** Whether text[n] is in the form already as far as a look at its bytes tells. */
static bool is_plain(opt_norm_kind kind, const char *text, size_t n) {
    /* NFC leaves everything below U+0300 (lead byte 0xCC) alone, the others only ASCII. */
    const unsigned char limit = kind == OPT_NORM_NFC ? 0xCC : 0x80;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] >= limit) {
            return false;
        }
    }
    return true;
}

typedef struct mark {
    int ccc; /* canonical combining class */
    uint32_t index;
    utf8proc_int32_t cp;
} mark;

static int by_class(const void *a, const void *b) {
    const mark *x = a;
    const mark *y = b;
    return x->ccc != y->ccc ? (x->ccc > y->ccc) - (x->ccc < y->ccc)
                            : (x->index > y->index) - (x->index < y->index);
}

/** Sorts the run of combining marks cps[n] by class, keeping the order of equal ones. */
static opt_status sort_marks(opt_ctx *ctx, utf8proc_int32_t *cps, size_t n) {
    opt_status st = OPT_OK;
    mark few[32];
    mark *marks = n <= sizeof few / sizeof *few ? few : opt_alloc_array(ctx, n, sizeof *marks);
    OPT_TRY_PTR(marks);
    for (size_t i = 0; i < n; i++) {
        marks[i] = (mark){.ccc = utf8proc_get_property(cps[i])->combining_class,
                          .index = (uint32_t)i,
                          .cp = cps[i]};
    }
    qsort(marks, n, sizeof *marks, by_class);
    for (size_t i = 0; i < n; i++) {
        cps[i] = marks[i].cp;
    }
done:
    if (marks != few) {
        opt_free(ctx, marks);
    }
    return st;
}

static opt_status order_marks(opt_ctx *ctx, utf8proc_int32_t *cps, size_t n) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && utf8proc_get_property(cps[end])->combining_class != 0) {
            end++;
        }
        if (end - i > 1) {
            OPT_TRY(sort_marks(ctx, cps + i, end - i));
        }
        i = end + 1;
    }
done:
    return st;
}

typedef struct cp_list {
    utf8proc_int32_t *v;
    size_t n;
    size_t cap;
} cp_list;

static opt_status decompose(opt_ctx *ctx, const char *text, size_t n, utf8proc_option_t options,
                            cp_list *out) {
    opt_status st = OPT_OK;
    size_t i = 0;
    while (i < n) {
        const size_t at = i;
        const uint32_t cp = opt_utf8_get(text, &i);
        const size_t left = out->cap - out->n;
        const utf8proc_ssize_t need = utf8proc_decompose_char(
            (utf8proc_int32_t)cp, out->v + out->n, (utf8proc_ssize_t)left, options, NULL);
        OPT_REQUIRE(need >= 0, ctx, OPT_ERR_BUG, NULL, "decomposition of U+%04X: %s", cp,
                    utf8proc_errmsg(need));
        if ((size_t)need > left) { /* what was written is written again */
            const size_t cap = out->cap * 2 + 64;
            void *p = opt_realloc(ctx, out->v, cap * sizeof *out->v);
            OPT_TRY_PTR(p);
            out->v = p;
            out->cap = cap;
            i = at;
            continue;
        }
        out->n += (size_t)need;
    }
done:
    return st;
}

opt_status opt_normalize_unicode(opt_ctx *ctx, opt_norm_kind kind, const char *text, size_t n,
                                 opt_str *out) {
    opt_status st = OPT_OK;
    cp_list cps = {0};
    const bool compat = kind == OPT_NORM_NFKC || kind == OPT_NORM_NFKD;
    const bool compose = kind == OPT_NORM_NFC || kind == OPT_NORM_NFKC;
    if (is_plain(kind, text, n)) {
        return opt_str_append(ctx, out, text, n);
    }
    cps.cap = n + 64;
    cps.v = opt_alloc_array(ctx, cps.cap, sizeof *cps.v);
    OPT_TRY_PTR(cps.v);
    OPT_TRY(decompose(
        ctx, text, n,
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0)),
        &cps));
    /* utf8proc orders marks by exchanging neighbours, which is quadratic in the length of a run. */
    OPT_TRY(order_marks(ctx, cps.v, cps.n));
    if (compose) {
        const utf8proc_ssize_t m =
            utf8proc_normalize_utf32(cps.v, (utf8proc_ssize_t)cps.n,
                                     (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
        OPT_REQUIRE(m >= 0, ctx, OPT_ERR_BUG, NULL, "composition: %s", utf8proc_errmsg(m));
        cps.n = (size_t)m;
    }
    for (size_t i = 0; i < cps.n; i++) {
        char c[4];
        OPT_TRY(opt_str_append(ctx, out, c, opt_utf8_put((uint32_t)cps.v[i], c)));
    }
done:
    opt_free(ctx, cps.v);
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
