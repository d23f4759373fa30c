/*
 * Reference rows of the int8 path for formats whose blocks have several scales: ggml's K types,
 * iq4_xs, tq2_0 (one scale for eight groups) and nvfp4.
 */
#include "kern/ref/linear_i8_ref.h"

/** Element i of planes of 2 bits: each 32 bytes hold 4 planes of 32 elements. */
static int plane2(const uint8_t *qs, int i) {
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void read_q2_k(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q2_k *b = (const optk_q2_k *)row + g / 8;
    const int first = (int)(g % 8) * 32;
    *out = (weights){.halves = true, .has_min = true};
    for (int part = 0; part < 2; part++) {
        const uint8_t scale = b->scales[first / 16 + part];
        out->d[part] = optk_ld_f16(b->d) * (float)(scale & 15);
        out->m[part] = -(optk_ld_f16(b->dmin) * (float)(scale >> 4));
    }
    for (int i = 0; i < 32; i++) {
        out->code[i] = plane2(b->qs, first + i);
    }
}

static void read_q3_k(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q3_k *b = (const optk_q3_k *)row + g / 8;
    const int first = (int)(g % 8) * 32;
    *out = (weights){.halves = true, .offset = 4};
    for (int part = 0; part < 2; part++) {
        out->d[part] = optk_ld_f16(b->d) * (float)optk_scale_q3(b->scales, first / 16 + part);
    }
    for (int i = 0; i < 32; i++) {
        out->code[i] = plane2(b->qs, first + i) | (b->hmask[i] >> (g % 8) & 1) << 2;
    }
}

/** Scale and minimum of a group of q4_k and q5_k. */
static weights weights_k(const uint8_t *d, const uint8_t *dmin, const uint8_t *scales, int g) {
    weights w = {.has_min = true};
    float min;
    optk_scale_min_k(scales, g, optk_ld_f16(d), optk_ld_f16(dmin), &w.d[0], &min);
    w.m[0] = -min;
    return w;
}

static void read_q4_k(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q4_k *b = (const optk_q4_k *)row + g / 8;
    const int in_block = (int)(g % 8);
    *out = weights_k(b->d, b->dmin, b->scales, in_block);
    for (int i = 0; i < 32; i++) {
        out->code[i] = b->qs[in_block / 2 * 32 + i] >> (in_block % 2 * 4) & 15;
    }
}

static void read_q5_k(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q5_k *b = (const optk_q5_k *)row + g / 8;
    const int in_block = (int)(g % 8);
    *out = weights_k(b->d, b->dmin, b->scales, in_block);
    for (int i = 0; i < 32; i++) {
        const int low = b->qs[in_block / 2 * 32 + i] >> (in_block % 2 * 4) & 15;
        out->code[i] = low | (b->qh[i] >> in_block & 1) << 4;
    }
}

static void read_q6_k(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_q6_k *b = (const optk_q6_k *)row + g / 8;
    const int first = (int)(g % 8) * 32;
    *out = (weights){.halves = true, .offset = 32};
    for (int part = 0; part < 2; part++) {
        out->d[part] = optk_ld_f16(b->d) * (float)b->scales[first / 16 + part];
    }
    for (int i = first; i < first + 32; i++) {
        const int low = b->ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        const int high = b->qh[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        out->code[i - first] = low | high << 4;
    }
}

static void read_iq4_xs(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_iq4_xs *b = (const optk_iq4_xs *)row + g / 8;
    const int in_block = (int)(g % 8);
    *out = (weights){.d = {optk_ld_f16(b->d) * (float)optk_scale_iq4_xs(b, in_block)}};
    for (int i = 0; i < 32; i++) {
        const uint8_t byte = b->qs[in_block * 16 + i % 16];
        out->code[i] = optk_iq4_values[i < 16 ? byte & 15 : byte >> 4];
    }
}

static void read_tq2_0(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_tq2_0 *b = (const optk_tq2_0 *)row + g / 8;
    *out = (weights){.d = {optk_ld_f16(b->d)}, .offset = 1};
    for (int i = 0; i < 32; i++) {
        out->code[i] = plane2(b->qs, (int)(g % 8) * 32 + i);
    }
}

static void read_nvfp4(const opt_kspec *s, const void *row, int64_t g, weights *out) {
    (void)s;
    const optk_nvfp4 *b = (const optk_nvfp4 *)row + g / 2;
    *out = (weights){.halves = true};
    for (int part = 0; part < 2; part++) {
        const int sub = (int)(g % 2) * 2 + part;
        out->d[part] = optk_ue4m3_half(b->d[sub]);
        for (int i = 0; i < 16; i++) {
            const uint8_t byte = b->qs[sub * 8 + i % 8];
            out->code[part * 16 + i] = optk_e2m1_doubled[i < 8 ? byte & 15 : byte >> 4];
        }
    }
}

LINEAR_RUN(q2_k)
LINEAR_RUN(q3_k)
LINEAR_RUN(q4_k)
LINEAR_RUN(q5_k)
LINEAR_RUN(q6_k)
LINEAR_RUN(iq4_xs)
LINEAR_I8(q2_k)
LINEAR_I8(q3_k)
LINEAR_I8(q4_k)
LINEAR_I8(q5_k)
LINEAR_I8(q6_k)
LINEAR_I8(iq4_xs)
LINEAR_I8(tq2_0)
LINEAR_I8(nvfp4)
