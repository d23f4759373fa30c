/** infer-run chat. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "infer-run/run.h"

static const cli_option chat_options[] = {
    HEADING("Options"),
    ROW("prompt", 'p', CLI_TEXT, "TEXT",
        "one message, then end; without it each line of standard input is one", prompt, NULL, 0, 0),
    ROW("system", 0, CLI_TEXT, "TEXT", "system message (default: what the template says)", system,
        NULL, 0, 0),
    ROW("chat-template", 0, CLI_TEXT, "NAME",
        "such as chatml, llama-2, llama-3, mistral, gemma, zephyr (default: the model's own)",
        chat_template, NULL, 0, 0),
    ROW("max-tokens", 0, CLI_INT, "N", "tokens of an answer at most (default 512)", max_tokens,
        NULL, 1, 1e9),
    SAMPLING_ROWS,
    ROW("stop", 0, CLI_LIST, "TEXT", "end an answer before this text; may be repeated", stops, NULL,
        0, 0),
    ROW("ctx", 0, CLI_INT, "N", "positions to keep; beyond, old turns are forgotten", n_ctx, NULL,
        2, 1e9),
    SHIFT_ROWS,
    SPECULATION_ROWS,
    COMPUTE_ROW,
    HEADING("Prefix cache"),
    PREFIX_ROWS,
    CLI_END,
};

static opt_status no_memory(cli_job *job) {
    snprintf(job->error, sizeof job->error, "out of memory");
    return OPT_ERR_MEMORY;
}

static char *copy_bytes(const char *text, size_t n) {
    char *copy = malloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = 0;
    }
    return copy;
}

/** Keeps a turn for the report. */
static opt_status keep_turn(cli_job *job, settings *s, const char *text, size_t n,
                            const opt_generate_result *result) {
    if (s->n_turns == s->turns_cap) {
        const size_t cap = 2 * s->turns_cap + 16;
        opt_chat_turn *turns = realloc(s->turns, cap * sizeof *turns);
        if (turns == NULL) {
            return no_memory(job);
        }
        s->turns = turns;
        s->turns_cap = cap;
    }
    opt_chat_turn t = {.user_bytes = n, .answer_bytes = s->generated.n, .result = *result};
    t.user = copy_bytes(text, n);
    t.answer = copy_bytes(s->generated.data != NULL ? s->generated.data : "", s->generated.n);
    if (t.user == NULL || t.answer == NULL) {
        free((char *)(uintptr_t)t.user);
        free((char *)(uintptr_t)t.answer);
        return no_memory(job);
    }
    s->turns[s->n_turns++] = t;
    job->report.turns = s->turns;
    job->report.n_turns = s->n_turns;
    return OPT_OK;
}

/** One message and its answer. */
static opt_status say(cli_job *job, settings *s, const char *text, size_t n) {
    opt_generate_result result = {0};
    s->generated.n = 0;
    opt_status st = opt_chat_say(s->chat, text, n, &result);
    if (st == OPT_OK && !job->json_on_stdout && term_out("\n", 1) == TERM_CLOSED) {
        s->reader_gone = true;
    }
    if (st == OPT_OK) {
        run_print_speed(job, &result);
        if (job->common->json != NULL) {
            st = keep_turn(job, s, text, n, &result);
        }
    }
    opt_generate_result_free(&result);
    return st;
}

/** Turn after turn, as the lines come. */
static opt_status converse(cli_job *job, settings *s) {
    const bool ask = isatty(STDIN_FILENO) == 1 && job->common->quiet == 0;
    char *line = NULL;
    size_t cap = 0;
    opt_status st = OPT_OK;
    while (st == OPT_OK && !s->reader_gone) {
        if (ask) {
            (void)!write(STDERR_FILENO, "> ", 2);
        }
        errno = 0;
        const ssize_t got = getline(&line, &cap, stdin);
        if (got < 0) {
            if (errno == EINTR || errno == 0) {
                st = opt_ctx_check(job->ctx);
            } else {
                snprintf(job->error, sizeof job->error, "standard input: %s", strerror(errno));
                st = OPT_ERR_IO;
            }
            break;
        }
        size_t n = (size_t)got;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        if (n > 0) {
            st = say(job, s, line, n);
        }
    }
    free(line);
    return st;
}

static opt_status open_chat(cli_job *job, settings *s, stream *out) {
    opt_chat_options o = {.template_name = s->chat_template,
                          .system = s->system,
                          .max_tokens = s->max_tokens,
                          .stops = s->stops.items,
                          .n_stops = s->stops.n,
                          .on_text = run_on_text,
                          .user = out};
    opt_status st = run_open(job, s, 0, s->n_ctx);
    if (st == OPT_OK) {
        st = run_fill_sampling(job, s, &o.sampling);
    }
    if (st == OPT_OK) {
        st = run_fill_shift(job, s, &o.shift);
    }
    if (st == OPT_OK) {
        st = run_fill_speculation(job, s, &o.speculation);
    }
    if (st == OPT_OK) {
        st = opt_chat_new(job->ctx, s->runners[0], &o, &s->chat);
    }
    return st;
}

static opt_status run_chat(cli_job *job, void *user) {
    settings *s = user;
    stream out = {job, s};
    s->to_terminal = isatty(STDOUT_FILENO) == 1;
    opt_status st = open_chat(job, s, &out);
    if (st != OPT_OK) {
        return st;
    }
    job->report.chat_template = opt_chat_format_name(s->chat);
    job->text_done = true;
    if (s->prompt == NULL) {
        st = converse(job, s);
    } else {
        const char *text = s->prompt;
        size_t n = strlen(text);
        if (strcmp(text, "-") == 0) {
            st = opt_text_read(job->ctx, "-", &s->text, &n);
            text = s->text;
        }
        if (st == OPT_OK) {
            st = say(job, s, text, n);
        }
    }
    run_report_prefix(job, s);
    return s->reader_gone ? OPT_OK : st;
}

const cli_command run_chat_command = {
    .name = "chat",
    .summary = "talk with a model that was trained for it",
    .examples = "  infer-run chat smol.gguf --chat-template chatml --max-tokens 50 -p 'Hello'\n"
                "  infer-run chat smol.gguf --chat-template chatml --temp 0.7 < prompt.txt\n",
    .synopsis = "MODEL [options]",
    .args_help = MODEL_HELP,
    .min_args = 1,
    .max_args = 1,
    .options = chat_options,
    .settings_bytes = sizeof(settings),
    .n_lists = 2,
    .defaults = run_defaults,
    .run = run_chat,
    .cleanup = run_cleanup,
};
