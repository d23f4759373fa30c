/*
 * Reference rows of the int8 path. Dot products of groups are exact integers; the chain over groups
 * is part of the slot's contract, so that this is the one reference which fast rows must match bit
 * for bit.
 */
#include <math.h>

#include "base/num.h"
#include "kern/act.h"
#include "kern/blocks.h"
#include "kern/half.h"
#include "kern/rows.h"

/** The part of a row that is multiplied with one group of activations: w[i] = d (code[i] - offset)
 * + m. */
typedef struct weights {
    int code[OPT_ACT_GROUP];
    int offset;
    bool has_min;
    float d;
    float m;
} weights;

/** Reads group g (elements 32 g .. 32 g + 31) of a stored row. */
typedef void read_fn(const opt_kspec *s, const void *row, int64_t g, weights *out);

static void read_q8_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q8_0 *b = (const optk_q8_0 *)row + g;
    *out = (weights){.d = optk_ld_f16(b->d)};
    for (int i = 0; i < 32; i++) {
        out->code[i] = b->qs[i];
    }
}

/** Element i of 16 bytes of nibbles: the low ones first. */
static int nibble(const uint8_t *qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

static void read_q4_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q4_0 *b = (const optk_q4_0 *)row + g;
    *out = (weights){.d = optk_ld_f16(b->d), .offset = 8};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i);
    }
}

static void read_q4_1(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q4_1 *b = (const optk_q4_1 *)row + g;
    *out = (weights){.d = optk_ld_f16(b->d), .m = optk_ld_f16(b->m), .has_min = true};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i);
    }
}

static void read_q5_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q5_0 *b = (const optk_q5_0 *)row + g;
    *out = (weights){.d = optk_ld_f16(b->d), .offset = 16};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i) | (int)(opt_rd_u32le(b->qh) >> i & 1) << 4;
    }
}

static void read_q5_1(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q5_1 *b = (const optk_q5_1 *)row + g;
    *out = (weights){.d = optk_ld_f16(b->d), .m = optk_ld_f16(b->m), .has_min = true};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i) | (int)(opt_rd_u32le(b->qh) >> i & 1) << 4;
    }
}

/** Code of element i of an own integer group, whose codes start at qs. */
static int int_code(const opt_kspec *s, const uint8_t *qs, int i) {
    const int group = s->group;
    switch (s->bits) {
    case 8: return qs[i];
    case 4: return i < group / 2 ? qs[i] & 15 : qs[i - group / 2] >> 4;
    default: break;
    }
    const int low = qs[i % (group / 4)] >> (2 * (i / (group / 4))) & 3;
    const int third = s->bits == 3 ? qs[group / 4 + i / 8] >> (i % 8) & 1 : 0;
    return low | third << 2;
}

static void read_int(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    const uint8_t *b = (const uint8_t *)row + (size_t)(g * 32 / s->group) * s->block_bytes;
    *out = (weights){.d = optk_ld_f16(b),
                     .offset = s->symmetric ? 1 << (s->bits - 1) : 0,
                     .has_min = !s->symmetric};
    if (out->has_min) { /* w = d (q - zero 2^(bits - 8)), exact in f32 */
        out->m = out->d * ((float)b[2] * (-1.0f / (float)(1 << (8 - s->bits))));
    }
    for (int i = 0; i < 32; i++) {
        out->code[i] = int_code(s, b + OPTK_INT_HEAD(s->symmetric), (int)(g * 32 % s->group) + i);
    }
}

/** One output: the row's groups in increasing order against token t. */
static float dot_row(const opt_kspec *s, read_fn *read, const void *row, const opt_act_i8 *x,
                     int64_t t, int64_t k) {
    const int64_t groups_per_token = x->n_padded / OPT_ACT_GROUP;
    float sum = 0;
    for (int64_t g = 0; g < opt_ceil_div(k, OPT_ACT_GROUP); g++) {
        weights w;
        read(s, row, g, &w);
        int dot = 0;
        for (int i = 0; i < OPT_ACT_GROUP; i++) {
            dot += (w.code[i] - w.offset) * x->q[t * x->n_padded + g * OPT_ACT_GROUP + i];
        }
        sum = fmaf((float)dot, w.d * x->scale[t * groups_per_token + g], sum);
        sum = w.has_min ? fmaf(w.m, x->scaled_sum[t * groups_per_token + g], sum) : sum;
    }
    return sum;
}

#define LINEAR_I8(name)                                                                            \
    void optk_linear_i8_##name##__ref(const opt_kspec *s, const void *w, size_t row_bytes,         \
                                      const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,  \
                                      int64_t n_tokens, int64_t k) {                               \
        for (int64_t t = 0; t < n_tokens; t++) {                                                   \
            for (int64_t r = 0; r < n_rows; r++) {                                                 \
                const uint8_t *row = (const uint8_t *)w + (size_t)r * row_bytes;                   \
                y[t * ldy + r] = dot_row(s, read_##name, row, x, t, k);                            \
            }                                                                                      \
        }                                                                                          \
    }

LINEAR_I8(q8_0)
LINEAR_I8(q4_0)
LINEAR_I8(q4_1)
LINEAR_I8(q5_0)
LINEAR_I8(q5_1)
LINEAR_I8(int)
