/*
 * Tokenizers as GGUF files of others carry them. The first byte chooses the model and the splitting
 * rule; lines follow: a token each (type digit, score byte, text), an empty line, merges, an empty
 * line, then the text to split.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "io/kv.h"
#include "text/tokenizer.h"

enum { TEXT_MAX = 512, LINES_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds) {
    if (!holds) {
        abort();
    }
}

/** Takes the next line; false at the end of the input. */
static bool next_line(const char **at, const char *end, opt_kv_str *line) {
    if (*at >= end) {
        return false;
    }
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    stop = stop != NULL ? stop : end;
    *line = (opt_kv_str){*at, (size_t)(stop - *at)};
    *at = stop < end ? stop + 1 : end;
    return true;
}

static void set_keys(opt_kv *kv, uint8_t choice, const char **at, const char *end) {
    static const char *const pres[] = {"gpt-2",   "llama-bpe",   "qwen2",  "smollm",
                                       "default", "deepseek-v3", "falcon", "bloom"};
    opt_kv_str lines[LINES_MAX];
    float scores[LINES_MAX];
    int32_t types[LINES_MAX];
    opt_kv_str line;
    size_t n = 0;
    while (n < LINES_MAX && next_line(at, end, &line) && line.len >= 2) {
        types[n] = line.data[0] - '0';
        scores[n] = (float)(signed char)line.data[1];
        lines[n++] = (opt_kv_str){line.data + 2, line.len - 2};
    }
    demand(opt_kv_set_str(kv, "tokenizer.ggml.model", choice & 1 ? "llama" : "gpt2") == OPT_OK);
    demand(opt_kv_set_str(kv, "tokenizer.ggml.pre", pres[choice >> 1 & 7]) == OPT_OK);
    demand(opt_kv_set_str_array(kv, "tokenizer.ggml.tokens", lines, n) == OPT_OK);
    demand(opt_kv_set_array(kv, "tokenizer.ggml.scores", OPT_KV_F32, scores, n) == OPT_OK);
    demand(opt_kv_set_array(kv, "tokenizer.ggml.token_type", OPT_KV_I32, types, n) == OPT_OK);
    demand(opt_kv_set_bool(kv, "tokenizer.ggml.add_space_prefix", (choice & 0x80) == 0) == OPT_OK);
    n = 0;
    while (n < LINES_MAX && next_line(at, end, &line) && line.len > 0) {
        lines[n++] = line;
    }
    demand(opt_kv_set_str_array(kv, "tokenizer.ggml.merges", lines, n) == OPT_OK);
}

/** A tokenizer that is written and read again gives the same ids. */
static void check_again(opt_ctx *ctx, const opt_tokenizer *t, const char *text, size_t n,
                        const opt_tokens *ids) {
    opt_kv *kv = NULL;
    opt_tokenizer *again = NULL;
    opt_tokens other = {0};
    demand(opt_kv_new(ctx, &kv) == OPT_OK);
    demand(opt_tokenizer_to_kv(ctx, t, 0, kv) == OPT_OK);
    demand(opt_tokenizer_from_kv(ctx, kv, 0, &again) == OPT_OK);
    demand(opt_tokenizer_encode(ctx, again, text, n, OPT_ENCODE_PARSE_SPECIAL, &other) == OPT_OK);
    demand(other.n == ids->n &&
           (ids->n == 0 || memcmp(other.ids, ids->ids, ids->n * sizeof *ids->ids) == 0));
    opt_tokens_free(ctx, &other);
    opt_tokenizer_free(again);
    opt_kv_free(kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *ctx = NULL;
    opt_kv *kv = NULL;
    opt_tokenizer *t = NULL;
    opt_tokens ids = {0};
    opt_str back = {0};
    const opt_ctx_options options = {.n_threads = 1, .max_memory = 256U << 20};
    if (size == 0) {
        return 0;
    }
    const char *at = (const char *)data + 1;
    const char *end = (const char *)data + size;
    demand(opt_ctx_new(&options, &ctx) == OPT_OK);
    demand(opt_kv_new(ctx, &kv) == OPT_OK);
    set_keys(kv, data[0], &at, end);
    const size_t n = (size_t)(end - at) < TEXT_MAX ? (size_t)(end - at) : TEXT_MAX;
    if (opt_tokenizer_from_kv(ctx, kv, 0, &t) == OPT_OK) {
        demand(opt_tokenizer_encode(ctx, t, at, n, OPT_ENCODE_PARSE_SPECIAL, &ids) == OPT_OK);
        demand(opt_tokenizer_decode(ctx, t, ids.ids, ids.n, false, &back) == OPT_OK);
        demand(opt_utf8_valid(back.data, back.len));
        check_again(ctx, t, at, n, &ids);
    }
    opt_str_free(ctx, &back);
    opt_tokens_free(ctx, &ids);
    opt_tokenizer_free(t);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
    return 0;
}
