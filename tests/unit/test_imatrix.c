/* llama.cpp's importance matrices: written and read back, and files that are no such matrices. */
#include "support.h"

#include "calib/imatrix.h"
#include "io/gguf_write.h"

#include <math.h>
#include <unistd.h>

#define FILE_NAME "test_imatrix.gguf"

enum { N_COLS = 5 };

static void test_imatrix__reads_what_it_wrote(void **state) {
    opt_ctx *ctx = test_ctx(1);
    static const float mean[N_COLS] = {0.5F, 0.0F, 2.0F, 3.25F, 1e-3F};
    static const char *const texts[] = {"/some/place/wiki.txt", "code.txt"};
    const opt_imatrix_entry entries[] = {{"blk.0.attn_q.weight", mean, N_COLS, 1024},
                                         {NULL, NULL, 0, 0},
                                         {"output.weight", mean, 3, 8}};
    opt_imatrix *im = NULL;
    float got[N_COLS];
    bool found = false;
    (void)state;
    assert_int_equal(opt_imatrix_write(ctx, FILE_NAME, true, entries, 3, texts, 2, 16, 64), OPT_OK);
    assert_int_equal(opt_imatrix_open(ctx, FILE_NAME, &im), OPT_OK);
    assert_int_equal(opt_imatrix_get(im, "blk.0.attn_q.weight", N_COLS, got, &found), OPT_OK);
    assert_true(found);
    for (int i = 0; i < N_COLS; i++) {
        assert_true(fabsf(got[i] - mean[i]) <= 1e-6F * mean[i]);
    }
    assert_int_equal(opt_imatrix_get(im, "blk.0.attn_k.weight", N_COLS, got, &found), OPT_OK);
    assert_false(found);
    opt_imatrix_free(im);
    assert_int_equal(opt_imatrix_write(ctx, FILE_NAME, false, entries, 3, texts, 2, 16, 64),
                     OPT_ERR_USAGE);
    (void)unlink(FILE_NAME);
    opt_ctx_free(ctx);
}

/* A file with one entry that may be wrong. */
typedef struct bad_case {
    const char *type; /* general.type; NULL: none */
    const char *sums, *counts;
    const opt_format *format;
    int64_t n_rows, n_cols, n_counts;
    float sum, count;
    const char *message; /* that reading gives */
} bad_case;

static void write_case(opt_ctx *ctx, const bad_case *c) {
    opt_kv *kv = NULL;
    opt_gguf_writer *w = NULL;
    float values[64];
    const opt_gguf_decl decls[] = {{c->sums, c->format, 2, {c->n_rows, c->n_cols, 0, 0}, false},
                                   {c->counts, &opt_format_f32, 2, {1, c->n_counts, 0, 0}, false}};
    for (int i = 0; i < COUNT_OF(values); i++) {
        values[i] = 1.0F;
    }
    values[2] = c->sum;
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    if (c->type != NULL) {
        assert_int_equal(opt_kv_set_str(kv, "general.type", c->type), OPT_OK);
    }
    assert_int_equal(opt_gguf_create(ctx, FILE_NAME, true, kv, decls, 2, &w), OPT_OK);
    const size_t bytes = (size_t)(c->n_rows * c->n_cols) * c->format->block_bytes;
    assert_int_equal(opt_gguf_append(w, 0, values, bytes), OPT_OK);
    values[0] = c->count;
    assert_int_equal(opt_gguf_append(w, 1, values, (size_t)c->n_counts * sizeof(float)), OPT_OK);
    assert_int_equal(opt_gguf_commit(w), OPT_OK);
    opt_kv_free(kv);
}

static void test_imatrix__says_what_is_wrong(void **state) {
    const char *const type = "imatrix", *const sums = "a.in_sum2", *const counts = "a.counts";
    const opt_format *const f32 = &opt_format_f32;
    const bad_case cases[] = {
        {NULL, sums, counts, f32, 1, N_COLS, 1, 1, 1, "general.type is missing"},
        {"model", sums, counts, f32, 1, N_COLS, 1, 1, 1, "general.type is \"model\""},
        {type, sums, "b.counts", f32, 1, N_COLS, 1, 1, 1, "there is no a.counts beside it"},
        {type, sums, counts, &opt_format_f16, 1, N_COLS, 1, 1, 1, "stored as f16, expected f32"},
        {type, sums, counts, f32, 2, N_COLS, 1, 1, 1, "has 2 rows, expected 1"},
        {type, sums, counts, f32, 1, N_COLS + 1, 1, 1, 1, "has 6 columns, the model 5"},
        {type, sums, counts, f32, 1, N_COLS, 3, 1, 1, "has 3 columns"},
        {type, sums, counts, f32, 1, N_COLS, 1, 1, 0, "is 0, expected a number of tokens"},
        {type, sums, counts, f32, 1, N_COLS, 1, 1, -1, "is -1, expected a number of tokens"},
        {type, sums, counts, f32, 1, N_COLS, 1, 1, NAN, "expected a number of tokens"},
        {type, sums, counts, f32, 1, N_COLS, 1, -2, 1, "column 2 is -2, expected a sum"},
        {type, sums, counts, f32, 1, N_COLS, 1, INFINITY, 1, "column 2 is inf"},
        {type, sums, counts, f32, 1, N_COLS, 1, NAN, 1, "expected a sum of squares"},
    };
    (void)state;
    for (int i = 0; i < COUNT_OF(cases); i++) {
        opt_ctx *ctx = test_ctx(1);
        opt_imatrix *im = NULL;
        float got[N_COLS];
        bool found;
        write_case(ctx, &cases[i]);
        opt_status st = opt_imatrix_open(ctx, FILE_NAME, &im);
        if (st == OPT_OK) {
            st = opt_imatrix_get(im, "a", N_COLS, got, &found);
        }
        assert_int_equal(st, OPT_ERR_INPUT);
        assert_non_null(strstr(opt_ctx_error_message(ctx), cases[i].message));
        opt_imatrix_free(im);
        opt_ctx_free(ctx);
    }
    (void)unlink(FILE_NAME);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_imatrix__reads_what_it_wrote),
        cmocka_unit_test(test_imatrix__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
