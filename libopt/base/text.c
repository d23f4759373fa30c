#include "opt/text.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)
#define MAX_WORD 48

opt_status opt_text_read(opt_ctx *ctx, const char *path, char **out, size_t *bytes) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    char *text = NULL;
    OPT_TRY(opt_buf_read(ctx, path, MAX_TEXT_BYTES, &buf));
    text = opt_alloc(ctx, buf->bytes + 1);
    OPT_TRY_PTR(text);
    memcpy(text, buf->data, buf->bytes);
    text[buf->bytes] = 0;
    *out = text;
    *bytes = buf->bytes;
done:
    opt_buf_release(buf);
    return st;
}

opt_status opt_text_printable(opt_ctx *ctx, const char *text, size_t bytes, char **out) {
    opt_str s = {0};
    opt_status st = opt_str_append(ctx, &s, "", 0);
    if (st == OPT_OK) {
        st = opt_str_append_printable(ctx, &s, text, bytes);
    }
    if (st == OPT_OK) {
        *out = s.data;
    } else {
        opt_str_free(ctx, &s);
    }
    return st;
}

void opt_text_free(opt_ctx *ctx, char *text) { opt_free(ctx, text); }

/** Edits (insert, delete, replace, swap of neighbours) that turn a into b, both at most MAX_WORD
   long: the optimal string alignment distance, in O(|a| |b|). */
static int distance(const char *a, size_t na, const char *b, size_t nb) {
    int rows[3][MAX_WORD + 1];
    for (size_t j = 0; j <= nb; j++) {
        rows[0][j] = (int)j;
    }
    for (size_t i = 1; i <= na; i++) {
        const int *before = rows[(i + 1) % 3]; /* row i - 2 */
        const int *above = rows[(i - 1) % 3];
        int *row = rows[i % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[na % 3][nb];
}

const char *opt_text_nearest(const char *word, const char *const *candidates, size_t n) {
    const size_t len = strlen(word);
    const char *best = NULL;
    int best_distance = 1 + (int)(len > 3) + (int)(len > 7); /* longer words may have more errors */
    if (len == 0 || len > MAX_WORD) {
        return NULL;
    }
    best_distance++;
    for (size_t i = 0; i < n; i++) {
        const size_t other = strlen(candidates[i]);
        if (other > MAX_WORD) {
            continue;
        }
        const int d = distance(word, len, candidates[i], other);
        if (d < best_distance && (size_t)d < len) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best;
}

const char *opt_text_base_name(const char *path, size_t *bytes) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    if (start == end && end > 0) { /* the root */
        start = end - 1;
    }
    *bytes = end - start;
    return path + start;
}

const char *opt_libraries(void) { return OPT_LIBRARIES; }
