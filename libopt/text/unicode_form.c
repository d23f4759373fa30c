#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "text/normalize.h"
#include "text/unicode_late.h"
#include "text/utf8.h"

/*
 * The forms NFC, NFD, NFKC and NFKD (UAX 15) as Hugging Face's normalizers give them: their tables
 * are of Unicode 9, so characters that are later leave everything as it is, and nothing moves or
 * joins across them.
 */

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

/** Normalizes a part without late characters. */
static opt_status normalize_part(opt_ctx *ctx, opt_norm_kind kind, const char *text, size_t n,
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

static bool is_late(uint32_t cp) {
    size_t lo = 0;
    size_t hi = opt_unicode_late_n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (cp > opt_unicode_late[mid].last) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < opt_unicode_late_n && cp >= opt_unicode_late[lo].first;
}

/** Begin of the next late character from `from` on, or n. All of them take three bytes or more, but
 * U+07FD. */
static size_t find_late(const char *text, size_t n, size_t from) {
    for (size_t i = from; i < n;) {
        const size_t at = i;
        if ((unsigned char)text[i] < 0xDF) {
            i += opt_utf8_size(text[i]);
        } else if (is_late(opt_utf8_get(text, &i))) {
            return at;
        }
    }
    return n;
}

opt_status opt_normalize_unicode(opt_ctx *ctx, opt_norm_kind kind, const char *text, size_t n,
                                 opt_str *out) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n;) {
        const size_t late = find_late(text, n, i);
        OPT_TRY(normalize_part(ctx, kind, text + i, late - i, out));
        i = late;
        if (late < n) {
            const size_t size = opt_utf8_size(text[late]);
            OPT_TRY(opt_str_append(ctx, out, text + late, size));
            i += size;
        }
    }
done:
    return st;
}
