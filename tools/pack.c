/** pack: any model -> the file that is deployed. */
#include <stdio.h>

#include "common/cli.h"

typedef struct settings {
    cli_common common;
    cli_output output;
    const char *to;
    opt_quantize_result result;
} settings;

static const cli_option options[] = {
    {NULL, 0, CLI_FLAG, NULL, "Options", 0, NULL, 0, 0},
    CLI_OUTPUT_ROWS(settings, output),
    {"to", 0, CLI_TEXT, "LAYOUT",
     "native (default), gguf, gguf-f32, gguf-f16 or gguf-bf16: see below", offsetof(settings, to),
     NULL, 0, 0},
    CLI_END,
};

static void defaults(void *user) {
    settings *s = user;
    s->to = "native";
}

static void notes(void) {
    fputs("\nnative stores matrices of q4_0 to q8_0, q2_k to q6_k, iq4_nl, iq4_xs and our own\n"
          "integer groups with their rows 16 together, as infer-run reads them fastest; the\n"
          "results are the same bit for bit, but other readers of GGUF cannot run such a\n"
          "file. gguf undoes that, and copies all else as it is. gguf-f32, gguf-f16 and\n"
          "gguf-bf16 expand all weights, those in our own formats included, to plain floats\n"
          "that any reader of GGUF can load; norms and biases stay f32.\n",
          stdout);
}

static opt_status run(cli_job *job, void *user) {
    settings *s = user;
    if (!cli_has_output(job, &s->output)) {
        return OPT_ERR_USAGE;
    }
    opt_pack_options o = {0};
    o.input = job->args[0];
    o.output = s->output.path;
    o.to = s->to;
    o.force = s->output.force;
    o.dry_run = s->output.dry_run;
    const opt_status st = opt_pack(job->ctx, &o, &s->result);
    job->report.output = s->output.path;
    job->report.dry_run = s->output.dry_run;
    job->report.quantize = st == OPT_OK ? &s->result : NULL;
    return st;
}

static void cleanup(cli_job *job, void *user) {
    settings *s = user;
    if (job->report.quantize != NULL) {
        opt_quantize_result_free(&s->result);
    }
}

static const cli_command commands[] = {{
    .name = NULL,
    .summary = "write the file that is deployed, from any model",
    .examples = "  pack smol-q4_0.gguf -o smol.gguf\n"
                "  pack smol-int4.gguf -o smol-f32.gguf --to gguf-f32\n",
    .synopsis = "MODEL -o FILE [options]",
    .args_help =
        "  MODEL                   a GGUF file, split ones too, or a checkpoint directory\n"
        "  FILE                    a GGUF file\n",
    .notes = notes,
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .settings_bytes = sizeof(settings),
    .defaults = defaults,
    .run = run,
    .cleanup = cleanup,
    .quiet_hides_text = true,
}};

static const cli_tool tool = {"pack", "write the file that is deployed", commands, 1};

int main(int argc, char **argv) { return cli_main(&tool, argc, argv); }
