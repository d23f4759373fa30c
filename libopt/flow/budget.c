#include "flow/budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "eval/divergence.h"
#include "eval/stats.h"
#include "flow/measure.h"
#include "flow/open.h"
#include "solve/allocate.h"
#include "solve/rows.h"

enum {
    MAX_FORMATS = 96,
    MEASURE_WINDOWS = 16, /* of the calibration text, for the errors */
    HELD_WINDOWS = 8,     /* beside them, for the divergences */
    CURVE_POINTS = 32,
    ALIGNMENT = 32 /* of tensors in a GGUF file, unless it says otherwise */
};

typedef enum target_kind { TARGET_BYTES, TARGET_BPW, TARGET_KLD } target_kind;

struct opt_budget {
    opt_ctx *ctx;
    opt_arena *arena;
    const opt_model *m;
    const opt_quantize_options *o;
    target_kind kind;
    double limit; /* on what the open weights take: bytes, or divergence; negative: not yet */
    const opt_format *allowed[MAX_FORMATS + 1];
    opt_measure_item *items; /* [n] of [m->n_weights] */
    int n;
    opt_measurements measurements;
    bool measured, guessed, chosen_once;
    opt_ways *ways;  /* [n] bytes and divergence of the formats of each item */
    int32_t *chosen; /* [n] */
    double kld, bound;
    opt_corpus held;
    double check_mean, check_error; /* NaN: not checked */
    int64_t n_checked;
};

bool opt_budget_wanted(const opt_quantize_options *o) {
    return o->target_bytes > 0 || o->target_bpw > 0 || o->target_kld > 0;
}

opt_status opt_budget_check_options(opt_ctx *ctx, const opt_quantize_options *o) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(o->format == NULL || !opt_budget_wanted(o), ctx, OPT_ERR_USAGE, "--format",
                "a target chooses the formats itself; name those it may take with --formats, or "
                "one tensor's with --set");
    OPT_REQUIRE(opt_budget_wanted(o) ||
                    (o->formats == NULL && o->measurements == NULL && o->save_measurements == NULL),
                ctx, OPT_ERR_USAGE, NULL,
                "--formats, --measurements and --save-measurements go with a target: "
                "--target-bytes, --target-bpw or --target-kld");
done:
    return st;
}

/* ---- which formats ---- */

/** Stock types that are smaller than a float; own ones only where they are named. */
static bool is_stock(const opt_format *f) {
    return f->ggml_type >= 0 && (f->flags & OPT_FORMAT_QUANT) != 0;
}

static opt_status allow_name(opt_budget *b, const char *name, size_t n, int *count) {
    opt_status st = OPT_OK;
    const char *text = opt_arena_strndup(b->arena, name, n);
    OPT_TRY_PTR(text);
    const opt_format *f = opt_format_by_name(text);
    OPT_REQUIRE(f != NULL, b->ctx, OPT_ERR_USAGE, "--formats",
                "unknown format '%s'; quantize --help lists them", text);
    OPT_REQUIRE(opt_format_writable(f), b->ctx, OPT_ERR_UNSUPPORTED, "--formats",
                "the format %s can be read but not written; quantize --help lists those that can",
                f->name);
    for (int i = 0; i < *count; i++) {
        OPT_REQUIRE(b->allowed[i] != f, b->ctx, OPT_ERR_USAGE, "--formats", "%s is named twice",
                    f->name);
    }
    b->allowed[(*count)++] = f; /* no name twice: never more than the table has */
done:
    return st;
}

static opt_status allow_formats(opt_budget *b) {
    opt_status st = OPT_OK;
    int n = 0;
    for (const char *c = b->o->formats; c != NULL;) {
        const size_t len = strcspn(c, ",");
        OPT_TRY(allow_name(b, c, len, &n));
        c = c[len] == ',' ? c + len + 1 : NULL;
    }
    for (int i = 0; b->o->formats == NULL && opt_formats[i] != NULL && n < MAX_FORMATS; i++) {
        if (opt_format_writable(opt_formats[i]) && is_stock(opt_formats[i])) {
            b->allowed[n++] = opt_formats[i];
        }
    }
done:
    return st;
}

static bool is_allowed(const opt_budget *b, const opt_format *f) {
    for (int i = 0; b->allowed[i] != NULL; i++) {
        if (b->allowed[i] == f) {
            return true;
        }
    }
    return false;
}

opt_status opt_budget_new(opt_ctx *ctx, const opt_model *model, const opt_quantize_options *options,
                          opt_budget **out) {
    opt_status st = OPT_OK;
    opt_arena *arena = NULL;
    opt_budget *b = NULL;
    const int n =
        (options->target_bytes > 0) + (options->target_bpw > 0) + (options->target_kld > 0);
    OPT_REQUIRE(n == 1, ctx, OPT_ERR_USAGE, NULL,
                "%d targets are given, expected one of --target-bytes, --target-bpw, --target-kld",
                n);
    OPT_TRY(opt_arena_new(ctx, &arena));
    OPT_TRY_PTR(b = opt_arena_alloc(arena, sizeof *b));
    *b = (opt_budget){.ctx = ctx, .m = model, .o = options, .limit = -1.0};
    b->kind = options->target_bytes > 0 ? TARGET_BYTES
              : options->target_bpw > 0 ? TARGET_BPW
                                        : TARGET_KLD;
    b->check_mean = b->check_error = b->kld = b->bound = NAN;
    b->arena = arena;
    const size_t n_weights = (size_t)model->n_weights;
    OPT_TRY_PTR(b->items = opt_arena_array(arena, n_weights, sizeof *b->items));
    OPT_TRY_PTR(b->ways = opt_arena_array(arena, n_weights, sizeof *b->ways));
    OPT_TRY_PTR(b->chosen = opt_arena_array(arena, n_weights, sizeof *b->chosen));
    OPT_TRY(allow_formats(b));
    if (options->measurements != NULL) {
        OPT_TRY(opt_measurements_read(ctx, options->measurements, &b->measurements));
        b->measured = true;
    }
    *out = b;
    arena = NULL;
done:
    opt_arena_free(arena);
    return st;
}

void opt_budget_free(opt_budget *b) {
    if (b != NULL) {
        opt_corpus_free(b->ctx, &b->held);
        opt_measurements_free(&b->measurements);
        opt_arena_free(b->arena);
    }
}

/** Whether a float format may be taken although no list names it: the source's own, so that any
 * budget up to the size of the source can be spent, and bf16 below f32, for widths that no stock
 * type fits. */
static bool is_free(const opt_format *f, const opt_format *source) {
    return (f->flags & OPT_FORMAT_FLOAT) != 0 && opt_format_writable(f) &&
           (f == source || (f == &opt_format_bf16 && source->block_bytes > f->block_bytes));
}

/** Whether a weight may have a format: it fits, it is allowed, and the method can write it. */
static bool is_candidate(const opt_budget *b, const opt_weight *w, const opt_quant_method *method,
                         const opt_format *f) {
    const bool calibrated = opt_measure_reads(w) && (method->needs & OPT_NEEDS_HESSIAN) != 0;
    if (!opt_format_fits(f, w->dims[w->n_dims - 1])) {
        return false;
    }
    return (is_allowed(b, f) || (b->o->formats == NULL && is_free(f, w->tensor->format))) &&
           (!calibrated || (f->flags & OPT_FORMAT_QUANT) == 0 || opt_rows_supports(f));
}

opt_status opt_budget_add(opt_budget *b, int weight, const opt_quant_method *method) {
    opt_status st = OPT_OK;
    const opt_weight *w = &b->m->weights[weight];
    opt_measure_item *it = &b->items[b->n];
    const opt_format **formats = opt_arena_array(b->arena, MAX_FORMATS, sizeof *formats);
    int n = 0;
    OPT_TRY_PTR(formats);
    for (int i = 0; opt_formats[i] != NULL && n < MAX_FORMATS; i++) {
        if (is_candidate(b, w, method, opt_formats[i])) {
            formats[n++] = opt_formats[i];
        }
    }
    OPT_REQUIRE(n > 0, b->ctx, OPT_ERR_USAGE, w->name,
                "no format that may be chosen fits rows of %lld; name one with --formats",
                (long long)w->dims[w->n_dims - 1]);
    *it = (opt_measure_item){weight, method, formats, n};
    b->n++;
done:
    return st;
}

/* ---- what they cost ---- */

bool opt_budget_measures(const opt_budget *b) {
    const opt_measurements *known = b->measured ? &b->measurements : NULL;
    return !b->o->dry_run && (!b->measured || b->o->n_calib > 0) &&
           opt_measure_lacks(b->m, b->items, b->n, known);
}

bool opt_budget_guessed(const opt_budget *b) { return b->guessed; }

uint64_t opt_budget_measure_bytes(const opt_budget *b, const opt_calibration_options *calib) {
    const opt_measure_options options = {.items = b->items, .n_items = b->n};
    return opt_measure_bytes(b->ctx, b->m, &options,
                             opt_min_i64(calib->text.n_windows, MEASURE_WINDOWS),
                             calib->text.n_ctx);
}

static bool has_window(const opt_corpus *c, const int32_t *tokens) {
    for (int64_t i = 0; i < c->n_windows; i++) {
        if (memcmp(c->tokens + i * c->n_ctx, tokens, (size_t)c->n_ctx * sizeof *tokens) == 0) {
            return true;
        }
    }
    return false;
}

/** Keeps n windows, evenly spread. */
static void thin_out(opt_corpus *c, int64_t n) {
    for (int64_t i = 0; i < n && n < c->n_windows; i++) {
        const int64_t from = (2 * i + 1) * c->n_windows / (2 * n);
        memmove(c->tokens + i * c->n_ctx, c->tokens + from * c->n_ctx,
                (size_t)c->n_ctx * sizeof *c->tokens);
    }
    c->n_windows = opt_min_i64(n, c->n_windows);
}

/**
 * The windows that calibration will take, thinned out, and some that it will not: what a choice of
 * more windows with the same seed adds to it.
 */
static opt_status read_text(opt_budget *b, const opt_tokenizer *tokenizer,
                            const opt_corpus_options *c, opt_corpus *text) {
    opt_status st = OPT_OK;
    opt_corpus_options more = *c;
    OPT_REQUIRE(tokenizer != NULL, b->ctx, OPT_ERR_USAGE, b->m->name,
                "the model has no tokenizer, so it cannot read calibration text");
    const int64_t n_train = b->m->hp.n_ctx_train;
    OPT_REQUIRE(n_train == 0 || c->n_ctx <= n_train, b->ctx, OPT_ERR_USAGE, "--ctx",
                "windows of %lld tokens are longer than the model's context of %lld",
                (long long)c->n_ctx, (long long)n_train);
    more.n_windows += HELD_WINDOWS;
    OPT_TRY(opt_corpus_read(b->ctx, tokenizer, c, text));
    OPT_TRY(opt_corpus_read(b->ctx, tokenizer, &more, &b->held));
    int64_t n = 0;
    for (int64_t i = 0; i < b->held.n_windows; i++) {
        const int32_t *tokens = b->held.tokens + i * c->n_ctx;
        if (!has_window(text, tokens)) {
            memmove(b->held.tokens + n++ * c->n_ctx, tokens, (size_t)c->n_ctx * sizeof *tokens);
        }
    }
    if (n > 0) {
        b->held.n_windows = n;
    } else {
        opt_warn(b->ctx, c->paths[0],
                 "all its windows calibrate: divergence is measured on the same text");
    }
    thin_out(&b->held, HELD_WINDOWS);
    thin_out(text, MEASURE_WINDOWS);
done:
    return st;
}

static opt_status save(void *user, const opt_measurements *m) {
    const opt_budget *b = user;
    return opt_measurements_write(b->ctx, m, b->o->save_measurements, true); /* it is ours */
}

static opt_status measure(opt_budget *b, const opt_corpus *text) {
    opt_status st = OPT_OK;
    opt_measurements all = {0};
    const opt_measure_options options = {
        .text = text,
        .held = &b->held,
        .items = b->items,
        .n_items = b->n,
        .sweeps = b->o->sweeps,
        .known = b->measured ? &b->measurements : NULL,
        .save = b->o->save_measurements != NULL ? save : NULL,
        .user = b,
    };
    OPT_TRY(opt_measure(b->ctx, b->m, &options, &all));
    opt_measurements_free(&b->measurements);
    b->measurements = all;
    b->measured = true;
done:
    return st;
}

/** Measurements of another model, or with another method, are of no use. */
static opt_status check_measurements(const opt_budget *b) {
    opt_status st = OPT_OK;
    const opt_measurements *m = &b->measurements;
    uint64_t hash = 0;
    OPT_TRY(opt_measurements_hash(b->ctx, b->m, &hash));
    OPT_REQUIRE(hash == m->model_hash, b->ctx, OPT_ERR_USAGE, b->o->measurements,
                "was measured on another model (weights %016llx, these are %016llx)",
                (unsigned long long)m->model_hash, (unsigned long long)hash);
    OPT_REQUIRE(b->o->dry_run || strcmp(m->method, opt_measure_method(b->items[0].method)) == 0,
                b->ctx, OPT_ERR_USAGE, b->o->measurements,
                "was measured with the method %s, this run uses %s", m->method,
                b->items[0].method->name);
done:
    return st;
}

static double tensor_bytes(const opt_budget *b, const opt_measure_item *it, const opt_format *f) {
    int64_t n_rows, n_cols;
    size_t bytes = 0;
    opt_weight_shape(&b->m->weights[it->weight], &n_rows, &n_cols);
    (void)opt_format_bytes(f, n_rows, n_cols, &bytes); /* the source was as large */
    return b->kind == TARGET_BPW ? (double)bytes
                                 : (double)(opt_ceil_div((int64_t)bytes, ALIGNMENT) * ALIGNMENT);
}

/** A guess where nothing is measured: four times the error for every bit less. */
static double guess(const opt_weight *w, const opt_format *f) {
    return f == w->tensor->format
               ? 0.0
               : (double)opt_tensor_n_elems(w->tensor) * pow(4.0, -opt_format_bpw(f)) * 1e-9;
}

static opt_status fill_ways(opt_budget *b, int i) {
    opt_status st = OPT_OK;
    opt_measure_item *it = &b->items[i];
    const opt_weight *w = &b->m->weights[it->weight];
    const opt_tensor_costs *t =
        b->measured ? opt_measurements_find(&b->measurements, w->name) : NULL;
    OPT_REQUIRE(!b->measured || t != NULL, b->ctx, OPT_ERR_USAGE, b->o->measurements,
                "says nothing about %s", w->name);
    const opt_format **formats = opt_arena_array(b->arena, (size_t)it->n_formats, sizeof *formats);
    opt_way *ways = opt_arena_array(b->arena, (size_t)it->n_formats, sizeof *ways);
    OPT_TRY_PTR(formats);
    OPT_TRY_PTR(ways);
    int n = 0;
    for (int k = 0; k < it->n_formats; k++) {
        const opt_format *f = it->formats[k];
        const opt_format_cost *c = t != NULL ? opt_measurements_format(t, f) : NULL;
        if (b->measured && c == NULL) {
            continue; /* it was not among the formats of the measurement */
        }
        const double bytes = tensor_bytes(b, it, f), kld = c != NULL ? c->kld : guess(w, f);
        formats[n] = f;
        ways[n++] = b->kind == TARGET_KLD ? (opt_way){kld, bytes} : (opt_way){bytes, kld};
    }
    OPT_REQUIRE(n > 0, b->ctx, OPT_ERR_USAGE, b->o->measurements,
                "has measured none of the formats that %s may have", w->name);
    it->formats = formats;
    it->n_formats = n;
    b->ways[i] = (opt_ways){ways, n};
done:
    return st;
}

opt_status opt_budget_prepare(opt_budget *b, const opt_tokenizer *tokenizer,
                              const opt_calibration_options *calib) {
    opt_status st = OPT_OK;
    opt_corpus text = {0};
    if (b->measured) {
        OPT_TRY(check_measurements(b));
    }
    OPT_REQUIRE(calib->text.n_paths > 0 || b->measured || b->o->dry_run, b->ctx, OPT_ERR_USAGE,
                NULL,
                "a target needs calibration text to measure with (--calib FILE), or "
                "measurements (--measurements FILE)");
    if (calib->text.n_paths > 0 && !b->o->dry_run) {
        OPT_TRY(read_text(b, tokenizer, &calib->text, &text));
    }
    if (opt_budget_measures(b)) {
        OPT_TRY(measure(b, &text));
    } else if (b->o->save_measurements != NULL && b->measured && !b->o->dry_run) {
        OPT_TRY(save(b, &b->measurements));
    }
    b->guessed = !b->measured;
    for (int i = 0; i < b->n; i++) {
        OPT_TRY(fill_ways(b, i));
    }
done:
    opt_corpus_free(b->ctx, &text);
    return st;
}

/* ---- the choice ---- */

static int item_of(const opt_budget *b, int weight) {
    for (int i = 0; i < b->n; i++) {
        if (b->items[i].weight == weight) {
            return i;
        }
    }
    return -1;
}

const opt_format *opt_budget_format(const opt_budget *b, int weight) {
    const int i = item_of(b, weight);
    if (i < 0) {
        return NULL;
    }
    const opt_measure_item *it = &b->items[i];
    if (b->chosen_once) {
        return it->formats[b->chosen[i]];
    }
    const opt_format *least = it->formats[0];
    for (int k = 1; k < it->n_formats; k++) {
        least = opt_format_bpw(it->formats[k]) < opt_format_bpw(least) ? it->formats[k] : least;
    }
    return least;
}

/** What the open weights take in a plan, as their ways count it. */
static double open_bytes(const opt_budget *b, const opt_plan *plan) {
    double sum = 0.0;
    for (int64_t k = 0; k < plan->n; k++) {
        const int i = item_of(b, (int)(plan->tensors[k].weight - b->m->weights));
        sum += i >= 0 ? tensor_bytes(b, &b->items[i], plan->tensors[k].format) : 0.0;
    }
    return sum;
}

/** Bytes of all tensors, without headers and padding; and the number of weights. */
static double data_bytes(const opt_plan *plan, double *n_weights) {
    double sum = 0.0;
    *n_weights = 0.0;
    for (int64_t k = 0; k < plan->n; k++) {
        const opt_plan_tensor *t = &plan->tensors[k];
        sum += (double)t->n_rows * (double)t->row_bytes;
        *n_weights += (double)t->src_rows * (double)t->src_cols;
    }
    return sum;
}

bool opt_budget_keeps(const opt_budget *b, const opt_plan *plan) {
    return b->kind != TARGET_BYTES || plan->file_bytes <= b->o->target_bytes;
}

/** The limit for what is open: the target less everything else in the plan. */
static double find_limit(const opt_budget *b, const opt_plan *plan) {
    double n_weights;
    const double data = data_bytes(plan, &n_weights), open = open_bytes(b, plan);
    switch (b->kind) {
    case TARGET_BYTES: return (double)b->o->target_bytes - ((double)plan->file_bytes - open);
    case TARGET_BPW: return floor(b->o->target_bpw * n_weights / 8.0) - (data - open);
    case TARGET_KLD: return b->o->target_kld;
    }
    return 0.0;
}

/** Says what would be possible. */
static opt_status refuse(const opt_budget *b, const opt_plan *plan, const opt_allocation *a) {
    double n_weights;
    const double open = open_bytes(b, plan), data = data_bytes(plan, &n_weights);
    switch (b->kind) {
    case TARGET_BYTES:
        return opt_fail(b->ctx, OPT_ERR_USAGE, "--target-bytes",
                        "the smallest file of these formats has %.0f bytes, the target is %llu",
                        (double)plan->file_bytes - open + a->weight,
                        (unsigned long long)b->o->target_bytes);
    case TARGET_BPW:
        return opt_fail(b->ctx, OPT_ERR_USAGE, "--target-bpw",
                        "these formats take %.4f bits per weight at least, the target is %g",
                        8.0 * (data - open + a->weight) / n_weights, b->o->target_bpw);
    case TARGET_KLD: break;
    }
    return opt_fail(b->ctx, OPT_ERR_USAGE, "--target-kld",
                    "the least divergence of these formats is %.3g, the target is %g", a->weight,
                    b->o->target_kld);
}

opt_status opt_budget_choose(opt_budget *b, const opt_plan *plan) {
    opt_status st = OPT_OK;
    opt_allocation a = {0};
    const double limit = find_limit(b, plan);
    /* A longer header may only ever take away: no going back and forth. */
    b->limit = b->chosen_once ? fmin(b->limit, limit) : limit;
    OPT_TRY(opt_allocate(b->ctx, b->ways, b->n, b->limit, b->chosen, &a));
    if (!a.feasible && b->o->preset == NULL) {
        OPT_TRY(refuse(b, plan, &a));
    } else if (!a.feasible && !b->chosen_once) {
        opt_warn(b->ctx, b->o->preset,
                 "its size cannot be reached with the formats that fit this model's widths: the "
                 "smallest file is written");
    }
    b->chosen_once = true;
    b->kld = b->kind == TARGET_KLD ? a.weight : a.cost;
    b->bound = b->kind == TARGET_KLD ? a.weight : a.bound;
done:
    return st;
}

/* ---- afterwards ---- */

/** Divergence of a model from the source on the second halves of the held-out windows. */
static opt_status compare(opt_budget *b, const opt_model *model) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = b->ctx;
    const opt_corpus *held = &b->held;
    opt_session *before = NULL, *after = NULL;
    opt_divergence *scored = NULL;
    double *kld = NULL;
    const opt_windows w = {.tokens = held->tokens,
                           .ctx = held->n_ctx,
                           .n_windows = held->n_windows,
                           .first_row = held->n_ctx / 2,
                           .bos = -1};
    const int64_t n = opt_windows_n_scored(&w);
    const opt_session_options options = {
        .compute = OPT_COMPUTE_EXACT, .n_ctx = held->n_ctx, .n_batch = held->n_ctx};
    OPT_TRY_PTR(scored = opt_alloc_array(ctx, (size_t)n, sizeof *scored));
    OPT_TRY_PTR(kld = opt_alloc_array(ctx, (size_t)n, sizeof *kld));
    OPT_TRY(opt_session_new(ctx, b->m, &options, &before));
    OPT_TRY(opt_session_new(ctx, model, &options, &after));
    OPT_TRY(opt_eval_divergence(ctx, before, after, &w, "checking", scored));
    for (int64_t i = 0; i < n; i++) {
        kld[i] = scored[i].kld;
    }
    opt_stats_mean(kld, n, &b->check_mean, &b->check_error);
    b->n_checked = n;
done:
    opt_session_free(before);
    opt_session_free(after);
    opt_free(ctx, scored);
    opt_free(ctx, kld);
    return st;
}

opt_status opt_budget_check(opt_budget *b, const char *path) {
    opt_status st = OPT_OK;
    opt_opened written = {0};
    if (b->held.n_windows == 0) {
        return OPT_OK;
    }
    OPT_TRY(opt_open_model(b->ctx, path, &written));
    OPT_TRY(compare(b, written.model));
done:
    opt_opened_close(&written);
    return st;
}

/** "12 q4_0, 3 q8_0" in the order of the table. */
static const char *count_formats(const opt_budget *b, opt_arena *arena, const int32_t *ways) {
    char text[1024] = "";
    size_t n = 0;
    for (int f = 0; opt_formats[f] != NULL && n < sizeof text - 64; f++) {
        int count = 0;
        for (int i = 0; i < b->n; i++) {
            count += b->items[i].formats[ways[i]] == opt_formats[f];
        }
        if (count > 0) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%d %s", n > 0 ? ", " : "", count,
                                  opt_formats[f]->name);
        }
    }
    return opt_arena_strdup(arena, text);
}

/** Corners of the curve, thinned out evenly. */
static opt_status fill_points(const opt_budget *b, const opt_plan *plan, opt_arena *arena,
                              opt_budget_result *out) {
    opt_status st = OPT_OK;
    opt_allocate_step *steps = NULL;
    int n = 0;
    const size_t n_items = (size_t)b->n;
    int32_t *ways = opt_arena_array(arena, n_items, sizeof *ways);
    opt_budget_point *points = opt_arena_array(arena, CURVE_POINTS, sizeof *points);
    opt_ways *swapped = opt_arena_array(arena, n_items, sizeof *swapped);
    OPT_TRY_PTR(ways);
    OPT_TRY_PTR(points);
    OPT_TRY_PTR(swapped);
    for (int i = 0; i < b->n; i++) {
        opt_way *w = opt_arena_array(arena, (size_t)b->ways[i].n, sizeof *w);
        OPT_TRY_PTR(w);
        for (int k = 0; k < b->ways[i].n; k++) {
            const opt_way *from = &b->ways[i].ways[k];
            w[k] = b->kind == TARGET_KLD ? (opt_way){from->cost, from->weight} : *from;
        }
        swapped[i] = (opt_ways){w, b->ways[i].n};
    }
    OPT_TRY(opt_allocate_curve(b->ctx, swapped, b->n, ways, &steps, &n));
    const double other = (double)plan->file_bytes - open_bytes(b, plan);
    for (int k = 0; k < n; k++) {
        if (steps[k].item >= 0) {
            ways[steps[k].item] = steps[k].way;
        }
        const int64_t next = out->n_points * (n - 1) / (CURVE_POINTS - 1);
        if (k >= next && out->n_points < CURVE_POINTS) {
            opt_budget_point *p = &points[out->n_points++];
            p->bytes = (uint64_t)(other + steps[k].weight);
            p->kld = fmax(0.0, steps[k].cost);
            OPT_TRY_PTR(p->formats = count_formats(b, arena, ways));
        }
    }
    out->points = points;
done:
    opt_free(b->ctx, steps);
    return st;
}

/** What the file may grow to while nothing is measured: whatever is chosen later keeps the target.
 */
static uint64_t most_bytes(const opt_budget *b, const opt_plan *plan) {
    double largest = 0.0;
    for (int i = 0; i < b->n; i++) {
        double most = 0.0;
        for (int k = 0; k < b->ways[i].n; k++) {
            const opt_way *w = &b->ways[i].ways[k];
            most = fmax(most, b->kind == TARGET_KLD ? w->cost : w->weight);
        }
        largest += most + ALIGNMENT;
    }
    const double most =
        (double)plan->file_bytes - open_bytes(b, plan) +
        (b->kind == TARGET_BPW ? fmin(largest, b->limit + (double)b->n * ALIGNMENT) : largest);
    return b->kind == TARGET_BYTES && most > (double)b->o->target_bytes ? b->o->target_bytes
                                                                        : (uint64_t)most;
}

opt_status opt_budget_report(const opt_budget *b, const opt_plan *plan,
                             opt_quantize_result *result) {
    static const char *const names[] = {"bytes", "bits_per_weight", "kld"};
    opt_status st = OPT_OK;
    opt_arena *arena = result->impl;
    opt_budget_result *r = opt_arena_alloc(arena, sizeof *r);
    OPT_TRY_PTR(r);
    *r = (opt_budget_result){.target = names[b->kind], .guessed = b->guessed};
    r->target_value = b->kind == TARGET_BYTES ? (double)b->o->target_bytes
                      : b->kind == TARGET_BPW ? b->o->target_bpw
                                              : b->o->target_kld;
    r->predicted_kld = b->guessed ? NAN : b->kld;
    r->bound_kld = b->guessed ? NAN : b->bound;
    r->measured_kld = r->measured_stderr = NAN;
    if (!b->guessed) {
        OPT_TRY(fill_points(b, plan, arena, r));
    }
    if (b->guessed) {
        r->most_bytes = most_bytes(b, plan);
    }
    result->budget = r;
done:
    return st;
}

void opt_budget_complete_report(const opt_budget *b, opt_quantize_result *result) {
    opt_budget_result *r = (opt_budget_result *)result->budget; /* ours: made above */
    r->measured_kld = b->check_mean;
    r->measured_stderr = b->check_error;
    r->n_measured_tokens = b->n_checked;
    if (b->guessed) {
        result->file_bytes = r->most_bytes;
    }
}
