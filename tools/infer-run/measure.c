/** infer-run perplexity, compare, inspect and bench. */
#include <math.h>
#include <string.h>

#include "infer-run/run.h"

static const cli_option perplexity_options[] = {
    HEADING("Options"),
    TEXT_ROWS,
    ROW("max-ppl", 0, CLI_REAL, "X",
        "gate on 100 scored tokens or more: exit 1 unless the perplexity is surely below X",
        max_ppl, NULL, 0, 1e30),
    CLI_END,
};

static const cli_option compare_options[] = {
    HEADING("Options"),
    TEXT_ROWS,
    ROW("reference-compute", 0, CLI_CHOICE, "HOW",
        "the same for REFERENCE (default: as MODEL); the file itself, exact, shows what fast costs",
        reference_compute, "as-model|fast|exact", 0, 0),
    HEADING("Gates, on 100 scored tokens or more: exit 1 unless the limit holds with 95 %\n"
            "confidence"),
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
    ROW("depth", 0, CLI_INTS, "N,...",
        "tokens in the cache before those that are written (default 0)", depths, NULL, 0, 1e9),
    ROW("batch", 0, CLI_INTS, "N,...", "also write N texts at once (default 0: not)", batches, NULL,
        0, 64),
    ROW("threads-list", 0, CLI_INTS, "N,...", "numbers of threads to measure with, in place of -j",
        threads, NULL, 1, 1024),
    COMPUTE_ROW,
    CLI_END,
};

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
    o->text_name = strcmp(s->text_path, "-") == 0 ? "standard input" : s->text_path;
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

/** What the gates say about n measured tokens. */
static opt_status gates_status(cli_job *job, int64_t n) {
    if (job->report.n_gates > 0 && n < OPT_GATE_MIN_TOKENS) {
        return cli_usage(job,
                         "gates need at least %d scored tokens, found %lld: use more text or more "
                         "--windows",
                         OPT_GATE_MIN_TOKENS, (long long)n);
    }
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
        st = run_open(job, s, 0, 0);
    }
    if (st == OPT_OK) {
        st = opt_perplexity(job->ctx, s->runners[0], &o, &s->ppl);
    }
    if (st != OPT_OK) {
        return st;
    }
    job->report.perplexity = &s->ppl;
    add_gate(job, s, "max-ppl", s->max_ppl, false, s->ppl.ppl, s->ppl.ppl_low, s->ppl.ppl_high);
    return gates_status(job, s->ppl.n_scored);
}

static opt_status run_compare(cli_job *job, void *user) {
    settings *s = user;
    opt_eval_options o;
    opt_status st = eval_options(job, s, &o);
    const int kv_type = s->kv_type, compute = s->compute;
    for (int i = 0; i < 2 && st == OPT_OK; i++) {
        s->kv_type = i == 0 ? 0 : kv_type; /* of the model; the reference keeps the default */
        s->compute = i == 0 && s->reference_compute > 0 ? s->reference_compute - 1 : compute;
        st = run_open(job, s, i, 0);
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
    add_gate(job, s, "min-top1", s->min_top1, true, c->same_top1.mean, c->same_top1_low,
             c->same_top1_high);
    return gates_status(job, c->n_scored);
}

static opt_status run_inspect(cli_job *job, void *user) {
    settings *s = user;
    const opt_status st = opt_inspect_json(job->ctx, job->args[0], s->verify, &s->inspect);
    job->report.inspect = st == OPT_OK ? s->inspect : NULL;
    return st;
}

static const cli_option profile_options[] = {
    HEADING("Options"),
    ROW("prompt", 0, CLI_INT, "N", "tokens that are read at once (default 512)", n_prompt, NULL, 1,
        1e9),
    ROW("gen", 0, CLI_INT, "N", "tokens that are written one by one (default 32)", n_gen, NULL, 1,
        1e9),
    ROW("depth", 0, CLI_INT, "N", "tokens in the cache before those that are written (default 0)",
        depth, NULL, 0, 1e9),
    COMPUTE_ROW,
    CLI_END,
};

static void profile_defaults(void *user) {
    settings *s = user;
    run_defaults(user);
    s->n_prompt = 0;
    s->n_gen = 0;
}

static opt_status run_profile(cli_job *job, void *user) {
    settings *s = user;
    opt_status st = run_open(job, s, 0, 0);
    if (st == OPT_OK) {
        const opt_profile_options o = {s->n_prompt, s->n_gen, s->depth};
        st = opt_profile(job->ctx, s->runners[0], &o, &s->profile);
    }
    job->report.profile = st == OPT_OK ? &s->profile : NULL;
    return st;
}

_Static_assert(CLI_MAX_INTS == OPT_BENCH_LIST, "every value has room");

static opt_bench_list bench_list(const cli_ints *ints) {
    opt_bench_list list = {.n = ints->n};
    memcpy(list.v, ints->v, sizeof list.v);
    return list;
}

static opt_status run_bench(cli_job *job, void *user) {
    settings *s = user;
    if (s->n_prompt == 0 && s->n_gen == 0) {
        return cli_usage(job, "--prompt 0 and --gen 0 together leave nothing to measure");
    }
    opt_status st = run_open(job, s, 0, 0);
    if (st == OPT_OK) {
        const opt_bench_options o = {s->n_prompt > 0 ? s->n_prompt : -1,
                                     s->n_gen > 0 ? s->n_gen : -1,
                                     s->n_repeats,
                                     bench_list(&s->depths),
                                     bench_list(&s->batches),
                                     bench_list(&s->threads)};
        st = opt_bench(job->ctx, s->runners[0], &o, &s->bench);
    }
    job->report.bench = st == OPT_OK ? &s->bench : NULL;
    return st;
}

const cli_command run_perplexity_command = {
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
    .defaults = run_defaults,
    .run = run_perplexity,
    .cleanup = run_cleanup,
};

const cli_command run_compare_command = {
    .name = "compare",
    .summary = "measure how far a model's predictions are from a reference's",
    .examples = "  infer-run compare models/SmolLM2 smol.gguf --text wiki.txt --windows 20\n"
                "  infer-run compare models/SmolLM2 smol.gguf -t wiki.txt --max-kld 0.03 --json\n"
                "  infer-run compare smol.gguf smol.gguf -t wiki.txt --reference-compute exact\n",
    .synopsis = "REFERENCE MODEL --text FILE [options]",
    .args_help = "  REFERENCE, MODEL        GGUF files or directories, the same vocabulary\n",
    .min_args = 2,
    .max_args = 2,
    .options = compare_options,
    .settings_bytes = sizeof(settings),
    .defaults = run_defaults,
    .run = run_compare,
    .cleanup = run_cleanup,
};

const cli_command run_inspect_command = {
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
    .defaults = run_defaults,
    .run = run_inspect,
    .cleanup = run_cleanup,
};

const cli_command run_bench_command = {
    .name = "bench",
    .summary = "measure the speed of reading and writing tokens",
    .examples = "  infer-run bench smol.gguf -j 2\n"
                "  infer-run bench smol.gguf --prompt 1024 --gen 64 --repeat 5 --json\n"
                "  infer-run bench smol.gguf --threads-list 1,2 --depth 0,512 --batch 2,8\n",
    .synopsis = "MODEL [options]",
    .args_help = MODEL_HELP,
    .min_args = 1,
    .max_args = 1,
    .options = bench_options,
    .settings_bytes = sizeof(settings),
    .defaults = run_defaults,
    .run = run_bench,
    .cleanup = run_cleanup,
};

const cli_command run_profile_command = {
    .name = "profile",
    .summary = "show where the time goes, op by op",
    .examples = "  infer-run profile smol.gguf -j 2\n"
                "  infer-run profile smol.gguf --prompt 128 --gen 16 --depth 64 -v\n",
    .synopsis = "MODEL [options]",
    .args_help = MODEL_HELP,
    .min_args = 1,
    .max_args = 1,
    .options = profile_options,
    .settings_bytes = sizeof(settings),
    .defaults = profile_defaults,
    .run = run_profile,
    .cleanup = run_cleanup,
};
