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
    opt_text_free(job->ctx, s->text);
    opt_text_free(job->ctx, s->inspect);
    free(s->generated.data);
    opt_runner_close(s->runners[0]);
    opt_runner_close(s->runners[1]);
}

opt_status run_open(cli_job *job, settings *s, int i, int64_t n_ctx) {
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

void run_fill_sampling(const settings *s, opt_sampling *o) {
    o->temperature = s->temp;
    o->top_k = s->top_k;
    o->top_p = s->top_p > 0 ? s->top_p : DBL_MIN; /* 0 would stand for the default: all tokens */
    o->min_p = s->min_p;
    o->repetition_penalty = s->repeat_penalty;
    o->repetition_window = s->repeat_window;
    o->presence_penalty = s->presence_penalty;
    o->seed = (uint64_t)s->seed;
}
