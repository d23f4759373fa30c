/*
 * The walks of quantize and pack on a checkpoint made for the case: defaults per role, rules,
 * widths that do not fit, weights that cannot be stored, and that padding does not change the
 * function.
 */
#include "tiny_checkpoint.h"

#include "exec/session.h"
#include "io/gguf_write.h"
#include "opt/quantize.h"

typedef struct place {
    char dir[256], out[300], expanded[300], cut[300];
} place;

static place make_place(opt_ctx *ctx, const tiny_options *o) {
    place p;
    test_make_dir(p.dir, sizeof p.dir);
    (void)snprintf(p.out, sizeof p.out, "%s/out.gguf", p.dir);
    (void)snprintf(p.expanded, sizeof p.expanded, "%s/expanded.gguf", p.dir);
    (void)snprintf(p.cut, sizeof p.cut, "%s/cut.gguf", p.dir);
    tiny_write(ctx, p.dir, o);
    return p;
}

static opt_quantize_options options_of(const place *p, const char *format) {
    return (opt_quantize_options){
        .input = p->dir, .output = p->out, .format = format, .width_policy = OPT_WIDTH_NEXT};
}

static const opt_tensor_result *find_row(const opt_quantize_result *r, const char *name) {
    for (int64_t i = 0; i < r->n_tensors; i++) {
        if (strcmp(r->tensors[i].name, name) == 0) {
            return &r->tensors[i];
        }
    }
    fail_msg("no tensor %s in the result", name);
    return NULL;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

/* What each role gets without rules. */
static void test_quantize__defaults_per_role(void **state) {
    (void)state;
    static const struct {
        const char *format;
        bool untied;
        const char *linear, *embedding, *head;
    } rows[] = {
        {"q4_0", false, "q4_0", "q8_0", NULL},
        {"q4_0", true, "q4_0", "q4_0", "q8_0"},
        {"q8_0", true, "q8_0", "q8_0", "q8_0"},
        {"int4_g32", false, "int4_g32", "q8_0", NULL},
        {"int8_g64", true, "int8_g64", "int8_g64", "int8_g64"},
        {"f16", true, "f16", "f16", "f16"},
        {"bf16", false, "bf16", "bf16", NULL},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(2);
        const place p = make_place(ctx, &(tiny_options){.untied = rows[i].untied});
        opt_quantize_options o = options_of(&p, rows[i].format);
        opt_quantize_result r = {0};
        o.dry_run = true;
        assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
        assert_string_equal(find_row(&r, "blk.0.attn_q.weight")->format, rows[i].linear);
        assert_string_equal(find_row(&r, "token_embd.weight")->format, rows[i].embedding);
        assert_string_equal(find_row(&r, "blk.0.attn_norm.weight")->format, "f32");
        assert_string_equal(find_row(&r, "blk.0.attn_norm.weight")->action, "copied");
        if (rows[i].head != NULL) {
            assert_string_equal(find_row(&r, "output.weight")->format, rows[i].head);
        }
        assert_false(exists(p.out));
        opt_quantize_result_free(&r);
        test_remove_dir(p.dir);
        opt_ctx_free(ctx);
    }
}

/* n_ff is 40: no multiple of 32. */
static void test_quantize__widths_that_do_not_fit(void **state) {
    (void)state;
    static const struct {
        const char *format;
        unsigned policy;
        const char *rule;   /* or NULL */
        const char *down;   /* format of ffn_down; NULL: refused */
        const char *action; /* of ffn_down */
        int64_t n_ff;       /* in the file */
    } rows[] = {
        {"q4_0", OPT_WIDTH_NEXT, NULL, "f16", "converted", 40},
        {"q4_0", OPT_WIDTH_OWN, NULL, "int4_g32", "quantized", 40},
        {"q4_1", OPT_WIDTH_OWN, NULL, "int4_g32_zp", "quantized", 40},
        {"q5_0", OPT_WIDTH_OWN, NULL, "int8_g32", "quantized", 40},
        {"q8_0", OPT_WIDTH_OWN | OPT_WIDTH_NEXT, NULL, "int8_g32", "quantized", 40},
        {"q4_0", OPT_WIDTH_PAD, NULL, "q4_0", "padded", 64},
        {"q4_0", OPT_WIDTH_PAD | OPT_WIDTH_OWN | OPT_WIDTH_NEXT, NULL, "q4_0", "padded", 64},
        {"q4_0", 0, NULL, NULL, NULL, 0},
        {"q4_0", 0, "ffn_down:width=own", "int4_g32", "quantized", 40},
        {"q4_0", 0, "ffn_down:width=pad+next", "q4_0", "padded", 64},
        {"q4_0", OPT_WIDTH_PAD, "ffn_down:width=refuse", NULL, NULL, 0},
        {"q4_0", 0, "ffn_down:format=int8_g128", "int8_g128", "quantized", 40},
        {"int3_g64", 0, NULL, "int3_g64", "quantized", 40},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        opt_ctx *ctx = test_ctx(1);
        const place p = make_place(ctx, &(tiny_options){0});
        opt_quantize_options o = options_of(&p, rows[i].format);
        opt_quantize_result r = {0};
        o.width_policy = rows[i].policy;
        o.rules = &rows[i].rule;
        o.n_rules = rows[i].rule != NULL;
        if (rows[i].down == NULL) {
            assert_int_equal(opt_quantize(ctx, &o, &r), OPT_ERR_USAGE);
            assert_error(ctx, OPT_ERR_USAGE, "blk.0.ffn_down.weight", "rows have 40 elements");
            assert_false(exists(p.out));
        } else {
            assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
            const opt_tensor_result *down = find_row(&r, "blk.0.ffn_down.weight");
            assert_string_equal(down->format, rows[i].down);
            assert_string_equal(down->action, rows[i].action);
            assert_int_equal(down->n_cols, rows[i].n_ff);
            assert_int_equal(find_row(&r, "blk.0.ffn_up.weight")->n_rows, rows[i].n_ff);
            assert_true(down->rel_error < 0.05);
            opt_source *source = NULL;
            opt_model *m = NULL;
            assert_int_equal(opt_source_open(ctx, p.out, &source), OPT_OK);
            assert_int_equal(opt_model_open(ctx, source, &m), OPT_OK);
            assert_int_equal(m->hp.n_ff, rows[i].n_ff);
            opt_model_free(m);
            opt_source_close(source);
            opt_quantize_result_free(&r);
        }
        test_remove_dir(p.dir);
        opt_ctx_free(ctx);
    }
}

static void test_quantize__weights_that_cannot_be_stored(void **state) {
    (void)state;
    static const char down[] = "model.layers.0.mlp.down_proj.weight";
    static const struct {
        const char *format;
        tiny_options tiny;
        const char *object, *message; /* NULL: fine */
    } rows[] = {
        {"q8_0",
         {.tensor = down, .at = {41, 90, 1000}, .value = NAN},
         "blk.0.ffn_down.weight",
         "3 of 1280 weights are NaN or infinite; the first is element 41 (row 1, column 1)"},
        {"q4_0",
         {.tensor = down, .at = {1279, -1, -1}, .value = -INFINITY},
         "blk.0.ffn_down.weight",
         "1 of 1280 weights are NaN or infinite; the first is element 1279 (row 31, column 39)"},
        {"f32",
         {.tensor = down, .at = {0, -1, -1}, .value = INFINITY},
         "blk.0.ffn_down.weight",
         "element 0"},
        {"q8_0",
         {.tensor = "model.norm.weight", .at = {5, -1, -1}, .value = NAN},
         "output_norm.weight",
         "1 of 32 weights"},
        {"f16",
         {.tensor = down, .at = {3, -1, -1}, .value = 65536.0F},
         "blk.0.ffn_down.weight",
         "the weight 65536 at row 0, column 3 is too large for f16, which ends at 65504"},
        {"f16", {.tensor = down, .at = {3, -1, -1}, .value = 65504.0F}, NULL, NULL},
        {"bf16", {.tensor = down, .at = {3, -1, -1}, .value = 1e38F}, NULL, NULL},
        {"q4_0",
         {.tensor = "model.layers.0.self_attn.o_proj.weight", .at = {7, -1, -1}, .value = 1e30F},
         "blk.0.attn_output.weight",
         "too large for q4_0"},
        {"q4_0", {.tensor = down, .at = {3, -1, -1}, .value = 1e-40F}, NULL, NULL},
    };
    for (int i = 0; i < COUNT_OF(rows); i++) {
        for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
            opt_ctx *ctx = test_ctx(n_threads);
            const place p = make_place(ctx, &rows[i].tiny);
            opt_quantize_options o = options_of(&p, rows[i].format);
            opt_quantize_result r = {0};
            const opt_status st = opt_quantize(ctx, &o, &r);
            if (rows[i].object != NULL) {
                if (st != OPT_ERR_NUMERIC) {
                    fail_msg("row %d: %s", i, opt_status_name(st));
                }
                assert_error(ctx, OPT_ERR_NUMERIC, rows[i].object, rows[i].message);
                assert_false(exists(p.out));
            } else {
                assert_int_equal(st, OPT_OK);
                opt_quantize_result_free(&r);
            }
            test_remove_dir(p.dir);
            opt_ctx_free(ctx);
        }
    }
}

static void test_quantize__every_source_tensor_is_listed(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    const place p =
        make_place(ctx, &(tiny_options){.extra = "model.layers.0.self_attn.rotary_emb.inv_freq"});
    opt_quantize_options o = options_of(&p, "q8_0");
    opt_quantize_result r = {0};
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
    assert_int_equal(r.n_tensors, 12);
    const opt_tensor_result *last = &r.tensors[11];
    assert_string_equal(last->name, "model.layers.0.self_attn.rotary_emb.inv_freq");
    assert_string_equal(last->action, "dropped");
    assert_true(last->note[0] != 0);
    opt_quantize_result_free(&r);
    test_remove_dir(p.dir);
    opt_ctx_free(ctx);
}

static void test_quantize__unknown_tensor_is_an_error(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    const place p = make_place(ctx, &(tiny_options){.extra = "model.layers.0.mystery.weight"});
    opt_quantize_options o = options_of(&p, "q8_0");
    opt_quantize_result r = {0};
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_ERR_INPUT);
    assert_error(ctx, OPT_ERR_INPUT, NULL, "mystery");
    assert_false(exists(p.out));
    test_remove_dir(p.dir);
    opt_ctx_free(ctx);
}

static void test_quantize__rules_by_any_name(void **state) {
    (void)state;
    static const char *const rules[] = {"*:format=q5_0", "attn_v:format=f16",
                                        "model.layers.0.mlp.up_proj*:format=q8_0",
                                        "blk.0.ffn_gate:format=bf16", "role=embedding:format=f32"};
    opt_ctx *ctx = test_ctx(1);
    const place p = make_place(ctx, &(tiny_options){0});
    opt_quantize_options o = options_of(&p, "q4_0");
    opt_quantize_result r = {0};
    o.rules = rules;
    o.n_rules = COUNT_OF(rules);
    o.dry_run = true;
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
    assert_string_equal(find_row(&r, "blk.0.attn_q.weight")->format, "q5_0");
    assert_string_equal(find_row(&r, "blk.0.attn_v.weight")->format, "f16");
    assert_string_equal(find_row(&r, "blk.0.ffn_up.weight")->format, "q8_0");
    assert_string_equal(find_row(&r, "blk.0.ffn_gate.weight")->format, "bf16");
    assert_string_equal(find_row(&r, "token_embd.weight")->format, "f32");
    const opt_tensor_result *norm = find_row(&r, "output_norm.weight");
    assert_string_equal(norm->format, "f32");
    assert_non_null(strstr(norm->note, "vectors are not quantized"));
    opt_quantize_result_free(&r);
    test_remove_dir(p.dir);
    opt_ctx_free(ctx);
}

static void test_quantize__quantized_input_only_when_allowed(void **state) {
    (void)state;
    opt_ctx *ctx = test_ctx(1);
    const place p = make_place(ctx, &(tiny_options){0});
    opt_quantize_options o = options_of(&p, "q8_0");
    opt_quantize_result r = {0};
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
    opt_quantize_result_free(&r);
    o.input = p.out;
    o.output = p.cut;
    o.format = "q4_0";
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_ERR_USAGE);
    assert_error(ctx, OPT_ERR_USAGE, NULL, "quantized already (q8_0)");
    o.allow_requantize = true;
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
    assert_string_equal(find_row(&r, "blk.0.attn_q.weight")->action, "quantized");
    assert_string_equal(find_row(&r, "token_embd.weight")->action,
                        "copied"); /* q8_0 stays as it is */
    opt_quantize_result_free(&r);
    o.output = p.out;
    o.force = true;
    assert_int_equal(opt_quantize(ctx, &o, &r), OPT_ERR_USAGE); /* the input itself */
    test_remove_dir(p.dir);
    opt_ctx_free(ctx);
}

/** Writes the f32 file `from` again to `to` with the feed-forward width cut back to n_ff. */
static void cut_feed_forward(opt_ctx *ctx, const char *from, const char *to, int64_t n_ff) {
    opt_source *source = NULL;
    opt_model *m = NULL;
    opt_kv *kv = NULL;
    assert_int_equal(opt_source_open(ctx, from, &source), OPT_OK);
    assert_int_equal(opt_model_open(ctx, source, &m), OPT_OK);
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    for (size_t i = 0; i < opt_kv_count(opt_source_kv(source)); i++) {
        assert_int_equal(opt_kv_copy(kv, opt_kv_at(opt_source_kv(source), i)), OPT_OK);
    }
    assert_int_equal(opt_kv_set_u32(kv, "llama.feed_forward_length", (uint32_t)n_ff), OPT_OK);
    opt_gguf_decl decls[16];
    assert_in_range(m->n_weights, 1, 16);
    for (int i = 0; i < m->n_weights; i++) {
        const opt_weight *w = &m->weights[i];
        decls[i] = (opt_gguf_decl){.name = w->name, .format = &opt_format_f32, .n_dims = w->n_dims};
        for (int d = 0; d < w->n_dims; d++) {
            decls[i].dims[d] = w->dims[d] == m->hp.n_ff ? n_ff : w->dims[d];
        }
    }
    opt_gguf_writer *writer = NULL;
    assert_int_equal(opt_gguf_create(ctx, to, true, kv, decls, m->n_weights, &writer), OPT_OK);
    for (int i = 0; i < m->n_weights; i++) {
        const opt_tensor *t = m->weights[i].tensor;
        const int64_t cols = decls[i].dims[decls[i].n_dims - 1];
        const int64_t rows = decls[i].n_dims == 2 ? decls[i].dims[0] : 1;
        for (int64_t r = 0; r < rows; r++) {
            assert_int_equal(
                opt_gguf_append(writer, i, opt_tensor_row(t, r), (size_t)cols * sizeof(float)),
                OPT_OK);
        }
        for (int64_t r = 0; r < opt_tensor_n_rows(t); r++) { /* what is cut off is zero */
            const float *row = (const float *)(const void *)opt_tensor_row(t, r);
            for (int64_t c = r < rows ? cols : 0; c < opt_tensor_n_cols(t); c++) {
                assert_true(row[c] == 0);
            }
        }
    }
    assert_int_equal(opt_gguf_commit(writer), OPT_OK);
    opt_kv_free(kv);
    opt_model_free(m);
    opt_source_close(source);
}

#define N_TOKENS 9

static opt_status keep_logits(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    memcpy((float *)user + row0 * TINY_VOCAB, logits,
           (size_t)(n_rows * TINY_VOCAB) * sizeof *logits);
    return OPT_OK;
}

static void collect(float *all, const char *path, opt_ctx *ctx) {
    static const int32_t tokens[N_TOKENS] = {1, 5, 9, 40, 47, 0, 3, 3, 12};
    opt_source *source = NULL;
    opt_model *m = NULL;
    opt_session *s = NULL;
    const opt_session_options o = {.compute = OPT_COMPUTE_EXACT, .n_ctx = 16};
    assert_int_equal(opt_source_open(ctx, path, &source), OPT_OK);
    assert_int_equal(opt_model_open(ctx, source, &m), OPT_OK);
    assert_int_equal(opt_session_new(ctx, m, &o, &s), OPT_OK);
    assert_int_equal(opt_session_eval(s, tokens, N_TOKENS, 0, keep_logits, all), OPT_OK);
    opt_session_free(s);
    opt_model_free(m);
    opt_source_close(source);
}

/* The padded model and the same numbers without the zeros give the same logits; so does the
 * expansion to f32. */
static void test_quantize__padding_preserves_the_function(void **state) {
    (void)state;
    static const char *const formats[] = {"q8_0", "q4_0", "q4_1", "q5_1"};
    for (int i = 0; i < COUNT_OF(formats); i++) {
        opt_ctx *ctx = test_ctx(2);
        const place p = make_place(ctx, &(tiny_options){0});
        opt_quantize_options o = options_of(&p, formats[i]);
        opt_quantize_result r = {0};
        o.width_policy = OPT_WIDTH_PAD;
        /* formats with an offset do not store zeros exactly: only what meets them must be zero */
        const char *rule = "ffn_down:format=q8_0";
        o.rules = &rule;
        o.n_rules = 1;
        assert_int_equal(opt_quantize(ctx, &o, &r), OPT_OK);
        opt_quantize_result_free(&r);
        const opt_pack_options pack = {.input = p.out, .output = p.expanded, .to = "gguf-f32"};
        assert_int_equal(opt_pack(ctx, &pack, &r), OPT_OK);
        opt_quantize_result_free(&r);
        cut_feed_forward(ctx, p.expanded, p.cut, 40);
        float padded[N_TOKENS * TINY_VOCAB], expanded[N_TOKENS * TINY_VOCAB],
            cut[N_TOKENS * TINY_VOCAB];
        collect(padded, p.out, ctx);
        collect(expanded, p.expanded, ctx);
        collect(cut, p.cut, ctx);
        assert_memory_equal(padded, expanded, sizeof padded);
        for (int k = 0; k < N_TOKENS * TINY_VOCAB; k++) {
            if (fabsf(padded[k] - cut[k]) > 1e-5F) {
                fail_msg("%s: logit %d is %g with padding, %g without", formats[i], k,
                         (double)padded[k], (double)cut[k]);
            }
        }
        test_remove_dir(p.dir);
        opt_ctx_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize__defaults_per_role),
        cmocka_unit_test(test_quantize__widths_that_do_not_fit),
        cmocka_unit_test(test_quantize__weights_that_cannot_be_stored),
        cmocka_unit_test(test_quantize__every_source_tensor_is_listed),
        cmocka_unit_test(test_quantize__unknown_tensor_is_an_error),
        cmocka_unit_test(test_quantize__rules_by_any_name),
        cmocka_unit_test(test_quantize__quantized_input_only_when_allowed),
        cmocka_unit_test(test_quantize__padding_preserves_the_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
