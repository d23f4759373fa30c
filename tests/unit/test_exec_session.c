/* Sessions: the same bits however the tokens come, hooks, limits and errors. */
#include "checkpoint.h"
#include "golden/golden.h"
#include "golden/rewrite.h"

#include <math.h>
#include <stdatomic.h>

#include "base/ctx_impl.h"
#include "kern/kern.h"

#define STORIES OPT_TESTDATA "/stories260K"

/* More than a tile of tokens. */
enum { N_IDS = 150, N_CTX = 160 };

/* Some ids; any will do. */
static void fill_ids(int32_t *ids, int64_t n, int64_t n_vocab) {
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * i * 31 + i * 7 + 3) % n_vocab);
    }
}

/* ---- the same bits ---- */

static void check_same_bits(const char *path, opt_compute compute) {
    static const struct {
        int64_t chunk, n_batch;
        int n_threads;
    } rows[] = {{N_IDS, 512, 2}, {1, 512, 1},    {1, 512, 3}, {7, 512, 4},
                {N_IDS, 5, 1},   {N_IDS, 33, 3}, {40, 16, 2}, {64, 1, 2}};
    int32_t ids[N_IDS];
    rig r = rig_open(path, compute, N_CTX, 0, 1);
    const size_t bytes = (size_t)(N_IDS * rig_n_vocab(&r)) * sizeof(float);
    fill_ids(ids, N_IDS, rig_n_vocab(&r));
    float *expected = rig_logits(&r, ids, N_IDS, N_IDS);
    rig_close(&r);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        r = rig_open(path, compute, N_CTX, rows[i].n_batch, rows[i].n_threads);
        float *found = rig_logits(&r, ids, N_IDS, rows[i].chunk);
        if (memcmp(found, expected, bytes) != 0) {
            fail_msg("%s: chunk %d, batch %d, %d threads: other bits", path, (int)rows[i].chunk,
                     (int)rows[i].n_batch, rows[i].n_threads);
        }
        free(found);
        rig_close(&r);
    }
    free(expected);
}

static void test_exec_session__same_bits_in_exact_mode(void **state) {
    (void)state;
    check_same_bits(STORIES, OPT_COMPUTE_EXACT);
    check_same_bits(OPT_TESTDATA "/families/llama-untied-bias", OPT_COMPUTE_EXACT);
    check_same_bits(OPT_TESTDATA "/families/qwen2-sliding", OPT_COMPUTE_EXACT);
    check_same_bits(OPT_TESTDATA "/families/qwen3", OPT_COMPUTE_EXACT);
}

static void test_exec_session__same_bits_in_16_bits(void **state) {
    (void)state;
    check_same_bits(STORIES, OPT_COMPUTE_I16);
    check_same_bits(OPT_TESTDATA "/families/llama-untied-bias", OPT_COMPUTE_I16);
    check_same_bits(STORIES, OPT_COMPUTE_BF16);
}

/* Linear layers on 16-bit block integers: close to exact, but not the same. */
static void test_exec_session__16_bits_are_nearly_exact(void **state) {
    int32_t ids[N_IDS];
    float *logits[2];
    double off = 0.0, size = 0.0;
    int64_t n = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = rig_open(STORIES, i == 0 ? OPT_COMPUTE_EXACT : OPT_COMPUTE_I16, N_CTX, 0, 1);
        n = N_IDS * rig_n_vocab(&r);
        fill_ids(ids, N_IDS, rig_n_vocab(&r));
        logits[i] = rig_logits(&r, ids, N_IDS, N_IDS);
        rig_close(&r);
    }
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)logits[1][i] - (double)logits[0][i];
        off += d * d;
        size += (double)logits[0][i] * (double)logits[0][i];
    }
    assert_true(off > 0.0 && off < 1e-3 * 1e-3 * size);
    free(logits[0]);
    free(logits[1]);
}

static void test_exec_session__same_bits_in_fast_mode(void **state) {
    (void)state;
    check_same_bits(STORIES, OPT_COMPUTE_FAST);
    check_same_bits(OPT_TESTDATA "/families/mistral", OPT_COMPUTE_FAST);
}

/* Formats that the int8 path takes, the last with a partial block at the end of every ffn row. */
static void test_exec_session__same_bits_with_int8_activations(void **state) {
    static const char *const formats[] = {"q8_0", "q4_0", "int8_g32", "int4_g64_zp", "int4_g128"};
    char dir[256], path[300];
    (void)state;
    test_make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    for (int i = 0; i < COUNT_OF(formats); i++) {
        int64_t n_int8 = 0, n_f32 = 0;
        rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 16, 0, 1);
        rewrite_as_gguf(r.ctx, r.model, path, opt_format_by_name(formats[i]));
        rig_close(&r);
        r = rig_open(path, OPT_COMPUTE_FAST, 16, 0, 1);
        opt_session_compute_counts(r.session, &n_int8, &n_f32);
        assert_true(n_int8 > 0);
        rig_close(&r);
        check_same_bits(path, OPT_COMPUTE_FAST);
        check_same_bits(path, OPT_COMPUTE_EXACT);
    }
    test_remove_dir(dir);
}

/* int8 activations and a half-precision cache cost little: the loss hardly moves. */
static void test_exec_session__fast_is_near_exact(void **state) {
    char dir[256], path[300];
    int32_t ids[N_IDS];
    double loss[2] = {0};
    (void)state;
    test_make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 16, 0, 1);
    rewrite_as_gguf(r.ctx, r.model, path, opt_format_by_name("int8_g32"));
    rig_close(&r);
    for (int i = 0; i < 2; i++) {
        r = rig_open(path, i == 0 ? OPT_COMPUTE_EXACT : OPT_COMPUTE_FAST, N_CTX, 0, 2);
        const int64_t n_vocab = rig_n_vocab(&r);
        fill_ids(ids, N_IDS, n_vocab);
        float *logits = rig_logits(&r, ids, N_IDS, N_IDS);
        for (int64_t t = 0; t + 1 < N_IDS; t++) {
            const float *row = logits + t * n_vocab;
            loss[i] += (log_sum_exp(row, n_vocab) - (double)row[ids[t + 1]]) / (N_IDS - 1);
        }
        free(logits);
        rig_close(&r);
    }
    assert_true(loss[0] != loss[1]);
    assert_true(fabs(loss[0] - loss[1]) < 0.02 * loss[0]);
    test_remove_dir(dir);
}

static void test_exec_session__truncated_cache_is_as_good_as_new(void **state) {
    int32_t ids[N_IDS];
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, N_IDS, 0, 2);
    const int64_t n_vocab = rig_n_vocab(&r);
    fill_ids(ids, N_IDS, n_vocab);
    float *expected = rig_logits(&r, ids, N_IDS, N_IDS);
    float *found = malloc((size_t)(N_IDS * n_vocab) * sizeof *found);
    logits_sink sink = {found, n_vocab};
    assert_non_null(found);
    opt_session_truncate(r.session, 200); /* beyond the end: nothing */
    assert_int_equal(opt_session_n_past(r.session), N_IDS);
    opt_session_truncate(r.session, 30);
    assert_int_equal(opt_session_n_past(r.session), 30);
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids + 30, N_IDS - 30, 0, collect_logits, &sink));
    assert_memory_equal(found, expected + 30 * n_vocab,
                        (size_t)((N_IDS - 30) * n_vocab) * sizeof *found);
    free(found);
    free(expected);
    rig_close(&r);
}

/* ---- logits ---- */

typedef struct row_log {
    int64_t next, n_calls, largest;
} row_log;

static opt_status log_rows(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    row_log *log = user;
    assert_int_equal(row0, log->next);
    assert_non_null(logits);
    log->next += n_rows;
    log->n_calls++;
    log->largest = n_rows > log->largest ? n_rows : log->largest;
    return OPT_OK;
}

static void test_exec_session__logits_of_the_rows_asked_for(void **state) {
    static const struct {
        int64_t n_batch, first;
    } rows[] = {{512, 0}, {512, N_IDS - 1}, {512, N_IDS}, {7, 0}, {7, 20}, {7, N_IDS - 1}, {1, 5}};
    int32_t ids[N_IDS];
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, N_CTX, rows[i].n_batch, 1);
        const int64_t n_vocab = rig_n_vocab(&r);
        fill_ids(ids, N_IDS, n_vocab);
        row_log log = {.next = rows[i].first};
        GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, N_IDS, rows[i].first, log_rows, &log));
        assert_int_equal(log.next, N_IDS);
        assert_true(log.largest <= rows[i].n_batch);
        rig_close(&r);
    }
}

/* Logits from row `first` on, in pieces of `n_logits`, against those of all rows at once. */
static void check_pieces(const char *path, opt_compute compute, int64_t first, int64_t n_logits) {
    int32_t ids[N_IDS];
    opt_session *session = NULL;
    rig r = rig_open(path, compute, N_CTX, 0, 2);
    const opt_session_options options = {
        .compute = compute, .n_ctx = N_CTX, .n_batch = 100, .n_logits = n_logits};
    const int64_t n_vocab = rig_n_vocab(&r);
    fill_ids(ids, N_IDS, n_vocab);
    float *all = rig_logits(&r, ids, N_IDS, N_IDS);
    float *some = malloc((size_t)(N_IDS * n_vocab) * sizeof *some);
    logits_sink sink = {some, n_vocab};
    row_log log = {.next = first};
    if (some == NULL) {
        abort();
    }
    GOLDEN_OK(r.ctx, opt_session_new(r.ctx, r.model, &options, &session));
    GOLDEN_OK(r.ctx, opt_session_eval(session, ids, N_IDS, first, collect_logits, &sink));
    assert_memory_equal(some + first * n_vocab, all + first * n_vocab,
                        (size_t)((N_IDS - first) * n_vocab) * sizeof *some);
    opt_session_truncate(session, 0);
    GOLDEN_OK(r.ctx, opt_session_eval(session, ids, N_IDS, first, log_rows, &log));
    assert_int_equal(log.next, N_IDS);
    assert_true(log.largest <= n_logits);
    opt_session_free(session);
    free(some);
    free(all);
    rig_close(&r);
}

static void test_exec_session__logits_in_pieces_are_the_same(void **state) {
    char dir[256], path[300];
    (void)state;
    test_make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 16, 0, 1);
    rewrite_as_gguf(r.ctx, r.model, path, opt_format_by_name("int8_g32"));
    rig_close(&r);
    check_pieces(STORIES, OPT_COMPUTE_EXACT, 71, 1000);
    check_pieces(STORIES, OPT_COMPUTE_EXACT, 0, 7);
    check_pieces(path, OPT_COMPUTE_FAST, 71, 1000);
    check_pieces(path, OPT_COMPUTE_FAST, 0, 7);
    check_pieces(path, OPT_COMPUTE_FAST, 131, 1);
    test_remove_dir(dir);
}

static void test_exec_session__nothing_to_do(void **state) {
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 0, 1);
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, NULL, 0, 0, NULL, NULL));
    assert_int_equal(opt_session_n_past(r.session), 0);
    rig_close(&r);
}

/* ---- hooks ---- */

typedef struct capture_log {
    const opt_model *m;
    char names[4096];
    int n_calls;
    int64_t n_rows, width;
    float first; /* of the last call */
} capture_log;

static opt_status log_capture(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                              int64_t width_in, int64_t pos0) {
    capture_log *log = user;
    assert_int_equal(pos0, log->n_rows % 24); /* 24 tokens in batches of 10 */
    log->n_rows += n_tokens;
    log->width = width_in;
    log->n_calls++;
    log->first = x == NULL ? 0.0F : x[0];
    const size_t n = strlen(log->names);
    snprintf(log->names + n, sizeof log->names - n, "%s ", node->name);
    return OPT_OK;
}

static void test_exec_session__hook_sees_a_node_by_name(void **state) {
    static const struct {
        const char *node;
        int64_t width;
    } rows[] = {{"token_embd", 0},       {"blk.0.attn_norm", 64}, {"blk.2.attn_q", 64},
                {"blk.4.ffn_down", 172}, {"blk.1.attn", 64},      {"blk.3.ffn_residual", 64},
                {"output_norm", 64},     {"output", 64}};
    int32_t ids[24];
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 32, 10, 2);
        capture_log log = {.m = r.model};
        fill_ids(ids, 24, rig_n_vocab(&r));
        GOLDEN_OK(r.ctx, opt_session_capture(r.session, rows[i].node, log_capture, &log));
        GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 24, 24, NULL, NULL));
        assert_int_equal(log.n_calls, 3);
        assert_int_equal(log.n_rows, 24);
        assert_int_equal(log.width, rows[i].width);
        assert_true(rows[i].width == 0 || log.first != 0.0F);
        rig_close(&r);
    }
}

typedef struct name_log {
    const opt_model *m;
    int next;
} name_log;

static opt_status expect_next_node(void *user, const opt_node *node, const float *x,
                                   int64_t n_tokens, int64_t width_in, int64_t pos0) {
    name_log *log = user;
    (void)n_tokens;
    (void)pos0;
    assert_ptr_equal(node, &log->m->nodes[log->next++]);
    assert_true((x == NULL) == (width_in == 0));
    return OPT_OK;
}

static void test_exec_session__hook_sees_every_node_in_order(void **state) {
    int32_t ids[4];
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 0, 1);
    name_log log = {.m = r.model};
    fill_ids(ids, 4, rig_n_vocab(&r));
    GOLDEN_OK(r.ctx, opt_session_capture(r.session, NULL, expect_next_node, &log));
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 4, 4, NULL, NULL));
    assert_int_equal(log.next, r.model->n_nodes);
    rig_close(&r);
}

static opt_status refuse(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                         int64_t width_in, int64_t pos0) {
    (void)node;
    (void)x;
    (void)n_tokens;
    (void)width_in;
    (void)pos0;
    return opt_fail(user, OPT_ERR_GATE, "hook", "enough seen");
}

static void test_exec_session__hook_can_end_the_run(void **state) {
    const int32_t ids[4] = {1, 2, 3, 4};
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 2, 1);
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 1, 1, NULL, NULL));
    GOLDEN_OK(r.ctx, opt_session_capture(r.session, "blk.1.attn", refuse, r.ctx));
    assert_int_equal(opt_session_eval(r.session, ids, 4, 4, NULL, NULL), OPT_ERR_GATE);
    assert_error(r.ctx, OPT_ERR_GATE, "hook", "enough seen");
    assert_int_equal(opt_session_n_past(r.session), 1);
    assert_int_equal(opt_session_capture(r.session, "blk.7.attn", refuse, r.ctx), OPT_ERR_USAGE);
    assert_error(r.ctx, OPT_ERR_USAGE, "blk.7.attn", "no such node");
    rig_close(&r);
}

/* ---- errors ---- */

static void test_exec_session__bad_requests(void **state) {
    static const struct {
        int64_t n, first;
        int32_t last;
        const char *message;
    } rows[] = {
        {9, 9, 1, "the context of 8 positions is full: 0 used, 9 more asked for"},
        {4, 4, 512, "token 3 is 512, outside the vocabulary of 512"},
        {4, 4, -1, "token 3 is -1, outside the vocabulary of 512"},
        {-1, 0, 1, "-1 tokens"},
        {4, -1, 1, "logits from row -1 on"},
        {4, 3, 1, "4 tokens with logits from row 3 on"}, /* and nobody to take them */
    };
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 0, 1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        int32_t ids[9] = {1, 1, 1, rows[i].last, 1, 1, 1, 1, 1};
        assert_int_equal(opt_session_eval(r.session, ids, rows[i].n, rows[i].first, NULL, NULL),
                         OPT_ERR_USAGE);
        assert_error(r.ctx, OPT_ERR_USAGE, NULL, rows[i].message);
        assert_int_equal(opt_session_n_past(r.session), 0);
    }
    rig_close(&r);
}

static opt_status give_up(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    (void)row0;
    (void)n_rows;
    (void)logits;
    return opt_fail(user, OPT_ERR_IO, "sink", "no space");
}

static void test_exec_session__callback_error_restores_the_cache(void **state) {
    const int32_t ids[6] = {1, 2, 3, 4, 5, 6};
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 2, 1);
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 1, 1, NULL, NULL));
    assert_int_equal(opt_session_eval(r.session, ids, 6, 5, give_up, r.ctx), OPT_ERR_IO);
    assert_error(r.ctx, OPT_ERR_IO, "sink", "no space");
    assert_int_equal(opt_session_n_past(r.session), 1);
    rig_close(&r);
}

static void test_exec_session__bad_options(void **state) {
    opt_ctx *ctx = test_ctx(1);
    opt_source *source = NULL;
    opt_model *model = NULL;
    opt_session *session = NULL;
    (void)state;
    GOLDEN_OK(ctx, opt_source_open(ctx, STORIES, &source));
    GOLDEN_OK(ctx, opt_model_open(ctx, source, &model));
    assert_int_equal(opt_session_new(ctx, model, &(opt_session_options){.n_ctx = -5}, &session),
                     OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, NULL, "context -5");
    assert_int_equal(opt_session_new(ctx, model, &(opt_session_options){.n_batch = -5}, &session),
                     OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, NULL, "batch -5");
    assert_int_equal(
        opt_session_new(ctx, model, &(opt_session_options){.n_ctx = INT64_MAX / 2}, &session),
        OPT_ERR_MEMORY);
    assert_error(ctx, OPT_ERR_MEMORY, NULL, "");
    assert_null(session);
    GOLDEN_OK(ctx, opt_session_new(ctx, model, NULL, &session)); /* all defaults */
    assert_int_equal(opt_session_n_ctx(session), 512);
    assert_true(opt_session_bytes(session) > 0);
    opt_session_free(session);
    opt_model_free(model);
    opt_source_close(source);
    opt_ctx_free(ctx);
}

static void test_exec_session__memory_limit_is_named(void **state) {
    opt_ctx *ctx = NULL;
    opt_source *source = NULL;
    opt_model *model = NULL;
    opt_session *session = NULL;
    const opt_ctx_options options = {.n_threads = 1, .max_memory = 3 << 20};
    const opt_session_options large = {.n_ctx = 1 << 20}, small = {.n_ctx = 64, .n_batch = 16};
    (void)state;
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    GOLDEN_OK(ctx, opt_source_open(ctx, STORIES, &source));
    GOLDEN_OK(ctx, opt_model_open(ctx, source, &model));
    assert_int_equal(opt_session_new(ctx, model, &large, &session), OPT_ERR_MEMORY);
    /* 5 layers, keys and values of 4 heads of 8 in half precision */
    assert_error(ctx, OPT_ERR_MEMORY, "stories260K",
                 "671088640 for the cache of 1048576 positions");
    GOLDEN_OK(ctx, opt_session_new(ctx, model, &small, &session));
    opt_session_free(session);
    opt_model_free(model);
    opt_source_close(source);
    opt_ctx_free(ctx);
}

static void test_exec_session__nan_is_traced_to_its_node(void **state) {
    static const struct {
        const char *tensor, *node;
    } rows[] = {{"model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up"},
                {"model.layers.0.input_layernorm.weight", "blk.0.attn_norm"},
                {"model.layers.2.self_attn.v_proj.weight", "blk.2.attn_v"},
                {"model.norm.weight", "output_norm"}};
    const int32_t ids[3] = {4, 5, 6};
    char dir[256];
    (void)state;
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        row_log log = {0};
        test_make_dir(dir, sizeof dir);
        checkpoint_copy(ctx, STORIES, dir, &(checkpoint_edit){.nan_in = rows[i].tensor});
        opt_ctx_free(ctx);
        rig r = rig_open(dir, OPT_COMPUTE_EXACT, 8, 0, 1);
        assert_int_equal(opt_session_eval(r.session, ids, 3, 0, log_rows, &log), OPT_ERR_NUMERIC);
        assert_error(r.ctx, OPT_ERR_NUMERIC, rows[i].node, "at position 0 is not finite");
        assert_int_equal(log.n_calls, 0);
        rig_close(&r);
        test_remove_dir(dir);
    }
}

static void test_exec_session__cancellation_ends_it(void **state) {
    const int32_t ids[3] = {4, 5, 6};
    (void)state;
    rig r = rig_open(STORIES, OPT_COMPUTE_EXACT, 8, 0, 2);
    opt_ctx_cancel(r.ctx, 2);
    assert_int_equal(opt_session_eval(r.session, ids, 3, 3, NULL, NULL), OPT_ERR_INTERRUPTED);
    assert_int_equal(opt_session_n_past(r.session), 0);
    rig_close(&r);
}

static opt_status take_logits(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    (void)row0;
    (void)n_rows;
    *(float *)user += logits[0];
    return OPT_OK;
}

/* What a session needs it has when it is made: writing tokens asks for no memory. */
static void test_exec_session__tokens_allocate_nothing(void **state) {
    enum { N_STEPS = 50 };
    static const opt_compute computes[] = {OPT_COMPUTE_FAST, OPT_COMPUTE_EXACT};
    (void)state;
    assert_int_equal(setenv("OPT_FAULT_ALLOC", "1000000000000", 1), 0); /* they are counted then */
    for (int c = 0; c < COUNT_OF(computes); c++) {
        float sum = 0;
        int32_t ids[N_STEPS + 1];
        rig r = rig_open(STORIES, computes[c], N_STEPS + 1, 0, 2);
        fill_ids(ids, N_STEPS + 1, rig_n_vocab(&r));
        GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 1, 0, take_logits, &sum));
        const uint64_t before = atomic_load(&r.ctx->n_allocs);
        assert_true(before > 0);
        for (int i = 1; i <= N_STEPS; i++) {
            GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids + i, 1, 0, take_logits, &sum));
        }
        assert_int_equal(atomic_load(&r.ctx->n_allocs), before);
        assert_true(isfinite(sum));
        rig_close(&r);
    }
    assert_int_equal(unsetenv("OPT_FAULT_ALLOC"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_session__same_bits_in_exact_mode),
        cmocka_unit_test(test_exec_session__same_bits_in_fast_mode),
        cmocka_unit_test(test_exec_session__same_bits_in_16_bits),
        cmocka_unit_test(test_exec_session__16_bits_are_nearly_exact),
        cmocka_unit_test(test_exec_session__same_bits_with_int8_activations),
        cmocka_unit_test(test_exec_session__fast_is_near_exact),
        cmocka_unit_test(test_exec_session__truncated_cache_is_as_good_as_new),
        cmocka_unit_test(test_exec_session__logits_of_the_rows_asked_for),
        cmocka_unit_test(test_exec_session__logits_in_pieces_are_the_same),
        cmocka_unit_test(test_exec_session__nothing_to_do),
        cmocka_unit_test(test_exec_session__hook_sees_a_node_by_name),
        cmocka_unit_test(test_exec_session__hook_sees_every_node_in_order),
        cmocka_unit_test(test_exec_session__hook_can_end_the_run),
        cmocka_unit_test(test_exec_session__bad_requests),
        cmocka_unit_test(test_exec_session__callback_error_restores_the_cache),
        cmocka_unit_test(test_exec_session__bad_options),
        cmocka_unit_test(test_exec_session__memory_limit_is_named),
        cmocka_unit_test(test_exec_session__nan_is_traced_to_its_node),
        cmocka_unit_test(test_exec_session__cancellation_ends_it),
        cmocka_unit_test(test_exec_session__tokens_allocate_nothing),
    };
    return cmocka_run_group_tests_name("exec_session", tests, NULL, NULL);
}
