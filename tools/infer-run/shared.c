#include "infer-run/run.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void run_defaults(void *user) {
    settings *s = user;
    s->top_p = 1;
    s->n_prompt = 512;
    s->n_gen = 128;
    s->repeat_penalty = 1;
    s->max_ppl = s->max_kld = s->max_ppl_ratio = s->min_top1 = NAN;
}

void run_cleanup(cli_job *job, void *user) {
    settings *s = user;
    opt_generate_result_free(&s->generate);
    opt_profile_result_free(&s->profile);
    opt_text_free(job->ctx, s->text);
    opt_text_free(job->ctx, s->inspect);
    free(s->generated.data);
    for (size_t i = 0; i < s->n_turns; i++) {
        free((char *)(uintptr_t)s->turns[i].user);
        free((char *)(uintptr_t)s->turns[i].answer);
    }
    free(s->turns);
    free(s->bias_values);
    opt_chat_free(s->chat);
    opt_runner_close(s->draft_runner);
    opt_runner_close(s->runners[0]);
    opt_runner_close(s->runners[1]);
}

opt_status run_open(cli_job *job, settings *s, int i, int64_t n_ctx) {
    const opt_runner_options o = {.exact = s->compute == 1,
                                  .n_ctx = n_ctx,
                                  .cache = (opt_cache_type)s->kv_type,
                                  .prefix = {.dir = s->prefix_dir,
                                             .dir_bytes = s->prefix_bytes,
                                             .memory_bytes = s->prefix_memory,
                                             .strict = s->prefix_strict}};
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

opt_status run_on_text(void *user, const char *text, size_t n) {
    const stream *st = user;
    if (st->job->common->json != NULL && !keep_text(st->s, text, n)) {
        snprintf(st->job->error, sizeof st->job->error, "out of memory");
        return OPT_ERR_MEMORY;
    }
    return run_print(st, text, n);
}

opt_status run_print(const stream *st, const char *text, size_t n) {
    settings *s = st->s;
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

/** "42=+1.5", "7=-inf". */
static opt_status parse_bias(cli_job *job, const char *text, opt_logit_bias *out) {
    char *end = NULL;
    errno = 0;
    const long id = strtol(text, &end, 10);
    if (end == text || *end != '=' || errno != 0 || id < 0 || id > INT32_MAX) {
        return cli_usage(job, "--logit-bias: '%.100s' is not ID=X, such as 42=-1.5", text);
    }
    const char *value = end + 1;
    const float bias = strtof(value, &end);
    if (end == value || *end != 0 || isnan(bias) || bias == INFINITY) {
        return cli_usage(job, "--logit-bias: '%.100s' is not ID=X, such as 42=-1.5 or 42=-inf",
                         text);
    }
    *out = (opt_logit_bias){(int32_t)id, bias};
    return OPT_OK;
}

opt_status run_fill_sampling(cli_job *job, settings *s, opt_sampling *o) {
    o->temperature = s->temp;
    o->top_k = s->top_k;
    o->top_p = s->top_p > 0 ? s->top_p : DBL_MIN; /* 0 would stand for the default: all tokens */
    o->min_p = s->min_p;
    o->repetition_penalty = s->repeat_penalty;
    o->repetition_window = s->repeat_window;
    o->presence_penalty = s->presence_penalty;
    o->frequency_penalty = s->frequency_penalty;
    o->seed = (uint64_t)s->seed;
    if (s->bias.n == 0) {
        return OPT_OK;
    }
    s->bias_values = calloc(s->bias.n, sizeof *s->bias_values);
    if (s->bias_values == NULL) {
        snprintf(job->error, sizeof job->error, "out of memory");
        return OPT_ERR_MEMORY;
    }
    for (size_t i = 0; i < s->bias.n; i++) {
        const opt_status st = parse_bias(job, s->bias.items[i], &s->bias_values[i]);
        if (st != OPT_OK) {
            return st;
        }
    }
    o->bias = s->bias_values;
    o->n_bias = s->bias.n;
    return OPT_OK;
}

opt_status run_fill_shift(cli_job *job, const settings *s, opt_ctx_shift *o) {
    if (s->ctx_keep > 0 && !s->ctx_shift) {
        return cli_usage(job, "--ctx-keep is of --ctx-shift, which was not given");
    }
    *o = (opt_ctx_shift){s->ctx_shift, s->ctx_keep};
    return OPT_OK;
}

opt_status run_fill_speculation(cli_job *job, settings *s, opt_speculation *o) {
    o->lookup = s->lookup;
    if (s->draft == NULL) {
        return OPT_OK;
    }
    if (s->lookup) {
        return cli_usage(job, "--lookup and --draft are two ways to guess; choose one");
    }
    const opt_runner_options options = {.exact = s->compute == 1};
    const opt_status st = opt_runner_open(job->ctx, s->draft, &options, &s->draft_runner);
    o->draft = s->draft_runner;
    return st;
}

void run_report_prefix(cli_job *job, const settings *s) {
    const opt_prefix_counts *c =
        s->runners[0] != NULL ? opt_runner_prefix_counts(s->runners[0]) : NULL;
    job->report.prefix = c;
    if (c == NULL || job->common->verbose == 0 || job->common->quiet > 0) {
        return;
    }
    fprintf(stderr,
            "%s: prefix cache: %lld tokens were there (%.1f ms), %lld entries written, %lld "
            "removed (%.1f ms), %lld damaged, %lld could not be written\n",
            job->tool->name, (long long)c->n_loaded, 1e3 * c->load_seconds, (long long)c->n_saved,
            (long long)c->n_removed, 1e3 * c->save_seconds, (long long)c->n_bad,
            (long long)c->n_unsaved);
}

void run_print_speed(const cli_job *job, const opt_generate_result *g) {
    if (job->common->verbose == 0 || job->common->quiet > 0) {
        return;
    }
    fprintf(stderr, "%s: read %lld tokens (%.1f/s), wrote %lld (%.1f/s), ended by %s\n",
            job->tool->name, (long long)g->n_prompt,
            g->prompt_seconds > 0 ? (double)g->n_read / g->prompt_seconds : 0.0,
            (long long)g->n_generated,
            g->generate_seconds > 0 ? (double)g->n_generated / g->generate_seconds : 0.0,
            g->stop_reason);
    fprintf(stderr, "%s: keys and values took %.4g MiB in %s\n", job->tool->name,
            (double)g->cache_bytes / 1048576, g->cache_type);
    if (g->n_shifts > 0) {
        fprintf(stderr, "%s: the context was full %lld times\n", job->tool->name,
                (long long)g->n_shifts);
    }
    if (g->n_guessed > 0) {
        fprintf(stderr, "%s: guessed %lld tokens, %lld right (%.0f %%), in %lld passes\n",
                job->tool->name, (long long)g->n_guessed, (long long)g->n_right,
                100 * (double)g->n_right / (double)g->n_guessed, (long long)g->n_passes);
    }
}
