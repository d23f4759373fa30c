/** quantize: float checkpoint -> quantized model (GGUF). */
#include <stdio.h>
#include <string.h>

#include "common/cli.h"

typedef struct settings {
    cli_common common;
    cli_output output;
    const char *format, *preset, *method, *mix, *imatrix, *save_imatrix, *formats, *measurements;
    const char *save_measurements;
    uint64_t target_bytes;
    double target_bpw, target_kld;
    cli_list rules, calib, transforms;
    int64_t samples, ctx, seed, refine, round_steps, round_batch;
    unsigned width;
    int calib_compute;
    bool one_pass, fresh, allow_requantize;
    opt_quantize_result result;
} settings;

static const cli_option options[] = {
    {NULL, 0, CLI_FLAG, NULL, "Options", 0, NULL, 0, 0},
    CLI_OUTPUT_ROWS(settings, output),
    {"format", 'f', CLI_TEXT, "NAME", "number format of the weight matrices (default q8_0)",
     offsetof(settings, format), NULL, 0, 0},
    {"preset", 0, CLI_TEXT, "NAME", "a recipe by name, see below", offsetof(settings, preset), NULL,
     0, 0},
    {"target-bytes", 0, CLI_BYTES, "SIZE", "choose formats for a file of at most SIZE bytes",
     offsetof(settings, target_bytes), NULL, 0, 0},
    {"target-bpw", 0, CLI_REAL, "X", "choose them for at most X bits per weight",
     offsetof(settings, target_bpw), NULL, 0.1, 32},
    {"target-kld", 0, CLI_REAL, "X", "the smallest file of a predicted divergence X",
     offsetof(settings, target_kld), NULL, 1e-9, 100},
    {"formats", 0, CLI_TEXT, "LIST", "what a target may choose (default stock types)",
     offsetof(settings, formats), NULL, 0, 0},
    {"save-measurements", 0, CLI_TEXT, "FILE", "keep what a target has measured",
     offsetof(settings, save_measurements), NULL, 0, 0},
    {"measurements", 0, CLI_TEXT, "FILE", "use it for another target",
     offsetof(settings, measurements), NULL, 0, 0},
    {"method", 'm', CLI_TEXT, "NAME", "rtn, gptq, gptaq, hqq (default rtn, a target: gptaq)",
     offsetof(settings, method), NULL, 0, 0},
    {"transform", 't', CLI_LIST, "LIST", "rewrites of the weights before that; awq, ...",
     offsetof(settings, transforms), NULL, 0, 0},
    {"calib", 0, CLI_LIST, "FILE", "calibration text, plain or .jsonl; may be repeated",
     offsetof(settings, calib), NULL, 0, 0},
    {"mix", 0, CLI_TEXT, "LIST", "shares of the files in order, such as 2,1,1",
     offsetof(settings, mix), NULL, 0, 0},
    {"samples", 0, CLI_INT, "N", "windows of calibration text (default 128)",
     offsetof(settings, samples), NULL, 1, 1000000},
    {"ctx", 0, CLI_INT, "N", "tokens of a window (default 512)", offsetof(settings, ctx), NULL, 2,
     1000000},
    {"seed", 0, CLI_INT, "N", "which windows of the text are taken (default 0)",
     offsetof(settings, seed), NULL, 0, 0},
    {"calib-compute", 0, CLI_CHOICE, NULL,
     "calibration runs in 16-bit integers with scales, in f32, or in bf16 for AMX (default i16)",
     offsetof(settings, calib_compute), "i16|f32|bf16", 0, 0},
    {"imatrix", 0, CLI_TEXT, "FILE", "importance of columns from llama-imatrix (GGUF)",
     offsetof(settings, imatrix), NULL, 0, 0},
    {"save-imatrix", 0, CLI_TEXT, "FILE", "write the importance seen in calibration",
     offsetof(settings, save_imatrix), NULL, 0, 0},
    {"one-pass", 0, CLI_FLAG, NULL, "statistics of the float model: faster, a little worse",
     offsetof(settings, one_pass), NULL, 0, 0},
    {"fresh", 0, CLI_FLAG, NULL, "begin anew where an interrupted run left OUT.work",
     offsetof(settings, fresh), NULL, 0, 0},
    {"refine", 0, CLI_INT, "N", "rounds of refinement after gptq (default 3)",
     offsetof(settings, refine), NULL, 0, 100},
    {"round-steps", 0, CLI_INT, "N", "rounding of whole blocks: gradient steps (default 0)",
     offsetof(settings, round_steps), NULL, 0, 100000},
    {"round-batch", 0, CLI_INT, "N", "windows of a step (default 1)",
     offsetof(settings, round_batch), NULL, 1, 4096},
    {"set", 0, CLI_LIST, "RULE", "PATTERN:KEY=VALUE for some tensors; later rules win",
     offsetof(settings, rules), NULL, 0, 0},
    {"width", 0, CLI_SET, "LIST", "if a format does not fit: refuse or pad,own,next",
     offsetof(settings, width), "refuse|pad|own|next", 0, 0},
    {"allow-requantize", 0, CLI_FLAG, NULL, "accept weights that are quantized already",
     offsetof(settings, allow_requantize), NULL, 0, 0},
    CLI_END,
};

static void defaults(void *user) {
    settings *s = user;
    s->samples = 128;
    s->ctx = 512;
    s->refine = 3;
    s->width = OPT_WIDTH_NEXT;
}

/** Prints the formats with their bits per weight, but for the integer groups, whose names say it.
 */
static void print_formats(void) {
    char names[1024] = "";
    size_t n = 0;
    const char *name, *help;
    double bits;
    for (int i = 0; opt_quantize_format(i, &name, &help, &bits) && n < sizeof names - 32; i++) {
        if (strncmp(name, "int", 3) == 0) {
            continue;
        }
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n > 0 ? ", " : "", name);
        if (bits != 16 && bits != 32) { /* those say it themselves */
            n += (size_t)snprintf(names + n, sizeof names - n, " (%.3g)", bits);
        }
    }
    cli_print_wrapped(names, 2, 2);
}

/** Prints the transforms with their parameters and defaults. */
static void print_transforms(void) {
    char text[1024] = "";
    size_t n = 0;
    const char *name, *help, *param, *param_help;
    double fallback;
    for (int i = 0; opt_quantize_transform(i, &name, &help) && n < sizeof text - 64; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? ", " : "", name);
        for (int k = 0; opt_quantize_transform_param(i, k, &param, &param_help, &fallback) &&
                        n < sizeof text - 64;
             k++) {
            n += (size_t)snprintf(text + n, sizeof text - n, ":%s=%g", param, fallback);
        }
    }
    cli_print_wrapped(text, 2, 2);
}

/** Prints the presets: size classes with their help, then the mixtures. */
static void print_presets(void) {
    char names[1024] = "";
    size_t n = 0;
    const char *name, *help;
    double bits;
    for (int i = 0; opt_quantize_preset(i, &name, &help, &bits) && n < sizeof names - 64; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s%s%s%s", n > 0 ? ", " : "", name,
                              help != NULL ? " (" : "", help != NULL ? help : "",
                              help != NULL ? ")" : "");
    }
    cli_print_wrapped(names, 2, 2);
}

static void notes(void) {
    printf("\nTransforms of the float weights, in this order, with their defaults:\n  ");
    print_transforms();
    printf("\nPresets: recipes (they need --calib), then the mixtures of llama.cpp:\n  ");
    print_presets();
    printf("\nFormats (bits per weight); nf4 and what follows is our own, for any width:\n  ");
    print_formats();
    puts("  int{8,4,3,2}_g{32,64,128}, and the same with _zp (a zero point)");
    fputs("\nPATTERN is a tensor name with * and ?, a kind such as ffn_down, or role=linear,\n"
          "embedding, head, norm or bias; KEY is format, width or method. Norms and biases\n"
          "stay f32; an output head, or an embedding that is the head, gets at least q8_0.\n"
          "--width: pad appends zeros to feed-forward widths (the same function), own takes\n"
          "an int format of as many bits, next (the default) the next larger format.\n",
          stdout);
}

static opt_status run(cli_job *job, void *user) {
    settings *s = user;
    if (!cli_has_output(job, &s->output)) {
        return OPT_ERR_USAGE;
    }
    opt_quantize_options o = {0};
    o.input = job->args[0];
    o.output = s->output.path;
    o.format = s->format;
    o.method = s->method;
    o.transforms = s->transforms.items;
    o.n_transforms = s->transforms.n;
    o.preset = s->preset;
    o.target_bytes = s->target_bytes;
    o.target_bpw = s->target_bpw;
    o.target_kld = s->target_kld;
    o.formats = s->formats;
    o.measurements = s->measurements;
    o.save_measurements = s->save_measurements;
    o.calib = s->calib.items;
    o.n_calib = s->calib.n;
    o.calib_mix = s->mix;
    o.calib_compute = (opt_calib_compute)s->calib_compute;
    o.imatrix = s->imatrix;
    o.save_imatrix = s->save_imatrix;
    o.one_pass = s->one_pass;
    o.fresh = s->fresh;
    o.calib_samples = s->samples;
    o.calib_ctx = s->ctx;
    o.seed = (uint64_t)s->seed;
    o.sweeps = (int)s->refine;
    o.block_steps = (int)s->round_steps;
    o.block_batch = (int)s->round_batch;
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
    .summary = "turn a float model into a small one",
    .examples = "  quantize models/SmolLM2 -o smol-q8_0.gguf\n"
                "  quantize models/SmolLM2 -o smol-q4_0.gguf --format q4_0 --dry-run\n"
                "  quantize models/SmolLM2 -o smol.gguf -f q4_0 -m gptq --calib wiki.txt\n"
                "  quantize models/SmolLM2 -o mix.gguf -f int4_g64 --set 'ffn_down:format=q8_0'\n"
                "  quantize models/SmolLM2 -o smol.gguf --target-bytes 90M --calib wiki.txt\n",
    .synopsis = "MODEL -o FILE [options]",
    .args_help = "  MODEL                   a Hugging Face directory or a float GGUF file\n",

    .notes = notes,
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .settings_bytes = sizeof(settings),
    .n_lists = 3,
    .defaults = defaults,
    .run = run,
    .cleanup = cleanup,
    .quiet_hides_text = true,
}};

static const cli_tool tool = {"quantize", "turn a float model into a small one", commands, 1};

int main(int argc, char **argv) { return cli_main(&tool, argc, argv); }
