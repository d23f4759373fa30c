/** infer-run: generate, perplexity, compare, inspect and bench on any model. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/term.h"

#define MAX_GATES 4

/** Settings of all commands; each uses some of them. */
typedef struct settings {
    cli_common common;
    int compute, bos, convention;
    int64_t n_ctx;
    const char *text_path, *prompt;
    int64_t n_windows, max_tokens, seed, top_k, repeat_window;
    double temp, top_p, min_p, repeat_penalty, presence_penalty;
    cli_list stops;
    bool ignore_eos, special, echo, verify;
    int64_t n_prompt, n_gen, n_repeats;
    double max_ppl, max_kld, max_ppl_ratio, min_top1;
    /* what a run leaves behind */
    opt_runner *runners[2];
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
    opt_gate gates[MAX_GATES];
} settings;

#define ROW(name, letter, kind, arg, help, member, choices, min, max)                              \
    { name, letter, kind, arg, help, offsetof(settings, member), choices, min, max }
#define COMPUTE_ROW                                                                                \
    ROW("compute", 0, CLI_CHOICE, "HOW",                                                           \
        "fast: int8 activations, what is deployed (default); exact: f32 activations", compute,     \
        "fast|exact", 0, 0)
#define TEXT_ROWS                                                                                  \
    ROW("text", 't', CLI_TEXT, "FILE", "text to measure on; - is standard input", text_path, NULL, \
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
#define HEADING(text)                                                                              \
    { NULL, 0, CLI_FLAG, NULL, text, 0, NULL, 0, 0 }

static const cli_option generate_options[] = {
    HEADING("Options"),
    ROW("prompt", 'p', CLI_TEXT, "TEXT", "text to continue; - reads it from standard input", prompt,
        NULL, 0, 0),
    ROW("max-tokens", 0, CLI_INT, "N", "tokens to write at most (default 128)", max_tokens, NULL, 1,
        1e9),
    ROW("temp", 0, CLI_REAL, "T", "temperature; 0 takes the most likely token (default 0)", temp,
        NULL, 0, 100),
    ROW("top-k", 0, CLI_INT, "N", "sample from the N most likely tokens (default 0: all)", top_k,
        NULL, 0, 1e9),
    ROW("top-p", 0, CLI_REAL, "P", "sample from the likely tokens that make up P (default 1)",
        top_p, NULL, 0, 1),
    ROW("min-p", 0, CLI_REAL, "P", "leave out tokens below P times the most likely (default 0)",
        min_p, NULL, 0, 1),
    ROW("repeat-penalty", 0, CLI_REAL, "X", "divide the logits of recent tokens (default 1: off)",
        repeat_penalty, NULL, 0.01, 100),
    ROW("repeat-window", 0, CLI_INT, "N", "tokens that count as recent (default 64)", repeat_window,
        NULL, 1, 1e9),
    ROW("presence-penalty", 0, CLI_REAL, "X",
        "subtract from the logits of recent tokens (default 0)", presence_penalty, NULL, -100, 100),
    ROW("seed", 0, CLI_INT, "N", "the same seed gives the same text (default 0)", seed, NULL, 0, 0),
    ROW("stop", 0, CLI_LIST, "TEXT", "end before this text; may be repeated", stops, NULL, 0, 0),
    ROW("ignore-eos", 0, CLI_FLAG, NULL, "go on behind the end-of-text token", ignore_eos, NULL, 0,
        0),
    ROW("special", 0, CLI_FLAG, NULL, "control tokens spelled out in the prompt count as such",
        special, NULL, 0, 0),
    ROW("echo", 0, CLI_FLAG, NULL, "print the prompt, too", echo, NULL, 0, 0),
    BOS_ROW,
    ROW("ctx", 0, CLI_INT, "N", "positions to keep at most (default: as many as needed)", n_ctx,
        NULL, 2, 1e9),
    COMPUTE_ROW,
    CLI_END,
};

static const cli_option perplexity_options[] = {
    HEADING("Options"),
    TEXT_ROWS,
    ROW("max-ppl", 0, CLI_REAL, "X", "gate: exit 1 unless the perplexity is surely below X",
        max_ppl, NULL, 0, 1e30),
    CLI_END,
};

static const cli_option compare_options[] = {
    HEADING("Options"),
    TEXT_ROWS,
    HEADING("Gates: exit 1 unless the limit holds with 95 % confidence"),
    ROW("max-kld", 0, CLI_REAL, "X", "mean KL divergence, nats a token", max_kld, NULL, 0, 1e30),
    ROW("max-ppl-ratio", 0, CLI_REAL, "X", "perplexity of MODEL divided by that of REFERENCE",
        max_ppl_ratio, NULL, 0, 1e30),
    ROW("min-top1", 0, CLI_REAL, "X", "share of tokens with the same most likely token, 0 to 1",
        min_top1, NULL, 0, 1),
    CLI_END,
};

static const cli_option inspect_options[] = {
    HEADING("Options"),
    ROW("verify", 0, CLI_FLAG, NULL, "read all tensors and compare the checksums in the file",
        verify, NULL, 0, 0),
    CLI_END,
};

static const cli_option bench_options[] = {
    HEADING("Options"),
    ROW("prompt", 0, CLI_INT, "N", "tokens that are read at once (default 512; 0: not measured)",
        n_prompt, NULL, 0, 1e9),
    ROW("gen", 0, CLI_INT, "N", "tokens that are written one by one (default 128; 0: none)", n_gen,
        NULL, 0, 1e9),
    ROW("repeat", 0, CLI_INT, "N", "measurements of each (default 3)", n_repeats, NULL, 1, 1000),
    COMPUTE_ROW,
    CLI_END,
};

static void defaults(void *user) {
    settings *s = user;
    s->top_p = 1;
    s->n_prompt = 512;
    s->n_gen = 128;
    s->repeat_penalty = 1;
    s->max_ppl = s->max_kld = s->max_ppl_ratio = s->min_top1 = NAN;
}

static void cleanup(cli_job *job, void *user) {
    settings *s = user;
    opt_generate_result_free(&s->generate);
    opt_text_free(job->ctx, s->text);
    opt_text_free(job->ctx, s->inspect);
    free(s->generated.data);
    opt_runner_close(s->runners[0]);
    opt_runner_close(s->runners[1]);
}

static opt_status open_runner(cli_job *job, settings *s, int i, int64_t n_ctx) {
    const opt_runner_options o = {.exact = s->compute == 1, .n_ctx = n_ctx};
    return opt_runner_open(job->ctx, job->args[i], &o, &s->runners[i]);
}

/** Keeps generated text for the report. False: out of memory. */
static bool keep_text(settings *s, const char *text, size_t n) {
    if (s->generated.cap - s->generated.n < n) {
        const size_t cap = 2 * s->generated.cap + n + 1024;
        char *data = realloc(s->generated.data, cap);
        if (data == NULL) {
            return false;
        }
        s->generated.data = data;
        s->generated.cap = cap;
    }
    memcpy(s->generated.data + s->generated.n, text, n);
    s->generated.n += n;
    return true;
}

/** Prints text that a model wrote: as it is into files and pipes, harmless on a terminal. */
static term_write print_generated(const settings *s, const char *text, size_t n) {
    if (!s->to_terminal) {
        return term_out(text, n);
    }
    char safe[4 * 256 + 1];
    while (n > 0) {
        size_t piece = n < 256 ? n : 256;
        if (piece < n && (unsigned char)text[piece - 1] == 0xc2) {
            piece--; /* both bytes of a C1 control character together */
        }
        const term_write w = term_out(safe, term_escape(safe, text, piece));
        if (w != TERM_OK) {
            return w;
        }
        text += piece;
        n -= piece;
    }
    return TERM_OK;
}

typedef struct stream {
    cli_job *job;
    settings *s;
} stream;

static opt_status on_text(void *user, const char *text, size_t n) {
    const stream *st = user;
    settings *s = st->s;
    if (st->job->common->json != NULL && !keep_text(s, text, n)) {
        snprintf(st->job->error, sizeof st->job->error, "out of memory");
        return OPT_ERR_MEMORY;
    }
    if (st->job->json_on_stdout) {
        return OPT_OK;
    }
    const term_write w = print_generated(s, text, n);
    if (w == TERM_CLOSED) {
        s->reader_gone = true;
        return OPT_ERR_IO;
    }
    if (w == TERM_FAILED) {
        snprintf(st->job->error, sizeof st->job->error, "standard output: %s", strerror(errno));
        return OPT_ERR_IO;
    }
    return OPT_OK;
}

static void fill_sampling(const settings *s, opt_sampling *o) {
    o->temperature = s->temp;
    o->top_k = s->top_k;
    o->top_p = s->top_p > 0 ? s->top_p : DBL_MIN; /* 0 would stand for the default: all tokens */
    o->min_p = s->min_p;
    o->repetition_penalty = s->repeat_penalty;
    o->repetition_window = s->repeat_window;
    o->presence_penalty = s->presence_penalty;
    o->seed = (uint64_t)s->seed;
}

/** The line about speed that -v adds. */
static void print_speed(const cli_job *job, const opt_generate_result *g) {
    if (job->common->verbose > 0 && job->common->quiet == 0) {
        fprintf(stderr, "%s: read %lld tokens (%.1f/s), wrote %lld (%.1f/s), ended by %s\n",
                job->tool->name, (long long)g->n_prompt,
                g->prompt_seconds > 0 ? (double)g->n_prompt / g->prompt_seconds : 0.0,
                (long long)g->n_generated,
                g->generate_seconds > 0 ? (double)g->n_generated / g->generate_seconds : 0.0,
                g->stop_reason);
    }
}

static opt_status run_generate(cli_job *job, void *user) {
    settings *s = user;
    const char *prompt = s->prompt != NULL ? s->prompt : "";
    size_t prompt_bytes = strlen(prompt);
    if (strcmp(prompt, "-") == 0) {
        const opt_status st = opt_text_read(job->ctx, "-", &s->text, &prompt_bytes);
        if (st != OPT_OK) {
            return st;
        }
        prompt = s->text;
    }
    opt_status st = open_runner(job, s, 0, s->n_ctx);
    if (st != OPT_OK) {
        return st;
    }
    s->to_terminal = isatty(STDOUT_FILENO) == 1;
    stream out = {job, s};
    opt_generate_options o = {0};
    o.prompt = prompt;
    o.prompt_bytes = prompt_bytes;
    o.max_tokens = s->max_tokens;
    fill_sampling(s, &o.sampling);
    o.bos = (opt_bos)s->bos;
    o.parse_special = s->special;
    o.stops = s->stops.items;
    o.n_stops = s->stops.n;
    o.ignore_eos = s->ignore_eos;
    o.on_text = on_text;
    o.user = &out;
    if (s->echo && on_text(&out, prompt, prompt_bytes) != OPT_OK) {
        return s->reader_gone ? OPT_OK : OPT_ERR_IO;
    }
    st = opt_generate(job->ctx, s->runners[0], &o, &s->generate);
    job->text_done = true;
    if (s->reader_gone) { /* "| head -1": nobody is left to tell */
        return OPT_OK;
    }
    if (st == OPT_OK) {
        if (!job->json_on_stdout) {
            (void)term_out("\n", 1);
        }
        job->report.generate = &s->generate;
        job->report.generated_text = s->generated.data != NULL ? s->generated.data : "";
        job->report.generated_bytes = s->generated.n;
        print_speed(job, &s->generate);
    }
    return st;
}

/** Reads --text and fills the options that perplexity and compare share. */
static opt_status eval_options(cli_job *job, settings *s, opt_eval_options *o) {
    if (s->text_path == NULL) {
        return cli_usage(job,
                         "--text FILE is needed: the text to measure on (- for standard input)");
    }
    size_t bytes = 0;
    const opt_status st = opt_text_read(job->ctx, s->text_path, &s->text, &bytes);
    if (st != OPT_OK) {
        return st;
    }
    *o = (opt_eval_options){0};
    o->text = s->text;
    o->text_bytes = bytes;
    o->ctx = s->n_ctx;
    o->n_windows = s->n_windows;
    o->convention = (opt_ppl_convention)s->convention;
    o->bos = (opt_bos)s->bos;
    return OPT_OK;
}

/** Adds a gate if its limit was given. */
static void add_gate(cli_job *job, settings *s, const char *name, double limit, bool at_least,
                     double value, double low, double high) {
    if (!isnan(limit)) {
        opt_gate_set(&s->gates[job->report.n_gates++], name, limit, at_least, value, low, high);
        job->report.gates = s->gates;
    }
}

static opt_status gates_status(const cli_job *job) {
    for (size_t i = 0; i < job->report.n_gates; i++) {
        if (job->report.gates[i].verdict != OPT_VERDICT_PASS) {
            return OPT_ERR_GATE;
        }
    }
    return OPT_OK;
}

static opt_status run_perplexity(cli_job *job, void *user) {
    settings *s = user;
    opt_eval_options o;
    opt_status st = eval_options(job, s, &o);
    if (st == OPT_OK) {
        st = open_runner(job, s, 0, 0);
    }
    if (st == OPT_OK) {
        st = opt_perplexity(job->ctx, s->runners[0], &o, &s->ppl);
    }
    if (st != OPT_OK) {
        return st;
    }
    job->report.perplexity = &s->ppl;
    add_gate(job, s, "max-ppl", s->max_ppl, false, s->ppl.ppl, s->ppl.ppl_low, s->ppl.ppl_high);
    return gates_status(job);
}

static opt_status run_compare(cli_job *job, void *user) {
    settings *s = user;
    opt_eval_options o;
    opt_status st = eval_options(job, s, &o);
    for (int i = 0; i < 2 && st == OPT_OK; i++) {
        st = open_runner(job, s, i, 0);
    }
    if (st == OPT_OK) {
        st = opt_compare(job->ctx, s->runners[0], s->runners[1], &o, &s->compare);
    }
    if (st != OPT_OK) {
        return st;
    }
    const opt_compare_result *c = &s->compare;
    const double z = 1.959963984540054; /* 95 % of a normal distribution */
    job->report.compare = c;
    add_gate(job, s, "max-kld", s->max_kld, false, c->kld.mean, c->kld.mean - z * c->kld.stderr_,
             c->kld.mean + z * c->kld.stderr_);
    add_gate(job, s, "max-ppl-ratio", s->max_ppl_ratio, false, exp(c->ln_ppl_ratio.mean),
             exp(c->ln_ppl_ratio.mean - z * c->ln_ppl_ratio.stderr_),
             exp(c->ln_ppl_ratio.mean + z * c->ln_ppl_ratio.stderr_));
    add_gate(job, s, "min-top1", s->min_top1, true, c->same_top1.mean,
             c->same_top1.mean - z * c->same_top1.stderr_,
             c->same_top1.mean + z * c->same_top1.stderr_);
    return gates_status(job);
}

static opt_status run_inspect(cli_job *job, void *user) {
    settings *s = user;
    const opt_status st = opt_inspect_json(job->ctx, job->args[0], s->verify, &s->inspect);
    job->report.inspect = st == OPT_OK ? s->inspect : NULL;
    return st;
}

static opt_status run_bench(cli_job *job, void *user) {
    settings *s = user;
    opt_status st = open_runner(job, s, 0, 0);
    if (st == OPT_OK) {
        const opt_bench_options o = {s->n_prompt > 0 ? s->n_prompt : -1,
                                     s->n_gen > 0 ? s->n_gen : -1, s->n_repeats};
        st = opt_bench(job->ctx, s->runners[0], &o, &s->bench);
    }
    job->report.bench = st == OPT_OK ? &s->bench : NULL;
    return st;
}

#define MODEL_HELP "  MODEL                   a GGUF file or a Hugging Face directory\n"

static const cli_command commands[] = {
    {
        .name = "generate",
        .summary = "continue a text",
        .examples =
            "  infer-run generate smol.gguf -p 'Once upon a time' --max-tokens 100\n"
            "  infer-run generate smol.gguf -p - --temp 0.8 --top-p 0.9 --seed 7 < prompt.txt\n",
        .synopsis = "MODEL -p TEXT [options]",
        .args_help = MODEL_HELP,
        .min_args = 1,
        .max_args = 1,
        .options = generate_options,
        .settings_bytes = sizeof(settings),
        .n_lists = 1,
        .defaults = defaults,
        .run = run_generate,
        .cleanup = cleanup,
    },
    {
        .name = "perplexity",
        .summary = "measure how well a model predicts a text",
        .examples = "  infer-run perplexity smol.gguf --text wiki.txt\n"
                    "  infer-run perplexity smol.gguf -t wiki.txt --convention llama.cpp\n",
        .synopsis = "MODEL --text FILE [options]",
        .args_help = MODEL_HELP,
        .min_args = 1,
        .max_args = 1,
        .options = perplexity_options,
        .settings_bytes = sizeof(settings),
        .defaults = defaults,
        .run = run_perplexity,
        .cleanup = cleanup,
    },
    {
        .name = "compare",
        .summary = "measure how far a model's predictions are from a reference's",
        .examples =
            "  infer-run compare models/SmolLM2 smol.gguf --text wiki.txt --windows 20\n"
            "  infer-run compare models/SmolLM2 smol.gguf -t wiki.txt --max-kld 0.03 --json\n",
        .synopsis = "REFERENCE MODEL --text FILE [options]",
        .args_help = "  REFERENCE, MODEL        GGUF files or directories, the same vocabulary\n",
        .min_args = 2,
        .max_args = 2,
        .options = compare_options,
        .settings_bytes = sizeof(settings),
        .defaults = defaults,
        .run = run_compare,
        .cleanup = cleanup,
    },
    {
        .name = "inspect",
        .summary = "show what a model file holds",
        .examples = "  infer-run inspect smol.gguf\n"
                    "  infer-run inspect smol.gguf --verify -v\n",
        .synopsis = "MODEL [options]",
        .args_help = MODEL_HELP,
        .min_args = 1,
        .max_args = 1,
        .options = inspect_options,
        .settings_bytes = sizeof(settings),
        .defaults = defaults,
        .run = run_inspect,
        .cleanup = cleanup,
    },
    {
        .name = "bench",
        .summary = "measure the speed of reading and writing tokens",
        .examples = "  infer-run bench smol.gguf -j 2\n"
                    "  infer-run bench smol.gguf --prompt 1024 --gen 64 --repeat 5 --json\n",
        .synopsis = "MODEL [options]",
        .args_help = MODEL_HELP,
        .min_args = 1,
        .max_args = 1,
        .options = bench_options,
        .settings_bytes = sizeof(settings),
        .defaults = defaults,
        .run = run_bench,
        .cleanup = cleanup,
    },
};

static const cli_tool tool = {"infer-run", "run, measure and compare models", commands,
                              sizeof commands / sizeof commands[0]};

int main(int argc, char **argv) { return cli_main(&tool, argc, argv); }
