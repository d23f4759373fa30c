/* The plan of activation buffers: no two outputs that live at once may share memory. */
#include "support.h"

#include "exec/plan.h"
#include "model/arch.h"

/* ---- ops of this test: only what the planner looks at ---- */

static bool always_joins(const opt_exec_node *first, const opt_exec_node *next) {
    (void)first;
    (void)next;
    return true;
}

static const opt_exec_op plain = {.in_place = false};
static const opt_exec_op overwriting = {.in_place = true};
static const opt_exec_op joining = {.in_place = true, .joins = always_joins};

enum { MAX_NODES = 64 };

/* A graph without weights. */
typedef struct graph {
    opt_model m;
    opt_node nodes[MAX_NODES];
    opt_exec_node x[MAX_NODES];
} graph;

static void add_node(graph *g, const opt_exec_op *row, int64_t width, int a, int b) {
    const int i = g->m.n_nodes++;
    assert_true(i < MAX_NODES);
    g->nodes[i] = (opt_node){.name = "n", .n_in = b >= 0 ? 2 : 1, .in = {a, b, 0}, .width = width};
    g->x[i] = (opt_exec_node){.node = &g->nodes[i], .row = row, .idx = i};
    g->m.nodes = g->nodes;
    g->m.logits = i;
    g->m.name = "graph";
}

/* Step in which a node runs. */
static int step_of(const opt_step *steps, int n_steps, int node) {
    for (int s = 0; s < n_steps; s++) {
        if (node >= steps[s].first && node < steps[s].first + steps[s].n) {
            return s;
        }
    }
    fail_msg("node %d is in no step", node);
    return -1;
}

/*
 * Replays the plan: every byte belongs to the output that was last written there. A node must find
 * all its inputs whole; within a step all nodes read before any writes, except that an op that
 * works in place may write over its own input 0.
 */
static void check_plan(const graph *g, const opt_step *steps, int n_steps, const size_t *off,
                       size_t bytes, int64_t n_batch) {
    int *owner = malloc(bytes * sizeof *owner);
    assert_non_null(owner);
    memset(owner, 0xff, bytes * sizeof *owner);
    for (int s = 0; s < n_steps; s++) {
        for (int i = steps[s].first; i < steps[s].first + steps[s].n; i++) {
            if (i == g->m.logits) {
                assert_true(off[i] == SIZE_MAX);
                continue;
            }
            const size_t size = (size_t)(n_batch * g->nodes[i].width) * sizeof(float);
            assert_true(off[i] % 64 == 0 && off[i] + size <= bytes);
            for (size_t b = 0; b < size; b++) {
                owner[off[i] + b] = i;
            }
        }
        /* Now look at what every node of the step read: nobody but itself may have written there.
         */
        for (int i = steps[s].first; i < steps[s].first + steps[s].n; i++) {
            for (int j = 0; j < g->nodes[i].n_in; j++) {
                const int from = g->nodes[i].in[j];
                if (from == OPT_NODE_TOKENS) {
                    continue;
                }
                const size_t size = (size_t)(n_batch * g->nodes[from].width) * sizeof(float);
                const bool own =
                    i != g->m.logits && j == 0 && g->x[i].row->in_place && off[i] == off[from];
                for (size_t b = 0; b < size; b++) {
                    assert_int_equal(owner[off[from] + b], own ? i : from);
                }
                assert_true(step_of(steps, n_steps, from) < s);
            }
        }
    }
    free(owner);
}

static size_t plan_and_check(graph *g, int64_t n_batch, int *n_steps) {
    opt_ctx *ctx = test_ctx(1);
    opt_step steps[MAX_NODES];
    size_t off[MAX_NODES], bytes = 0;
    opt_plan_steps(g->x, g->m.n_nodes, steps, n_steps);
    assert_int_equal(
        opt_plan_buffers(ctx, &g->m, g->x, steps, *n_steps, n_batch, false, off, &bytes), OPT_OK);
    check_plan(g, steps, *n_steps, off, bytes, n_batch);
    opt_ctx_free(ctx);
    return bytes;
}

static void test_exec_plan__chain_needs_two_buffers(void **state) {
    graph g = {0};
    int n_steps = 0;
    (void)state;
    add_node(&g, &plain, 16, OPT_NODE_TOKENS, -1);
    for (int i = 0; i < 10; i++) {
        add_node(&g, &plain, 16, i, -1);
    }
    assert_int_equal(plan_and_check(&g, 1, &n_steps), 2 * 64);
    assert_int_equal(n_steps, 11);
}

static void test_exec_plan__in_place_chain_needs_one(void **state) {
    graph g = {0};
    int n_steps = 0;
    (void)state;
    add_node(&g, &plain, 16, OPT_NODE_TOKENS, -1);
    for (int i = 0; i < 10; i++) {
        add_node(&g, &overwriting, 16, i, -1);
    }
    assert_int_equal(plan_and_check(&g, 1, &n_steps), 64);
}

static void test_exec_plan__an_input_that_is_needed_later_stays(void **state) {
    graph g = {0};
    int n_steps = 0;
    (void)state;
    add_node(&g, &plain, 16, OPT_NODE_TOKENS, -1); /* 0 */
    add_node(&g, &overwriting, 16, 0, -1);         /* 1: may not take over 0 */
    add_node(&g, &overwriting, 16, 1, 0);          /* 2 */
    add_node(&g, &plain, 16, 2, -1);
    assert_int_equal(plan_and_check(&g, 1, &n_steps), 2 * 64);
}

static void test_exec_plan__twice_the_same_input_is_not_overwritten(void **state) {
    graph g = {0};
    int n_steps = 0;
    (void)state;
    add_node(&g, &plain, 16, OPT_NODE_TOKENS, -1);
    add_node(&g, &overwriting, 16, 0, 0);
    add_node(&g, &plain, 16, 1, -1);
    assert_int_equal(plan_and_check(&g, 1, &n_steps), 2 * 64);
}

static void test_exec_plan__steps_join_what_does_not_depend(void **state) {
    graph g = {0};
    int n_steps = 0;
    (void)state;
    add_node(&g, &plain, 16, OPT_NODE_TOKENS, -1);
    add_node(&g, &joining, 16, 0, -1); /* 1 .. 3 read the same rows: one step, nobody overwrites */
    add_node(&g, &joining, 16, 0, -1);
    add_node(&g, &joining, 16, 0, -1);
    add_node(&g, &joining, 16, 3, -1); /* depends on 3: a step of its own */
    add_node(&g, &plain, 16, 1, 2);
    add_node(&g, &plain, 16, 5, 4);
    add_node(&g, &plain, 16, 6, -1);
    (void)plan_and_check(&g, 3, &n_steps);
    assert_int_equal(n_steps, 6);
}

/* Random graphs: what matters is that the replay finds every input whole. */
static void test_exec_plan__random_graphs(void **state) {
    static const opt_exec_op *const rows[] = {&plain, &overwriting, &joining};
    uint32_t seed = 1;
    (void)state;
    for (int round = 0; round < 300; round++) {
        graph g = {0};
        int n_steps = 0;
        add_node(&g, &plain, 8, OPT_NODE_TOKENS, -1);
        for (int i = 1; i < 40; i++) {
            seed = seed * 1664525U + 1013904223U;
            const int back = 1 + (int)(seed >> 24) % 6;
            const int other = (int)(seed >> 16) % 3 == 0 ? (int)(seed >> 8) % i : -1;
            const int64_t width = 8 << ((seed >> 12) % 3);
            add_node(&g, rows[(seed >> 20) % 3], width, back > i ? 0 : i - back, other);
        }
        (void)plan_and_check(&g, 1 + round % 3, &n_steps);
    }
}

static void test_exec_plan__overflow_is_an_error(void **state) {
    graph g = {0};
    opt_step steps[MAX_NODES];
    size_t off[MAX_NODES], bytes = 0;
    int n_steps = 0;
    opt_ctx *ctx = test_ctx(1);
    (void)state;
    add_node(&g, &plain, INT64_MAX / 8, OPT_NODE_TOKENS, -1);
    add_node(&g, &plain, 8, 0, -1);
    opt_plan_steps(g.x, g.m.n_nodes, steps, &n_steps);
    assert_int_equal(opt_plan_buffers(ctx, &g.m, g.x, steps, n_steps, 512, false, off, &bytes),
                     OPT_ERR_MEMORY);
    assert_error(ctx, OPT_ERR_MEMORY, "graph", "512 tokens do not fit");
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_plan__chain_needs_two_buffers),
        cmocka_unit_test(test_exec_plan__in_place_chain_needs_one),
        cmocka_unit_test(test_exec_plan__an_input_that_is_needed_later_stays),
        cmocka_unit_test(test_exec_plan__twice_the_same_input_is_not_overwritten),
        cmocka_unit_test(test_exec_plan__steps_join_what_does_not_depend),
        cmocka_unit_test(test_exec_plan__random_graphs),
        cmocka_unit_test(test_exec_plan__overflow_is_an_error),
    };
    return cmocka_run_group_tests_name("exec_plan", tests, NULL, NULL);
}
