#include "text/decode.h"

#include <string.h>

#include "text/normalize.h"
#include "text/utf8.h"

opt_status opt_texts_push(opt_ctx *ctx, opt_texts *t, const char *text, size_t n) {
    opt_status st = OPT_OK;
    if (t->n == t->cap) {
        const size_t cap = t->cap * 2 + 64;
        void *p = opt_realloc(ctx, t->ends, cap * sizeof *t->ends);
        OPT_TRY_PTR(p);
        t->ends = p;
        t->cap = cap;
    }
    OPT_TRY(opt_str_append(ctx, &t->bytes, text, n));
    t->ends[t->n++] = t->bytes.len;
done:
    return st;
}

void opt_texts_free(opt_ctx *ctx, opt_texts *t) {
    opt_str_free(ctx, &t->bytes);
    opt_free(ctx, t->ends);
    memset(t, 0, sizeof *t);
}

static const char *text_at(const opt_texts *t, size_t i, size_t *n) {
    const size_t begin = i > 0 ? t->ends[i - 1] : 0;
    *n = t->ends[i] - begin;
    return t->bytes.data + begin;
}

/** Appends the bytes of a token of a byte-level vocabulary; one with other characters stands for
 * itself. */
static opt_status byte_level(opt_ctx *ctx, const char *text, size_t n, opt_str *out) {
    opt_status st = OPT_OK;
    const size_t before = out->len;
    for (size_t i = 0; i < n;) {
        const int byte = opt_cp_to_byte(opt_utf8_get(text, &i));
        if (byte < 0) {
            out->len = before;
            return opt_str_append(ctx, out, text, n);
        }
        const char c = (char)byte;
        OPT_TRY(opt_str_append(ctx, out, &c, 1));
    }
done:
    return st;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int opt_byte_token(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    const int hi = hex_digit(text[3]);
    const int lo = hex_digit(text[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/** A run of byte tokens becomes text if it is valid as a whole, else one U+FFFD for each byte. */
static opt_status flush_bytes(opt_ctx *ctx, opt_str *run, opt_texts *out) {
    opt_status st = OPT_OK;
    if (opt_utf8_valid_prefix(run->data, run->len) == run->len) {
        OPT_TRY(opt_texts_push(ctx, out, run->data, run->len));
    } else {
        for (size_t i = 0; i < run->len; i++) {
            OPT_TRY(opt_texts_push(ctx, out, "\xEF\xBF\xBD", 3));
        }
    }
    run->len = 0;
done:
    return st;
}

static opt_status byte_fallback(opt_ctx *ctx, const opt_texts *in, opt_texts *out) {
    opt_status st = OPT_OK;
    opt_str run = {0};
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *text = text_at(in, i, &n);
        const int byte = opt_byte_token(text, n);
        if (byte >= 0) {
            const char c = (char)byte;
            OPT_TRY(opt_str_append(ctx, &run, &c, 1));
            continue;
        }
        if (run.len > 0) {
            OPT_TRY(flush_bytes(ctx, &run, out));
        }
        OPT_TRY(opt_texts_push(ctx, out, text, n));
    }
    if (run.len > 0) {
        OPT_TRY(flush_bytes(ctx, &run, out));
    }
done:
    opt_str_free(ctx, &run);
    return st;
}

static opt_status strip(opt_ctx *ctx, const opt_decode_step *step, const char *text, size_t n,
                        opt_texts *out) {
    size_t begin = 0;
    for (size_t k = 0; k < step->start && n - begin >= step->n_text &&
                       memcmp(text + begin, step->text, step->n_text) == 0;
         k++) {
        begin += step->n_text;
    }
    for (size_t k = 0; k < step->stop && n - begin >= step->n_text &&
                       memcmp(text + n - step->n_text, step->text, step->n_text) == 0;
         k++) {
        n -= step->n_text;
    }
    return opt_texts_push(ctx, out, text + begin, n - begin);
}

static opt_status replace(opt_ctx *ctx, const opt_decode_step *step, opt_regex_scratch *scratch,
                          const char *text, size_t n, opt_str *out) {
    if (step->pattern != NULL) {
        return opt_replace_matches(ctx, scratch, text, n, step->pattern, step->text, step->n_text,
                                   out);
    }
    return opt_replace_all(ctx, text, n, step->find, step->n_find, step->text, step->n_text, out);
}

static opt_status metaspace(opt_ctx *ctx, const opt_decode_step *step, const char *text, size_t n,
                            bool first, opt_str *out) {
    return opt_replace_all(ctx, text, n, step->find, step->n_find, " ",
                           first && step->start != 0 ? 0 : 1, out);
}

static opt_status run_each(opt_ctx *ctx, const opt_decode_step *step, opt_regex_scratch *scratch,
                           const opt_texts *in, opt_texts *out) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *text = text_at(in, i, &n);
        if (step->kind == OPT_DECODE_STRIP) {
            OPT_TRY(strip(ctx, step, text, n, out));
            continue;
        }
        OPT_TRY(step->kind == OPT_DECODE_METASPACE
                    ? metaspace(ctx, step, text, n, i == 0, &out->bytes)
                    : replace(ctx, step, scratch, text, n, &out->bytes));
        OPT_TRY(opt_texts_push(ctx, out, "", 0));
    }
done:
    return st;
}

static opt_status run_step(opt_ctx *ctx, const opt_decode_step *step, opt_regex_scratch *scratch,
                           opt_texts *in, opt_texts *out) {
    opt_status st = OPT_OK;
    opt_str bytes = {0};
    switch (step->kind) {
    case OPT_DECODE_BYTE_LEVEL:
        for (size_t i = 0; i < in->n; i++) {
            size_t n;
            const char *text = text_at(in, i, &n);
            OPT_TRY(byte_level(ctx, text, n, &bytes));
        }
        OPT_TRY(opt_utf8_append_lossy(ctx, &out->bytes, bytes.data, bytes.len));
        OPT_TRY(opt_texts_push(ctx, out, "", 0));
        break;
    case OPT_DECODE_BYTE_FALLBACK: OPT_TRY(byte_fallback(ctx, in, out)); break;
    case OPT_DECODE_FUSE: OPT_TRY(opt_texts_push(ctx, out, in->bytes.data, in->bytes.len)); break;
    case OPT_DECODE_JOIN_SPACE:
        for (size_t i = 0; i < in->n; i++) {
            size_t n;
            const char *text = text_at(in, i, &n);
            OPT_TRY(opt_str_append(ctx, &out->bytes, " ", i > 0));
            OPT_TRY(opt_texts_push(ctx, out, text, n));
        }
        break;
    case OPT_DECODE_REPLACE:
    case OPT_DECODE_STRIP:
    case OPT_DECODE_METASPACE: OPT_TRY(run_each(ctx, step, scratch, in, out)); break;
    }
done:
    opt_str_free(ctx, &bytes);
    return st;
}

opt_status opt_decode_all(opt_ctx *ctx, const opt_decode_step *steps, size_t n_steps,
                          opt_texts *texts, opt_str *out) {
    opt_status st = OPT_OK;
    opt_texts next = {0};
    opt_regex_scratch scratch = {0};
    for (size_t i = 0; i < n_steps; i++) {
        next.n = 0;
        next.bytes.len = 0;
        OPT_TRY(run_step(ctx, &steps[i], &scratch, texts, &next));
        const opt_texts swap = *texts;
        *texts = next;
        next = swap;
    }
    OPT_TRY(opt_str_append(ctx, out, texts->bytes.data ? texts->bytes.data : "", texts->bytes.len));
done:
    opt_texts_free(ctx, &next);
    opt_regex_scratch_free(&scratch);
    return st;
}

/* ---- one text at a time ---- */

/** Removes what STRIP, which sees the joined texts, would remove from their beginning. */
static void strip_begin(const opt_decode_step *step, opt_str *s, size_t *n_stripped, bool started) {
    size_t cut = 0;
    while (!started && *n_stripped < step->start && s->len - cut >= step->n_text && s->len > cut &&
           memcmp(s->data + cut, step->text, step->n_text) == 0) {
        cut += step->n_text;
        ++*n_stripped;
    }
    if (cut > 0) {
        memmove(s->data, s->data + cut, s->len - cut);
        s->len -= cut;
    }
}

static opt_status one_step(opt_ctx *ctx, const opt_decode_step *step, opt_regex_scratch *scratch,
                           const opt_str *in, bool first, opt_str *out) {
    opt_status st = OPT_OK;
    const char *text = in->data ? in->data : "";
    const int byte = step->kind == OPT_DECODE_BYTE_FALLBACK ? opt_byte_token(text, in->len) : -1;
    switch (step->kind) {
    case OPT_DECODE_BYTE_LEVEL: return byte_level(ctx, text, in->len, out);
    case OPT_DECODE_REPLACE: return replace(ctx, step, scratch, text, in->len, out);
    case OPT_DECODE_METASPACE: return metaspace(ctx, step, text, in->len, first, out);
    case OPT_DECODE_JOIN_SPACE: OPT_TRY(opt_str_append(ctx, out, " ", !first)); break;
    case OPT_DECODE_BYTE_FALLBACK:
        if (byte >= 0) {
            const char c = (char)byte;
            return opt_str_append(ctx, out, &c, 1);
        }
        break;
    case OPT_DECODE_FUSE:
    case OPT_DECODE_STRIP: break;
    }
    OPT_TRY(opt_str_append(ctx, out, text, in->len));
done:
    return st;
}

opt_status opt_decode_one(opt_ctx *ctx, const opt_decode_step *steps, size_t n_steps,
                          const char *text, size_t n, bool first, size_t *n_stripped, bool *started,
                          opt_str *out) {
    opt_status st = OPT_OK;
    opt_str now = {0};
    opt_str next = {0};
    opt_texts stripped = {0};
    opt_regex_scratch scratch = {0};
    bool joined = false;
    OPT_TRY(opt_str_append(ctx, &now, text, n));
    for (size_t i = 0; i < n_steps; i++) {
        const opt_decode_step *step = &steps[i];
        next.len = 0;
        if (step->kind == OPT_DECODE_STRIP && joined) {
            strip_begin(step, &now, n_stripped, *started);
            continue;
        }
        if (step->kind == OPT_DECODE_STRIP) {
            stripped.n = 0;
            stripped.bytes.len = 0;
            OPT_TRY(strip(ctx, step, now.data, now.len, &stripped));
            OPT_TRY(opt_str_append(ctx, &next, stripped.bytes.data, stripped.bytes.len));
        } else {
            OPT_TRY(one_step(ctx, step, &scratch, &now, first, &next));
        }
        joined = joined || step->kind == OPT_DECODE_FUSE || step->kind == OPT_DECODE_BYTE_LEVEL;
        const opt_str swap = now;
        now = next;
        next = swap;
    }
    *started = *started || now.len > 0;
    OPT_TRY(opt_str_append(ctx, out, now.data ? now.data : "", now.len));
done:
    opt_str_free(ctx, &now);
    opt_str_free(ctx, &next);
    opt_texts_free(ctx, &stripped);
    opt_regex_scratch_free(&scratch);
    return st;
}
