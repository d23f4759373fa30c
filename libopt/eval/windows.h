/**
 * Cutting a token sequence into evaluation windows: what is fed to a model, and which predictions
 * are scored.
 */
#ifndef OPT_EVAL_WINDOWS_H
#define OPT_EVAL_WINDOWS_H

#include <stdint.h>

#include "base/ctx.h"

/**
 * Window w holds tokens[w*ctx .. (w+1)*ctx). Row r of a window is the prediction of its token r+1;
 * rows first_row .. ctx-2 are scored. If bos >= 0 it stands in place of the window's first token.
 */
typedef struct opt_windows {
    const int32_t *tokens; /* [n_windows * ctx], borrowed */
    int64_t ctx;
    int64_t n_windows;
    int64_t first_row;
    int32_t bos;
} opt_windows;

/**
 * Plans windows over tokens[n_tokens] of the text `name`. n_windows 0: all that fit. Errors: USAGE
 * when ctx < 2, first_row is outside, or the text has fewer tokens than the windows need (says how
 * many there are).
 */
OPT_MUST_USE opt_status opt_windows_make(opt_ctx *ctx, const char *name, const int32_t *tokens,
                                         int64_t n_tokens, int64_t window, int64_t n_windows,
                                         int64_t first_row, int32_t bos, opt_windows *out);

/** Scored rows of one window, and of all. */
int64_t opt_windows_rows(const opt_windows *w);
int64_t opt_windows_n_scored(const opt_windows *w);

/** Copies the tokens of window i to dst [ctx], BOS in its place. */
void opt_windows_get(const opt_windows *w, int64_t i, int32_t *dst);

#endif
