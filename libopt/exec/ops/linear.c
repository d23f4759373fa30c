#include <stdatomic.h>
#include <string.h>

#include "base/attr.h"
#include "base/num.h"
#include "exec/exec.h"
#include "kern/act.h"
#include "kern/interleave.h"

enum {
    MIN_ROWS = 32,  /* of a tile */
    MAX_TILES = 64, /* of one node, when few tokens run */
    MAX_SEATS = 64, /* threads with tiles of their own */
    PREFILL_ROWS = 64,
    PREFILL_TOKENS = 128, /* of a tile; more would not fit in the second-level cache beside the
                             weights */
    FEW_TOKENS = 8,
    DIRECT_TOKENS = 4,         /* decoding inside the product pays off up to here */
    SCRATCH_BYTES = 256 << 10, /* weights decoded at once */
    WIDE_ROWS = 48,            /* of a tile: what one product packs */
    REVERSE_TOKENS = 64,       /* of a tile, and of one product of the gradient of weights */
    REVERSE_ROWS = 64
};

/* How a weight is multiplied. */
typedef enum linear_mode {
    MODE_I8,    /* stored blocks times int8 activations */
    MODE_I16,   /* rows and activations as 16-bit block integers */
    MODE_BF16,  /* rows and activations in bf16 */
    MODE_F32,   /* stored rows are f32 already */
    MODE_DECODE /* rows are decoded to f32 tile by tile */
} linear_mode;

typedef struct linear_state {
    linear_mode mode;
    const opt_tensor *w; /* [n_out, n_in] */
    size_t row_bytes;
    const float *bias; /* [n_out] or NULL */
    opt_kspec spec;
    opt_kern_linear_i8_fn *linear_i8;         /* or NULL */
    opt_kern_linear_direct_fn *linear_direct; /* or NULL */
    int64_t n_out, n_in;
    int64_t decode_rows; /* MODE_DECODE: rows that fit in the scratch */
} linear_state;

/* 16 bits on both sides. */
static bool is_wide(linear_mode mode) { return mode == MODE_I16 || mode == MODE_BF16; }

static int64_t i16_padded(const linear_state *l) {
    return opt_ceil_div(l->n_in, OPT_I16_GROUP) * OPT_I16_GROUP;
}

/* Of a row of n elements with its scales. */
static size_t i16_bytes(int64_t n) {
    return (size_t)n * sizeof(int16_t) + (size_t)(n / OPT_I16_GROUP) * sizeof(float);
}

static linear_mode choose_mode(const opt_session *s, linear_state *l) {
    const opt_format *f = l->w->format;
    const opt_kern *kern = opt_exec_kern(s);
    l->spec = opt_format_kspec(f);
    l->linear_i8 = l->w->runs ? kern->linear_run[f->kfmt] : kern->linear_i8[f->kfmt];
    l->linear_direct = l->w->runs ? NULL : kern->linear_direct[f->kfmt];
    if (!opt_exec_is_exact(s) && l->linear_i8 != NULL) {
        return MODE_I8;
    }
    if (opt_exec_is_i16(s)) {
        return MODE_I16;
    }
    if (opt_exec_is_bf16(s)) {
        return MODE_BF16;
    }
    /* Mapped files may place floats at any byte. */
    const bool aligned = (uintptr_t)l->w->data % sizeof(float) == 0;
    return f->kfmt == OPT_KFMT_F32 && aligned ? MODE_F32 : MODE_DECODE;
}

static opt_status prepare(opt_session *s, opt_exec_node *x) {
    linear_state *l = opt_exec_alloc(s, 1, sizeof *l);
    if (l == NULL) {
        return OPT_ERR_MEMORY;
    }
    x->state = l;
    l->w = opt_node_weight(opt_exec_model(s), x->node, 0)->tensor;
    l->n_out = x->node->width;
    l->n_in = x->in_width[0];
    l->row_bytes = l->w->bytes / (size_t)l->n_out;
    l->mode = choose_mode(s, l);
    if (l->mode == MODE_I8) {
        opt_exec_need_act(s, l->n_in);
    } else if (is_wide(l->mode)) {
        const int64_t n = i16_padded(l);
        l->decode_rows = WIDE_ROWS;
        opt_exec_need_act(s, l->n_in);
        opt_exec_need_scratch(s,
                              (size_t)WIDE_ROWS * ((size_t)l->n_in * sizeof(float) + i16_bytes(n)));
    } else if (l->mode == MODE_DECODE) {
        const int64_t fit = SCRATCH_BYTES / ((int64_t)sizeof(float) * l->n_in);
        l->decode_rows = opt_max_i64(8, fit / 8 * 8);
        l->decode_rows = opt_min_i64(l->decode_rows, PREFILL_ROWS);
        opt_exec_need_scratch(s, (size_t)(l->decode_rows * l->n_in) * sizeof(float));
    }
    opt_exec_count_linear(s, l->mode == MODE_I8);
    return opt_exec_vector(s, x, 1, &l->bias);
}

/* Matrices that read the same rows: q, k, v or gate, up. */
static bool joins(const opt_exec_node *first, const opt_exec_node *next) {
    const linear_state *a = first->state, *b = next->state;
    return first->node->in[0] == next->node->in[0] && (a->mode == MODE_I8) == (b->mode == MODE_I8);
}

/* The tiles of one node: rows x tokens. The cut changes no result, see kern.h. */
typedef struct tile_grid {
    int64_t n_rows, n_tokens; /* of a tile */
    int64_t n_row_tiles, n_token_tiles;
} tile_grid;

/* Tiles next .. end - 1, which one thread takes in order, and others when they have nothing left.
 */
typedef struct linear_seat {
    OPT_ALIGNED(64) _Atomic int64_t next;
    int64_t end;
} linear_seat;

typedef struct linear_job {
    const opt_session *s;
    const opt_exec_node *x; /* [n] */
    int n;
    const opt_run *run;
    opt_act_i8 act; /* MODE_I8 */
    opt_i16 rows;   /* MODE_I16: the tokens */
    opt_bf16 bf16;  /* MODE_BF16 */
    tile_grid grid[OPT_STEP_MAX_NODES];
    int n_seats;
    linear_seat *seats; /* [n_seats] */
} linear_job;

static tile_grid make_grid(const linear_state *l, int64_t n_tokens) {
    tile_grid g = {.n_rows = PREFILL_ROWS, .n_tokens = PREFILL_TOKENS};
    if (n_tokens <= FEW_TOKENS) {
        g.n_rows = opt_ceil_div(opt_ceil_div(l->n_out, MAX_TILES), MIN_ROWS) * MIN_ROWS;
    }
    if (is_wide(l->mode)) {
        g.n_rows = WIDE_ROWS;
    }
    if (l->mode == MODE_DECODE || is_wide(l->mode)) { /* every row is decoded once for all tokens */
        g.n_tokens = n_tokens;
    }
    g.n_row_tiles = opt_ceil_div(l->n_out, g.n_rows);
    g.n_token_tiles = opt_ceil_div(n_tokens, g.n_tokens);
    return g;
}

static void add_bias(const linear_state *l, float *y, int64_t row0, int64_t n_rows,
                     int64_t n_tokens) {
    for (int64_t t = 0; l->bias != NULL && t < n_tokens; t++) {
        for (int64_t r = 0; r < n_rows; r++) {
            y[t * l->n_out + r] += l->bias[row0 + r];
        }
    }
}

static void multiply_decoded(const linear_job *job, const linear_state *l, const float *in,
                             float *y, int64_t row0, int64_t n_rows, int64_t n_tokens, int worker) {
    const opt_kern *kern = opt_exec_kern(job->s);
    float *rows = opt_exec_scratch(job->s, worker);
    for (int64_t r = 0; r < n_rows; r += l->decode_rows) {
        const int64_t n = opt_min_i64(l->decode_rows, n_rows - r);
        opt_tensor_decode_rows(l->w, kern, row0 + r, n, rows);
        kern->linear_f32(rows, l->n_in, in, l->n_in, y + r, l->n_out, n, n_tokens, l->n_in);
    }
}

/* At most WIDE_ROWS rows, decoded and rounded in the scratch. */
static void multiply_bf16(const linear_job *job, const linear_state *l, float *y, int64_t row0,
                          int64_t n_rows, int64_t n_tokens, int worker) {
    const opt_kern *kern = opt_exec_kern(job->s);
    const int64_t n = i16_padded(l);
    float *rows = opt_exec_scratch(job->s, worker);
    int32_t *pairs = (int32_t *)(void *)(rows + WIDE_ROWS * l->n_in);
    opt_tensor_decode_rows(l->w, kern, row0, n_rows, rows);
    for (int64_t r = 0; r < n_rows; r++) {
        opt_exec_to_bf16(kern, rows + r * l->n_in, l->n_in, n, pairs + r * (n / 2));
    }
    const opt_bf16 w = {pairs, n / 2, 1};
    kern->gemm_bf16(&job->bf16, &w, y, l->n_out, n_tokens, n_rows, n);
}

/* At most WIDE_ROWS rows, decoded and quantized in the scratch. */
static void multiply_i16(const linear_job *job, const linear_state *l, float *y, int64_t row0,
                         int64_t n_rows, int64_t n_tokens, int worker) {
    const opt_kern *kern = opt_exec_kern(job->s);
    const int64_t n = i16_padded(l), n_groups = n / OPT_I16_GROUP;
    float *rows = opt_exec_scratch(job->s, worker);
    float *scale = rows + WIDE_ROWS * l->n_in;
    int32_t *pairs = (int32_t *)(void *)(scale + WIDE_ROWS * n_groups);
    opt_tensor_decode_rows(l->w, kern, row0, n_rows, rows);
    for (int64_t r = 0; r < n_rows; r++) {
        kern->quantize_i16(rows + r * l->n_in, l->n_in, n, pairs + r * (n / 2),
                           scale + r * n_groups);
    }
    const opt_i16 w = {pairs, n / 2, 1, scale, n_groups, 1};
    kern->gemm_i16(&job->rows, &w, y, l->n_out, n_tokens, n_rows, n);
}

static opt_status linear_tile(void *user, int64_t tile, int worker) {
    const linear_job *job = user;
    const opt_kern *kern = opt_exec_kern(job->s);
    int i = 0;
    while (tile >= job->grid[i].n_row_tiles * job->grid[i].n_token_tiles) {
        tile -= job->grid[i].n_row_tiles * job->grid[i].n_token_tiles;
        i++;
    }
    const tile_grid *g = &job->grid[i];
    const opt_exec_node *x = &job->x[i];
    const linear_state *l = x->state;
    const int64_t row0 = tile / g->n_token_tiles * g->n_rows,
                  t0 = tile % g->n_token_tiles * g->n_tokens;
    const int64_t n_rows = opt_min_i64(g->n_rows, l->n_out - row0);
    const int64_t n_tokens = opt_min_i64(g->n_tokens, job->run->n_tokens - t0);
    const float *in = opt_exec_in(x, 0, job->run) + t0 * l->n_in;
    const uint8_t *w = l->w->data + (size_t)row0 * l->row_bytes;
    float *y = x->out + t0 * l->n_out + row0;
    if (l->mode == MODE_I8) {
        const opt_act_i8 act = opt_act_from(&job->act, t0);
        l->linear_i8(&l->spec, w, l->row_bytes, &act, y, l->n_out, n_rows, n_tokens, l->n_in);
    } else if (l->mode == MODE_I16) {
        multiply_i16(job, l, y, row0, n_rows, n_tokens, worker);
    } else if (l->mode == MODE_BF16) {
        multiply_bf16(job, l, y, row0, n_rows, n_tokens, worker);
    } else if (l->mode == MODE_F32) {
        kern->linear_f32((const float *)(const void *)w, l->n_in, in, l->n_in, y, l->n_out, n_rows,
                         n_tokens, l->n_in);
    } else if (l->linear_direct != NULL && n_tokens <= DIRECT_TOKENS) {
        l->linear_direct(&l->spec, w, l->row_bytes, in, l->n_in, y, l->n_out, n_rows, n_tokens,
                         l->n_in);
    } else {
        multiply_decoded(job, l, in, y, row0, n_rows, n_tokens, worker);
    }
    add_bias(l, y, row0, n_rows, n_tokens);
    return OPT_OK;
}

/* A thread's own tiles, then those of the others. */
static opt_status seat_tile(void *user, int64_t own, int worker) {
    const linear_job *job = user;
    for (int i = 0; i < job->n_seats; i++) {
        linear_seat *seat = &job->seats[(own + i) % job->n_seats];
        for (;;) {
            const int64_t tile = atomic_fetch_add_explicit(&seat->next, 1, memory_order_relaxed);
            if (tile >= seat->end) {
                break;
            }
            const opt_status st = linear_tile(user, tile, worker);
            if (st != OPT_OK) {
                return st;
            }
        }
    }
    return OPT_OK;
}

/*
 * Few tokens: the time is that of reading the weights, which is fastest where every thread reads on
 * from where it has been, as it has asked for what lies ahead.
 */
static opt_status run_in_order(opt_session *s, linear_job *job, int64_t n_tiles) {
    linear_seat seats[MAX_SEATS];
    job->seats = seats;
    job->n_seats =
        (int)opt_min_i64(opt_min_i64(opt_ctx_n_threads(opt_exec_ctx(s)), MAX_SEATS), n_tiles);
    for (int i = 0; i < job->n_seats; i++) {
        atomic_init(&seats[i].next, n_tiles * i / job->n_seats);
        seats[i].end = n_tiles * (i + 1) / job->n_seats;
    }
    return opt_exec_for(s, job->n_seats, seat_tile, job);
}

static opt_status forward(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    linear_job job = {.s = s, .x = x, .n = n, .run = run};
    int64_t n_tiles = 0;
    const linear_mode mode = ((const linear_state *)x->state)->mode;
    if (mode == MODE_I8 || is_wide(mode)) {
        const opt_status st = mode == MODE_I8    ? opt_exec_quantized(s, x, run, &job.act)
                              : mode == MODE_I16 ? opt_exec_quantized_i16(s, x, run, &job.rows)
                                                 : opt_exec_quantized_bf16(s, x, run, &job.bf16);
        if (st != OPT_OK) {
            return st;
        }
    }
    for (int i = 0; i < n; i++) {
        job.grid[i] = make_grid(x[i].state, run->n_tokens);
        n_tiles += job.grid[i].n_row_tiles * job.grid[i].n_token_tiles;
    }
    return run->n_tokens <= FEW_TOKENS ? run_in_order(s, &job, n_tiles)
                                       : opt_exec_for(s, n_tiles, linear_tile, &job);
}

/* Rows of weights as f32: where they lie, or decoded to the scratch. */
static const float *float_rows(const linear_job *job, const linear_state *l, int64_t row0,
                               int64_t n, int worker) {
    if (l->mode == MODE_F32) {
        return (const float *)(const void *)(l->w->data + (size_t)row0 * l->row_bytes);
    }
    float *rows = opt_exec_scratch(job->s, worker);
    opt_tensor_decode_rows(l->w, opt_exec_kern(job->s), row0, n, rows);
    return rows;
}

/* dx = dy w for some tokens: rows of w in order, some at a time. */
static opt_status input_tile(void *user, int64_t tile, int worker) {
    const linear_job *job = user;
    const opt_exec_node *x = job->x;
    const linear_state *l = x->state;
    const int64_t t0 = tile * REVERSE_TOKENS;
    const int64_t n_tokens = opt_min_i64(REVERSE_TOKENS, job->run->n_tokens - t0);
    const int64_t step = l->mode == MODE_F32 ? REVERSE_ROWS : l->decode_rows;
    float *dx = opt_exec_grad_in(x, 0, job->run) + t0 * l->n_in;
    for (int64_t r = 0; r < l->n_out; r += step) {
        const int64_t n = opt_min_i64(step, l->n_out - r);
        opt_exec_kern(job->s)->gemm_add_f32(x->grad_out + t0 * l->n_out + r, l->n_out, 1,
                                            float_rows(job, l, r, n, worker), l->n_in, dx, l->n_in,
                                            n_tokens, l->n_in, n);
    }
    return OPT_OK;
}

/* dw = dy^T x and db = sum of dy for some rows of weights: tokens in order, some at a time. */
static opt_status weight_tile(void *user, int64_t tile, int worker) {
    const linear_job *job = user;
    const opt_exec_node *x = job->x;
    const linear_state *l = x->state;
    const float *in = opt_exec_in(x, 0, job->run);
    (void)worker;
    const int64_t r0 = tile * REVERSE_ROWS;
    const int64_t n_rows = opt_min_i64(REVERSE_ROWS, l->n_out - r0);
    for (int64_t t = 0; x->grad_w[0] != NULL && t < job->run->n_tokens; t += REVERSE_TOKENS) {
        const int64_t n = opt_min_i64(REVERSE_TOKENS, job->run->n_tokens - t);
        opt_exec_kern(job->s)->gemm_add_f32(x->grad_out + t * l->n_out + r0, 1, l->n_out,
                                            in + t * l->n_in, l->n_in, x->grad_w[0] + r0 * l->n_in,
                                            l->n_in, n_rows, l->n_in, n);
    }
    for (int64_t t = 0; x->grad_w[1] != NULL && t < job->run->n_tokens; t++) {
        opt_exec_kern(job->s)->add(x->grad_w[1] + r0, x->grad_out + t * l->n_out + r0, n_rows);
    }
    return OPT_OK;
}

static opt_status reverse(opt_session *s, opt_exec_node *x, const opt_run *run) {
    linear_job job = {.s = s, .x = x, .n = 1, .run = run};
    opt_status st = OPT_OK;
    if (x->grad_in[0] != NULL) {
        st = opt_exec_for(s, opt_ceil_div(run->n_tokens, REVERSE_TOKENS), input_tile, &job);
    }
    if (st == OPT_OK && (x->grad_w[0] != NULL || x->grad_w[1] != NULL)) {
        st = opt_exec_for(s, opt_ceil_div(x->node->width, REVERSE_ROWS), weight_tile, &job);
    }
    return st;
}

extern const opt_exec_op opt_exec_linear;
const opt_exec_op opt_exec_linear = {.op = &opt_op_linear,
                                     .joins = joins,
                                     .prepare = prepare,
                                     .forward = forward,
                                     .reverse = reverse};
