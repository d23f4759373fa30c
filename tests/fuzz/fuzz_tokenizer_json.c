/*
 * Any bytes as tokenizer.json, and what follows the first 0 byte as a text. A tokenizer that is
 * accepted must give ids of its vocabulary and valid UTF-8, and the same ids after it went through
 * GGUF keys.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "io/kv.h"
#include "text/tokenizer.h"

enum { TEXT_MAX = 512, VOCAB_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_decoding(opt_ctx *ctx, const opt_tokenizer *t, const opt_tokens *ids) {
    opt_str text = {0};
    opt_detok d = {0};
    if (opt_tokenizer_decode(ctx, t, ids->ids, ids->n, false, &text) == OPT_OK) {
        demand(opt_utf8_valid(text.data, text.len));
    }
    text.len = 0;
    bool ok = true;
    for (size_t i = 0; i < ids->n && ok; i++) {
        ok = opt_detok_push(ctx, t, &d, ids->ids[i], true, &text) == OPT_OK &&
             (text.len == 0 || opt_utf8_valid(text.data, text.len));
    }
    demand(!ok || opt_detok_finish(ctx, &d, &text) == OPT_OK);
    opt_str_free(ctx, &text);
}

static void check_through_kv(opt_ctx *ctx, const opt_tokenizer *t, const char *text, size_t n,
                             const opt_tokens *ids) {
    opt_kv *kv = NULL;
    opt_tokenizer *again = NULL;
    opt_tokens other = {0};
    demand(opt_kv_new(ctx, &kv) == OPT_OK);
    if (opt_tokenizer_to_kv(ctx, t, 0, kv) == OPT_OK &&
        opt_tokenizer_from_kv(ctx, kv, 0, &again) == OPT_OK) {
        demand(opt_tokenizer_encode(ctx, again, text, n,
                                    OPT_ENCODE_ADD_SPECIAL | OPT_ENCODE_PARSE_SPECIAL,
                                    &other) == OPT_OK);
        demand(other.n == ids->n &&
               (ids->n == 0 || memcmp(other.ids, ids->ids, ids->n * sizeof *ids->ids) == 0));
    }
    opt_tokens_free(ctx, &other);
    opt_tokenizer_free(again);
    opt_kv_free(kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *ctx = NULL;
    opt_buf *json = NULL;
    opt_tokenizer *t = NULL;
    opt_tokens ids = {0};
    const opt_ctx_options options = {.n_threads = 1, .max_memory = 256U << 20};
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t n_json = end != NULL ? (size_t)(end - data) : size;
    const char *text = end != NULL ? (const char *)end + 1 : "ab <s> 12";
    size_t n = end != NULL ? size - n_json - 1 : 9;
    n = n < TEXT_MAX ? n : TEXT_MAX;
    demand(opt_ctx_new(&options, &ctx) == OPT_OK);
    demand(opt_buf_new(ctx, n_json, &json) == OPT_OK);
    if (n_json > 0) {
        memcpy(json->data, data, n_json);
    }
    const opt_tokenizer_files files = {.json = json};
    if (opt_tokenizer_from_files(ctx, &files, VOCAB_MAX, &t) == OPT_OK &&
        opt_tokenizer_encode(ctx, t, text, n, OPT_ENCODE_ADD_SPECIAL | OPT_ENCODE_PARSE_SPECIAL,
                             &ids) == OPT_OK) {
        for (size_t i = 0; i < ids.n; i++) {
            size_t len;
            demand(opt_tokenizer_piece(t, ids.ids[i], &len) != NULL);
        }
        check_decoding(ctx, t, &ids);
        check_through_kv(ctx, t, text, n, &ids);
    }
    opt_tokens_free(ctx, &ids);
    opt_tokenizer_free(t);
    opt_buf_release(json);
    opt_ctx_free(ctx);
    return 0;
}
