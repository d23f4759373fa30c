/* A full context: what goes on after the older half was left out is what a run says that has read
 * the rest only, with and without guesses, and nothing of the text is lost. */
#include "checkpoint.h"
#include "golden/golden.h"

#include "runtime/generate.h"

#define STORIES OPT_TESTDATA "/stories260K"
#define SLIDING OPT_TESTDATA "/families/qwen2-sliding"

enum { N_CTX = 48, N_NEW = 200, N_PROMPT = 20, MAX_IDS = N_PROMPT + N_NEW };

typedef struct text {
    int32_t ids[MAX_IDS];
    int64_t n, n_shifts;
} text;

/* Continues the prompt; the whole text to `out`. */
static void run(const char *path, const opt_sampling *sampling, int64_t n_keep, int guess,
                int n_threads, text *out) {
    rig r = rig_open(path, OPT_COMPUTE_FAST, N_CTX, 8, n_threads);
    rig d = rig_open(path, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    opt_tokens tokens = {0}, dropped = {0};
    opt_generate_outcome o;
    opt_generate_job job = {.session = r.session,
                            .tokens = &tokens,
                            .n_vocab = rig_n_vocab(&r),
                            .max_tokens = N_NEW,
                            .end_token = -1,
                            .dropped = &dropped,
                            .n_keep = n_keep};
    for (int i = 0; i < N_PROMPT; i++) {
        GOLDEN_OK(r.ctx, opt_tokens_push(r.ctx, &tokens, (i * i * 7 + 3) % (int)job.n_vocab));
    }
    GOLDEN_OK(r.ctx, opt_sampler_new(r.ctx, sampling, job.n_vocab, &job.sampler));
    if (guess > 0) {
        GOLDEN_OK(r.ctx, opt_speculator_new(r.ctx, guess == 1 ? NULL : d.session, job.n_vocab,
                                            sampling, &job.speculator));
    }
    GOLDEN_OK(r.ctx, opt_generate_run(r.ctx, &job, &o));
    assert_string_equal(o.stop_reason, "length");
    assert_true(tokens.n + dropped.n == MAX_IDS && (int64_t)tokens.n <= N_CTX + 1);
    memcpy(out->ids, tokens.ids, (size_t)n_keep * sizeof *out->ids);
    memcpy(out->ids + n_keep, dropped.ids, dropped.n * sizeof *out->ids);
    memcpy(out->ids + n_keep + dropped.n, tokens.ids + n_keep,
           (tokens.n - (size_t)n_keep) * sizeof *out->ids);
    out->n = MAX_IDS;
    out->n_shifts = o.n_shifts;
    opt_tokens_free(r.ctx, &tokens);
    opt_tokens_free(r.ctx, &dropped);
    opt_sampler_free(job.sampler);
    opt_speculator_free(job.speculator);
    rig_close(&d);
    rig_close(&r);
}

/* The same, written down: for every token a fresh run over what stands in the context. */
static void expect(const char *path, const opt_sampling *sampling, int64_t n_keep, text *out) {
    rig r = rig_open(path, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    opt_sampler *sampler = NULL;
    const int64_t n_vocab = rig_n_vocab(&r);
    float *logits = malloc((size_t)n_vocab * sizeof *logits);
    logits_sink to = {logits, n_vocab};
    int32_t view[N_CTX + 1];
    int64_t n = 0;
    assert_non_null(logits);
    GOLDEN_OK(r.ctx, opt_sampler_new(r.ctx, sampling, n_vocab, &sampler));
    out->n_shifts = 0;
    for (out->n = 0; out->n < N_PROMPT; out->n++) {
        out->ids[out->n] = (int32_t)((out->n * out->n * 7 + 3) % n_vocab);
        view[n++] = out->ids[out->n];
    }
    while (out->n < MAX_IDS) {
        if (n > N_CTX) {
            const int64_t n_drop = (n - n_keep) / 2;
            memmove(view + n_keep, view + n_keep + n_drop,
                    (size_t)(n - n_keep - n_drop) * sizeof *view);
            n -= n_drop;
            opt_sampler_shift(sampler, n_drop);
            out->n_shifts++;
        }
        opt_session_truncate(r.session, 0);
        GOLDEN_OK(r.ctx, opt_session_eval(r.session, view, n, n - 1, keep_last, &to));
        GOLDEN_OK(r.ctx, opt_sampler_pick(sampler, logits, view, n, &view[n]));
        out->ids[out->n++] = view[n++];
    }
    free(logits);
    opt_sampler_free(sampler);
    rig_close(&r);
}

static void test_ctx_shift__is_a_run_over_the_rest(void **state) {
    static const opt_sampling samplings[] = {
        {.temperature = 0},
        {.temperature = 0.9, .top_p = 0.95, .seed = 3, .repetition_penalty = 1.1}};
    static const char *const paths[] = {STORIES, SLIDING};
    static const int64_t keeps[] = {1, 4, 30, N_CTX - 1};
    text *expected = malloc(sizeof *expected), *found = malloc(sizeof *found);
    (void)state;
    assert_true(expected != NULL && found != NULL);
    for (int p = 0; p < COUNT_OF(paths); p++) {
        for (int s = 0; s < COUNT_OF(samplings); s++) {
            for (int k = 0; k < COUNT_OF(keeps); k++) {
                expect(paths[p], &samplings[s], keeps[k], expected);
                assert_true(expected->n_shifts > 3);
                for (int guess = 0; guess < 3; guess++) {
                    run(paths[p], &samplings[s], keeps[k], guess, 1 + guess, found);
                    assert_int_equal(found->n_shifts, expected->n_shifts);
                    if (memcmp(found->ids, expected->ids, sizeof found->ids) != 0) {
                        fail_msg("%s, sampling %d, keep %d, guess %d: other tokens", paths[p], s,
                                 (int)keeps[k], guess);
                    }
                }
            }
        }
    }
    free(expected);
    free(found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ctx_shift__is_a_run_over_the_rest),
    };
    return cmocka_run_group_tests_name("ctx_shift", tests, NULL, NULL);
}
