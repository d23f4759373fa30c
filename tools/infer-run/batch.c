/** infer-run batch. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "infer-run/run.h"

static const cli_option batch_options[] = {
    HEADING("Options"),
    ROW("output", 'o', CLI_TEXT, "FILE",
        "file of results; an interrupted run goes on where it ends (default: standard output)",
        output, NULL, 0, 0),
    ROW("force", 0, CLI_FLAG, NULL, "replace an output that holds something else", force, NULL, 0,
        0),
    ROW("parallel", 0, CLI_INT, "N", "requests at once (default 8)", n_parallel, NULL, 1, 64),
    HEADING("Where a request does not say"),
    ROW("max-tokens", 0, CLI_INT, "N", "tokens to write at most (default 128)", max_tokens, NULL, 1,
        1e9),
    SAMPLING_ROWS,
    HEADING("For all requests"),
    ROW("stop", 0, CLI_LIST, "TEXT", "end before this text; may be repeated", stops, NULL, 0, 0),
    ROW("ignore-eos", 0, CLI_FLAG, NULL, "go on behind the end-of-text token", ignore_eos, NULL, 0,
        0),
    BOS_ROW,
    ROW("ctx", 0, CLI_INT, "N", "positions of a request at most", n_ctx, NULL, 2, 1e9),
    COMPUTE_ROW,
    HEADING("Prefix cache"),
    PREFIX_ROWS,
    CLI_END,
};

enum { PREFIX_MEMORY = 64 << 20 };

static void batch_defaults(void *user) {
    settings *s = user;
    run_defaults(user);
    s->prefix_memory = PREFIX_MEMORY;
}

static opt_status on_row(void *user, const char *row, size_t n) {
    const stream *st = user;
    return run_print(st, row, n);
}

static void print_counts(const cli_job *job, const opt_batch_result *b) {
    if (job->common->quiet > 0) {
        return;
    }
    fprintf(stderr,
            "%s: %" PRId64 " requests: %" PRId64 " there already, %" PRId64 " the same as others, "
            "%" PRId64 " failed\n",
            job->tool->name, b->n_requests, b->n_resumed, b->n_same, b->n_failed);
    if (job->common->verbose > 0) {
        fprintf(stderr,
                "%s: read %" PRId64 " and wrote %" PRId64 " tokens in %" PRId64
                " passes (%.1f/s)\n",
                job->tool->name, b->n_prompt_tokens, b->n_generated, b->n_steps,
                b->seconds > 0 ? (double)(b->n_prompt_tokens + b->n_generated) / b->seconds : 0.0);
    }
}

static opt_status run_batch(cli_job *job, void *user) {
    settings *s = user;
    stream out = {job, s};
    opt_batch_options o = {.output = s->output,
                           .force = s->force,
                           .n_parallel = s->n_parallel,
                           .max_tokens = s->max_tokens,
                           .bos = (opt_bos)s->bos,
                           .ignore_eos = s->ignore_eos,
                           .stops = s->stops.items,
                           .n_stops = s->stops.n,
                           .on_row = on_row,
                           .user = &out};
    opt_status st = run_fill_sampling(job, s, &o.sampling);
    if (st == OPT_OK) {
        st = opt_text_read(job->ctx, job->args[1], &s->text, &o.text_bytes);
    }
    if (st == OPT_OK) {
        o.text = s->text;
        st = run_open(job, s, 0, s->n_ctx);
    }
    if (st == OPT_OK) {
        st = opt_batch(job->ctx, s->runners[0], &o, &s->batch);
    }
    job->text_done = true;
    run_report_prefix(job, s);
    if (s->reader_gone) {
        return OPT_OK;
    }
    if (st != OPT_OK) {
        return st;
    }
    job->report.batch = &s->batch;
    job->report.output = s->output;
    print_counts(job, &s->batch);
    if (s->batch.n_failed > 0) {
        snprintf(job->error, sizeof job->error,
                 "%" PRId64 " of %" PRId64 " requests could not be run; their rows say why",
                 s->batch.n_failed, s->batch.n_requests);
        return OPT_ERR_INPUT;
    }
    return OPT_OK;
}

const cli_command run_batch_command = {
    .name = "batch",
    .summary = "run a file of requests, several at once",
    .examples = "  infer-run batch smol.gguf requests.jsonl -o results.jsonl --max-tokens 20\n"
                "  infer-run batch smol.gguf requests.jsonl --temp 0.8 --seed 7 --parallel 4\n",
    .synopsis = "MODEL REQUESTS [options]",
    .args_help = MODEL_HELP
    "  REQUESTS                lines such as {\"id\": 1, \"prompt\": \"Once upon\"};\n"
    "                          - is standard input. Other members: max_tokens, seed,\n"
    "                          temperature, top_k, top_p, min_p, repeat_penalty,\n"
    "                          presence_penalty, frequency_penalty\n",
    .min_args = 2,
    .max_args = 2,
    .options = batch_options,
    .settings_bytes = sizeof(settings),
    .n_lists = 2,
    .defaults = batch_defaults,
    .run = run_batch,
    .cleanup = run_cleanup,
};
