/*
 * The reverse pass against torch's autograd in float64 (testdata/goldens/gradients.json), for every
 * weight of every family; the same bits for any number of threads and pieces of logits; and against
 * finite differences of the forward pass, of one block and its inputs.
 */
#include "golden/golden.h"
#include "support.h"

#include "base/rng.h"
#include "exec/reverse.h"
#include "model/cut.h"

static const char *const families[] = {
    "llama",
    "llama-untied-bias",
    "llama3-scaling",
    "llama-linear-scaling",
    "llama-rope-parameters",
    "mistral",
    "qwen2",
    "qwen2-sliding",
    "qwen3",
};

/* A family with a session that has a reverse pass, and a gradient for every weight. */
typedef struct family {
    rig r;
    int32_t *ids; /* [n] */
    int64_t n;
    bool *wanted;  /* [n_weights] */
    float **grads; /* [n_weights] */
    double loss;
} family;

static int64_t elems(const opt_weight *w) { return opt_tensor_n_elems(w->tensor); }

static family family_open(const char *name, opt_compute compute, int n_threads, int64_t n_logits) {
    char path[512];
    family f = {0};
    snprintf(path, sizeof path, OPT_TESTDATA "/families/%s/golden.json", name);
    f.r = rig_open(OPT_TESTDATA "/families/llama", OPT_COMPUTE_EXACT, 16, 0, n_threads);
    opt_json *golden = golden_load(f.r.ctx, path);
    f.ids = golden_ids(golden_get(golden, "ids"), &f.n);
    opt_json_free(golden);
    rig_close(&f.r);
    snprintf(path, sizeof path, OPT_TESTDATA "/families/%s", name);
    f.r = rig_open(path, OPT_COMPUTE_EXACT, 16, 0, n_threads);
    opt_session_free(f.r.session);
    f.r.session = NULL;
    const size_t n = (size_t)f.r.model->n_weights;
    f.wanted = calloc(n, sizeof *f.wanted);
    f.grads = calloc(n, sizeof *f.grads);
    assert_true(f.wanted != NULL && f.grads != NULL);
    for (size_t i = 0; i < n; i++) {
        const opt_weight *w = &f.r.model->weights[i];
        f.wanted[i] = !w->computed;
        f.grads[i] = calloc((size_t)elems(w), sizeof(float));
        assert_non_null(f.grads[i]);
    }
    const opt_reverse_options reverse = {.weights = f.wanted};
    const opt_session_options options = {
        .compute = compute, .n_ctx = 64, .n_batch = 64, .n_logits = n_logits, .reverse = &reverse};
    GOLDEN_OK(f.r.ctx, opt_session_new(f.r.ctx, f.r.model, &options, &f.r.session));
    return f;
}

static void family_close(family *f) {
    for (int i = 0; i < f->r.model->n_weights; i++) {
        free(f->grads[i]);
    }
    free(f->grads);
    free(f->wanted);
    free(f->ids);
    rig_close(&f->r);
}

/* Mean negative log likelihood of the next id. */
static opt_status nll(void *user, int64_t row0, int64_t n_rows, const float *out, float *grad) {
    family *f = user;
    const int64_t n_vocab = rig_n_vocab(&f->r);
    for (int64_t r = 0; r < n_rows; r++) {
        const float *x = out + r * n_vocab;
        float *g = grad + r * n_vocab;
        const int64_t t = row0 + r;
        const double lse = log_sum_exp(x, n_vocab), share = 1.0 / (double)(f->n - 1);
        for (int64_t i = 0; i < n_vocab; i++) {
            g[i] = t + 1 < f->n ? (float)(exp((double)x[i] - lse) * share) : 0.0F;
        }
        if (t + 1 < f->n) {
            g[f->ids[t + 1]] -= (float)share;
            f->loss += share * (lse - (double)x[f->ids[t + 1]]);
        }
    }
    return OPT_OK;
}

static void run(family *f) {
    const opt_gradients g = {.weights = f->grads};
    f->loss = 0;
    GOLDEN_OK(f->r.ctx, opt_session_reverse(f->r.session, f->ids, f->n, nll, f, &g));
}

/* The vectors of scripts/make_gradient_goldens.py. */
static double project(const float *g, int64_t n, uint64_t k) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t u = ((uint64_t)i * 2654435761U + k * 40503U) & 0xffffffffU;
        sum += (double)g[i] * ((double)u / 2147483648.0 - 1.0);
    }
    return sum;
}

/* share: of the gradient's norm that may be missing. */
static void check_weight(const opt_weight *w, const float *g, const opt_json *expected,
                         double share) {
    const int64_t n = elems(w);
    double norm = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        norm += (double)g[i] * (double)g[i];
    }
    /* Rounding noise of a product with a random vector is about that of the norm. */
    const double size = golden_f64(opt_json_at(expected, 0)), bound = share * size + 1e-9;
    check_near(w->tensor->name, 0, sqrt(norm), size, bound, &worst);
    for (uint64_t k = 0; k < 2; k++) {
        check_near(w->tensor->name, (int64_t)k + 1, project(g, n, k),
                   golden_f64(opt_json_at(expected, k + 1)), bound, &worst);
    }
}

static void check_families(opt_compute compute, int64_t n_logits, double share) {
    for (int i = 0; i < COUNT_OF(families); i++) {
        family f = family_open(families[i], compute, 2, n_logits);
        opt_json *golden = golden_load(f.r.ctx, OPT_TESTDATA "/goldens/gradients.json");
        const opt_json *expected = golden_get(golden, families[i]);
        double worst = 0;
        size_t n_checked = 0;
        run(&f);
        check_near(families[i], 0, f.loss, golden_f64(golden_get(expected, "loss")), share, &worst);
        for (int j = 0; j < f.r.model->n_weights; j++) {
            const opt_weight *w = &f.r.model->weights[j];
            if (f.wanted[j]) {
                check_weight(w, f.grads[j],
                             golden_get(golden_get(expected, "gradients"), w->tensor->name), share);
                n_checked++;
            }
        }
        assert_int_equal(n_checked, opt_json_size(golden_get(expected, "gradients")));
        opt_json_free(golden);
        family_close(&f);
    }
}

static void test_goldens_gradients__families(void **state) {
    (void)state;
    check_families(OPT_COMPUTE_EXACT, 0, 2e-5);
}

static void test_goldens_gradients__forward_in_16_bit_integers(void **state) {
    (void)state;
    check_families(OPT_COMPUTE_I16, 0, 1e-2);
    check_families(OPT_COMPUTE_I16, 5, 1e-2); /* logits in pieces */
}

static void test_goldens_gradients__same_bits_for_any_threads(void **state) {
    static const struct {
        int n_threads;
        int64_t n_logits;
    } rows[] = {{2, 0}, {7, 0}, {1, 5}, {3, 1}};
    (void)state;
    for (int i = 0; i < COUNT_OF(families); i++) {
        family first = family_open(families[i], OPT_COMPUTE_EXACT, 1, 0);
        run(&first);
        for (int k = 0; k < COUNT_OF(rows); k++) {
            family f =
                family_open(families[i], OPT_COMPUTE_EXACT, rows[k].n_threads, rows[k].n_logits);
            run(&f);
            for (int j = 0; j < f.r.model->n_weights; j++) {
                const opt_weight *w = &f.r.model->weights[j];
                const bool pieces = rows[k].n_logits > 0; /* sums of the head's rows are cut */
                if (pieces && (w->role == OPT_ROLE_HEAD || w->role == OPT_ROLE_EMBEDDING)) {
                    continue;
                }
                if (memcmp(f.grads[j], first.grads[j], (size_t)elems(w) * sizeof(float)) != 0) {
                    fail_msg("%s, %s: other bits on %d threads", families[i], w->name,
                             rows[k].n_threads);
                }
            }
            family_close(&f);
        }
        family_close(&first);
    }
}

/* ---- finite differences of one block ---- */

enum { TOKENS = 33 };

/* A block whose weights are all f32 and ours, fed with rows of our own; the loss is a product of
 * the outputs with fixed random numbers. */
typedef struct block {
    rig r;
    opt_model *cut;
    opt_session *session;
    opt_feed *feed;
    float *rows, *grad_rows; /* [TOKENS, width] */
    int64_t width;
    opt_tensor *tensors; /* [n_weights] */
    const opt_tensor **replaced;
    float **grads; /* [n_weights] */
    int32_t ids[TOKENS];
    double loss;
} block;

static opt_status product(void *user, int64_t row0, int64_t n_rows, const float *out, float *grad) {
    block *b = user;
    for (int64_t i = 0; i < n_rows * b->width; i++) {
        grad[i] = (float)opt_rng_normal(7, (uint64_t)(row0 * b->width + i));
        b->loss += (double)grad[i] * (double)out[i];
    }
    return OPT_OK;
}

static block block_open(const char *name, int unit) {
    char path[512];
    block b = {0};
    snprintf(path, sizeof path, OPT_TESTDATA "/families/%s", name);
    b.r = rig_open(path, OPT_COMPUTE_EXACT, 16, 0, 2);
    const opt_model *m = b.r.model;
    const size_t n = (size_t)m->n_weights;
    bool *wanted = calloc(n, sizeof *wanted);
    b.tensors = calloc(n, sizeof *b.tensors);
    b.replaced = calloc(n, sizeof *b.replaced);
    b.grads = calloc(n, sizeof *b.grads);
    assert_true(wanted != NULL && b.tensors != NULL && b.replaced != NULL && b.grads != NULL);
    for (size_t i = 0; i < n; i++) {
        const opt_weight *w = &m->weights[i];
        if (w->unit != unit) {
            continue;
        }
        float *data = malloc((size_t)elems(w) * sizeof *data);
        b.grads[i] = calloc((size_t)elems(w), sizeof(float));
        assert_true(data != NULL && b.grads[i] != NULL);
        opt_tensor_decode_rows(w->tensor, opt_kern_get(b.r.ctx), 0, opt_tensor_n_rows(w->tensor),
                               data);
        b.tensors[i] = *w->tensor;
        b.tensors[i].format = &opt_format_f32;
        b.tensors[i].bytes = (size_t)elems(w) * sizeof *data;
        b.tensors[i].data = (const uint8_t *)data;
        b.replaced[i] = &b.tensors[i];
        wanted[i] = true;
    }
    b.feed = calloc(1, sizeof *b.feed);
    assert_non_null(b.feed);
    b.width = m->hp.n_embd;
    b.rows = malloc((size_t)(TOKENS * b.width) * sizeof *b.rows);
    b.grad_rows = malloc((size_t)(TOKENS * b.width) * sizeof *b.rows);
    assert_true(b.rows != NULL && b.grad_rows != NULL);
    for (int64_t i = 0; i < TOKENS * b.width; i++) {
        b.rows[i] = (float)opt_rng_normal(11, (uint64_t)i);
    }
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed with the block, unless an assertion fails
    GOLDEN_OK(b.r.ctx, opt_model_cut(b.r.ctx, m, unit, -1, b.replaced, b.feed, &b.cut));
    const opt_reverse_options reverse = {.weights = wanted, .input = true};
    const opt_session_options options = {
        .n_ctx = TOKENS, .n_batch = TOKENS, .n_logits = TOKENS, .reverse = &reverse};
    GOLDEN_OK(b.r.ctx, opt_session_new(b.r.ctx, b.cut, &options, &b.session));
    free(wanted);
    return b;
}

static void block_close(block *b) {
    for (int i = 0; i < b->r.model->n_weights; i++) {
        free((void *)(uintptr_t)b->tensors[i].data);
        free(b->grads[i]);
    }
    free(b->tensors);
    free((void *)b->replaced);
    free(b->grads);
    free(b->feed);
    free(b->rows);
    free(b->grad_rows);
    opt_session_free(b->session);
    opt_model_free(b->cut);
    rig_close(&b->r);
}

static double block_run(block *b, bool with_gradients) {
    const opt_gradients g = {.weights = with_gradients ? b->grads : NULL,
                             .input = with_gradients ? b->grad_rows : NULL};
    b->feed->rows = b->rows;
    b->loss = 0;
    GOLDEN_OK(b->r.ctx, opt_session_reverse(b->session, b->ids, TOKENS, product, b, &g));
    return b->loss;
}

/* Moves x [n] both ways along a random direction and compares the slope of the loss. */
static void check_slope(block *b, const char *what, float *x, const float *g, int64_t n) {
    const double eps = 2e-3;
    double expected = 0, norm = 0, size = 0, loss[2];
    float *old = malloc((size_t)n * sizeof *old);
    assert_non_null(old);
    memcpy(old, x, (size_t)n * sizeof *old);
    for (int64_t i = 0; i < n; i++) {
        norm += pow(opt_rng_normal(13, (uint64_t)i), 2);
        size += (double)x[i] * (double)x[i];
    }
    const double step = eps * sqrt(size / norm);
    for (int side = 0; side < 2; side++) {
        expected = 0;
        for (int64_t i = 0; i < n; i++) {
            const double u = opt_rng_normal(13, (uint64_t)i);
            x[i] = (float)((double)old[i] + (side == 0 ? -step : step) * u);
            expected += u * (double)g[i];
        }
        loss[side] = block_run(b, false);
    }
    memcpy(x, old, (size_t)n * sizeof *old);
    double gradient = 0;
    for (int64_t i = 0; i < n; i++) {
        gradient += (double)g[i] * (double)g[i];
    }
    /* Against what a direction of this length is worth on average. */
    const double slope = (loss[1] - loss[0]) / (2 * step), bound = 0.01 * sqrt(gradient);
    if (!(fabs(slope - expected) <= bound)) {
        fail_msg("%s: slope %g, expected %g (bound %g)", what, slope, expected, bound);
    }
    free(old);
}

static void test_goldens_gradients__finite_differences_of_a_block(void **state) {
    static const struct {
        const char *family;
        int unit;
    } rows[] = {
        {"llama", 1}, {"llama-untied-bias", 0}, {"mistral", 1}, {"qwen2-sliding", 2}, {"qwen3", 1}};
    (void)state;
    for (int k = 0; k < COUNT_OF(rows); k++) {
        block b = block_open(rows[k].family, rows[k].unit);
        block_run(&b, true);
        check_slope(&b, "input", b.rows, b.grad_rows, TOKENS * b.width);
        for (int i = 0; i < b.r.model->n_weights; i++) {
            const opt_weight *w = &b.r.model->weights[i];
            if (b.grads[i] != NULL) {
                float *x = (float *)(uintptr_t)b.tensors[i].data;
                check_slope(&b, w->name, x, b.grads[i], elems(w));
            }
        }
        block_close(&b);
    }
}

static void test_goldens_gradients__errors(void **state) {
    (void)state;
    family f = family_open("llama", OPT_COMPUTE_EXACT, 1, 0);
    const opt_gradients g = {.weights = f.grads};
    assert_int_equal(opt_session_reverse(f.r.session, f.ids, 65, nll, &f, &g), OPT_ERR_USAGE);
    assert_error(f.r.ctx, OPT_ERR_USAGE, NULL, "expected 1 to 64");
    f.ids[3] = 100000;
    assert_int_equal(opt_session_reverse(f.r.session, f.ids, f.n, nll, &f, &g), OPT_ERR_USAGE);
    assert_error(f.r.ctx, OPT_ERR_USAGE, NULL, "token 3 is 100000");
    opt_session *none = NULL;
    const opt_reverse_options nothing = {.weights = NULL};
    const opt_session_options options = {.n_ctx = 8, .reverse = &nothing};
    assert_int_equal(opt_session_new(f.r.ctx, f.r.model, &options, &none), OPT_ERR_USAGE);
    assert_error(f.r.ctx, OPT_ERR_USAGE, NULL, "none of the weights");
    family_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens_gradients__families),
        cmocka_unit_test(test_goldens_gradients__forward_in_16_bit_integers),
        cmocka_unit_test(test_goldens_gradients__same_bits_for_any_threads),
        cmocka_unit_test(test_goldens_gradients__finite_differences_of_a_block),
        cmocka_unit_test(test_goldens_gradients__errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
