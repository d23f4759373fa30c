/** Reference encoder of grids of parts; the search is described in kern/parts.h. */
#include <math.h>
#include <stdint.h>

#include "base/attr.h"
#include "kern/half.h"

/* The vector operations of kern/lanes.inc for one lane. */
typedef float vec;
typedef bool vmask;
enum { LANES = 1 };

static vec v_set(float a) { return a; }
static vec v_load(const float *p) { return *p; }
static void v_store(float *p, vec a) { *p = a; }
static vec v_add(vec a, vec b) { return a + b; }
static vec v_sub(vec a, vec b) { return a - b; }
static vec v_mul(vec a, vec b) { return a * b; }
static vec v_div(vec a, vec b) { return a / b; }
static vec v_fma(vec a, vec b, vec c) { return fmaf(a, b, c); }
static vec v_min(vec a, vec b) { return a < b ? a : b; }
static vec v_max(vec a, vec b) { return a > b ? a : b; }
static vec v_round(vec a) { return rintf(a); }
static vec v_half(vec a) { return optk_f16_to_f32(optk_f32_to_f16(a)); }
static vmask v_gt(vec a, vec b) { return a > b; }
static vmask v_ge(vec a, vec b) { return a >= b; }
static vmask v_eq(vec a, vec b) { return a == b; }
static vmask v_and(vmask a, vmask b) { return a && b; }
static vec v_select(vmask m, vec yes, vec no) { return m ? yes : no; }
static vec v_lookup(const float *tab, vec index) { return tab[(int)index & 31]; }
static vec v_binade(vec a) { return optk_bits_f32(optk_f32_bits(a) & 0x7f800000); }
static vec v_exponent(vec a) { return (float)(optk_f32_bits(a) >> 23); }

static void v_transpose(const float *const rows[LANES], int64_t i, float *x) { *x = rows[0][i]; }

static void v_store_codes(const vec q[4], uint32_t *out, int stride) {
    (void)stride;
    *out = (uint32_t)q[0] | (uint32_t)q[1] << 8 | (uint32_t)q[2] << 16 | (uint32_t)q[3] << 24;
}

static vec v_load_some(const float *p, int64_t n) {
    (void)n;
    return *p;
}
static void v_store_some(float *p, vec a, int64_t n) {
    (void)n;
    *p = a;
}
static void v_store_ints(int32_t *p, vec a, int64_t n) {
    (void)n;
    *p = (int32_t)a;
}
static vec v_spread(const float *p, int64_t stride, int64_t n) {
    (void)stride;
    (void)n;
    return *p;
}

#include "kern/parts.inc"

ENCODE_PARTS(ref)
ROUND_PARTS(ref)

void optk_parts_fit(const opt_kspec *s, const float *x, const float *importance, int64_t n,
                    optk_part_params *p) {
    const optk_parts *f = optk_parts_of(s);
    block_cursor cursor = {.w = x, .importance = importance, .n_cols = n, .group = f->block};
    lane_block block;
    lane_data t = {.n = f->block};
    lane_grid g;
    lane_params o;
    int64_t len;
    set_grid(&g, f);
    const bool weighted = load_lanes(&cursor, 1, &block, &t, &len);
    fit_lanes((variant){f->levels, f->scales, f->offset, weighted}, &g, &t, &o);
    take_lane(&g, &o, 0, p);
    optk_parts_derive(f, p);
}
