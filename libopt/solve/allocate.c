#include "solve/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* States of the dynamic programme, of one item and of all: what it may take before it gives up. */
#define MAX_STATES ((size_t)1 << 18)
#define MAX_ALL_STATES ((size_t)48 << 20)
/* The gap within which solutions are looked for grows by this factor until one is found. */
#define GAP_STEPS 6
#define GAP_FACTOR 8.0

/** An undominated way of an item. */
typedef struct option {
    double weight, cost;
    int32_t way;
    bool on_hull;
} option;

typedef struct item {
    option *options; /* [n] by increasing weight and decreasing cost */
    int n;
} item;

/** From one corner of an item's hull to the next. */
typedef struct hull_step {
    double slope; /* cost saved for one unit of weight */
    int item, to; /* option it leads to */
} hull_step;

typedef struct problem {
    opt_ctx *ctx;
    item *items; /* [n] */
    int n;
    option *options;
    hull_step *steps; /* [n_steps] by decreasing slope */
    int n_steps;
} problem;

static int compare_options(const void *a, const void *b) {
    const option *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? -1 : 1;
    }
    if (x->cost != y->cost) {
        return x->cost < y->cost ? -1 : 1;
    }
    return (x->way > y->way) - (x->way < y->way);
}

static int compare_steps(const void *a, const void *b) {
    const hull_step *x = a, *y = b;
    if (x->slope != y->slope) {
        return x->slope > y->slope ? -1 : 1;
    }
    if (x->item != y->item) {
        return x->item < y->item ? -1 : 1;
    }
    return (x->to > y->to) - (x->to < y->to);
}

static double slope_between(const option *a, const option *b) {
    return (a->cost - b->cost) / (b->weight - a->weight);
}

/** Marks the corners of the lower convex hull: slopes strictly decrease from one to the next. */
static void mark_hull(item *it) {
    for (int at = 0; at < it->n - 1;) {
        int best = at + 1;
        it->options[at].on_hull = true;
        for (int k = at + 2; k < it->n; k++) {
            if (slope_between(&it->options[at], &it->options[k]) >=
                slope_between(&it->options[at], &it->options[best])) {
                best = k;
            }
        }
        at = best;
    }
    it->options[it->n - 1].on_hull = true;
}

/** Keeps the ways that no other one beats in both respects. */
static void fill_item(const opt_ways *ways, item *it) {
    for (int k = 0; k < ways->n; k++) {
        it->options[k] = (option){ways->ways[k].weight, ways->ways[k].cost, k, false};
    }
    qsort(it->options, (size_t)ways->n, sizeof *it->options, compare_options);
    it->n = 0;
    for (int k = 0; k < ways->n; k++) {
        if (it->n == 0 || it->options[k].cost < it->options[it->n - 1].cost) {
            it->options[it->n++] = it->options[k];
        }
    }
    mark_hull(it);
}

static void add_steps(problem *p, int i) {
    const item *it = &p->items[i];
    for (int k = 1, from = 0; k < it->n; k++) {
        if (it->options[k].on_hull) {
            const double slope = slope_between(&it->options[from], &it->options[k]);
            p->steps[p->n_steps++] = (hull_step){slope, i, k};
            from = k;
        }
    }
}

static void problem_free(problem *p) {
    opt_free(p->ctx, p->items);
    opt_free(p->ctx, p->options);
    opt_free(p->ctx, p->steps);
}

static opt_status problem_new(opt_ctx *ctx, const opt_ways *ways, int n, problem *p) {
    opt_status st = OPT_OK;
    size_t total = 0, at = 0;
    *p = (problem){.ctx = ctx, .n = n};
    for (int i = 0; i < n; i++) {
        total += (size_t)ways[i].n;
    }
    OPT_TRY_PTR(p->items = opt_alloc_array(ctx, (size_t)n, sizeof *p->items));
    OPT_TRY_PTR(p->options = opt_alloc_array(ctx, total, sizeof *p->options));
    OPT_TRY_PTR(p->steps = opt_alloc_array(ctx, total, sizeof *p->steps));
    for (int i = 0; i < n; i++) {
        p->items[i].options = p->options + at;
        fill_item(&ways[i], &p->items[i]);
        at += (size_t)ways[i].n;
        add_steps(p, i);
    }
    qsort(p->steps, (size_t)p->n_steps, sizeof *p->steps, compare_steps);
done:
    return st;
}

/** Sums over what is taken: taken [n] indexes the options of each item. */
static void sums_of(const problem *p, const int32_t *taken, double *weight, double *cost) {
    *weight = *cost = 0.0;
    for (int i = 0; i < p->n; i++) {
        *weight += p->items[i].options[taken[i]].weight;
        *cost += p->items[i].options[taken[i]].cost;
    }
}

/** Takes hull steps in order as long as they fit. Returns the slope of the first that does not: the
 * multiplier; 0 if all fit. */
static double greedy(const problem *p, double limit, int32_t *taken) {
    double weight, cost, lambda = 0.0;
    memset(taken, 0, (size_t)p->n * sizeof *taken);
    sums_of(p, taken, &weight, &cost);
    for (int k = 0; k < p->n_steps; k++) {
        const hull_step *s = &p->steps[k];
        const option *o = p->items[s->item].options;
        const double more = o[s->to].weight - o[taken[s->item]].weight;
        if (weight + more <= limit) { /* also past a step of this item that did not fit: no harm */
            weight += more;
            taken[s->item] = s->to;
        } else if (lambda == 0.0) {
            lambda = s->slope;
        }
    }
    return lambda;
}

/** A partial sum over the items so far. */
typedef struct state {
    double weight, cost;
    uint32_t parent; /* state of the item before */
    uint32_t option; /* of this item */
} state;

typedef struct trace {
    uint32_t parent, option;
} trace;

/** The dynamic programme within one gap. */
typedef struct search {
    const problem *p;
    double limit, lambda, gap, slack;
    const double *least;     /* [n + 1] sum over items i.. of the smallest weight */
    const double *least_sum; /* [n + 1] sum over items ..i-1 of the least cost + lambda weight */
    trace *traces;           /* [n_traces], item by item */
    size_t n_traces, capacity;
    size_t *first; /* [n + 1] where the traces of an item begin */
    state *from, *to, *merged;
    bool too_large;
} search;

/** Appends unless a state before it is as light and as cheap; both lists come by weight. */
static size_t push(state *list, size_t n, const state *s) {
    if (n > 0 && list[n - 1].cost <= s->cost) {
        return n;
    }
    if (n > 0 && list[n - 1].weight == s->weight) {
        n--;
    }
    list[n] = *s;
    return n + 1;
}

static bool can_win(const search *s, int i, const state *x) {
    return x->weight + s->least[i + 1] <= s->limit &&
           x->cost + s->lambda * x->weight - s->least_sum[i + 1] <= s->gap + s->slack;
}

/** Merges old [n_old] with from [n_from] shifted by option k of item i into out. */
static size_t merge(const search *s, int i, int k, const state *old, size_t n_old, size_t n_from,
                    state *out, bool *full) {
    const option *o = &s->p->items[i].options[k];
    size_t a = 0, n = 0;
    for (size_t b = 0; a < n_old || b < n_from;) {
        state x = {0};
        if (b < n_from) {
            x = (state){s->from[b].weight + o->weight, s->from[b].cost + o->cost, (uint32_t)b,
                        (uint32_t)k};
            if (!can_win(s, i, &x)) {
                b++;
                continue;
            }
        }
        const bool take_old =
            b >= n_from || (a < n_old && (old[a].weight < x.weight ||
                                          (old[a].weight == x.weight && old[a].cost <= x.cost)));
        if (n == MAX_STATES) {
            *full = true;
            return n;
        }
        n = push(out, n, take_old ? &old[a] : &x);
        *(take_old ? &a : &b) += 1;
    }
    return n;
}

/** All useful partial sums with item i; 0 states: none, or too many (s->too_large). */
static size_t advance(search *s, int i, size_t n_from) {
    const item *it = &s->p->items[i];
    const double least = s->least_sum[i + 1] - s->least_sum[i];
    size_t n = 0;
    for (int k = 0; k < it->n && !s->too_large; k++) {
        const double reduced = it->options[k].cost + s->lambda * it->options[k].weight - least;
        if (reduced > s->gap + s->slack) {
            continue;
        }
        n = merge(s, i, k, s->to, n, n_from, s->merged, &s->too_large);
        state *swap = s->to;
        s->to = s->merged;
        s->merged = swap;
    }
    if (s->n_traces + n > MAX_ALL_STATES) {
        s->too_large = true;
    }
    return s->too_large ? 0 : n;
}

static opt_status keep_traces(search *s, int i, size_t n) {
    opt_status st = OPT_OK;
    if (s->n_traces + n > s->capacity) {
        const size_t capacity = 2 * (s->n_traces + n);
        trace *t = opt_realloc(s->p->ctx, s->traces, capacity * sizeof *t);
        OPT_TRY_PTR(t);
        s->traces = t;
        s->capacity = capacity;
    }
    s->first[i] = s->n_traces;
    for (size_t k = 0; k < n; k++) {
        s->traces[s->n_traces++] = (trace){s->to[k].parent, s->to[k].option};
    }
done:
    return st;
}

/** Looks for the cheapest choice whose reduced costs lie within the gap. *found: there is one. */
static opt_status run_search(search *s, int32_t *taken, bool *found) {
    opt_status st = OPT_OK;
    size_t n = 1;
    *found = false;
    s->n_traces = 0;
    s->too_large = false;
    s->from[0] = (state){0};
    for (int i = 0; i < s->p->n; i++) {
        n = advance(s, i, n);
        if (n == 0) {
            goto done;
        }
        OPT_TRY(keep_traces(s, i, n));
        state *swap = s->from;
        s->from = s->to;
        s->to = swap;
    }
    /* Costs decrease along the list: the last state is the cheapest. */
    size_t at = n - 1;
    for (int i = s->p->n; i-- > 0;) {
        const trace *t = &s->traces[s->first[i] + at];
        taken[i] = (int32_t)t->option;
        at = t->parent;
    }
    *found = true;
done:
    return st;
}

/** Least weights of the items behind each, and least reduced sums of those before. */
static double fill_bounds(const problem *p, double lambda, double *least, double *least_sum) {
    double scale = 0.0;
    least[p->n] = least_sum[0] = 0.0;
    for (int i = p->n; i-- > 0;) {
        least[i] = least[i + 1] + p->items[i].options[0].weight;
    }
    for (int i = 0; i < p->n; i++) {
        double best = INFINITY;
        for (int k = 0; k < p->items[i].n; k++) {
            const option *o = &p->items[i].options[k];
            best = fmin(best, o->cost + lambda * o->weight);
        }
        least_sum[i + 1] = least_sum[i] + best;
        scale += best;
    }
    return scale;
}

/** Improves on the greedy choice; *bound: what no choice can be below. */
static opt_status improve(const problem *p, double limit, double lambda, int32_t *taken,
                          double *cost, double *bound) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = p->ctx;
    double *least = NULL, *least_sum = NULL, weight = 0.0;
    int32_t *trial = NULL;
    search s = {.p = p, .limit = limit, .lambda = lambda};
    const size_t n = (size_t)p->n;
    OPT_TRY_PTR(least = opt_alloc_array(ctx, n + 1, sizeof *least));
    OPT_TRY_PTR(least_sum = opt_alloc_array(ctx, n + 1, sizeof *least_sum));
    OPT_TRY_PTR(trial = opt_alloc_array(ctx, n, sizeof *trial));
    OPT_TRY_PTR(s.first = opt_alloc_array(ctx, n + 1, sizeof *s.first));
    OPT_TRY_PTR(s.from = opt_alloc_array(ctx, MAX_STATES, sizeof *s.from));
    OPT_TRY_PTR(s.to = opt_alloc_array(ctx, MAX_STATES, sizeof *s.to));
    OPT_TRY_PTR(s.merged = opt_alloc_array(ctx, MAX_STATES, sizeof *s.merged));
    const double scale = fill_bounds(p, lambda, least, least_sum);
    s.least = least;
    s.least_sum = least_sum;
    s.slack = scale * 1e-13; /* rounding of the sums */
    *bound = least_sum[p->n] - lambda * limit;
    const double gap = *cost - *bound;
    for (int k = GAP_STEPS; k >= 0; k--) {
        bool found = false;
        s.gap = gap / pow(GAP_FACTOR, k);
        OPT_TRY(run_search(&s, trial, &found));
        if (s.too_large) {
            break;
        }
        if (found) {
            double c;
            sums_of(p, trial, &weight, &c);
            if (c < *cost) {
                memcpy(taken, trial, n * sizeof *taken);
                *cost = c;
            }
            if (c <= least_sum[p->n] - lambda * limit + s.gap || k == 0) {
                *bound = *cost;
                break;
            }
        }
        *bound = least_sum[p->n] - lambda * limit + s.gap;
    }
    *bound = fmin(*bound, *cost);
done:
    opt_free(ctx, least);
    opt_free(ctx, least_sum);
    opt_free(ctx, trial);
    opt_free(ctx, s.first);
    opt_free(ctx, s.from);
    opt_free(ctx, s.to);
    opt_free(ctx, s.merged);
    opt_free(ctx, s.traces);
    return st;
}

opt_status opt_allocate(opt_ctx *ctx, const opt_ways *items, int n_items, double limit,
                        int32_t *chosen, opt_allocation *out) {
    opt_status st = OPT_OK;
    problem p = {0};
    OPT_TRY(problem_new(ctx, items, n_items, &p));
    const double lambda = greedy(&p, limit, chosen);
    sums_of(&p, chosen, &out->weight, &out->cost);
    out->feasible = out->weight <= limit;
    out->bound = out->cost;
    if (out->feasible && lambda > 0.0) {
        OPT_TRY(improve(&p, limit, lambda, chosen, &out->cost, &out->bound));
        sums_of(&p, chosen, &out->weight, &out->cost);
    }
    for (int i = 0; i < n_items; i++) {
        chosen[i] = p.items[i].options[chosen[i]].way;
    }
done:
    problem_free(&p);
    return st;
}

opt_status opt_allocate_curve(opt_ctx *ctx, const opt_ways *items, int n_items, int32_t *lightest,
                              opt_allocate_step **steps, int *n) {
    opt_status st = OPT_OK;
    problem p = {0};
    opt_allocate_step *list = NULL;
    OPT_TRY(problem_new(ctx, items, n_items, &p));
    OPT_TRY_PTR(list = opt_alloc_array(ctx, (size_t)p.n_steps + 1, sizeof *list));
    list[0] = (opt_allocate_step){.item = -1, .way = -1};
    memset(lightest, 0, (size_t)n_items * sizeof *lightest); /* the first option, for now */
    sums_of(&p, lightest, &list[0].weight, &list[0].cost);
    for (int k = 0; k < p.n_steps; k++) {
        const hull_step *s = &p.steps[k];
        const option *o = p.items[s->item].options, *from = &o[lightest[s->item]];
        list[k + 1] =
            (opt_allocate_step){list[k].weight + (o[s->to].weight - from->weight),
                                list[k].cost + (o[s->to].cost - from->cost), s->item, o[s->to].way};
        lightest[s->item] = s->to;
    }
    for (int i = 0; i < n_items; i++) {
        lightest[i] = p.items[i].options[0].way;
    }
    *steps = list;
    *n = p.n_steps + 1;
done:
    problem_free(&p);
    return st;
}
