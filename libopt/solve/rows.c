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

/* Offsets of params, moved, codes, values, d, g, t, u, update; the sizes of a row were checked when
 * the plan was made, so products stay far below the limits. */
static size_t lay_out(const opt_format *f, int64_t n_rows, int64_t n_cols, size_t off[9]) {
    const size_t rows = (size_t)n_rows, elems = rows * (size_t)n_cols * sizeof(float);
    const size_t blocks = (size_t)opt_ceil_div(n_cols, f->block_elems);
    size_t total = 0;
    off[0] = take(&total, rows * blocks * params_stride(f));
    off[1] = take(&total, rows * params_stride(f));
    for (int i = 2; i < 6; i++) {
        off[i] = take(&total, elems);
    }
    off[6] = take(&total, rows * OPT_ROWS_STEPS * sizeof(float));
    off[7] = take(&total, rows * (size_t)opt_max_i64(n_cols, f->block_elems) * sizeof(float));
    off[8] = take(&total, elems);
    return total;
}

size_t opt_rows_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    size_t off[9];
    return lay_out(f, n_rows, n_cols, off);
}

void opt_rows_init(opt_rows *r, const opt_format *f, const opt_kern *k, const opt_hessian *h,
                   const float *w, int64_t n_rows, int64_t n_cols, void *scratch) {
    size_t off[9];
    uint8_t *base = scratch;
    (void)lay_out(f, n_rows, n_cols, off);
    *r = (opt_rows){
        .format = f,
        .kern = k,
        .hessian = h,
        .w = w,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_blocks = opt_ceil_div(n_cols, f->block_elems),
        .params_stride = params_stride(f),
        .params = base + off[0],
        .moved = base + off[1],
        .codes = (int32_t *)(void *)(base + off[2]),
        .values = (float *)(void *)(base + off[3]),
        .d = (float *)(void *)(base + off[4]),
        .g = (float *)(void *)(base + off[5]),
        .t = (float *)(void *)(base + off[6]),
        .u = (float *)(void *)(base + off[7]),
        .update = (float *)(void *)(base + off[8]),
    };
}

static uint8_t *block_params(const opt_rows *r, int64_t row, int64_t block) {
    return r->params + (size_t)(row * r->n_blocks + block) * r->params_stride;
}

static int64_t block_size(const opt_rows *r, int64_t block) {
    return opt_min_i64(r->format->block_elems, r->n_cols - block * r->format->block_elems);
}

void opt_rows_fit(opt_rows *r) {
    const int64_t size = r->format->block_elems;
    for (int64_t row = 0; row < r->n_rows; row++) {
        for (int64_t b = 0; b < r->n_blocks; b++) {
            r->format->grid->fit(r->format, r->w + row * r->n_cols + b * size,
                                 r->hessian->diag + b * size, block_size(r, b),
                                 block_params(r, row, b));
        }
    }
}

/* Rounds `target` as column c of a row: sets its code and value. */
static void round_column(opt_rows *r, int64_t row, int64_t c, float target) {
    const int64_t size = r->format->block_elems;
    const int64_t at = row * r->n_cols + c;
    r->format->grid->round(r->format, block_params(r, row, c / size), c % size, &target,
                           &r->codes[at], &r->values[at]);
}

void opt_rows_nearest(opt_rows *r, int64_t row) {
    for (int64_t c = 0; c < r->n_cols; c++) {
        round_column(r, row, c, r->w[row * r->n_cols + c]);
    }
}

/* Step j of the loop for all rows: t [n_rows] is what the steps since the block's begin add to the
 * correction from before it. */
static void run_step(opt_rows *r, int64_t j, const float *before, const float *t) {
    const int64_t c = r->hessian->order[j];
    for (int64_t row = 0; row < r->n_rows; row++) {
        const int64_t at = row * r->n_cols + c;
        round_column(r, row, c, r->w[at] + (before[row * OPT_ROWS_STEPS] + t[row]));
        r->d[row * r->n_cols + j] = r->w[at] - r->values[at];
    }
}

void opt_rows_columns(opt_rows *r) {
    const opt_hessian *h = r->hessian;
    const int64_t n = r->n_cols, n_rows = r->n_rows;
    for (int64_t j0 = 0; j0 < n; j0 += OPT_ROWS_STEPS) {
        const int64_t n_steps = opt_min_i64(OPT_ROWS_STEPS, n - j0);
        memset(r->t, 0, (size_t)(n_rows * OPT_ROWS_STEPS) * sizeof *r->t);
        if (j0 > 0) { /* all earlier steps at once */
            r->kern->linear_f32(h->factor + j0 * n, n, r->d, n, r->t, OPT_ROWS_STEPS, n_steps,
                                n_rows, j0);
        }
        memset(r->u, 0, (size_t)n_rows * sizeof *r->u);
        for (int64_t j = j0; j < j0 + n_steps; j++) {
            if (j > j0) {
                r->kern->linear_f32(h->factor + j * n + j0, n, r->d + j0, n, r->u, 1, 1, n_rows,
                                    j - j0);
            }
            run_step(r, j, r->t + (j - j0), r->u);
        }
    }
}

void opt_rows_objective(opt_rows *r, double *e) {
    const int64_t n = r->n_cols;
    for (int64_t i = 0; i < r->n_rows * n; i++) {
        r->d[i] = r->w[i] - r->values[i];
    }
    for (int64_t row = 0; row < r->n_rows; row++) {
        e[row] = 0.0;
    }
    r->kern->linear_f32(r->hessian->h, n, r->d, n, r->g, n, n, r->n_rows, n);
    for (int64_t i = 0; i < r->n_rows * n; i++) {
        e[i / n] += (double)r->d[i] * (double)r->g[i];
    }
}

void opt_rows_emit(const opt_rows *r, int64_t row, uint8_t *dst) {
    for (int64_t b = 0; b < r->n_blocks; b++) {
        r->format->grid->emit(r->format, block_params(r, row, b),
                              r->codes + row * r->n_cols + b * r->format->block_elems,
                              block_size(r, b), dst + (size_t)b * r->format->block_bytes);
    }
}
