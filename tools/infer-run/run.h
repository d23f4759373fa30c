/** What the commands of infer-run share: settings, option rows, opening models, printing what a
 * model writes. */
#ifndef OPT_TOOLS_INFER_RUN_H
#define OPT_TOOLS_INFER_RUN_H

#include "common/cli.h"
#include "common/term.h"

#define MAX_GATES 4

/** Settings of all commands; each uses some of them. */
typedef struct settings {
    cli_common common;
    int compute, reference_compute, kv_type, bos, convention;
    int64_t n_ctx;
    const char *text_path, *prompt;
    int64_t n_windows, max_tokens, seed, top_k, repeat_window;
    double temp, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    cli_list bias;
    bool lookup, force;
    const char *output;
    int64_t n_parallel;
    bool ctx_shift;
    int64_t ctx_keep;
    const char *prefix_dir;
    uint64_t prefix_bytes, prefix_memory;
    bool prefix_strict;
    opt_batch_result batch;
    const char *draft, *chat_template, *system;
    cli_list stops;
    bool ignore_eos, special, echo, verify;
    int64_t n_prompt, n_gen, n_repeats, depth;
    cli_ints depths, batches, threads;
    double max_ppl, max_kld, max_ppl_ratio, min_top1;
    /* what a run leaves behind */
    opt_runner *runners[2];
    opt_runner *draft_runner;
    opt_logit_bias *bias_values;
    opt_chat *chat;
    opt_chat_turn *turns; /* [n_turns], their texts allocated */
    size_t n_turns, turns_cap;
    char *text;
    char *inspect;
    struct {
        char *data;
        size_t n, cap;
    } generated;
    bool to_terminal;
    bool reader_gone;
    opt_generate_result generate;
    opt_ppl_result ppl;
    opt_compare_result compare;
    opt_bench_result bench;
    opt_profile_result profile;
    opt_gate gates[MAX_GATES];
} settings;

#define ROW(name, letter, kind, arg, help, member, choices, min, max)                              \
    { name, letter, kind, arg, help, offsetof(settings, member), choices, min, max }
#define COMPUTE_ROW                                                                                \
    ROW("compute", 0, CLI_CHOICE, "HOW",                                                           \
        "fast: int8 activations, what is deployed (default); exact: f32 activations", compute,     \
        "fast|exact", 0, 0),                                                                       \
        ROW("kv-type", 0, CLI_CHOICE, "TYPE",                                                      \
            "keys and values of the cache (default: f16, with exact f32)", kv_type,                \
            "auto|f32|f16|int8", 0, 0)
#define TEXT_ROWS                                                                                  \
    ROW("text", 't', CLI_PATH, "FILE", "text to measure on; - is standard input", text_path, NULL, \
        0, 0),                                                                                     \
        ROW("ctx", 0, CLI_INT, "N", "tokens in a window (default 512)", n_ctx, NULL, 2, 1e9),      \
        ROW("windows", 0, CLI_INT, "N", "windows to use (default: all that the text has)",         \
            n_windows, NULL, 1, 1e9),                                                              \
        ROW("convention", 0, CLI_CHOICE, "NAME",                                                   \
            "full: every token but the first is scored (default); llama.cpp: the second half is",  \
            convention, "full|llama.cpp", 0, 0),                                                   \
        BOS_ROW, COMPUTE_ROW
#define BOS_ROW                                                                                    \
    ROW("bos", 0, CLI_CHOICE, "HOW",                                                               \
        "auto: start a text as the tokenizer does (default); none: no beginning-of-text token",    \
        bos, "auto|none", 0, 0)
#define SAMPLING_ROWS                                                                              \
    ROW("temp", 0, CLI_REAL, "T", "temperature; 0 takes the most likely token (default 0)", temp,  \
        NULL, 0, 100),                                                                             \
        ROW("top-k", 0, CLI_INT, "N", "sample from the N most likely tokens (default 0: all)",     \
            top_k, NULL, 0, 1e9),                                                                  \
        ROW("top-p", 0, CLI_REAL, "P", "sample from the likely tokens that make up P (default 1)", \
            top_p, NULL, 0, 1),                                                                    \
        ROW("min-p", 0, CLI_REAL, "P", "leave out tokens below P times the most likely", min_p,    \
            NULL, 0, 1),                                                                           \
        ROW("repeat-penalty", 0, CLI_REAL, "X",                                                    \
            "divide the logits of recent tokens (default 1: off)", repeat_penalty, NULL, 0.01,     \
            100),                                                                                  \
        ROW("repeat-window", 0, CLI_INT, "N", "tokens that count as recent (default 64)",          \
            repeat_window, NULL, 1, 1e9),                                                          \
        ROW("presence-penalty", 0, CLI_REAL, "X", "subtract from the logits of recent tokens",     \
            presence_penalty, NULL, -100, 100),                                                    \
        ROW("frequency-penalty", 0, CLI_REAL, "X", "subtract for each recent occurrence",          \
            frequency_penalty, NULL, -100, 100),                                                   \
        ROW("logit-bias", 0, CLI_LIST, "ID=X",                                                     \
            "add X (-inf: never) to the logit of a token; may be repeated", bias, NULL, 0, 0),     \
        ROW("seed", 0, CLI_INT, "N", "the same seed gives the same text (default 0)", seed, NULL,  \
            0, 0)
#define SPECULATION_ROWS                                                                           \
    ROW("lookup", 0, CLI_FLAG, NULL,                                                               \
        "guess tokens from repetitions, check several at once: same text, sooner", lookup, NULL,   \
        0, 0),                                                                                     \
        ROW("draft", 0, CLI_TEXT, "MODEL", "guess with a smaller model of the same tokenizer",     \
            draft, NULL, 0, 0)
#define SHIFT_ROWS                                                                                 \
    ROW("ctx-shift", 0, CLI_FLAG, NULL,                                                            \
        "when the context is full, leave out the older half and go on (default: end there)",       \
        ctx_shift, NULL, 0, 0),                                                                    \
        ROW("ctx-keep", 0, CLI_INT, "N",                                                           \
            "tokens at the beginning that --ctx-shift keeps (default 4; chat: the system "         \
            "message)",                                                                            \
            ctx_keep, NULL, 1, 1e9)
#define PREFIX_ROWS                                                                                \
    ROW("prefix-cache", 0, CLI_PATH, "DIR",                                                        \
        "keep what was read, so that a text with the same beginning starts sooner", prefix_dir,    \
        NULL, 0, 0),                                                                               \
        ROW("prefix-cache-size", 0, CLI_BYTES, "SIZE",                                             \
            "files in DIR at most, oldest use goes first (default 1G)", prefix_bytes, NULL, 0, 0), \
        ROW("prefix-memory", 0, CLI_BYTES, "SIZE",                                                 \
            "the same in memory, for the texts of one run (default: none; batch: 64M)",            \
            prefix_memory, NULL, 0, 0),                                                            \
        ROW("prefix-strict", 0, CLI_FLAG, NULL,                                                    \
            "a cache that cannot be read or written is an error, not a warning", prefix_strict,    \
            NULL, 0, 0)
#define HEADING(text)                                                                              \
    { NULL, 0, CLI_FLAG, NULL, text, 0, NULL, 0, 0 }

#define MODEL_HELP "  MODEL                   a GGUF file or a Hugging Face directory\n"

/** Settings before the command line is read, and freeing what a run leaves behind. */
void run_defaults(void *user);
void run_cleanup(cli_job *job, void *user);

/** Opens argument i of the job as runners[i]. */
opt_status run_open(cli_job *job, settings *s, int i, int64_t n_ctx);

/** What run_on_text needs. */
typedef struct stream {
    cli_job *job;
    settings *s;
} stream;

/** Prints text that a model writes, as it comes, and keeps it for the report; `user` is a stream.
 */
opt_status run_on_text(void *user, const char *text, size_t n);

/** Prints text without keeping it; nothing when standard output belongs to the JSON document. */
opt_status run_print(const stream *st, const char *text, size_t n);

/** The options of sampling in the library's form; a usage error for a bias that is none. */
opt_status run_fill_sampling(cli_job *job, settings *s, opt_sampling *o);
/** Those of a full context; a usage error for one without the other. */
opt_status run_fill_shift(cli_job *job, const settings *s, opt_ctx_shift *o);
/** Those of speculation; opens the smaller model. */
opt_status run_fill_speculation(cli_job *job, settings *s, opt_speculation *o);
/** The line about speed that -v adds. */
void run_print_speed(const cli_job *job, const opt_generate_result *g);
/** What the prefix cache did goes into the report, and with -v to standard error. */
void run_report_prefix(cli_job *job, const settings *s);

/** The commands, each with its table of options. */
extern const cli_command run_generate_command, run_chat_command, run_batch_command,
    run_profile_command, run_perplexity_command, run_compare_command, run_inspect_command,
    run_bench_command;

#endif
