/** infer-run generate. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "infer-run/run.h"

static const cli_option generate_options[] = {
    HEADING("Options"),
    ROW("prompt", 'p', CLI_TEXT, "TEXT", "text to continue; - reads it from standard input", prompt,
        NULL, 0, 0),
    ROW("max-tokens", 0, CLI_INT, "N", "tokens to write at most (default 128)", max_tokens, NULL, 1,
        1e9),
    SAMPLING_ROWS,
    ROW("stop", 0, CLI_LIST, "TEXT", "end before this text; may be repeated", stops, NULL, 0, 0),
    ROW("ignore-eos", 0, CLI_FLAG, NULL, "go on behind the end-of-text token", ignore_eos, NULL, 0,
        0),
    ROW("special", 0, CLI_FLAG, NULL, "control tokens spelled out in the prompt count as such",
        special, NULL, 0, 0),
    ROW("echo", 0, CLI_FLAG, NULL, "print the prompt, too", echo, NULL, 0, 0),
    BOS_ROW,
    ROW("ctx", 0, CLI_INT, "N", "positions to keep at most (default: as many as needed)", n_ctx,
        NULL, 2, 1e9),
    SHIFT_ROWS,
    SPECULATION_ROWS,
    COMPUTE_ROW,
    HEADING("Prefix cache"),
    PREFIX_ROWS,
    CLI_END,
};

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
    opt_status st = run_open(job, s, 0, s->n_ctx);
    if (st != OPT_OK) {
        return st;
    }
    s->to_terminal = isatty(STDOUT_FILENO) == 1;
    stream out = {job, s};
    opt_generate_options o = {0};
    o.prompt = prompt;
    o.prompt_bytes = prompt_bytes;
    o.max_tokens = s->max_tokens;
    st = run_fill_sampling(job, s, &o.sampling);
    if (st == OPT_OK) {
        st = run_fill_shift(job, s, &o.shift);
    }
    if (st == OPT_OK) {
        st = run_fill_speculation(job, s, &o.speculation);
    }
    if (st != OPT_OK) {
        return st;
    }
    o.bos = (opt_bos)s->bos;
    o.parse_special = s->special;
    o.stops = s->stops.items;
    o.n_stops = s->stops.n;
    o.ignore_eos = s->ignore_eos;
    o.on_text = run_on_text;
    o.user = &out;
    if (s->echo && run_print(&out, prompt, prompt_bytes) != OPT_OK) {
        return s->reader_gone ? OPT_OK : OPT_ERR_IO;
    }
    st = opt_generate(job->ctx, s->runners[0], &o, &s->generate);
    job->text_done = true;
    run_report_prefix(job, s);
    if (s->reader_gone) { /* "| head -1": nobody is left to tell */
        return OPT_OK;
    }
    if (st == OPT_OK) {
        st = run_print(&out, "\n", 1);
        if (st != OPT_OK) {
            return s->reader_gone ? OPT_OK : st;
        }
        job->report.generate = &s->generate;
        job->report.prompt_text = prompt;
        job->report.prompt_bytes = prompt_bytes;
        job->report.generated_text = s->generated.data != NULL ? s->generated.data : "";
        job->report.generated_bytes = s->generated.n;
        run_print_speed(job, &s->generate);
        if (strcmp(s->generate.stop_reason, "context") == 0) {
            snprintf(job->error, sizeof job->error,
                     "the context is full after %lld new tokens, --max-tokens asks for more: --ctx "
                     "makes it larger, --ctx-shift goes on without the oldest tokens",
                     (long long)s->generate.n_generated);
            return OPT_ERR_USAGE;
        }
    }
    return st;
}

const cli_command run_generate_command = {
    .name = "generate",
    .summary = "continue a text",
    .examples = "  infer-run generate smol.gguf -p 'Once upon a time' --max-tokens 100\n"
                "  infer-run generate smol.gguf -p - --temp 0.8 --top-p 0.9 --seed 7 < prompt.txt\n"
                "  infer-run generate smol.gguf -p - --prefix-cache prefixes -v < prompt.txt\n",
    .synopsis = "MODEL -p TEXT [options]",
    .args_help = MODEL_HELP,
    .min_args = 1,
    .max_args = 1,
    .options = generate_options,
    .settings_bytes = sizeof(settings),
    .n_lists = 2,
    .defaults = run_defaults,
    .run = run_generate,
    .cleanup = run_cleanup,
};
