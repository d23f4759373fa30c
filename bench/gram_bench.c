/*
 * Gram matrices of a float model, and what quantized models do to the outputs of its layers under
 * them: all blocks, inputs as the float model has them.
 *
 *   gram_bench MODEL TEXT SAMPLES CTX [-w DIR] [-f32] [QUANTIZED]...
 *
 * The first SAMPLES windows of CTX tokens are used if the text has no more. With -w, DIR receives
 * tokens.i32 and for every distinct input a file <first node that reads it>.f32: the mean of x x^T,
 * [n, n]. For every quantized model (a directory or GGUF of the same float model) it prints the
 * error of outputs, d H d^T / w H w^T, of every kind of matrix, and the geometric mean over all.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/pool.h"
#include "calib/stream.h"
#include "flow/open.h"
#include "solve/hessian.h"

enum { MAX_MODELS = 8, TILE_ROWS = 64, MAX_KINDS = 16 };

typedef struct kind_sum {
    char name[32];
    double logs[MAX_MODELS];
    int n;
} kind_sum;

typedef struct bench {
    opt_ctx *ctx;
    const opt_kern *kern;
    opt_opened model, other[MAX_MODELS];
    const char *paths[MAX_MODELS];
    int n_other;
    opt_corpus corpus;
    opt_stream *stream;
    const char *dir;
    bool exact;
    bool *wanted;    /* [n_weights] */
    opt_gram *grams; /* [n_nodes] */
    kind_sum kinds[MAX_KINDS];
    int n_kinds;
} bench;

static opt_status write_file(const bench *b, const char *name, const void *data, size_t bytes) {
    opt_status st = OPT_OK;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", b->dir, name);
    FILE *f = fopen(path, "wb");
    OPT_REQUIRE(f != NULL && fwrite(data, 1, bytes, f) == bytes, b->ctx, OPT_ERR_IO, path,
                "cannot be written");
done:
    if (f != NULL && fclose(f) != 0 && st == OPT_OK) {
        st = opt_fail(b->ctx, OPT_ERR_IO, path, "cannot be written");
    }
    return st;
}

/* Energies of one matrix: of its own outputs, and of what another model makes of them. */
typedef struct energy_job {
    const bench *b;
    const opt_hessian *h;
    const opt_weight *w, *q; /* q NULL: of the outputs */
    double *sums;            /* [n_tiles] */
} energy_job;

static opt_status energy_tile(void *user, int64_t tile, int worker) {
    opt_status st = OPT_OK;
    const energy_job *job = user;
    const int64_t n = job->h->n, r0 = tile * TILE_ROWS;
    const int64_t rows = opt_min_i64(TILE_ROWS, job->w->dims[0] - r0);
    float *w = opt_alloc_array(job->b->ctx, (size_t)(3 * rows * n), sizeof *w);
    (void)worker;
    OPT_TRY_PTR(w);
    float *q = w + rows * n, *g = q + rows * n;
    opt_weight_decode_rows(job->w, job->b->kern, r0, rows, w);
    if (job->q != NULL) {
        opt_weight_decode_rows(job->q, job->b->kern, r0, rows, q);
        for (int64_t i = 0; i < rows * n; i++) {
            w[i] -= q[i];
        }
    }
    job->sums[tile] = opt_hessian_energy(job->h, job->b->kern, w, rows, g, NULL);
done:
    opt_free(job->b->ctx, w);
    return st;
}

static opt_status energy(const bench *b, const opt_hessian *h, const opt_weight *w,
                         const opt_weight *q, double *out) {
    opt_status st = OPT_OK;
    const int64_t tiles = opt_ceil_div(w->dims[0], TILE_ROWS);
    energy_job job = {.b = b, .h = h, .w = w, .q = q};
    OPT_TRY_PTR(job.sums = opt_alloc_array(b->ctx, (size_t)tiles, sizeof *job.sums));
    OPT_TRY(opt_parallel_for(b->ctx, tiles, energy_tile, &job));
    *out = 0.0;
    for (int64_t i = 0; i < tiles; i++) {
        *out += job.sums[i];
    }
done:
    opt_free(b->ctx, job.sums);
    return st;
}

static kind_sum *kind_of(bench *b, const char *name) {
    for (int i = 0; i < b->n_kinds; i++) {
        if (strcmp(b->kinds[i].name, name) == 0) {
            return &b->kinds[i];
        }
    }
    kind_sum *k = &b->kinds[b->n_kinds < MAX_KINDS - 1 ? b->n_kinds++ : MAX_KINDS - 1];
    (void)snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

static opt_status compare_weight(bench *b, const opt_hessian *h, int weight) {
    opt_status st = OPT_OK;
    const opt_weight *w = &b->model.model->weights[weight];
    kind_sum *k = kind_of(b, w->kind);
    double own = 0.0;
    OPT_TRY(energy(b, h, w, NULL, &own));
    k->n++;
    for (int i = 0; i < b->n_other; i++) {
        const int at = opt_model_find_weight(b->other[i].model, w->name);
        double error = 0.0;
        OPT_REQUIRE(at >= 0, b->ctx, OPT_ERR_INPUT, b->paths[i], "has no tensor %s", w->name);
        const opt_weight *q = &b->other[i].model->weights[at];
        OPT_REQUIRE(q->dims[0] == w->dims[0] && q->dims[1] == w->dims[1], b->ctx, OPT_ERR_INPUT,
                    b->paths[i], "has another shape of %s", w->name);
        OPT_TRY(energy(b, h, w, q, &error));
        k->logs[i] += log(fmax(error / own, 1e-30));
    }
done:
    return st;
}

static opt_status write_hessian(const bench *b, const char *node, const opt_hessian *h) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s.f32", node);
    return write_file(b, name, h->h, (size_t)h->n * (size_t)h->n * sizeof *h->h);
}

static opt_status run_unit(bench *b, int unit) {
    opt_status st = OPT_OK;
    const opt_model *m = b->model.model;
    opt_hessian *h = NULL;
    OPT_TRY(opt_stream_collect_advance(b->stream, unit, b->wanted, b->grams));
    for (int from = 0; from < m->n_nodes; from++) {
        opt_gram *g = &b->grams[from];
        bool written = false;
        if (g->sum == NULL) {
            continue;
        }
        OPT_TRY(opt_hessian_new(b->ctx, m->nodes[from].name, g->sum, g->n, g->n_tokens, false, &h));
        opt_gram_free(b->ctx, g);
        for (int i = from + 1; i < m->n_nodes; i++) {
            if (m->nodes[i].op != &opt_op_linear || m->nodes[i].in[0] != from ||
                m->nodes[i].unit != unit) {
                continue;
            }
            if (b->dir != NULL && !written) {
                OPT_TRY(write_hessian(b, m->nodes[i].name, h));
                written = true;
            }
            if (b->n_other > 0) {
                OPT_TRY(compare_weight(b, h, m->nodes[i].weights[0]));
            }
        }
        opt_hessian_free(h);
        h = NULL;
    }
done:
    opt_hessian_free(h);
    return st;
}

static void print_errors(const bench *b) {
    for (int i = 0; i < b->n_other; i++) {
        double all = 0.0;
        int n = 0;
        printf("%s:", b->paths[i]);
        for (int k = 0; k < b->n_kinds; k++) {
            printf(" %s %.5f", b->kinds[k].name, exp(b->kinds[k].logs[i] / b->kinds[k].n));
            all += b->kinds[k].logs[i];
            n += b->kinds[k].n;
        }
        printf("; all %d: %.6f\n", n, exp(all / n));
    }
}

static opt_status run(bench *b, const char *model, const char *text, int64_t samples,
                      int64_t n_ctx) {
    opt_status st = OPT_OK;
    const opt_corpus_options corpus = {
        .paths = &text, .n_paths = 1, .n_windows = samples, .n_ctx = n_ctx};
    OPT_TRY_PTR(b->kern = opt_kern_get(b->ctx));
    OPT_TRY(opt_open(b->ctx, model, &b->model));
    for (int i = 0; i < b->n_other; i++) {
        OPT_TRY(opt_open_model(b->ctx, b->paths[i], &b->other[i]));
    }
    const opt_model *m = b->model.model;
    OPT_TRY_PTR(b->wanted = opt_alloc_zero(b->ctx, (size_t)m->n_weights * sizeof *b->wanted));
    OPT_TRY_PTR(b->grams = opt_alloc_zero(b->ctx, (size_t)m->n_nodes * sizeof *b->grams));
    for (int i = 0; i < m->n_weights; i++) {
        b->wanted[i] = m->weights[i].role == OPT_ROLE_LINEAR && m->weights[i].n_dims == 2;
    }
    OPT_TRY(opt_corpus_read(b->ctx, b->model.tokenizer, &corpus, &b->corpus));
    if (b->dir != NULL) {
        OPT_TRY(write_file(b, "tokens.i32", b->corpus.tokens,
                           (size_t)(b->corpus.n_windows * n_ctx) * sizeof *b->corpus.tokens));
    }
    const double begin = opt_seconds();
    OPT_TRY(opt_stream_new(b->ctx, m, &b->corpus, NULL, &b->stream));
    opt_stream_set_compute(b->stream, b->exact ? OPT_COMPUTE_EXACT : OPT_COMPUTE_I16);
    OPT_TRY(opt_stream_advance(b->stream, -1, NULL));
    for (int unit = 0; unit < m->n_units; unit++) {
        OPT_TRY(run_unit(b, unit));
    }
    printf("%lld windows of %lld tokens, %s: %.1f s\n", (long long)b->corpus.n_windows,
           (long long)n_ctx, b->exact ? "f32" : "i16", opt_seconds() - begin);
    print_errors(b);
done:
    return st;
}

static void close_all(bench *b) {
    for (int i = 0; b->grams != NULL && i < b->model.model->n_nodes; i++) {
        opt_gram_free(b->ctx, &b->grams[i]);
    }
    opt_free(b->ctx, b->grams);
    opt_free(b->ctx, b->wanted);
    opt_stream_free(b->stream);
    opt_corpus_free(b->ctx, &b->corpus);
    for (int i = 0; i < b->n_other; i++) {
        opt_opened_close(&b->other[i]);
    }
    opt_opened_close(&b->model);
}

int main(int argc, char **argv) {
    const opt_ctx_options options = {0};
    bench b = {0};
    const long long samples = argc > 4 ? atoll(argv[3]) : 0, n_ctx = argc > 4 ? atoll(argv[4]) : 0;
    bool good = samples > 0 && n_ctx > 0;
    for (int i = 5; good && i < argc; i++) {
        if (strcmp(argv[i], "-w") == 0 && i + 1 < argc) {
            b.dir = argv[++i];
        } else if (strcmp(argv[i], "-f32") == 0) {
            b.exact = true;
        } else if (argv[i][0] != '-' && b.n_other < MAX_MODELS) {
            b.paths[b.n_other++] = argv[i];
        } else {
            good = false;
        }
    }
    if (!good || opt_ctx_new(&options, &b.ctx) != OPT_OK) {
        fprintf(stderr,
                "usage: gram_bench MODEL TEXT SAMPLES CTX [-w DIR] [-f32] [QUANTIZED]...\n");
        return 2;
    }
    const opt_status st = run(&b, argv[1], argv[2], samples, n_ctx);
    if (st != OPT_OK) {
        fprintf(stderr, "%s: %s\n", opt_ctx_error_object(b.ctx), opt_ctx_error_message(b.ctx));
    }
    close_all(&b);
    opt_ctx_free(b.ctx);
    return st == OPT_OK ? 0 : 1;
}
