#include "base/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static const int thread_counts[] = {1, 2, 3, 7};
enum { N_THREAD_COUNTS = sizeof thread_counts / sizeof thread_counts[0], N_TILES = 1000 };

static opt_ctx *new_ctx(int n_threads) {
    opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.n_threads = n_threads};
    assert_int_equal(opt_ctx_new(&options, &ctx), OPT_OK);
    return ctx;
}

typedef struct counters {
    opt_ctx *ctx;
    atomic_int runs[N_TILES];
    atomic_int bad_worker;
    int64_t fail_from; /* tiles >= this fail */
    int64_t fail_step; /* of those, every n-th */
} counters;

static opt_status count_tile(void *user, int64_t tile, int worker) {
    counters *c = user;
    atomic_fetch_add(&c->runs[tile], 1);
    if (worker < 0 || worker >= opt_ctx_n_threads(c->ctx)) {
        atomic_store(&c->bad_worker, 1);
    }
    return OPT_OK;
}

static void test_pool__every_tile_runs_once(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        for (int64_t n = 0; n <= N_TILES; n = n < 10 ? n + 1 : n * 10) {
            static counters c;
            memset(&c, 0, sizeof c);
            c.ctx = ctx;
            assert_int_equal(opt_parallel_for(ctx, n, count_tile, &c), OPT_OK);
            for (int64_t i = 0; i < N_TILES; i++) {
                assert_int_equal(c.runs[i], i < n ? 1 : 0);
            }
            assert_int_equal(c.bad_worker, 0);
        }
        opt_ctx_free(ctx);
    }
}

static opt_status fail_some(void *user, int64_t tile, int worker) {
    counters *c = user;
    (void)worker;
    if (tile >= c->fail_from && (tile - c->fail_from) % c->fail_step == 0) {
        if (tile == c->fail_from) {
            usleep(2000); /* higher failures come first in time */
        }
        return opt_fail(c->ctx, OPT_ERR_NUMERIC, "tile", "failed at %d", (int)tile);
    }
    return OPT_OK;
}

static void test_pool__lowest_failed_tile_wins(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        for (int round = 0; round < 50; round++) {
            static counters c;
            memset(&c, 0, sizeof c);
            c.ctx = ctx;
            c.fail_from = 10 + round;
            c.fail_step = 1;
            char expected[64];
            (void)snprintf(expected, sizeof expected, "failed at %d", 10 + round);
            assert_int_equal(opt_parallel_for(ctx, N_TILES, fail_some, &c), OPT_ERR_NUMERIC);
            assert_int_equal(opt_ctx_status(ctx), OPT_ERR_NUMERIC);
            assert_string_equal(opt_ctx_error_object(ctx), "tile");
            assert_string_equal(opt_ctx_error_message(ctx), expected);
            opt_ctx_clear_error(ctx);
        }
        opt_ctx_free(ctx);
    }
}

static opt_status recover(void *user, int64_t tile, int worker) {
    counters *c = user;
    (void)worker;
    if (tile % 3 == 0) { /* an attempt that failed, then another way that worked */
        opt_ignore(opt_fail(c->ctx, OPT_ERR_NUMERIC, NULL, "attempt %d", (int)tile));
    }
    return tile == 500 ? opt_fail(c->ctx, OPT_ERR_INPUT, NULL, "real") : OPT_OK;
}

static void test_pool__recovered_errors_are_forgotten(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        static counters c;
        c.ctx = ctx;
        assert_int_equal(opt_parallel_for(ctx, 400, recover, &c), OPT_OK);
        assert_int_equal(opt_ctx_status(ctx), OPT_OK);
        assert_int_equal(opt_parallel_for(ctx, 600, recover, &c), OPT_ERR_INPUT);
        assert_string_equal(opt_ctx_error_message(ctx), "real");
        opt_ctx_free(ctx);
    }
}

static opt_status fail_silently(void *user, int64_t tile, int worker) {
    (void)user;
    (void)worker;
    return tile == 7 ? OPT_ERR_NUMERIC : OPT_OK;
}

static void test_pool__failure_without_message_gets_one(void **state) {
    (void)state;
    opt_ctx *ctx = new_ctx(2);
    assert_int_equal(opt_parallel_for(ctx, 20, fail_silently, NULL), OPT_ERR_NUMERIC);
    assert_int_equal(opt_ctx_status(ctx), OPT_ERR_NUMERIC);
    assert_string_equal(opt_ctx_error_message(ctx), "work item 7 failed (numeric)");
    opt_ctx_free(ctx);
}

typedef struct nested {
    opt_ctx *ctx;
    int worker[64];
    atomic_int wrong;
} nested;

typedef struct inner {
    nested *outer;
    int64_t next;
    int worker;
} inner;

static opt_status inner_tile(void *user, int64_t tile, int worker) {
    inner *in = user;
    if (tile != in->next || worker != in->worker) {
        atomic_store(&in->outer->wrong, 1);
    }
    in->next++;
    return OPT_OK;
}

static opt_status outer_tile(void *user, int64_t tile, int worker) {
    nested *n = user;
    inner in = {.outer = n, .worker = worker};
    n->worker[tile] = worker;
    const opt_status st = opt_parallel_for(n->ctx, 10, inner_tile, &in);
    if (in.next != 10) {
        atomic_store(&n->wrong, 1);
    }
    return st;
}

static void test_pool__nested_calls_run_in_order_on_the_same_worker(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        nested n = {.ctx = ctx};
        assert_int_equal(opt_parallel_for(ctx, 64, outer_tile, &n), OPT_OK);
        assert_int_equal(n.wrong, 0);
        opt_ctx_free(ctx);
    }
}

typedef struct two {
    opt_ctx *other;
    atomic_int sum;
} two;

static opt_status add_one(void *user, int64_t tile, int worker) {
    (void)tile;
    (void)worker;
    atomic_fetch_add((atomic_int *)user, 1);
    return OPT_OK;
}

static opt_status use_other(void *user, int64_t tile, int worker) {
    two *t = user;
    (void)tile;
    (void)worker;
    return opt_parallel_for(t->other, 5, add_one, &t->sum);
}

static void test_pool__contexts_may_nest(void **state) {
    (void)state;
    opt_ctx *a = new_ctx(2);
    opt_ctx *b = new_ctx(2);
    two t = {.other = b};
    assert_int_equal(opt_parallel_for(a, 20, use_other, &t), OPT_OK);
    assert_int_equal(t.sum, 100);
    opt_ctx_free(a);
    opt_ctx_free(b);
}

static opt_status cancel_at(void *user, int64_t tile, int worker) {
    counters *c = user;
    (void)worker;
    atomic_fetch_add(&c->runs[tile], 1);
    if (tile == 5) {
        opt_ctx_cancel(c->ctx, 15);
    }
    return OPT_OK;
}

static void test_pool__cancellation_stops_between_tiles(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        static counters c;
        memset(&c, 0, sizeof c);
        c.ctx = ctx;
        assert_int_equal(opt_parallel_for(ctx, N_TILES, cancel_at, &c), OPT_ERR_TERMINATED);
        assert_int_equal(opt_ctx_status(ctx), OPT_ERR_TERMINATED);
        assert_int_equal(c.runs[N_TILES - 1], 0);
        opt_ctx_clear_error(ctx);
        assert_int_equal(opt_parallel_for(ctx, 5, cancel_at, &c), OPT_OK);
        opt_ctx_free(ctx);
    }
}

static opt_status warn_tile(void *user, int64_t tile, int worker) {
    (void)worker;
    if (tile % 10 == 0) {
        opt_warn(user, "tile", "first of %d", (int)tile);
        opt_warn(user, "tile", "second of %d", (int)tile);
    }
    return OPT_OK;
}

static void test_pool__warnings_are_in_tile_order(void **state) {
    (void)state;
    for (int t = 0; t < N_THREAD_COUNTS; t++) {
        opt_ctx *ctx = new_ctx(thread_counts[t]);
        opt_warn(ctx, NULL, "before");
        assert_int_equal(opt_parallel_for(ctx, 200, warn_tile, ctx), OPT_OK);
        assert_int_equal(opt_ctx_n_warnings(ctx), 41);
        assert_string_equal(opt_ctx_warning(ctx, 0), "before");
        for (int i = 0; i < 40; i++) {
            char expected[64];
            (void)snprintf(expected, sizeof expected, "tile: %s of %d",
                           i % 2 == 0 ? "first" : "second", i / 2 * 10);
            assert_string_equal(opt_ctx_warning(ctx, i + 1), expected);
        }
        opt_ctx_free(ctx);
    }
}

static opt_status alloc_tile(void *user, int64_t tile, int worker) {
    (void)worker;
    opt_ctx *ctx = user;
    void *p = opt_alloc(ctx, (size_t)tile * 16);
    opt_free(ctx, p);
    return p != NULL ? OPT_OK : OPT_ERR_MEMORY;
}

static void test_pool__many_short_sections(void **state) {
    (void)state;
    opt_ctx *ctx = new_ctx(3);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(opt_parallel_for(ctx, 1 + i % 5, alloc_tile, ctx), OPT_OK);
        if (i % 1000 == 0) {
            usleep(1000); /* long enough for the workers to fall asleep */
        }
    }
    opt_ctx_free(ctx);
}

static void *caller_main(void *arg) {
    two *t = arg;
    for (int i = 0; i < 200; i++) {
        if (opt_parallel_for(t->other, 7, add_one, &t->sum) != OPT_OK) {
            return arg;
        }
    }
    return NULL;
}

static void test_pool__callers_take_turns(void **state) {
    (void)state;
    opt_ctx *ctx = new_ctx(2);
    two t = {.other = ctx};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, caller_main, &t), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(t.sum, 3 * 200 * 7);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__every_tile_runs_once),
        cmocka_unit_test(test_pool__lowest_failed_tile_wins),
        cmocka_unit_test(test_pool__recovered_errors_are_forgotten),
        cmocka_unit_test(test_pool__failure_without_message_gets_one),
        cmocka_unit_test(test_pool__nested_calls_run_in_order_on_the_same_worker),
        cmocka_unit_test(test_pool__contexts_may_nest),
        cmocka_unit_test(test_pool__cancellation_stops_between_tiles),
        cmocka_unit_test(test_pool__warnings_are_in_tile_order),
        cmocka_unit_test(test_pool__many_short_sections),
        cmocka_unit_test(test_pool__callers_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
