#include "eval/windows.h"

#include <inttypes.h>
#include <string.h>

opt_status opt_windows_make(opt_ctx *ctx, const char *name, const int32_t *tokens, int64_t n_tokens,
                            int64_t window, int64_t n_windows, int64_t first_row, int32_t bos,
                            opt_windows *out) {
    if (window < 2) {
        return opt_fail(ctx, OPT_ERR_USAGE, "ctx",
                        "a window of %" PRId64 " tokens predicts nothing; use at least 2", window);
    }
    if (first_row < 0 || first_row > window - 2) {
        return opt_fail(ctx, OPT_ERR_BUG, "windows", "first scored row %" PRId64 " of %" PRId64,
                        first_row, window);
    }
    const int64_t available = n_tokens / window;
    if (available < 1 || n_windows > available) {
        return opt_fail(ctx, OPT_ERR_USAGE, name,
                        "has %" PRId64 " tokens, enough for %" PRId64 " windows of %" PRId64
                        "; asked for %" PRId64,
                        n_tokens, available, window, n_windows > 0 ? n_windows : 1);
    }
    *out = (opt_windows){.tokens = tokens,
                         .ctx = window,
                         .n_windows = n_windows > 0 ? n_windows : available,
                         .first_row = first_row,
                         .bos = bos};
    return OPT_OK;
}

int64_t opt_windows_rows(const opt_windows *w) { return w->ctx - 1 - w->first_row; }

int64_t opt_windows_n_scored(const opt_windows *w) { return w->n_windows * opt_windows_rows(w); }

void opt_windows_get(const opt_windows *w, int64_t i, int32_t *dst) {
    memcpy(dst, w->tokens + i * w->ctx, (size_t)w->ctx * sizeof *dst);
    if (w->bos >= 0) {
        dst[0] = w->bos;
    }
}
