#include "solve/rows.h"

#include <string.h>

#include "base/num.h"

bool opt_rows_supports(const opt_format *f) { return f->grid != NULL && f->grid->dim == 1; }

static size_t params_stride(const opt_format *f) {
    return (f->grid->params_bytes + 15) & ~(size_t)15;
}

static size_t take(size_t *total, size_t bytes) {
    const size_t off = *total;
    *total += (bytes + 63) & ~(size_t)63;
    return off;
}

/* The arrays of opt_rows in the order in which they lie in the scratch. */
typedef struct layout {
    size_t params, moved, codes, values, d, g, u, product, lanes, lane_codes, blocks;
    size_t total;
} layout;

/* The sizes of a row were checked when the plan was made, so products stay far below the limits. */
static layout lay_out(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    const size_t rows = (size_t)n_rows, elems = rows * (size_t)n_cols * sizeof(float);
    const size_t blocks = (size_t)opt_ceil_div(n_cols, f->block_elems);
    const size_t lanes = rows * OPT_ROWS_LANES * sizeof(float);
    layout l = {.total = 0};
    l.params = take(&l.total, rows * blocks * params_stride(f));
    l.moved = take(&l.total, rows * params_stride(f));
    l.codes = take(&l.total, elems);
    l.values = take(&l.total, elems);
    l.d = take(&l.total, elems);
    l.g = take(&l.total, elems);
    l.u = take(&l.total, rows * (size_t)opt_max_i64(n_cols, f->block_elems) * sizeof(float));
    l.product = take(&l.total, lanes);
    l.lanes = take(&l.total, OPT_ROWS_N_LANES * lanes);
    l.lane_codes = take(&l.total, lanes);
    l.blocks = take(&l.total, rows * blocks * f->block_bytes);
    return l;
}

size_t opt_rows_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    return lay_out(f, n_rows, n_cols).total;
}

void opt_rows_init(opt_rows *r, const opt_format *f, const opt_kern *k, const opt_hessian *h,
                   const float *w, int64_t n_rows, int64_t n_cols, void *scratch) {
    uint8_t *base = scratch;
    const layout l = lay_out(f, n_rows, n_cols);
    *r = (opt_rows){
        .format = f,
        .kern = k,
        .hessian = h,
        .w = w,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_blocks = opt_ceil_div(n_cols, f->block_elems),
        .params_stride = params_stride(f),
        .params = base + l.params,
        .moved = base + l.moved,
        .codes = (int32_t *)(void *)(base + l.codes),
        .values = (float *)(void *)(base + l.values),
        .d = (float *)(void *)(base + l.d),
        .g = (float *)(void *)(base + l.g),
        .u = (float *)(void *)(base + l.u),
        .product = (float *)(void *)(base + l.product),
        .lanes = (float *)(void *)(base + l.lanes),
        .lane_codes = (int32_t *)(void *)(base + l.lane_codes),
        .blocks = base + l.blocks,
    };
}

static uint8_t *block_params(const opt_rows *r, int64_t row, int64_t block) {
    return r->params + (size_t)(row * r->n_blocks + block) * r->params_stride;
}

static int64_t block_size(const opt_rows *r, int64_t block) {
    return opt_min_i64(r->format->block_elems, r->n_cols - block * r->format->block_elems);
}

/* What encode finds is what fit would find, only faster. */
static void fit_encoded(opt_rows *r) {
    const opt_format *f = r->format;
    opt_format_encode_rows(f, r->kern, r->w, r->hessian->diag, r->blocks, r->n_rows, r->n_cols);
    for (int64_t b = 0; b < r->n_rows * r->n_blocks; b++) {
        f->grid->load(f, r->blocks + (size_t)b * f->block_bytes,
                      r->params + (size_t)b * r->params_stride);
    }
}

void opt_rows_fit(opt_rows *r) {
    const int64_t size = r->format->block_elems;
    if (r->format->grid->load != NULL) {
        fit_encoded(r);
        return;
    }
    for (int64_t row = 0; row < r->n_rows; row++) {
        for (int64_t b = 0; b < r->n_blocks; b++) {
            r->format->grid->fit(r->format, r->w + row * r->n_cols + b * size,
                                 r->hessian->diag + b * size, block_size(r, b),
                                 block_params(r, row, b));
        }
    }
}

void opt_rows_nearest(opt_rows *r, int64_t row) {
    for (int64_t b = 0; b < r->n_blocks; b++) {
        const int64_t at = row * r->n_cols + b * r->format->block_elems;
        opt_grid_round_many(r->format, r->kern, block_params(r, row, b), 0, 0, block_size(r, b),
                            r->w + at, r->codes + at, r->values + at);
    }
}

void opt_rows_round_column(const opt_rows *r, int64_t c, const float *targets, int32_t *codes,
                           float *values) {
    const int64_t size = r->format->block_elems;
    opt_grid_round_many(r->format, r->kern, block_params(r, 0, c / size),
                        (size_t)r->n_blocks * r->params_stride, c % size, r->n_rows, targets, codes,
                        values);
}

/* Steps j0 .. of the loop for all rows; their corrections for the steps before j0 are in r->g. The
 * rows of a step lie side by side. */
static void run_steps(opt_rows *r, int64_t j0, int64_t n_steps) {
    const int64_t n = r->n_cols, n_rows = r->n_rows;
    const int32_t *order = r->hessian->order + j0;
    float *target = r->lanes, *w = target + OPT_ROWS_LANES * n_rows;
    float *d = w + OPT_ROWS_LANES * n_rows, *values = d + OPT_ROWS_LANES * n_rows;
    int32_t before[OPT_ROWS_STEPS];
    for (int64_t row = 0; row < n_rows; row++) {
        for (int64_t j = 0; j < n_steps; j++) {
            const float wj = r->w[row * n + order[j]];
            w[j * n_rows + row] = wj;
            target[j * n_rows + row] = wj + r->g[row * n + j0 + j];
        }
    }
    for (int64_t j = 0; j < n_steps; j++) {
        const int64_t at = j * n_rows;
        before[j] = (int32_t)j;
        r->kern->add_rows(target + at, n_rows, r->hessian->factor + (j0 + j) * n + j0, before, j, d,
                          n_rows);
        opt_rows_round_column(r, order[j], target + at, r->lane_codes + at, values + at);
        for (int64_t row = 0; row < n_rows; row++) {
            d[at + row] = w[at + row] - values[at + row];
        }
    }
    for (int64_t row = 0; row < n_rows; row++) {
        for (int64_t j = 0; j < n_steps; j++) {
            const int64_t from = j * n_rows + row, to = row * n + order[j];
            r->codes[to] = r->lane_codes[from];
            r->values[to] = values[from];
            r->d[row * n + j0 + j] = d[from];
        }
    }
}

/* A block of steps reaches all later ones in one product (the lazy updates of GPTQ). */
void opt_rows_columns(opt_rows *r) {
    const float *factor = r->hessian->factor;
    const int64_t n = r->n_cols;
    memset(r->g, 0, (size_t)(r->n_rows * n) * sizeof *r->g);
    for (int64_t j0 = 0; j0 < n; j0 += OPT_ROWS_STEPS) {
        const int64_t j1 = opt_min_i64(n, j0 + OPT_ROWS_STEPS);
        run_steps(r, j0, j1 - j0);
        if (j1 < n) {
            r->kern->gemm_add_f32(r->d + j0, n, 1, factor + j0 * n + j1, n, r->g + j1, n, r->n_rows,
                                  n - j1, j1 - j0);
        }
    }
}

static void take_errors(opt_rows *r) {
    for (int64_t i = 0; i < r->n_rows * r->n_cols; i++) {
        r->d[i] = r->w[i] - r->values[i];
    }
}

void opt_rows_energy(opt_rows *r, double *e) {
    take_errors(r);
    (void)opt_hessian_energy(r->hessian, r->kern, r->d, r->n_rows, r->g, e);
}

void opt_rows_objective(opt_rows *r, double *e) {
    const int64_t n = r->n_cols;
    take_errors(r);
    for (int64_t row = 0; row < r->n_rows; row++) {
        e[row] = 0.0;
    }
    memset(r->g, 0, (size_t)(r->n_rows * n) * sizeof *r->g);
    r->kern->gemm_add_f32(r->d, n, 1, r->hessian->h, n, r->g, n, r->n_rows, n, n);
    for (int64_t row = 0; row < r->n_rows; row++) {
        for (int64_t i = row * n; i < (row + 1) * n; i++) {
            e[row] += (double)r->d[i] * (double)r->g[i];
        }
    }
}

void opt_rows_emit(const opt_rows *r, int64_t row, uint8_t *dst) {
    for (int64_t b = 0; b < r->n_blocks; b++) {
        r->format->grid->emit(r->format, block_params(r, row, b),
                              r->codes + row * r->n_cols + b * r->format->block_elems,
                              block_size(r, b), dst + (size_t)b * r->format->block_bytes);
    }
}
