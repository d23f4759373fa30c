#include "text/gguf_pre.h"

#include <string.h>

/* The patterns are those of the models' own tokenizer.json files. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3                                                                                     \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "                                    \
                 "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2                                                                                      \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN35                                                                                     \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"                                   \
                 "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TEKKEN                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"        \
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define GPT4O                                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|"                                 \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS "?"                                  \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define CJK "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define DEEPSEEK3                                                                                  \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                        \
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"                          \
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
#define BLOOM " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
#define BAILING                                                                                    \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"  \
    "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define SEED                                                                                       \
    CONTRACTIONS "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+"    \
                 "|\\s+(?!\\S)|\\s+"
#define GPT2 OPT_PATTERN_GPT2

/* clang-format off */
/* Of rows with the same rules the first is the one that is written. */
static const opt_gguf_pre rows[] = {
    {"gpt-2", {GPT2}, false, false},
    {"phi-2", {GPT2}, false, false},
    {"mpt", {GPT2}, false, false},
    {"olmo", {GPT2}, false, false},
    {"jais", {GPT2}, false, false},
    {"exaone4", {GPT2}, false, false},
    {"gigachat", {GPT2}, false, false},
    {"a.x-4.0", {GPT2}, false, false},
    {"mellum", {GPT2}, false, false},
    {"modern-bert", {GPT2}, false, false},
    {"trillion", {GPT2}, false, false},
    {"granite-docling", {GPT2}, false, false},
    {"smollm", {"\\p{N}", GPT2}, false, false},
    {"starcoder", {"\\p{N}", GPT2}, false, false},
    {"refact", {"\\p{N}", GPT2}, false, false},
    {"command-r", {"\\p{N}", GPT2}, false, false},
    {"codeshell", {"\\p{N}", GPT2}, false, false},
    {"exaone", {"\\p{N}", GPT2}, false, false},
    {"minerva-7b", {"\\p{N}", GPT2}, false, false},
    {"mellum2", {"\\p{N}", GPT2}, false, false},
    {"llama-bpe", {LLAMA3}, true, true},
    {"llama3", {LLAMA3}, true, true},
    {"llama-v3", {LLAMA3}, true, true},
    {"falcon3", {LLAMA3}, true, true},
    {"falcon-h1", {LLAMA3}, true, true},
    {"pixtral", {LLAMA3}, true, true},
    {"midm-2.0", {LLAMA3}, true, true},
    {"lfm2", {LLAMA3}, true, true},
    {"smaug-bpe", {LLAMA3}, false, false},
    {"dbrx", {LLAMA3}, false, false},
    {"glm4", {LLAMA3}, false, false},
    {"chatglm-bpe", {LLAMA3}, false, false},
    {"qwen2", {QWEN2}, false, false},
    {"deepseek-r1-qwen", {QWEN2}, false, false},
    {"stablelm2", {QWEN2}, false, false},
    {"hunyuan", {QWEN2}, false, false},
    {"megrez", {QWEN2}, false, false},
    {"kormo", {QWEN2}, false, false},
    {"solar-open", {QWEN2}, false, false},
    {"grok-2", {QWEN2}, false, false},
    {"qwen35", {QWEN35}, false, false},
    {"tekken", {TEKKEN}, true, true},
    {"gpt-4o", {GPT4O}, false, false},
    {"llama4", {GPT4O}, false, false},
    {"kanana2", {GPT4O}, false, false},
    {"minimax-m2", {GPT4O}, false, false},
    {"deepseek-v3", {"\\p{N}{1,3}", CJK, DEEPSEEK3}, false, false},
    {"hunyuan-dense", {"\\p{N}{1,3}", CJK, DEEPSEEK3}, false, false},
    {"joyai-llm", {"\\p{N}{1,3}", CJK, DEEPSEEK3}, false, false},
    {"bailingmoe", {BAILING}, false, false},
    {"bailingmoe2", {BAILING}, false, false},
    {"llada-moe", {BAILING}, false, false},
    {"seed-coder", {SEED}, false, false},
    {"bloom", {BLOOM}, false, false},
    {"poro-chat", {BLOOM}, false, false},
    {"gpt3-finnish", {BLOOM}, false, false},
    {"viking", {BLOOM, "\\p{N}"}, false, false},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
};
/* clang-format on */

const opt_gguf_pre *opt_gguf_pre_find(const char *name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/** Whether a step splits by the pattern so that matches and the rest are pieces. */
static bool same_split(const opt_pretok_step *step, const char *pattern, bool alone) {
    if (step->kind != OPT_PRETOK_SPLIT || step->literal || strcmp(step->source, pattern) != 0) {
        return false;
    }
    if (step->behavior == OPT_SPLIT_ISOLATED) {
        return true;
    }
    /* Patterns that stand alone match any text without a gap: removing what lies between changes
     * nothing. */
    return alone && step->behavior == OPT_SPLIT_REMOVED && step->invert &&
           strcmp(pattern, BLOOM) != 0;
}

const opt_gguf_pre *opt_gguf_pre_match(const opt_pipeline *p, bool ignore_merges) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows && p->bytes; i++) {
        size_t n = 0;
        bool same = rows[i].ignore_merges == ignore_merges;
        while (n < OPT_PRE_PATTERNS_MAX && rows[i].patterns[n] != NULL) {
            n++;
        }
        same = same && n == p->n_pre;
        for (size_t k = 0; same && k < n; k++) {
            same = same_split(&p->pre[k], rows[i].patterns[k], n == 1);
        }
        if (same) {
            return &rows[i];
        }
    }
    return NULL;
}

opt_status opt_gguf_pre_apply(opt_ctx *ctx, const opt_gguf_pre *pre, opt_pipeline *p) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < OPT_PRE_PATTERNS_MAX && pre->patterns[i] != NULL; i++) {
        OPT_TRY(opt_pipeline_add_split(ctx, p, pre->name, pre->patterns[i], OPT_SPLIT_ISOLATED));
    }
    OPT_TRY(opt_pipeline_add_pre(ctx, p, &(opt_pretok_step){.kind = OPT_PRETOK_BYTE_CHARS}));
    opt_pipeline_finish(p);
    OPT_TRY(opt_pipeline_add_dec(ctx, p, &(opt_decode_step){.kind = OPT_DECODE_BYTE_LEVEL}));
done:
    return st;
}
