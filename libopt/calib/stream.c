#include "calib/stream.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"
#include "base/spill.h"

enum {
    HELD_TILE = 16,      /* tokens that are packed together */
    COPY_ELEMS = 1 << 15 /* that are copied together */
};

/* The second output that is held between two steps. */
typedef struct held {
    int64_t width;    /* at most; 0: none is */
    size_t row_bytes; /* of a token as it is held */
    float *rows;      /* [n_ctx, width] of the window that runs */
    uint8_t *packed;  /* [n_windows, n_ctx, row_bytes]; of one window where the rest is in a file */
    opt_spill *spill; /* NULL: all in memory */
    opt_feed feed;
} held;

struct opt_stream {
    opt_ctx *ctx;
    const opt_model *model;
    const opt_corpus *corpus;
    int64_t width;
    float *rows;      /* [n_windows, n_ctx, width]; [n_ctx, width] where the rest is in a file */
    opt_spill *spill; /* NULL: all in memory */
    opt_feed feed;
    opt_compute compute;
    const char *dir; /* where spills are; NULL: nothing is spilled */
    held held;
};

/* What the hook of opt_stream_collect needs. */
typedef struct collector {
    opt_stream *s;
    const opt_kern *kern;
    const opt_model *cut;
    const int *node_of; /* [cut->n_nodes]: the index in the model of a node to catch, or -1 */
    opt_gram *grams;
    opt_gram_scratch scratch;
} collector;

static size_t window_bytes(const opt_stream *s) {
    return (size_t)(s->corpus->n_ctx * s->width) * sizeof *s->rows;
}

/* Activations of window w: where they are, or read from the file. */
static opt_status load_window(opt_stream *s, int64_t w, float **out) {
    if (s->spill == NULL) {
        *out = s->rows + w * s->corpus->n_ctx * s->width;
        return OPT_OK;
    }
    *out = s->rows;
    return opt_spill_read(s->spill, (uint64_t)w * window_bytes(s), s->rows, window_bytes(s));
}

static opt_status store_window(opt_stream *s, int64_t w) {
    return s->spill == NULL
               ? OPT_OK
               : opt_spill_write(s->spill, (uint64_t)w * window_bytes(s), s->rows, window_bytes(s));
}

opt_status opt_stream_new(opt_ctx *ctx, const opt_model *model, const opt_corpus *corpus,
                          const char *spill, opt_stream **out) {
    opt_status st = OPT_OK;
    opt_stream *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    s->model = model;
    s->corpus = corpus;
    s->compute = OPT_COMPUTE_EXACT;
    s->dir = spill;
    const int embedding = opt_model_unit_end(model, -1);
    OPT_REQUIRE(embedding >= 0, ctx, OPT_ERR_UNSUPPORTED, model->name,
                "nothing comes before its first block: it cannot be calibrated block by block");
    s->width = model->nodes[embedding].width;
    const int64_t dims[] = {corpus->n_windows, corpus->n_ctx, s->width};
    int64_t n = 0;
    OPT_REQUIRE(opt_mul_dims(dims, 3, &n), ctx, OPT_ERR_MEMORY, model->name,
                "the activations of %" PRId64 " windows do not fit in the address space",
                corpus->n_windows);
    if (spill != NULL) {
        OPT_TRY(opt_spill_new(ctx, spill, (uint64_t)n * sizeof *s->rows, &s->spill));
        n = corpus->n_ctx * s->width;
    }
    OPT_TRY_PTR(s->rows = opt_alloc_array(ctx, (size_t)n, sizeof *s->rows));
    *out = s;
    s = NULL;
done:
    opt_stream_free(s);
    return st;
}

void opt_stream_free(opt_stream *s) {
    if (s != NULL) {
        opt_spill_free(s->spill);
        opt_spill_free(s->held.spill);
        opt_free(s->ctx, s->rows);
        opt_free(s->ctx, s->held.rows);
        opt_free(s->ctx, s->held.packed);
        opt_free(s->ctx, s);
    }
}

void opt_stream_set_compute(opt_stream *s, opt_compute compute) { s->compute = compute; }

/* Rows are copied by all threads: with many windows one alone would be waited for. */
typedef struct copy_job {
    float *to;
    const float *from;
    int64_t n;
} copy_job;

static opt_status copy_tile(void *user, int64_t tile, int worker) {
    const copy_job *job = user;
    const int64_t at = tile * COPY_ELEMS;
    (void)worker;
    memcpy(job->to + at, job->from + at,
           (size_t)opt_min_i64(COPY_ELEMS, job->n - at) * sizeof *job->to);
    return OPT_OK;
}

static opt_status copy_rows(opt_ctx *ctx, float *to, const float *from, int64_t n) {
    copy_job job = {to, from, n};
    return opt_parallel_for(ctx, opt_ceil_div(n, COPY_ELEMS), copy_tile, &job);
}

opt_status opt_stream_copy(opt_stream *s, opt_stream *from) {
    opt_status st = OPT_OK;
    const int64_t n = s->corpus->n_ctx * s->width;
    for (int64_t w = 0; w < s->corpus->n_windows; w++) {
        float *rows = NULL;
        OPT_TRY(load_window(from, w, &rows));
        OPT_TRY(copy_rows(s->ctx, s->spill == NULL ? s->rows + w * n : s->rows, rows, n));
        OPT_TRY(store_window(s, w));
    }
done:
    return st;
}

typedef struct store_job {
    opt_ctx *ctx;
    float *rows; /* [n_ctx, width] of the window */
    int64_t width;
} store_job;

static opt_status store(void *user, int64_t row0, int64_t n_rows, const float *rows) {
    const store_job *job = user;
    return copy_rows(job->ctx, job->rows + row0 * job->width, rows, n_rows * job->width);
}

/* Runs a cut over all windows; with `keep`, its outputs take the place of its inputs. */
static opt_status run_windows(opt_stream *s, opt_session *session, bool keep) {
    opt_status st = OPT_OK;
    const int64_t n_ctx = s->corpus->n_ctx;
    for (int64_t w = 0; w < s->corpus->n_windows; w++) {
        store_job job = {s->ctx, NULL, s->width};
        OPT_TRY(load_window(s, w, &job.rows));
        s->feed.rows = job.rows;
        opt_session_truncate(session, 0);
        OPT_TRY(opt_session_eval(session, s->corpus->tokens + w * n_ctx, n_ctx, keep ? 0 : n_ctx,
                                 keep ? store : NULL, &job));
        if (keep) {
            OPT_TRY(store_window(s, w));
        }
    }
done:
    return st;
}

static opt_status open_cut(opt_stream *s, int unit, int last, const opt_tensor *const *replaced,
                           opt_model **cut, opt_session **session) {
    opt_status st = OPT_OK;
    const opt_session_options options = {
        .compute = s->compute, .n_ctx = s->corpus->n_ctx, .n_batch = s->corpus->n_ctx};
    OPT_TRY(opt_model_cut(s->ctx, s->model, unit, last, replaced, &s->feed, cut));
    OPT_TRY(opt_session_new(s->ctx, *cut, &options, session));
done:
    return st;
}

/* Whether the outputs of a cut can take the place of its inputs. */
static opt_status check_width(const opt_stream *s, const opt_model *cut) {
    const opt_node *last = &cut->nodes[cut->logits];
    return last->width == s->width ? OPT_OK
                                   : opt_fail(s->ctx, OPT_ERR_UNSUPPORTED, last->name,
                                              "its unit turns %" PRId64 " columns into %" PRId64
                                              ": such models cannot be calibrated",
                                              s->width, last->width);
}

opt_status opt_stream_advance(opt_stream *s, int unit, const opt_tensor *const *replaced) {
    opt_status st = OPT_OK;
    opt_model *cut = NULL;
    opt_session *session = NULL;
    OPT_TRY(open_cut(s, unit, -1, replaced, &cut, &session));
    OPT_TRY(check_width(s, cut));
    OPT_TRY(run_windows(s, session, true));
done:
    opt_session_free(session);
    opt_model_free(cut);
    return st;
}

static opt_status catch_input(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                              int64_t width, int64_t pos0) {
    collector *c = user;
    const int idx = c->node_of[node - c->cut->nodes];
    (void)pos0;
    if (idx < 0) {
        return OPT_OK;
    }
    opt_gram *g = &c->grams[c->s->model->nodes[idx].in[0]];
    return width == g->n ? opt_gram_add(c->s->ctx, c->kern, g, x, n_tokens, &c->scratch)
                         : opt_fail(c->s->ctx, OPT_ERR_BUG, node->name,
                                    "it reads %" PRId64 " columns, not %" PRId64, width, g->n);
}

/* The first wanted linear node of the unit that reads each input: node_of [cut->n_nodes]. Makes
 * their matrices. */
static opt_status mark_nodes(opt_stream *s, int unit, const bool *wanted, opt_model *cut,
                             opt_gram *grams, int *node_of, int64_t *max_n) {
    opt_status st = OPT_OK;
    const opt_model *m = s->model;
    for (int i = 0; i < cut->n_nodes; i++) {
        node_of[i] = -1;
    }
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        if (node->unit != unit || node->op != &opt_op_linear || !wanted[node->weights[0]] ||
            grams[node->in[0]].sum != NULL) {
            continue;
        }
        const int64_t n = opt_node_in_width(m, node, 0);
        OPT_TRY(opt_gram_new(s->ctx, n, &grams[node->in[0]]));
        node_of[opt_model_find_node(cut, node->name)] = i;
        *max_n = opt_max_i64(*max_n, n);
    }
done:
    return st;
}

static int last_wanted(const opt_model *m, int unit, const bool *wanted) {
    int last = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        if (node->unit == unit && node->op == &opt_op_linear && wanted[node->weights[0]]) {
            last = i;
        }
    }
    return last;
}

static opt_status collect(opt_stream *s, int unit, int last, bool keep, const bool *wanted,
                          opt_gram *grams) {
    opt_status st = OPT_OK;
    opt_model *cut = NULL;
    opt_session *session = NULL;
    int *node_of = NULL;
    int64_t max_n = 0;
    collector c = {.s = s, .grams = grams};
    OPT_TRY_PTR(c.kern = opt_kern_get(s->ctx));
    OPT_TRY(open_cut(s, unit, last, NULL, &cut, &session));
    if (keep) {
        OPT_TRY(check_width(s, cut));
    }
    OPT_TRY_PTR(node_of = opt_alloc_array(s->ctx, (size_t)cut->n_nodes, sizeof *node_of));
    OPT_TRY(mark_nodes(s, unit, wanted, cut, grams, node_of, &max_n));
    OPT_TRY(opt_gram_scratch_new(s->ctx, max_n, s->corpus->n_ctx, &c.scratch));
    c.scratch.block16 = s->compute != OPT_COMPUTE_EXACT;
    c.cut = cut;
    c.node_of = node_of;
    OPT_TRY(opt_session_capture(session, NULL, catch_input, &c));
    OPT_TRY(run_windows(s, session, keep));
done:
    opt_gram_scratch_free(s->ctx, &c.scratch);
    opt_free(s->ctx, node_of);
    opt_session_free(session);
    opt_model_free(cut);
    return st;
}

opt_status opt_stream_collect(opt_stream *s, int unit, const bool *wanted, opt_gram *grams) {
    const int last = last_wanted(s->model, unit, wanted);
    return last < 0 ? OPT_OK : collect(s, unit, last, false, wanted, grams);
}

opt_status opt_stream_collect_advance(opt_stream *s, int unit, const bool *wanted,
                                      opt_gram *grams) {
    return collect(s, unit, -1, true, wanted, grams);
}

/* ---- steps of a unit ---- */

static int64_t held_padded(int64_t width) {
    return opt_ceil_div(width, OPT_I16_GROUP) * OPT_I16_GROUP;
}

static size_t held_row_bytes(int64_t width, opt_compute compute) {
    const size_t n = (size_t)held_padded(width);
    return compute == OPT_COMPUTE_EXACT ? (size_t)width * sizeof(float)
                                        : n * sizeof(int16_t) + n / OPT_I16_GROUP * sizeof(float);
}

opt_status opt_stream_reserve(opt_stream *s, int64_t width) {
    opt_status st = OPT_OK;
    held *h = &s->held;
    const int64_t n_ctx = s->corpus->n_ctx, n_windows = s->corpus->n_windows;
    if (width <= 0) {
        return OPT_OK;
    }
    h->width = width;
    h->row_bytes = held_row_bytes(width, s->compute);
    const int64_t dims[] = {n_windows, n_ctx, (int64_t)h->row_bytes};
    int64_t bytes = 0;
    OPT_REQUIRE(opt_mul_dims(dims, 3, &bytes), s->ctx, OPT_ERR_MEMORY, s->model->name,
                "the activations of %" PRId64 " windows do not fit in the address space",
                n_windows);
    if (s->dir != NULL) {
        OPT_TRY(opt_spill_new(s->ctx, s->dir, (uint64_t)bytes, &h->spill));
        bytes = n_ctx * (int64_t)h->row_bytes;
    }
    OPT_TRY_PTR(h->packed = opt_alloc(s->ctx, (size_t)bytes));
    OPT_TRY_PTR(h->rows = opt_alloc_array(s->ctx, (size_t)(n_ctx * width), sizeof *h->rows));
done:
    return st;
}

uint64_t opt_stream_reserve_bytes(int64_t width, int64_t n_windows, int64_t n_ctx,
                                  opt_compute compute, bool spills) {
    const uint64_t windows = spills ? 1 : (uint64_t)n_windows;
    return width <= 0 ? 0
                      : (uint64_t)n_ctx * (windows * held_row_bytes(width, compute) +
                                           (uint64_t)width * sizeof(float));
}

/* Rows on their way to or from where they are held. */
typedef struct held_job {
    const opt_stream *s;
    const opt_kern *kern;
    const float *from; /* packing: [n_ctx, width] */
    uint8_t *packed;   /* of the window */
    int64_t width;
} held_job;

static opt_status pack_held(void *user, int64_t tile, int worker) {
    const held_job *job = user;
    const int64_t padded = held_padded(job->width);
    const int64_t end = opt_min_i64(job->s->corpus->n_ctx, (tile + 1) * HELD_TILE);
    (void)worker;
    for (int64_t t = tile * HELD_TILE; t < end; t++) {
        uint8_t *to = job->packed + (size_t)t * job->s->held.row_bytes;
        const float *x = job->from + t * job->width;
        if (job->s->compute == OPT_COMPUTE_EXACT) {
            memcpy(to, x, (size_t)job->width * sizeof *x);
        } else {
            int32_t *pairs = (int32_t *)(void *)to;
            job->kern->quantize_i16(x, job->width, padded, pairs,
                                    (float *)(void *)(pairs + padded / 2));
        }
    }
    return OPT_OK;
}

static opt_status unpack_held(void *user, int64_t tile, int worker) {
    const held_job *job = user;
    const int64_t padded = held_padded(job->width);
    const int64_t end = opt_min_i64(job->s->corpus->n_ctx, (tile + 1) * HELD_TILE);
    (void)worker;
    for (int64_t t = tile * HELD_TILE; t < end; t++) {
        const uint8_t *from = job->packed + (size_t)t * job->s->held.row_bytes;
        float *x = job->s->held.rows + t * job->width;
        if (job->s->compute == OPT_COMPUTE_EXACT) {
            memcpy(x, from, (size_t)job->width * sizeof *x);
            continue;
        }
        const int16_t *q = (const int16_t *)(const void *)from;
        const float *scale = (const float *)(const void *)(q + padded);
        for (int64_t i = 0; i < job->width; i++) {
            x[i] = scale[i / OPT_I16_GROUP] * (float)q[i];
        }
    }
    return OPT_OK;
}

/* The window's place in memory; what is in the file stays there. */
static uint8_t *held_window(const opt_stream *s, int64_t w) {
    const held *h = &s->held;
    return h->packed + (h->spill == NULL ? (size_t)(w * s->corpus->n_ctx) * h->row_bytes : 0);
}

static opt_status move_held(opt_stream *s, int64_t w, const float *from, int64_t width) {
    opt_status st = OPT_OK;
    const held *h = &s->held;
    const size_t bytes = (size_t)s->corpus->n_ctx * h->row_bytes;
    const int64_t tiles = opt_ceil_div(s->corpus->n_ctx, HELD_TILE);
    held_job job = {s, opt_kern_get(s->ctx), from, held_window(s, w), width};
    OPT_TRY_PTR(job.kern);
    if (from == NULL && h->spill != NULL) {
        OPT_TRY(opt_spill_read(h->spill, (uint64_t)w * bytes, job.packed, bytes));
    }
    OPT_TRY(opt_parallel_for(s->ctx, tiles, from == NULL ? unpack_held : pack_held, &job));
    if (from != NULL && h->spill != NULL) {
        OPT_TRY(opt_spill_write(h->spill, (uint64_t)w * bytes, job.packed, bytes));
    }
done:
    return st;
}

/* One step over all windows. */
typedef struct step_run {
    opt_stream *s;
    const opt_step_cut *cut;
    const opt_kern *kern;
    opt_gram *gram; /* or NULL */
    opt_gram_scratch scratch;
    /* Of a pair: one stream leaves what the last node gave, the other one takes it from there. */
    float *shown; /* [n_ctx, width of the last node], or NULL */
    double *cross;
    opt_gram_scratch own;
    int64_t window;
    float *rows; /* of the window between units */
} step_run;

/* An output inside the step that is held behind it. */
static opt_status catch_held(void *user, const opt_node *node, const float *x, int64_t n_tokens,
                             int64_t width, int64_t pos0) {
    const step_run *r = user;
    (void)node;
    return copy_rows(r->s->ctx, r->rows + pos0 * width, x, n_tokens * width);
}

static opt_status subtract_tile(void *user, int64_t tile, int worker) {
    const copy_job *job = user;
    const int64_t at = tile * COPY_ELEMS, end = opt_min_i64(job->n, at + COPY_ELEMS);
    (void)worker;
    for (int64_t i = at; i < end; i++) {
        job->to[i] -= job->from[i];
    }
    return OPT_OK;
}

/* What the other stream has shown becomes its difference to these rows. */
static opt_status add_cross(step_run *r, const float *rows, int64_t n_rows, int64_t width) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = r->s->ctx;
    copy_job job = {r->shown, rows, n_rows * width};
    OPT_TRY(opt_parallel_for(ctx, opt_ceil_div(job.n, COPY_ELEMS), subtract_tile, &job));
    OPT_TRY(
        opt_gram_add_cross(ctx, r->kern, r->cross, width, r->shown, n_rows, &r->scratch, &r->own));
done:
    return st;
}

/* The outputs of the step's last node, all rows at once. */
static opt_status take_last(void *user, int64_t row0, int64_t n_rows, const float *rows) {
    opt_status st = OPT_OK;
    step_run *r = user;
    const opt_stream *s = r->s;
    const int64_t width = s->model->nodes[r->cut->last].width;
    OPT_REQUIRE(row0 == 0 && n_rows == s->corpus->n_ctx, s->ctx, OPT_ERR_BUG,
                s->model->nodes[r->cut->last].name, "its rows came in pieces");
    if (r->gram != NULL) {
        OPT_TRY(opt_gram_add(s->ctx, r->kern, r->gram, rows, n_rows, &r->scratch));
    }
    if (r->cross != NULL) {
        OPT_TRY(add_cross(r, rows, n_rows, width));
    } else if (r->shown != NULL) {
        OPT_TRY(copy_rows(s->ctx, r->shown, rows, n_rows * width));
    }
    if (r->cut->after[0] == r->cut->last) {
        OPT_TRY(copy_rows(s->ctx, r->rows, rows, n_rows * width));
    }
    if (r->cut->after[1] == r->cut->last) {
        OPT_TRY(move_held(r->s, r->window, rows, width));
    }
done:
    return st;
}

static opt_status open_step(opt_stream *s, const opt_step_cut *c, const opt_tensor *const *replaced,
                            opt_model **cut, opt_session **session) {
    opt_status st = OPT_OK;
    const opt_session_options options = {.compute = s->compute,
                                         .n_ctx = s->corpus->n_ctx,
                                         .n_batch = s->corpus->n_ctx,
                                         .n_logits = s->corpus->n_ctx};
    const opt_feed **feeds = opt_alloc_zero(s->ctx, (size_t)s->model->n_nodes * sizeof *feeds);
    OPT_TRY_PTR(feeds);
    feeds[c->before[0]] = &s->feed;
    if (c->before[1] != OPT_NO_NODE) {
        feeds[c->before[1]] = &s->held.feed;
    }
    OPT_TRY(opt_model_cut_part(s->ctx, s->model, c->unit, c->first, c->last, replaced, feeds, cut));
    OPT_TRY(opt_session_new(s->ctx, *cut, &options, session));
done:
    opt_free(s->ctx, (void *)feeds);
    return st;
}

static opt_status run_window(step_run *r, opt_session *session, int64_t window) {
    opt_status st = OPT_OK;
    opt_stream *s = r->s;
    const int64_t n_ctx = s->corpus->n_ctx;
    const int beside = r->cut->before[1];
    r->window = window;
    OPT_TRY(load_window(s, window, &r->rows));
    s->feed.rows = r->rows;
    if (beside != OPT_NO_NODE) {
        OPT_TRY(move_held(s, window, NULL, s->model->nodes[beside].width));
        s->held.feed.rows = s->held.rows;
    }
    opt_session_truncate(session, 0);
    OPT_TRY(opt_session_eval(session, s->corpus->tokens + window * n_ctx, n_ctx, 0, take_last, r));
    if (r->cut->after[0] != r->cut->before[0]) {
        OPT_TRY(store_window(s, window));
    }
done:
    return st;
}

/* A step of one stream, made ready. */
static opt_status begin_step(step_run *r, const opt_tensor *const *replaced, opt_model **part,
                             opt_session **session) {
    opt_status st = OPT_OK;
    opt_stream *s = r->s;
    const int64_t width = s->model->nodes[r->cut->last].width;
    OPT_TRY_PTR(r->kern = opt_kern_get(s->ctx));
    OPT_REQUIRE(r->cut->after[1] == OPT_NO_NODE || width <= s->held.width, s->ctx, OPT_ERR_BUG,
                s->model->nodes[r->cut->last].name, "no room is reserved for its rows");
    OPT_TRY(open_step(s, r->cut, replaced, part, session));
    if (r->cut->catcher != OPT_NO_NODE) {
        OPT_TRY(
            opt_session_capture(*session, s->model->nodes[r->cut->catcher].name, catch_held, r));
    }
    if (r->gram != NULL) {
        OPT_TRY(opt_gram_new(s->ctx, width, r->gram));
        OPT_TRY(opt_gram_scratch_new(s->ctx, width, s->corpus->n_ctx, &r->scratch));
        r->scratch.block16 = s->compute != OPT_COMPUTE_EXACT;
    }
done:
    return st;
}

opt_status opt_stream_step(opt_stream *s, const opt_step_cut *cut,
                           const opt_tensor *const *replaced, opt_gram *gram) {
    opt_status st = OPT_OK;
    opt_model *part = NULL;
    opt_session *session = NULL;
    step_run r = {.s = s, .cut = cut, .gram = gram};
    OPT_TRY(begin_step(&r, replaced, &part, &session));
    for (int64_t w = 0; w < s->corpus->n_windows; w++) {
        OPT_TRY(run_window(&r, session, w));
    }
done:
    opt_gram_scratch_free(s->ctx, &r.scratch);
    opt_session_free(session);
    opt_model_free(part);
    return st;
}

opt_status opt_stream_step_pair(opt_stream *s, opt_stream *floats, const opt_step_cut *cut,
                                const opt_tensor *const *replaced, opt_gram *gram, double *cross) {
    opt_status st = OPT_OK;
    opt_model *parts[2] = {NULL};
    opt_session *sessions[2] = {NULL};
    const int64_t width = s->model->nodes[cut->last].width, n_ctx = s->corpus->n_ctx;
    step_run r = {.s = s, .cut = cut, .gram = gram, .cross = cross};
    step_run f = {.s = floats, .cut = cut};
    OPT_TRY_PTR(r.shown = opt_alloc_array(s->ctx, (size_t)(n_ctx * width), sizeof *r.shown));
    f.shown = r.shown;
    OPT_TRY(begin_step(&r, replaced, &parts[0], &sessions[0]));
    OPT_TRY(begin_step(&f, NULL, &parts[1], &sessions[1]));
    OPT_TRY(opt_gram_scratch_new(s->ctx, width, n_ctx, &r.own));
    r.own.block16 = r.scratch.block16;
    for (int64_t w = 0; w < s->corpus->n_windows; w++) {
        OPT_TRY(run_window(&f, sessions[1], w));
        OPT_TRY(run_window(&r, sessions[0], w));
    }
done:
    opt_free(s->ctx, r.shown);
    opt_gram_scratch_free(s->ctx, &r.scratch);
    opt_gram_scratch_free(s->ctx, &r.own);
    for (int i = 0; i < 2; i++) {
        opt_session_free(sessions[i]);
        opt_model_free(parts[i]);
    }
    return st;
}

opt_status opt_stream_step_bytes(opt_ctx *ctx, const opt_model *model, const opt_step_cut *cut,
                                 int64_t n_ctx, opt_compute compute, bool pair, uint64_t *out) {
    opt_status st = OPT_OK;
    opt_model *part = NULL;
    opt_session *session = NULL;
    const opt_corpus corpus = {.n_ctx = n_ctx};
    opt_stream s = {.ctx = ctx, .model = model, .corpus = &corpus, .compute = compute};
    const uint64_t before = opt_ctx_memory(ctx);
    OPT_TRY(open_step(&s, cut, NULL, &part, &session));
    const int64_t width = model->nodes[cut->last].width;
    const uint64_t scratch = opt_gram_scratch_bytes(width, n_ctx, opt_ctx_n_threads(ctx));
    *out = opt_ctx_memory(ctx) - before;
    if (pair && !cut->ends) {
        *out = 2 * (*out + scratch) + (uint64_t)n_ctx * (uint64_t)width * sizeof(float);
    } else if (!cut->ends) {
        *out += scratch;
    }
done:
    opt_session_free(session);
    opt_model_free(part);
    return st;
}

opt_status opt_stream_window(opt_stream *s, int64_t window, const float **out) {
    float *rows = NULL;
    const opt_status st = load_window(s, window, &rows);
    *out = rows;
    return st;
}

uint64_t opt_stream_bytes(const opt_model *model, int64_t n_windows, int64_t n_ctx, bool spills) {
    const int embedding = opt_model_unit_end(model, -1);
    const uint64_t width = embedding >= 0 ? (uint64_t)model->nodes[embedding].width : 0;
    const uint64_t in_memory = spills ? 1 : (uint64_t)n_windows;
    return (uint64_t)n_ctx *
               (in_memory * width * sizeof(float) + (uint64_t)n_windows * sizeof(int32_t)) +
           sizeof(opt_stream);
}

opt_status opt_stream_run_bytes(opt_ctx *ctx, const opt_model *model, int unit, const bool *wanted,
                                int64_t n_ctx, opt_compute compute, uint64_t *out) {
    opt_status st = OPT_OK;
    opt_model *cut = NULL;
    opt_session *session = NULL;
    const opt_corpus corpus = {.n_ctx = n_ctx};
    opt_stream s = {.ctx = ctx, .model = model, .corpus = &corpus, .compute = compute};
    const int last = wanted != NULL ? last_wanted(model, unit, wanted) : -1;
    int64_t max_n = 0;
    *out = 0;
    if (wanted != NULL && last < 0) {
        return OPT_OK;
    }
    const uint64_t before = opt_ctx_memory(ctx);
    OPT_TRY(open_cut(&s, unit, last, NULL, &cut, &session));
    *out = opt_ctx_memory(ctx) - before;
    for (int i = 0; wanted != NULL && i < model->n_nodes; i++) {
        const opt_node *node = &model->nodes[i];
        if (node->unit == unit && node->op == &opt_op_linear && wanted[node->weights[0]]) {
            max_n = opt_max_i64(max_n, opt_node_in_width(model, node, 0));
        }
    }
    *out += opt_gram_scratch_bytes(max_n, n_ctx, opt_ctx_n_threads(ctx));
done:
    opt_session_free(session);
    opt_model_free(cut);
    return st;
}
