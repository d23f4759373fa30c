/** Reference encoder of scalar grids; the search is described in kern/scalar.h. */
#include "kern/scalar.h"

#include <math.h>

#include "kern/pack.h"
#include "kern/rows.h"

/**
 * How far candidates stretch the range of codes: `more` levels from first to last, in even steps.
 * Measured on language models (few, well spread candidates come within 0.3 % of the error of an
 * exhaustive search): at 8 bits the range hardly matters and only the luck of the rounding counts,
 * while at 2 bits and long groups clipping pays.
 */
typedef struct search_range {
    float first, last;
} search_range;

static search_range range_symmetric(int bits, int group) {
    switch (bits) {
    case 8: return (search_range){-7.0f, 0.5f};
    case 5: return (search_range){-2.5f, 0.5f};
    case 4: return group == 32 ? (search_range){-1.25f, 1.375f} : (search_range){-0.5f, 2.0f};
    default: return group == 32 ? (search_range){-1.0f, 1.5f} : (search_range){-0.5f, 2.0f};
    }
}

static search_range range_offset(int bits, int group) {
    switch (bits) {
    case 8: return (search_range){-5.0f, 0.5f};
    case 5: return (search_range){-1.75f, 1.5f};
    case 4: return group == 32 ? (search_range){-1.5f, 1.5f} : (search_range){-0.25f, 2.0f};
    case 3: return group == 32 ? (search_range){-0.5f, 1.5f} : (search_range){0.0f, 2.5f};
    default: return group == 32 ? (search_range){0.0f, 2.0f} : (search_range){0.0f, 4.0f};
    }
}

static void set_candidates(optk_scalar *g, int bits, int group) {
    const bool symmetric = g->offset == OPTK_OFFSET_NONE;
    const search_range r = symmetric ? range_symmetric(bits, group) : range_offset(bits, group);
    g->n_candidates = symmetric ? 8 : 12;
    const float step = (r.last - r.first) / (float)(g->n_candidates - 1);
    for (int k = 0; k < g->n_candidates; k++) {
        const float more = r.first + step * (float)k;
        if (symmetric) {
            g->span[k] = g->lo - more;
            g->shift[k] = 0.0f;
        } else {
            /* Shifts of up to 0.4 levels; multiples of the golden section spread them evenly over
             * the stretches. */
            const float turn = 0.5f + 0.618034f * (float)k;
            g->span[k] = g->hi + more;
            g->shift[k] = 0.5f * more + 0.4f * (2.0f * (turn - floorf(turn)) - 1.0f);
        }
    }
}

optk_scalar optk_scalar_of(const opt_kspec *s) {
    optk_scalar g = {.offset = OPTK_OFFSET_NONE};
    int bits = 0;
    int group = 32;
    switch (s->kfmt) {
    case OPT_KFMT_Q4_0: bits = 4; break;
    case OPT_KFMT_Q5_0: bits = 5; break;
    case OPT_KFMT_Q8_0: bits = 8; break;
    case OPT_KFMT_Q4_1:
        bits = 4;
        g.offset = OPTK_OFFSET_MIN;
        break;
    case OPT_KFMT_Q5_1:
        bits = 5;
        g.offset = OPTK_OFFSET_MIN;
        break;
    default:
        bits = s->bits;
        group = s->group;
        g.offset = s->symmetric ? OPTK_OFFSET_NONE : OPTK_OFFSET_ZERO;
        break;
    }
    if (g.offset == OPTK_OFFSET_NONE) {
        g.lo = s->kfmt == OPT_KFMT_Q8_0 ? -127.0f : (float)-(1 << (bits - 1));
        g.hi = (float)((1 << (bits - 1)) - 1);
    } else {
        g.lo = 0.0f;
        g.hi = (float)((1 << bits) - 1);
    }
    set_candidates(&g, bits, group);
    return g;
}

static float clamp(float v, float lo, float hi) { return v < lo ? lo : v > hi ? hi : v; }

/** As stored: half precision without infinities and without a negative zero. */
static float stored_half(float v) {
    return optk_f16_to_f32(optk_f32_to_f16(clamp(v, -OPTK_F16_MAX, OPTK_F16_MAX))) + 0.0f;
}

static optk_scalar_params stored_params(const optk_scalar *g, float d, float m) {
    optk_scalar_params p = {.d = stored_half(d)};
    p.inv = p.d != 0.0f ? 1.0f / p.d : 0.0f;
    if (g->offset == OPTK_OFFSET_MIN) {
        p.offset = stored_half(m);
    } else if (g->offset == OPTK_OFFSET_ZERO) {
        const float unit = (g->hi + 1.0f) / 256.0f; /* a power of two */
        p.offset = clamp(rintf((0.0f - m) * p.inv / unit), 0.0f, 255.0f) * unit;
    }
    return p;
}

/** The exact product of a and b (48 bits fit a double), rounded to the nearest integer. */
static float round_product(float a, float b) { return (float)rint((double)a * (double)b); }

/** Nearest code q (lo .. hi). */
static float nearest(const optk_scalar *g, const optk_scalar_params *p, float x) {
    float q;
    switch (g->offset) {
    case OPTK_OFFSET_NONE: q = round_product(x, p->inv); break;
    case OPTK_OFFSET_MIN: q = round_product(x - p->offset, p->inv); break;
    default: q = rintf(fmaf(x, p->inv, p->offset)); break;
    }
    return clamp(q, g->lo, g->hi);
}

int optk_scalar_round(const optk_scalar *g, const optk_scalar_params *p, float x, float *value) {
    const int code = (int)nearest(g, p, x);
    const float q = (float)code; /* an integer has no negative zero */
    switch (g->offset) {         /* with the decoder's operations */
    case OPTK_OFFSET_NONE: *value = p->d * q; break;
    case OPTK_OFFSET_MIN: *value = p->d * q + p->offset; break;
    default: *value = p->d * (q - p->offset); break;
    }
    return code - (int)g->lo;
}

void optk_round_scalar__ref(const struct optk_scalar *g, const float *params, int64_t stride,
                            const float *x, int64_t n, int32_t *codes, float *values) {
    for (int64_t i = 0; i < n; i++) {
        const float *from = params + i * stride;
        const optk_scalar_params p = {from[0], from[1], from[2]};
        codes[i] = optk_scalar_round(g, &p, x[i], &values[i]);
    }
}

/** sum(w (x - x')^2) */
static float stored_error(const optk_scalar *g, const optk_scalar_params *p, const float *x,
                          const float *w, int64_t n) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float q = nearest(g, p, x[i]);
        const float y = g->offset == OPTK_OFFSET_MIN ? x[i] - p->offset : x[i];
        const float r = fmaf(0.0f - p->d, g->offset == OPTK_OFFSET_ZERO ? q - p->offset : q, y);
        sum = fmaf(w[i] * r, r, sum);
    }
    return sum;
}

/** Best scale d for x ~ d q among the candidates; `peak` is the element of the largest magnitude.
 */
static float search_scale(const optk_scalar *g, const float *x, const float *w, int64_t n,
                          float peak) {
    float best = peak / g->lo;
    float best_score = 0.0f;
    for (int k = 0; k < g->n_candidates; k++) {
        const float inv = g->span[k] / peak;
        float sum_xq = 0.0f;
        float sum_qq = 0.0f;
        for (int64_t i = 0; i < n; i++) {
            const float q = clamp(round_product(x[i], inv), g->lo, g->hi);
            sum_xq = fmaf(w[i] * x[i], q, sum_xq);
            sum_qq = fmaf(w[i] * q, q, sum_qq);
        }
        /* With d = sum_xq / sum_qq the error is sum(w x^2) - score. */
        const float score = sum_xq * sum_xq / sum_qq;
        if (score > best_score) { /* false for 0/0 */
            best_score = score;
            best = sum_xq / sum_qq;
        }
    }
    return best;
}

/** Best scale and offset for x ~ d q + m among the candidates; all x lie within [min, min + range],
 * range > 0. */
static void search_scale_offset(const optk_scalar *g, const float *x, const float *w, int64_t n,
                                float min, float range, float *d, float *m) {
    float sum_w = 0.0f;
    float sum_y = 0.0f; /* y = x - min keeps digits that x would lose */
    for (int64_t i = 0; i < n; i++) {
        sum_w += w[i];
        sum_y += w[i] * (x[i] - min);
    }
    float best_score = 0.0f;
    *d = range / g->hi;
    *m = min;
    for (int k = 0; k < g->n_candidates; k++) {
        const float inv = g->span[k] / range;
        float sum_q = 0.0f;
        float sum_qq = 0.0f;
        float sum_yq = 0.0f;
        for (int64_t i = 0; i < n; i++) {
            const float y = x[i] - min;
            const float q = clamp(rintf(fmaf(y, inv, 0.0f - g->shift[k])), g->lo, g->hi);
            sum_q = fmaf(w[i], q, sum_q);
            sum_qq = fmaf(w[i] * q, q, sum_qq);
            sum_yq = fmaf(w[i] * y, q, sum_yq);
        }
        const float var = sum_w * sum_qq - sum_q * sum_q;
        const float cov = sum_w * sum_yq - sum_y * sum_q;
        const float score = cov * cov / var;
        if (score > best_score) { /* false for 0/0 */
            best_score = score;
            *d = cov / var;
            *m = min + (sum_y - *d * sum_q) / sum_w;
        }
    }
}

/** importance / max(importance), or ones if there is none to speak of; n is at most 128. */
static void weights_of(const float *importance, int64_t n, float *w) {
    float max = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        w[i] = 1.0f;
        max = importance != NULL && importance[i] > max ? importance[i] : max;
    }
    for (int64_t i = 0; importance != NULL && max > 0.0f && i < n; i++) {
        w[i] = importance[i] / max;
    }
}

/** A block as the search sees it. */
typedef struct block_view {
    const float *x;
    int64_t n;
    float w[128];
    float min, max;
    float peak;      /* the element of the largest magnitude */
    bool searchable; /* no sum of the search over- or underflows */
} block_view;

static void view_block(const float *x, const float *importance, int64_t n, block_view *b) {
    b->x = x;
    b->n = n;
    weights_of(importance, n, b->w);
    b->min = x[0];
    b->max = x[0];
    for (int64_t i = 1; i < n; i++) {
        b->min = x[i] < b->min ? x[i] : b->min;
        b->max = x[i] > b->max ? x[i] : b->max;
    }
    b->peak = 0.0f - b->min >= b->max ? b->min : b->max;
    b->searchable = fabsf(b->peak) >= OPTK_SCALAR_TINY && fabsf(b->peak) <= OPTK_SCALAR_HUGE;
}

static optk_scalar_params better(const optk_scalar *g, const block_view *b,
                                 optk_scalar_params found, optk_scalar_params plain) {
    const float found_error = stored_error(g, &found, b->x, b->w, b->n);
    return found_error <= stored_error(g, &plain, b->x, b->w, b->n) ? found : plain;
}

optk_scalar_params optk_scalar_fit(const optk_scalar *g, const float *x, const float *importance,
                                   int64_t n) {
    block_view b;
    view_block(x, importance, n, &b);
    if (g->offset == OPTK_OFFSET_NONE) {
        const optk_scalar_params plain = stored_params(g, b.peak / g->lo, 0.0f);
        if (!b.searchable) {
            return plain;
        }
        const float d = search_scale(g, x, b.w, n, b.peak);
        return better(g, &b, stored_params(g, d, 0.0f), plain);
    }
    if (g->offset == OPTK_OFFSET_ZERO) { /* a zero point lies within the range of codes */
        b.min = b.min < 0.0f ? b.min : 0.0f;
        b.max = b.max > 0.0f ? b.max : 0.0f;
    }
    const float range = b.max - b.min;
    const optk_scalar_params plain = stored_params(g, range / g->hi, b.min);
    if (!b.searchable || !(range > 0.0f)) {
        return plain;
    }
    float d, m;
    search_scale_offset(g, x, b.w, n, b.min, range, &d, &m);
    return better(g, &b, stored_params(g, d, m), plain);
}

optk_scalar_params optk_scalar_move(const optk_scalar *g, const optk_scalar_params *p, float scale,
                                    float shift) {
    /* value(0) is m for d q + m, and -d z for d (q - z): stored_params takes it in both cases. */
    const float at_zero = g->offset == OPTK_OFFSET_ZERO ? 0.0f - p->d * p->offset : p->offset;
    return stored_params(g, p->d * scale, at_zero * scale + shift);
}

optk_scalar_params optk_scalar_load(const optk_scalar *g, const void *block) {
    const uint8_t *in = block; /* every such block begins with d, and then m or z if it has one */
    optk_scalar_params p = {.d = optk_ld_f16(in)};
    p.inv = p.d != 0.0f ? 1.0f / p.d : 0.0f;
    if (g->offset == OPTK_OFFSET_MIN) {
        p.offset = optk_ld_f16(in + 2);
    } else if (g->offset == OPTK_OFFSET_ZERO) {
        p.offset = (float)in[2] * ((g->hi + 1.0f) / 256.0f);
    }
    return p;
}

void optk_scalar_emit(const opt_kspec *s, const optk_scalar_params *p, const uint8_t *codes,
                      int64_t n, void *block) {
    uint8_t all[128] = {0};
    memcpy(all, codes, (size_t)n);
    optk_pack_block(s, optk_f32_to_f16(p->d), p->offset, all, block);
}

static void encode_row(const opt_kspec *s, const optk_scalar *g, const float *x,
                       const float *importance, uint8_t *block, int64_t n) {
    const int64_t group = s->kfmt == OPT_KFMT_INT ? s->group : 32;
    for (int64_t i = 0; i < n; i += group, block += s->block_bytes) {
        const int64_t len = n - i < group ? n - i : group;
        const float *weights = importance != NULL ? importance + i : NULL;
        const optk_scalar_params p = optk_scalar_fit(g, x + i, weights, len);
        uint8_t codes[128] = {0};
        for (int64_t j = 0; j < len; j++) {
            float value;
            codes[j] = (uint8_t)optk_scalar_round(g, &p, x[i + j], &value);
        }
        optk_scalar_emit(s, &p, codes, len, block);
    }
}

static void encode(const opt_kspec *s, const float *x, const float *importance, void *dst,
                   int64_t n) {
    const optk_scalar g = optk_scalar_of(s);
    const int64_t group = s->kfmt == OPT_KFMT_INT ? s->group : 32;
    const int64_t n_cols = s->n_cols > 0 ? s->n_cols : n;
    const size_t row_bytes = (size_t)opt_ceil_div(n_cols, group) * s->block_bytes;
    uint8_t *row = dst;
    for (int64_t i = 0; i < n; i += n_cols, row += row_bytes) {
        encode_row(s, &g, x + i, importance, row, n_cols);
    }
}

#define ENCODE(name)                                                                               \
    void optk_encode_##name##__ref(const opt_kspec *s, const float *w, const float *importance,    \
                                   void *dst, int64_t n) {                                         \
        encode(s, w, importance, dst, n);                                                          \
    }

ENCODE(q4_0)
ENCODE(q4_1)
ENCODE(q5_0)
ENCODE(q5_1)
ENCODE(q8_0)
ENCODE(int)
