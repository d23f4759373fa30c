/** quantize: float checkpoint -> quantized model (GGUF). */
#include <stdio.h>

#include "common/cli.h"

typedef struct settings {
    cli_common common;
    cli_output output;
    const char *format;
    cli_list rules;
    unsigned width;
    bool allow_requantize;
    opt_quantize_result result;
} settings;

static const cli_option options[] = {
    {NULL, 0, CLI_FLAG, NULL, "Options", 0, NULL, 0, 0},
    CLI_OUTPUT_ROWS(settings, output),
    {"format", 'f', CLI_TEXT, "NAME", "number format of the weight matrices (default q8_0)",
     offsetof(settings, format), NULL, 0, 0},
    {"set", 0, CLI_LIST, "PATTERN:KEY=VALUE",
     "rule for the tensors that PATTERN selects; may be repeated, later rules win",
     offsetof(settings, rules), NULL, 0, 0},
    {"width", 0, CLI_SET, "LIST",
     "where a format does not fit a width: refuse, or what is allowed of pad, own and next "
     "(default next)",
     offsetof(settings, width), "refuse|pad|own|next", 0, 0},
    {"allow-requantize", 0, CLI_FLAG, NULL, "accept weights that are quantized already",
     offsetof(settings, allow_requantize), NULL, 0, 0},
    CLI_END,
};

static void defaults(void *user) {
    settings *s = user;
    s->format = "q8_0";
    s->width = OPT_WIDTH_NEXT;
}

static void notes(void) {
    char names[2048];
    size_t n = 0;
    const char *name, *help;
    double bits;
    for (int i = 0; opt_quantize_format(i, &name, &help, &bits) && n < sizeof names - 32; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s (%.3g)", i > 0 ? ", " : "", name,
                              bits);
    }
    printf("\nFormats (bits per weight):\n  ");
    cli_print_wrapped(names, 2, 2);
    printf("\nPatterns are tensor names with * and ?, kinds such as ffn_down, or "
           "role=linear|embedding|head|norm|bias.\n"
           "Keys are format and width. Norms and biases stay f32; an output head, or an embedding "
           "that is also\n"
           "the head, gets q8_0 where the format has fewer bits. --width pad adds zeros to "
           "feed-forward widths\n"
           "(the function stays the same), own takes an integer format of ours (stock readers "
           "cannot run the\n"
           "file then), next takes the next larger stock format; the plan names every tensor "
           "concerned.\n");
}

static opt_status run(cli_job *job, void *user) {
    settings *s = user;
    if (s->output.path == NULL && !s->output.dry_run) {
        return cli_usage(job,
                         "-o FILE is needed: the file to write (or --dry-run for the plan only)");
    }
    opt_quantize_options o = {0};
    o.input = job->args[0];
    o.output = s->output.path;
    o.format = s->format;
    o.rules = s->rules.items;
    o.n_rules = s->rules.n;
    o.width_policy = s->width;
    o.allow_requantize = s->allow_requantize;
    o.force = s->output.force;
    o.dry_run = s->output.dry_run;
    const opt_status st = opt_quantize(job->ctx, &o, &s->result);
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
    .summary = "turn a float model into a small one, round to nearest with a scale search",
    .examples =
        "  quantize models/SmolLM2 -o smol-q8_0.gguf\n"
        "  quantize models/SmolLM2 -o smol-q4_0.gguf --format q4_0 --dry-run\n"
        "  quantize models/SmolLM2 -o smol-mix.gguf -f int4_g64 --set 'ffn_down:format=q8_0'\n",
    .synopsis = "MODEL -o FILE [options]",
    .args_help = "  MODEL                   a Hugging Face directory or a float GGUF file\n"
                 "  FILE                    a GGUF file, for infer-run, pack and (stock formats) "
                 "llama.cpp\n",
    .notes = notes,
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .settings_bytes = sizeof(settings),
    .n_lists = 1,
    .defaults = defaults,
    .run = run,
    .cleanup = cleanup,
    .quiet_hides_text = true,
}};

static const cli_tool tool = {"quantize", "turn a float model into a small one", commands, 1};

int main(int argc, char **argv) { return cli_main(&tool, argc, argv); }
