/* The walk of quantize: rules -> plan -> (dry run ends here) -> engine -> result. */
#include "opt/quantize.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "flow/budget.h"
#include "flow/calibrate.h"
#include "flow/emit.h"
#include "flow/importance.h"
#include "flow/preset.h"
#include "flow/runner.h"
#include "flow/transforms.h"
#include "flow/width.h"
#include "opt/text.h"
#include "recipe/rules.h"
#include "solve/rows.h"

enum { KEY_FORMAT, KEY_METHOD, KEY_WIDTH, N_KEYS };

#define MAX_FORMAT_NAMES 96
#define WIDTH_REFUSE 0U
/* What a prediction of memory does not count one by one: file names, tables of pieces. */
#define SMALL_BYTES (1 << 18)

/** Everything that the decisions need. */
typedef struct job {
    opt_ctx *ctx;
    const opt_quantize_options *options;
    opt_quantize_options own; /* the same with what a preset sets */
    const opt_preset *preset; /* or NULL */
    opt_opened opened;
    bool has_tokenizer; /* it was looked for */
    opt_rules *rules;
    const opt_format *format;
    opt_plan *plan;
    struct choice *choices;         /* [n_weights] */
    opt_pad_side *sides;            /* [n_weights] */
    int64_t ff_padded;              /* feed-forward width with padding; 0: as it is */
    const opt_quant_method *method; /* of weights that no rule speaks about */
    opt_calibration_options calib;  /* n_paths 0: none */
    opt_calibration *calibration;
    opt_transforms *transforms; /* NULL: none */
    opt_arena *arena;           /* of choices and sides */
    opt_budget *budget;         /* NULL: formats are given */
    opt_block *block;
} job;

/** What the rules and defaults say about one weight, before its width is looked at. */
typedef struct choice {
    const opt_format *format;
    const opt_quant_method *method;
    unsigned width_policy;
    bool by_rule; /* a rule names the format */
    const char *note;
} choice;

bool opt_format_writable(const opt_format *f) {
    return (f->flags & OPT_FORMAT_ENCODES) != 0 &&
           (f->ggml_type >= 0 || (f->flags & OPT_FORMAT_OWN) != 0) &&
           ((f->flags & OPT_FORMAT_QUANT) != 0 ||
            ((f->flags & OPT_FORMAT_FLOAT) != 0 && f->block_elems == 1 && f->block_bytes <= 4));
}

bool opt_quantize_format(int i, const char **name, const char **help, double *bits_per_weight) {
    for (int k = 0; opt_formats[k] != NULL; k++) {
        if (opt_format_writable(opt_formats[k]) && i-- == 0) {
            *name = opt_formats[k]->name;
            *help = opt_formats[k]->help;
            *bits_per_weight = opt_format_bpw(opt_formats[k]);
            return true;
        }
    }
    return false;
}

/** Looks a format up; `origin` is the option or rule that names it. */
static opt_status find_format(opt_ctx *ctx, const char *origin, const char *name,
                              const opt_format **out) {
    opt_status st = OPT_OK;
    const opt_format *f = opt_format_by_name(name);
    if (f == NULL) {
        const char *names[MAX_FORMAT_NAMES];
        size_t n = 0;
        const char *help;
        double bits;
        while (n < MAX_FORMAT_NAMES && opt_quantize_format((int)n, &names[n], &help, &bits)) {
            n++;
        }
        const char *near = opt_text_nearest(name, names, n);
        return opt_fail(ctx, OPT_ERR_USAGE, origin,
                        "unknown format '%s'%s%s%s; quantize --help lists them", name,
                        near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                        near != NULL ? "'?" : "");
    }
    OPT_REQUIRE(opt_format_writable(f), ctx, OPT_ERR_UNSUPPORTED, origin,
                "the format %s can be read but not written; quantize --help lists those that can",
                f->name);
    *out = f;
done:
    return st;
}

static opt_status check_format(opt_ctx *ctx, const char *rule, const char *value) {
    const opt_format *f;
    return find_format(ctx, rule, value, &f);
}

static opt_status check_method(opt_ctx *ctx, const char *rule, const char *value) {
    char names[256] = "";
    size_t n = 0;
    if (opt_quant_method_by_name(value) != NULL) {
        return OPT_OK;
    }
    for (int i = 0; opt_quant_methods[i] != NULL && n < sizeof names - 32; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "",
                              opt_quant_methods[i]->name);
    }
    return opt_fail(ctx, OPT_ERR_USAGE, rule, "unknown method '%s'; there are %s", value, names);
}

/** "refuse", "pad", "own", "next", joined by '+' (a comma separates keys in a rule). */
static bool parse_width(const char *text, unsigned *out) {
    static const char *const names[] = {"refuse", "pad", "own", "next"};
    static const unsigned bits[] = {WIDTH_REFUSE, OPT_WIDTH_PAD, OPT_WIDTH_OWN, OPT_WIDTH_NEXT};
    unsigned policy = 0;
    for (const char *c = text;;) {
        const size_t n = strcspn(c, "+");
        size_t k = 0;
        while (k < 4 && !(strlen(names[k]) == n && memcmp(names[k], c, n) == 0)) {
            k++;
        }
        if (k == 4) {
            return false;
        }
        policy |= bits[k];
        if (c[n] == 0) {
            *out = policy;
            return true;
        }
        c += n + 1;
    }
}

static opt_status check_width(opt_ctx *ctx, const char *rule, const char *value) {
    unsigned policy;
    return parse_width(value, &policy)
               ? OPT_OK
               : opt_fail(ctx, OPT_ERR_USAGE, rule,
                          "'%s' is none of refuse, pad, own, next (joined by +)", value);
}

static const opt_rule_key rule_keys[] = {
    [KEY_FORMAT] = {"format", "number format", check_format},
    [KEY_METHOD] = {"method", "how the codes are chosen", check_method},
    [KEY_WIDTH] = {"width", "what to do where the format does not fit", check_width},
    [N_KEYS] = {NULL, NULL, NULL},
};

static const char *const rule_roles[] = {"linear", "embedding", "head", "norm",
                                         "bias",   "other",     NULL};

static bool is_matrix(const opt_weight *w) { return w->n_dims >= 2; }

static bool is_quant(const opt_format *f) { return (f->flags & OPT_FORMAT_QUANT) != 0; }

/** The format of a weight that no rule speaks about. What ends up in the logits directly keeps at
 * least 8 bits. */
static const opt_format *default_format(const job *j, const opt_weight *w) {
    if (!is_matrix(w) || w->role == OPT_ROLE_NORM || w->role == OPT_ROLE_BIAS ||
        w->role == OPT_ROLE_OTHER) {
        return &opt_format_f32;
    }
    const bool is_head = w->role == OPT_ROLE_HEAD || (w->role == OPT_ROLE_EMBEDDING && w->tied);
    return is_head && is_quant(j->format) && j->format->bits < 8 ? &opt_format_q8_0 : j->format;
}

/** Names by which rules may speak about a weight. */
static opt_status fill_target(const job *j, const opt_weight *w, opt_rule_target *target) {
    const size_t n = strlen(w->name);
    const size_t suffix = strlen(".weight");
    const char *stem = n > suffix && strcmp(w->name + n - suffix, ".weight") == 0
                           ? opt_arena_strndup(j->arena, w->name, n - suffix)
                           : w->name;
    if (stem == NULL) {
        return OPT_ERR_MEMORY;
    }
    *target = (opt_rule_target){{w->name, stem, w->kind, w->tensor->name}, opt_role_name(w->role)};
    return OPT_OK;
}

/** What a preset says about a weight. */
static opt_status choose_preset(job *j, const opt_weight *w, choice *c) {
    opt_status st = OPT_OK;
    const opt_format *format = NULL, *wanted = NULL;
    OPT_TRY(opt_preset_format(j->ctx, j->preset, j->opened.model, w, &format, &wanted));
    if (format == NULL) {
        goto done;
    }
    c->format = format;
    if (format != wanted) {
        c->note = opt_arena_printf(j->arena,
                                   "%s stores blocks of %lld, rows have %lld elements: "
                                   "stored as %s",
                                   wanted->name, (long long)wanted->block_elems,
                                   (long long)w->dims[w->n_dims - 1], format->name);
        OPT_TRY_PTR(c->note);
    }
done:
    return st;
}

static opt_status choose(job *j, const opt_weight *w, choice *c) {
    opt_status st = OPT_OK;
    opt_rule_target target;
    const char *values[OPT_RULE_MAX_KEYS];
    OPT_TRY(fill_target(j, w, &target));
    opt_rules_resolve(j->rules, &target, values);
    *c = (choice){default_format(j, w), j->method, j->options->width_policy, false, ""};
    if (j->preset != NULL) {
        OPT_TRY(choose_preset(j, w, c));
    }
    if (values[KEY_FORMAT] != NULL) {
        c->by_rule = true;
        const opt_format *f = opt_format_by_name(values[KEY_FORMAT]);
        if (is_quant(f) && !is_matrix(w)) {
            c->note = "vectors are not quantized: the rule's format does not apply";
        } else {
            c->format = f;
        }
    }
    if (values[KEY_METHOD] != NULL) {
        c->method = opt_quant_method_by_name(values[KEY_METHOD]);
    }
    if (values[KEY_WIDTH] != NULL) {
        (void)parse_width(values[KEY_WIDTH], &c->width_policy); /* was checked */
    }
    const opt_format *from = w->tensor->format;
    OPT_REQUIRE((from->flags & (OPT_FORMAT_FLOAT | OPT_FORMAT_QUANT)) != 0, j->ctx,
                OPT_ERR_UNSUPPORTED, w->name, "the source holds %s: plain integers are not weights",
                from->name);
    OPT_REQUIRE(
        !is_quant(from) || j->options->allow_requantize, j->ctx, OPT_ERR_USAGE, w->name,
        "the source is quantized already (%s); start from the float model, or allow the loss with "
        "--allow-requantize",
        from->name);
done:
    return st;
}

/** Decides whether feed-forward widths are padded, and to what: all blocks alike, since a file
 * states one width. */
static opt_status choose_padding(job *j) {
    opt_status st = OPT_OK;
    const opt_model *m = j->opened.model;
    int64_t multiple = 1;
    for (int i = 0; i < m->n_weights; i++) {
        const opt_weight *w = &m->weights[i];
        const opt_format *f = j->choices[i].format;
        if (j->sides[i] == OPT_PAD_COLS && w->dims[1] == m->hp.n_ff &&
            !opt_format_fits(f, m->hp.n_ff) && (j->choices[i].width_policy & OPT_WIDTH_PAD) != 0) {
            multiple = opt_max_i64(multiple, f->block_elems); /* block sizes are powers of two */
        }
    }
    if (multiple > 1) {
        int64_t padded = 0;
        OPT_REQUIRE(opt_mul_i64(opt_ceil_div(m->hp.n_ff, multiple), multiple, &padded), j->ctx,
                    OPT_ERR_UNSUPPORTED, m->name, "the feed-forward width %lld cannot be padded",
                    (long long)m->hp.n_ff);
        j->ff_padded = padded;
    }
done:
    return st;
}

/** A tensor for which there is no Hessian: the method gives way to round to nearest where it may.
 */
static opt_status settle_method(const job *j, const opt_plan_tensor *t) {
    const bool needs = t->method != NULL && (t->method->needs & OPT_NEEDS_HESSIAN) != 0;
    if (t->method != NULL && (t->method->needs & OPT_NEEDS_ZERO_POINT) != 0 &&
        ((t->format->flags & OPT_FORMAT_ZERO_POINT) == 0 || t->format->grid->move == NULL)) {
        return opt_fail(
            j->ctx, OPT_ERR_UNSUPPORTED, t->weight->name,
            "method %s fits offsets, and %s has none; q4_1, int4_g64_zp and the like do",
            t->method->name, t->format->name);
    }
    if (opt_calibrates(t) && j->calib.text.n_paths > 0) {
        if (j->transforms != NULL && (t->n_rows != t->src_rows || t->n_cols != t->src_cols)) {
            return opt_fail(j->ctx, OPT_ERR_UNSUPPORTED, t->weight->name,
                            "padded tensors cannot be transformed; allow own or next with "
                            "--width instead of pad");
        }
        return !needs || opt_rows_supports(t->format)
                   ? OPT_OK
                   : opt_fail(j->ctx, OPT_ERR_UNSUPPORTED, t->weight->name,
                              "method %s does not work with %s yet", t->method->name,
                              t->format->name);
    }
    return needs && opt_calibrates(t)
               ? opt_fail(j->ctx, OPT_ERR_USAGE, t->weight->name,
                          "method %s needs calibration text: --calib FILE", t->method->name)
               : OPT_OK;
}

/** Adds one weight to the plan, its width problem solved as far as the policy allows. */
static opt_status plan_weight(job *j, int i) {
    opt_status st = OPT_OK;
    const opt_weight *w = &j->opened.model->weights[i];
    choice *c = &j->choices[i];
    int64_t n_rows, n_cols;
    char note[256];
    snprintf(note, sizeof note, "%s", c->note);
    opt_weight_shape(w, &n_rows, &n_cols);
    const int64_t n_ff = j->opened.model->hp.n_ff;
    if (j->ff_padded > 0 && j->sides[i] == OPT_PAD_COLS && n_cols == n_ff) {
        snprintf(note, sizeof note, "%lld columns of zeros appended, so that blocks of %lld fit",
                 (long long)(j->ff_padded - n_cols), (long long)c->format->block_elems);
        n_cols = j->ff_padded;
    } else if (j->ff_padded > 0 && j->sides[i] == OPT_PAD_ROWS &&
               (is_matrix(w) ? n_rows : n_cols) == n_ff) {
        snprintf(note, sizeof note,
                 "%lld %s of zeros appended to match the padded feed-forward width",
                 (long long)(j->ff_padded - n_ff), is_matrix(w) ? "rows" : "elements");
        *(is_matrix(w) ? &n_rows : &n_cols) = j->ff_padded;
    }
    const opt_format *wanted = c->format;
    if (!opt_format_fits(wanted, n_cols)) {
        const opt_format *own =
            (c->width_policy & OPT_WIDTH_OWN) != 0 ? opt_width_own(wanted) : NULL;
        const opt_format *next =
            (c->width_policy & OPT_WIDTH_NEXT) != 0 ? opt_width_next(wanted, n_cols) : NULL;
        c->format = own != NULL ? own : next;
        OPT_REQUIRE(c->format != NULL, j->ctx, OPT_ERR_USAGE, w->name,
                    "%s stores blocks of %lld, rows have %lld elements; allow a way out with "
                    "--width (%sown, next)",
                    wanted->name, (long long)wanted->block_elems, (long long)n_cols,
                    j->sides[i] == OPT_PAD_COLS ? "pad, " : "");
        snprintf(note, sizeof note,
                 "%s stores blocks of %lld, rows have %lld elements: stored as %s", wanted->name,
                 (long long)wanted->block_elems, (long long)n_cols, c->format->name);
    }
    if ((c->method->needs & OPT_NEEDS_ZERO_POINT) != 0 && c->format != j->format &&
        is_quant(c->format) && (c->format->flags & OPT_FORMAT_ZERO_POINT) == 0) {
        c->method = opt_quant_methods[0];
        if (note[0] == 0) {
            snprintf(note, sizeof note, "%s has no offsets to fit: rounded to nearest",
                     c->format->name);
        }
    }
    if ((c->method->needs & OPT_USES_SHIFT) != 0 && is_quant(c->format) &&
        (w->role == OPT_ROLE_HEAD || (w->role == OPT_ROLE_EMBEDDING && w->tied))) {
        const char *name = c->method->name;
        c->method = &opt_quant_gptq; /* the same where there is no shift */
        if (note[0] == 0) {
            snprintf(note, sizeof note, "outside blocks %s is %s", name, c->method->name);
        }
    }
    const bool feeds_linear = w->role == OPT_ROLE_LINEAR || w->role == OPT_ROLE_HEAD || w->tied;
    if (is_quant(c->format) && !feeds_linear && (c->method->needs & OPT_NEEDS_HESSIAN) != 0) {
        c->method = opt_quant_methods[0];
        if (note[0] == 0) {
            snprintf(note, sizeof note, "no linear layer reads with it: rounded to nearest");
        }
    }
    OPT_TRY(opt_plan_add(j->plan, w, c->format, c->method, n_rows, n_cols, note));
    opt_plan_tensor *t = &j->plan->tensors[j->plan->n - 1];
    t->replaced = c->format != wanted;
    if (opt_transforms_touches(j->transforms, i)) {
        opt_plan_rewrites(j->plan, c->method);
        t->late = opt_transforms_late(j->transforms, i);
    }
    OPT_TRY(settle_method(j, t));
done:
    return st;
}

/** One warning for all tensors whose format is not the one asked for. */
static void warn_of_widths(const job *j) {
    int64_t n = 0;
    const opt_plan_tensor *first = NULL;
    for (int64_t i = 0; i < j->plan->n; i++) {
        const opt_plan_tensor *t = &j->plan->tensors[i];
        if (t->replaced) {
            first = first == NULL ? t : first;
            n++;
        }
    }
    if (n > 0) {
        opt_warn(j->ctx, first->weight->name, "%s%s", first->note,
                 n > 1 ? "; other tensors likewise, --dry-run names them" : "");
    }
}

/** What the file says about how it was made. */
static opt_status put_provenance(const job *j) {
    opt_status st = OPT_OK;
    opt_str rules = {0};
    opt_kv *kv = j->plan->kv;
    OPT_TRY(opt_kv_set_str(kv, "lathe.quantize.format",
                           j->preset != NULL   ? j->preset->name
                           : j->budget != NULL ? "mixed"
                                               : j->format->name));
    OPT_TRY(opt_kv_set_str(kv, "lathe.quantize.method", j->method->name));
    if (j->calib.text.n_paths > 0) {
        OPT_TRY(opt_kv_set_u64(kv, "lathe.quantize.calibration_windows",
                               (uint64_t)j->calib.text.n_windows));
        OPT_TRY(opt_kv_set_u64(kv, "lathe.quantize.calibration_context",
                               (uint64_t)j->calib.text.n_ctx));
    }
    if (j->transforms != NULL) {
        OPT_TRY(
            opt_kv_set_str(kv, "lathe.quantize.transforms", opt_transforms_text(j->transforms)));
    }
    if (j->options->block_steps > 0) {
        OPT_TRY(
            opt_kv_set_u64(kv, "lathe.quantize.round_steps", (uint64_t)j->options->block_steps));
    }
    for (size_t i = 0; i < j->options->n_rules; i++) {
        OPT_TRY(opt_str_printf(j->ctx, &rules, "%s%s", i > 0 ? "\n" : "", j->options->rules[i]));
    }
    if (rules.len > 0) {
        OPT_TRY(opt_kv_set_strn(kv, "lathe.quantize.rules", rules.data, rules.len));
    }
    if (j->ff_padded > 0) {
        char key[128];
        const char *arch = NULL;
        OPT_TRY(opt_kv_get_str(j->ctx, kv, "general.architecture", true, &arch));
        snprintf(key, sizeof key, "%s.feed_forward_length", arch);
        OPT_TRY(opt_kv_set_u32(kv, key, (uint32_t)j->ff_padded));
        OPT_TRY(opt_kv_set_u32(kv, "lathe.quantize.feed_forward_length_unpadded",
                               (uint32_t)j->opened.model->hp.n_ff));
    }
done:
    opt_str_free(j->ctx, &rules);
    return st;
}

/** The tokenizer, once: calibration may have wanted it already. */
static opt_status open_tokenizer(job *j) {
    const opt_status st = j->has_tokenizer ? OPT_OK : opt_open_tokenizer(&j->opened);
    j->has_tokenizer = true;
    return st;
}

/** The metadata, tokenizer included: what takes long and is needed only for the header. */
static opt_status prepare(void *user) {
    job *j = user;
    opt_status st = OPT_OK;
    if (j->plan->kv != NULL) { /* a budget or calibration wanted it early */
        return OPT_OK;
    }
    OPT_TRY(open_tokenizer(j));
    OPT_TRY(opt_opened_kv(&j->opened, &j->plan->kv));
    OPT_TRY(put_provenance(j));
    OPT_TRY(opt_plan_finish(j->plan));
done:
    return st;
}

/** Every rule must have been of use; a misspelt one is answered with the nearest kind of tensor. */
static opt_status check_rules(const job *j) {
    opt_status st = OPT_OK;
    const opt_model *m = j->opened.model;
    const char **kinds = opt_arena_array(j->arena, (size_t)m->n_weights, sizeof *kinds);
    OPT_TRY_PTR(kinds);
    for (int i = 0; i < m->n_weights; i++) {
        kinds[i] = m->weights[i].kind;
    }
    OPT_TRY(opt_rules_check_used(j->rules, kinds, (size_t)m->n_weights));
done:
    return st;
}

/** The plan of the choices as they are, in place of any that there is. */
static opt_status plan_choices(job *j) {
    opt_status st = OPT_OK;
    opt_plan_free(j->plan);
    j->plan = NULL;
    OPT_TRY(opt_plan_new(j->ctx, j->opened.model, &j->plan));
    for (int i = 0; i < j->opened.model->n_weights; i++) {
        OPT_TRY(plan_weight(j, i));
    }
done:
    return st;
}

/** Every matrix whose format no rule says is open. */
static opt_status open_budget(job *j) {
    opt_status st = OPT_OK;
    const opt_model *m = j->opened.model;
    OPT_TRY(opt_budget_new(j->ctx, m, j->options, &j->budget));
    bool any = false;
    for (int i = 0; i < m->n_weights; i++) {
        const opt_weight *w = &m->weights[i];
        const bool plays =
            w->role == OPT_ROLE_LINEAR || w->role == OPT_ROLE_EMBEDDING || w->role == OPT_ROLE_HEAD;
        if (plays && w->n_dims == 2 && !j->choices[i].by_rule) {
            OPT_TRY(opt_budget_add(j->budget, i, j->choices[i].method));
            any = true;
        }
    }
    OPT_REQUIRE(any, j->ctx, OPT_ERR_USAGE, NULL,
                "rules give every matrix its format: nothing is left for a target to choose");
done:
    return st;
}

/** What would only be noticed when the measuring is done. */
static opt_status check_outputs(const job *j) {
    opt_status st = OPT_OK;
    const opt_quantize_options *o = j->options;
    const char *const paths[] = {o->output, o->save_measurements, o->save_imatrix};
    opt_outfile *file = NULL;
    for (int i = 0; i < 3; i++) {
        if (paths[i] != NULL && !o->dry_run) {
            OPT_TRY(opt_emit_refuse_inputs(j->ctx, j->opened.source, paths[i]));
            OPT_TRY(opt_outfile_open(j->ctx, paths[i], o->force, 0, &file));
            opt_outfile_discard(file);
        }
    }
done:
    return st;
}

static void take_formats(job *j) {
    for (int i = 0; i < j->opened.model->n_weights; i++) {
        const opt_format *f = opt_budget_format(j->budget, i);
        j->choices[i].format = f != NULL ? f : j->choices[i].format;
    }
}

/** Measures, chooses, and plans the choice; the header's size is known then. */
static opt_status plan_by_budget(job *j) {
    opt_status st = OPT_OK;
    OPT_TRY(open_budget(j));
    OPT_TRY(check_outputs(j));
    OPT_TRY(open_tokenizer(j));
    const uint64_t limit = opt_ctx_max_memory(j->ctx),
                   need = opt_budget_measure_bytes(j->budget, &j->calib);
    OPT_REQUIRE(limit == 0 || need <= limit || !opt_budget_measures(j->budget), j->ctx,
                OPT_ERR_MEMORY, "--max-memory",
                "%llu bytes are needed to measure divergences, %llu are allowed",
                (unsigned long long)need, (unsigned long long)limit);
    OPT_TRY(opt_budget_prepare(j->budget, j->opened.tokenizer, &j->calib));
    do {
        take_formats(j);
        OPT_TRY(plan_choices(j));
        OPT_TRY(prepare(j));
        OPT_TRY(opt_budget_choose(j->budget, j->plan));
        take_formats(j);
        OPT_TRY(plan_choices(j));
        OPT_TRY(prepare(j));
    } while (!opt_budget_keeps(j->budget, j->plan));
done:
    return st;
}

static opt_status make_plan(job *j) {
    opt_status st = OPT_OK;
    const opt_model *m = j->opened.model;
    OPT_TRY(opt_transforms_plan(j->transforms, j->opened.model, j->calib.text.n_paths > 0));
    if (j->transforms != NULL && opt_budget_wanted(j->options)) {
        opt_warn(j->ctx, "--transform", "divergences are measured without it");
    }
    OPT_TRY(opt_arena_new(j->ctx, &j->arena));
    j->choices = opt_arena_array(j->arena, (size_t)m->n_weights, sizeof *j->choices);
    OPT_TRY_PTR(j->choices);
    j->sides = opt_arena_array(j->arena, (size_t)m->n_weights, sizeof *j->sides);
    OPT_TRY_PTR(j->sides);
    OPT_TRY(opt_pad_sides(j->ctx, m, j->sides));
    for (int i = 0; i < m->n_weights; i++) {
        OPT_TRY(choose(j, &m->weights[i], &j->choices[i]));
    }
    OPT_TRY(check_rules(j));
    if (opt_budget_wanted(j->options)) {
        OPT_TRY(plan_by_budget(j));
    } else {
        OPT_TRY(choose_padding(j));
        OPT_TRY(plan_choices(j));
    }
    OPT_TRY(opt_transforms_bind(j->transforms, j->plan));
    warn_of_widths(j);
done:
    return st;
}

bool opt_quantize_method(int i, const char **name, const char **help, bool *needs_calib) {
    for (int k = 0; opt_quant_methods[k] != NULL; k++) {
        if (k == i) {
            *name = opt_quant_methods[k]->name;
            *help = opt_quant_methods[k]->help;
            *needs_calib = (opt_quant_methods[k]->needs & OPT_NEEDS_HESSIAN) != 0;
            return true;
        }
    }
    return false;
}

/** The best that there is, for whoever sets a target or names a mixture. */
static const opt_quant_method *best_method(const opt_quantize_options *o) {
    const bool pads = (o->width_policy & OPT_WIDTH_PAD) != 0;
    const bool by_matrix = !o->one_pass && o->n_transforms == 0 && (o->block_steps == 0 || !pads);
    return by_matrix ? &opt_quant_gptaq : &opt_quant_gptq; /* as opt_calibration_plan_steps says */
}

/** Looks at the method and at what it is given. */
static opt_status read_calibration(job *j) {
    opt_status st = OPT_OK;
    const opt_quantize_options *o = j->options;
    j->method = opt_quant_methods[0];
    if (o->method == NULL && (opt_budget_wanted(o) || j->preset != NULL) && o->n_calib > 0) {
        j->method = best_method(o);
    }
    if (o->method != NULL) {
        OPT_TRY(check_method(j->ctx, "--method", o->method));
        j->method = opt_quant_method_by_name(o->method);
    }
    OPT_TRY(opt_calibration_read_options(j->ctx, o, &j->calib));
    OPT_TRY(opt_transforms_read(j->ctx, o->transforms, o->n_transforms, o->seed, &j->transforms));
    j->calib.transforms = j->transforms;
    for (size_t i = 0; i < j->calib.text.n_paths; i++) { /* a dry run reads them no further */
        OPT_TRY(opt_buf_probe(j->ctx, j->calib.text.paths[i]));
    }
done:
    return st;
}

/** What calibration and the rounding of blocks will hold at once. */
static opt_status calibration_bytes(const job *j, uint64_t *out) {
    opt_status st = OPT_OK;
    uint64_t blocks = 0;
    OPT_TRY(opt_calibration_bytes(j->plan, &j->calib, out));
    if (j->calib.block_steps > 0) {
        OPT_TRY(opt_block_bytes(j->plan, &j->calib, &blocks));
    }
    *out += blocks;
done:
    return st;
}

/**
 * The most memory that the run will hold, what it holds now included. Activations go to a file if
 * they do not fit under the limit.
 */
static opt_status predict_memory(job *j, uint64_t *out) {
    opt_status st = OPT_OK;
    const uint64_t limit = opt_ctx_max_memory(j->ctx), now = opt_ctx_memory(j->ctx);
    uint64_t header = j->plan->file_bytes; /* the writer holds it whole */
    for (int64_t i = 0; i < j->plan->n; i++) {
        header -= (uint64_t)j->plan->tensors[i].n_rows * j->plan->tensors[i].row_bytes;
    }
    const uint64_t fixed = now + opt_emit_bytes(j->plan) +
                           opt_transforms_bytes(j->transforms, j->plan) + header + SMALL_BYTES;
    uint64_t calibration = 0;
    if (j->calib.text.n_paths > 0) {
        OPT_TRY(calibration_bytes(j, &calibration));
        if (limit > 0 && fixed + calibration > limit) {
            j->calib.spills = true;
            OPT_TRY(calibration_bytes(j, &calibration));
        }
    }
    *out = fixed + calibration;
done:
    return st;
}

static opt_status write_importance(void *user) {
    const job *j = user;
    const opt_quantize_options *o = j->options;
    return o->save_imatrix != NULL
               ? opt_importance_write(j->plan, &j->calib.text, o->save_imatrix, o->force)
               : OPT_OK;
}

static opt_status run_emit(job *j) {
    opt_status st = OPT_OK;
    const opt_quantize_options *o = j->options;
    const uint64_t limit = opt_ctx_max_memory(j->ctx);
    uint64_t need = 0;
    if (j->calib.text.n_paths > 0) {
        OPT_TRY(prepare(j));
        OPT_TRY(predict_memory(j, &need));
        OPT_REQUIRE(limit == 0 || need <= limit, j->ctx, OPT_ERR_MEMORY, "--max-memory",
                    "%llu bytes are needed even with activations in a file (windows of %lld "
                    "tokens), %llu are allowed",
                    (unsigned long long)need, (long long)j->calib.text.n_ctx,
                    (unsigned long long)limit);
        OPT_TRY(opt_calibration_new(j->plan, j->opened.tokenizer, &j->calib, &j->calibration));
    }
    if (o->block_steps > 0) {
        const opt_block_options block = {
            .n_steps = o->block_steps,
            .n_batch = j->calib.block_batch,
            .sweeps = o->sweeps,
            .seed = o->seed,
        };
        OPT_TRY(opt_block_new(j->plan, j->calibration, &block, &j->block));
    }
    const opt_emit_options emit = {
        .output = o->output,
        .force = o->force,
        .step = "quantizing",
        .prepare = prepare,
        .user = j,
        .calibration = j->calibration,
        .transforms = j->transforms,
        .sweeps = o->sweeps,
        .before_commit = write_importance,
        .fresh = o->fresh,
        .block = j->block,
    };
    OPT_TRY(opt_emit(j->plan, &emit));
done:
    return st;
}

opt_status opt_quantize(opt_ctx *ctx, const opt_quantize_options *options,
                        opt_quantize_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    bool have_result = false;
    job j = {.ctx = ctx, .options = options};
    j.own = *options;
    j.options = options = &j.own;
    OPT_TRY(opt_preset_read(ctx, &j.own, &j.preset));
    OPT_REQUIRE(options->output != NULL || options->dry_run, ctx, OPT_ERR_USAGE, NULL,
                "an output file is needed");
    OPT_TRY(opt_budget_check_options(ctx, options));
    OPT_TRY(find_format(ctx, "--format", options->format != NULL ? options->format : "q8_0",
                        &j.format));
    OPT_TRY(
        opt_rules_parse(ctx, options->rules, options->n_rules, rule_keys, rule_roles, &j.rules));
    OPT_TRY(read_calibration(&j));
    OPT_TRY(opt_open_model(ctx, options->input, &j.opened));
    OPT_TRY(make_plan(&j));
    if (options->output != NULL) {
        OPT_TRY(opt_emit_refuse_inputs(ctx, j.opened.source, options->output));
    }
    if (options->save_imatrix != NULL) {
        OPT_TRY(check_outputs(&j));
    }
    if (options->imatrix != NULL) {
        OPT_TRY(opt_importance_read(j.plan, options->imatrix));
    }
    OPT_REQUIRE(options->save_imatrix == NULL || j.transforms == NULL, ctx, OPT_ERR_USAGE,
                "--save-imatrix", "transforms change what the layers read; save it without them");
    OPT_TRY(opt_plan_result(j.plan, result)); /* nothing may fail behind the rename */
    have_result = true;
    OPT_TRY(opt_transforms_result(j.transforms, result));
    if (j.budget != NULL) {
        OPT_TRY(opt_budget_report(j.budget, j.plan, result));
    }
    uint64_t peak = 0;
    if (options->dry_run) {
        OPT_TRY(prepare(&j));
        OPT_TRY(predict_memory(&j, &peak));
    } else {
        OPT_TRY(run_emit(&j));
    }
    opt_plan_complete_result(j.plan, result);
    opt_transforms_complete_result(j.transforms, result);
    if (j.budget != NULL) {
        if (!options->dry_run) { /* the file is complete, whatever comes of this */
            OPT_TRY(opt_budget_check(j.budget, options->output));
        }
        opt_budget_complete_report(j.budget, result);
    }
    result->peak_memory = opt_ctx_peak_memory(ctx) > peak ? opt_ctx_peak_memory(ctx) : peak;
    result->seconds = opt_seconds() - start;
    have_result = false; /* it is the caller's */
done:
    if (have_result) {
        opt_quantize_result_free(result);
    }
    opt_block_free(j.block);
    opt_calibration_free(j.calibration);
    opt_plan_free(j.plan);
    opt_transforms_free(j.transforms);
    opt_budget_free(j.budget);
    opt_arena_free(j.arena);
    opt_rules_free(j.rules);
    opt_opened_close(&j.opened);
    return st;
}
