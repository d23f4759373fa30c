/*
 * The prefix cache against its floor: the time to the first token behind a prefix that is in the
 * directory, divided by one decode step there plus reading the bytes of the entries. The process is
 * warm, the entries lie in the page cache. Checks that the logits have the bits of a run without.
 *
 *   prefix_bench MODEL DIR [prefix tokens [threads]]        (512, all)
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/source.h"
#include "model/graph.h"
#include "runtime/prefix.h"

enum { N_RUNS = 15, READ_BYTES = 4 << 20 };

typedef struct bench {
    opt_ctx *ctx;
    opt_source *source;
    opt_model *model;
    opt_session *session;
    opt_prefix *prefix;
    int32_t *ids; /* [n + 1] */
    int64_t n;
    float *logits, *expected; /* [n_vocab] */
} bench;

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x) {
    qsort(x, N_RUNS, sizeof *x, by_value);
    return x[N_RUNS / 2];
}

static opt_status keep(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    const bench *b = user;
    (void)row0;
    (void)n_rows;
    memcpy(b->logits, logits, (size_t)b->model->hp.n_vocab * sizeof *logits);
    return OPT_OK;
}

/* Reads all entries of the directory once. */
static double read_files(const char *dir, uint8_t *buffer) {
    const double start = opt_seconds();
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        const int fd =
            strstr(e->d_name, ".kv") != NULL ? openat(dirfd(d), e->d_name, O_RDONLY) : -1;
        while (fd >= 0 && read(fd, buffer, READ_BYTES) > 0) {
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return opt_seconds() - start;
}

static opt_status prepare(bench *b, const char *path, const char *dir) {
    opt_status st = OPT_OK;
    const opt_session_options options = {.n_ctx = b->n + 64};
    const opt_prefix_options prefix = {.dir = dir};
    OPT_TRY(opt_source_open(b->ctx, path, &b->source));
    OPT_TRY(opt_model_open(b->ctx, b->source, &b->model));
    OPT_TRY(opt_session_new(b->ctx, b->model, &options, &b->session));
    OPT_TRY(opt_prefix_new(b->ctx, &prefix, 1, b->session, &b->prefix));
    const int64_t n_vocab = b->model->hp.n_vocab;
    OPT_TRY_PTR(b->ids = opt_alloc_array(b->ctx, (size_t)b->n + 1, sizeof *b->ids));
    OPT_TRY_PTR(b->logits = opt_alloc_array(b->ctx, (size_t)n_vocab, sizeof *b->logits));
    OPT_TRY_PTR(b->expected = opt_alloc_array(b->ctx, (size_t)n_vocab, sizeof *b->expected));
    for (int64_t i = 0; i <= b->n; i++) {
        b->ids[i] = (int32_t)(opt_rng_u64(7, (uint64_t)i) % (uint64_t)n_vocab);
    }
    OPT_TRY(opt_session_eval(b->session, b->ids, b->n, b->n, NULL, NULL));
    OPT_TRY(opt_prefix_save(b->prefix, b->session, 0, b->ids, b->n));
    OPT_TRY(opt_session_eval(b->session, b->ids + b->n, 1, 0, keep, b));
    memcpy(b->expected, b->logits, (size_t)n_vocab * sizeof *b->logits);
done:
    return st;
}

static opt_status measure(bench *b, const char *dir) {
    opt_status st = OPT_OK;
    double hit[N_RUNS], load[N_RUNS], step[N_RUNS], reading[N_RUNS], ratio[N_RUNS];
    uint8_t *buffer = opt_alloc(b->ctx, READ_BYTES);
    OPT_TRY_PTR(buffer);
    for (int i = 0; i < N_RUNS; i++) {
        int64_t n = 0;
        reading[i] = read_files(dir, buffer);
        opt_session_truncate(b->session, 0);
        const double start = opt_seconds();
        OPT_TRY(opt_prefix_load(b->prefix, b->session, 0, b->ids, b->n, &n));
        load[i] = opt_seconds() - start;
        OPT_TRY(opt_session_eval(b->session, b->ids + n, b->n + 1 - n, b->n - n, keep, b));
        hit[i] = opt_seconds() - start;
        OPT_REQUIRE(n == b->n, b->ctx, OPT_ERR_BUG, dir, "%lld tokens were there", (long long)n);
        OPT_REQUIRE(
            memcmp(b->logits, b->expected, (size_t)b->model->hp.n_vocab * sizeof *b->logits) == 0,
            b->ctx, OPT_ERR_BUG, dir, "other logits than without the cache");
        opt_session_truncate(b->session, b->n);
        const double again = opt_seconds();
        OPT_TRY(opt_session_eval(b->session, b->ids + b->n, 1, 0, keep, b));
        step[i] = opt_seconds() - again;
        ratio[i] = hit[i] / (step[i] + reading[i]);
    }
    const double r = median(ratio);
    printf("%lld tokens: load %.2f ms, first token %.2f ms; decode step %.2f ms, reading the files "
           "%.2f ms\nfirst token / (step + reading): %.3f (%.3f..%.3f)\n",
           (long long)b->n, 1e3 * median(load), 1e3 * median(hit), 1e3 * median(step),
           1e3 * median(reading), r, ratio[0], ratio[N_RUNS - 1]);
done:
    opt_free(b->ctx, buffer);
    return st;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: prefix_bench MODEL DIR [prefix tokens [threads]]\n");
        return 2;
    }
    bench b = {.n = argc > 3 ? strtol(argv[3], NULL, 10) : 512};
    const opt_ctx_options options = {.n_threads = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 0};
    opt_status st = opt_ctx_new(&options, &b.ctx);
    if (st == OPT_OK && (b.n < 1 || b.n > 1000000)) {
        st = OPT_ERR_USAGE;
    }
    if (st == OPT_OK) {
        st = prepare(&b, argv[1], argv[2]);
    }
    if (st == OPT_OK) {
        st = measure(&b, argv[2]);
    }
    if (st != OPT_OK && b.ctx != NULL) {
        fprintf(stderr, "%s: %s\n", opt_ctx_error_object(b.ctx), opt_ctx_error_message(b.ctx));
    }
    if (b.ctx != NULL) {
        opt_prefix_free(b.prefix);
        opt_free(b.ctx, b.ids);
        opt_free(b.ctx, b.logits);
        opt_free(b.ctx, b.expected);
        opt_session_free(b.session);
        opt_model_free(b.model);
        opt_source_close(b.source);
    }
    opt_ctx_free(b.ctx);
    return (int)st;
}
