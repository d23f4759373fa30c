#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "report/render.h"

/** Where the text goes; the first failure is kept. */
typedef struct writer {
    opt_ctx *ctx;
    opt_str out;
    opt_status status;
} writer;

/** Appends formatted text unless something failed before. */
#define PUT(w, ...)                                                                                \
    do {                                                                                           \
        if ((w)->status == OPT_OK) {                                                               \
            (w)->status = opt_str_printf((w)->ctx, &(w)->out, __VA_ARGS__);                        \
        }                                                                                          \
    } while (0)

/** Appends foreign text, escaped. */
static void put_foreign(writer *w, const char *text, size_t n) {
    if (w->status == OPT_OK) {
        w->status = opt_str_append_printable(w->ctx, &w->out, text, n);
    }
}

/** Appends foreign text padded with spaces to `width` bytes. */
static void put_column(writer *w, const char *text, int width) {
    const size_t before = w->out.len;
    put_foreign(w, text, strlen(text));
    const int used = (int)(w->out.len - before);
    PUT(w, "%*s", used < width ? width - used : 0, "");
}

/** "1.25 MiB" into buf. */
static const char *size_text(uint64_t bytes, char *buf, size_t n) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int unit = 0;
    while (v >= 1024 && unit < 4) {
        v /= 1024;
        unit++;
    }
    snprintf(buf, n, unit == 0 ? "%.0f %s" : "%.2f %s", v, units[unit]);
    return buf;
}

#define MAX_FORMATS 32

/** Sums over the tensors of one output format. */
typedef struct format_row {
    const char *format;
    int64_t n_tensors, n_weights;
    uint64_t bytes;
    double worst;           /* relative error */
    const char *worst_name; /* its tensor */
} format_row;

static int add_formats(const opt_quantize_result *q, format_row *rows) {
    int n = 0;
    for (int64_t i = 0; i < q->n_tensors; i++) {
        const opt_tensor_result *t = &q->tensors[i];
        if (t->bytes == 0) {
            continue;
        }
        int k = 0;
        while (k < n && strcmp(rows[k].format, t->format) != 0) {
            k++;
        }
        if (k == MAX_FORMATS) {
            continue;
        }
        if (k == n) {
            rows[n++] = (format_row){.format = t->format, .worst_name = ""};
        }
        rows[k].n_tensors++;
        rows[k].n_weights += t->n_rows * t->n_cols;
        rows[k].bytes += t->bytes;
        if (t->rel_error > rows[k].worst) {
            rows[k].worst = t->rel_error;
            rows[k].worst_name = t->name;
        }
    }
    return n;
}

static void put_tensors(writer *w, const opt_quantize_result *q) {
    PUT(w, "%-34s %-10s %-9s %-12s %12s %11s\n", "tensor", "action", "from", "to", "bytes",
        "rel. error");
    for (int64_t i = 0; i < q->n_tensors; i++) {
        const opt_tensor_result *t = &q->tensors[i];
        put_column(w, t->name, 34);
        PUT(w, " %-10s %-9s %-12s %12" PRIu64, t->action, t->source_format, t->format, t->bytes);
        if (isnan(t->rel_error)) {
            PUT(w, "\n");
        } else {
            PUT(w, " %11.3e\n", t->rel_error);
        }
    }
    PUT(w, "\n");
}

/** Notes, one line for all tensors that share the text; every name with `all`. */
static void put_notes(writer *w, const opt_quantize_result *q, bool all) {
    for (int64_t i = 0; i < q->n_tensors; i++) {
        const char *note = q->tensors[i].note;
        bool seen = note[0] == 0;
        int64_t more = 0;
        for (int64_t j = 0; j < i && !seen && !all; j++) {
            seen = strcmp(q->tensors[j].note, note) == 0;
        }
        if (seen) {
            continue;
        }
        for (int64_t j = i + 1; j < q->n_tensors && !all; j++) {
            more += strcmp(q->tensors[j].note, note) == 0;
        }
        PUT(w, "note: ");
        put_foreign(w, q->tensors[i].name, strlen(q->tensors[i].name));
        if (more > 0) {
            PUT(w, " and %" PRId64 " more", more);
        }
        PUT(w, ": %s\n", note);
    }
}

static void put_effect(writer *w, const opt_transform_result *t) {
    PUT(w, "%-14s ", t->transform);
    put_column(w, t->group, 20);
    if (!isnan(t->value)) {
        PUT(w, " %8.4g", t->value);
    }
    if (t->before > 0) {
        PUT(w, "   error %.4e -> %.4e", t->before, t->after);
    }
    PUT(w, "\n");
}

/** The prediction beside what was measured; the curve with `all`. */
static void put_budget(writer *w, const opt_budget_result *b, bool all) {
    if (b->guessed) {
        PUT(w, "budget: nothing is measured yet, so these formats are a guess and the size is an "
               "upper bound\n");
        return;
    }
    for (int64_t i = 0; all && i < b->n_points; i++) {
        PUT(w, "%s%12" PRIu64 " %12.6f  %s\n",
            i == 0 ? "   file bytes   divergence  matrices by format\n" : "", b->points[i].bytes,
            b->points[i].kld, b->points[i].formats);
    }
    PUT(w, "budget: divergence of %.6f nats a token predicted", b->predicted_kld);
    if (!isnan(b->measured_kld)) {
        PUT(w, ", %.6f +- %.6f measured on %" PRId64 " tokens of held-out text", b->measured_kld,
            1.959963984540054 * b->measured_stderr, b->n_measured_tokens);
    }
    PUT(w, "\n");
}

/** One line for each transform, or for every group of weights with `all`. */
static void put_transforms(writer *w, const opt_quantize_result *q, bool all) {
    for (int64_t i = 0; i < q->n_transforms;) {
        const char *name = q->transforms[i].transform;
        double log_ratio = 0;
        int64_t n = 0, n_ratios = 0;
        for (; i < q->n_transforms && strcmp(q->transforms[i].transform, name) == 0; i++, n++) {
            const opt_transform_result *t = &q->transforms[i];
            if (all) {
                put_effect(w, t);
            }
            if (t->before > 0 && t->after > 0) {
                log_ratio += log(t->after / t->before);
                n_ratios++;
            }
        }
        PUT(w, "transform: %s, %" PRId64 " %s", name, n, n == 1 ? "group" : "groups");
        if (n_ratios > 0) {
            PUT(w, "; error of outputs when rounded to nearest x %.3f (geometric mean)",
                exp(log_ratio / (double)n_ratios));
        }
        PUT(w, "\n");
    }
}

static void put_quantize(writer *w, const opt_report *r, int verbosity) {
    const opt_quantize_result *q = r->quantize;
    char a[32], b[32];
    if (r->dry_run || verbosity > 0) {
        put_tensors(w, q);
    }
    format_row rows[MAX_FORMATS];
    const int n = add_formats(q, rows);
    PUT(w, "%-12s %8s %12s %12s  %s\n", "format", "tensors", "bytes", "bits/weight",
        r->dry_run ? "" : "largest relative error");
    for (int i = 0; i < n; i++) {
        PUT(w, "%-12s %8" PRId64 " %12" PRIu64 " %12.3f", rows[i].format, rows[i].n_tensors,
            rows[i].bytes, 8 * opt_report_ratio((double)rows[i].bytes, (double)rows[i].n_weights));
        if (rows[i].worst > 0) {
            PUT(w, "  %.3e (", rows[i].worst);
            put_foreign(w, rows[i].worst_name, strlen(rows[i].worst_name));
            PUT(w, ")");
        }
        PUT(w, "\n");
    }
    put_notes(w, q, r->dry_run || verbosity > 0);
    put_transforms(w, q, !r->dry_run && verbosity > 0);
    if (q->budget != NULL) {
        put_budget(w, q->budget, r->dry_run || verbosity > 0);
    }
    PUT(w, "%s: %s -> %s", r->dry_run ? "planned" : "written",
        size_text(q->source_bytes, a, sizeof a), size_text(q->file_bytes, b, sizeof b));
    PUT(w, " (%" PRIu64 " bytes, %.3f bits per weight)", q->file_bytes, q->bits_per_weight);
    PUT(w, ", peak memory %s", size_text(q->peak_memory, a, sizeof a));
    if (r->dry_run) {
        PUT(w, "; nothing was written\n");
    } else {
        PUT(w, ", %.2f s\n", q->seconds);
    }
}

static void put_perplexity(writer *w, const opt_ppl_result *p) {
    PUT(w, "perplexity    %.4f  (95 %%: %.4f to %.4f)\n", p->ppl, p->ppl_low, p->ppl_high);
    PUT(w, "nats/token    %.6f +- %.6f\n", p->nll, p->nll_stderr);
    PUT(w,
        "scored        %" PRId64 " tokens in %" PRId64 " windows of %" PRId64
        " (the text has %" PRId64 " tokens)\n",
        p->n_scored, p->n_windows, p->ctx, p->n_text_tokens);
    PUT(w, "convention    %s\n",
        p->convention == OPT_PPL_FULL ? "full: every token of a window but the first is scored"
                                      : "llama.cpp: the second half of each window is scored");
    PUT(w, "time          %.2f s\n", p->seconds);
}

static void put_compare(writer *w, const opt_compare_result *c) {
    const double z = 1.959963984540054;
    PUT(w, "KL divergence, nats a token\n");
    PUT(w, "  mean        %.6f +- %.6f\n", c->kld.mean, z * c->kld.stderr_);
    PUT(w,
        "  median      %.6f\n  90 %%        %.6f\n  99 %%        %.6f\n  99.9 %%      %.6f\n  max  "
        "       %.6f\n",
        c->kld_median, c->kld_p90, c->kld_p99, c->kld_p999, c->kld_max);
    PUT(w, "same top-1    %.3f %%  (95 %%: %.3f to %.3f)\n", 100 * c->same_top1.mean,
        100 * c->same_top1_low, 100 * c->same_top1_high);
    PUT(w, "true token    %+.3f %% +- %.3f in probability, rms %.3f %%\n", 100 * c->delta_p.mean,
        100 * z * c->delta_p.stderr_, 100 * c->delta_p_rms);
    PUT(w, "perplexity    %.4f -> %.4f\n", c->ppl_reference, c->ppl_model);
    PUT(w, "  ratio       %.5f  (95 %%: %.5f to %.5f)\n", exp(c->ln_ppl_ratio.mean),
        exp(c->ln_ppl_ratio.mean - z * c->ln_ppl_ratio.stderr_),
        exp(c->ln_ppl_ratio.mean + z * c->ln_ppl_ratio.stderr_));
    PUT(w, "scored        %" PRId64 " tokens in %" PRId64 " windows of %" PRId64 "\n", c->n_scored,
        c->n_windows, c->ctx);
    PUT(w, "time          %.2f s\n", c->seconds);
}

static void put_probe(writer *w, const opt_probe_result *p) {
    PUT(w, "this machine: %.2f GB/s from memory, %.1f Gop/s int8\n", p->bandwidth, p->peak_i8);
}

/** More than one measurement of a kind: a line each, and the machine for each number of threads. */
static void put_bench_rows(writer *w, const opt_bench_result *b) {
    PUT(w, "%-34s %10s  %-24s %8s %8s\n", "tokens/s", "median", "range", "of peak", "of mem.");
    for (int i = 0; i < b->n_rows; i++) {
        const opt_bench_row *row = &b->rows[i];
        char name[80], range[48];
        if (i == 0 || row->n_threads != row[-1].n_threads) {
            PUT(w, "%d threads: %.2f GB/s from memory, %.1f Gop/s int8\n", row->n_threads,
                row->probe.bandwidth, row->probe.peak_i8);
        }
        if (row->kind == OPT_BENCH_READ) {
            snprintf(name, sizeof name, "read %" PRId64, row->n_tokens);
        } else if (row->kind == OPT_BENCH_WRITE) {
            snprintf(name, sizeof name, "write %" PRId64 " behind %" PRId64, row->n_tokens,
                     row->depth);
        } else {
            snprintf(name, sizeof name, "write %" PRId64 " in %" PRId64 " texts at once",
                     row->n_tokens, row->n_seqs);
        }
        snprintf(range, sizeof range, "%.2f to %.2f", row->tps_min, row->tps_max);
        PUT(w, "%-34s %10.2f  %-24s %6.1f %% %6.1f %%\n", name, row->tps, range, 100 * row->of_peak,
            100 * row->of_bandwidth);
    }
}

static void put_bench(writer *w, const opt_bench_result *b) {
    const int n_kinds = (b->n_prompt > 0) + (b->n_gen > 0) + (b->n_batch > 0);
    if (b->n_rows > n_kinds) {
        put_bench_rows(w, b);
        return;
    }
    PUT(w, "%-28s %10s  %s\n", "tokens/s", "median", "range");
    if (b->n_prompt > 0) {
        PUT(w, "read %-6" PRId64 " tokens at once   %10.2f  %.2f to %.2f\n", b->n_prompt,
            b->prompt_tps, b->prompt_tps_min, b->prompt_tps_max);
    }
    if (b->n_gen > 0) {
        PUT(w, "write %-6" PRId64 " one by one      %10.2f  %.2f to %.2f\n", b->n_gen, b->gen_tps,
            b->gen_tps_min, b->gen_tps_max);
    }
    if (b->n_batch > 0) {
        PUT(w, "write %-6" PRId64 " texts at once   %10.2f  %.2f to %.2f\n", b->n_batch,
            b->batch_tps, b->batch_tps_min, b->batch_tps_max);
    }
    char a[32];
    PUT(w, "weights read for one token   %s (%.2f GB/s)\n",
        size_text((uint64_t)b->gen_bytes_per_token, a, sizeof a),
        b->gen_bytes_per_token * b->gen_tps / 1e9);
    put_probe(w, &b->probe);
    if (b->n_prompt > 0) {
        PUT(w, "reading: %.1f %% of the int8 peak\n", 100 * b->prompt_of_peak);
    }
    if (b->n_gen > 0) {
        PUT(w, "writing%s: %.1f %% of the bandwidth\n", b->depth > 0 ? " at depth" : "",
            100 * b->gen_of_bandwidth);
    }
}

static void put_profile_rows(writer *w, const opt_profile_phase *p, const opt_profile_row *rows,
                             int n) {
    PUT(w, "%-24s %6s %10s %6s %9s %9s  %s\n", p->name, "calls", "ms", "%", "GB/s", "Gop/s",
        "bound");
    for (int i = 0; i < n; i++) {
        const opt_profile_row *x = &rows[i];
        PUT(w, "%-24s %6" PRId64 " %10.3f %6.1f %9.2f %9.1f  %s", x->name, x->calls,
            1e3 * x->seconds, 100 * opt_report_ratio(x->seconds, p->seconds),
            opt_report_ratio(x->bytes, 1e9 * x->seconds),
            opt_report_ratio(x->ops, 1e9 * x->seconds), x->bound);
        if (strcmp(x->bound, "cache") != 0) {
            PUT(w, " %.0f %%", 100 * x->of_bound);
        }
        PUT(w, "\n");
    }
}

static void put_profile(writer *w, const opt_profile_result *r, int verbosity) {
    put_probe(w, &r->probe);
    for (int i = 0; i < r->n_phases; i++) {
        const opt_profile_phase *p = &r->phases[i];
        double inside = 0;
        for (int k = 0; k < p->n_rows; k++) {
            inside += p->rows[k].seconds;
        }
        PUT(w, "\n%s %" PRId64 " tokens%s: %.3f ms, %.2f tokens/s\n", p->name, p->n_tokens,
            i == 0 ? " at once" : " one by one", 1e3 * p->seconds,
            opt_report_ratio((double)p->n_tokens, p->seconds));
        put_profile_rows(w, p, p->rows, p->n_rows);
        PUT(w, "%-24s %6s %10.3f %6.1f\n", "between the ops", "", 1e3 * (p->seconds - inside),
            100 * opt_report_ratio(p->seconds - inside, p->seconds));
        if (verbosity > 0) {
            put_profile_rows(w, p, p->layers, p->n_layers);
        }
    }
    PUT(w, "\nbound: what takes longer at best, and the share of the time that it explains;\n"
           "cache: nothing to read from memory, or faster than memory is\n");
}

static void put_gates(writer *w, const opt_report *r) {
    for (size_t i = 0; i < r->n_gates; i++) {
        const opt_gate *g = &r->gates[i];
        PUT(w, "gate %-14s %.6g %s %.6g: ", g->name, g->value, g->at_least ? ">=" : "<=", g->limit);
        if (g->verdict == OPT_VERDICT_INCONCLUSIVE) {
            PUT(w, "inconclusive, 95 %% interval %.6g to %.6g; use more text\n", g->low, g->high);
        } else {
            PUT(w, "%s\n", opt_verdict_name(g->verdict));
        }
    }
}

static int64_t member_i64(const opt_json *v, const char *key) {
    int64_t i = 0;
    return opt_json_i64(opt_json_get(v, key), &i) ? i : 0;
}

static double member_f64(const opt_json *v, const char *key) {
    double d = 0;
    return opt_json_f64(opt_json_get(v, key), &d) ? d : 0;
}

static const char *member_str(const opt_json *v, const char *key) {
    const char *s = opt_json_str(opt_json_get(v, key), NULL);
    return s != NULL ? s : "";
}

static void put_meta_value(writer *w, const opt_json *v) {
    int64_t i = 0;
    double d = 0;
    size_t len = 0;
    const char *s = opt_json_str(v, &len);
    if (s != NULL) {
        put_foreign(w, s, len < 100 ? len : 97);
        PUT(w, "%s", len < 100 ? "" : "...");
    } else if (opt_json_i64(v, &i)) {
        PUT(w, "%" PRId64, i);
    } else if (opt_json_f64(v, &d)) {
        PUT(w, "%g", d);
    } else {
        PUT(w, "%s", opt_json_bool(v, false) ? "true" : "false");
    }
}

/** One metadata entry: long texts are cut, long arrays are summarised by the document itself. */
static void put_meta(writer *w, const char *key, const opt_json *v) {
    PUT(w, "  ");
    put_column(w, key, 42);
    PUT(w, " ");
    if (opt_json_type_of(v) == OPT_JSON_OBJECT) {
        PUT(w, "[%" PRId64 " x %s]", member_i64(v, "length"), member_str(v, "elements"));
    } else if (opt_json_type_of(v) == OPT_JSON_ARRAY) {
        for (size_t i = 0; i < opt_json_size(v); i++) {
            PUT(w, "%s", i > 0 ? ", " : "[");
            put_meta_value(w, opt_json_at(v, i));
        }
        PUT(w, opt_json_size(v) > 0 ? "]" : "[]");
    } else {
        put_meta_value(w, v);
    }
    PUT(w, "\n");
}

static void put_inspect_tensors(writer *w, const opt_json *doc) {
    const opt_json *tensors = opt_json_get(doc, "tensors");
    PUT(w, "\n%-34s %-12s %-20s %12s\n", "tensor", "format", "shape", "bytes");
    for (size_t i = 0; i < opt_json_size(tensors); i++) {
        const opt_json *t = opt_json_at(tensors, i);
        const opt_json *shape = opt_json_get(t, "shape");
        char text[96] = "[";
        for (size_t k = 0; k < opt_json_size(shape); k++) {
            int64_t dim = 0;
            (void)opt_json_i64(opt_json_at(shape, k), &dim);
            const size_t at = strlen(text);
            snprintf(text + at, sizeof text - at, "%s%" PRId64, k > 0 ? ", " : "", dim);
        }
        put_column(w, member_str(t, "name"), 34);
        PUT(w, " %-12s %s]%*s %12" PRId64 "\n", member_str(t, "format"), text,
            (int)(19 - (int)strlen(text)), "", member_i64(t, "bytes"));
    }
}

static void put_checksums(writer *w, const opt_json *doc) {
    const opt_json *sums = opt_json_get(doc, "checksums");
    const int64_t verified = member_i64(sums, "verified");
    const int64_t stored = member_i64(sums, "stored");
    if (opt_json_type_of(opt_json_get(sums, "verified")) == OPT_JSON_INT) {
        PUT(w, "checksums     %" PRId64 " of %" PRId64 " tensors compared, all equal\n", verified,
            (int64_t)opt_json_size(opt_json_get(doc, "tensors")));
    } else if (stored > 0) {
        PUT(w, "checksums     %" PRId64 " stored; --verify compares them\n", stored);
    } else {
        PUT(w, "checksums     none stored\n");
    }
}

static void put_cache(writer *w, const opt_json *doc) {
    const opt_json *cache = opt_json_get(doc, "cache");
    const int64_t n_windows = member_i64(cache, "layers_with_window");
    char a[32], b[32];
    PUT(w, "cache         %s in f16, %s in int8 for %" PRId64 " positions",
        size_text((uint64_t)member_i64(cache, "bytes_f16"), a, sizeof a),
        size_text((uint64_t)member_i64(cache, "bytes_int8"), b, sizeof b),
        member_i64(cache, "positions"));
    if (n_windows > 0) {
        PUT(w, "; %" PRId64 " layers with a window of %" PRId64, n_windows,
            member_i64(cache, "window"));
    }
    PUT(w, "\n");
}

static void put_inspect(writer *w, const opt_json *doc, int verbosity) {
    char a[32];
    PUT(w, "name          ");
    put_foreign(w, member_str(doc, "name"), strlen(member_str(doc, "name")));
    PUT(w, "\ncontainer     %s\narchitecture  ", member_str(doc, "container"));
    put_foreign(w, member_str(doc, "architecture"), strlen(member_str(doc, "architecture")));
    PUT(w, "\nweights       %" PRId64 " in %" PRId64 " tensors\n", member_i64(doc, "weights"),
        (int64_t)opt_json_size(opt_json_get(doc, "tensors")));
    PUT(w, "size          %s (%" PRId64 " bytes, %.3f bits per weight)\n",
        size_text((uint64_t)member_i64(doc, "file_bytes"), a, sizeof a),
        member_i64(doc, "file_bytes"), member_f64(doc, "bits_per_weight"));
    put_checksums(w, doc);
    put_cache(w, doc);
    PUT(w, "\n%-12s %8s %14s %12s\n", "format", "tensors", "bytes", "bits/weight");
    const opt_json *formats = opt_json_get(doc, "formats");
    for (size_t i = 0; i < opt_json_size(formats); i++) {
        const opt_json *f = opt_json_at(formats, i);
        PUT(w, "%-12s %8" PRId64 " %14" PRId64 " %12.3f\n", member_str(f, "format"),
            member_i64(f, "tensors"), member_i64(f, "bytes"), member_f64(f, "bits_per_weight"));
    }
    const opt_json *meta = opt_json_get(doc, "metadata");
    if (opt_json_size(meta) > 0) {
        PUT(w, "\nmetadata\n");
    }
    void *it = NULL;
    const char *key;
    const opt_json *value;
    while (opt_json_next(meta, &it, &key, &value)) {
        put_meta(w, key, value);
    }
    if (verbosity > 0) {
        put_inspect_tensors(w, doc);
    }
}

opt_status opt_report_text(opt_ctx *ctx, const opt_report *report, int verbosity, char **out) {
    opt_status st = OPT_OK;
    opt_json *doc = NULL;
    writer w = {.ctx = ctx};
    OPT_TRY(
        opt_str_append(ctx, &w.out, "", 0)); /* *out is a text also when there is nothing to say */
    if (report->quantize != NULL) {
        put_quantize(&w, report, verbosity);
    } else if (report->perplexity != NULL) {
        put_perplexity(&w, report->perplexity);
    } else if (report->compare != NULL) {
        put_compare(&w, report->compare);
    } else if (report->bench != NULL) {
        put_bench(&w, report->bench);
    } else if (report->profile != NULL) {
        put_profile(&w, report->profile, verbosity);
    } else if (report->inspect != NULL) {
        OPT_TRY(opt_json_parse(ctx, "inspect", report->inspect, strlen(report->inspect), &doc));
        put_inspect(&w, doc, verbosity);
    } else if (report->generate != NULL) {
        put_foreign(&w, report->generated_text, report->generated_bytes);
        PUT(&w, "\n");
    }
    put_gates(&w, report);
    OPT_TRY(w.status);
    *out = w.out.data;
    w.out.data = NULL;
done:
    opt_json_free(doc);
    if (w.out.data != NULL) {
        opt_str_free(ctx, &w.out);
    }
    return st;
}
