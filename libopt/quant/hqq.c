/*
 * HQQ (Badri & Shaji 2023): half-quadratic fit of the offset of every block, without calibration.
 * With w' the rounded weights, the error e = w - w' is split into a sparse part, found by the
 * generalised soft threshold of the l_p norm (p < 1), and a rest whose mean the offset takes up;
 * the two steps alternate, and what had the least mean |e| is kept. Differences to the paper: it
 * begins with the format's own fit and not with the range of the block, the threshold counts in
 * steps of the grid and not in units of the weights, so that scaling the weights changes nothing,
 * and all means are weighted by the importance of the columns where it is known.
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

/* Some columns of a row. */
typedef struct part {
    const float *w, *importance; /* [n]; importance NULL: all the same */
    int64_t first, n;            /* columns of the block */
    int32_t *codes;              /* [n] */
    float *values;               /* [n] */
} part;

/* Mean over a part, weighted by importance, of |e|, of its square, or of its rest. */
typedef enum measure { MEAN_SIZE, MEAN_SQUARE, MEAN_REST } measure;

/* e less its sparse part: shrink(e) = sign(e) max(|e| - |e|^(p - 1) / beta, 0), e in steps. */
static double rest(double e, double beta) {
    const double size = fabs(e);
    const double kept = size > 0.0 ? size - pow(size, NORM - 1.0) / beta : 0.0;
    return e - copysign(kept > 0.0 ? kept : 0.0, e);
}

static double mean(const part *p, measure what, double step, double beta) {
    double sum = 0.0, weights = 0.0;
    for (int64_t i = 0; i < p->n; i++) {
        const double e = ((double)p->w[i] - (double)p->values[i]) / step;
        const double weight = p->importance != NULL ? (double)p->importance[i] : 1.0;
        sum += weight * (what == MEAN_SIZE ? fabs(e) : what == MEAN_SQUARE ? e * e : rest(e, beta));
        weights += weight;
    }
    return weights > 0.0 ? sum / weights * step : 0.0;
}

static void round_part(const opt_format *f, const void *params, const part *p) {
    for (int64_t i = 0; i < p->n; i++) {
        f->grid->round(f, params, p->first + i, &p->w[i], &p->codes[i], &p->values[i]);
    }
}

/* Moves the offset of part `index`; params is changed where that lowers the mean error. */
static void fit_part(const opt_format *f, int64_t index, const part *p, uint8_t *params) {
    _Alignas(16) uint8_t now[OPT_GRID_PARAMS_MAX], moved[OPT_GRID_PARAMS_MAX];
    double beta = BETA, best = mean(p, MEAN_SIZE, 1.0, BETA);
    const double step = sqrt(12.0 * mean(p, MEAN_SQUARE, 1.0, BETA)); /* errors spread evenly */
    memcpy(now, params, f->grid->params_bytes);
    for (int r = 0; r < ROUNDS && step > 0.0; r++, beta *= KAPPA) {
        f->grid->move(f, now, index, 1.0F, (float)mean(p, MEAN_REST, step, beta), moved);
        round_part(f, moved, p);
        const double e = mean(p, MEAN_SIZE, 1.0, BETA);
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
    const int64_t size = opt_format_part_elems(f);
    const part block = {w, importance, 0, n, codes, values};
    f->grid->fit(f, w, importance, n, params);
    round_part(f, params, &block);
    for (int64_t i0 = 0; i0 < n; i0 += size) {
        const part p = {w + i0,     importance != NULL ? importance + i0 : NULL,
                        i0,         opt_min_i64(size, n - i0),
                        codes + i0, values + i0};
        fit_part(f, i0 / size, &p, params);
    }
    round_part(f, params, &block);
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
    .help = "half-quadratic fit of the offsets, for formats that have them; calibration text may "
            "weigh it",
    .params = no_params,
    .needs = OPT_NEEDS_ZERO_POINT | OPT_USES_HESSIAN,
    .scratch_bytes = scratch_bytes,
    .solve = solve,
};
