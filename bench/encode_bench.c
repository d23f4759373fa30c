/*
 * Encoders beside llama.cpp's: squared error, with and without importance, and time.
 *
 *     encode_bench FLOAT.gguf PATTERN [IMATRIX.gguf [libggml-base.so]]
 *
 * Every format that can encode and fits is tried on every matrix whose name contains PATTERN, on
 * one thread. Importance are the mean squared activations of llama-imatrix. The peer is called
 * through ggml_quantize_chunk of its own library. Printed per format: root mean square error over
 * that of the weights (with importance: both weighted by it), the ratio to the peer's on the worst
 * tensor and on all of them, and nanoseconds an element.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#include "io/source.h"
#include "tensor/format.h"

typedef size_t quantize_chunk_fn(int type, const float *src, void *dst, int64_t start,
                                 int64_t n_rows, int64_t n_per_row, const float *imatrix);

static void *alloc(int64_t bytes) {
    void *p = malloc((size_t)bytes);
    if (p == NULL) {
        (void)fprintf(stderr, "encode_bench: out of memory\n");
        exit(5);
    }
    return p;
}

/** A matrix, decoded, and its importance, or NULL. */
typedef struct matrix {
    float *w;
    const float *importance;
    int64_t n_rows, n_cols;
} matrix;

/** sum(g (w - x)^2) */
static double squares(const matrix *m, const float *x, const float *importance) {
    double sum = 0.0;
    for (int64_t i = 0; i < m->n_rows * m->n_cols; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): decoders fill it */
        const double r = (double)m->w[i] - (x != NULL ? (double)x[i] : 0.0);
        sum += (importance != NULL ? (double)importance[i % m->n_cols] : 1.0) * r * r;
    }
    return sum;
}

/** What is added up over tensors, without [0] and with [1] importance. */
typedef struct totals {
    double all[2], ours[2], peer[2], worst[2]; /* squares; worst is a ratio of roots */
    double seconds[2], peer_seconds[2], elements;
} totals;

static void try_format(const opt_format *f, const opt_kern *k, const matrix *m,
                       quantize_chunk_fn *peer, totals *t) {
    const int64_t n = m->n_rows * m->n_cols;
    size_t bytes = 0;
    if (!opt_format_bytes(f, m->n_rows, m->n_cols, &bytes)) {
        return;
    }
    void *stored = alloc((int64_t)bytes);
    float *x = alloc(n * (int64_t)sizeof *x);
    t->elements += (double)n;
    for (int i = 0; i < (m->importance != NULL ? 2 : 1); i++) {
        const float *importance = i == 1 ? m->importance : NULL;
        double start = opt_seconds();
        opt_format_encode_rows(f, k, m->w, importance, stored, m->n_rows, m->n_cols);
        t->seconds[i] += opt_seconds() - start;
        for (int64_t r = 0; r < m->n_rows; r++) {
            f->decode(f, k, (uint8_t *)stored + bytes / (size_t)m->n_rows * (size_t)r,
                      x + r * m->n_cols, m->n_cols);
        }
        const double ours = squares(m, x, importance);
        t->all[i] += squares(m, NULL, importance);
        t->ours[i] += ours;
        if (peer == NULL || f->ggml_type < 0) {
            continue;
        }
        start = opt_seconds();
        (void)peer(f->ggml_type, m->w, stored, 0, m->n_rows, m->n_cols, importance);
        t->peer_seconds[i] += opt_seconds() - start;
        f->decode(f, k, stored, x, n);
        const double theirs = squares(m, x, importance);
        t->peer[i] += theirs;
        t->worst[i] = fmax(t->worst[i], sqrt(ours / theirs));
    }
    free(stored);
    free(x);
}

static void print_half(const totals *t, int i) {
    printf("  %9.6f", sqrt(t->ours[i] / t->all[i]));
    if (t->peer[i] > 0) {
        printf(" %6.3f %6.3f", t->worst[i], sqrt(t->ours[i] / t->peer[i]));
    } else {
        printf(" %6s %6s", "", "");
    }
    printf(" %6.2f", t->seconds[i] / t->elements * 1e9);
    if (t->peer[i] > 0) {
        printf(" %7.1f", t->peer_seconds[i] / t->elements * 1e9);
    } else {
        printf(" %7s", "");
    }
}

static bool find_matrix(opt_ctx *ctx, const opt_source *s, const opt_source *imatrix, int64_t i,
                        const char *pattern, matrix *m) {
    const opt_tensor *t = opt_source_tensor(s, i);
    char name[256];
    if (strstr(t->name, pattern) == NULL || t->n_dims != 2) {
        return false;
    }
    *m = (matrix){.n_rows = t->dims[0], .n_cols = t->dims[1]};
    m->w = alloc(m->n_rows * m->n_cols * (int64_t)sizeof(float));
    opt_tensor_decode_rows(t, opt_kern_get(ctx), 0, m->n_rows, m->w);
    (void)snprintf(name, sizeof name, "%s.in_sum2", t->name);
    const opt_tensor *sums = imatrix != NULL ? opt_source_find(imatrix, name) : NULL;
    if (sums != NULL && sums->bytes == (size_t)m->n_cols * sizeof(float)) {
        m->importance = (const float *)(const void *)sums->data;
    }
    return true;
}

int main(int argc, char **argv) {
    opt_ctx *ctx = NULL;
    opt_source *source = NULL, *imatrix = NULL;
    if (argc < 3 || opt_ctx_new(NULL, &ctx) != OPT_OK ||
        opt_source_open(ctx, argv[1], &source) != OPT_OK ||
        (argc > 3 && opt_source_open(ctx, argv[3], &imatrix) != OPT_OK)) {
        (void)fprintf(stderr, "usage: encode_bench FLOAT.gguf PATTERN [IMATRIX [libggml-base]]\n");
        return 2;
    }
    void *library = argc > 4 ? dlopen(argv[4], RTLD_NOW) : NULL;
    void *symbol = library != NULL ? dlsym(library, "ggml_quantize_chunk") : NULL;
    quantize_chunk_fn *peer = NULL;
    memcpy(&peer, &symbol, sizeof peer);
    printf("%-13s  %-39s  with importance\n%-13s  %9s %6s %6s %6s %7s   ...\n", "", "plain",
           "format", "error", "worst", "all", "ns", "peer ns");
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        totals t = {.elements = 0};
        for (int64_t j = 0; f->grid != NULL && j < opt_source_n_tensors(source); j++) {
            matrix m;
            if (find_matrix(ctx, source, imatrix, j, argv[2], &m)) {
                try_format(f, opt_kern_get(ctx), &m, peer, &t);
                free(m.w);
            }
        }
        if (t.elements > 0) {
            printf("%-13s", f->name);
            print_half(&t, 0);
            if (t.all[1] > 0) {
                print_half(&t, 1);
            }
            (void)puts("");
            (void)fflush(stdout);
        }
    }
    opt_source_close(source);
    opt_source_close(imatrix);
    opt_ctx_free(ctx);
    return 0;
}
