#include "solve/signround.h"

#include <math.h>
#include <string.h>

#include "base/num.h"

enum { MAX_LEVELS = 1 << OPT_SIGNROUND_MAX_BITS, MAX_BLOCK = 256, STEP_LANES = 8 };

bool opt_signround_supports(const opt_format *f) {
    return f->grid != NULL && f->grid->dim == 1 && f->bits >= 1 &&
           f->bits <= OPT_SIGNROUND_MAX_BITS && f->block_elems <= MAX_BLOCK;
}

static size_t params_stride(const opt_format *f) {
    return (f->grid->params_bytes + 15) & ~(size_t)15;
}

size_t opt_signround_row_params(const opt_format *f, int64_t n_cols) {
    return (size_t)opt_ceil_div(n_cols, f->block_elems) * params_stride(f);
}

/* Bytes of the arrays in the order of the struct; the plan has checked that rows fit in memory. */
static void array_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols, size_t bytes[9]) {
    const size_t elems = (size_t)n_rows * (size_t)n_cols;
    const size_t blocks = (size_t)n_rows * (size_t)opt_ceil_div(n_cols, f->block_elems);
    const size_t parts = (size_t)n_rows * (size_t)opt_ceil_div(n_cols, opt_format_part_elems(f));
    const size_t sizes[9] = {
        blocks * params_stride(f), /* params */
        elems,                     /* codes */
        elems * sizeof(float),     /* values */
        elems * sizeof(float),     /* grads */
        elems * sizeof(float),     /* position */
        parts * ((size_t)1 << f->bits) * sizeof(float),
        parts, /* n_levels */
        parts * sizeof(float),
        parts * sizeof(float),
    };
    memcpy(bytes, sizes, sizeof sizes);
}

uint64_t opt_signround_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    size_t bytes[9];
    uint64_t sum = 0;
    array_bytes(f, n_rows, n_cols, bytes);
    for (int i = 0; i < 9; i++) {
        sum += bytes[i];
    }
    return sum;
}

opt_status opt_signround_new(opt_ctx *ctx, const opt_format *f, int64_t n_rows, int64_t n_cols,
                             opt_signround_tensor *out) {
    opt_status st = OPT_OK;
    size_t bytes[9];
    array_bytes(f, n_rows, n_cols, bytes);
    opt_signround_tensor t = {
        .format = f,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_blocks = opt_ceil_div(n_cols, f->block_elems),
        .part_elems = opt_format_part_elems(f),
        .max_levels = 1 << f->bits,
        .params_stride = params_stride(f),
    };
    t.n_parts = opt_ceil_div(n_cols, t.part_elems);
    OPT_TRY_PTR(t.params = opt_alloc(ctx, bytes[0]));
    OPT_TRY_PTR(t.codes = opt_alloc(ctx, bytes[1]));
    OPT_TRY_PTR(t.values = opt_alloc(ctx, bytes[2]));
    OPT_TRY_PTR(t.grads = opt_alloc_zero(ctx, bytes[3]));
    OPT_TRY_PTR(t.position = opt_alloc(ctx, bytes[4]));
    OPT_TRY_PTR(t.levels = opt_alloc(ctx, bytes[5]));
    OPT_TRY_PTR(t.n_levels = opt_alloc(ctx, bytes[6]));
    OPT_TRY_PTR(t.scale = opt_alloc(ctx, bytes[7]));
    OPT_TRY_PTR(t.shift = opt_alloc(ctx, bytes[8]));
    *out = t;
    t = (opt_signround_tensor){0};
done:
    opt_signround_free(ctx, &t);
    return st;
}

void opt_signround_free(opt_ctx *ctx, opt_signround_tensor *t) {
    opt_free(ctx, t->params);
    opt_free(ctx, t->codes);
    opt_free(ctx, t->values);
    opt_free(ctx, t->grads);
    opt_free(ctx, t->position);
    opt_free(ctx, t->levels);
    opt_free(ctx, t->n_levels);
    opt_free(ctx, t->scale);
    opt_free(ctx, t->shift);
    *t = (opt_signround_tensor){0};
}

static uint8_t *params_of(const opt_signround_tensor *t, int64_t row, int64_t block) {
    return t->params + (size_t)(row * t->n_blocks + block) * t->params_stride;
}

/* A row's elements first .. first + n - 1 share a grid. */
typedef struct part {
    int64_t index; /* [n_rows, n_parts] */
    int64_t first, n;
    int64_t block, in_block; /* which, and where its elements begin in it */
} part;

static part part_of(const opt_signround_tensor *t, int64_t row, int64_t p) {
    const int64_t first = p * t->part_elems;
    return (part){.index = row * t->n_parts + p,
                  .first = first,
                  .n = opt_min_i64(t->part_elems, t->n_cols - first),
                  .block = first / t->format->block_elems,
                  .in_block = first % t->format->block_elems};
}

static float round_to_grid(const opt_format *f, const void *params, int64_t i, float x) {
    int32_t code;
    float value;
    f->grid->round(f, params, i, &x, &code, &value);
    return value;
}

static int insert(float *levels, int n, float v) {
    int at = n;
    for (; at > 0 && levels[at - 1] > v; at--) {
        levels[at] = levels[at - 1];
    }
    levels[at] = v;
    return n + 1;
}

/*
 * All grid points within [-bound, bound], or the nearest beyond, in increasing order: if the middle
 * between two of them is not rounded to something between, nothing is there.
 */
static int find_levels(const opt_format *f, const void *params, int64_t i, float bound, int max,
                       float *levels) {
    float lows[MAX_LEVELS], highs[MAX_LEVELS];
    const float lo = round_to_grid(f, params, i, -bound), hi = round_to_grid(f, params, i, bound);
    int n = insert(levels, 0, lo), n_open = 0;
    if (!(hi > lo)) {
        return n;
    }
    n = insert(levels, n, hi);
    lows[n_open] = lo;
    highs[n_open++] = hi;
    while (n_open > 0 && n < max) {
        const float a = lows[--n_open], b = highs[n_open];
        const float v = round_to_grid(f, params, i, a + 0.5F * (b - a));
        if (!(v > a && v < b)) {
            continue;
        }
        n = insert(levels, n, v);
        lows[n_open] = a;
        highs[n_open++] = v;
        lows[n_open] = v;
        highs[n_open++] = b;
    }
    return n;
}

static int nearest_level(const float *levels, int n, float v) {
    int best = 0;
    for (int k = 1; k < n; k++) {
        best = fabsf(levels[k] - v) < fabsf(levels[best] - v) ? k : best;
    }
    return best;
}

/* Where w lies between the levels, counted from `rank`, at most half a level beyond the ends. */
static float offset_from(const float *levels, int n, int rank, float w) {
    const int other = w < levels[rank] ? rank - 1 : rank + 1;
    if (n < 2) {
        return 0.0F;
    }
    const int side = other < 0 ? 1 : other >= n ? n - 2 : other; /* beyond the ends as inside */
    return (w - levels[rank]) / fabsf(levels[side] - levels[rank]);
}

void opt_signround_begin(opt_signround_tensor *t, int64_t row, const float *w, float inside) {
    const float *values = t->values + row * t->n_cols;
    const float edge = 0.5F - inside;
    for (int64_t p = 0; p < t->n_parts; p++) {
        const part at = part_of(t, row, p);
        float *levels = t->levels + at.index * t->max_levels;
        float bound = 0.0F;
        for (int64_t i = at.first; i < at.first + at.n; i++) {
            bound = fmaxf(bound, fmaxf(fabsf(w[i]), fabsf(values[i])));
        }
        const int n = find_levels(t->format, params_of(t, row, at.block), at.in_block, 4.0F * bound,
                                  t->max_levels, levels);
        t->n_levels[at.index] = (uint8_t)n;
        t->scale[at.index] = 1.0F;
        t->shift[at.index] = 0.0F;
        for (int64_t i = at.first; i < at.first + at.n; i++) {
            const int rank = nearest_level(levels, n, values[i]);
            const float offset = offset_from(levels, n, rank, w[i]);
            t->position[row * t->n_cols + i] = (float)rank + fminf(edge, fmaxf(-edge, offset));
        }
    }
}

/* Against the sign: down where the gradient is positive. */
static float against(float gradient, float rate) {
    return (gradient < 0.0F ? rate : 0.0F) - (gradient > 0.0F ? rate : 0.0F);
}

/* The exact gradient of a part's scale and shift with all codes held. */
static void step_scale(opt_signround_tensor *t, const part *at, const float *values,
                       const float *grads, float rate) {
    const float *levels = t->levels + at->index * t->max_levels;
    const int n = t->n_levels[at->index];
    const float shift = t->shift[at->index];
    float scales[STEP_LANES] = {0}, shifts[STEP_LANES] = {0}, of_scale = 0.0F, of_shift = 0.0F;
    const int64_t whole = at->n - at->n % STEP_LANES;
    for (int64_t i = 0; i < whole; i += STEP_LANES) {
        for (int k = 0; k < STEP_LANES; k++) {
            scales[k] += grads[i + k] * (values[i + k] - shift);
            shifts[k] += grads[i + k];
        }
    }
    for (int64_t i = whole; i < at->n; i++) {
        scales[0] += grads[i] * (values[i] - shift);
        shifts[0] += grads[i];
    }
    for (int k = 0; k < STEP_LANES; k++) {
        of_scale += scales[k];
        of_shift += shifts[k];
    }
    t->scale[at->index] = fminf(2.0F, fmaxf(0.5F, t->scale[at->index] + against(of_scale, rate)));
    if ((t->format->flags & OPT_FORMAT_ZERO_POINT) != 0 && n > 1) {
        const float range = levels[n - 1] - levels[0];
        t->shift[at->index] += against(of_shift, 0.1F * rate * range);
    }
}

static void step_part(opt_signround_tensor *t, int64_t row, const part *at,
                      opt_signround_rates rates) {
    const int64_t first = row * t->n_cols + at->first;
    const float *levels = t->levels + at->index * t->max_levels;
    float *values = t->values + first, *position = t->position + first;
    const float *grads = t->grads + first;
    const int last = t->n_levels[at->index] - 1;
    if (rates.scale > 0.0F && t->format->grid->move != NULL) {
        step_scale(t, at, values, grads, rates.scale);
    }
    const float scale = t->scale[at->index], shift = t->shift[at->index];
    const float least = -0.49F, most = (float)last + 0.49F;
    for (int64_t i = 0; i < at->n; i++) { /* apart from the look-up: this loop is vectorized */
        const float moved = position[i] + against(grads[i], rates.position);
        const float raised = moved > least ? moved : least;
        position[i] = raised < most ? raised : most;
    }
    for (int64_t i = 0; i < at->n; i++) {
        values[i] = scale * levels[(int)(position[i] + 0.5F)] + shift;
    }
}

void opt_signround_step(opt_signround_tensor *t, int64_t row0, int64_t n_rows,
                        opt_signround_rates rates) {
    for (int64_t row = row0; row < row0 + n_rows; row++) {
        for (int64_t p = 0; p < t->n_parts; p++) {
            const part at = part_of(t, row, p);
            step_part(t, row, &at, rates);
        }
    }
}

void opt_signround_finish(opt_signround_tensor *t, int64_t row) {
    const opt_grid *grid = t->format->grid;
    _Alignas(16) uint8_t moved[OPT_GRID_PARAMS_MAX];
    for (int64_t p = 0; p < t->n_parts; p++) {
        const part at = part_of(t, row, p);
        uint8_t *params = params_of(t, row, at.block);
        const float scale = t->scale[at.index], shift = t->shift[at.index];
        if (scale != 1.0F || shift != 0.0F) {
            grid->move(t->format, params, at.in_block / t->part_elems, scale, shift, moved);
            memcpy(params, moved, grid->params_bytes);
        }
    }
    for (int64_t i = 0; i < t->n_cols; i++) {
        const int64_t block = i / t->format->block_elems, at = row * t->n_cols + i;
        const float target = t->values[at];
        int32_t code;
        grid->round(t->format, params_of(t, row, block), i % t->format->block_elems, &target, &code,
                    &t->values[at]);
        t->codes[at] = (uint8_t)code;
    }
}

void opt_signround_emit(const opt_signround_tensor *t, int64_t row, uint8_t *dst) {
    const int64_t size = t->format->block_elems;
    for (int64_t b = 0; b < t->n_blocks; b++) {
        int32_t codes[MAX_BLOCK];
        const int64_t n = opt_min_i64(size, t->n_cols - b * size);
        for (int64_t i = 0; i < n; i++) {
            codes[i] = t->codes[row * t->n_cols + b * size + i];
        }
        t->format->grid->emit(t->format, params_of(t, row, b), codes, n,
                              dst + (size_t)b * t->format->block_bytes);
    }
}
