/* infer-run profile: where the time of reading and of writing tokens goes, and how near that is to
 * what the machine can do (roofline; Williams et al. 2009). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/rng.h"
#include "flow/probe.h"
#include "flow/runner.h"
#include "model/ops.h"

enum { DEFAULT_PROMPT = 512, DEFAULT_GEN = 32, MAX_ROWS = 64 };

typedef struct profiler {
    const opt_model *model;
    double cache_item; /* bytes of an element of the cache */
    opt_profile_phase *phase;
    opt_profile_row *layers; /* [n_layers + 1] of the phase: the last is what is outside of them */
} profiler;

/** Bytes that a node reads and writes, and operations (a multiply-add is two), for n tokens of
 * which the last sees `pos_end` positions. Weights count once for all tokens. */
static void node_work(const profiler *p, const opt_node *x, double n, double pos_end,
                      opt_profile_row *out) {
    const double width = (double)x->width;
    double in = 0;
    for (int i = 0; i < x->n_in; i++) {
        in += (double)opt_node_in_width(p->model, x, i);
    }
    *out = (opt_profile_row){.bytes = 4 * n * (in + width), .ops = n * width};
    if (x->op == &opt_op_linear) {
        const opt_weight *w = opt_node_weight(p->model, x, 0);
        out->stored = (double)w->tensor->bytes;
        out->ops = 2 * n * (double)w->dims[0] * (double)w->dims[1];
    } else if (x->op == &opt_op_attention) {
        const double d = (double)(x->p.attention.head_dim + x->p.attention.head_dim_v);
        const double window = (double)x->p.attention.window;
        double keys = pos_end - (n - 1) / 2; /* seen by a token, in the mean */
        double rows = pos_end;
        if (window > 0) {
            keys = keys < window ? keys : window;
            rows = rows < window + n ? rows : window + n;
        }
        out->stored = rows * (double)x->p.attention.n_heads_kv * d * p->cache_item;
        out->ops = 2 * n * keys * (double)x->p.attention.n_heads * d;
    }
}

/** Bytes of an element of the cache, its share of the scale left out. */
static double cache_item(const opt_session *s) {
    const opt_cache_type type = opt_session_cache_type(s);
    return type == OPT_CACHE_F32 ? 4 : type == OPT_CACHE_F16 ? 2 : 1;
}

/** "linear ffn_gate" for the nodes that run together with blk.3.ffn_gate. */
static void row_name(const profiler *p, const opt_node *x, char *out, size_t n) {
    const opt_weight *w = x->op == &opt_op_linear ? opt_node_weight(p->model, x, 0) : NULL;
    snprintf(out, n, "%s%s%s", x->op->name, w != NULL ? " " : "", w != NULL ? w->kind : "");
}

static opt_profile_row *find_row(opt_profile_phase *phase, const char *name) {
    for (int i = 0; i < phase->n_rows; i++) {
        if (strcmp(phase->rows[i].name, name) == 0) {
            return &phase->rows[i];
        }
    }
    const int at = phase->n_rows < MAX_ROWS ? phase->n_rows++ : MAX_ROWS - 1;
    snprintf(phase->rows[at].name, sizeof phase->rows[at].name, "%s", name);
    return &phase->rows[at];
}

static void add_to(opt_profile_row *row, double seconds, const opt_profile_row *work) {
    row->calls++;
    row->seconds += seconds;
    row->bytes += work->bytes;
    row->stored += work->stored;
    row->ops += work->ops;
}

static void observe(void *user, const opt_node *const *nodes, int n, int64_t n_tokens,
                    int64_t pos_end, double seconds) {
    profiler *p = user;
    char name[sizeof p->phase->rows[0].name];
    opt_profile_row work = {0};
    for (int i = 0; i < n; i++) {
        opt_profile_row one;
        node_work(p, nodes[i], (double)n_tokens, (double)pos_end, &one);
        work.bytes += one.bytes + one.stored;
        work.stored += one.stored;
        work.ops += one.ops;
    }
    row_name(p, nodes[0], name, sizeof name);
    const int unit = nodes[0]->unit;
    const int layer = unit >= 0 && unit < p->model->n_units ? unit : p->model->n_units;
    add_to(find_row(p->phase, name), seconds, &work);
    add_to(&p->layers[layer], seconds, &work);
}

/** Says what bounds a row, and how much of its time that bound explains. */
static void judge(opt_profile_row *row, const opt_probe_result *probe) {
    const double memory = row->stored / (1e9 * probe->bandwidth);
    const double compute = row->ops / (1e9 * probe->peak_i8);
    const double bound = memory > compute ? memory : compute;
    row->bound = memory > compute ? "memory" : "compute";
    row->of_bound = row->seconds > 0 ? bound / row->seconds : 0;
    if (row->stored == 0 || row->of_bound > 1) {
        row->bound = "cache";
    }
}

static opt_status new_phase(opt_ctx *ctx, const opt_model *m, const char *name,
                            opt_profile_phase *phase) {
    opt_status st = OPT_OK;
    phase->name = name;
    phase->rows = opt_alloc_zero(ctx, MAX_ROWS * sizeof *phase->rows);
    OPT_TRY_PTR(phase->rows);
    phase->n_layers = m->n_units + 1;
    phase->layers = opt_alloc_zero(ctx, (size_t)phase->n_layers * sizeof *phase->layers);
    OPT_TRY_PTR(phase->layers);
    for (int i = 0; i < m->n_units; i++) {
        snprintf(phase->layers[i].name, sizeof phase->layers[i].name, "blk.%d", i);
    }
    snprintf(phase->layers[m->n_units].name, sizeof phase->layers[0].name, "others");
done:
    return st;
}

static opt_status ignore_logits(void *user, int64_t row0, int64_t n_rows, const float *logits) {
    (void)user;
    (void)row0;
    (void)n_rows;
    (void)logits;
    return OPT_OK;
}

/** Runs `n` tokens at once or one by one behind `depth` others, once to warm up and once watched.
 */
static opt_status run_phase(opt_ctx *ctx, opt_session *s, profiler *p, const int32_t *tokens,
                            int64_t depth, int64_t n, bool at_once) {
    opt_status st = OPT_OK;
    for (int round = 0; round < 2; round++) {
        opt_session_observe(s, NULL, NULL);
        opt_session_truncate(s, depth);
        const int64_t past = opt_session_n_past(s);
        OPT_TRY(opt_session_eval(s, tokens + past, depth - past, depth - past, NULL, NULL));
        opt_session_observe(s, round == 1 ? observe : NULL, p);
        const double start = opt_seconds();
        for (int64_t i = 0; i < n; i += at_once ? n : 1) {
            OPT_TRY(opt_check_cancel(ctx));
            OPT_TRY(opt_session_eval(s, tokens + depth + i, at_once ? n : 1, at_once ? n - 1 : 0,
                                     ignore_logits, NULL));
        }
        p->phase->seconds = opt_seconds() - start;
    }
    p->phase->n_tokens = n;
    p->phase->depth = depth;
done:
    opt_session_observe(s, NULL, NULL);
    return st;
}

opt_status opt_profile(opt_ctx *ctx, opt_runner *r, const opt_profile_options *options,
                       opt_profile_result *result) {
    opt_status st = OPT_OK;
    opt_session *s = NULL;
    int32_t *tokens = NULL;
    const opt_model *m = r->opened.model;
    const int64_t n_prompt = options->n_prompt > 0 ? options->n_prompt : DEFAULT_PROMPT;
    const int64_t n_gen = options->n_gen > 0 ? options->n_gen : DEFAULT_GEN;
    const int64_t depth = options->depth;
    const int64_t total = opt_max_i64(n_prompt, depth + n_gen);
    opt_profile_result out = {.impl = ctx, .n_phases = 2};
    tokens = opt_alloc_array(ctx, (size_t)total, sizeof *tokens);
    OPT_TRY_PTR(tokens);
    const uint64_t key = opt_rng_key(0, "bench", "tokens");
    for (int64_t i = 0; i < total; i++) {
        tokens[i] = (int32_t)(opt_rng_u64(key, (uint64_t)i) % (uint64_t)m->hp.n_vocab);
    }
    OPT_TRY(opt_probe(ctx, &out.probe));
    OPT_TRY(opt_runner_session(r, total, &s));
    for (int i = 0; i < 2; i++) {
        profiler p = {.model = m, .cache_item = cache_item(s), .phase = &out.phases[i]};
        OPT_TRY(new_phase(ctx, m, i == 0 ? "read" : "write", &out.phases[i]));
        p.layers = out.phases[i].layers;
        OPT_TRY(
            run_phase(ctx, s, &p, tokens, i == 0 ? 0 : depth, i == 0 ? n_prompt : n_gen, i == 0));
        for (int k = 0; k < out.phases[i].n_rows; k++) {
            judge(&out.phases[i].rows[k], &out.probe);
        }
        for (int k = 0; k < out.phases[i].n_layers; k++) {
            judge(&out.phases[i].layers[k], &out.probe);
        }
    }
    *result = out;
    out = (opt_profile_result){0};
done:
    opt_profile_result_free(&out);
    opt_free(ctx, tokens);
    return st;
}

void opt_profile_result_free(opt_profile_result *result) {
    for (int i = 0; result->impl != NULL && i < 2; i++) {
        opt_free(result->impl, result->phases[i].rows);
        opt_free(result->impl, result->phases[i].layers);
    }
    *result = (opt_profile_result){0};
}
