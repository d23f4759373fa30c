#include "text/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/unicode_newer.h"
#include "text/utf8.h"

#define HEAP_LIMIT_KIB (64 * 1024)
#define DEPTH_LIMIT 100000
#define JIT_STACK_MAX (1024 * 1024)
/** Match steps allowed beyond those that grow with the text. */
#define MATCH_LIMIT 250000U
#define PATTERN_MAX 65536

/** What \w means in Oniguruma, without the brackets. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

struct opt_regex {
    opt_ctx *ctx;
    pcre2_code *code;
    bool jit;
};

/* ---- Oniguruma's syntax to PCRE2's ---- */

typedef struct translation {
    opt_ctx *ctx;
    const char *object;
    const char *s;
    size_t n;
    size_t i;
    bool in_class;
    opt_str out;
} translation;

static opt_status put(translation *t, const char *text) {
    return opt_str_append(t->ctx, &t->out, text, strlen(text));
}

static opt_status put_n(translation *t, size_t n) {
    const size_t from = t->i;
    t->i += n;
    return opt_str_append(t->ctx, &t->out, t->s + from, n);
}

static opt_status refuse(translation *t, const char *what) {
    return opt_fail(t->ctx, OPT_ERR_UNSUPPORTED, t->object,
                    "the pattern '%.*s' has %s at byte %zu, which is not supported",
                    (int)(t->n < 200 ? t->n : 200), t->s, what, t->i);
}

static bool is_at(const translation *t, const char *text) {
    const size_t n = strlen(text);
    return t->n - t->i >= n && memcmp(t->s + t->i, text, n) == 0;
}

/** \p{Script} means the script itself there, its extensions too in PCRE2. */
static opt_status translate_property(translation *t) {
    static const char *const scripts[] = {"Han",    "Hiragana", "Katakana",   "Hangul",
                                          "Latin",  "Cyrillic", "Greek",      "Arabic",
                                          "Hebrew", "Thai",     "Devanagari", "Bengali"};
    const char *end = memchr(t->s + t->i, '}', t->n - t->i);
    if (t->n - t->i < 3 || t->s[t->i + 2] != '{' || end == NULL) {
        return refuse(t, "a property without braces");
    }
    const char *name = t->s + t->i + 3;
    const size_t n_name = (size_t)(end - name);
    for (size_t k = 0; k < sizeof scripts / sizeof *scripts; k++) {
        if (strlen(scripts[k]) == n_name && memcmp(scripts[k], name, n_name) == 0) {
            const opt_status st =
                opt_str_printf(t->ctx, &t->out, "\\%c{sc:%s}", t->s[t->i + 1], scripts[k]);
            t->i += n_name + 4;
            return st;
        }
    }
    return put_n(t, n_name + 4);
}

static opt_status translate_unicode_escape(translation *t) {
    for (size_t k = 2; k < 6; k++) {
        if (t->i + k >= t->n || strchr("0123456789abcdefABCDEF", t->s[t->i + k]) == NULL) {
            return refuse(t, "\\u without four hexadecimal digits");
        }
    }
    const opt_status st = opt_str_printf(t->ctx, &t->out, "\\x{%.4s}", t->s + t->i + 2);
    t->i += 6;
    return st;
}

static opt_status translate_escape(translation *t) {
    if (t->i + 1 >= t->n) {
        return refuse(t, "a backslash at its end");
    }
    const char c = t->s[t->i + 1];
    const char *text = NULL;
    switch (c) {
    case 'p':
    case 'P': return translate_property(t);
    case 'u': return translate_unicode_escape(t);
    case 'h': text = t->in_class ? "0-9a-fA-F" : "[0-9a-fA-F]"; break;
    case 'w': text = t->in_class ? WORD : "[" WORD "]"; break;
    case 'W':
    case 'H':
        if (t->in_class) {
            return refuse(t, "a negated shorthand inside a class");
        }
        text = c == 'W' ? "[^" WORD "]" : "[^0-9a-fA-F]";
        break;
    case 'b':
        text =
            t->in_class ? "\\b" : "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))";
        break;
    case 'B': text = "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"; break;
    default: return put_n(t, 1 + opt_utf8_size(c));
    }
    t->i += 2;
    return put(t, text);
}

static opt_status translate_class_char(translation *t) {
    opt_status st = OPT_OK;
    if (is_at(t, "[:")) {
        const char *end = t->s + t->i;
        while (end < t->s + t->n && *end != ']') {
            end++;
        }
        return put_n(t, (size_t)(end - (t->s + t->i)) + (end < t->s + t->n));
    }
    if (t->s[t->i] == '[') {
        return refuse(t, "a class inside a class");
    }
    if (is_at(t, "&&")) {
        return refuse(t, "an intersection of classes");
    }
    if (t->s[t->i] == ']') {
        t->in_class = false;
    }
    OPT_TRY(put_n(t, 1));
done:
    return st;
}

/** "(?imx-imx:" or "(?imx)": Ruby's m is PCRE2's s, and options without a group end elsewhere. */
static opt_status translate_options(translation *t) {
    opt_status st = OPT_OK;
    size_t end = t->i + 2;
    while (end < t->n && strchr("imx-", t->s[end]) != NULL && t->s[end] != '\0') {
        end++;
    }
    if (end == t->i + 2 || end >= t->n || (t->s[end] != ':' && t->s[end] != ')')) {
        return put_n(t, 2);
    }
    if (t->s[end] == ')' && t->i > 0) {
        return refuse(t, "options in the middle of a group");
    }
    OPT_TRY(put_n(t, 2));
    while (t->i < end) {
        if (t->s[t->i] == 'm') {
            t->i++;
            OPT_TRY(put(t, "s"));
        } else {
            OPT_TRY(put_n(t, 1));
        }
    }
done:
    return st;
}

/** {n,m} is never possessive in Ruby, and {,m} counts from 0. */
static opt_status translate_brace(translation *t) {
    opt_status st = OPT_OK;
    size_t end = t->i + 1;
    while (end < t->n && ((t->s[end] >= '0' && t->s[end] <= '9') || t->s[end] == ',')) {
        end++;
    }
    if (end + 1 < t->n && t->s[end] == '}' && t->s[end + 1] == '+') {
        return refuse(t, "'+' behind a repetition count");
    }
    if (is_at(t, "{,")) {
        t->i++;
        OPT_TRY(put(t, "{0"));
    }
    OPT_TRY(put_n(t, end - t->i));
done:
    return st;
}

static opt_status translate(translation *t) {
    opt_status st = OPT_OK;
    while (t->i < t->n) {
        const char c = t->s[t->i];
        if (c == '\\') {
            OPT_TRY(translate_escape(t));
        } else if (t->in_class) {
            OPT_TRY(translate_class_char(t));
        } else if (c == '[') {
            t->in_class = true;
            OPT_TRY(put_n(t, is_at(t, "[^") ? 2 : 1));
            if (t->i < t->n && t->s[t->i] == ']') { /* a literal bracket */
                OPT_TRY(put_n(t, 1));
            }
        } else if (is_at(t, "(?")) {
            OPT_TRY(translate_options(t));
        } else if (c == '{') {
            OPT_TRY(translate_brace(t));
        } else {
            OPT_TRY(put_n(t, 1));
        }
    }
done:
    return st;
}

/* ---- compiling ---- */

static opt_status compile(opt_ctx *ctx, const char *object, const char *pattern, size_t n,
                          uint32_t options, opt_regex **out) {
    opt_status st = OPT_OK;
    pcre2_compile_context *compile_ctx = NULL;
    opt_regex *re = opt_alloc_zero(ctx, sizeof *re);
    OPT_TRY_PTR(re);
    re->ctx = ctx;
    compile_ctx = pcre2_compile_context_create(NULL);
    OPT_REQUIRE(compile_ctx != NULL, ctx, OPT_ERR_MEMORY, object, "out of memory for a pattern");
    pcre2_set_newline(compile_ctx, PCRE2_NEWLINE_LF);
    int error;
    size_t offset;
    re->code =
        pcre2_compile((PCRE2_SPTR)pattern, n, options | PCRE2_UTF, &error, &offset, compile_ctx);
    if (re->code == NULL) {
        char message[128] = "";
        (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        st = opt_fail(ctx, OPT_ERR_UNSUPPORTED, object,
                      "the pattern '%.*s' cannot be used: %s (byte %zu)", (int)(n < 200 ? n : 200),
                      pattern, message, offset);
        goto done;
    }
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    *out = re;
    re = NULL;
done:
    pcre2_compile_context_free(compile_ctx);
    opt_regex_free(re);
    return st;
}

opt_status opt_regex_new(opt_ctx *ctx, const char *object, const char *pattern, size_t n,
                         opt_regex **out) {
    opt_status st = OPT_OK;
    translation t = {.ctx = ctx, .object = object, .s = pattern, .n = n};
    OPT_REQUIRE(n <= PATTERN_MAX, ctx, OPT_ERR_UNSUPPORTED, object,
                "a pattern has %zu bytes, more than the %d that are supported", n, PATTERN_MAX);
    OPT_TRY(opt_str_append(ctx, &t.out, "", 0));
    OPT_TRY(translate(&t));
    OPT_TRY(compile(ctx, object, t.out.data ? t.out.data : "", t.out.len,
                    PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, out));
done:
    opt_str_free(ctx, &t.out);
    return st;
}

opt_status opt_regex_new_literal(opt_ctx *ctx, const char *object, const char *text, size_t n,
                                 opt_regex **out) {
    return compile(ctx, object, text, n, PCRE2_LITERAL, out);
}

void opt_regex_free(opt_regex *re) {
    if (re != NULL) {
        pcre2_code_free(re->code);
        opt_free(re->ctx, re);
    }
}

/* ---- matching ---- */

static opt_status scratch_init(opt_ctx *ctx, opt_regex_scratch *s) {
    opt_status st = OPT_OK;
    if (s->match != NULL) {
        return OPT_OK;
    }
    s->match = pcre2_match_data_create(1, NULL);
    s->limits = pcre2_match_context_create(NULL);
    s->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_MAX, NULL);
    OPT_REQUIRE(s->match != NULL && s->limits != NULL && s->stack != NULL, ctx, OPT_ERR_MEMORY,
                NULL, "out of memory for matching patterns");
    pcre2_set_heap_limit(s->limits, HEAP_LIMIT_KIB);
    pcre2_set_depth_limit(s->limits, DEPTH_LIMIT);
    pcre2_jit_stack_assign(s->limits, NULL, s->stack);
done:
    return st;
}

void opt_regex_scratch_free(opt_regex_scratch *s) {
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    pcre2_jit_stack_free(s->stack);
    memset(s, 0, sizeof *s);
}

static int match(const opt_regex *re, opt_regex_scratch *s, const char *subject, size_t n,
                 size_t at) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (re->jit) {
        rc = pcre2_jit_match(re->code, (PCRE2_SPTR)subject, n, at, 0, s->match, s->limits);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(re->code, (PCRE2_SPTR)subject, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         s->match, s->limits);
    }
    return rc;
}

opt_status opt_regex_next(opt_ctx *ctx, const opt_regex *re, opt_regex_scratch *s,
                          const char *subject, size_t n, opt_regex_search *search, bool *found,
                          size_t *start, size_t *end) {
    opt_status st = OPT_OK;
    OPT_TRY(scratch_init(ctx, s));
    if (!search->matched && search->at == 0) {
        /* Scanning a run of spaces to its end and back is sensible: steps may grow with the text.
         */
        pcre2_set_match_limit(s->limits,
                              n < UINT32_MAX / 32 ? MATCH_LIMIT + (uint32_t)n * 16 : UINT32_MAX);
    }
    *found = false;
    while (search->at <= n) {
        const int rc = match(re, s, subject, n, search->at);
        if (rc == PCRE2_ERROR_NOMATCH) {
            search->at = n + 1;
            break;
        }
        if (rc < 0) {
            char message[128] = "";
            (void)pcre2_get_error_message(rc, (PCRE2_UCHAR *)message, sizeof message);
            st = opt_fail(ctx, OPT_ERR_INPUT, NULL,
                          "a pattern of the tokenizer failed on %zu bytes of text: %s", n, message);
            goto done;
        }
        const PCRE2_SIZE *where = pcre2_get_ovector_pointer(s->match);
        if (where[0] >= where[1] && search->matched && where[1] == search->last_end) {
            search->at += search->at < n ? opt_utf8_size(subject[search->at]) : 1;
            continue;
        }
        *start = where[0] < where[1] ? where[0] : where[1]; /* \K can turn them round */
        *end = where[1];
        *found = true;
        search->matched = true;
        search->at = search->last_end = where[1];
        break;
    }
done:
    return st;
}

/* ---- characters that PCRE2 does not know ---- */

static const opt_unicode_range *find_newer(uint32_t cp) {
    size_t lo = 0;
    size_t hi = opt_unicode_newer_n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (cp > opt_unicode_newer[mid].last) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < opt_unicode_newer_n && cp >= opt_unicode_newer[lo].first ? &opt_unicode_newer[lo]
                                                                         : NULL;
}

/** Position of the next byte that begins a character of three or four bytes, or n: no shorter one
 * is newer. */
static size_t next_long_char(const char *text, size_t n, size_t i) {
    while (i < n && (unsigned char)text[i] < 0xE0) {
        uint64_t word;
        if (n - i >= sizeof word) {
            memcpy(&word, text + i, sizeof word);
            /* A byte is 0xE0 or more when its upper three bits are set. */
            if ((word & word << 1 & word << 2 & 0x8080808080808080ULL) == 0) {
                i += sizeof word;
                continue;
            }
        }
        i++;
    }
    return i;
}

opt_status opt_regex_subject(opt_ctx *ctx, const char *text, size_t n, opt_str *copy,
                             const char **subject) {
    opt_status st = OPT_OK;
    *subject = text;
    for (size_t i = next_long_char(text, n, 0); i < n; i = next_long_char(text, n, i)) {
        const size_t at = i;
        const opt_unicode_range *range = find_newer(opt_utf8_get(text, &i));
        if (range == NULL) {
            continue;
        }
        if (*subject == text) {
            copy->len = 0;
            OPT_TRY(opt_str_append(ctx, copy, text, n));
            *subject = copy->data;
        }
        (void)opt_utf8_put(range->like, copy->data + at);
    }
done:
    return st;
}
