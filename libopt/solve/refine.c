/* Coordinate descent on E = d H d^T over codes, and over the scales of blocks. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "solve/rows.h"

enum {
    MAX_BLOCK = OPT_ROWS_LANES,
    COLUMNS = 64 /* of all rows, that are refined side by side before g of the others changes */
};

/* Columns first .. first + n - 1 of the order, for all rows; [COLUMNS, n_rows] each. */
typedef struct column_block {
    const int32_t *order; /* [n] */
    int64_t n;
    float *v, *g, *s, *next; /* values, gradient, steps that are taken, values to go to */
    int32_t *codes;          /* to go to */
    float h[COLUMNS * COLUMNS];
    int32_t changed[COLUMNS]; /* columns in which a row has taken a step */
    int64_t n_changed;
} column_block;

static void load_columns(const opt_rows *r, int64_t first, int64_t n, column_block *b) {
    const int64_t n_rows = r->n_rows;
    b->order = r->hessian->order + first;
    b->n = n;
    b->n_changed = 0;
    b->v = r->lanes;
    b->g = b->v + OPT_ROWS_LANES * n_rows;
    b->s = b->g + OPT_ROWS_LANES * n_rows;
    b->next = b->s + OPT_ROWS_LANES * n_rows;
    b->codes = r->lane_codes;
    for (int64_t j = 0; j < n; j++) {
        const float *h = r->hessian->h + b->order[j] * r->n_cols;
        for (int64_t i = 0; i < j; i++) {
            b->h[j * COLUMNS + i] = h[b->order[i]];
        }
    }
    for (int64_t row = 0; row < n_rows; row++) {
        for (int64_t j = 0; j < n; j++) {
            b->v[j * n_rows + row] = r->values[row * r->n_cols + b->order[j]];
            b->g[j * n_rows + row] = r->g[row * r->n_cols + b->order[j]];
        }
    }
}

/*
 * With a change of s in d_c alone, E changes by 2 s g_c + s^2 H_cc, which is least for s = -g_c /
 * H_cc. The grid point nearest to the value for which that holds is the best one.
 */
static void refine_column(const opt_rows *r, column_block *b, int64_t j) {
    const int64_t n_rows = r->n_rows, c = b->order[j];
    const float curvature = r->hessian->diag[c];
    float *v = b->v + j * n_rows, *g = b->g + j * n_rows, *s = b->s + j * n_rows;
    float *next = b->next + j * n_rows, factors[COLUMNS];
    int32_t *codes = b->codes + j * n_rows;
    int64_t n_taken = 0;
    for (int64_t i = 0; i < b->n_changed; i++) {
        factors[i] = b->h[j * COLUMNS + b->changed[i]];
    }
    r->kern->add_rows(g, n_rows, factors, b->changed, b->n_changed, b->s, n_rows);
    for (int64_t row = 0; row < n_rows; row++) {
        s[row] = v[row] + g[row] / curvature; /* the target */
    }
    opt_rows_round_column(r, c, s, codes, next);
    for (int64_t row = 0; row < n_rows; row++) {
        const float step = v[row] - next[row];
        const bool take = 2.0F * step * g[row] + step * step * curvature < 0.0F;
        s[row] = take ? step : 0.0F;
        n_taken += take;
    }
    if (n_taken > 0) {
        b->changed[b->n_changed++] = (int32_t)j;
    }
}

/* Takes the steps of a row and brings its g up to date, with the operations of refine_column. */
static int64_t take_steps(opt_rows *r, const column_block *b, int64_t row) {
    const int64_t n = r->n_cols;
    float steps[COLUMNS];
    int32_t columns[COLUMNS];
    int64_t n_steps = 0;
    for (int64_t i = 0; i < b->n_changed; i++) {
        const int64_t from = b->changed[i] * r->n_rows + row, c = b->order[b->changed[i]];
        if (b->s[from] != 0.0F) {
            r->codes[row * n + c] = b->codes[from];
            r->values[row * n + c] = b->next[from];
            r->d[row * n + c] += b->s[from];
            steps[n_steps] = b->s[from];
            columns[n_steps++] = (int32_t)c;
        }
    }
    if (n_steps > 0) {
        r->kern->add_rows(r->g + row * n, n, steps, columns, n_steps, r->hessian->h, n);
    }
    return n_steps;
}

/* Dead columns stand at the end of the order and are left alone. */
static int64_t refine_codes(opt_rows *r) {
    const int64_t n = r->n_cols - r->hessian->n_dead;
    int64_t n_steps = 0;
    for (int64_t j0 = 0; j0 < n; j0 += COLUMNS) {
        column_block b;
        load_columns(r, j0, opt_min_i64(COLUMNS, n - j0), &b);
        for (int64_t j = 0; j < b.n; j++) {
            refine_column(r, &b, j);
        }
        for (int64_t row = 0; b.n_changed > 0 && row < r->n_rows; row++) {
            n_steps += take_steps(r, &b, row);
        }
    }
    return n_steps;
}

/* What moves together, a part or a whole block, and its share of the problem. */
typedef struct block_view {
    int64_t first, n; /* columns */
    bool whole;
    bool offset;              /* its grid can be shifted */
    float h1[MAX_BLOCK], one; /* with an offset: 1 H_bb and 1 H_bb 1 */
} block_view;

/* y [n_rows, n] = x H_bb for all rows x, which are `stride` apart. */
static void block_multiply(const opt_rows *r, const block_view *b, const float *x, int64_t stride,
                           float *y) {
    memset(y, 0, (size_t)(r->n_rows * b->n) * sizeof *y);
    r->kern->gemm_add_f32(x, stride, 1, r->hessian->h + b->first * r->n_cols + b->first, r->n_cols,
                          y, b->n, r->n_rows, b->n, b->n);
}

static float dot(const float *x, const float *y, int64_t n) {
    float lanes[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int k = 0; k < 8; k++) {
            lanes[k] += x[i + k] * y[i + k];
        }
    }
    for (int k = 0; i < n; i++, k++) {
        lanes[k] += x[i] * y[i];
    }
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
           ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

static float sum(const float *x, int64_t n) {
    float all = 0.0F;
    for (int64_t i = 0; i < n; i++) {
        all += x[i];
    }
    return all;
}

/*
 * The least E for values (1 + s) v + m in the block: the normal equations of the directions v and
 * 1, or of v alone where the grid has no offset; hv = v H_bb. False if the block cannot gain.
 */
static bool best_move(const block_view *b, const float *v, const float *hv, const float *g,
                      float *scale, float *shift) {
    const float vv = dot(v, hv, b->n), vg = dot(v, g, b->n);
    if (!(vv > 0.0F)) {
        return false;
    }
    *scale = 1.0F + vg / vv;
    *shift = 0.0F;
    if (b->offset) {
        const float v1 = dot(v, b->h1, b->n), g1 = sum(g, b->n);
        const float det = vv * b->one - v1 * v1;
        if (det > 1e-4F * vv * b->one) { /* otherwise the directions are as good as parallel */
            *scale = 1.0F + (vg * b->one - g1 * v1) / det;
            *shift = (g1 * vv - vg * v1) / det;
        }
    }
    return isfinite(*scale) && isfinite(*shift) && *scale > 0.5F && *scale < 2.0F;
}

/* The columns from `first` on that move together: a part, or a block if `whole`. */
static void view_block(const opt_rows *r, int64_t first, bool whole, block_view *b) {
    const opt_format *f = r->format;
    const int64_t size = whole ? f->block_elems : opt_format_part_elems(f);
    const bool one_part = opt_format_part_elems(f) == f->block_elems;
    *b = (block_view){.first = first, .n = opt_min_i64(size, r->n_cols - first), .whole = whole};
    b->offset = (f->flags & OPT_FORMAT_ZERO_POINT) != 0 && (!whole || one_part);
    for (int64_t i = 0; b->offset && i < b->n; i++) {
        b->h1[i] = sum(r->hessian->h + (first + i) * r->n_cols + first, b->n);
    }
    b->one = sum(b->h1, b->n);
}

static uint8_t *params_of(const opt_rows *r, int64_t row, int64_t column) {
    return r->params +
           (size_t)(row * r->n_blocks + column / r->format->block_elems) * r->params_stride;
}

/* Parameters for the row that promise a lower E, to r->moved, and what its codes and values become
 * under them. The change of d, to `change`, is zero if there are none. */
static bool propose(const opt_rows *r, const block_view *b, int64_t row, const float *hv,
                    int32_t *codes, float *values, float *change) {
    const opt_format *f = r->format;
    const int64_t in_block = b->first % f->block_elems, at = row * r->n_cols + b->first;
    const int64_t part = b->whole ? OPT_GRID_ALL_PARTS : in_block / opt_format_part_elems(f);
    uint8_t *moved = r->moved + (size_t)row * r->params_stride;
    float scale, shift;
    if (!best_move(b, r->values + at, hv, r->g + at, &scale, &shift)) {
        memset(change, 0, (size_t)b->n * sizeof *change);
        return false;
    }
    f->grid->move(f, params_of(r, row, b->first), part, scale, shift, moved);
    for (int64_t i = 0; i < b->n; i++) {
        change[i] = scale * r->values[at + i] + shift; /* the target */
    }
    opt_grid_round_many(f, r->kern, moved, 0, in_block, b->n, change, codes, values);
    for (int64_t i = 0; i < b->n; i++) {
        change[i] = r->values[at + i] - values[i];
    }
    return true;
}

/* Tries new parameters for the part (or block) at column `first` of all rows. Where E falls, takes
 * them and leaves the change of d in u [n_rows] rows of `stride`; elsewhere that is zero. */
static int64_t refit(opt_rows *r, int64_t first, bool whole, float *u, int64_t stride) {
    block_view b;
    int64_t n_moved = 0, n_tried = 0;
    float *values = r->lanes;
    int32_t *codes = r->lane_codes;
    view_block(r, first, whole, &b);
    block_multiply(r, &b, r->values + first, r->n_cols, r->product);
    for (int64_t row = 0; row < r->n_rows; row++) {
        const int64_t at = row * b.n;
        n_tried += propose(r, &b, row, r->product + at, codes + at, values + at, u + row * stride);
    }
    if (n_tried == 0) {
        return 0;
    }
    block_multiply(r, &b, u, stride, r->product);
    for (int64_t row = 0; row < r->n_rows; row++) {
        float *change = u + row * stride;
        const int64_t at = row * r->n_cols + first;
        const float gain =
            2.0F * dot(change, r->g + at, b.n) + dot(change, r->product + row * b.n, b.n);
        if (!(gain < 0.0F)) { /* also where nothing was proposed */
            memset(change, 0, (size_t)b.n * sizeof *change);
            continue;
        }
        memcpy(params_of(r, row, first), r->moved + (size_t)row * r->params_stride,
               r->format->grid->params_bytes);
        memcpy(r->codes + at, codes + row * b.n, (size_t)b.n * sizeof *codes);
        memcpy(r->values + at, values + row * b.n, (size_t)b.n * sizeof *values);
        for (int64_t i = 0; i < b.n; i++) {
            r->d[at + i] += change[i];
        }
        n_moved++;
    }
    return n_moved;
}

/* g [n_rows] += u [n_rows, k] H over columns [c0, c1), where u are changes of columns h0 .. h0 + k
 * - 1 and u has rows of `stride`. */
static void update_gradient(opt_rows *r, const float *u, int64_t stride, int64_t h0, int64_t k,
                            int64_t c0, int64_t c1) {
    const int64_t n = r->n_cols;
    if (c1 > c0) {
        r->kern->gemm_add_f32(u, stride, 1, r->hessian->h + h0 * n + c0, n, r->g + c0, n, r->n_rows,
                              c1 - c0, k);
    }
}

/*
 * Part by part (or block by block) for all rows at once, so that their updates of g are matrix
 * products. The changes reach the other parts of the panel at once and all other columns when the
 * panel is done (as in the lazy updates of the column loop): the products become long enough to be
 * fast.
 */
static int64_t refine_scales(opt_rows *r, bool whole) {
    const int64_t n = r->n_cols,
                  size = whole ? r->format->block_elems : opt_format_part_elems(r->format);
    const int64_t panel = opt_ceil_div(OPT_ROWS_STEPS, size) * size;
    int64_t n_steps = 0;
    for (int64_t p0 = 0; p0 < n; p0 += panel) {
        const int64_t p1 = opt_min_i64(n, p0 + panel), stride = p1 - p0;
        int64_t n_moved = 0;
        for (int64_t c0 = p0; c0 < p1; c0 += size) {
            const int64_t width = opt_min_i64(size, p1 - c0);
            const int64_t n_now = refit(r, c0, whole, r->u + (c0 - p0), stride);
            if (n_now > 0) {
                update_gradient(r, r->u + (c0 - p0), stride, c0, width, p0, p1);
            }
            n_moved += n_now;
        }
        if (n_moved > 0) {
            update_gradient(r, r->u, stride, p0, stride, 0, p0);
            update_gradient(r, r->u, stride, p0, stride, p1, n);
        }
        n_steps += n_moved;
    }
    return n_steps;
}

int64_t opt_rows_refine(opt_rows *r) {
    int64_t n_steps = refine_codes(r);
    if (r->format->grid->move != NULL && r->format->block_elems <= MAX_BLOCK) {
        n_steps += refine_scales(r, false);
        if (opt_format_part_elems(r->format) < r->format->block_elems) {
            n_steps += refine_scales(r, true);
        }
    }
    return n_steps;
}
