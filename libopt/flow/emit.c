/*
 * Tiles of all tensors form one sequence, cut into windows. While the threads encode window i + 1,
 * one of them first writes window i and another one adds it to the checksums and gives its source
 * pages back. One writes alone because file systems let only one writer into a file. So encoding
 * and writing overlap, and memory is bounded by two windows and two tiles a thread.
 */
#include "flow/emit.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "base/pool.h"

#define WINDOW_PIECES 2048
/* With several threads the first window is work for the others while one prepares the header. The
 * later ones are small enough to be written from a cache, and slack for when the disk is slow. */
#define WINDOW_BYTES ((size_t)4 << 20)
#define FIRST_BYTES ((size_t)32 << 20)

/** One tile of one tensor in a window. */
typedef struct piece {
    int64_t tensor;
    int64_t row0, n_rows;
    size_t off, bytes; /* in the window's buffer */
    opt_plan_sums sums;
} piece;

/** Neighbouring pieces of one tensor: a system call and a step of the hash have a price of their
 * own. */
typedef struct chunk {
    int64_t tensor;
    size_t tensor_off; /* inside the tensor */
    size_t off, bytes; /* in the window's buffer */
} chunk;

typedef struct window {
    piece pieces[WINDOW_PIECES];
    chunk chunks[WINDOW_PIECES];
    int n, n_chunks;
    size_t used, capacity;
    uint8_t *bytes; /* [capacity] */
} window;

/** What one worker needs: a tile decoded and, after encoding, decoded again. */
typedef struct scratch {
    float *w, *back; /* [tile_elems] each */
    void *method;
} scratch;

typedef struct engine {
    opt_plan *plan;
    const opt_kern *kern;
    const opt_emit_options *options;
    opt_gguf_writer *writer; /* NULL until the header is prepared */
    window windows[2];
    scratch *scratch; /* [n_threads] */
    int n_scratch;
    window *current, *previous; /* previous: encoded, not yet written; NULL at the start */
    int64_t next_tensor, next_row;
    opt_plan_sums *sums;          /* [plan->n], in order of tiles */
    opt_calibration *calibration; /* NULL: none */
    int sweeps;
    int stage;          /* whose tensors are being encoded */
    double done, total; /* elements that count, see counts() */
} engine;

/** Rows of the source that a tile of the output comes from: fewer where zero rows are appended. */
static int64_t source_rows(const opt_plan_tensor *t, int64_t row0, int64_t n) {
    return opt_max_i64(0, opt_min_i64(n, t->src_rows - row0));
}

static int64_t tile_elems(const opt_plan *plan) {
    int64_t largest = 1;
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        largest = opt_max_i64(largest, opt_min_i64(t->tile_rows, t->n_rows) * t->n_cols);
    }
    return largest;
}

/** Bytes that the engine's buffers take. */
typedef struct sizes {
    size_t windows[2]; /* each has room for the largest tile */
    size_t method;     /* scratch of the methods, a thread */
} sizes;

/** Scratch that a tile of a tensor needs beside its floats. */
static size_t scratch_bytes(const opt_plan_tensor *t, int64_t rows) {
    size_t need = 0;
    if (t->method != NULL && t->method->scratch_bytes != NULL) {
        need = t->method->scratch_bytes(t->format, rows, t->n_cols);
    }
    if (opt_calibrates(t)) { /* what its error is measured with */
        const size_t rows_bytes = (size_t)(rows * t->n_cols) * sizeof(float);
        need = rows_bytes > need ? rows_bytes : need;
    }
    return need;
}

static void plan_sizes(const opt_plan *plan, sizes *out) {
    size_t tile = 1;
    uint64_t all = 1;
    *out = (sizes){0};
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        const int64_t rows = opt_min_i64(t->tile_rows, t->n_rows);
        const size_t bytes = (size_t)rows * t->row_bytes;
        const size_t method = scratch_bytes(t, rows);
        tile = bytes > tile ? bytes : tile;
        all += (uint64_t)t->n_rows * t->row_bytes;
        out->method = method > out->method ? method : out->method;
    }
    for (int i = 0; i < 2; i++) {
        const bool wait = i == 0 && opt_ctx_n_threads(plan->ctx) > 1;
        const size_t most = wait ? FIRST_BYTES : WINDOW_BYTES;
        const size_t enough = all < most ? (size_t)all : most;
        out->windows[i] = tile > enough ? tile : enough;
    }
}

uint64_t opt_emit_bytes(const opt_plan *plan) {
    sizes s;
    plan_sizes(plan, &s);
    const uint64_t workers = (uint64_t)opt_ctx_n_threads(plan->ctx);
    return s.windows[0] + s.windows[1] + workers * (8 * (uint64_t)tile_elems(plan) + s.method) +
           sizeof(engine);
}

/** Counts NaN and infinities of a whole tensor for the message; the walk ends anyway. */
static opt_status report_bad_input(const engine *e, const opt_plan_tensor *t, float *row) {
    int64_t n_bad = 0, first = -1;
    for (int64_t r = 0; r < t->src_rows; r++) {
        opt_weight_decode_rows(t->weight, e->kern, r, 1, row);
        for (int64_t c = 0; c < t->src_cols; c++) {
            if (!isfinite(row[c])) {
                first = n_bad == 0 ? r * t->src_cols + c : first;
                n_bad++;
            }
        }
    }
    return opt_fail(e->plan->ctx, OPT_ERR_NUMERIC, t->weight->name,
                    "%lld of %lld weights are NaN or infinite; the first is element %lld (row "
                    "%lld, column %lld)",
                    (long long)n_bad, (long long)(t->src_rows * t->src_cols), (long long)first,
                    (long long)(first / t->src_cols), (long long)(first % t->src_cols));
}

/** What is wrong with element `at` of a loaded tile: no number, or too large for the format. */
static opt_status report_bad(const engine *e, const opt_plan_tensor *t, const piece *p, float *w,
                             int64_t at) {
    if (!isfinite(w[at])) {
        return report_bad_input(e, t, w);
    }
    return opt_fail(e->plan->ctx, OPT_ERR_NUMERIC, t->weight->name,
                    "the weight %g at row %lld, column %lld is too large for %s, which ends at %g; "
                    "choose bf16 or f32 "
                    "for this tensor",
                    (double)w[at], (long long)(p->row0 + at / t->n_cols),
                    (long long)(at % t->n_cols), t->format->name, (double)t->format->max_abs);
}

/** Decodes the tile's source rows into s->w, zeros appended where the output is larger. */
static void load_tile(const engine *e, const opt_plan_tensor *t, const piece *p, float *w) {
    const int64_t n = source_rows(t, p->row0, p->n_rows);
    if (n > 0) {
        opt_weight_decode_rows(t->weight, e->kern, p->row0, n, w);
    }
    if (t->n_cols > t->src_cols) { /* spread the rows from the last one on, in place */
        for (int64_t r = n; r-- > 0;) {
            memmove(w + r * t->n_cols, w + r * t->src_cols, (size_t)t->src_cols * sizeof *w);
            memset(w + r * t->n_cols + t->src_cols, 0,
                   (size_t)(t->n_cols - t->src_cols) * sizeof *w);
        }
    }
    memset(w + n * t->n_cols, 0, (size_t)((p->n_rows - n) * t->n_cols) * sizeof *w);
}

/** The Hessian that a tensor is solved with, or NULL. */
static const opt_hessian *hessian_of(const engine *e, int64_t tensor) {
    return e->calibration != NULL ? opt_calibration_hessian(e->calibration, tensor) : NULL;
}

/** Encodes a loaded tile: by the tensor's method, or element by element into a plain format. */
static opt_status encode_rows(const engine *e, const opt_plan_tensor *t, piece *p, const scratch *s,
                              uint8_t *dst) {
    const opt_hessian *h = hessian_of(e, p->tensor);
    if (t->method == NULL) {
        opt_format_encode_rows(t->format, e->kern, s->w, NULL, dst, p->n_rows, t->n_cols);
        return OPT_OK;
    }
    const opt_quant_job job = {
        .format = t->format,
        .kern = e->kern,
        .w = s->w,
        .importance = h != NULL ? h->diag : t->importance,
        .hessian = h,
        .sweeps = e->sweeps,
        .nearest = &p->sums.out_nearest,
        .n_rows = p->n_rows,
        .n_cols = t->n_cols,
        .row_bytes = t->row_bytes,
        .dst = dst,
    };
    p->sums.out_nearest = NAN;
    if (e->options->block != NULL && opt_block_take(e->options->block, p->tensor, p->row0,
                                                    p->n_rows, dst, &p->sums.out_nearest)) {
        return OPT_OK;
    }
    return t->method->solve(e->plan->ctx, &job, s->method);
}

/** Measures the tile on the calibration tokens; overwrites s->back. */
static void add_output_error(const engine *e, const opt_plan_tensor *t, piece *p, scratch *s) {
    const opt_hessian *h = hessian_of(e, p->tensor);
    if (h == NULL) {
        return;
    }
    p->sums.out_ref = opt_hessian_energy(h, e->kern, s->w, p->n_rows, s->method, NULL);
    for (int64_t i = 0; i < p->n_rows * t->n_cols; i++) {
        s->back[i] = s->w[i] - s->back[i];
    }
    p->sums.out_err = opt_hessian_energy(h, e->kern, s->back, p->n_rows, s->method, NULL);
}

static opt_status encode_piece(engine *e, piece *p, scratch *s) {
    opt_status st = OPT_OK;
    const opt_plan_tensor *t = &e->plan->tensors[p->tensor];
    uint8_t *dst = e->current->bytes + p->off;
    if (t->action == OPT_ACTION_COPY && (t->format->flags & OPT_FORMAT_FLOAT) == 0) {
        opt_weight_copy_runs(t->weight, t->runs, p->row0, p->n_rows, dst);
        return OPT_OK;
    }
    const int64_t n = p->n_rows * t->n_cols;
    if (e->calibration != NULL &&
        opt_calibration_take(e->calibration, p->tensor, p->row0, p->n_rows, dst)) {
        return OPT_OK; /* solved by a run that was interrupted */
    }
    load_tile(e, t, p, s->w);
    const bool copy = t->action == OPT_ACTION_COPY; /* what is copied need only be a number */
    const int64_t bad = opt_format_find_bad(copy ? &opt_format_f32 : t->format, s->w, n);
    if (bad >= 0) {
        return report_bad(e, t, p, s->w, bad);
    }
    if (copy) {
        opt_weight_copy_rows(t->weight, p->row0, p->n_rows, dst);
        return OPT_OK;
    }
    OPT_TRY(encode_rows(e, t, p, s, dst));
    for (int64_t r = 0; r < p->n_rows; r++) {
        t->format->decode(t->format, e->kern, dst + (size_t)r * t->row_bytes,
                          s->back + r * t->n_cols, t->n_cols);
    }
    e->kern->add_errors(s->w, s->back, n, &p->sums.err, &p->sums.ref);
    add_output_error(e, t, p, s);
    if (e->calibration != NULL) {
        opt_calibration_keep(e->calibration, p->tensor, p->row0, p->n_rows, dst);
    }
done:
    return st;
}

/** Gives back the pages of tensors that are finished. */
static void drop_pages(const engine *e, const window *w) {
    for (int i = 0; i < w->n; i++) {
        const opt_plan_tensor *t = &e->plan->tensors[w->pieces[i].tensor];
        if (w->pieces[i].row0 + w->pieces[i].n_rows >= t->n_rows) {
            opt_source_dont_need(e->plan->model->source, t->weight->tensor);
        }
    }
}

/** Writes the bytes of an encoded window. */
static opt_status write_window(engine *e, const window *w) {
    opt_status st = OPT_OK;
    for (int i = 0; i < w->n_chunks; i++) {
        const chunk *c = &w->chunks[i];
        OPT_TRY(opt_gguf_put(e->writer, c->tensor, c->tensor_off, w->bytes + c->off, c->bytes));
    }
done:
    return st;
}

/** Adds an encoded window to the checksums, its error sums to those of the tensors; what it was
 * made from is not needed any more. */
static opt_status finish_window(engine *e, const window *w) {
    opt_status st = OPT_OK;
    for (int i = 0; i < w->n_chunks; i++) {
        const chunk *c = &w->chunks[i];
        OPT_TRY(opt_gguf_account(e->writer, c->tensor, w->bytes + c->off, c->bytes));
    }
    for (int i = 0; i < w->n; i++) {
        const piece *p = &w->pieces[i];
        e->sums[p->tensor].err += p->sums.err;
        e->sums[p->tensor].ref += p->sums.ref;
        e->sums[p->tensor].out_err += p->sums.out_err;
        e->sums[p->tensor].out_nearest += p->sums.out_nearest;
        e->sums[p->tensor].out_ref += p->sums.out_ref;
    }
    drop_pages(e, w);
done:
    return st;
}

/** Everything that the file begins with. */
static opt_status open_output(engine *e) {
    opt_status st = OPT_OK;
    const opt_emit_options *o = e->options;
    OPT_TRY(o->prepare(o->user));
    OPT_TRY(opt_gguf_create(e->plan->ctx, o->output, o->force, e->plan->kv, e->plan->decls,
                            e->plan->n, &e->writer));
done:
    return st;
}

/** The first tiles open the output, or write and finish the window before; the others encode
 * pieces of the current one. */
enum { TILE_WRITE, TILE_FINISH, TILE_PIECES };

static opt_status run_tile(void *user, int64_t tile, int worker) {
    engine *e = user;
    const window *before = e->previous;
    if (tile == TILE_WRITE && e->writer == NULL) {
        return open_output(e);
    }
    if (tile == TILE_WRITE) {
        return before != NULL ? write_window(e, before) : OPT_OK;
    }
    if (tile == TILE_FINISH) {
        return before != NULL ? finish_window(e, before) : OPT_OK;
    }
    return encode_piece(e, &e->current->pieces[tile - TILE_PIECES], &e->scratch[worker]);
}

static int next_stage(const engine *e) { return e->plan->tensors[e->next_tensor].stage; }

/** The piece goes on where the last chunk ends, or begins one of its own. */
static void add_to_chunks(window *w, const piece *p, size_t tensor_off) {
    chunk *last = w->n_chunks > 0 ? &w->chunks[w->n_chunks - 1] : NULL;
    if (last != NULL && last->tensor == p->tensor) {
        last->bytes += p->bytes;
        return;
    }
    w->chunks[w->n_chunks++] =
        (chunk){.tensor = p->tensor, .tensor_off = tensor_off, .off = p->off, .bytes = p->bytes};
}

/** Whether stages are prepared one by one: then a window holds tiles of one stage only. */
static bool by_stages(const engine *e) {
    return e->calibration != NULL || e->options->transforms != NULL;
}

/** Whether the text has to run further before the next tensor can be solved. */
static bool waits(const engine *e) {
    return e->calibration != NULL && opt_calibration_pending(e->calibration, e->next_tensor);
}

/** Whether the elements of a tensor stand for time that is spent. With calibration the time is that
 * of the blocks, which are alike: what comes before them says nothing about it. */
static bool counts(const engine *e, const opt_plan_tensor *t) {
    return e->calibration == NULL || (t->stage >= 0 && t->action != OPT_ACTION_COPY);
}

/** Fills a window, the first one whole, with the next tiles of the sequence; empty at the end. With
 * calibration all are of the stage that was entered. */
static void fill_window(engine *e, window *w) {
    const size_t most = e->previous == NULL ? w->capacity : e->windows[1].capacity;
    w->n = w->n_chunks = 0;
    w->used = 0;
    while (w->n < WINDOW_PIECES && e->next_tensor < e->plan->n) {
        const opt_plan_tensor *t = &e->plan->tensors[e->next_tensor];
        const int64_t rows = opt_min_i64(t->tile_rows, t->n_rows - e->next_row);
        const size_t bytes = (size_t)rows * t->row_bytes;
        if (w->used + bytes > most || (by_stages(e) && next_stage(e) != e->stage) ||
            (e->next_row == 0 && w->n > 0 && (t->late || waits(e)))) {
            break;
        }
        piece *p = &w->pieces[w->n++];
        *p = (piece){.tensor = e->next_tensor,
                     .row0 = e->next_row,
                     .n_rows = rows,
                     .off = w->used,
                     .bytes = bytes};
        add_to_chunks(w, p, (size_t)e->next_row * t->row_bytes);
        w->used += bytes;
        e->done += counts(e, t) ? (double)rows * (double)t->n_cols : 0;
        e->next_row += rows;
        if (e->next_row >= t->n_rows) {
            e->next_row = 0;
            e->next_tensor++;
        }
    }
}

/** With calibration a stage ends before the next one begins: everything of it is written, and what
 * was solved is saved. */
static opt_status change_stage(engine *e) {
    opt_status st = OPT_OK;
    const bool last = e->next_tensor >= e->plan->n;
    if (!by_stages(e) || (!last && next_stage(e) == e->stage)) {
        return OPT_OK;
    }
    if (e->calibration == NULL) { /* what is being written was encoded already */
        e->stage = last ? e->stage : next_stage(e);
        return last ? OPT_OK : opt_transforms_enter(e->options->transforms, e->stage);
    }
    if (e->previous != NULL) {
        OPT_TRY(write_window(e, e->previous));
        OPT_TRY(finish_window(e, e->previous));
        e->previous = NULL;
        OPT_TRY(opt_calibration_leave(e->calibration, e->sums));
    }
    if (!last) {
        e->stage = next_stage(e);
        if (e->stage >= 0) { /* the clock of the first block begins here */
            opt_progress(e->plan->ctx, e->options->step, e->done, e->total);
        }
        OPT_TRY(opt_calibration_enter(e->calibration, e->stage, e->sums));
        if (e->options->block != NULL) {
            OPT_TRY(opt_block_enter(e->options->block, e->stage));
        }
    }
done:
    return st;
}

static opt_status run_windows(engine *e, const char *step) {
    opt_status st = OPT_OK;
    for (int turn = 0;; turn ^= 1) {
        window *w = &e->windows[turn];
        OPT_TRY(change_stage(e));
        if (e->next_tensor < e->plan->n && e->next_row == 0 &&
            e->plan->tensors[e->next_tensor].late) { /* then it begins a window */
            OPT_TRY(opt_calibration_late(e->calibration, e->next_tensor));
        }
        if (e->next_tensor < e->plan->n && e->next_row == 0 && waits(e)) {
            OPT_TRY(opt_calibration_reach(e->calibration, e->next_tensor));
        }
        fill_window(e, w);
        e->current = w;
        OPT_TRY(opt_parallel_for(e->plan->ctx, w->n + TILE_PIECES, run_tile, e));
        if (e->calibration == NULL || e->stage >= 0) {
            opt_progress(e->plan->ctx, step, e->done, e->total);
        }
        if (w->n == 0) {
            break;
        }
        e->previous = w;
    }
done:
    return st;
}

static opt_status engine_alloc(engine *e) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = e->plan->ctx;
    sizes s;
    plan_sizes(e->plan, &s);
    for (int i = 0; i < 2; i++) {
        e->windows[i].bytes = opt_alloc(ctx, s.windows[i]);
        OPT_TRY_PTR(e->windows[i].bytes);
        e->windows[i].capacity = s.windows[i];
    }
    e->sums = opt_alloc_zero(ctx, (size_t)e->plan->n * sizeof *e->sums);
    OPT_TRY_PTR(e->sums);
    const int n_threads = opt_ctx_n_threads(ctx);
    e->scratch = opt_alloc_zero(ctx, (size_t)n_threads * sizeof *e->scratch);
    OPT_TRY_PTR(e->scratch);
    e->n_scratch = n_threads;
    const size_t elems = (size_t)tile_elems(e->plan);
    for (int i = 0; i < n_threads; i++) {
        e->scratch[i].w = opt_alloc_array(ctx, elems, sizeof(float));
        OPT_TRY_PTR(e->scratch[i].w);
        e->scratch[i].back = opt_alloc_array(ctx, elems, sizeof(float));
        OPT_TRY_PTR(e->scratch[i].back);
        e->scratch[i].method = opt_alloc(ctx, s.method);
        OPT_TRY_PTR(e->scratch[i].method);
    }
    for (int64_t i = 0; i < e->plan->n; i++) {
        const opt_plan_tensor *t = &e->plan->tensors[i];
        e->total += counts(e, t) ? (double)t->n_rows * (double)t->n_cols : 0;
    }
done:
    return st;
}

static void engine_free(engine *e) {
    opt_ctx *ctx = e->plan->ctx;
    opt_gguf_discard(e->writer);
    for (int i = 0; i < e->n_scratch; i++) {
        opt_free(ctx, e->scratch[i].w);
        opt_free(ctx, e->scratch[i].back);
        opt_free(ctx, e->scratch[i].method);
    }
    opt_free(ctx, e->scratch);
    opt_free(ctx, e->sums);
    opt_free(ctx, e->windows[0].bytes);
    opt_free(ctx, e->windows[1].bytes);
    opt_free(ctx, e);
}

/** Turns the sums into the figures of the report. */
static void fill_errors(engine *e) {
    for (int64_t i = 0; i < e->plan->n; i++) {
        opt_plan_tensor *t = &e->plan->tensors[i];
        const double n = (double)t->src_rows * (double)t->src_cols;
        t->rmse = n > 0 ? sqrt(e->sums[i].err / n) : 0;
        t->rel_error = e->sums[i].ref > 0 ? e->sums[i].err / e->sums[i].ref : 0;
        if (t->n_calib_tokens > 0) {
            const double ref = e->sums[i].out_ref;
            t->output_error = ref > 0 ? e->sums[i].out_err / ref : 0;
            t->output_error_nearest = ref > 0 ? e->sums[i].out_nearest / ref : 0;
        }
    }
}

opt_status opt_emit_refuse_inputs(opt_ctx *ctx, const opt_source *source, const char *output) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < opt_source_n_files(source); i++) {
        OPT_TRY(opt_refuse_same_file(ctx, output, opt_source_file(source, i)));
    }
done:
    return st;
}

opt_status opt_emit(opt_plan *plan, const opt_emit_options *options) {
    opt_status st = OPT_OK;
    engine *e = opt_alloc_zero(plan->ctx, sizeof *e);
    if (e == NULL) {
        return OPT_ERR_MEMORY;
    }
    e->plan = plan;
    e->options = options;
    e->calibration = options->calibration;
    e->sweeps = options->sweeps;
    e->stage = INT_MIN;
    e->kern = opt_kern_get(plan->ctx);
    OPT_TRY_PTR(e->kern);
    /* New checksums must not vouch for a damaged source. */
    int64_t n_checked = 0;
    OPT_TRY(opt_source_verify(plan->model->source, &n_checked));
    OPT_TRY(engine_alloc(e));
    if (e->calibration != NULL) { /* what is in the way is found before the work */
        OPT_TRY(open_output(e));
        OPT_TRY(opt_calibration_begin(e->calibration, options->output, options->sweeps,
                                      options->fresh));
    }
    OPT_TRY(run_windows(e, options->step));
    if (options->before_commit != NULL) {
        OPT_TRY(options->before_commit(options->user));
    }
    opt_gguf_writer *writer = e->writer;
    e->writer = NULL; /* commit frees it in every case */
    OPT_TRY(opt_gguf_commit(writer));
    if (e->calibration != NULL) {
        opt_calibration_finish(e->calibration);
    }
    fill_errors(e);
done:
    engine_free(e);
    return st;
}
