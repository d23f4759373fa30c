/**
 * Choosing one of several ways for each of many items under a limit: the multiple-choice knapsack
 * problem. For a byte budget a weight is bytes and a cost is divergence; for a divergence target
 * they change places.
 */
#ifndef OPT_SOLVE_ALLOCATE_H
#define OPT_SOLVE_ALLOCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

/** One way to treat an item. Both are finite and not negative; whole numbers below 2^53 are exact.
 */
typedef struct opt_way {
    double weight, cost;
} opt_way;

/** An item: exactly one of its ways is taken. */
typedef struct opt_ways {
    const opt_way *ways; /* [n] */
    int n;               /* at least 1 */
} opt_ways;

/** What was found. */
typedef struct opt_allocation {
    bool feasible;       /* false: even the lightest ways are too heavy; they are what is chosen */
    double weight, cost; /* sums of what was chosen, in order of items */
    double bound;        /* no choice within the limit costs less than this (but for rounding) */
} opt_allocation;

/**
 * Fills chosen [n_items] with the way of each item so that the sum of weights is at most `limit`
 * and the sum of costs least. Exact: a Lagrangian relaxation (its multiplier from the convex hulls
 * of the items) bounds every choice from below; ways whose reduced cost lies above the gap are left
 * out, and a dynamic programme over undominated partial sums decides among the rest (the core
 * approach of Pisinger 1995). Where that programme would need more than a fixed number of states,
 * the best choice known so far is given, and `bound` says how far it may be from the optimum;
 * otherwise bound is equal to cost. Of equally good choices always the same one is taken. Errors:
 * MEMORY.
 */
OPT_MUST_USE opt_status opt_allocate(opt_ctx *ctx, const opt_ways *items, int n_items, double limit,
                                     int32_t *chosen, opt_allocation *out);

/** A corner of the curve of opt_allocate_curve. */
typedef struct opt_allocate_step {
    double weight, cost; /* of all items together, from this step on */
    int item;            /* that changed; -1 at the beginning */
    int32_t way;         /* its new way */
} opt_allocate_step;

/**
 * The lower convex hull of (weight, cost) over all choices, from the lightest one (which is the
 * first step) to the best: every corner is an optimum for its own weight. *steps [*n] is the
 * caller's, opt_free. The lightest way of item i is what `lightest` [n_items] receives. Errors:
 * MEMORY.
 */
OPT_MUST_USE opt_status opt_allocate_curve(opt_ctx *ctx, const opt_ways *items, int n_items,
                                           int32_t *lightest, opt_allocate_step **steps, int *n);

#endif
