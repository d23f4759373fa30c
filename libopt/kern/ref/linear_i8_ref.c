/*
 * Reference rows of the int8 path for formats with one scale a block. Dot products of groups are
 * exact integers; the chain over groups is part of the slot's contract, so that this is the one
 * reference which fast rows must match bit for bit.
 */
#include "kern/ref/linear_i8_ref.h"

static void read_q8_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q8_0 *b = (const optk_q8_0 *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}};
    for (int i = 0; i < 32; i++) {
        out->code[i] = b->qs[i];
    }
}

/** Element i of 16 bytes of nibbles: the low ones first. */
static int nibble(const uint8_t *qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

static void read_q4_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q4_0 *b = (const optk_q4_0 *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}, .offset = 8};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i);
    }
}

static void read_q4_1(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q4_1 *b = (const optk_q4_1 *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}, .m = {optk_ld_f16(b->m)}, .has_min = true};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i);
    }
}

static void read_q5_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q5_0 *b = (const optk_q5_0 *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}, .offset = 16};
    for (int i = 0; i < 32; i++) {
        out->code[i] = nibble(b->qs, i) | (int)(opt_rd_u32le(b->qh) >> i & 1) << 4;
    }
}

static void read_q5_1(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q5_1 *b = (const optk_q5_1 *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}, .m = {optk_ld_f16(b->m)}, .has_min = true};
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
    *out = (weights){.d = {optk_ld_f16(b)},
                     .offset = s->symmetric ? 1 << (s->bits - 1) : 0,
                     .has_min = !s->symmetric};
    if (out->has_min) { /* w = d (q - zero 2^(bits - 8)), exact in f32 */
        out->m[0] = out->d[0] * ((float)b[2] * (-1.0f / (float)(1 << (8 - s->bits))));
    }
    for (int i = 0; i < 32; i++) {
        out->code[i] = int_code(s, b + OPTK_INT_HEAD(s->symmetric), (int)(g * 32 % s->group) + i);
    }
}

static void read_iq4_nl(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_iq4_nl *b = (const optk_iq4_nl *)row + g;
    *out = (weights){.d = {optk_ld_f16(b->d)}};
    for (int i = 0; i < 32; i++) {
        out->code[i] = optk_iq4_values[nibble(b->qs, i)];
    }
}

static void read_mxfp4(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_mxfp4 *b = (const optk_mxfp4 *)row + g;
    *out = (weights){.d = {optk_e8m0_half(b->e)}};
    for (int i = 0; i < 32; i++) {
        out->code[i] = optk_e2m1_doubled[nibble(b->qs, i)];
    }
}

/* Levels of nf4 and fp8 as integers of 16 bits, see kern/scales.h. */
static void read_nf4(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_nf4 *b = (const optk_nf4 *)row + g / 2;
    *out = (weights){.d = {optk_ld_f16(b->d) * OPTK_NF4_UNIT}};
    for (int i = 0; i < 32; i++) {
        out->code[i] = optk_nf4_code16[g % 2 == 0 ? b->qs[i] & 15 : b->qs[i] >> 4];
    }
}

static void read_fp8(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_fp8 *b = (const optk_fp8 *)row + g / 4;
    *out = (weights){.d = {optk_ld_f16(b->d) * OPTK_FP8_UNIT}};
    for (int i = 0; i < 32; i++) {
        out->code[i] = optk_fp8_code16(b->qs[g % 4 * 32 + i]);
    }
}

static void read_ternary(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    const int n = OPTK_TERNARY_DIGIT_BYTES(s->group);
    const uint8_t *b = (const uint8_t *)row + (size_t)(g * 32 / s->group) * s->block_bytes;
    *out = (weights){.d = {optk_ld_f16(b)}, .offset = 1};
    for (int i = 0; i < 32; i++) {
        const int at = (int)(g * 32 % s->group) + i;
        const uint8_t front = (uint8_t)(b[2 + at % n] * pow3[at / n]);
        out->code[i] = front * 3 >> 8;
    }
}

LINEAR_RUN(q8_0)
LINEAR_RUN(q4_0)
LINEAR_RUN(q4_1)
LINEAR_RUN(q5_0)
LINEAR_RUN(q5_1)
LINEAR_RUN(int)
LINEAR_RUN(iq4_nl)
LINEAR_I8(q8_0)
LINEAR_I8(q4_0)
LINEAR_I8(q4_1)
LINEAR_I8(q5_0)
LINEAR_I8(q5_1)
LINEAR_I8(int)
LINEAR_I8(iq4_nl)
LINEAR_I8(mxfp4)
LINEAR_I8(nf4)
LINEAR_I8(fp8)
LINEAR_I8(ternary)
