#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/utf8.h"

/** Makes room for `more` bytes and the 0 behind them. */
opt_status opt_str_reserve(opt_ctx *ctx, opt_str *s, size_t more) {
    size_t need = 0;
    if (!opt_add_size(s->len, more, &need) || !opt_add_size(need, 1, &need)) {
        return opt_fail(ctx, OPT_ERR_MEMORY, NULL, "out of memory: a text of %zu + %zu bytes",
                        s->len, more);
    }
    if (need <= s->cap) {
        return OPT_OK;
    }
    size_t cap = s->cap < 64 ? 64 : s->cap;
    while (cap < need && opt_add_size(cap, cap / 2, &cap)) {
    }
    char *grown = opt_realloc(ctx, s->data, cap < need ? need : cap);
    if (grown == NULL) {
        return OPT_ERR_MEMORY;
    }
    s->data = grown;
    s->cap = cap < need ? need : cap;
    return OPT_OK;
}

opt_status opt_str_append(opt_ctx *ctx, opt_str *s, const void *bytes, size_t n) {
    const opt_status st = opt_str_reserve(ctx, s, n);
    if (st != OPT_OK) {
        return st;
    }
    if (n > 0) {
        memcpy(s->data + s->len, bytes, n);
    }
    s->len += n;
    s->data[s->len] = '\0';
    return OPT_OK;
}

opt_status opt_str_printf(opt_ctx *ctx, opt_str *s, const char *fmt, ...) {
    opt_status st = OPT_OK;
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    OPT_REQUIRE(n >= 0, ctx, OPT_ERR_BUG, NULL, "a format string was refused");
    OPT_TRY(opt_str_reserve(ctx, s, (size_t)n));
    (void)vsnprintf(s->data + s->len, (size_t)n + 1, fmt, again);
    s->len += (size_t)n;
done:
    va_end(again);
    return st;
}

void opt_str_free(opt_ctx *ctx, opt_str *s) {
    opt_free(ctx, s->data);
    *s = (opt_str){0};
}

opt_status opt_str_append_printable(opt_ctx *ctx, opt_str *s, const char *text, size_t n) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_str_reserve(ctx, s, n));
    s->data[s->len] = '\0';
    for (size_t i = 0; i < n;) {
        char piece[OPT_PRINTABLE_MAX];
        size_t n_piece = 0;
        i += opt_printable_char(text + i, n - i, piece, &n_piece);
        OPT_TRY(opt_str_append(ctx, s, piece, n_piece));
    }
done:
    return st;
}
