/** infer-run: generate, perplexity, compare, inspect, bench on a checkpoint directory or a GGUF
 * file. */
#ifndef OPT_INFER_H
#define OPT_INFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opt/ctx.h"
#include "opt/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An opened model with its tokenizer. */
typedef struct opt_runner opt_runner;

/** Where keys and values of tokens that were read are kept for the next text with the same
 * beginning. Zero-initialised: nowhere. */
typedef struct opt_prefix_options {
    const char *dir;       /**< directory, which processes may share; NULL: none */
    uint64_t dir_bytes;    /**< files in it, at most; 0: 1 GiB. Oldest use goes first */
    uint64_t memory_bytes; /**< memory, at most; 0: none */
    bool strict; /**< an entry that cannot be read or written is an error, not a warning */
} opt_prefix_options;

/** What a prefix cache has done so far. */
typedef struct opt_prefix_counts {
    int64_t n_loaded;                  /**< tokens that were there */
    int64_t n_saved, n_removed;        /**< entries written to the directory, and removed from it */
    int64_t n_bad;                     /**< entries that were damaged, or could not be read */
    int64_t n_unsaved;                 /**< entries that could not be written */
    double load_seconds, save_seconds; /**< wall clock */
} opt_prefix_counts;

/** How keys and values are kept. */
typedef enum opt_cache_type {
    OPT_CACHE_AUTO, /**< f16, with exact computation f32 */
    OPT_CACHE_F32,
    OPT_CACHE_F16,
    OPT_CACHE_I8 /**< int8, the key or value of a head at a position with a scale of its own */
} opt_cache_type;

typedef struct opt_runner_options {
    bool exact;    /**< --compute exact: f32 activations */
    int64_t n_ctx; /**< 0: what the job needs */
    opt_cache_type cache;
    opt_prefix_options prefix; /**< of generate, chat and batch */
} opt_runner_options;

OPT_MUST_USE opt_status opt_runner_open(opt_ctx *ctx, const char *path,
                                        const opt_runner_options *options, opt_runner **out);
void opt_runner_close(opt_runner *r);
/** Counts of the prefix cache; NULL if none was asked for or used. */
const opt_prefix_counts *opt_runner_prefix_counts(const opt_runner *r);

/** Whether a BOS token starts a text. */
typedef enum opt_bos { OPT_BOS_AUTO, OPT_BOS_NONE } opt_bos;

/** A value added to the logit of one token. */
typedef struct opt_logit_bias {
    int32_t id;
    float bias; /**< -INFINITY: never chosen */
} opt_logit_bias;

/** Sampling: zero-initialised means greedy. Applied in this order: bias, repetition, presence,
 * frequency, top-k, top-p, min-p, temperature. */
typedef struct opt_sampling {
    double temperature;        /**< 0: greedy */
    int64_t top_k;             /**< 0: off */
    double top_p;              /**< 0 or 1: off */
    double min_p;              /**< 0: off */
    double repetition_penalty; /**< 0 or 1: off; over the last repetition_window tokens */
    int64_t repetition_window; /**< 0: 64 */
    double presence_penalty;   /**< subtracted once for a token of the window */
    double frequency_penalty;  /**< subtracted for each time that a token occurs in it */
    uint64_t seed;
    const opt_logit_bias *bias; /**< [n_bias], borrowed while the run lasts */
    size_t n_bias;
} opt_sampling;

/** Guessing several tokens ahead, which the model checks in one pass: the same tokens, sooner where
 * guesses are right. Zero-initialised: no guesses. */
typedef struct opt_speculation {
    bool lookup; /**< guess what followed the last tokens when they occurred before */
    opt_runner
        *draft; /**< guess with this smaller model of the same tokenizer (borrowed), or NULL */
} opt_speculation;

/** What happens when the context is full. Zero-initialised: the text ends ("context"). */
typedef struct opt_ctx_shift {
    bool on; /**< the oldest half of the text is left out and the rest is read again: what follows
                is what would follow on the shorter text */
    int64_t keep; /**< tokens at the beginning that stay; 0: 4 (Xiao et al. 2024), in a conversation
                     the system message */
} opt_ctx_shift;

typedef struct opt_generate_options {
    const char *prompt;
    size_t prompt_bytes;
    int64_t max_tokens; /**< 0: 128 */
    opt_sampling sampling;
    opt_bos bos;
    bool parse_special;       /**< control tokens in the prompt's text become tokens */
    const char *const *stops; /**< generation ends before the first of these texts */
    size_t n_stops;
    bool ignore_eos;
    opt_ctx_shift shift;
    opt_speculation speculation;
    /** Receives new text (whole characters). A status other than OPT_OK ends the run with it. */
    opt_status (*on_text)(void *user, const char *text, size_t n);
    void *user;
} opt_generate_options;

typedef struct opt_generate_result {
    int64_t n_prompt, n_generated;
    const char *stop_reason; /**< "eos", "stop", "length", "context" (static) */
    double prompt_seconds, generate_seconds;
    int64_t n_read;   /**< prompt tokens that had to be computed: the rest was in a cache */
    int64_t n_passes; /**< through the model for the generated tokens */
    int64_t n_shifts; /**< how often the context was full and half of it left out */
    int64_t n_guessed,
        n_right;            /**< tokens guessed by speculation, and how many of them were right */
    const char *cache_type; /**< how keys and values were kept: "f32", "f16", "int8" (static) */
    uint64_t cache_bytes;   /**< of all of them */
    int32_t *ids;           /**< [n_prompt + n_generated] */
    void *impl;
} opt_generate_result;

OPT_MUST_USE opt_status opt_generate(opt_ctx *ctx, opt_runner *r,
                                     const opt_generate_options *options,
                                     opt_generate_result *result);
void opt_generate_result_free(opt_generate_result *result);

/** A conversation with a model. Its cache is kept from turn to turn. */
typedef struct opt_chat opt_chat;

typedef struct opt_chat_options {
    const char *template_name; /**< such as "chatml"; NULL: the model's own is recognised */
    const char *system;        /**< system message, or NULL: what the template says */
    int64_t max_tokens;        /**< of an answer; 0: 512 */
    opt_sampling sampling;
    opt_ctx_shift shift;
    opt_speculation speculation;
    const char *const *stops; /**< see opt_generate_options */
    size_t n_stops;
    opt_status (*on_text)(void *user, const char *text, size_t n);
    void *user;
} opt_chat_options;

/**
 * Begins a conversation; what the options point to must outlive it, and the runner is its own while
 * it lasts. Errors: USAGE (unknown template name, no template, no place for a system message);
 * UNSUPPORTED: the model's template is not known.
 */
OPT_MUST_USE opt_status opt_chat_new(opt_ctx *ctx, opt_runner *r, const opt_chat_options *options,
                                     opt_chat **out);
/**
 * The user says text[n]; the answer goes to on_text. `result` counts the tokens of the whole
 * conversation as the prompt; free it. Where the conversation outgrows the context, its oldest
 * turns are forgotten (a warning says how many), the system message stays. After an error the turn
 * has not taken place.
 */
OPT_MUST_USE opt_status opt_chat_say(opt_chat *chat, const char *text, size_t n,
                                     opt_generate_result *result);
/** The template in use. */
const char *opt_chat_format_name(const opt_chat *chat);
void opt_chat_free(opt_chat *chat);

/** Many requests at once. */
typedef struct opt_batch_options {
    const char *text; /**< [text_bytes] requests, one JSON object a line: see docs/REPORT.md */
    size_t text_bytes;
    const char *output; /**< file that the rows are appended to; rows of this job that it holds are
                           kept. NULL: on_row gets them */
    bool force;         /**< replace an output that holds something else */
    int64_t n_parallel; /**< sequences at once, at most 64; 0: 8 */
    int64_t max_tokens; /**< where a request does not say; 0: 128 */
    opt_sampling sampling; /**< the same */
    opt_bos bos;
    bool ignore_eos;
    const char *const *stops; /**< see opt_generate_options */
    size_t n_stops;
    opt_status (*on_row)(void *user, const char *row, size_t n); /**< with its line end */
    void *user;
} opt_batch_options;

typedef struct opt_batch_result {
    int64_t n_requests, n_failed; /**< failed: their rows say why */
    int64_t n_resumed;            /**< rows that were there already */
    int64_t n_same;               /**< requests that an earlier one makes, too: computed once */
    int64_t n_prompt_tokens, n_generated, n_steps; /**< computed now; passes through the model */
    double seconds;
} opt_batch_result;

/**
 * Runs the requests; rows come in their order. A request that cannot be run gets a row that says
 * why, and the others are run. A result does not depend on the other requests. After an
 * interruption the same call goes on where the output ends. Errors: USAGE (the output holds other
 * results, or another process writes into it), IO.
 */
OPT_MUST_USE opt_status opt_batch(opt_ctx *ctx, opt_runner *r, const opt_batch_options *options,
                                  opt_batch_result *result);

typedef enum opt_ppl_convention {
    OPT_PPL_FULL,     /**< consecutive windows of ctx tokens, tokens 1 .. ctx-1 of each scored */
    OPT_PPL_LLAMA_CPP /**< the same windows, only tokens ctx/2+1 .. ctx-1 scored; BOS replaces the
                         first token where the tokenizer adds one */
} opt_ppl_convention;

typedef struct opt_eval_options {
    const char *text;
    size_t text_bytes;
    const char *text_name; /**< for messages: the path; NULL: "text" */
    int64_t ctx;           /**< window length; 0: 512 */
    int64_t n_windows;     /**< 0: all */
    opt_ppl_convention convention;
    opt_bos bos;
} opt_eval_options;

typedef struct opt_ppl_result {
    opt_ppl_convention convention;
    int64_t n_text_tokens, n_windows, n_scored, ctx;
    double nll,
        nll_stderr; /**< mean negative log-likelihood (nats) and its standard error over tokens */
    double ppl, ppl_low, ppl_high; /**< 95 % interval */
    double seconds;
} opt_ppl_result;

OPT_MUST_USE opt_status opt_perplexity(opt_ctx *ctx, opt_runner *r, const opt_eval_options *options,
                                       opt_ppl_result *result);

/** A mean with its standard error. */
typedef struct opt_mean {
    double mean, stderr_;
} opt_mean;

typedef struct opt_compare_result {
    opt_ppl_convention convention;
    int64_t n_windows, n_scored, ctx;
    opt_mean kld; /**< KL(reference || model) in nats, per token */
    double kld_median, kld_p90, kld_p95, kld_p99, kld_p999, kld_max;
    opt_mean same_top1; /**< fraction of tokens whose most likely next token agrees */
    double same_top1_low, same_top1_high; /**< its 95 % interval (Wilson 1927) */
    opt_mean delta_p;                     /**< change of the true token's probability */
    double delta_p_rms;
    double ppl_reference, ppl_model;
    opt_mean
        ln_ppl_ratio; /**< mean of the paired difference of log-likelihoods, with paired error */
    double seconds;
} opt_compare_result;

OPT_MUST_USE opt_status opt_compare(opt_ctx *ctx, opt_runner *reference, opt_runner *model,
                                    const opt_eval_options *options, opt_compare_result *result);

/** What the machine can do at best, measured in the same run with the same threads. */
typedef struct opt_probe_result {
    double bandwidth; /**< GB/s of reading memory */
    double peak_i8;   /**< Gop/s of int8 arithmetic from registers; a multiply-add is two */
    uint64_t bytes;   /**< of the buffer that was read */
} opt_probe_result;

#define OPT_BENCH_LIST 8
/** Values that are measured one after the other. */
typedef struct opt_bench_list {
    int64_t v[OPT_BENCH_LIST];
    int n;
} opt_bench_list;

typedef struct opt_bench_options {
    int64_t n_prompt, n_gen; /**< 0: 512, 128; negative: not measured */
    int64_t n_repeats;       /**< 0: 3 */
    opt_bench_list depths;   /**< tokens in the cache before those that are written; none: 0 */
    opt_bench_list batches;  /**< sequences that write at once, measured beside one; 0: not */
    opt_bench_list threads;  /**< none: those of the context */
} opt_bench_options;

typedef enum opt_bench_kind {
    OPT_BENCH_READ,  /**< a prompt at once */
    OPT_BENCH_WRITE, /**< tokens one by one */
    OPT_BENCH_BATCH  /**< tokens of several sequences at once */
} opt_bench_kind;

/** One measurement, and what the machine can do at best with the same threads. */
typedef struct opt_bench_row {
    opt_bench_kind kind;
    int n_threads;
    int64_t n_tokens, depth, n_seqs;
    double tps, tps_min, tps_max; /**< tokens/s of all sequences: median and range over repeats */
    opt_probe_result probe;
    double of_peak;      /**< share of the int8 peak that the linear layers reach */
    double of_bandwidth; /**< share of the bandwidth at which weights are read; 0 for a prompt */
} opt_bench_row;

#define OPT_BENCH_ROWS (OPT_BENCH_LIST * (1 + 2 * OPT_BENCH_LIST))

typedef struct opt_bench_result {
    int64_t n_prompt, n_gen, n_repeats;
    double prompt_tps, prompt_tps_min,
        prompt_tps_max; /**< tokens/s: median and range over the repeats */
    double gen_tps, gen_tps_min, gen_tps_max;
    double gen_bytes_per_token;  /**< weight bytes that one generated token reads */
    double ops_per_token;        /**< of the linear layers; a multiply-add is two */
    double prompt_ops_per_token; /**< where the head counts for the last one only */
    int64_t depth, n_batch;
    double batch_tps, batch_tps_min, batch_tps_max; /**< of all sequences together */
    opt_probe_result probe;
    double prompt_of_peak;   /**< share of the int8 peak that reading the prompt reaches */
    double gen_of_bandwidth; /**< share of the bandwidth at which one sequence reads weights */
    opt_bench_row rows[OPT_BENCH_ROWS]; /**< all; what is above: the first of each kind */
    int n_rows;
} opt_bench_result;

typedef struct opt_profile_options {
    int64_t n_prompt, n_gen; /**< 0: 512, 32 */
    int64_t depth;           /**< tokens in the cache before those that are written */
} opt_profile_options;

/** Time, bytes and operations of what bears one name. */
typedef struct opt_profile_row {
    char name[48];
    int64_t calls;
    double seconds;
    double bytes;      /**< read and written: weights once a pass, activations, the cache */
    double stored;     /**< of these, weights and cache: what has to come from memory */
    double ops;        /**< a multiply-add is two */
    const char *bound; /**< "memory" or "compute": which of the two takes longer at best; "cache":
                          it was faster than memory is, or has nothing to do with it */
    double of_bound;   /**< time that the bound needs by the time that was taken */
} opt_profile_row;

typedef struct opt_profile_phase {
    const char *name;        /**< "read": tokens at once; "write": one by one */
    int64_t n_tokens, depth; /**< tokens, and those in front of them */
    double seconds;          /**< wall clock; the rows leave out what is between the ops */
    opt_profile_row *rows;   /**< [n_rows] by op, in the order of the graph */
    int n_rows;
    opt_profile_row *layers; /**< [n_layers] by block; the last is what is outside of them */
    int n_layers;
} opt_profile_phase;

typedef struct opt_profile_result {
    opt_probe_result probe;
    opt_profile_phase phases[2];
    int n_phases;
    void *impl;
} opt_profile_result;

/** Runs tokens at once and one by one, and measures every op. Free the result. */
OPT_MUST_USE opt_status opt_profile(opt_ctx *ctx, opt_runner *r, const opt_profile_options *options,
                                    opt_profile_result *result);
void opt_profile_result_free(opt_profile_result *result);

OPT_MUST_USE opt_status opt_bench(opt_ctx *ctx, opt_runner *r, const opt_bench_options *options,
                                  opt_bench_result *result);

/** Everything `inspect` shows, as one JSON document (0-terminated); free with opt_text_free. */
OPT_MUST_USE opt_status opt_inspect_json(opt_ctx *ctx, const char *path, bool verify, char **out);

#ifdef __cplusplus
}
#endif
#endif
