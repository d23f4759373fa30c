/*
 * HQQ (Badri & Shaji 2023): half-quadratic fit of the offset of every block, without calibration.
 * With w' the rounded weights, the error e = w - w' is split into a sparse part, found by the
 * generalised soft threshold of the l_p norm (p < 1), and a rest whose mean the offset takes up;
 * the two steps alternate, and what had the least mean |e| is kept. Differences to the paper: it
 * begins with the format's own fit and not with the range of the block, and the threshold counts in
 * steps of the grid and not in units of the weights, so that scaling the weights changes nothing.
 */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "quant/method.h"

#define NORM 0.7
#define BETA 10.0
#define KAPPA 1.01
enum { ROUNDS = 20 };

static size_t scratch_bytes(const opt_format *f, int64_t n_rows, int64_t n_cols) {
    (void)n_rows;
    (void)n_cols;
    return (size_t)f->block_elems * (sizeof(int32_t) + sizeof(float));
}

static void round_block(const opt_format *f, const void *params, const float *w, int64_t n,
                        int32_t *codes, float *values) {
    for (int64_t i = 0; i < n; i++) {
        f->grid->round(f, params, i, &w[i], &codes[i], &values[i]);
    }
}

static double mean_error(const float *w, const float *values, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)w[i] - (double)values[i]);
    }
    return sum / (double)n;
}

/* Mean of e less its sparse part: shrink(e) = sign(e) max(|e| - |e|^(p - 1) / beta, 0), e in
 * steps. */
static double rest(const float *w, const float *values, int64_t n, double step, double beta) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double e = ((double)w[i] - (double)values[i]) / step;
        const double size = fabs(e);
        const double kept = size > 0.0 ? size - pow(size, NORM - 1.0) / beta : 0.0;
        sum += e - copysign(kept > 0.0 ? kept : 0.0, e);
    }
    return sum / (double)n * step;
}

/* Moves the offset of one part; params is changed where that lowers the mean error. */
static void fit_part(const opt_format *f, const float *w, int64_t part, int64_t i0, int64_t n,
                     uint8_t *params, int32_t *codes, float *values) {
    _Alignas(16) uint8_t now[OPT_GRID_PARAMS_MAX], moved[OPT_GRID_PARAMS_MAX];
    double squares = 0.0, beta = BETA, best = mean_error(w + i0, values + i0, n);
    for (int64_t i = i0; i < i0 + n; i++) {
        const double e = (double)w[i] - (double)values[i];
        squares += e * e;
    }
    const double step = sqrt(12.0 * squares / (double)n); /* of errors that are spread evenly */
    memcpy(now, params, f->grid->params_bytes);
    for (int r = 0; r < ROUNDS && step > 0.0; r++, beta *= KAPPA) {
        const double shift = rest(w + i0, values + i0, n, step, beta);
        f->grid->move(f, now, part, 1.0F, (float)shift, moved);
        for (int64_t i = i0; i < i0 + n; i++) {
            f->grid->round(f, moved, i, &w[i], &codes[i], &values[i]);
        }
        const double e = mean_error(w + i0, values + i0, n);
        if (!(e < best)) {
            break;
        }
        best = e;
        memcpy(now, moved, f->grid->params_bytes);
        memcpy(params, moved, f->grid->params_bytes);
    }
}

static void solve_block(const opt_quant_job *job, const float *w, const float *importance,
                        int64_t n, int32_t *codes, float *values, uint8_t *dst) {
    const opt_format *f = job->format;
    _Alignas(16) uint8_t params[OPT_GRID_PARAMS_MAX];
    const int64_t part = opt_format_part_elems(f);
    f->grid->fit(f, w, importance, n, params);
    round_block(f, params, w, n, codes, values);
    for (int64_t i0 = 0; i0 < n; i0 += part) {
        fit_part(f, w, i0 / part, i0, opt_min_i64(part, n - i0), params, codes, values);
    }
    round_block(f, params, w, n, codes, values);
    f->grid->emit(f, params, codes, n, dst);
}

static opt_status solve(opt_ctx *ctx, const opt_quant_job *job, void *scratch) {
    (void)ctx;
    const opt_format *f = job->format;
    int32_t *codes = scratch;
    float *values = (float *)(void *)(codes + f->block_elems);
    for (int64_t r = 0; r < job->n_rows; r++) {
        const float *w = job->w + r * job->n_cols;
        uint8_t *dst = job->dst + (size_t)r * job->row_bytes;
        for (int64_t c = 0; c < job->n_cols; c += f->block_elems, dst += f->block_bytes) {
            solve_block(job, w + c, job->importance != NULL ? job->importance + c : NULL,
                        opt_min_i64(f->block_elems, job->n_cols - c), codes, values, dst);
        }
    }
    return OPT_OK;
}

static const opt_method_param no_params[] = {{NULL, NULL, 0, 0, 0}};

const opt_quant_method opt_quant_hqq = {
    .name = "hqq",
    .help = "half-quadratic fit of the offsets, for formats that have them; no calibration text",
    .params = no_params,
    .needs = OPT_NEEDS_ZERO_POINT,
    .scratch_bytes = scratch_bytes,
    .solve = solve,
};
