#include "flow/block.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"
#include "base/rng.h"
#include "exec/reverse.h"
#include "solve/signround.h"

/* Begins of a weight that was not rounded to nearest lie this far inside of its cell. */
#define INSIDE 0.05F
/* Rates of the first step, of the number of steps: over all steps, which slow down to nothing, a
 * weight can go a sixteenth of a grid point, which carries it over the edge of its cell. On the
 * first blocks of a real model twice as far and half as far both lowered the errors less, and five
 * times as far raised them: what the method has chosen is worth keeping. */
#define POSITION_RATE 0.125
#define SCALE_RATE 0.1

/* Share of the gradients of earlier steps that stays: the signs of single windows are mostly noise,
 * and would undo what the method has chosen (Signum, Bernstein et al. 2018). */
#define MOMENTUM 0.9F

enum {
    STEP_ROWS = 16,
    MEASURED = 32 /* windows, or all: measuring costs a third of stepping, and so many tell */
};

/* One tensor of the block. Rows of `round` are in source order, those of `bytes` canonical. */
typedef struct block_tensor {
    int64_t planned; /* index in the plan */
    bool improves;
    opt_signround_tensor round; /* if it improves */
    float *values;              /* [n_rows, n_cols]: those of round, or its own */
    opt_tensor tensor;          /* values, for the model */
    uint8_t *bytes;             /* [n_rows, row_bytes] */
    double *nearest;            /* [n_tiles] */
    int64_t n_tiles;
} block_tensor;

struct opt_block {
    opt_ctx *ctx;
    opt_plan *plan;
    opt_calibration *calibration;
    opt_block_options options;
    const opt_kern *kern;
    opt_stream *targets;   /* what the float model gives behind the stage; borrowed */
    block_tensor *tensors; /* [n] */
    int n;
    int *place; /* [plan->n] into tensors, or -1 */
    int stage;
};

/* ---- what is improved ---- */

bool opt_block_solves(const opt_plan_tensor *t) {
    return t->action == OPT_ACTION_QUANTIZE && opt_calibrates(t) &&
           t->weight->role == OPT_ROLE_LINEAR && t->weight->unit >= 0 &&
           t->weight->unit == t->stage && t->n_rows == t->src_rows && t->n_cols == t->src_cols;
}

static bool improves(const opt_plan_tensor *t) {
    return opt_block_solves(t) && opt_signround_supports(t->format);
}

/* Bytes of what is held for a tensor. */
static uint64_t tensor_bytes(const opt_plan_tensor *t) {
    return (uint64_t)t->n_rows * t->row_bytes +
           (improves(t) ? opt_signround_bytes(t->format, t->n_rows, t->n_cols)
                        : (uint64_t)t->n_rows * (uint64_t)t->n_cols * sizeof(float));
}

opt_status opt_block_new(opt_plan *plan, opt_calibration *calibration,
                         const opt_block_options *options, opt_block **out) {
    opt_status st = OPT_OK;
    opt_block *b = opt_alloc_zero(plan->ctx, sizeof *b);
    OPT_TRY_PTR(b);
    b->ctx = plan->ctx;
    b->plan = plan;
    b->calibration = calibration;
    b->options = *options;
    OPT_TRY_PTR(b->kern = opt_kern_get(b->ctx));
    OPT_TRY_PTR(b->place = opt_alloc_array(b->ctx, (size_t)plan->n, sizeof *b->place));
    for (int64_t i = 0; i < plan->n; i++) {
        b->place[i] = -1;
    }
    *out = b;
    b = NULL;
done:
    opt_block_free(b);
    return st;
}

static void free_values(const opt_block *b, block_tensor *x) {
    if (!x->improves) {
        opt_free(b->ctx, x->values);
    }
    opt_signround_free(b->ctx, &x->round);
    x->values = NULL;
}

static void free_tensors(opt_block *b) {
    for (int i = 0; i < b->n; i++) {
        b->place[b->tensors[i].planned] = -1;
        free_values(b, &b->tensors[i]);
        opt_free(b->ctx, b->tensors[i].bytes);
        opt_free(b->ctx, b->tensors[i].nearest);
    }
    opt_free(b->ctx, b->tensors);
    b->tensors = NULL;
    b->n = 0;
}

void opt_block_free(opt_block *b) {
    if (b != NULL) {
        free_tensors(b);
        opt_free(b->ctx, b->place);
        opt_free(b->ctx, b);
    }
}

static const opt_plan_tensor *planned(const opt_block *b, int i) {
    return &b->plan->tensors[b->tensors[i].planned];
}

static opt_status reserve(opt_block *b, int stage) {
    opt_status st = OPT_OK;
    int n = 0;
    for (int64_t i = 0; i < b->plan->n; i++) {
        n += b->plan->tensors[i].stage == stage && opt_block_solves(&b->plan->tensors[i]);
    }
    OPT_TRY_PTR(b->tensors = opt_alloc_zero(b->ctx, (size_t)n * sizeof *b->tensors));
    for (int64_t i = 0; i < b->plan->n; i++) {
        const opt_plan_tensor *t = &b->plan->tensors[i];
        if (t->stage != stage || !opt_block_solves(t)) {
            continue;
        }
        b->place[i] = b->n;
        block_tensor *x = &b->tensors[b->n++];
        x->planned = i;
        x->n_tiles = opt_ceil_div(t->n_rows, t->tile_rows);
        OPT_TRY_PTR(x->bytes = opt_alloc(b->ctx, (size_t)t->n_rows * t->row_bytes));
        OPT_TRY_PTR(x->nearest = opt_alloc_zero(b->ctx, (size_t)x->n_tiles * sizeof *x->nearest));
        x->improves = improves(t);
        if (x->improves) {
            OPT_TRY(opt_signround_new(b->ctx, t->format, t->n_rows, t->n_cols, &x->round));
            x->values = x->round.values;
        } else {
            OPT_TRY_PTR(x->values = opt_alloc_array(b->ctx, (size_t)(t->n_rows * t->n_cols),
                                                    sizeof *x->values));
        }
        x->tensor = *t->weight->tensor;
        x->tensor.format = &opt_format_f32;
        x->tensor.runs = false;
        x->tensor.bytes = (size_t)(t->n_rows * t->n_cols) * sizeof(float);
        x->tensor.data = (const uint8_t *)x->values;
    }
done:
    return st;
}

/* ---- every tensor on its own ---- */

/* What one worker needs. */
typedef struct solve_scratch {
    float *w, *back; /* [tile_rows, n_cols] */
    uint8_t *params; /* [tile_rows, n_blocks, stride] */
    void *method;
} solve_scratch;

typedef struct solve_job {
    opt_block *b;
    int first;              /* of the tensors that are solved now */
    solve_scratch *scratch; /* [n_workers] */
    bool *bad;              /* [n] tensors that the engine shall report */
} solve_job;

static opt_status solve_tile(void *user, int64_t tile, int worker) {
    opt_status st = OPT_OK;
    const solve_job *job = user;
    const opt_block *b = job->b;
    const solve_scratch *s = &job->scratch[worker];
    int i = job->first;
    for (; tile >= b->tensors[i].n_tiles; i++) {
        tile -= b->tensors[i].n_tiles;
    }
    block_tensor *x = &b->tensors[i];
    opt_signround_tensor *round = &x->round;
    const opt_plan_tensor *t = planned(b, i);
    const opt_hessian *h = opt_calibration_hessian(b->calibration, x->planned);
    const int64_t row0 = tile * t->tile_rows, n = opt_min_i64(t->tile_rows, t->n_rows - row0);
    opt_weight_decode_rows(t->weight, b->kern, row0, n, s->w);
    if (opt_format_find_bad(t->format, s->w, n * t->n_cols) >= 0) {
        job->bad[i] = true; /* every tile that sees it writes the same */
        return OPT_OK;
    }
    const opt_quant_solution solution = {.params_stride = round->params_stride,
                                         .params = s->params};
    const opt_quant_job quant = {.format = t->format,
                                 .kern = b->kern,
                                 .w = s->w,
                                 .importance = h != NULL ? h->diag : NULL,
                                 .hessian = h,
                                 .sweeps = b->options.sweeps,
                                 .nearest = &x->nearest[tile],
                                 .n_rows = n,
                                 .n_cols = t->n_cols,
                                 .row_bytes = t->row_bytes,
                                 .dst = x->bytes + (size_t)row0 * t->row_bytes,
                                 .solution = x->improves ? &solution : NULL};
    x->nearest[tile] = NAN;
    OPT_TRY(t->method->solve(b->ctx, &quant, s->method));
    const size_t row_params = (size_t)round->n_blocks * round->params_stride;
    for (int64_t r = 0; r < n; r++) {
        const int64_t row = opt_weight_source_row(t->weight, row0 + r);
        t->format->decode(t->format, b->kern, quant.dst + (size_t)r * t->row_bytes,
                          x->values + row * t->n_cols, t->n_cols);
        if (x->improves) {
            memcpy(round->params + (size_t)row * row_params, s->params + (size_t)r * row_params,
                   row_params);
            opt_signround_begin(round, row, s->w + r * t->n_cols, INSIDE);
        }
    }
    opt_calibration_keep(b->calibration, x->planned, row0, n, quant.dst); /* for the next step */
done:
    return st;
}

/* Bytes of a worker's scratch for the tensors of a stage. */
typedef struct scratch_sizes {
    size_t w, params, method;
} scratch_sizes;

static scratch_sizes sizes_of(const opt_plan *plan, int stage) {
    scratch_sizes s = {0};
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        if (t->stage != stage || !opt_block_solves(t)) {
            continue;
        }
        const int64_t rows = opt_min_i64(t->tile_rows, t->n_rows);
        const size_t w = (size_t)(rows * t->n_cols) * sizeof(float);
        const size_t params =
            improves(t) ? (size_t)rows * opt_signround_row_params(t->format, t->n_cols) : 0;
        const size_t method = t->method->scratch_bytes != NULL
                                  ? t->method->scratch_bytes(t->format, rows, t->n_cols)
                                  : 0;
        s.w = w > s.w ? w : s.w;
        s.params = params > s.params ? params : s.params;
        s.method = method > s.method ? method : s.method;
    }
    return s;
}

static opt_status make_scratch(const opt_block *b, solve_scratch *s) {
    opt_status st = OPT_OK;
    const scratch_sizes sizes = sizes_of(b->plan, b->stage);
    OPT_TRY_PTR(s->w = opt_alloc(b->ctx, sizes.w));
    OPT_TRY_PTR(s->params = opt_alloc_zero(b->ctx, sizes.params));
    OPT_TRY_PTR(s->method = opt_alloc(b->ctx, sizes.method));
done:
    return st;
}

/* Solves the tensors from job->first on that the text has reached; *next is the first of the rest.
 */
static opt_status solve_reached(solve_job *job, int *next) {
    opt_status st = OPT_OK;
    opt_block *b = job->b;
    int64_t n_tiles = 0;
    int i = job->first;
    OPT_TRY(opt_calibration_reach(b->calibration, b->tensors[i].planned));
    for (; i < b->n && !opt_calibration_pending(b->calibration, b->tensors[i].planned); i++) {
        n_tiles += b->tensors[i].n_tiles;
    }
    OPT_TRY(opt_parallel_for(b->ctx, n_tiles, solve_tile, job));
    *next = i;
done:
    return st;
}

/* Solves all tensors of the stage; *good is false if the engine shall report one. */
static opt_status solve_all(opt_block *b, bool *good) {
    opt_status st = OPT_OK;
    const int n_workers = opt_ctx_n_threads(b->ctx);
    solve_job job = {.b = b};
    OPT_TRY_PTR(job.scratch = opt_alloc_zero(b->ctx, (size_t)n_workers * sizeof *job.scratch));
    OPT_TRY_PTR(job.bad = opt_alloc_zero(b->ctx, (size_t)b->n * sizeof *job.bad));
    for (int i = 0; i < n_workers; i++) {
        OPT_TRY(make_scratch(b, &job.scratch[i]));
    }
    *good = true;
    for (int i = 0; i < b->n && *good; job.first = i) {
        const int first = i;
        OPT_TRY(solve_reached(&job, &i));
        for (int k = first; k < i; k++) {
            *good = *good && !job.bad[k];
        }
    }
done:
    for (int i = 0; job.scratch != NULL && i < n_workers; i++) {
        opt_free(b->ctx, job.scratch[i].w);
        opt_free(b->ctx, job.scratch[i].params);
        opt_free(b->ctx, job.scratch[i].method);
    }
    opt_free(b->ctx, job.scratch);
    opt_free(b->ctx, job.bad);
    return st;
}

/* ---- all together ---- */

/* The block as a model of its own, whose matrices are the values of the tensors. */
typedef struct improver {
    opt_block *b;
    opt_model *cut;
    opt_session *session;
    opt_feed feed;
    const opt_tensor **replaced; /* [n_weights] */
    float **grads;               /* [n_weights] */
    bool *trains;                /* [n_weights] */
    int64_t n_ctx, n_windows, width;
    const float *target; /* [n_ctx, width]: of the window that runs */
    double error;        /* sum of losses */
    opt_signround_rates rates;
} improver;

static void improver_close(improver *p) {
    opt_session_free(p->session);
    opt_model_free(p->cut);
    opt_free(p->b->ctx, (void *)p->replaced);
    opt_free(p->b->ctx, p->grads);
    opt_free(p->b->ctx, p->trains);
}

static opt_status improver_open(opt_block *b, improver *p) {
    opt_status st = OPT_OK;
    const opt_model *m = b->plan->model;
    const opt_corpus *corpus = opt_calibration_corpus(b->calibration);
    const size_t n = (size_t)m->n_weights;
    *p = (improver){.b = b, .n_ctx = corpus->n_ctx, .n_windows = corpus->n_windows};
    OPT_TRY_PTR(p->replaced = opt_alloc_zero(b->ctx, n * sizeof *p->replaced));
    OPT_TRY_PTR(p->grads = opt_alloc_zero(b->ctx, n * sizeof *p->grads));
    OPT_TRY_PTR(p->trains = opt_alloc_zero(b->ctx, n * sizeof *p->trains));
    for (int i = 0; i < b->n; i++) {
        const ptrdiff_t w = planned(b, i)->weight - m->weights;
        p->replaced[w] = &b->tensors[i].tensor;
        p->grads[w] = b->tensors[i].round.grads;
        p->trains[w] = b->tensors[i].improves;
    }
    const opt_reverse_options reverse = {.weights = p->trains};
    const opt_session_options options = {.compute = OPT_COMPUTE_I16,
                                         .n_ctx = p->n_ctx,
                                         .n_batch = p->n_ctx,
                                         .n_logits = p->n_ctx,
                                         .reverse = &reverse};
    OPT_TRY(opt_model_cut(b->ctx, m, b->stage, -1, p->replaced, &p->feed, &p->cut));
    p->width = p->cut->nodes[p->cut->logits].width;
    OPT_TRY(opt_session_new(b->ctx, p->cut, &options, &p->session));
done:
    return st;
}

/*
 * The loss of a token: the square error of its output over the mean square of its target. What
 * reads the output norms it first, so an error counts by its share; without this the few tokens
 * with huge activations would decide alone.
 */
static float token_weight(const float *target, int64_t width) {
    double lanes[8] = {0}, sum = 0.0;
    for (int64_t i = 0; i < width; i++) {
        lanes[i % 8] += (double)target[i] * (double)target[i];
    }
    for (int k = 0; k < 8; k++) {
        sum += lanes[k];
    }
    return sum > 0.0 ? (float)((double)width / sum) : 0.0F;
}

/* Writes the gradient of the loss, of half of it to be exact, unless grad is NULL. */
static opt_status add_loss(void *user, int64_t row0, int64_t n_rows, const float *out,
                           float *grad) {
    improver *p = user;
    for (int64_t r = 0; r < n_rows; r++) {
        const float *target = p->target + (row0 + r) * p->width, *y = out + r * p->width;
        const float weight = token_weight(target, p->width);
        double sum = 0.0;
        for (int64_t i = 0; i < p->width; i++) {
            const float d = y[i] - target[i];
            sum += (double)(d * d);
            if (grad != NULL) {
                grad[r * p->width + i] = weight * d;
            }
        }
        p->error += (double)weight * sum;
    }
    return OPT_OK;
}

static opt_status add_loss_only(void *user, int64_t row0, int64_t n_rows, const float *out) {
    return add_loss(user, row0, n_rows, out, NULL);
}

static opt_status set_window(improver *p, int64_t w, const int32_t **tokens) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_stream_window(opt_calibration_stream(p->b->calibration), w, &p->feed.rows));
    OPT_TRY(opt_stream_window(p->b->targets, w, &p->target));
    *tokens = opt_calibration_corpus(p->b->calibration)->tokens + w * p->n_ctx;
done:
    return st;
}

/* Mean loss over windows spread over all of them: the square error of the block's outputs as a
 * share of theirs. */
static opt_status measure(improver *p, double *error) {
    opt_status st = OPT_OK;
    p->error = 0.0;
    const int64_t n = opt_min_i64(p->n_windows, MEASURED);
    for (int64_t k = 0; k < n; k++) {
        const int32_t *tokens = NULL;
        OPT_TRY(set_window(p, k * p->n_windows / n, &tokens));
        opt_session_truncate(p->session, 0);
        OPT_TRY(opt_session_eval(p->session, tokens, p->n_ctx, 0, add_loss_only, p));
    }
    *error = p->error / ((double)n * (double)p->n_ctx * (double)p->width);
done:
    return st;
}

static int64_t row_tiles(const opt_block *b) {
    int64_t n = 0;
    for (int i = 0; i < b->n; i++) {
        n += opt_ceil_div(b->tensors[i].round.n_rows, STEP_ROWS);
    }
    return n;
}

/* The tensor of a tile of rows, and the first of them. */
static block_tensor *find_rows(const opt_block *b, int64_t tile, int64_t *row0, int64_t *n) {
    int i = 0;
    for (;; i++) {
        const int64_t n_tiles = opt_ceil_div(b->tensors[i].round.n_rows, STEP_ROWS);
        if (tile < n_tiles) {
            break;
        }
        tile -= n_tiles;
    }
    *row0 = tile * STEP_ROWS;
    *n = opt_min_i64(STEP_ROWS, b->tensors[i].round.n_rows - *row0);
    return &b->tensors[i];
}

static opt_status step_tile(void *user, int64_t tile, int worker) {
    const improver *p = user;
    int64_t row0, n;
    opt_signround_tensor *round = &find_rows(p->b, tile, &row0, &n)->round;
    (void)worker;
    opt_signround_step(round, row0, n, p->rates);
    float *grads = round->grads + row0 * round->n_cols;
    for (int64_t i = 0; i < n * round->n_cols; i++) {
        grads[i] *= MOMENTUM;
    }
    return OPT_OK;
}

static opt_status finish_tile(void *user, int64_t tile, int worker) {
    const improver *p = user;
    int64_t row0, n;
    opt_signround_tensor *round = &find_rows(p->b, tile, &row0, &n)->round;
    (void)worker;
    for (int64_t r = row0; r < row0 + n; r++) {
        opt_signround_finish(round, r);
    }
    return OPT_OK;
}

/* Canonical rows of a tile of them. */
static opt_status emit_tile(void *user, int64_t tile, int worker) {
    const improver *p = user;
    int64_t row0, n;
    block_tensor *x = find_rows(p->b, tile, &row0, &n);
    const opt_plan_tensor *t = &p->b->plan->tensors[x->planned];
    (void)worker;
    for (int64_t r = row0; r < row0 + n; r++) {
        opt_signround_emit(&x->round, opt_weight_source_row(t->weight, r),
                           x->bytes + (size_t)r * t->row_bytes);
    }
    return OPT_OK;
}

/* Window `j` of the sequence that the steps take: every window once before any comes again. */
static int64_t next_window(const improver *p, int64_t j) {
    const int64_t n = p->n_windows, round = j / n;
    const uint64_t key = opt_rng_key(p->b->options.seed + (uint64_t)round, p->b->plan->model->name,
                                     "windows of steps");
    /* An odd stride from a random start visits all of 2^k windows; skip those beyond n. */
    uint64_t size = 1;
    while (size < (uint64_t)n) {
        size *= 2;
    }
    const uint64_t start = opt_rng_u64(key, 0), stride = 2 * opt_rng_u64(key, 1) + 1;
    int64_t seen = -1;
    uint64_t at = 0;
    for (uint64_t k = 0; seen < j % n; k++) {
        at = (start + k * stride) % size;
        seen += at < (uint64_t)n;
    }
    return (int64_t)at;
}

static opt_status run_steps(improver *p) {
    opt_status st = OPT_OK;
    const opt_block *b = p->b;
    const opt_gradients gradients = {.weights = p->grads};
    const int n_steps = b->options.n_steps;
    for (int step = 0; step < n_steps; step++) {
        const double rate = (1.0 - (double)step / n_steps) / n_steps;
        for (int64_t k = 0; k < b->options.n_batch; k++) {
            const int32_t *tokens = NULL;
            OPT_TRY(set_window(p, next_window(p, step * b->options.n_batch + k), &tokens));
            OPT_TRY(opt_session_reverse(p->session, tokens, p->n_ctx, add_loss, p, &gradients));
        }
        p->rates = (opt_signround_rates){.position = (float)(POSITION_RATE * rate),
                                         .scale = (float)(SCALE_RATE * rate)};
        OPT_TRY(opt_parallel_for(b->ctx, row_tiles(b), step_tile, p));
    }
    OPT_TRY(opt_parallel_for(b->ctx, row_tiles(b), finish_tile, p));
done:
    return st;
}

static opt_status improve(opt_block *b) {
    opt_status st = OPT_OK;
    improver p;
    double before = 0.0, after = 0.0;
    OPT_TRY(improver_open(b, &p));
    OPT_TRY(measure(&p, &before));
    OPT_TRY(run_steps(&p));
    OPT_TRY(measure(&p, &after));
    opt_log(b->ctx, OPT_LOG_INFO,
            "block %d: error of its outputs %.4g of their mean square, now %.4g%s", b->stage,
            before, after, after < before ? "" : ": left as it was");
    if (after < before) {
        OPT_TRY(opt_parallel_for(b->ctx, row_tiles(b), emit_tile, &p));
    }
    for (int i = 0; i < b->n; i++) {
        opt_plan_tensor *t = &b->plan->tensors[b->tensors[i].planned];
        t->block_error_before = before;
        t->block_error = after < before ? after : before;
    }
done:
    improver_close(&p);
    return st;
}

opt_status opt_block_enter(opt_block *b, int stage) {
    opt_status st = OPT_OK;
    bool good = false;
    free_tensors(b);
    b->stage = stage;
    if (stage >= b->plan->model->n_units) {
        return OPT_OK;
    }
    if (stage >= 0 && !opt_calibration_restored(b->calibration)) {
        OPT_TRY(reserve(b, stage));
    }
    if (b->n > 0) {
        OPT_TRY(solve_all(b, &good));
    }
    OPT_TRY(opt_calibration_targets(b->calibration, &b->targets));
    if (good && row_tiles(b) > 0) {
        OPT_TRY(improve(b));
    } else if (!good) {
        free_tensors(b);
    }
    for (int i = 0; i < b->n; i++) { /* only the bytes are needed from here on */
        free_values(b, &b->tensors[i]);
    }
done:
    return st;
}

bool opt_block_take(const opt_block *b, int64_t i, int64_t row0, int64_t n_rows, uint8_t *dst,
                    double *nearest) {
    if (b->place[i] < 0) {
        return false;
    }
    const block_tensor *x = &b->tensors[b->place[i]];
    const opt_plan_tensor *t = &b->plan->tensors[i];
    memcpy(dst, x->bytes + (size_t)row0 * t->row_bytes, (size_t)n_rows * t->row_bytes);
    *nearest = x->nearest[row0 / t->tile_rows];
    return true;
}

/* What a session of a unit takes that runs in reverse. */
static opt_status session_bytes(const opt_plan *plan, int unit, int64_t n_ctx, uint64_t *out) {
    opt_status st = OPT_OK;
    opt_model *cut = NULL;
    opt_session *session = NULL;
    opt_feed feed = {NULL};
    bool *trains = opt_alloc_zero(plan->ctx, (size_t)plan->model->n_weights * sizeof *trains);
    const uint64_t before = opt_ctx_memory(plan->ctx);
    OPT_TRY_PTR(trains);
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        trains[t->weight - plan->model->weights] = t->stage == unit && improves(t);
    }
    const opt_reverse_options reverse = {.weights = trains};
    const opt_session_options options = {.compute = OPT_COMPUTE_I16,
                                         .n_ctx = n_ctx,
                                         .n_batch = n_ctx,
                                         .n_logits = n_ctx,
                                         .reverse = &reverse};
    OPT_TRY(opt_model_cut(plan->ctx, plan->model, unit, -1, NULL, &feed, &cut));
    OPT_TRY(opt_session_new(plan->ctx, cut, &options, &session));
    *out = opt_ctx_memory(plan->ctx) - before;
done:
    opt_session_free(session);
    opt_model_free(cut);
    opt_free(plan->ctx, trains);
    return st;
}

opt_status opt_block_bytes(const opt_plan *plan, const opt_calibration_options *options,
                           uint64_t *out) {
    opt_status st = OPT_OK;
    const opt_model *m = plan->model;
    uint64_t most = 0, session = 0, solving = 0;
    for (int unit = 0; unit < m->n_units; unit++) {
        uint64_t sum = 0;
        for (int64_t i = 0; i < plan->n; i++) {
            const opt_plan_tensor *t = &plan->tensors[i];
            sum += t->stage == unit && opt_block_solves(t) ? tensor_bytes(t) : 0;
        }
        if (sum > most) { /* blocks are alike: the first of the largest will do */
            most = sum;
            OPT_TRY(session_bytes(plan, unit, options->text.n_ctx, &session));
            const scratch_sizes s = sizes_of(plan, unit);
            solving = (uint64_t)opt_ctx_n_threads(plan->ctx) * (s.w + s.params + s.method);
        }
    }
    *out = most + (session > solving ? session : solving);
done:
    return st;
}
