/*
 * Perplexity against the golden numbers of transformers, all conventions, from text to result; and
 * the divergence of a model from itself and from a disturbed copy of its logits.
 *
 * stories260K is part of the repository. SmolLM2-135M is taken from the directory LATHE_SMOLLM2 and
 * the WikiText-2 test text LATHE_WIKITEXT2; without them its test is skipped.
 */
#include "golden.h"

#include "eval/divergence.h"
#include "eval/perplexity.h"
#include "text/tokenizer.h"

static opt_buf *side_file(rig *r, const char *name) {
    opt_buf *buf = NULL;
    GOLDEN_OK(r->ctx, opt_source_side_file(r->source, name, &buf));
    return buf;
}

/** Tokens of a text file, without special tokens. */
static opt_tokens tokens_of_file(rig *r, const char *path) {
    opt_tokenizer_files files = {.json = side_file(r, "tokenizer.json"),
                                 .config = side_file(r, "tokenizer_config.json"),
                                 .origin = path};
    opt_tokenizer *tokenizer = NULL;
    opt_tokens tokens = {0};
    opt_buf *text = NULL;
    GOLDEN_OK(r->ctx, opt_tokenizer_from_files(r->ctx, &files, rig_n_vocab(r), &tokenizer));
    GOLDEN_OK(r->ctx, opt_buf_read(r->ctx, path, (size_t)16 << 20, &text));
    GOLDEN_OK(r->ctx, opt_tokenizer_encode(r->ctx, tokenizer, (const char *)text->data, text->bytes,
                                           0, &tokens));
    opt_buf_release(text);
    opt_buf_release((opt_buf *)(uintptr_t)files.json);
    opt_buf_release((opt_buf *)(uintptr_t)files.config);
    opt_tokenizer_free(tokenizer);
    return tokens;
}

static double perplexity(rig *r, const opt_tokens *tokens, int64_t n_windows, int64_t first_row,
                         int32_t bos) {
    opt_windows w;
    GOLDEN_OK(r->ctx, opt_windows_make(r->ctx, "a.txt", tokens->ids, (int64_t)tokens->n, 512,
                                       n_windows, first_row, bos, &w));
    const int64_t n = opt_windows_n_scored(&w);
    double *nll = malloc((size_t)n * sizeof *nll);
    assert_non_null(nll);
    GOLDEN_OK(r->ctx, opt_eval_nll(r->ctx, r->session, &w, nll));
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += nll[i];
    }
    free(nll);
    return exp(sum / (double)n);
}

static double golden_number(const opt_json *golden, const char *convention) {
    double v = 0;
    const opt_json *row = opt_json_get(opt_json_get(golden, "perplexity"), convention);
    assert_true(opt_json_f64(opt_json_get(row, "ppl"), &v));
    return v;
}

static void assert_within_percent(double got, double want, double percent, const char *what) {
    if (!(fabs(got / want - 1) * 100 <= percent)) {
        fail_msg("%s: perplexity %.9f, expected %.9f within %g %%", what, got, want, percent);
    }
}

static void check_perplexity(const char *model, const char *text, const char *golden_path,
                             bool bos) {
    rig r = rig_open(model, OPT_COMPUTE_EXACT, 512, 512, 2);
    opt_json *golden = golden_load(r.ctx, golden_path);
    opt_tokens tokens = tokens_of_file(&r, text);
    int64_t n_tokens = 0, n_windows = 0;
    const opt_json *p = opt_json_get(golden, "perplexity");
    assert_true(opt_json_i64(opt_json_get(p, "tokens_in_text"), &n_tokens));
    assert_true(opt_json_i64(opt_json_get(p, "windows"), &n_windows));
    assert_int_equal(tokens.n, n_tokens);
    assert_within_percent(perplexity(&r, &tokens, n_windows, 0, -1),
                          golden_number(golden, "full_window"), 0.01, "full window");
    assert_within_percent(perplexity(&r, &tokens, n_windows, 256, -1),
                          golden_number(golden, "second_half"), 0.01, "second half");
    if (bos) {
        assert_within_percent(perplexity(&r, &tokens, n_windows, 256, 1),
                              golden_number(golden, "second_half_bos"), 0.01, "second half, BOS");
    }
    opt_tokens_free(r.ctx, &tokens);
    opt_json_free(golden);
    rig_close(&r);
}

static void test_perplexity__stories260k(void **state) {
    (void)state;
    check_perplexity(OPT_TESTDATA "/stories260K", OPT_TESTDATA "/text/tinystories.txt",
                     OPT_TESTDATA "/goldens/stories260K.json", true);
}

static void test_perplexity__smollm2(void **state) {
    (void)state;
    const char *model = getenv("LATHE_SMOLLM2");
    const char *text = getenv("LATHE_WIKITEXT2");
    if (model == NULL || text == NULL) {
        skip();
    }
    check_perplexity(model, text, OPT_TESTDATA "/goldens/SmolLM2-135M.json", false);
}

static void test_divergence__model_from_itself_is_zero(void **state) {
    (void)state;
    rig a = rig_open(OPT_TESTDATA "/stories260K", OPT_COMPUTE_EXACT, 512, 64, 2);
    opt_session *other = NULL;
    const opt_session_options options = {
        .compute = OPT_COMPUTE_EXACT, .n_ctx = 512, .n_batch = 512};
    GOLDEN_OK(a.ctx, opt_session_new(a.ctx, a.model, &options, &other));
    opt_tokens tokens = tokens_of_file(&a, OPT_TESTDATA "/text/tinystories.txt");
    opt_windows w;
    GOLDEN_OK(a.ctx,
              opt_windows_make(a.ctx, "a.txt", tokens.ids, (int64_t)tokens.n, 512, 2, 100, -1, &w));
    const int64_t n = opt_windows_n_scored(&w);
    opt_divergence *d = calloc((size_t)n, sizeof *d);
    double *nll = malloc((size_t)n * sizeof *nll);
    assert_non_null(d);
    assert_non_null(nll);
    GOLDEN_OK(a.ctx, opt_eval_divergence(a.ctx, a.session, other, &w, NULL, d));
    GOLDEN_OK(a.ctx, opt_eval_nll(a.ctx, a.session, &w, nll));
    for (int64_t i = 0; i < n; i++) {
        assert_true(fabs(d[i].kld) < 1e-12);
        assert_true(d[i].same_top1);
        assert_true(d[i].nll == d[i].nll_ref && d[i].nll == nll[i]); /* chunks do not matter */
    }
    free(nll);
    free(d);
    opt_tokens_free(a.ctx, &tokens);
    opt_session_free(other);
    rig_close(&a);
}

static void test_divergence__equals_the_definition(void **state) {
    (void)state;
    enum { N = 37 };
    float p[N], q[N];
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    for (int i = 0; i < N; i++) {
        p[i] = (float)((i * 7919) % 101) * 0.1f - 4.0f;
        q[i] = p[i] + (float)((i * 104729) % 13 - 6) * 0.05f;
    }
    const double lse_p = log_sum_exp(p, N), lse_q = log_sum_exp(q, N);
    double kld = 0;
    for (int i = 0; i < N; i++) {
        const double lp = (double)p[i] - lse_p;
        kld += exp(lp) * (lp - ((double)q[i] - lse_q));
    }
    opt_divergence d;
    opt_divergence_of(opt_kern_get(ctx), p, q, N, 5, &d);
    assert_true(kld > 1e-3);
    assert_true(fabs(d.kld - kld) < 1e-6);
    assert_true(fabs(d.nll_ref - (lse_p - (double)p[5])) < 1e-6);
    assert_true(fabs(d.nll - (lse_q - (double)q[5])) < 1e-6);
    assert_int_equal(d.same_top1, index_of_max(p, N) == index_of_max(q, N));
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_perplexity__stories260k),
        cmocka_unit_test(test_perplexity__smollm2),
        cmocka_unit_test(test_divergence__model_from_itself_is_zero),
        cmocka_unit_test(test_divergence__equals_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
