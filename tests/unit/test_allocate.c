/* The allocator against all choices, on many small random problems; and what it promises on larger
 * ones. */
#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "solve/allocate.h"

enum { MAX_ITEMS = 300, MAX_WAYS = 12 };

typedef struct problem {
    opt_way ways[MAX_ITEMS][MAX_WAYS];
    opt_ways items[MAX_ITEMS];
    int n;
} problem;

/* Costs that fall with the weight as those of formats do, with some that are dominated; few
 * distinct values when `coarse`, so that there are ties. */
static void make_problem(problem *p, uint64_t seed, int n_items, int max_ways, bool coarse) {
    const uint64_t key = opt_rng_key(seed, "problem", "test");
    uint64_t at = 0;
    p->n = n_items;
    for (int i = 0; i < n_items; i++) {
        const int n = 1 + (int)(opt_rng_u64(key, at++) % (uint64_t)max_ways);
        const double size = coarse ? 32.0 : 1000.0 + (double)(opt_rng_u64(key, at++) % 100000);
        const double pain = coarse ? 1.0 : (double)(1 + opt_rng_u64(key, at++) % 1000);
        for (int k = 0; k < n; k++) {
            const int bits = 2 + (int)(opt_rng_u64(key, at++) % 7);
            const double noise = 1.0 + (double)(opt_rng_u64(key, at++) % 100) / 100.0;
            p->ways[i][k] = (opt_way){floor(size * bits),
                                      coarse ? (double)(9 - bits) : pain * noise * pow(4, -bits)};
        }
        p->items[i] = (opt_ways){p->ways[i], n};
    }
}

/* The least cost within the limit, by trying everything; INFINITY if nothing fits. */
static double try_all(const problem *p, double limit, int i, double weight, double cost) {
    if (i == p->n) {
        return weight <= limit ? cost : INFINITY;
    }
    double best = INFINITY;
    for (int k = 0; k < p->items[i].n; k++) {
        best = fmin(best, try_all(p, limit, i + 1, weight + p->ways[i][k].weight,
                                  cost + p->ways[i][k].cost));
    }
    return best;
}

static double lightest(const problem *p) {
    double sum = 0.0;
    for (int i = 0; i < p->n; i++) {
        double least = INFINITY;
        for (int k = 0; k < p->items[i].n; k++) {
            least = fmin(least, p->ways[i][k].weight);
        }
        sum += least;
    }
    return sum;
}

static double heaviest(const problem *p) {
    double sum = 0.0;
    for (int i = 0; i < p->n; i++) {
        double most = 0.0;
        for (int k = 0; k < p->items[i].n; k++) {
            most = fmax(most, p->ways[i][k].weight);
        }
        sum += most;
    }
    return sum;
}

/* The sums that are told are those of what was chosen. */
static void check_sums(const problem *p, const int32_t *chosen, const opt_allocation *a) {
    double weight = 0.0, cost = 0.0;
    for (int i = 0; i < p->n; i++) {
        assert_in_range(chosen[i], 0, p->items[i].n - 1);
        weight += p->ways[i][chosen[i]].weight;
        cost += p->ways[i][chosen[i]].cost;
    }
    assert_true(weight == a->weight);
    assert_true(cost == a->cost);
}

static void test_allocate__finds_the_optimum(void **state) {
    opt_ctx *ctx = test_ctx(1);
    problem *p = calloc(1, sizeof *p);
    int32_t chosen[MAX_ITEMS];
    int n_infeasible = 0, n_tight = 0;
    (void)state;
    assert_non_null(p);
    for (uint64_t seed = 0; seed < 600; seed++) {
        make_problem(p, seed, 1 + (int)(seed % 6), 6, seed % 3 == 0);
        const double low = lightest(p), high = heaviest(p);
        for (int k = -1; k <= 5; k++) {
            const double limit = floor(low + (high - low) * k / 5.0);
            opt_allocation a;
            assert_int_equal(opt_allocate(ctx, p->items, p->n, limit, chosen, &a), OPT_OK);
            const double best = try_all(p, limit, 0, 0.0, 0.0);
            check_sums(p, chosen, &a);
            assert_int_equal(a.feasible, best < INFINITY);
            n_infeasible += !a.feasible;
            if (a.feasible) {
                assert_true(a.weight <= limit);
                assert_true(fabs(a.cost - best) <= 1e-12 * fabs(best));
                assert_true(a.bound == a.cost);
                n_tight += a.weight == limit;
            } else {
                assert_true(a.weight == low);
            }
        }
    }
    assert_true(n_infeasible > 100 && n_tight > 100);
    free(p);
    opt_ctx_free(ctx);
}

/* As large as a real model: a proven optimum, that falls as the limit grows. */
static void test_allocate__large_problems_are_exact_and_monotone(void **state) {
    opt_ctx *ctx = test_ctx(1);
    problem *p = calloc(1, sizeof *p);
    int32_t chosen[MAX_ITEMS];
    (void)state;
    assert_non_null(p);
    for (int real = 0; real < 2; real++) {
        double before = INFINITY;
        make_problem(p, 7, 212, 9, false);
        for (int i = 0; real == 0 && i < p->n; i++) { /* sizes of a few kinds of matrix */
            for (int k = 0; k < p->items[i].n; k++) {
                p->ways[i][k].weight = floor(p->ways[i][k].weight / 20000.0) * 2304.0;
            }
        }
        const double low = lightest(p), high = heaviest(p);
        for (int k = 0; k <= 12; k++) {
            const double limit = floor(low + (high - low) * k / 12.0);
            opt_allocation a;
            assert_int_equal(opt_allocate(ctx, p->items, p->n, limit, chosen, &a), OPT_OK);
            check_sums(p, chosen, &a);
            assert_true(a.feasible && a.weight <= limit);
            assert_true(a.cost <= before);
            assert_true(a.bound <= a.cost && a.bound >= a.cost * 0.9999);
            before = a.cost;
        }
    }
    free(p);
    opt_ctx_free(ctx);
}

/* Every corner of the curve is what the allocator finds for its weight, and no budget between two
 * corners gives less than the line between them. */
static void test_allocate__curve_is_the_lower_hull(void **state) {
    opt_ctx *ctx = test_ctx(1);
    problem *p = calloc(1, sizeof *p);
    int32_t chosen[MAX_ITEMS], first[MAX_ITEMS];
    (void)state;
    assert_non_null(p);
    for (uint64_t seed = 0; seed < 30; seed++) {
        opt_allocate_step *steps = NULL;
        int n = 0;
        double slope = INFINITY;
        make_problem(p, seed, 12, 6, false);
        assert_int_equal(opt_allocate_curve(ctx, p->items, p->n, first, &steps, &n), OPT_OK);
        assert_true(steps[0].weight == lightest(p) && steps[0].item == -1);
        for (int k = 0; k < n; k++) {
            opt_allocation a;
            assert_int_equal(opt_allocate(ctx, p->items, p->n, steps[k].weight, chosen, &a),
                             OPT_OK);
            assert_true(fabs(a.cost - steps[k].cost) <= 1e-9 * steps[0].cost);
            if (k > 0) {
                const double s =
                    (steps[k - 1].cost - steps[k].cost) / (steps[k].weight - steps[k - 1].weight);
                assert_true(s > 0 && s <= slope * (1 + 1e-9));
                slope = s;
                first[steps[k].item] = steps[k].way; /* follows the steps */
            }
        }
        double weight = 0.0;
        for (int i = 0; i < p->n; i++) {
            weight += p->ways[i][first[i]].weight;
        }
        assert_true(weight == steps[n - 1].weight);
        opt_free(ctx, steps);
    }
    free(p);
    opt_ctx_free(ctx);
}

/* The roles exchanged: the least weight that keeps the cost below a target. */
static void test_allocate__weight_and_cost_may_change_places(void **state) {
    static const opt_way a[] = {{0.5, 10}, {0.25, 20}, {0.125, 40}};
    static const opt_way b[] = {{0.5, 100}, {0.25, 130}};
    static const opt_ways items[] = {{a, 3}, {b, 2}};
    static const struct {
        double limit;
        int32_t first, second;
    } cases[] = {{1.0, 0, 0}, {0.75, 1, 0}, {0.625, 2, 0}, {0.5, 1, 1}, {0.375, 2, 1}};
    opt_ctx *ctx = test_ctx(1);
    (void)state;
    for (int i = 0; i < COUNT_OF(cases); i++) {
        int32_t chosen[2];
        opt_allocation out;
        assert_int_equal(opt_allocate(ctx, items, 2, cases[i].limit, chosen, &out), OPT_OK);
        assert_true(out.feasible);
        assert_int_equal(chosen[0], cases[i].first);
        assert_int_equal(chosen[1], cases[i].second);
    }
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocate__finds_the_optimum),
        cmocka_unit_test(test_allocate__large_problems_are_exact_and_monotone),
        cmocka_unit_test(test_allocate__curve_is_the_lower_hull),
        cmocka_unit_test(test_allocate__weight_and_cost_may_change_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
