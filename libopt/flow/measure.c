#include "flow/measure.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/pool.h"
#include "calib/stream.h"
#include "eval/divergence.h"
#include "flow/calibrate.h"
#include "flow/plan.h"

enum {
    PROBE_WINDOWS = 3,  /* of the held text, for one divergence */
    PROBE_TOKENS = 192, /* of each at most; the first third is not scored */
    TILE_ELEMS = 32768,
    SAMPLE_SHARE = 16, /* one row of so many is solved */
    SAMPLE_MIN = 16,
    SAMPLE_MAX = 512, /* but at least so many */
    MAX_FORMATS = 128 /* more than the table has */
};

/* What a thread works in. */
typedef struct scratch {
    float *w, *back, *g; /* [tile rows, n_cols] */
    uint8_t *rows;       /* encoded */
    void *method;
} scratch;

typedef struct meter {
    opt_ctx *ctx;
    const opt_model *m;
    const opt_kern *kern;
    const opt_measure_options *o;
    const opt_format *probe;
    opt_measurements *out;

    int64_t n_windows, n_ctx, width;
    float *rows;              /* [n_windows, n_ctx, width]: what the unit reads */
    float *last;              /* the same of the head */
    opt_feed feed, last_feed; /* of the window that is run */
    opt_model *head;          /* what follows the blocks: the reference */
    opt_session *reference;
    opt_divergence *scored; /* [n_ctx] */

    opt_stream *stream;
    bool *wanted;           /* [n_weights] */
    opt_gram *grams;        /* [n_nodes] */
    opt_hessian **hessians; /* [n_nodes] */
    int *input_of;          /* [n_weights] the node that a linear node reads */

    scratch *scratch; /* [n_threads] */
    uint8_t *encoded; /* a whole matrix, in the source's order of rows */
    opt_tensor tensor;
    const opt_tensor **replaced; /* [n_weights] */
    double *row_errors;          /* [most rows] */
    double *tile_errors;         /* [most formats * tiles of a sample] */
    int64_t done, total;         /* divergences */
} meter;

/* ---- sizes ---- */

static int64_t tile_rows_of(int64_t n_cols) { return opt_max_i64(1, TILE_ELEMS / n_cols); }

static int64_t sample_rows(int64_t n_rows) {
    const int64_t n = opt_max_i64(SAMPLE_MIN, opt_min_i64(SAMPLE_MAX, n_rows / SAMPLE_SHARE));
    return opt_min_i64(n_rows, n);
}

/* Row k of n that stand for n_rows. */
static int64_t sample_row(int64_t k, int64_t n, int64_t n_rows) {
    return (2 * k + 1) * n_rows / (2 * n);
}

typedef struct sizes {
    size_t tile_elems, row_bytes, method, encoded;
    size_t n_rows, n_tiles;
} sizes;

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

static bool in_block(const opt_weight *w) { return w->unit >= 0; }

bool opt_measure_reads(const opt_weight *w) {
    return w->role == OPT_ROLE_LINEAR || w->role == OPT_ROLE_HEAD || w->tied;
}

static void grow_for(const meter *me, const opt_measure_item *it, const opt_format *f, sizes *s) {
    int64_t n_rows, n_cols;
    size_t row = 0;
    opt_weight_shape(&me->m->weights[it->weight], &n_rows, &n_cols);
    const int64_t tile = opt_min_i64(tile_rows_of(n_cols), n_rows);
    (void)opt_format_row_bytes(f, n_cols, &row); /* it fits */
    s->tile_elems = max_size(s->tile_elems, (size_t)(tile * n_cols));
    s->row_bytes = max_size(s->row_bytes, (size_t)tile * row);
    s->n_rows = max_size(s->n_rows, (size_t)n_rows);
    s->n_tiles =
        max_size(s->n_tiles, (size_t)(it->n_formats * opt_ceil_div(sample_rows(n_rows), tile)));
    if (it->method->scratch_bytes != NULL && (f->flags & OPT_FORMAT_QUANT) != 0) {
        s->method = max_size(s->method, it->method->scratch_bytes(f, tile, n_cols));
    }
    if (f == me->probe || !in_block(&me->m->weights[it->weight])) {
        s->encoded = max_size(s->encoded, (size_t)n_rows * row);
    }
}

static sizes sizes_of(const meter *me) {
    sizes s = {.method = 1};
    for (int i = 0; i < me->o->n_items; i++) {
        const opt_measure_item *it = &me->o->items[i];
        for (int k = 0; k < it->n_formats; k++) {
            grow_for(me, it, it->formats[k], &s);
        }
        grow_for(me, it, me->probe, &s);
    }
    return s;
}

/* ---- making and freeing ---- */

static opt_status alloc_scratch(meter *me) {
    opt_status st = OPT_OK;
    const sizes s = sizes_of(me);
    const int n_threads = opt_ctx_n_threads(me->ctx);
    me->scratch = opt_alloc_zero(me->ctx, (size_t)n_threads * sizeof *me->scratch);
    OPT_TRY_PTR(me->scratch);
    for (int i = 0; i < n_threads; i++) {
        scratch *t = &me->scratch[i];
        OPT_TRY_PTR(t->w = opt_alloc_array(me->ctx, s.tile_elems, sizeof(float)));
        OPT_TRY_PTR(t->back = opt_alloc_array(me->ctx, s.tile_elems, sizeof(float)));
        OPT_TRY_PTR(t->g = opt_alloc_array(me->ctx, s.tile_elems, sizeof(float)));
        OPT_TRY_PTR(t->rows = opt_alloc(me->ctx, s.row_bytes));
        OPT_TRY_PTR(t->method = opt_alloc(me->ctx, s.method));
    }
    OPT_TRY_PTR(me->encoded = opt_alloc(me->ctx, s.encoded));
    OPT_TRY_PTR(me->row_errors = opt_alloc_array(me->ctx, s.n_rows, sizeof(double)));
    OPT_TRY_PTR(me->tile_errors = opt_alloc_array(me->ctx, s.n_tiles, sizeof(double)));
done:
    return st;
}

static opt_status alloc_tables(meter *me) {
    opt_status st = OPT_OK;
    const size_t n_weights = (size_t)me->m->n_weights, n_nodes = (size_t)me->m->n_nodes;
    const size_t n_rows = (size_t)(me->n_windows * me->n_ctx);
    OPT_TRY_PTR(me->rows = opt_alloc_array(me->ctx, n_rows * (size_t)me->width, sizeof(float)));
    OPT_TRY_PTR(me->last = opt_alloc_array(me->ctx, n_rows * (size_t)me->width, sizeof(float)));
    OPT_TRY_PTR(me->scored = opt_alloc_array(me->ctx, (size_t)me->n_ctx, sizeof *me->scored));
    OPT_TRY_PTR(me->wanted = opt_alloc_zero(me->ctx, n_weights * sizeof *me->wanted));
    OPT_TRY_PTR(me->input_of = opt_alloc_zero(me->ctx, n_weights * sizeof *me->input_of));
    OPT_TRY_PTR(me->replaced = opt_alloc_zero(me->ctx, n_weights * sizeof *me->replaced));
    OPT_TRY_PTR(me->grams = opt_alloc_zero(me->ctx, n_nodes * sizeof *me->grams));
    OPT_TRY_PTR(me->hessians = opt_alloc_zero(me->ctx, n_nodes * sizeof *me->hessians));
    for (int i = 0; i < me->m->n_nodes; i++) {
        if (me->m->nodes[i].op == &opt_op_linear) {
            me->input_of[me->m->nodes[i].weights[0]] = me->m->nodes[i].in[0];
        }
    }
    OPT_TRY(alloc_scratch(me));
done:
    return st;
}

static void free_unit(meter *me) {
    for (int i = 0; me->hessians != NULL && i < me->m->n_nodes; i++) {
        opt_hessian_free(me->hessians[i]);
        me->hessians[i] = NULL;
    }
    for (int i = 0; me->grams != NULL && i < me->m->n_nodes; i++) {
        opt_gram_free(me->ctx, &me->grams[i]);
    }
}

static void meter_free(meter *me) {
    free_unit(me);
    for (int i = 0; me->scratch != NULL && i < opt_ctx_n_threads(me->ctx); i++) {
        opt_free(me->ctx, me->scratch[i].w);
        opt_free(me->ctx, me->scratch[i].back);
        opt_free(me->ctx, me->scratch[i].g);
        opt_free(me->ctx, me->scratch[i].rows);
        opt_free(me->ctx, me->scratch[i].method);
    }
    opt_session_free(me->reference);
    opt_model_free(me->head);
    opt_stream_free(me->stream);
    opt_free(me->ctx, me->rows);
    opt_free(me->ctx, me->last);
    opt_free(me->ctx, me->scored);
    opt_free(me->ctx, me->wanted);
    opt_free(me->ctx, me->input_of);
    opt_free(me->ctx, me->replaced);
    opt_free(me->ctx, me->grams);
    opt_free(me->ctx, me->hessians);
    opt_free(me->ctx, me->scratch);
    opt_free(me->ctx, me->encoded);
    opt_free(me->ctx, me->row_errors);
    opt_free(me->ctx, me->tile_errors);
}

/* ---- divergence of the model with one tensor replaced ---- */

static opt_session_options session_options(int64_t n_ctx) {
    return (opt_session_options){.compute = OPT_COMPUTE_EXACT, .n_ctx = n_ctx, .n_batch = n_ctx};
}

/* Runs the model from `unit` on, its inputs being those of the float model. */
static opt_status measure_divergence(meter *me, int unit, double *kld) {
    opt_status st = OPT_OK;
    opt_model *tail = NULL;
    opt_session *session = NULL;
    const opt_session_options options = session_options(me->n_ctx);
    double sum = 0.0;
    int64_t n = 0;
    OPT_TRY(opt_model_tail(me->ctx, me->m, unit, me->replaced, &me->feed, &tail));
    OPT_TRY(opt_session_new(me->ctx, tail, &options, &session));
    for (int64_t i = 0; i < me->n_windows; i++) {
        const int64_t at = i * me->n_ctx * me->width;
        const opt_windows w = {.tokens = me->o->held->tokens + i * me->o->held->n_ctx,
                               .ctx = me->n_ctx,
                               .n_windows = 1,
                               .first_row = me->n_ctx / 3,
                               .bos = -1};
        me->feed.rows = (unit == me->m->n_units ? me->last : me->rows) + at;
        me->last_feed.rows = me->last + at;
        OPT_TRY(opt_eval_divergence(me->ctx, me->reference, session, &w, NULL, me->scored));
        for (int64_t k = 0; k < opt_windows_n_scored(&w); k++) {
            sum += me->scored[k].kld;
            n++;
        }
    }
    *kld = fmax(0.0, sum / (double)n); /* rounding may lead below zero */
    opt_progress(me->ctx, "measuring", (double)++me->done, (double)me->total);
done:
    opt_session_free(session);
    opt_model_free(tail);
    return st;
}

typedef struct store_job {
    float *rows;
    int64_t width;
} store_job;

static opt_status store(void *user, int64_t row0, int64_t n_rows, const float *rows) {
    const store_job *job = user;
    memcpy(job->rows + row0 * job->width, rows, (size_t)(n_rows * job->width) * sizeof *rows);
    return OPT_OK;
}

/* The held windows through one unit of the float model. */
static opt_status advance(meter *me, int unit) {
    opt_status st = OPT_OK;
    opt_model *cut = NULL;
    opt_session *session = NULL;
    const opt_session_options options = session_options(me->n_ctx);
    OPT_TRY(opt_model_cut(me->ctx, me->m, unit, -1, NULL, &me->feed, &cut));
    OPT_REQUIRE(cut->nodes[cut->logits].width == me->width, me->ctx, OPT_ERR_UNSUPPORTED,
                cut->nodes[cut->logits].name, "its unit has another width than the one before");
    OPT_TRY(opt_session_new(me->ctx, cut, &options, &session));
    for (int64_t i = 0; i < me->n_windows; i++) {
        store_job job = {me->rows + i * me->n_ctx * me->width, me->width};
        me->feed.rows = job.rows;
        opt_session_truncate(session, 0);
        OPT_TRY(opt_session_eval(session, me->o->held->tokens + i * me->o->held->n_ctx, me->n_ctx,
                                 0, store, &job));
    }
done:
    opt_session_free(session);
    opt_model_free(cut);
    return st;
}

/* What the head reads in the float model, and a session for it. */
static opt_status make_reference(meter *me) {
    opt_status st = OPT_OK;
    const opt_session_options options = session_options(me->n_ctx);
    for (int unit = -1; unit < me->m->n_units; unit++) {
        OPT_TRY(advance(me, unit));
    }
    memcpy(me->last, me->rows, (size_t)(me->n_windows * me->n_ctx * me->width) * sizeof *me->last);
    OPT_TRY(opt_model_tail(me->ctx, me->m, me->m->n_units, NULL, &me->last_feed, &me->head));
    OPT_TRY(opt_session_new(me->ctx, me->head, &options, &me->reference));
done:
    return st;
}

/* ---- a whole matrix in one format ---- */

typedef struct encode_job {
    meter *me;
    const opt_weight *w;
    const opt_hessian *h; /* NULL: every weight counts alike */
    const opt_format *f;
    int64_t n_rows, n_cols, tile_rows;
    size_t row_bytes;
} encode_job;

/* In eight fixed lanes. */
static double square_sum(const float *d, int64_t n) {
    double s[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int k = 0; k < 8; k++) {
            s[k] += (double)d[i + k] * (double)d[i + k];
        }
    }
    for (int k = 0; i < n; i++, k++) {
        s[k] += (double)d[i] * (double)d[i];
    }
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* d = w - back; returns the energy of all rows, and that of each to errors [n_rows] or NULL. */
static double row_errors(const encode_job *job, const scratch *s, int64_t n_rows, double *errors) {
    const int64_t n = n_rows * job->n_cols;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        s->back[i] = s->w[i] - s->back[i];
    }
    if (job->h != NULL) {
        return opt_hessian_energy(job->h, job->me->kern, s->back, n_rows, s->g, errors);
    }
    for (int64_t r = 0; r < n_rows; r++) {
        const double e = square_sum(s->back + r * job->n_cols, job->n_cols);
        sum += e;
        if (errors != NULL) {
            errors[r] = e;
        }
    }
    return sum;
}

static opt_status check_rows(const encode_job *job, const opt_format *f, const float *w,
                             int64_t n) {
    const int64_t bad = opt_format_find_bad(f, w, n);
    return bad < 0
               ? OPT_OK
               : opt_fail(job->me->ctx, OPT_ERR_NUMERIC, job->w->name,
                          "the weight %g is no number that %s can hold", (double)w[bad], f->name);
}

static opt_status encode_tile(void *user, int64_t tile, int worker) {
    opt_status st = OPT_OK;
    const encode_job *job = user;
    meter *me = job->me;
    const scratch *s = &me->scratch[worker];
    const int64_t row0 = tile * job->tile_rows;
    const int64_t n = opt_min_i64(job->tile_rows, job->n_rows - row0);
    opt_weight_decode_rows(job->w, me->kern, row0, n, s->w);
    OPT_TRY(check_rows(job, job->f, s->w, n * job->n_cols));
    opt_format_encode_rows(job->f, me->kern, s->w, job->h != NULL ? job->h->diag : NULL, s->rows, n,
                           job->n_cols);
    for (int64_t r = 0; r < n; r++) {
        const uint8_t *row = s->rows + (size_t)r * job->row_bytes;
        job->f->decode(job->f, me->kern, row, s->back + r * job->n_cols, job->n_cols);
        memcpy(me->encoded + (size_t)opt_weight_source_row(job->w, row0 + r) * job->row_bytes, row,
               job->row_bytes);
    }
    (void)row_errors(job, s, n, me->row_errors + row0);
done:
    return st;
}

/* Rounds a whole matrix to nearest; it is me->tensor then, with its errors row by row. */
static opt_status encode_matrix(meter *me, int weight, const opt_format *f, const opt_hessian *h) {
    opt_status st = OPT_OK;
    const opt_weight *w = &me->m->weights[weight];
    encode_job job = {.me = me, .w = w, .h = h, .f = f};
    opt_weight_shape(w, &job.n_rows, &job.n_cols);
    job.tile_rows = tile_rows_of(job.n_cols);
    (void)opt_format_row_bytes(f, job.n_cols, &job.row_bytes); /* it fits */
    OPT_TRY(opt_parallel_for(me->ctx, opt_ceil_div(job.n_rows, job.tile_rows), encode_tile, &job));
    me->tensor = *w->tensor;
    me->tensor.format = f;
    me->tensor.runs = false;
    me->tensor.bytes = (size_t)job.n_rows * job.row_bytes;
    me->tensor.data = me->encoded;
done:
    return st;
}

/* ---- a sample of the rows in all formats ---- */

typedef struct sample_job {
    encode_job base; /* its format and row_bytes are not used */
    const opt_quant_method *method;
    const opt_format *formats[MAX_FORMATS]; /* [n] that are not known */
    int n;
    int64_t n_sample, n_tiles; /* of one format */
} sample_job;

static opt_status sample_tile(void *user, int64_t tile, int worker) {
    opt_status st = OPT_OK;
    const sample_job *job = user;
    const encode_job *b = &job->base;
    meter *me = b->me;
    const scratch *s = &me->scratch[worker];
    const opt_format *f = job->formats[tile / job->n_tiles];
    const int64_t k0 = tile % job->n_tiles * b->tile_rows;
    const int64_t n = opt_min_i64(b->tile_rows, job->n_sample - k0);
    size_t row_bytes = 0;
    double nearest = 0.0;
    (void)opt_format_row_bytes(f, b->n_cols, &row_bytes); /* it fits */
    for (int64_t k = 0; k < n; k++) {
        opt_weight_decode_rows(b->w, me->kern, sample_row(k0 + k, job->n_sample, b->n_rows), 1,
                               s->w + k * b->n_cols);
    }
    OPT_TRY(check_rows(b, f, s->w, n * b->n_cols));
    const opt_quant_job q = {.format = f,
                             .kern = me->kern,
                             .w = s->w,
                             .importance = b->h->diag,
                             .hessian = b->h,
                             .sweeps = me->o->sweeps,
                             .nearest = &nearest,
                             .n_rows = n,
                             .n_cols = b->n_cols,
                             .row_bytes = row_bytes,
                             .dst = s->rows};
    if ((f->flags & OPT_FORMAT_QUANT) != 0) {
        OPT_TRY(job->method->solve(me->ctx, &q, s->method));
    } else {
        opt_format_encode_rows(f, me->kern, s->w, NULL, s->rows, n, b->n_cols);
    }
    for (int64_t k = 0; k < n; k++) {
        f->decode(f, me->kern, s->rows + (size_t)k * row_bytes, s->back + k * b->n_cols, b->n_cols);
    }
    me->tile_errors[tile] = row_errors(b, s, n, NULL);
done:
    return st;
}

static void prepare_sample(meter *me, const opt_measure_item *it, const opt_hessian *h,
                           sample_job *job) {
    encode_job *b = &job->base;
    *job = (sample_job){.base = {.me = me, .w = &me->m->weights[it->weight], .h = h},
                        .method = it->method};
    opt_weight_shape(b->w, &b->n_rows, &b->n_cols);
    b->tile_rows = tile_rows_of(b->n_cols);
    job->n_sample = sample_rows(b->n_rows);
    job->n_tiles = opt_ceil_div(job->n_sample, b->tile_rows);
}

/* What encode_matrix has left of the rows of the sample. */
static double nearest_error(const meter *me, const sample_job *job) {
    double sum = 0.0;
    for (int64_t k = 0; k < job->n_sample; k++) {
        sum += me->row_errors[sample_row(k, job->n_sample, job->base.n_rows)];
    }
    return sum;
}

/* The error of the sample in format k of the job, after sample_tile has run on all tiles. */
static double solved_error(const meter *me, const sample_job *job, int k) {
    double sum = 0.0;
    for (int64_t i = 0; i < job->n_tiles; i++) {
        sum += me->tile_errors[k * job->n_tiles + i];
    }
    return sum;
}

/* ---- what is known already ---- */

static const opt_tensor_costs *known_tensor(const opt_measurements *known, const opt_model *m,
                                            int weight) {
    return known != NULL ? opt_measurements_find(known, m->weights[weight].name) : NULL;
}

static bool lacks(const opt_tensor_costs *t, const opt_measure_item *it) {
    bool any = t == NULL;
    for (int k = 0; k < it->n_formats && !any; k++) {
        any = opt_measurements_format(t, it->formats[k]) == NULL;
    }
    return any;
}

bool opt_measure_lacks(const opt_model *m, const opt_measure_item *items, int n_items,
                       const opt_measurements *known) {
    for (int i = 0; i < n_items; i++) {
        if (lacks(known_tensor(known, m, items[i].weight), &items[i])) {
            return true;
        }
    }
    return false;
}

/* Copies what is known of a tensor; whether that is all. */
static bool take_known(const meter *me, const opt_measure_item *it, opt_tensor_costs *t) {
    const opt_tensor_costs *old = known_tensor(me->o->known, me->m, it->weight);
    for (int k = 0; k < t->n && old != NULL; k++) {
        const opt_format_cost *c = opt_measurements_format(old, t->formats[k].format);
        if (c != NULL) {
            t->formats[k] = *c;
        }
    }
    if (old != NULL) {
        t->probe_error = old->probe_error;
        t->probe_kld = old->probe_kld;
    }
    return !lacks(old, it);
}

/* ---- one tensor ---- */

static double sum_rows(const meter *me, int64_t n) {
    double sum = 0.0;
    for (int64_t r = 0; r < n; r++) {
        sum += me->row_errors[r];
    }
    return sum;
}

static const opt_hessian *hessian_of(const meter *me, int weight) {
    return opt_measure_reads(&me->m->weights[weight]) ? me->hessians[me->input_of[weight]] : NULL;
}

/* A matrix of a block: one divergence, with the probe; the errors of formats by the ratio of their
 * samples to the probe's. */
static opt_status measure_probe(meter *me, const opt_measure_item *it, opt_tensor_costs *t) {
    opt_status st = OPT_OK;
    const opt_tensor_costs *old = known_tensor(me->o->known, me->m, it->weight);
    const opt_hessian *h = hessian_of(me, it->weight);
    sample_job job;
    prepare_sample(me, it, h, &job);
    OPT_TRY(encode_matrix(me, it->weight, me->probe, h));
    t->probe_error = sum_rows(me, t->n_rows);
    if (old != NULL && old->probe_error > 0.0) { /* its sensitivity, perhaps from other text */
        t->probe_kld = old->probe_kld * (t->probe_error / old->probe_error);
    } else {
        me->replaced[it->weight] = &me->tensor;
        OPT_TRY(measure_divergence(me, me->m->weights[it->weight].unit, &t->probe_kld));
    }
    const double probe = nearest_error(me, &job);
    const double share =
        probe > 0.0 ? t->probe_error / probe : (double)t->n_rows / (double)job.n_sample;
    opt_format_cost *costs[MAX_FORMATS];
    for (int k = 0; k < t->n && job.n < MAX_FORMATS; k++) {
        if (old == NULL || opt_measurements_format(old, it->formats[k]) == NULL) {
            costs[job.n] = &t->formats[k];
            job.formats[job.n++] = it->formats[k];
        }
    }
    OPT_TRY(opt_parallel_for(me->ctx, job.n * job.n_tiles, sample_tile, &job));
    for (int k = 0; k < job.n; k++) {
        costs[k]->error = solved_error(me, &job, k) * share;
        costs[k]->kld =
            t->probe_error > 0.0 ? t->probe_kld * (costs[k]->error / t->probe_error) : 0.0;
    }
done:
    me->replaced[it->weight] = NULL;
    return st;
}

/* One format of an embedding or a head: rounded to nearest, times what the method gains. */
static opt_status measure_format(meter *me, const opt_measure_item *it, opt_format_cost *c) {
    opt_status st = OPT_OK;
    const opt_weight *w = &me->m->weights[it->weight];
    const opt_hessian *h = hessian_of(me, it->weight);
    sample_job job;
    prepare_sample(me, it, h, &job);
    OPT_TRY(encode_matrix(me, it->weight, c->format, h));
    c->error = sum_rows(me, job.base.n_rows);
    me->replaced[it->weight] = &me->tensor;
    OPT_TRY(measure_divergence(me, w->role == OPT_ROLE_HEAD ? me->m->n_units : -1, &c->kld));
    const double nearest = nearest_error(me, &job);
    if (h != NULL && nearest > 0.0) {
        job.formats[job.n++] = c->format;
        OPT_TRY(opt_parallel_for(me->ctx, job.n_tiles, sample_tile, &job));
        const double gain = solved_error(me, &job, 0) / nearest;
        c->error *= gain;
        c->kld *= gain;
    }
done:
    me->replaced[it->weight] = NULL;
    return st;
}

static opt_status measure_formats(meter *me, const opt_measure_item *it, opt_tensor_costs *t) {
    opt_status st = OPT_OK;
    const opt_weight *w = &me->m->weights[it->weight];
    const opt_tensor_costs *old = known_tensor(me->o->known, me->m, it->weight);
    for (int k = 0; k < it->n_formats; k++) {
        const bool copied = it->formats[k] == w->tensor->format; /* nothing changes */
        if (!copied && (old == NULL || opt_measurements_format(old, it->formats[k]) == NULL)) {
            OPT_TRY(measure_format(me, it, &t->formats[k]));
        }
    }
done:
    return st;
}

/* ---- one unit ---- */

static opt_status make_hessians(meter *me, int unit) {
    opt_status st = OPT_OK;
    OPT_TRY((unit < me->m->n_units ? opt_stream_collect_advance
                                   : opt_stream_collect)(me->stream, unit, me->wanted, me->grams));
    for (int node = 0; node < me->m->n_nodes; node++) {
        bool with_factor = false, tied = false;
        for (int i = 0; i < me->o->n_items; i++) {
            const opt_measure_item *it = &me->o->items[i];
            const opt_weight *w = &me->m->weights[it->weight];
            if (me->wanted[it->weight] && opt_measure_reads(w) &&
                me->input_of[it->weight] == node) {
                with_factor = with_factor || (it->method->needs & OPT_NEEDS_HESSIAN) != 0;
                tied = tied || w->tied;
            }
        }
        opt_gram *g = &me->grams[node];
        if (g->sum != NULL) {
            if (tied) {
                opt_calibration_add_embedding(g);
            }
            OPT_TRY(opt_hessian_new(me->ctx, me->m->nodes[node].name, g->sum, g->n, g->n_tokens,
                                    with_factor, &me->hessians[node]));
            opt_gram_free(me->ctx, g);
        }
    }
done:
    return st;
}

/* The stage at which an item is measured: its block, or n_units for what lies outside. */
static int stage_of(const meter *me, const opt_measure_item *it) {
    const opt_weight *w = &me->m->weights[it->weight];
    return in_block(w) ? w->unit : me->m->n_units;
}

/* What is complete, for whoever saves it. */
static opt_status save(const meter *me, int stage) {
    opt_status st = OPT_OK;
    opt_measurements view = *me->out;
    view.n = 0;
    view.tensors = opt_alloc_array(me->ctx, (size_t)me->out->n, sizeof *view.tensors);
    OPT_TRY_PTR(view.tensors);
    for (int i = 0; i < me->out->n; i++) {
        if (stage_of(me, &me->o->items[i]) <= stage) {
            view.tensors[view.n++] = me->out->tensors[i];
        }
    }
    OPT_TRY(me->o->save(me->o->user, &view));
done:
    opt_free(me->ctx, view.tensors);
    return st;
}

static opt_status measure_stage(meter *me, int stage) {
    opt_status st = OPT_OK;
    const int n_units = me->m->n_units;
    bool any = false;
    for (int i = 0; i < me->m->n_weights; i++) {
        me->wanted[i] = false;
    }
    for (int i = 0; i < me->o->n_items; i++) {
        const opt_measure_item *it = &me->o->items[i];
        if (stage_of(me, it) == stage) {
            me->wanted[it->weight] = !take_known(me, it, &me->out->tensors[i]);
            any = any || me->wanted[it->weight];
        }
    }
    if (any) {
        OPT_TRY(make_hessians(me, stage));
    }
    for (int i = 0; i < me->o->n_items; i++) {
        const opt_measure_item *it = &me->o->items[i];
        if (me->wanted[it->weight]) {
            OPT_TRY(
                (stage < n_units ? measure_probe : measure_formats)(me, it, &me->out->tensors[i]));
        }
    }
    free_unit(me);
    if (any && me->o->save != NULL) {
        OPT_TRY(save(me, stage));
    }
    if (!any && stage < n_units) { /* otherwise it has when the Gram matrices were made */
        OPT_TRY(opt_stream_advance(me->stream, stage, NULL));
    }
    if (stage < n_units - 1) {
        OPT_TRY(advance(me, stage));
    }
done:
    return st;
}

/* ---- all ---- */

static opt_status make_tables(meter *me) {
    opt_status st = OPT_OK;
    opt_measurements *out = me->out;
    OPT_TRY(opt_arena_new(me->ctx, &out->arena));
    OPT_TRY_PTR(out->tensors =
                    opt_arena_array(out->arena, (size_t)me->o->n_items, sizeof *out->tensors));
    for (int i = 0; i < me->o->n_items; i++) {
        const opt_measure_item *it = &me->o->items[i];
        const opt_weight *w = &me->m->weights[it->weight];
        opt_tensor_costs *t = &out->tensors[i];
        *t = (opt_tensor_costs){.n = it->n_formats};
        opt_weight_shape(w, &t->n_rows, &t->n_cols);
        OPT_TRY_PTR(t->name = opt_arena_strdup(out->arena, w->name));
        OPT_TRY_PTR(t->formats = opt_arena_array(out->arena, (size_t)t->n, sizeof *t->formats));
        for (int k = 0; k < t->n; k++) {
            t->formats[k] = (opt_format_cost){.format = it->formats[k]};
        }
        me->total += in_block(w) ? 1 : it->n_formats;
    }
    out->n = me->o->n_items;
    out->sweeps = me->o->sweeps;
    out->method = opt_measure_method(me->o->items[0].method);
    out->n_tokens = me->o->text->n_windows * me->o->text->n_ctx;
    out->n_held_tokens = me->n_windows * (me->n_ctx - 1 - me->n_ctx / 3);
    out->text_hash =
        opt_xxh3(me->o->text->tokens, (size_t)out->n_tokens * sizeof *me->o->text->tokens);
    OPT_TRY(opt_measurements_hash(me->ctx, me->m, &out->model_hash));
done:
    return st;
}

/* The probe: small symmetric groups, which fit every width. */
static const opt_format *probe_format(void) { return opt_format_by_name("int4_g32"); }

const char *opt_measure_method(const opt_quant_method *method) {
    return method->measures_as != NULL ? method->measures_as->name : method->name;
}

opt_status opt_measure(opt_ctx *ctx, const opt_model *m, const opt_measure_options *options,
                       opt_measurements *out) {
    opt_status st = OPT_OK;
    opt_measurements result = {0};
    meter me = {.ctx = ctx, .m = m, .o = options, .probe = probe_format(), .out = &result};
    OPT_TRY_PTR(me.kern = opt_kern_get(ctx));
    me.n_windows = opt_min_i64(PROBE_WINDOWS, options->held->n_windows);
    me.n_ctx = opt_min_i64(PROBE_TOKENS, options->held->n_ctx);
    OPT_TRY(opt_stream_new(ctx, m, options->text, NULL, &me.stream));
    me.width = m->nodes[opt_model_unit_end(m, -1)].width;
    OPT_TRY(alloc_tables(&me));
    OPT_TRY(make_tables(&me));
    OPT_TRY(make_reference(&me));
    OPT_TRY(opt_stream_advance(me.stream, -1, NULL));
    OPT_TRY(advance(&me, -1));
    for (int stage = 0; stage <= m->n_units; stage++) {
        OPT_TRY(measure_stage(&me, stage));
    }
    *out = result;
    result.arena = NULL;
done:
    meter_free(&me);
    opt_measurements_free(&result);
    return st;
}

uint64_t opt_measure_bytes(opt_ctx *ctx, const opt_model *m, const opt_measure_options *options,
                           int64_t n_windows, int64_t n_ctx) {
    const meter me = {.ctx = ctx, .m = m, .o = options, .probe = probe_format()};
    const sizes s = sizes_of(&me);
    const int last = opt_model_unit_end(m, -1);
    const uint64_t width = last >= 0 ? (uint64_t)m->nodes[last].width : 0;
    const uint64_t threads = (uint64_t)opt_ctx_n_threads(ctx);
    return opt_measure_model_bytes(ctx, m, PROBE_TOKENS, n_ctx) + s.encoded +
           threads * (3 * sizeof(float) * (uint64_t)s.tile_elems + s.row_bytes + s.method) +
           2 * (uint64_t)PROBE_WINDOWS * PROBE_TOKENS * width * sizeof(float) +
           opt_stream_bytes(m, n_windows, n_ctx, false);
}
