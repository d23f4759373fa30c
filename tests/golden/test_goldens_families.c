/* Tiny random checkpoints of each family against transformers in float32. */
#include "golden/golden.h"
#include "golden/rewrite.h"
#include "support.h"

/* Logits of these random models reach 30; single-precision sums in another order stay far below. */
#define BOUND 1e-4
/* With the special feature left out the logits must move by more than this (see golden.json). */
#define SWITCH_BOUND 1e-2

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

typedef struct family {
    rig r;
    opt_json *golden;
    int32_t *ids; /* [n] */
    int64_t n;
} family;

static family family_open(const char *name) {
    char path[512];
    family f = {0};
    snprintf(path, sizeof path, OPT_TESTDATA "/families/%s", name);
    f.r = rig_open(path, OPT_COMPUTE_EXACT, 64, 0, 2);
    snprintf(path, sizeof path, OPT_TESTDATA "/families/%s/golden.json", name);
    f.golden = golden_load(f.r.ctx, path);
    f.ids = golden_ids(golden_get(f.golden, "ids"), &f.n);
    return f;
}

static void family_close(family *f) {
    free(f->ids);
    opt_json_free(f->golden);
    rig_close(&f->r);
}

static void check_logits(family *f, int64_t chunk) {
    const opt_json *positions = golden_get(f->golden, "positions");
    const opt_json *rows = golden_get(f->golden, "logits");
    const opt_json *nll = golden_get(f->golden, "nll");
    const int64_t n_vocab = rig_n_vocab(&f->r);
    float *logits = rig_logits(&f->r, f->ids, f->n, chunk);
    double worst = 0;
    assert_int_equal(opt_json_size(rows), opt_json_size(positions));
    for (size_t i = 0; i < opt_json_size(rows); i++) {
        const float *row = logits + golden_i64(opt_json_at(positions, i)) * n_vocab;
        assert_int_equal(opt_json_size(opt_json_at(rows, i)), n_vocab);
        for (int64_t j = 0; j < n_vocab; j++) {
            const double expected = golden_f64(opt_json_at(opt_json_at(rows, i), (size_t)j));
            check_near("logit", j, (double)row[j], expected, BOUND, &worst);
        }
    }
    assert_int_equal(opt_json_size(nll), f->n - 1);
    for (int64_t i = 0; i < f->n - 1; i++) {
        const float *row = logits + i * n_vocab;
        const double found = log_sum_exp(row, n_vocab) - (double)row[f->ids[i + 1]];
        check_near("nll", i, found, golden_f64(opt_json_at(nll, (size_t)i)), BOUND, &worst);
    }
    print_message("  chunk %lld: worst difference %.2e\n", (long long)chunk, worst);
    free(logits);
}

static void test_goldens__families_logits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        print_message("%s\n", families[i]);
        family f = family_open(families[i]);
        check_logits(&f, f.n);
        check_logits(&f, 1);
        family_close(&f);
    }
}

/* The same weights as a GGUF: rows of q and k interleaved, frequency factors, windows as keys. */
static void test_goldens__families_as_gguf(void **state) {
    char dir[256], path[300];
    (void)state;
    test_make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        print_message("%s\n", families[i]);
        family f = family_open(families[i]);
        rewrite_as_gguf(f.r.ctx, f.r.model, path, &opt_format_f32);
        rig_close(&f.r);
        f.r = rig_open(path, OPT_COMPUTE_EXACT, 64, 0, 2);
        assert_int_equal(opt_source_kind_of(f.r.source), OPT_SOURCE_GGUF);
        check_logits(&f, f.n);
        family_close(&f);
    }
    test_remove_dir(dir);
}

static void check_norms(family *f, const opt_json *expected, int64_t layer) {
    const opt_json *positions = golden_get(f->golden, "positions");
    norm_sink sink = {{0}};
    double worst = 0;
    rig_hidden_norms(&f->r, f->ids, f->n, layer, &sink);
    for (size_t i = 0; i < opt_json_size(positions); i++) {
        const double found = sink.norms[golden_i64(opt_json_at(positions, i))];
        check_near("norm", (int64_t)i, found, golden_f64(opt_json_at(expected, i)), BOUND, &worst);
    }
}

static void test_goldens__families_hidden_norms(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        family f = family_open(families[i]);
        const opt_json *hidden = golden_get(f.golden, "hidden_l2");
        const opt_json *layers = golden_get(hidden, "layers");
        const int64_t n_layers = f.r.model->hp.n_layers;
        check_norms(&f, golden_get(hidden, "embedding"), 0);
        assert_int_equal(opt_json_size(layers), n_layers);
        for (int64_t layer = 0; layer < n_layers; layer++) {
            check_norms(&f, opt_json_at(layers, (size_t)layer), layer + 1);
        }
        check_norms(&f, golden_get(hidden, "final_norm"), n_layers + 1);
        family_close(&f);
    }
}

static void test_goldens__families_greedy(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        family f = family_open(families[i]);
        const opt_json *greedy = golden_get(f.golden, "greedy");
        const int64_t n_prompt = golden_i64(golden_get(greedy, "prompt"));
        int32_t ids[64];
        int64_t n = 0;
        int32_t *expected = golden_ids(golden_get(greedy, "ids"), &n);
        assert_true(n_prompt + n <= 64);
        memcpy(ids, f.ids, (size_t)n_prompt * sizeof *ids);
        rig_greedy(&f.r, ids, n_prompt, n);
        assert_memory_equal(ids + n_prompt, expected, (size_t)n * sizeof *ids);
        free(expected);
        family_close(&f);
    }
}

/* The fixtures themselves must be able to tell a runner that ignores a feature. */
static void test_goldens__families_switches_show(void **state) {
    (void)state;
    static const char *const with_feature[] = {"llama3-scaling", "llama-linear-scaling", "mistral",
                                               "qwen2-sliding"};
    for (size_t i = 0; i < sizeof with_feature / sizeof *with_feature; i++) {
        family f = family_open(with_feature[i]);
        void *it = NULL;
        const char *key = NULL;
        const opt_json *value = NULL;
        int n = 0;
        while (opt_json_next(golden_get(f.golden, "switches"), &it, &key, &value)) {
            assert_true(golden_f64(value) > SWITCH_BOUND);
            n++;
        }
        assert_true(n > 0);
        family_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens__families_logits),
        cmocka_unit_test(test_goldens__families_as_gguf),
        cmocka_unit_test(test_goldens__families_hidden_norms),
        cmocka_unit_test(test_goldens__families_greedy),
        cmocka_unit_test(test_goldens__families_switches_show),
    };
    return cmocka_run_group_tests_name("goldens_families", tests, NULL, NULL);
}
