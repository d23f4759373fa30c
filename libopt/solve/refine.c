/* Coordinate descent on E = d H d^T over codes, and over the scales of blocks. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "solve/rows.h"

enum { MAX_BLOCK = 256 };

/* y += a x, rounded twice: the same on every machine. */
static void add_scaled(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

/*
 * With a change of s in d_c alone, E changes by 2 s g_c + s^2 H_cc, which is least for s = -g_c /
 * H_cc. The grid point nearest to the value for which that holds is the best one.
 */
static int64_t refine_codes(opt_rows *r, int64_t row) {
    const opt_hessian *h = r->hessian;
    const int64_t n = r->n_cols, size = r->format->block_elems;
    const size_t row_params = (size_t)r->n_blocks * r->params_stride;
    const uint8_t *params = r->params + (size_t)row * row_params;
    float *d = r->d + row * n, *g = r->g + row * n, *values = r->values + row * n;
    int64_t n_steps = 0;
    for (int64_t j = 0; j < n; j++) {
        const int64_t c = h->order[j];
        const float curvature = h->diag[c];
        if (!(curvature > 0.0F)) {
            break; /* dead columns stand at the end */
        }
        const float target = values[c] + g[c] / curvature;
        int32_t code;
        float value;
        r->format->grid->round(r->format, params + (size_t)(c / size) * r->params_stride, c % size,
                               &target, &code, &value);
        const float s = values[c] - value;
        if (code == r->codes[row * n + c] || !(2.0F * s * g[c] + s * s * curvature < 0.0F)) {
            continue;
        }
        r->codes[row * n + c] = code;
        values[c] = value;
        d[c] += s;
        add_scaled(g, s, h->h + c * n, n);
        n_steps++;
    }
    return n_steps;
}

/* What moves together, a part or a whole block, and its share of the problem: x H_bb for up to two
 * directions x. */
typedef struct block_view {
    const opt_rows *r;
    int64_t first, n; /* columns */
    bool offset;      /* its grid can be shifted */
} block_view;

static void block_multiply(const block_view *b, const float *x, float *y) {
    memset(y, 0, (size_t)b->n * sizeof *y);
    for (int64_t i = 0; i < b->n; i++) {
        add_scaled(y, x[i], b->r->hessian->h + (b->first + i) * b->r->n_cols + b->first, b->n);
    }
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

/*
 * The least E for values (1 + s) v + m in the block: the normal equations of the directions v and
 * 1, or of v alone where the grid has no offset. False if the block cannot gain.
 */
static bool best_move(const block_view *b, const float *v, const float *g, float *scale,
                      float *shift) {
    float hv[MAX_BLOCK], ones[MAX_BLOCK], h1[MAX_BLOCK];
    block_multiply(b, v, hv);
    const float vv = dot(v, hv, b->n), vg = dot(v, g, b->n);
    if (!(vv > 0.0F)) {
        return false;
    }
    *scale = 1.0F + vg / vv;
    *shift = 0.0F;
    if (b->offset) {
        for (int64_t i = 0; i < b->n; i++) {
            ones[i] = 1.0F;
        }
        block_multiply(b, ones, h1);
        const float v1 = dot(v, h1, b->n), one = dot(ones, h1, b->n), g1 = dot(ones, g, b->n);
        const float det = vv * one - v1 * v1;
        if (det > 1e-4F * vv * one) { /* otherwise the directions are as good as parallel */
            *scale = 1.0F + (vg * one - g1 * v1) / det;
            *shift = (g1 * vv - vg * v1) / det;
        }
    }
    return isfinite(*scale) && isfinite(*shift) && *scale > 0.5F && *scale < 2.0F;
}

/* The columns from `first` on that move together: a part, or a block if `whole`. */
static block_view view_of(const opt_rows *r, int64_t first, bool whole) {
    const opt_format *f = r->format;
    const int64_t size = whole ? f->block_elems : opt_format_part_elems(f);
    const bool one_part = opt_format_part_elems(f) == f->block_elems;
    return (block_view){.r = r,
                        .first = first,
                        .n = opt_min_i64(size, r->n_cols - first),
                        .offset = (f->flags & OPT_FORMAT_ZERO_POINT) != 0 && (!whole || one_part)};
}

/* Tries new parameters for the part (or block) at column `first` of a row. If E falls, takes them
 * and leaves the change of d in `change`; otherwise that is zero. */
static bool refit(opt_rows *r, int64_t row, int64_t first, bool whole, float *change) {
    const block_view b = view_of(r, first, whole);
    const int64_t size = r->format->block_elems, block = first / size, in_block = first % size;
    const int64_t part = whole ? OPT_GRID_ALL_PARTS : in_block / opt_format_part_elems(r->format);
    const int64_t at = row * r->n_cols + b.first;
    uint8_t *params = r->params + (size_t)(row * r->n_blocks + block) * r->params_stride;
    uint8_t *moved = r->moved + (size_t)row * r->params_stride;
    int32_t codes[MAX_BLOCK];
    float values[MAX_BLOCK], hc[MAX_BLOCK], scale, shift;
    memset(change, 0, (size_t)b.n * sizeof *change);
    if (!best_move(&b, r->values + at, r->g + at, &scale, &shift)) {
        return false;
    }
    r->format->grid->move(r->format, params, part, scale, shift, moved);
    for (int64_t i = 0; i < b.n; i++) {
        const float target = scale * r->values[at + i] + shift;
        r->format->grid->round(r->format, moved, in_block + i, &target, &codes[i], &values[i]);
        change[i] = r->values[at + i] - values[i];
    }
    block_multiply(&b, change, hc);
    if (!(2.0F * dot(change, r->g + at, b.n) + dot(change, hc, b.n) < 0.0F)) {
        memset(change, 0, (size_t)b.n * sizeof *change);
        return false;
    }
    memcpy(params, moved, r->format->grid->params_bytes);
    for (int64_t i = 0; i < b.n; i++) {
        r->codes[at + i] = codes[i];
        r->values[at + i] = values[i];
        r->d[at + i] += change[i];
    }
    return true;
}

/* g [n_rows] += u [n_rows, k] H over columns [c0, c1), where u are changes of columns h0 .. h0 + k
 * - 1 and u has rows of `stride`. H is symmetric: its rows are its columns. */
static void update_gradient(opt_rows *r, const float *u, int64_t stride, int64_t h0, int64_t k,
                            int64_t c0, int64_t c1) {
    const int64_t n = r->n_cols, width = c1 - c0;
    if (width <= 0) {
        return;
    }
    r->kern->linear_f32(r->hessian->h + c0 * n + h0, n, u, stride, r->update, width, width,
                        r->n_rows, k);
    for (int64_t row = 0; row < r->n_rows; row++) {
        r->kern->add(r->g + row * n + c0, r->update + row * width, width);
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
            int64_t n_now = 0;
            for (int64_t row = 0; row < r->n_rows; row++) {
                n_now += refit(r, row, c0, whole, r->u + row * stride + (c0 - p0));
            }
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
    int64_t n_steps = 0;
    for (int64_t row = 0; row < r->n_rows; row++) {
        n_steps += refine_codes(r, row);
    }
    if (r->format->grid->move != NULL && r->format->block_elems <= MAX_BLOCK) {
        n_steps += refine_scales(r, false);
        if (opt_format_part_elems(r->format) < r->format->block_elems) {
            n_steps += refine_scales(r, true);
        }
    }
    return n_steps;
}
