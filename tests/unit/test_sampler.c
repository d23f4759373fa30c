/* Sampling: every filter by itself, the distribution that results, and its independence of
 * everything but its inputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "runtime/sampler.h"

#define N_VOCAB 16

static const opt_logit_bias more_5[] = {{5, 0.6F}}, no_3[] = {{3, -INFINITY}},
                            wrong_id[] = {{N_VOCAB, 1}}, negative_id[] = {{-1, 1}},
                            infinite[] = {{0, INFINITY}};

/* p = 0.4, 0.3, 0.2, 0.1 for tokens 3, 7, 1, 12; next to nothing for the others */
static void fill_logits(float *logits) {
    for (int i = 0; i < N_VOCAB; i++) {
        logits[i] = -60.0F;
    }
    logits[3] = logf(0.4F);
    logits[7] = logf(0.3F);
    logits[1] = logf(0.2F);
    logits[12] = logf(0.1F);
}

static opt_ctx *make_ctx(void) {
    opt_ctx *ctx = NULL;
    assert_int_equal(opt_ctx_new(NULL, &ctx), OPT_OK);
    return ctx;
}

/** Counts what n positions give for the options. */
static void count_picks(const opt_sampling *o, int n, int *counts) {
    opt_ctx *ctx = make_ctx();
    opt_sampler *s = NULL;
    float logits[N_VOCAB];
    fill_logits(logits);
    memset(counts, 0, N_VOCAB * sizeof *counts);
    assert_int_equal(opt_sampler_new(ctx, o, N_VOCAB, &s), OPT_OK);
    for (int i = 0; i < n; i++) {
        int32_t token = -1;
        int32_t ids[4096] = {0}; /* the history only counts for penalties */
        assert_true(n <= 4096);
        assert_int_equal(opt_sampler_pick(s, logits, ids, i, &token), OPT_OK);
        assert_in_range(token, 0, N_VOCAB - 1);
        counts[token]++;
    }
    opt_sampler_free(s);
    opt_ctx_free(ctx);
}

static void assert_shares(const int *counts, int n, double p3, double p7, double p1, double p12) {
    const double want[] = {p3, p7, p1, p12};
    const int ids[] = {3, 7, 1, 12};
    for (int i = 0; i < 4; i++) {
        const double sigma = sqrt(want[i] * (1 - want[i]) / n);
        const double share = (double)counts[ids[i]] / n;
        if (fabs(share - want[i]) > 4 * sigma) {
            fail_msg("token %d: %.4f, expected %.4f", ids[i], share, want[i]);
        }
    }
}

static void test_sampler__filters(void **state) {
    (void)state;
    static const struct {
        opt_sampling o;
        double p3, p7, p1, p12;
    } rows[] = {
        {{.temperature = 0}, 1, 0, 0, 0},
        {{.temperature = 1}, 0.4, 0.3, 0.2, 0.1},
        {{.temperature = 1, .top_k = 2}, 4.0 / 7, 3.0 / 7, 0, 0},
        {{.temperature = 1, .top_k = 1}, 1, 0, 0, 0},
        {{.temperature = 1, .top_p = 0.65}, 4.0 / 7, 3.0 / 7, 0, 0},
        {{.temperature = 1, .top_p = 0.05}, 1, 0, 0, 0},
        {{.temperature = 1, .top_p = 0.75}, 4.0 / 9, 3.0 / 9, 2.0 / 9, 0},
        {{.temperature = 1, .min_p = 0.4}, 4.0 / 9, 3.0 / 9, 2.0 / 9, 0},
        {{.temperature = 1, .min_p = 1}, 1, 0, 0, 0},
        /* of the three best, two make up 0.7 of 0.9 */
        {{.temperature = 1, .top_k = 3, .top_p = 0.77}, 4.0 / 7, 3.0 / 7, 0, 0},
        /* temperature comes last: squares of the probabilities that are left */
        {{.temperature = 0.5, .top_k = 2}, 16.0 / 25, 9.0 / 25, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int counts[N_VOCAB];
        count_picks(&rows[i].o, 4000, counts);
        assert_shares(counts, 4000, rows[i].p3, rows[i].p7, rows[i].p1, rows[i].p12);
    }
}

static void test_sampler__seed_and_position_decide(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    const opt_sampling o = {.temperature = 1, .seed = 5};
    opt_sampler *a = NULL, *b = NULL;
    float logits[N_VOCAB];
    int32_t ids[64] = {0};
    fill_logits(logits);
    assert_int_equal(opt_sampler_new(ctx, &o, N_VOCAB, &a), OPT_OK);
    assert_int_equal(opt_sampler_new(ctx, &o, N_VOCAB, &b), OPT_OK);
    int32_t forward[64];
    for (int i = 0; i < 64; i++) {
        assert_int_equal(opt_sampler_pick(a, logits, ids, i, &forward[i]), OPT_OK);
    }
    for (int i = 63; i >= 0; i--) { /* another order, another sampler: the same tokens */
        int32_t token;
        assert_int_equal(opt_sampler_pick(b, logits, ids, i, &token), OPT_OK);
        assert_int_equal(token, forward[i]);
    }
    opt_sampler_free(a);
    opt_sampler_free(b);
    opt_ctx_free(ctx);
}

static void test_sampler__penalties(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    float logits[N_VOCAB] = {0};
    logits[3] = 2.0F;
    logits[5] = 1.5F;
    logits[6] = -0.1F;
    for (int i = 0; i < N_VOCAB; i++) {
        logits[i] -= logits[i] == 0 ? 9.0F : 0.0F;
    }
    static const struct {
        opt_sampling o;
        int32_t ids[6];
        int n;
        int32_t token;
    } rows[] = {
        {{0}, {3, 3, 3}, 3, 3},
        {{.repetition_penalty = 1.2}, {3, 3, 3}, 3, 3}, /* 1.67, once however often */
        {{.repetition_penalty = 1.5}, {3}, 1, 5},       /* 1.33 */
        {{.repetition_penalty = 1.5}, {5, 3}, 2, 3},    /* both: 1.33 and 1.0 */
        {{.repetition_penalty = 1.5, .repetition_window = 2},
         {3, 0, 0},
         3,
         3},                                        /* 3 is too long ago */
        {{.presence_penalty = 0.6}, {3, 3}, 2, 5},  /* 1.4 */
        {{.presence_penalty = 0.3}, {3, 3}, 2, 3},  /* 1.7: once however often */
        {{.frequency_penalty = 0.3}, {3}, 1, 3},    /* 1.7 */
        {{.frequency_penalty = 0.3}, {3, 3}, 2, 5}, /* 1.4 */
        {{.frequency_penalty = 0.3, .repetition_window = 1}, {3, 3}, 2, 3},
        {{.bias = more_5, .n_bias = 1}, {0}, 0, 5}, /* 2.1 */
        {{.bias = no_3, .n_bias = 1}, {0}, 0, 5},
        {{.bias = no_3, .n_bias = 1, .temperature = 1, .top_k = 1}, {0}, 0, 5},
        {{.repetition_penalty = 100},
         {3, 5, 6},
         3,
         3}, /* 0.02, 0.015, -10: a negative logit falls, too */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_sampler *s = NULL;
        int32_t token = -1;
        assert_int_equal(opt_sampler_new(ctx, &rows[i].o, N_VOCAB, &s), OPT_OK);
        assert_int_equal(opt_sampler_pick(s, logits, rows[i].ids, rows[i].n, &token), OPT_OK);
        if (token != rows[i].token) {
            fail_msg("row %zu: token %d", i, token);
        }
        opt_sampler_free(s);
    }
    opt_ctx_free(ctx);
}

static void test_sampler__ties_go_to_the_lowest_id(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    float logits[N_VOCAB] = {0};
    int32_t token = -1;
    const opt_sampling rows[] = {
        {.temperature = 0}, {.temperature = 1, .top_k = 1}, {.temperature = 1, .top_p = 1e-9}};
    for (size_t i = 0; i < 3; i++) {
        opt_sampler *s = NULL;
        assert_int_equal(opt_sampler_new(ctx, &rows[i], N_VOCAB, &s), OPT_OK);
        assert_int_equal(opt_sampler_pick(s, logits, NULL, 0, &token), OPT_OK);
        assert_int_equal(token, 0);
        opt_sampler_free(s);
    }
    opt_ctx_free(ctx);
}

static void test_sampler__errors(void **state) {
    (void)state;
    opt_ctx *ctx = make_ctx();
    opt_sampler *s = NULL;
    const opt_sampling bad[] = {{.temperature = -1},
                                {.temperature = NAN},
                                {.top_k = -1},
                                {.top_p = 1.5},
                                {.min_p = -0.1},
                                {.repetition_penalty = -1},
                                {.presence_penalty = INFINITY},
                                {.frequency_penalty = NAN},
                                {.bias = wrong_id, .n_bias = 1},
                                {.bias = negative_id, .n_bias = 1},
                                {.bias = infinite, .n_bias = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(opt_sampler_new(ctx, &bad[i], N_VOCAB, &s), OPT_ERR_USAGE);
        assert_null(s);
        opt_ctx_clear_error(ctx);
    }
    const opt_sampling greedy = {0};
    float logits[N_VOCAB] = {0};
    logits[9] = NAN;
    int32_t token = -1;
    assert_int_equal(opt_sampler_new(ctx, &greedy, N_VOCAB, &s), OPT_OK);
    assert_int_equal(opt_sampler_pick(s, logits, NULL, 0, &token), OPT_ERR_NUMERIC);
    assert_int_equal(token, -1);
    opt_sampler_free(s);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampler__filters),
        cmocka_unit_test(test_sampler__seed_and_position_decide),
        cmocka_unit_test(test_sampler__penalties),
        cmocka_unit_test(test_sampler__ties_go_to_the_lowest_id),
        cmocka_unit_test(test_sampler__errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
