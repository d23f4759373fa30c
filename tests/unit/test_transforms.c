/*
 * Transforms leave the float model's function as it is: every family's checkpoint written in f32
 * with each of them gives the logits of the original. And what they refuse, search and report.
 */
#include <math.h>

#include "golden/golden.h"
#include "support.h"

#include "base/rng.h"
#include "calib/corpus.h"
#include "flow/open.h"
#include "model/wiring.h"
#include "opt/quantize.h"
#include "quant/awq.h"
#include "quant/method.h"
#include "solve/hadamard.h"

enum { N_TOKENS = 40 };

static const char *const models[] = {
    "stories260K",      "families/llama", "families/llama-untied-bias", "families/llama3-scaling",
    "families/mistral", "families/qwen2", "families/qwen2-sliding",     "families/qwen3",
};

static opt_quantize_options options_of(const char *model, const char *output,
                                       const char *const *transforms, size_t n) {
    static const char *const calib[] = {OPT_TESTDATA "/text/tinystories.txt"};
    return (opt_quantize_options){.input = model,
                                  .output = output,
                                  .format = "f32",
                                  .width_policy = OPT_WIDTH_NEXT,
                                  .transforms = transforms,
                                  .n_transforms = n,
                                  .calib = calib,
                                  .n_calib = 1,
                                  .calib_samples = 3,
                                  .calib_ctx = 32,
                                  .force = true};
}

static float *logits_of(const char *path, int64_t *n) {
    int32_t ids[N_TOKENS];
    rig r = rig_open(path, OPT_COMPUTE_EXACT, N_TOKENS, 0, 2);
    for (int i = 0; i < N_TOKENS; i++) {
        ids[i] = (i * 37 + 11) % 300;
    }
    *n = N_TOKENS * rig_n_vocab(&r);
    float *logits = rig_logits(&r, ids, N_TOKENS, N_TOKENS);
    rig_close(&r);
    return logits;
}

/* Largest difference of two models' logits over their root mean square. */
static double difference(const char *a, const char *b) {
    int64_t n, n_b;
    float *x = logits_of(a, &n), *y = logits_of(b, &n_b);
    double worst = 0, sum = 0;
    assert_int_equal(n, n_b);
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)x[i] - (double)y[i]);
        worst = d > worst ? d : worst;
        sum += (double)x[i] * (double)x[i];
    }
    free(x);
    free(y);
    return worst / sqrt(sum / (double)n);
}

static int64_t n_rewritten(const opt_quantize_result *r) {
    int64_t n = 0;
    for (int64_t i = 0; i < r->n_tensors; i++) {
        n += strcmp(r->tensors[i].action, "transformed") == 0;
    }
    return n;
}

/* Bytes of the two files that differ, so that a transform that does nothing is seen. */
static bool same_file(const char *a, const char *b) {
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    assert_non_null(f);
    assert_non_null(g);
    int x, y;
    do {
        x = fgetc(f);
        y = fgetc(g);
    } while (x == y && x != EOF);
    (void)fclose(f);
    (void)fclose(g);
    return x == y;
}

static const char *const preserving[] = {
    "fold-norms",
    "rotate:untie=1",
    "rotate:untie=1:block=8",
    "rotate-heads",
    "awq:alpha=0.5",
    "awq:alpha=0.9:duo=0",
    "smoothquant",
    "smoothquant:alpha=0.8",
    "fold-norms,rotate:untie=1,rotate-heads,smoothquant,awq:alpha=0.5",
};

static void test_transforms__logits_stay(void **state) {
    (void)state;
    char dir[256], plain[300], out[300];
    test_make_dir(dir, sizeof dir);
    (void)snprintf(plain, sizeof plain, "%s/plain.gguf", dir);
    (void)snprintf(out, sizeof out, "%s/out.gguf", dir);
    for (int m = 0; m < COUNT_OF(models); m++) {
        char path[512];
        opt_ctx *ctx = test_ctx(2);
        opt_quantize_result r = {0};
        (void)snprintf(path, sizeof path, OPT_TESTDATA "/%s", models[m]);
        opt_quantize_options o = options_of(path, plain, NULL, 0);
        GOLDEN_OK(ctx, opt_quantize(ctx, &o, &r));
        opt_quantize_result_free(&r);
        for (int t = 0; t < COUNT_OF(preserving); t++) {
            o = options_of(path, out, &preserving[t], 1);
            GOLDEN_OK(ctx, opt_quantize(ctx, &o, &r));
            assert_true(r.n_transforms > 0);
            assert_true(n_rewritten(&r) > 0);
            opt_quantize_result_free(&r);
            const double d = difference(path, out);
            print_message("  %-28s %-50s %.1e\n", models[m], preserving[t], d);
            assert_true(d < 2e-5);
            assert_false(same_file(plain, out));
        }
        opt_ctx_free(ctx);
    }
    test_remove_dir(dir);
}

static void test_transforms__refused(void **state) {
    (void)state;
    static const struct {
        const char *spec, *model, *object, *part;
        opt_status status;
        bool calib;
    } rows[] = {
        {"rotate", "stories260K", "token_embd.weight", "rotate:untie=1", OPT_ERR_UNSUPPORTED, true},
        {"awq", "stories260K", "--transform", "needs calibration text", OPT_ERR_USAGE, false},
        {"roate", "stories260K", "--transform", "did you mean 'rotate'", OPT_ERR_USAGE, true},
        {"", "stories260K", "--transform", "unknown transform ''", OPT_ERR_USAGE, true},
        {"awq,", "stories260K", "--transform", "unknown transform ''", OPT_ERR_USAGE, true},
        {"awq:beta=1", "stories260K", "--transform", "no parameter 'beta'", OPT_ERR_USAGE, true},
        {"awq:alpha", "stories260K", "--transform", "is no KEY=VALUE", OPT_ERR_USAGE, true},
        {"awq:alpha=2", "stories260K", "--transform", "from -1 to 1", OPT_ERR_USAGE, true},
        {"awq:alpha=nan", "stories260K", "--transform", "from -1 to 1", OPT_ERR_USAGE, true},
        {"awq:alpha=0.5x", "stories260K", "--transform", "from -1 to 1", OPT_ERR_USAGE, true},
        {"awq,awq", "stories260K", "--transform", "given twice", OPT_ERR_USAGE, true},
        {"awq,fold-norms", "stories260K", "--transform", "must come before awq", OPT_ERR_USAGE,
         true},
        {"rotate:untie=1:block=5", "stories260K", "rotate", "do not divide", OPT_ERR_USAGE, true},
        {"rotate:block=28", "families/mistral", NULL, NULL, OPT_OK, true},
        {"rotate:block=14", "families/mistral", "rotate", "rotate:block=8", OPT_ERR_UNSUPPORTED,
         true},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char path[512];
        opt_ctx *ctx = test_ctx(1);
        opt_quantize_result r = {0};
        (void)snprintf(path, sizeof path, OPT_TESTDATA "/%s", rows[i].model);
        opt_quantize_options o = options_of(path, NULL, &rows[i].spec, 1);
        o.n_calib = rows[i].calib ? 1 : 0;
        o.dry_run = true;
        assert_int_equal(opt_quantize(ctx, &o, &r), rows[i].status);
        if (rows[i].status != OPT_OK) {
            assert_error(ctx, rows[i].status, rows[i].object, rows[i].part);
        }
        opt_quantize_result_free(&r);
        opt_ctx_free(ctx);
    }
}

static void test_hadamard__orders(void **state) {
    (void)state;
    static const struct {
        int64_t n;
        bool exists;
        int64_t block;
    } rows[] = {{1, true, 1},       {2, true, 2},       {4, true, 4},       {12, true, 4},
                {20, true, 4},      {28, true, 4},      {36, true, 4},      {576, true, 64},
                {960, true, 64},    {1536, true, 512},  {896, true, 128},   {2560, true, 512},
                {5120, true, 1024}, {18944, true, 512}, {13824, true, 512}, {3, false, 1},
                {6, false, 2},      {52, false, 4},     {92, false, 4},     {0, false, 1}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(opt_hadamard_exists(rows[i].n), rows[i].exists);
        assert_int_equal(opt_hadamard_block(rows[i].n), rows[i].block);
    }
}

/* Q of every construction is orthogonal: rows of the identity go to rows with Q Q^T = I, and the
 * two ways to apply it agree. */
static void test_hadamard__orthogonal(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{1, 1},   {2, 2},     {8, 8},   {12, 12},
                                       {20, 20}, {28, 28},   {36, 36}, {48, 48},
                                       {72, 72}, {148, 148}, {36, 4},  {60, 12}};
    opt_ctx *ctx = test_ctx(2);
    for (int k = 0; k < COUNT_OF(sizes); k++) {
        const int64_t n = sizes[k][0];
        opt_rotation *q = NULL;
        float *x = calloc((size_t)(n * n), sizeof *x), *y = calloc((size_t)(n * n), sizeof *y);
        assert_non_null(x);
        assert_non_null(y);
        assert_int_equal(opt_rotation_new(ctx, n, sizes[k][1], 7, &q), OPT_OK);
        for (int64_t i = 0; i < n; i++) {
            x[i * n + i] = y[i * n + i] = 1;
        }
        assert_int_equal(opt_rotation_rows(ctx, q, x, n), OPT_OK);    /* Q */
        assert_int_equal(opt_rotation_columns(ctx, q, y, n), OPT_OK); /* Q^T */
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                double dot = 0;
                for (int64_t c = 0; c < n; c++) {
                    dot += (double)x[i * n + c] * (double)x[j * n + c];
                }
                assert_true(fabs(dot - (i == j)) < 1e-6);
                assert_true(x[i * n + j] == y[j * n + i]);
                assert_true(sizes[k][1] < n ||
                            fabsf(fabsf(x[i * n + j]) * sqrtf((float)n) - 1.0F) < 1e-5F);
            }
        }
        opt_rotation_free(q);
        free(x);
        free(y);
    }
    opt_ctx_free(ctx);
}

/* A search on inputs with outlier columns: it finds scales that lower the error, by the amount that
 * running the layer on the tokens shows. */
static void test_awq__search_agrees_with_running_the_layer(void **state) {
    (void)state;
    enum { N = 64, TOKENS = 300, ROWS = 96 };
    static float x[TOKENS * N], w[ROWS * N];
    static double gram[N * N], size[N], s[N];
    int32_t channel[N];
    opt_ctx *ctx = test_ctx(2);
    const opt_kern *kern = opt_kern_get(ctx);
    const opt_format *f = opt_format_by_name("q4_0");
    for (int i = 0; i < TOKENS * N; i++) {
        const double outlier = i % N % 13 == 0 ? 12 : 1;
        x[i] = (float)(outlier * opt_rng_normal(1, (uint64_t)i));
    }
    for (int i = 0; i < ROWS * N; i++) {
        w[i] = (float)opt_rng_normal(2, (uint64_t)i);
    }
    for (int i = 0; i < N; i++) {
        channel[i] = i;
        for (int j = 0; j <= i; j++) {
            for (int t = 0; t < TOKENS; t++) {
                gram[i * N + j] += (double)x[t * N + i] * (double)x[t * N + j];
            }
        }
        size[i] = sqrt(gram[i * N + i] / TOKENS);
    }
    opt_hessian *h = NULL;
    opt_awq_result found;
    assert_int_equal(opt_hessian_new(ctx, "x", gram, N, TOKENS, false, &h), OPT_OK);
    const opt_awq_group g = {.n_readers = 1,
                             .readers = {{w, ROWS, f}},
                             .n_columns = N,
                             .channel = channel,
                             .n_channels = N,
                             .h = h};
    assert_int_equal(opt_awq_search(ctx, kern, &g, size, NULL, 20, s, &found), OPT_OK);
    assert_true(found.alpha > 0 && found.alpha < 1);
    assert_true(found.after < 0.9 * found.before);
    double direct = 0;
    float scaled[N], back[N], importance[N];
    uint8_t block[N];
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < N; c++) {
            scaled[c] = w[r * N + c] * (float)s[c];
            importance[c] = (float)((double)h->diag[c] / (s[c] * s[c]));
        }
        opt_format_encode_rows(f, kern, scaled, importance, block, 1, N);
        f->decode(f, kern, block, back, N);
        for (int t = 0; t < TOKENS; t++) {
            double y = 0;
            for (int c = 0; c < N; c++) {
                y += ((double)w[r * N + c] - (double)back[c] / s[c]) * (double)x[t * N + c];
            }
            direct += y * y / TOKENS;
        }
    }
    assert_true(fabs(direct / found.after - 1) < 1e-3);
    opt_hessian_free(h);
    opt_ctx_free(ctx);
}

/* Searched scales lower the error of every group, and the bytes do not depend on the threads. */
static void test_transforms__search(void **state) {
    (void)state;
    static const char *const spec = "awq";
    char dir[256], out[2][300];
    test_make_dir(dir, sizeof dir);
    for (int k = 0; k < 2; k++) {
        opt_ctx *ctx = test_ctx(k == 0 ? 1 : 3);
        opt_quantize_result r = {0};
        (void)snprintf(out[k], sizeof out[k], "%s/%d.gguf", dir, k);
        opt_quantize_options o = options_of(OPT_TESTDATA "/stories260K", out[k], &spec, 1);
        o.format = "int3_g32";
        GOLDEN_OK(ctx, opt_quantize(ctx, &o, &r));
        assert_int_equal(r.n_transforms, 4 * 5);
        for (int64_t i = 0; i < r.n_transforms; i++) {
            assert_string_equal(r.transforms[i].transform, "awq");
            assert_true(r.transforms[i].before > 0);
            assert_true(r.transforms[i].after <= r.transforms[i].before);
        }
        opt_quantize_result_free(&r);
        opt_ctx_free(ctx);
    }
    assert_true(same_file(out[0], out[1]));
    test_remove_dir(dir);
}

/* Clipping lowers the error of some rows, raises that of none, and combines with scales. */
static void test_transforms__clip(void **state) {
    (void)state;
    static const char *const spec = "awq,clip";
    char dir[256], out[300];
    test_make_dir(dir, sizeof dir);
    (void)snprintf(out, sizeof out, "%s/out.gguf", dir);
    opt_ctx *ctx = test_ctx(2);
    opt_quantize_result r = {0};
    opt_quantize_options o = options_of(OPT_TESTDATA "/stories260K", out, &spec, 1);
    double clipped = 0;
    o.format = "int3_g32";
    GOLDEN_OK(ctx, opt_quantize(ctx, &o, &r));
    assert_int_equal(r.n_transforms, 4 * 5 + 7 * 5);
    for (int64_t i = 4 * 5; i < r.n_transforms; i++) {
        const opt_transform_result *t = &r.transforms[i];
        assert_string_equal(t->transform, "clip");
        assert_true(t->after <= t->before);
        assert_true((t->value > 0) == (t->after < t->before));
        clipped += t->value;
    }
    assert_true(clipped > 0);
    opt_quantize_result_free(&r);
    opt_ctx_free(ctx);
    test_remove_dir(dir);
}

/* Mean of the first rows of what a node reads, by the capture hook. */
typedef struct mean_of {
    double sum[256];
    int64_t n_tokens;
} mean_of;

static opt_status add_mean(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                           int64_t width, int64_t pos0) {
    mean_of *m = user;
    (void)node;
    (void)pos0;
    assert_true(width <= 256);
    for (int64_t i = 0; i < n_tokens * width; i++) {
        m->sum[i % width] += (double)x[i];
    }
    m->n_tokens += n_tokens;
    return OPT_OK;
}

/* Means of the queries of block 0, over the windows that calibration takes. */
static mean_of query_means(const char *path) {
    static const char *const text[] = {OPT_TESTDATA "/text/tinystories.txt"};
    const opt_corpus_options options = {.paths = text, .n_paths = 1, .n_windows = 3, .n_ctx = 32};
    mean_of m = {.n_tokens = 0};
    opt_opened o = {0};
    opt_corpus c = {0};
    opt_session *s = NULL;
    opt_ctx *ctx = test_ctx(1);
    const opt_session_options session = {.compute = OPT_COMPUTE_EXACT, .n_ctx = 32, .n_batch = 32};
    GOLDEN_OK(ctx, opt_open(ctx, path, &o));
    GOLDEN_OK(ctx, opt_corpus_read(ctx, o.tokenizer, &options, &c));
    GOLDEN_OK(ctx, opt_session_new(ctx, o.model, &session, &s));
    GOLDEN_OK(ctx, opt_session_capture(s, "blk.0.attn_q_rope", add_mean, &m));
    for (int64_t w = 0; w < c.n_windows; w++) {
        opt_session_truncate(s, 0);
        GOLDEN_OK(ctx, opt_session_eval(s, c.tokens + w * 32, 32, 32, NULL, NULL));
    }
    opt_session_free(s);
    opt_corpus_free(ctx, &c);
    opt_opened_close(&o);
    opt_ctx_free(ctx);
    assert_true(m.n_tokens > 0);
    return m;
}

static double distance(const mean_of *a, const mean_of *b) {
    double sum = 0;
    for (int i = 0; i < 256; i++) {
        const double d = a->sum[i] / (double)a->n_tokens - b->sum[i] / (double)b->n_tokens;
        sum += d * d;
    }
    return sqrt(sum);
}

/* With float weights nothing is left to correct; with coarse ones, the mean of an output is that of
 * the float model again. GGUF files lay queries out in the same order, so that they compare. */
static void test_transforms__bias_correction(void **state) {
    (void)state;
    static const char *const spec = "bias-correction";
    static const char *const rule = "token_embd:format=f32";
    static const char *const paths[] = {OPT_TESTDATA "/stories260K",
                                        OPT_TESTDATA "/families/qwen2"};
    char dir[256], file[3][300];
    test_make_dir(dir, sizeof dir);
    for (int m = 0; m < COUNT_OF(paths); m++) {
        opt_ctx *ctx = test_ctx(2);
        mean_of means[3];
        for (int k = 0; k < 3; k++) { /* float, coarse, coarse and corrected */
            opt_quantize_result r = {0};
            (void)snprintf(file[k], sizeof file[k], "%s/%d.gguf", dir, k);
            opt_quantize_options o = options_of(paths[m], file[k], &spec, k == 1 ? 0 : 1);
            o.format = k == 0 ? "f32" : "int2_g32";
            o.rules = &rule;
            o.n_rules = 1;
            GOLDEN_OK(ctx, opt_quantize(ctx, &o, &r));
            for (int64_t i = 0; i < r.n_transforms; i++) {
                assert_true((r.transforms[i].value > 1e-6) == (k > 0));
            }
            opt_quantize_result_free(&r);
            means[k] = query_means(file[k]);
        }
        assert_true(difference(paths[m], file[0]) < 2e-5);
        const double without = distance(&means[0], &means[1]);
        const double with = distance(&means[0], &means[2]);
        print_message("  distance of means %.2e without, %.2e with\n", without, with);
        assert_true(without > 1e-2);
        assert_true(with < 1e-4 * without);
        opt_ctx_free(ctx);
    }
    test_remove_dir(dir);
}

static double mean_error(const opt_format *f, const opt_quant_method *method, const float *w,
                         int64_t n) {
    opt_ctx *ctx = test_ctx(1);
    uint8_t stored[4096];
    float back[1024];
    _Alignas(64) uint8_t scratch[16384];
    opt_quant_job job = {
        .format = f, .kern = opt_kern_get(ctx), .w = w, .n_rows = 1, .n_cols = n, .dst = stored};
    double sum = 0;
    assert_true(opt_format_row_bytes(f, n, &job.row_bytes));
    assert_true(job.row_bytes <= sizeof stored);
    assert_int_equal(method->solve(ctx, &job, scratch), OPT_OK);
    f->decode(f, job.kern, stored, back, n);
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(back[i]));
        sum += fabs((double)w[i] - (double)back[i]);
    }
    opt_ctx_free(ctx);
    return sum;
}

/* HQQ's mean error is never above that of rounding to nearest, and below it on skewed weights. */
static void test_hqq__lowers_the_mean_error(void **state) {
    (void)state;
    int n_formats = 0;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        float w[512];
        double hqq = 0, rtn = 0;
        if ((f->flags & OPT_FORMAT_ZERO_POINT) == 0 || f->grid == NULL || f->grid->move == NULL) {
            continue;
        }
        n_formats += f->bits < 8;
        for (uint64_t row = 0; row < 8; row++) {
            for (int k = 0; k < 512; k++) {
                const double z = opt_rng_normal(row, (uint64_t)k);
                w[k] = (float)(0.05 * (row == 7 ? 0 : row % 2 == 0 ? z : z * z + 0.1));
            }
            const double a = mean_error(f, &opt_quant_hqq, w, 512);
            const double b = mean_error(f, &opt_quant_rtn, w, 512);
            assert_true(a <= b * (1 + 1e-6));
            hqq += a;
            rtn += b;
        }
        print_message("  %-14s %.4f\n", f->name, hqq / rtn);
        /* offsets that are themselves rounded may be too coarse to move */
        const bool rounded = (f->flags & OPT_FORMAT_TWO_LEVEL) != 0 || f->ggml_type < 0;
        assert_true(hqq < rtn || rounded);
    }
    assert_true(n_formats >= 2);
}

/* A format without offsets is refused; what gets another format by default is rounded. */
static void test_hqq__formats(void **state) {
    (void)state;
    static const struct {
        const char *format;
        opt_status status;
    } rows[] = {
        {"q4_0", OPT_ERR_UNSUPPORTED}, {"int4_g32", OPT_ERR_UNSUPPORTED}, {"int4_g32_zp", OPT_OK}};
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_quantize_result r = {0};
        opt_quantize_options o = options_of(OPT_TESTDATA "/stories260K", NULL, NULL, 0);
        o.format = rows[i].format;
        o.method = "hqq";
        o.n_calib = 0;
        o.dry_run = true;
        assert_int_equal(opt_quantize(ctx, &o, &r), rows[i].status);
        if (rows[i].status != OPT_OK) {
            assert_error(ctx, rows[i].status, "blk.0.attn_q.weight", "fits offsets");
        } else {
            assert_string_equal(r.tensors[0].method, "rtn");
            assert_string_equal(r.tensors[2].method, "hqq");
        }
        opt_quantize_result_free(&r);
        opt_ctx_free(ctx);
    }
}

/* Values that heads share scale together; positions of the graph that do not scale say why. */
static void test_wiring__scalings(void **state) {
    (void)state;
    rig r = rig_open(OPT_TESTDATA "/families/qwen3", OPT_COMPUTE_EXACT, 8, 0, 1);
    const opt_model *m = r.model;
    opt_scaling s;
    const char *reason = NULL;
    assert_true(opt_scaling_find(m, opt_model_find_node(m, "blk.1.attn"), &s, &reason));
    assert_string_equal(m->nodes[s.producer].name, "blk.1.attn_v");
    assert_int_equal(s.n_columns, 4 * 32);
    assert_int_equal(s.n_channels, 2 * 32);
    assert_int_equal(opt_scaling_channel(&s, 0), 0);
    assert_int_equal(opt_scaling_channel(&s, 33), 1);
    assert_int_equal(opt_scaling_channel(&s, 64), 32);
    assert_int_equal(opt_scaling_channel(&s, 127), 63);
    assert_true(opt_scaling_find(m, opt_model_find_node(m, "blk.1.attn_norm"), &s, &reason));
    assert_int_equal(s.n_readers, 3);
    assert_true(opt_scaling_find(m, opt_model_find_node(m, "blk.1.ffn_swiglu"), &s, &reason));
    assert_string_equal(m->nodes[s.producer].name, "blk.1.ffn_up");
    assert_false(opt_scaling_find(m, opt_model_find_node(m, "blk.1.attn_q_norm"), &s, &reason));
    assert_null(reason);
    assert_false(opt_scaling_find(m, opt_model_find_node(m, "blk.0.ffn_residual"), &s, &reason));
    assert_null(reason);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hadamard__orders),
        cmocka_unit_test(test_hadamard__orthogonal),
        cmocka_unit_test(test_wiring__scalings),
        cmocka_unit_test(test_awq__search_agrees_with_running_the_layer),
        cmocka_unit_test(test_transforms__refused),
        cmocka_unit_test(test_transforms__search),
        cmocka_unit_test(test_transforms__clip),
        cmocka_unit_test(test_transforms__bias_correction),
        cmocka_unit_test(test_hqq__lowers_the_mean_error),
        cmocka_unit_test(test_hqq__formats),
        cmocka_unit_test(test_transforms__logits_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
