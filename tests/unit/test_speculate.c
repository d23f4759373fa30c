/* Speculative decoding: the tokens are those of decoding without guesses, whatever is guessed, and
 * fewer passes give them where the text repeats. */
#include "checkpoint.h"
#include "golden/golden.h"

#include "runtime/generate.h"

#define STORIES OPT_TESTDATA "/stories260K"

enum { N_CTX = 256, N_NEW = 120 };

/* How guesses are made. */
typedef enum guess { GUESS_NONE, GUESS_LOOKUP, GUESS_SELF, GUESS_OTHER } guess;

typedef struct outcome {
    int32_t ids[N_CTX + 64];
    int64_t n;
    opt_generate_outcome o;
} outcome;

static void run(guess how, const opt_sampling *sampling, const int32_t *prompt, int64_t n_prompt,
                int64_t n_ctx, int n_threads, outcome *out) {
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, n_ctx, 0, n_threads);
    rig d =
        rig_open(STORIES, how == GUESS_OTHER ? OPT_COMPUTE_FAST : OPT_COMPUTE_EXACT, n_ctx, 0, 1);
    opt_tokens tokens = {0};
    opt_generate_job job = {.session = r.session,
                            .tokens = &tokens,
                            .n_vocab = rig_n_vocab(&r),
                            .max_tokens = N_NEW,
                            .end_token = -1};
    for (int64_t i = 0; i < n_prompt; i++) {
        GOLDEN_OK(r.ctx, opt_tokens_push(r.ctx, &tokens, prompt[i]));
    }
    const opt_sampling other = {.temperature = 5, .seed = 77}; /* guesses that are mostly wrong */
    GOLDEN_OK(r.ctx, opt_sampler_new(r.ctx, sampling, job.n_vocab, &job.sampler));
    if (how != GUESS_NONE) {
        GOLDEN_OK(r.ctx,
                  opt_speculator_new(r.ctx, how == GUESS_LOOKUP ? NULL : d.session, job.n_vocab,
                                     how == GUESS_OTHER ? &other : sampling, &job.speculator));
    }
    GOLDEN_OK(r.ctx, opt_generate_run(r.ctx, &job, &out->o));
    assert_true(tokens.n <= COUNT_OF(out->ids));
    memcpy(out->ids, tokens.ids, tokens.n * sizeof *tokens.ids);
    out->n = (int64_t)tokens.n;
    opt_tokens_free(r.ctx, &tokens);
    opt_sampler_free(job.sampler);
    opt_speculator_free(job.speculator);
    rig_close(&d);
    rig_close(&r);
}

static const int32_t plain[] = {1, 403, 407, 261, 378};
static const int32_t repeating[] = {1,   403, 407, 261, 378, 403, 407, 261, 378,
                                    403, 407, 261, 378, 403, 407, 261, 378};

static void test_speculate__the_same_tokens(void **state) {
    static const opt_sampling samplings[] = {
        {.temperature = 0},
        {.temperature = 0.9, .top_p = 0.95, .seed = 3},
        {.temperature = 0.3, .seed = 4, .repetition_penalty = 1.2, .frequency_penalty = 0.1}};
    static const struct {
        const int32_t *ids;
        int64_t n, n_ctx;
    } prompts[] = {{plain, COUNT_OF(plain), N_CTX},
                   {repeating, COUNT_OF(repeating), N_CTX},
                   {plain, COUNT_OF(plain), 40}}; /* the context ends first */
    outcome *expected = malloc(sizeof *expected), *found = malloc(sizeof *found);
    (void)state;
    assert_non_null(expected);
    assert_non_null(found);
    for (int s = 0; s < COUNT_OF(samplings); s++) {
        for (int p = 0; p < COUNT_OF(prompts); p++) {
            run(GUESS_NONE, &samplings[s], prompts[p].ids, prompts[p].n, prompts[p].n_ctx, 1,
                expected);
            assert_int_equal(expected->o.n_guessed, 0);
            for (int how = GUESS_LOOKUP; how <= GUESS_OTHER; how++) {
                run((guess)how, &samplings[s], prompts[p].ids, prompts[p].n, prompts[p].n_ctx,
                    how == GUESS_SELF ? 3 : 2, found);
                if (found->n != expected->n ||
                    memcmp(found->ids, expected->ids, (size_t)found->n * sizeof *found->ids) != 0) {
                    fail_msg("sampling %d, prompt %d, guess %d: other tokens", s, p, how);
                }
                assert_string_equal(found->o.stop_reason, expected->o.stop_reason);
                assert_true(found->o.n_right <= found->o.n_guessed);
            }
        }
    }
    free(expected);
    free(found);
}

static void test_speculate__right_guesses_save_passes(void **state) {
    const opt_sampling greedy = {0};
    outcome *o = malloc(sizeof *o);
    (void)state;
    assert_non_null(o);
    run(GUESS_NONE, &greedy, plain, COUNT_OF(plain), N_CTX, 1, o);
    assert_int_equal(o->o.n_passes, N_NEW - 1);
    run(GUESS_SELF, &greedy, plain, COUNT_OF(plain), N_CTX, 1, o);
    assert_true(o->o.n_right * 10 > o->o.n_guessed * 5); /* f32 and f16 caches hardly differ */
    assert_true(o->o.n_passes < N_NEW / 3);
    run(GUESS_OTHER, &greedy, plain, COUNT_OF(plain), N_CTX, 1, o);
    assert_true(o->o.n_guessed < N_NEW / 2); /* they do not pay off, so there are few */
    free(o);
}

/* A session that answers with the same token again and again is not there, but a text that does: */
static void test_speculate__looks_up_the_longest_match(void **state) {
    static const struct {
        int32_t ids[16];
        int64_t n, n_guessed;
        int32_t first;
    } rows[] = {
        {{1, 2, 3, 4, 9, 1, 2, 3, 5, 8, 1, 2, 3}, 13, 3, 5},    /* of two, the last */
        {{7, 1, 2, 3, 4, 9, 1, 2, 3, 5, 7, 1, 2, 3}, 14, 3, 4}, /* the longer one */
        {{1, 2, 3, 4, 5, 6, 2, 3}, 8, 0, 0},                    /* two are no match */
        {{5, 5, 5, 5}, 4, 3, 5},                                /* runs into the guess */
        {{1}, 1, 0, 0},
    };
    opt_ctx *ctx = NULL;
    (void)state;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_speculator *s = NULL;
        int32_t ids[64] = {0};
        int64_t n = -1;
        memcpy(ids, rows[i].ids, sizeof rows[i].ids);
        assert_int_equal(opt_speculator_new(ctx, NULL, 16, &(opt_sampling){0}, &s), OPT_OK);
        assert_int_equal(opt_speculator_guess(s, ids, rows[i].n, 0, &n), OPT_OK);
        assert_int_equal(n, 0);
        assert_int_equal(opt_speculator_guess(s, ids, rows[i].n, 100, &n), OPT_OK);
        assert_int_equal(n, rows[i].n_guessed);
        if (n > 0) {
            assert_int_equal(ids[rows[i].n], rows[i].first);
        }
        opt_speculator_free(s);
    }
    opt_ctx_free(ctx);
}

static void test_speculate__pauses_after_failures(void **state) {
    opt_ctx *ctx = NULL;
    opt_speculator *s = NULL;
    int32_t ids[64] = {5, 5, 5, 5};
    int64_t n = 0, guesses = 0;
    (void)state;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    assert_int_equal(opt_speculator_new(ctx, NULL, 16, &(opt_sampling){0}, &s), OPT_OK);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(opt_speculator_guess(s, ids, 4, 16, &n), OPT_OK);
        opt_speculator_learn(s, n, 0);
        guesses += n > 0;
    }
    assert_in_range(guesses, 6, 10);
    opt_speculator_free(s);
    assert_int_equal(opt_speculator_new(ctx, NULL, 16, &(opt_sampling){0}, &s), OPT_OK);
    int64_t longest = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(opt_speculator_guess(s, ids, 4, 100, &n), OPT_OK);
        opt_speculator_learn(s, n, n);
        longest = n > longest ? n : longest;
    }
    assert_int_equal(longest, OPT_MAX_DRAFT);
    opt_speculator_free(s);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speculate__the_same_tokens),
        cmocka_unit_test(test_speculate__right_guesses_save_passes),
        cmocka_unit_test(test_speculate__looks_up_the_longest_match),
        cmocka_unit_test(test_speculate__pauses_after_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
