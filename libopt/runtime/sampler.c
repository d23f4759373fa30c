#include "runtime/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"

/** A token that may still be chosen. */
typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct opt_sampler {
    opt_ctx *ctx;
    opt_sampling o;
    int64_t n_vocab;
    uint64_t key;
    int64_t n_before; /* tokens in front of those that are given */
    candidate *heap;  /* [n_vocab] */
    double *weights;  /* [n_vocab] */
    int32_t *counts;  /* [n_vocab], all 0 between calls; NULL: no penalties */
};

static opt_status check_options(opt_ctx *ctx, const opt_sampling *o, int64_t n_vocab) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(o->temperature >= 0 && isfinite(o->temperature), ctx, OPT_ERR_USAGE, "temperature",
                "%g is not a temperature: 0 or above", o->temperature);
    OPT_REQUIRE(o->top_k >= 0, ctx, OPT_ERR_USAGE, "top-k", "%lld is below 0", (long long)o->top_k);
    OPT_REQUIRE(o->top_p >= 0 && o->top_p <= 1, ctx, OPT_ERR_USAGE, "top-p", "%g is outside 0 to 1",
                o->top_p);
    OPT_REQUIRE(o->min_p >= 0 && o->min_p <= 1, ctx, OPT_ERR_USAGE, "min-p", "%g is outside 0 to 1",
                o->min_p);
    OPT_REQUIRE(o->repetition_penalty >= 0 && isfinite(o->repetition_penalty), ctx, OPT_ERR_USAGE,
                "repeat-penalty", "%g is not a penalty: above 0", o->repetition_penalty);
    OPT_REQUIRE(isfinite(o->presence_penalty), ctx, OPT_ERR_USAGE, "presence-penalty",
                "not a finite number");
    OPT_REQUIRE(isfinite(o->frequency_penalty), ctx, OPT_ERR_USAGE, "frequency-penalty",
                "not a finite number");
    for (size_t i = 0; i < o->n_bias; i++) {
        const float bias = o->bias[i].bias;
        OPT_REQUIRE(o->bias[i].id >= 0 && o->bias[i].id < n_vocab, ctx, OPT_ERR_USAGE, "logit-bias",
                    "token %d is outside the vocabulary of %lld", o->bias[i].id,
                    (long long)n_vocab);
        OPT_REQUIRE(!isnan(bias) && bias < INFINITY, ctx, OPT_ERR_USAGE, "logit-bias",
                    "the bias of token %d is no finite number nor -inf", o->bias[i].id);
    }
done:
    return st;
}

static bool has_penalties(const opt_sampling *o) {
    return o->repetition_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0;
}

opt_status opt_sampler_set(opt_sampler *s, const opt_sampling *options) {
    opt_status st = OPT_OK;
    OPT_TRY(check_options(s->ctx, options, s->n_vocab));
    s->o = *options;
    if (s->o.repetition_penalty == 0) {
        s->o.repetition_penalty = 1;
    }
    if (s->o.repetition_window == 0) {
        s->o.repetition_window = 64;
    }
    if (s->o.top_p == 0) {
        s->o.top_p = 1;
    }
    s->key = opt_rng_key(options->seed, "generate", "sample");
    if (has_penalties(&s->o) && s->counts == NULL) {
        s->counts = opt_alloc_zero(s->ctx, (size_t)s->n_vocab * sizeof *s->counts);
        OPT_TRY_PTR(s->counts);
    }
done:
    return st;
}

opt_status opt_sampler_new(opt_ctx *ctx, const opt_sampling *options, int64_t n_vocab,
                           opt_sampler **out) {
    opt_status st = OPT_OK;
    opt_sampler *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    s->n_vocab = n_vocab;
    OPT_TRY(opt_sampler_set(s, options));
    s->heap = opt_alloc_array(ctx, (size_t)n_vocab, sizeof *s->heap);
    OPT_TRY_PTR(s->heap);
    s->weights = opt_alloc_array(ctx, (size_t)n_vocab, sizeof *s->weights);
    OPT_TRY_PTR(s->weights);
    *out = s;
    s = NULL;
done:
    opt_sampler_free(s);
    return st;
}

void opt_sampler_free(opt_sampler *s) {
    if (s != NULL) {
        opt_free(s->ctx, s->heap);
        opt_free(s->ctx, s->weights);
        opt_free(s->ctx, s->counts);
        opt_free(s->ctx, s);
    }
}

/** Strict order of candidates: the larger logit, then the lower id. Makes every step independent of
 * the algorithm. */
static bool better(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift_down(candidate *heap, int64_t n, int64_t i) {
    const candidate moved = heap[i];
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && better(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!better(&heap[child], &moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

/** Bias, then the penalties for the tokens of the window: one pass counts, one applies and clears.
 */
static void adjust_logits(opt_sampler *s, const int32_t *ids, int64_t n) {
    const float r = (float)s->o.repetition_penalty;
    const float presence = (float)s->o.presence_penalty, frequency = (float)s->o.frequency_penalty;
    for (size_t i = 0; i < s->o.n_bias; i++) {
        s->heap[s->o.bias[i].id].logit += s->o.bias[i].bias;
    }
    const int64_t first = has_penalties(&s->o) ? opt_max_i64(0, n - s->o.repetition_window) : n;
    for (int64_t i = first; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < s->n_vocab) {
            s->counts[ids[i]]++;
        }
    }
    for (int64_t i = first; i < n; i++) {
        const int32_t count = ids[i] >= 0 && ids[i] < s->n_vocab ? s->counts[ids[i]] : 0;
        if (count > 0) { /* once for each token, however often it occurred */
            float *logit = &s->heap[ids[i]].logit;
            *logit = (*logit > 0 ? *logit / r : *logit * r) - presence - frequency * (float)count;
            s->counts[ids[i]] = 0;
        }
    }
}

/** Moves the best of heap[0, n) behind its end. */
static void pop_best(candidate *heap, int64_t n) {
    const candidate best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(heap, n - 1, 0);
}

/** sum exp(logit - largest) over c[0, n). */
static double total_weight(const candidate *c, int64_t n, float largest) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += exp((double)c[i].logit - largest);
    }
    return total;
}

/**
 * Moves the candidates that survive top-k, top-p and min-p to the end of the heap array, the best
 * one last, and returns their number. Pops only as many as survive (with top-k as many as k):
 * O(n_vocab + kept log n_vocab).
 */
static int64_t filter(opt_sampler *s, float largest) {
    const opt_sampling *o = &s->o;
    const int64_t n = s->n_vocab;
    const int64_t k = o->top_k > 0 ? opt_min_i64(o->top_k, n) : n;
    for (int64_t i = n / 2; i-- > 0;) {
        sift_down(s->heap, n, i);
    }
    double total = 0;
    if (o->top_p < 1) { /* top-p speaks about the distribution that top-k leaves */
        if (k < n) {
            for (int64_t i = 0; i < k; i++) {
                pop_best(s->heap, n - i);
            }
            total = total_weight(s->heap + n - k, k, largest);
        } else {
            total = total_weight(s->heap, n, largest);
        }
    }
    const bool popped = o->top_p < 1 && k < n;
    double reached = 0;
    int64_t kept = 0;
    while (kept < k) {
        if (!popped) {
            pop_best(s->heap, n - kept);
        }
        const double w = exp((double)s->heap[n - 1 - kept].logit - largest);
        if (kept > 0 && w < o->min_p) {
            break;
        }
        kept++;
        reached += w;
        if (o->top_p < 1 && reached >= o->top_p * total) {
            break;
        }
    }
    return kept;
}

void opt_sampler_shift(opt_sampler *s, int64_t n) { s->n_before += n; }

opt_status opt_sampler_pick(opt_sampler *s, const float *logits, const int32_t *ids, int64_t n,
                            int32_t *token) {
    for (int64_t i = 0; i < s->n_vocab; i++) {
        s->heap[i] = (candidate){logits[i], (int32_t)i};
        if (isnan(logits[i])) {
            return opt_fail(s->ctx, OPT_ERR_NUMERIC, "logits",
                            "the logit of token %lld at position %lld is NaN", (long long)i,
                            (long long)n);
        }
    }
    adjust_logits(s, ids, n);
    candidate best = s->heap[0];
    for (int64_t i = 1; i < s->n_vocab; i++) {
        if (better(&s->heap[i], &best)) {
            best = s->heap[i];
        }
    }
    if (s->o.temperature == 0 || !isfinite(best.logit)) {
        *token = best.id;
        return OPT_OK;
    }
    const int64_t kept = filter(s, best.logit);
    const candidate *last = s->heap + s->n_vocab - 1; /* best first: last[0], last[-1], ... */
    double total = 0;
    for (int64_t i = 0; i < kept; i++) {
        s->weights[i] = exp(((double)last[-i].logit - best.logit) / s->o.temperature);
        total += s->weights[i];
    }
    const double u = opt_rng_uniform(s->key, (uint64_t)(s->n_before + n)) * total;
    double reached = 0;
    int64_t i = 0;
    while (i < kept - 1 && (reached += s->weights[i]) <= u) {
        i++;
    }
    *token = last[-i].id;
    return OPT_OK;
}
