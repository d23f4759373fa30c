/** Grids of parts (kern/parts.h): the formats, and everything but the search. */
#include "kern/parts.h"

#include <math.h>
#include <string.h>

#include "kern/blocks.h"
#include "kern/half.h"
#include "kern/scalar.h"

/* How far candidates stretch the range was tuned on language models, as for scalar grids. */
static const optk_parts iq4_nl = {.levels = OPTK_LEVELS_TABLE,
                                  .scales = OPTK_SCALES_HALF,
                                  .block = 32,
                                  .part = 32,
                                  .lo = -127.0f,
                                  .hi = 113.0f,
                                  .table = &optk_iq4_table,
                                  .at_lo = {12, -20.0f, 12.0f},
                                  .at_hi = {12, -20.0f, 20.0f}};
static const optk_parts iq4_xs = {.levels = OPTK_LEVELS_TABLE,
                                  .scales = OPTK_SCALES_INTEGER,
                                  .block = 256,
                                  .part = 32,
                                  .lo = -127.0f,
                                  .hi = 113.0f,
                                  .int_lo = -32.0f,
                                  .int_hi = 31.0f,
                                  .table = &optk_iq4_table,
                                  .at_lo = {12, -20.0f, 12.0f},
                                  .at_hi = {12, -20.0f, 20.0f},
                                  .reach = 2,
                                  .rounds = 2};
static const optk_parts nf4 = {.levels = OPTK_LEVELS_TABLE,
                               .scales = OPTK_SCALES_HALF,
                               .block = 64,
                               .part = 64,
                               .lo = -1.0f,
                               .hi = 1.0f,
                               .table = &optk_nf4_table,
                               .at_lo = {8, -0.1f, 0.25f},
                               .at_hi = {8, -0.1f, 0.25f}};
static const optk_parts mxfp4 = {.levels = OPTK_LEVELS_TABLE,
                                 .scales = OPTK_SCALES_E8M0,
                                 .block = 32,
                                 .part = 32,
                                 .lo = -12.0f,
                                 .hi = 12.0f,
                                 .table = &optk_e2m1_table};
static const optk_parts nvfp4 = {.levels = OPTK_LEVELS_TABLE,
                                 .scales = OPTK_SCALES_UE4M3,
                                 .block = 64,
                                 .part = 16,
                                 .lo = -12.0f,
                                 .hi = 12.0f,
                                 .table = &optk_e2m1_table};
static const optk_parts fp8 = {.levels = OPTK_LEVELS_E4M3,
                               .scales = OPTK_SCALES_HALF,
                               .block = 128,
                               .part = 128,
                               .lo = -448.0f,
                               .hi = 448.0f,
                               .at_lo = {8, -200.0f, 0.0f}};
static const optk_parts tq2_0 = {.levels = OPTK_LEVELS_EVEN,
                                 .scales = OPTK_SCALES_HALF,
                                 .block = 256,
                                 .part = 256,
                                 .lo = -1.0f,
                                 .hi = 1.0f,
                                 .at_lo = {16, 0.0f, 4.0f}};
static const optk_parts ternary_g64 = {.levels = OPTK_LEVELS_EVEN,
                                       .scales = OPTK_SCALES_HALF,
                                       .block = 64,
                                       .part = 64,
                                       .lo = -1.0f,
                                       .hi = 1.0f,
                                       .at_lo = {16, 0.0f, 3.0f}};
static const optk_parts ternary_g128 = {.levels = OPTK_LEVELS_EVEN,
                                        .scales = OPTK_SCALES_HALF,
                                        .block = 128,
                                        .part = 128,
                                        .lo = -1.0f,
                                        .hi = 1.0f,
                                        .at_lo = {16, 0.0f, 3.5f}};
static const optk_parts q6_k = {.levels = OPTK_LEVELS_EVEN,
                                .scales = OPTK_SCALES_INTEGER,
                                .block = 256,
                                .part = 16,
                                .lo = -32.0f,
                                .hi = 31.0f,
                                .int_lo = -128.0f,
                                .int_hi = 127.0f,
                                .at_lo = {12, -4.0f, 0.75f},
                                .reach = 4,
                                .rounds = 2};
static const optk_parts q3_k = {.levels = OPTK_LEVELS_EVEN,
                                .scales = OPTK_SCALES_INTEGER,
                                .block = 256,
                                .part = 16,
                                .lo = -4.0f,
                                .hi = 3.0f,
                                .int_lo = -32.0f,
                                .int_hi = 31.0f,
                                .at_lo = {12, -1.0f, 1.5f},
                                .reach = 4,
                                .rounds = 2};
static const optk_parts q2_k = {.levels = OPTK_LEVELS_EVEN,
                                .scales = OPTK_SCALES_INTEGER,
                                .offset = true,
                                .block = 256,
                                .part = 16,
                                .lo = 0.0f,
                                .hi = 3.0f,
                                .int_lo = 0.0f,
                                .int_hi = 15.0f,
                                .at_lo = {16, -0.5f, 2.0f},
                                .rounds = 3};
static const optk_parts q4_k = {.levels = OPTK_LEVELS_EVEN,
                                .scales = OPTK_SCALES_INTEGER,
                                .offset = true,
                                .block = 256,
                                .part = 32,
                                .lo = 0.0f,
                                .hi = 15.0f,
                                .int_lo = 0.0f,
                                .int_hi = 63.0f,
                                .at_lo = {16, -1.5f, 1.5f},
                                .rounds = 2};
static const optk_parts q5_k = {.levels = OPTK_LEVELS_EVEN,
                                .scales = OPTK_SCALES_INTEGER,
                                .offset = true,
                                .block = 256,
                                .part = 32,
                                .lo = 0.0f,
                                .hi = 31.0f,
                                .int_lo = 0.0f,
                                .int_hi = 63.0f,
                                .at_lo = {16, -1.75f, 1.5f},
                                .rounds = 2};

const optk_parts *optk_parts_of(const opt_kspec *s) {
    switch (s->kfmt) {
    case OPT_KFMT_Q2_K: return &q2_k;
    case OPT_KFMT_Q3_K: return &q3_k;
    case OPT_KFMT_Q4_K: return &q4_k;
    case OPT_KFMT_Q5_K: return &q5_k;
    case OPT_KFMT_Q6_K: return &q6_k;
    case OPT_KFMT_IQ4_NL: return &iq4_nl;
    case OPT_KFMT_IQ4_XS: return &iq4_xs;
    case OPT_KFMT_TQ2_0: return &tq2_0;
    case OPT_KFMT_MXFP4: return &mxfp4;
    case OPT_KFMT_NVFP4: return &nvfp4;
    case OPT_KFMT_NF4: return &nf4;
    case OPT_KFMT_FP8: return &fp8;
    case OPT_KFMT_TERNARY: return s->group == 64 ? &ternary_g64 : &ternary_g128;
    default: return NULL;
    }
}

/* Everything below does exactly what the search does, operation by operation. */

static float clamp(float v, float lo, float hi) {
    const float a = lo > v ? lo : v;
    return hi < a ? hi : a;
}

static float stored_half(float v) {
    return optk_f16_to_f32(optk_f32_to_f16(clamp(v, -OPTK_F16_MAX, OPTK_F16_MAX))) + 0.0f;
}

static float inverse(float s) { return fabsf(s) > 0x1p-120f ? 1.0f / s : 0.0f; }

static float binade(float v) { return optk_bits_f32(optk_f32_bits(v) & 0x7f800000); }

static float round_e4m3(float v) {
    const float unit = binade(v), magic = (unit > 0x1p-6f ? unit : 0x1p-6f) * 0x1.8p20f;
    return (v + magic) - magic;
}

/** The code of an E4M3 number. */
static int e4m3_code(float v) {
    const uint32_t sign = v < 0.0f ? 0x80 : 0;
    const float a = fabsf(v);
    if (a < 0x1p-6f) {
        return (int)(sign | (uint32_t)(a * 512.0f));
    }
    return (int)(sign | ((optk_f32_bits(a) >> 20) - (120u << 3)));
}

void optk_parts_derive(const optk_parts *g, optk_part_params *p) {
    for (int i = 0; i < g->block / g->part; i++) {
        if (g->scales == OPTK_SCALES_INTEGER) {
            p->scale[i] = p->d * (float)p->integer[i];
            p->min[i] = p->dmin * (float)p->integer_min[i];
        } else if (g->scales == OPTK_SCALES_HALF) {
            p->scale[i] = p->d;
        }
        p->inv[i] = inverse(p->scale[i]);
    }
}

int optk_parts_round(const optk_parts *g, const optk_part_params *p, int64_t i, float x,
                     float *value) {
    const int64_t part = i / g->part;
    const float y = g->offset ? x + p->min[part] : x;
    float level;
    int code;
    if (g->levels == OPTK_LEVELS_EVEN) {
        const int q = (int)clamp((float)rint((double)y * (double)p->inv[part]), g->lo, g->hi);
        level = (float)q;
        code = q - (int)g->lo;
    } else {
        const float v = clamp(y * p->inv[part], g->lo, g->hi);
        if (g->levels == OPTK_LEVELS_E4M3) {
            level = round_e4m3(v);
            code = e4m3_code(level);
        } else {
            const optk_level_table *t = g->table;
            const int bin = (int)((v - t->origin) * t->bins) & 31;
            const bool up = v > t->threshold[bin];
            level = up ? t->above[bin] : t->below[bin];
            code = (int)(up ? t->stored_above[bin] : t->stored_below[bin]);
        }
    }
    *value = g->offset ? p->scale[part] * level - p->min[part] : p->scale[part] * level;
    return code;
}

/** The nearest scale that a part with an 8-bit scale of its own can store, v >= 0. */
static float own_scale(const optk_parts *g, float v) {
    if (g->scales == OPTK_SCALES_UE4M3) {
        return 0.5f * round_e4m3(clamp(2.0f * v, 0.0f, 448.0f));
    }
    const float low = binade(v); /* in the middle between powers of two, as errors are: 3 / 2 */
    return clamp(v > 1.5f * low ? 2.0f * low : low, 0x1p-120f, 0x1p124f);
}

static int nearest_integer(float v, float unit, float lo, float hi) {
    return (int)clamp((float)rint((double)v * (double)inverse(unit)), lo, hi);
}

void optk_parts_move(const optk_parts *g, const optk_part_params *p, int64_t part, float scale,
                     float shift, optk_part_params *moved) {
    *moved = *p;
    if (g->scales == OPTK_SCALES_HALF || (g->scales == OPTK_SCALES_INTEGER && part < 0)) {
        moved->d = stored_half(p->d * scale);
        moved->dmin = stored_half(p->dmin * scale);
    } else if (g->scales == OPTK_SCALES_INTEGER) {
        const float min = p->min[part] * scale - shift;
        moved->integer[part] =
            (int16_t)nearest_integer(p->scale[part] * scale, p->d, g->int_lo, g->int_hi);
        if (g->offset) {
            moved->integer_min[part] = (int16_t)nearest_integer(min, p->dmin, 0.0f, g->int_hi);
        }
    } else {
        for (int i = 0; i < g->block / g->part; i++) {
            if ((part < 0 || i == part) && p->scale[i] > 0x1p-120f) {
                moved->scale[i] = own_scale(g, p->scale[i] * scale);
            }
        }
    }
    optk_parts_derive(g, moved);
}
