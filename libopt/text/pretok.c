#include "text/pretok.h"

#include <string.h>

#include "base/num.h"
#include "text/normalize.h"
#include "text/utf8.h"

void opt_pieces_free(opt_ctx *ctx, opt_pieces *p) {
    opt_free(ctx, p->spans);
    opt_free(ctx, p->old);
    opt_str_free(ctx, &p->own);
    opt_str_free(ctx, &p->spare);
    opt_str_free(ctx, &p->subject);
    memset(p, 0, sizeof *p);
}

static opt_status push_span(opt_ctx *ctx, opt_pieces *p, size_t off, size_t len) {
    opt_status st = OPT_OK;
    if (len == 0) {
        return OPT_OK;
    }
    if (p->n == p->cap) {
        const size_t cap = p->cap * 2 + 64;
        size_t bytes;
        OPT_REQUIRE(opt_mul_size(cap, sizeof *p->spans, &bytes), ctx, OPT_ERR_MEMORY, NULL,
                    "a text has too many words");
        void *spans = opt_realloc(ctx, p->spans, bytes);
        OPT_TRY_PTR(spans);
        p->spans = spans;
        p->cap = cap;
    }
    p->spans[p->n++] = (opt_span){.off = off, .len = len};
done:
    return st;
}

/** The spans become the old ones, and the list of spans empty. */
static void begin_step(opt_pieces *p) {
    opt_span *spans = p->old;
    const size_t cap = p->old_cap;
    p->old = p->spans;
    p->old_cap = p->cap;
    p->n_old = p->n;
    p->spans = spans;
    p->cap = cap;
    p->n = 0;
}

/* ---- splitting by a pattern ---- */

/** Collects the parts of one piece according to the behavior; parts come in order and cover the
 * piece. */
typedef struct splitter {
    opt_ctx *ctx;
    opt_pieces *p;
    opt_split_behavior behavior;
    bool last_was_match; /* the part before, which counts as no match at first */
    bool have;           /* a part is waiting in [begin, end) */
    size_t begin;
    size_t end;
} splitter;

static opt_status flush_part(splitter *s) {
    opt_status st = OPT_OK;
    if (s->have) {
        OPT_TRY(push_span(s->ctx, s->p, s->begin, s->end - s->begin));
        s->have = false;
    }
done:
    return st;
}

static opt_status add_part(splitter *s, size_t begin, size_t end, bool is_match) {
    opt_status st = OPT_OK;
    bool join = false;
    switch (s->behavior) {
    case OPT_SPLIT_REMOVED: return is_match ? OPT_OK : push_span(s->ctx, s->p, begin, end - begin);
    case OPT_SPLIT_ISOLATED: return push_span(s->ctx, s->p, begin, end - begin);
    case OPT_SPLIT_CONTIGUOUS: join = is_match == s->last_was_match; break;
    case OPT_SPLIT_MERGED_WITH_PREVIOUS: join = is_match && !s->last_was_match; break;
    case OPT_SPLIT_MERGED_WITH_NEXT: join = !is_match && s->last_was_match; break;
    }
    s->last_was_match = is_match;
    if (!join || !s->have) {
        OPT_TRY(flush_part(s));
        s->have = true;
        s->begin = begin;
    }
    s->end = end;
done:
    return st;
}

static opt_status split_piece(opt_ctx *ctx, const opt_pretok_step *step, opt_regex_scratch *scratch,
                              const char *subject, opt_span piece, opt_pieces *p) {
    opt_status st = OPT_OK;
    splitter s = {.ctx = ctx, .p = p, .behavior = step->behavior};
    opt_regex_search search = {0};
    size_t last = 0;
    for (;;) {
        bool found;
        size_t start;
        size_t end;
        OPT_TRY(opt_regex_next(ctx, step->pattern, scratch, subject + piece.off, piece.len, &search,
                               &found, &start, &end));
        if (!found) {
            break;
        }
        if (start > last) {
            OPT_TRY(add_part(&s, piece.off + last, piece.off + start, step->invert));
        }
        OPT_TRY(add_part(&s, piece.off + start, piece.off + end, !step->invert));
        last = end;
    }
    if (last < piece.len) {
        OPT_TRY(add_part(&s, piece.off + last, piece.off + piece.len, step->invert));
    }
    OPT_TRY(flush_part(&s));
done:
    return st;
}

static opt_status split_step(opt_ctx *ctx, const opt_pretok_step *step, opt_regex_scratch *scratch,
                             const char *subject, opt_pieces *p) {
    opt_status st = OPT_OK;
    begin_step(p);
    for (size_t i = 0; i < p->n_old; i++) {
        OPT_TRY(split_piece(ctx, step, scratch, subject, p->old[i], p));
    }
done:
    return st;
}

/* ---- steps that change the text ---- */

static opt_status byte_chars(opt_ctx *ctx, const char *text, size_t n, opt_str *out) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n; i++) {
        char c[4];
        const size_t len = opt_utf8_put(opt_byte_to_cp((unsigned char)text[i]), c);
        OPT_TRY(opt_str_append(ctx, out, c, len));
    }
done:
    return st;
}

static opt_status change_piece(opt_ctx *ctx, const opt_pretok_step *step, const char *text,
                               opt_span piece, bool at_start, opt_str *out) {
    opt_status st = OPT_OK;
    const char *s = text + piece.off;
    switch (step->kind) {
    case OPT_PRETOK_BYTE_CHARS: return byte_chars(ctx, s, piece.len, out);
    case OPT_PRETOK_ADD_PREFIX:
        if (s[0] != ' ') {
            OPT_TRY(opt_str_append(ctx, out, " ", 1));
        }
        OPT_TRY(opt_str_append(ctx, out, s, piece.len));
        break;
    case OPT_PRETOK_METASPACE: {
        const bool has =
            s[0] == ' ' || (piece.len >= step->n_text && memcmp(s, step->text, step->n_text) == 0);
        const bool wants = step->scheme == OPT_PREPEND_ALWAYS ||
                           (step->scheme == OPT_PREPEND_FIRST && at_start && piece.off == 0);
        if (wants && !has) {
            OPT_TRY(opt_str_append(ctx, out, step->text, step->n_text));
        }
        OPT_TRY(opt_replace_all(ctx, s, piece.len, " ", 1, step->text, step->n_text, out));
        break;
    }
    case OPT_PRETOK_SPLIT: break;
    }
done:
    return st;
}

static opt_status change_step(opt_ctx *ctx, const opt_pretok_step *step, bool at_start,
                              opt_pieces *p) {
    opt_status st = OPT_OK;
    begin_step(p);
    p->spare.len = 0;
    for (size_t i = 0; i < p->n_old; i++) {
        const size_t before = p->spare.len;
        OPT_TRY(change_piece(ctx, step, p->text, p->old[i], at_start, &p->spare));
        OPT_TRY(push_span(ctx, p, before, p->spare.len - before));
    }
    const opt_str swap = p->own;
    p->own = p->spare;
    p->spare = swap;
    p->text = p->own.data ? p->own.data : "";
    p->n_text = p->own.len;
done:
    return st;
}

opt_status opt_pretok_split(opt_ctx *ctx, const opt_pretok_step *steps, size_t n_steps,
                            opt_regex_scratch *s, const char *text, size_t n, bool at_start,
                            opt_pieces *p) {
    opt_status st = OPT_OK;
    const char *subject = NULL;
    p->text = text;
    p->n_text = n;
    p->n = 0;
    OPT_TRY(push_span(ctx, p, 0, n));
    for (size_t i = 0; i < n_steps; i++) {
        if (steps[i].kind != OPT_PRETOK_SPLIT) {
            OPT_TRY(change_step(ctx, &steps[i], at_start, p));
            subject = NULL;
            continue;
        }
        if (subject == NULL) {
            OPT_TRY(opt_regex_subject(ctx, p->text, p->n_text, &p->subject, &subject));
        }
        OPT_TRY(split_step(ctx, &steps[i], s, subject, p));
        OPT_TRY(opt_check_cancel(ctx));
    }
done:
    return st;
}
