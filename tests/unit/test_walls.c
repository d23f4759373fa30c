/*
 * The walls: a format, an op and an architecture are added from outside, each one file
 * (test_walls/toy_*.c) and one row of a table (test_walls/tables.c), and work together with what is
 * there: a checkpoint is read, run, captured from by name, and written.
 */
#include "golden/golden.h"
#include "golden/rewrite.h"
#include "io/safetensors_write.h"
#include "support.h"
#include "unit/test_walls/toy.h"

enum { WORDS = 5, WIDTH = 3 };

static const float words[WORDS * WIDTH] = {1, 2, 3, -1, 0.5F, 4, 0, 0, 1, 2, -2, 2, 0.25F, 3, -3};
static const float factors[WIDTH] = {2, -1, 0.5F};
static const float head[WORDS * WIDTH] = {1, 0,    0,    0,       1,  0,    0, 0,
                                          1, 0.5F, 0.5F, -0.125F, -2, 3.5F, 1};

static void write_checkpoint(const char *dir) {
    char path[300];
    opt_ctx *ctx = test_ctx(1);
    opt_st_writer *w = NULL;
    uint8_t codes[WORDS * WIDTH];
    const char *config = "{\"model_type\": \"toy\", \"words\": 5, \"width\": 3}";
    const opt_format *toy = opt_format_by_name("toy");
    const opt_st_decl decls[] = {
        {.name = "words.weight", .format = &opt_format_f32, .n_dims = 2, .dims = {WORDS, WIDTH}},
        {.name = "twist.weight", .format = &opt_format_f32, .n_dims = 1, .dims = {WIDTH}},
        {.name = "head.weight", .format = toy, .n_dims = 2, .dims = {WORDS, WIDTH}},
    };
    assert_ptr_equal(toy, &opt_format_toy);
    snprintf(path, sizeof path, "%s/config.json", dir);
    test_write_file(path, config, strlen(config));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    GOLDEN_OK(ctx, opt_st_create(ctx, path, false, NULL, decls, COUNT_OF(decls), &w));
    GOLDEN_OK(ctx, opt_st_append(w, 0, words, sizeof words));
    GOLDEN_OK(ctx, opt_st_append(w, 1, factors, sizeof factors));
    opt_format_encode_rows(toy, opt_kern_get(ctx), head, NULL, codes, WORDS, WIDTH);
    GOLDEN_OK(ctx, opt_st_append(w, 2, codes, sizeof codes));
    GOLDEN_OK(ctx, opt_st_commit(w));
    opt_ctx_free(ctx);
}

typedef struct seen {
    const char *node;
    float x[4 * WIDTH];
} seen;

static opt_status remember(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                           int64_t width_in, int64_t pos0) {
    seen *s = user;
    assert_int_equal(n_tokens, 4);
    assert_int_equal(width_in, WIDTH);
    assert_int_equal(pos0, 0);
    s->node = node->name;
    memcpy(s->x, x, sizeof s->x);
    return OPT_OK;
}

static void test_walls__toy_model_runs(void **state) {
    static const int32_t ids[4] = {3, 0, 4, 1};
    char dir[256];
    seen s = {NULL, {0}};
    (void)state;
    test_make_dir(dir, sizeof dir);
    write_checkpoint(dir);
    rig r = rig_open(dir, OPT_COMPUTE_FAST, 0, 0, 2);
    assert_string_equal(r.model->arch->name, "toy");
    assert_int_equal(opt_session_n_ctx(r.session), 16);
    GOLDEN_OK(r.ctx, opt_session_capture(r.session, "twist", remember, &s));
    float *logits = rig_logits(&r, ids, 4, 4);
    assert_string_equal(s.node, "twist");
    for (int t = 0; t < 4; t++) {
        assert_memory_equal(s.x + t * WIDTH, words + ids[t] * WIDTH, WIDTH * sizeof(float));
        for (int v = 0; v < WORDS; v++) {
            float expected = 0; /* small binary fractions: exact in any order */
            for (int i = 0; i < WIDTH; i++) {
                expected += (words[ids[t] * WIDTH + i] * factors[i] + 0.5F) * head[v * WIDTH + i];
            }
            assert_true(logits[t * WORDS + v] == expected);
        }
    }
    free(logits);
    rig_close(&r);
    test_remove_dir(dir);
}

/* The new op's own weight and the head's input, by name and in a graph that nobody foresaw. */
static void test_walls__any_node_can_be_captured(void **state) {
    static const int32_t ids[4] = {3, 0, 4, 1};
    char dir[256];
    seen s = {NULL, {0}};
    (void)state;
    test_make_dir(dir, sizeof dir);
    write_checkpoint(dir);
    rig r = rig_open(dir, OPT_COMPUTE_EXACT, 0, 0, 1);
    GOLDEN_OK(r.ctx, opt_session_capture(r.session, "output", remember, &s));
    GOLDEN_OK(r.ctx, opt_session_eval(r.session, ids, 4, 4, NULL, NULL));
    assert_string_equal(s.node, "output");
    for (int i = 0; i < WIDTH; i++) {
        assert_true(s.x[i] == words[3 * WIDTH + i] * factors[i] + 0.5F);
    }
    rig_close(&r);
    test_remove_dir(dir);
}

/* A model of the library's own, stored in the new format: GGUF carries it as an own type. */
static void test_walls__toy_format_in_gguf(void **state) {
    char dir[256], path[300];
    static const int32_t ids[4] = {3, 1, 4, 1};
    float found[64], expected[64];
    (void)state;
    test_make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    rig from = rig_open(OPT_TESTDATA "/families/llama", OPT_COMPUTE_EXACT, 16, 0, 1);
    rewrite_as_gguf(from.ctx, from.model, path, &opt_format_toy);
    rig r = rig_open(path, OPT_COMPUTE_FAST, 16, 0, 1);
    const opt_kern *k = opt_kern_get(r.ctx);
    const int i = opt_model_find_weight(r.model, "blk.1.attn_q.weight");
    const int j = opt_model_find_weight(from.model, "blk.1.attn_q.weight");
    assert_ptr_equal(r.model->weights[i].tensor->format, &opt_format_toy);
    opt_weight_decode_rows(&r.model->weights[i], k, 5, 1, found);
    opt_weight_decode_rows(&from.model->weights[j], k, 5, 1, expected);
    for (int c = 0; c < 64; c++) {
        assert_true(fabsf(found[c] - expected[c]) <= 1.0F / 16.0F);
    }
    float *logits = rig_logits(&r, ids, 4, 4);
    assert_true(isfinite(logits[0]));
    free(logits);
    rig_close(&r);
    rig_close(&from);
    test_remove_dir(dir);
}

static void test_walls__messages_know_the_new_row(void **state) {
    static const char config[] = "{\"model_type\": \"other\"}";
    opt_ctx *ctx = test_ctx(1);
    opt_arena *arena = NULL;
    const opt_arch *arch = NULL;
    opt_hparams hp = {0};
    (void)state;
    GOLDEN_OK(ctx, opt_arena_new(ctx, &arena));
    assert_int_equal(
        opt_config_read_hf(ctx, arena, "config.json", config, strlen(config), &arch, &hp),
        OPT_ERR_UNSUPPORTED);
    assert_error(ctx, OPT_ERR_UNSUPPORTED, "config.json", "qwen3, toy)");
    opt_arena_free(arena);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walls__toy_model_runs),
        cmocka_unit_test(test_walls__any_node_can_be_captured),
        cmocka_unit_test(test_walls__toy_format_in_gguf),
        cmocka_unit_test(test_walls__messages_know_the_new_row),
    };
    return cmocka_run_group_tests_name("walls", tests, NULL, NULL);
}
