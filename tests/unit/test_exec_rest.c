/* The second plane of activations with outliers: as precise as without outliers, the same bits in
 * any company, for every format with an int8 product. */
#include "golden/golden.h"

#include "base/mem.h"
#include "base/rng.h"
#include "model/ops.h"
#include "support.h"

enum { N_ROWS = 48, N_TOKENS = 300, SUPER = 256 };

/* How a token's inputs are made. */
typedef enum kind { PLAIN, ONE, TWO, MANY, FLAT, N_KINDS } kind;

static kind kind_of(int64_t t) { return (kind)(t * 7 % 13 % N_KINDS); }

/* A model of one matrix: inputs from a feed, logits from a linear node. */
typedef struct matrix {
    opt_ctx *ctx;
    float *x;      /* [N_TOKENS, k] */
    uint8_t *data; /* [N_ROWS rows] */
    opt_tensor tensor;
    opt_weight weight;
    opt_feed feed;
    opt_node nodes[2];
    opt_model model;
} matrix;

static void fill_inputs(float *x, int64_t k) {
    const uint64_t key = opt_rng_key(3, "inputs", "outliers");
    for (int64_t t = 0; t < N_TOKENS; t++) {
        float *row = x + t * k;
        for (int64_t i = 0; i < k; i++) {
            row[i] = (float)opt_rng_normal(key, (uint64_t)(t * k + i));
        }
        switch (kind_of(t)) {
        case ONE: row[t * 7 % k] = 60.0f; break;
        case TWO: row[k - 1] = -80.0f, row[t % k] = 90.0f; break;
        case MANY: /* more than there is room for, and one that is still far above them */
            for (int64_t i = t % 32; i < k; i += 64) {
                row[i] = 40.0f;
            }
            row[5] = 4000.0f;
            break;
        case FLAT: memset(row, 0, (size_t)k * sizeof *row); break;
        default: break;
        }
    }
}

/* Whether the format has an int8 product, and can be written. */
static bool matrix_open(matrix *m, const opt_format *f, bool runs, int64_t k, int n_threads) {
    const opt_ctx_options options = {.n_threads = n_threads};
    *m = (matrix){0};
    assert_int_equal(opt_ctx_new(&options, &m->ctx), OPT_OK);
    const opt_kern *kern = opt_kern_get(m->ctx);
    size_t bytes = 0;
    const bool has = runs ? kern->linear_run[f->kfmt] != NULL && opt_tensor_can_run(f, N_ROWS, k)
                          : kern->linear_i8[f->kfmt] != NULL;
    if (!has || f->encode == NULL || !opt_format_bytes(f, N_ROWS, k, &bytes)) {
        opt_ctx_free(m->ctx);
        return false;
    }
    float *w = malloc((size_t)(N_ROWS * k) * sizeof *w);
    uint8_t *rows = malloc(bytes);
    m->x = malloc((size_t)(N_TOKENS * k) * sizeof *m->x);
    m->data = malloc(bytes);
    assert_true(w != NULL && rows != NULL && m->x != NULL && m->data != NULL);
    const uint64_t key = opt_rng_key(3, "weights", f->name);
    for (int64_t i = 0; i < N_ROWS * k; i++) {
        w[i] = (float)opt_rng_normal(key, (uint64_t)i);
    }
    opt_format_encode_rows(f, kern, w, NULL, rows, N_ROWS, k);
    m->tensor = (opt_tensor){
        .name = "w", .format = f, .n_dims = 2, .dims = {N_ROWS, k}, .bytes = bytes, .data = rows};
    m->weight = (opt_weight){
        .name = "w", .kind = "w", .tensor = &m->tensor, .n_dims = 2, .dims = {N_ROWS, k}};
    opt_weight_copy_runs(&m->weight, runs, 0, N_ROWS, m->data);
    m->tensor.runs = runs;
    m->tensor.data = m->data;
    free(rows);
    free(w);
    fill_inputs(m->x, k);
    m->feed = (opt_feed){.rows = m->x};
    m->nodes[0] = (opt_node){.name = "feed", .op = &opt_op_feed, .width = k};
    m->nodes[0].p.custom = &m->feed;
    m->nodes[1] = (opt_node){.name = "w", .op = &opt_op_linear, .n_in = 1, .width = N_ROWS};
    for (int i = 0; i < OPT_NODE_MAX_WEIGHTS; i++) {
        m->nodes[0].weights[i] = OPT_NO_WEIGHT;
        m->nodes[1].weights[i] = i == 0 ? 0 : OPT_NO_WEIGHT;
    }
    m->model = (opt_model){.ctx = m->ctx,
                           .name = "matrix",
                           .hp = {.n_vocab = N_ROWS, .n_ctx_train = N_TOKENS},
                           .n_nodes = 2,
                           .n_weights = 1,
                           .nodes = m->nodes,
                           .weights = &m->weight,
                           .logits = 1};
    return true;
}

static void matrix_close(matrix *m) {
    opt_ctx_free(m->ctx);
    free(m->x);
    free(m->data);
}

/* Products [N_TOKENS, N_ROWS] of all tokens, `chunk` at a time. Free with free(). */
static float *products(const matrix *m, opt_compute compute, int64_t n_batch, int64_t chunk) {
    opt_session *session = NULL;
    const opt_session_options options = {.compute = compute, .n_ctx = N_TOKENS, .n_batch = n_batch};
    int32_t ids[N_TOKENS] = {0};
    float *y = malloc((size_t)(N_TOKENS * N_ROWS) * sizeof *y);
    assert_non_null(y);
    GOLDEN_OK(m->ctx, opt_session_new(m->ctx, &m->model, &options, &session));
    for (int64_t t = 0; t < N_TOKENS; t += chunk) {
        const int64_t n = N_TOKENS - t < chunk ? N_TOKENS - t : chunk;
        logits_sink sink = {y + t * N_ROWS, N_ROWS};
        GOLDEN_OK(m->ctx, opt_session_eval(session, ids, n, 0, collect_logits, &sink));
    }
    opt_session_free(session);
    return y;
}

/* Mean squared errors of the tokens of each kind. */
static void errors(const float *y, const float *exact, double out[N_KINDS]) {
    int64_t n[N_KINDS] = {0};
    for (int64_t t = 0; t < N_TOKENS; t++) {
        n[kind_of(t)] += N_ROWS;
        for (int64_t r = 0; r < N_ROWS; r++) {
            const double d = (double)y[t * N_ROWS + r] - (double)exact[t * N_ROWS + r];
            out[kind_of(t)] += d * d;
        }
    }
    for (int i = 0; i < N_KINDS; i++) {
        assert_true(n[i] > 0);
        out[i] /= (double)n[i];
    }
}

static void check_format(const opt_format *f, bool runs, int64_t k) {
    static const struct {
        int64_t n_batch, chunk;
        int n_threads;
    } rows[] = {{512, 1, 1}, {512, 8, 3}, {5, 300, 2}, {130, 300, 1}, {512, 129, 2}};
    matrix m;
    if (!matrix_open(&m, f, runs, k, 2)) {
        return;
    }
    double error[N_KINDS] = {0};
    float *exact = products(&m, OPT_COMPUTE_EXACT, 512, N_TOKENS);
    float *fast = products(&m, OPT_COMPUTE_FAST, 512, N_TOKENS);
    errors(fast, exact, error);
    if (error[ONE] > 1.2 * error[PLAIN] || error[TWO] > 1.2 * error[PLAIN]) {
        fail_msg("%s, %d columns: mean squared errors %g of plain rows, %g and %g with outliers",
                 f->name, (int)k, error[PLAIN], error[ONE], error[TWO]);
    }
    assert_true(error[PLAIN] > 0 && error[FLAT] == 0);
    matrix_close(&m);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        assert_true(matrix_open(&m, f, runs, k, rows[i].n_threads));
        float *found = products(&m, OPT_COMPUTE_FAST, rows[i].n_batch, rows[i].chunk);
        if (memcmp(found, fast, (size_t)(N_TOKENS * N_ROWS) * sizeof *found) != 0) {
            fail_msg("%s, %d columns, case %d: other bits", f->name, (int)k, i);
        }
        free(found);
        matrix_close(&m);
    }
    free(exact);
    free(fast);
}

static void test_exec_rest__outliers_cost_the_others_nothing(void **state) {
    int n = 0;
    (void)state;
    for (size_t i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *f = opt_formats[i];
        if (f->block_elems > 1 && f->block_elems <= SUPER) {
            const int64_t k = f->block_elems < SUPER ? 544 : 3 * SUPER; /* 544: half a pad */
            check_format(f, false, f->block_elems > 32 && f->block_elems < SUPER ? 640 : k);
            check_format(f, true, k);
            n++;
        }
    }
    assert_true(n > 10);
}

/* The order of rows in the file changes no bit. */
static void test_exec_rest__the_same_with_rows_together(void **state) {
    (void)state;
    matrix a, b;
    assert_true(matrix_open(&a, &opt_format_q4_0, false, 544, 1));
    assert_true(matrix_open(&b, &opt_format_q4_0, true, 544, 1));
    float *x = products(&a, OPT_COMPUTE_FAST, 512, N_TOKENS);
    float *y = products(&b, OPT_COMPUTE_FAST, 512, N_TOKENS);
    assert_memory_equal(x, y, (size_t)(N_TOKENS * N_ROWS) * sizeof *x);
    free(x);
    free(y);
    matrix_close(&a);
    matrix_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_rest__outliers_cost_the_others_nothing),
        cmocka_unit_test(test_exec_rest__the_same_with_rows_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
