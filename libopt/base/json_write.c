#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void opt_jsonw_init(opt_jsonw *w, opt_ctx *ctx, opt_str *out, int indent) {
    *w = (opt_jsonw){.ctx = ctx, .out = out, .indent = indent};
}

static void put(opt_jsonw *w, const char *bytes, size_t n) {
    if (w->status == OPT_OK) {
        w->status = opt_str_append(w->ctx, w->out, bytes, n);
    }
}

static void new_line(opt_jsonw *w) {
    static const char spaces[] = "                                ";
    if (w->indent == 0) {
        return;
    }
    put(w, "\n", 1);
    for (size_t n = (size_t)w->depth * (size_t)w->indent; n > 0;) {
        const size_t step = n < sizeof spaces - 1 ? n : sizeof spaces - 1;
        put(w, spaces, step);
        n -= step;
    }
}

/** What stands before a value or a key. */
static void before(opt_jsonw *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->need_comma) {
        put(w, ",", 1);
    }
    if (w->depth > 0) {
        new_line(w);
    }
}

static void open_bracket(opt_jsonw *w, const char *bracket) {
    before(w);
    put(w, bracket, 1);
    w->depth++;
    w->need_comma = false;
}

static void close_bracket(opt_jsonw *w, const char *bracket) {
    if ((w->depth == 0 || w->after_key) && w->status == OPT_OK) {
        w->status = opt_fail(w->ctx, OPT_ERR_BUG, NULL,
                             "JSON writer: '%s' without its beginning or its value", bracket);
        return;
    }
    w->depth--;
    if (w->need_comma) { /* not empty */
        new_line(w);
    }
    put(w, bracket, 1);
    w->need_comma = true;
}

static void scalar(opt_jsonw *w, const char *text, size_t n) {
    before(w);
    put(w, text, n);
    w->need_comma = true;
}

void opt_jsonw_begin_object(opt_jsonw *w) { open_bracket(w, "{"); }
void opt_jsonw_end_object(opt_jsonw *w) { close_bracket(w, "}"); }
void opt_jsonw_begin_array(opt_jsonw *w) { open_bracket(w, "["); }
void opt_jsonw_end_array(opt_jsonw *w) { close_bracket(w, "]"); }
void opt_jsonw_null(opt_jsonw *w) { scalar(w, "null", 4); }
void opt_jsonw_bool(opt_jsonw *w, bool v) { scalar(w, v ? "true" : "false", v ? 4 : 5); }

/**
 * The escape of a character that JSON (or an HTML page around it) does not take as it is; 0 if none
 * is needed.
 */
static size_t escape(uint32_t cp, char out[8]) {
    static const char named[] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                 ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    if (cp < sizeof named && named[cp] != '\0') {
        out[0] = '\\';
        out[1] = named[cp];
        return 2;
    }
    if (cp < 0x20 || cp == 0x7f || cp == 0x2028 || cp == 0x2029) {
        return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)cp);
    }
    return 0;
}

static void quoted(opt_jsonw *w, const char *s, size_t n) {
    size_t plain = 0; /* start of what needs no change */
    put(w, "\"", 1);
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        char text[8] = "\xef\xbf\xbd"; /* U+FFFD */
        const int len = opt_utf8_decode(s + i, n - i, &cp);
        const size_t n_text = len == 0 ? 3 : escape(cp, text);
        const size_t used = len == 0 ? 1 : (size_t)len;
        if (n_text > 0) {
            put(w, s + plain, i - plain);
            put(w, text, n_text);
            plain = i + used;
        }
        i += used;
    }
    put(w, s + plain, n - plain);
    put(w, "\"", 1);
}

void opt_jsonw_key(opt_jsonw *w, const char *key) {
    before(w);
    quoted(w, key, strlen(key));
    put(w, ": ", w->indent > 0 ? 2 : 1);
    w->after_key = true;
    w->need_comma = true;
}

void opt_jsonw_strn(opt_jsonw *w, const char *s, size_t n) {
    if (s == NULL) {
        opt_jsonw_null(w);
        return;
    }
    before(w);
    quoted(w, s, n);
    w->need_comma = true;
}

void opt_jsonw_str(opt_jsonw *w, const char *s) { opt_jsonw_strn(w, s, s == NULL ? 0 : strlen(s)); }

void opt_jsonw_i64(opt_jsonw *w, int64_t v) {
    char text[32];
    scalar(w, text, (size_t)snprintf(text, sizeof text, "%" PRId64, v));
}

void opt_jsonw_u64(opt_jsonw *w, uint64_t v) {
    char text[32];
    scalar(w, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, v));
}

/** A program around the library may have set a locale with a decimal comma. */
static void fix_decimal_point(char *text) {
    for (; *text != '\0'; text++) {
        if ((*text < '0' || *text > '9') && *text != '-' && *text != '+' && *text != 'e') {
            *text = '.';
        }
    }
}

void opt_jsonw_f64(opt_jsonw *w, double v) {
    char text[40];
    if (!isfinite(v)) {
        opt_jsonw_null(w);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    fix_decimal_point(text);
    if (strpbrk(text, ".e") == NULL) {
        (void)strncat(text, ".0",
                      sizeof text - strlen(text) - 1); /* stays a real number for strict readers */
    }
    scalar(w, text, strlen(text));
}

void opt_jsonw_put_str(opt_jsonw *w, const char *key, const char *s) {
    opt_jsonw_key(w, key);
    opt_jsonw_str(w, s);
}

void opt_jsonw_put_i64(opt_jsonw *w, const char *key, int64_t v) {
    opt_jsonw_key(w, key);
    opt_jsonw_i64(w, v);
}

void opt_jsonw_put_u64(opt_jsonw *w, const char *key, uint64_t v) {
    opt_jsonw_key(w, key);
    opt_jsonw_u64(w, v);
}

void opt_jsonw_put_f64(opt_jsonw *w, const char *key, double v) {
    opt_jsonw_key(w, key);
    opt_jsonw_f64(w, v);
}

void opt_jsonw_put_bool(opt_jsonw *w, const char *key, bool v) {
    opt_jsonw_key(w, key);
    opt_jsonw_bool(w, v);
}

opt_status opt_jsonw_finish(opt_jsonw *w) {
    if (w->status == OPT_OK && (w->depth != 0 || w->after_key)) {
        w->status =
            opt_fail(w->ctx, OPT_ERR_BUG, NULL, "JSON writer: %d levels are still open", w->depth);
    }
    if (w->status == OPT_OK && w->indent > 0) {
        put(w, "\n", 1);
    }
    return w->status;
}
