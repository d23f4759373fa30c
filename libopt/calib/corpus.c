#include "calib/corpus.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "base/rng.h"

enum { MAX_FILE_BYTES = 1 << 30 };

/* The tokens of one file, and how many windows it has and gives. */
typedef struct corpus_file {
    opt_tokens tokens;
    int64_t n_windows, n_chosen;
} corpus_file;

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static opt_status add_document(opt_ctx *ctx, const opt_tokenizer *t, const char *text, size_t n,
                               opt_tokens *out) {
    opt_status st = OPT_OK;
    if (out->n > 0 && opt_tokenizer_eos(t) >= 0) {
        OPT_TRY(opt_tokens_push(ctx, out, opt_tokenizer_eos(t)));
    }
    OPT_TRY(opt_tokenizer_encode(ctx, t, text, n, 0, out));
done:
    return st;
}

static bool is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') {
            return false;
        }
    }
    return true;
}

static opt_status add_json_line(opt_ctx *ctx, const opt_tokenizer *t, const char *where,
                                const char *line, size_t n, opt_tokens *out) {
    opt_status st = OPT_OK;
    opt_json *json = NULL;
    size_t len = 0;
    OPT_TRY(opt_json_parse(ctx, where, line, n, &json));
    const char *text = opt_json_str(opt_json_get(json, "text"), &len);
    OPT_REQUIRE(text != NULL, ctx, OPT_ERR_INPUT, where,
                "expected an object with a string \"text\"");
    OPT_TRY(add_document(ctx, t, text, len, out));
done:
    opt_json_free(json);
    return st;
}

static opt_status read_json_lines(opt_ctx *ctx, const opt_tokenizer *t, const char *path,
                                  const opt_buf *buf, opt_tokens *out) {
    opt_status st = OPT_OK;
    opt_str where = {0};
    const char *at = (const char *)buf->data, *const end = at + buf->bytes;
    for (int64_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((stop != NULL ? stop : end) - at);
        if (!is_blank(at, n)) {
            where.len = 0;
            OPT_TRY(opt_str_printf(ctx, &where, "%s:%" PRId64, path, line));
            OPT_TRY(add_json_line(ctx, t, where.data, at, n, out));
        }
        at += n + 1;
    }
done:
    opt_str_free(ctx, &where);
    return st;
}

static opt_status read_file(opt_ctx *ctx, const opt_tokenizer *t, const char *path, int64_t n_ctx,
                            corpus_file *f) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    OPT_TRY(opt_buf_read(ctx, path, MAX_FILE_BYTES, &buf));
    if (ends_with(path, ".jsonl")) {
        OPT_TRY(read_json_lines(ctx, t, path, buf, &f->tokens));
    } else {
        OPT_TRY(add_document(ctx, t, (const char *)buf->data, buf->bytes, &f->tokens));
    }
    f->n_windows = (int64_t)f->tokens.n / n_ctx;
    if (f->n_windows == 0) {
        opt_warn(ctx, path, "its %zu tokens give no window of %" PRId64 ": not used", f->tokens.n,
                 n_ctx);
    }
done:
    opt_buf_release(buf);
    return st;
}

/* Deals n windows out one by one, each to the file that is furthest behind its share (the method of
 * Sainte-Lague), of those that have some left. */
static int64_t deal(corpus_file *files, const opt_corpus_options *o) {
    int64_t dealt = 0;
    while (dealt < o->n_windows) {
        size_t next = o->n_paths;
        double least = INFINITY;
        for (size_t i = 0; i < o->n_paths; i++) {
            const double weight = o->weights != NULL ? o->weights[i] : 1.0;
            const double behind = ((double)files[i].n_chosen + 0.5) / weight;
            if (files[i].n_chosen < files[i].n_windows && behind < least) {
                least = behind;
                next = i;
            }
        }
        if (next == o->n_paths) {
            break;
        }
        files[next].n_chosen++;
        dealt++;
    }
    return dealt;
}

typedef struct draw {
    uint64_t key;
    int64_t window;
} draw;

static int compare_keys(const void *a, const void *b) {
    const draw *x = a, *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return (x->window > y->window) - (x->window < y->window);
}

static int compare_windows(const void *a, const void *b) {
    const draw *x = a, *y = b;
    return (x->window > y->window) - (x->window < y->window);
}

/* Copies the windows with the smallest random keys to dst, in the order of the text. */
static opt_status choose(opt_ctx *ctx, const corpus_file *f, size_t index, uint64_t seed,
                         int64_t n_ctx, int32_t *dst) {
    char object[32];
    draw *draws = opt_alloc_array(ctx, (size_t)f->n_windows, sizeof *draws);
    if (draws == NULL) {
        return OPT_ERR_MEMORY;
    }
    snprintf(object, sizeof object, "file %zu", index);
    const uint64_t key = opt_rng_key(seed, object, "calibration");
    for (int64_t w = 0; w < f->n_windows; w++) {
        draws[w] = (draw){opt_rng_u64(key, (uint64_t)w), w};
    }
    qsort(draws, (size_t)f->n_windows, sizeof *draws, compare_keys);
    qsort(draws, (size_t)f->n_chosen, sizeof *draws, compare_windows);
    for (int64_t i = 0; i < f->n_chosen; i++) {
        memcpy(dst + i * n_ctx, f->tokens.ids + draws[i].window * n_ctx,
               (size_t)n_ctx * sizeof *dst);
    }
    opt_free(ctx, draws);
    return OPT_OK;
}

opt_status opt_corpus_read(opt_ctx *ctx, const opt_tokenizer *t, const opt_corpus_options *options,
                           opt_corpus *out) {
    opt_status st = OPT_OK;
    const int64_t n_ctx = options->n_ctx;
    const size_t n_paths = options->n_paths;
    opt_corpus c = {.n_ctx = n_ctx};
    int64_t at = 0, total = 0;
    corpus_file *files = opt_alloc_zero(ctx, n_paths * sizeof *files);
    OPT_TRY_PTR(files);
    for (size_t i = 0; i < n_paths; i++) {
        OPT_TRY(read_file(ctx, t, options->paths[i], n_ctx, &files[i]));
    }
    c.n_windows = deal(files, options);
    OPT_REQUIRE(c.n_windows > 0, ctx, OPT_ERR_INPUT, n_paths > 0 ? options->paths[0] : NULL,
                "the calibration text gives no window of %" PRId64 " tokens", n_ctx);
    if (c.n_windows < options->n_windows) {
        opt_warn(ctx, NULL,
                 "the calibration text gives %" PRId64 " windows of %" PRId64 " tokens, %" PRId64
                 " were asked for",
                 c.n_windows, n_ctx, options->n_windows);
    }
    OPT_REQUIRE(opt_mul_i64(c.n_windows, n_ctx, &total), ctx, OPT_ERR_MEMORY, NULL,
                "too many calibration tokens");
    OPT_TRY_PTR(c.tokens = opt_alloc_array(ctx, (size_t)total, sizeof *c.tokens));
    for (size_t i = 0; i < n_paths; i++) {
        OPT_TRY(choose(ctx, &files[i], i, options->seed, n_ctx, c.tokens + at * n_ctx));
        at += files[i].n_chosen;
    }
    for (int64_t w = 0; opt_tokenizer_adds_bos(t) && w < c.n_windows; w++) {
        c.tokens[w * n_ctx] = opt_tokenizer_bos(t);
    }
    *out = c;
    c.tokens = NULL;
done:
    for (size_t i = 0; files != NULL && i < n_paths; i++) {
        opt_tokens_free(ctx, &files[i].tokens);
    }
    opt_free(ctx, files);
    opt_corpus_free(ctx, &c);
    return st;
}

void opt_corpus_free(opt_ctx *ctx, opt_corpus *c) {
    opt_free(ctx, c->tokens);
    *c = (opt_corpus){0};
}
