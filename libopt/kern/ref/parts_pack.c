/** Grids of parts (kern/parts.h): parameters and codes to stored blocks, and parameters back. */
#include "kern/parts.h"

#include <math.h>

#include "kern/blocks.h"
#include "kern/half.h"
#include "kern/pack.h"

/** Scales and minima of q4_k and q5_k: 6 bits each; the inverse of what the decoder does. */
static void pack_scales_k4(const optk_part_params *p, uint8_t *out) {
    for (int g = 0; g < 4; g++) {
        const int k = p->integer[g], m = p->integer_min[g];
        const int k_high = p->integer[g + 4], m_high = p->integer_min[g + 4];
        out[g] = (uint8_t)(k | k_high >> 4 << 6);
        out[4 + g] = (uint8_t)(m | m_high >> 4 << 6);
        out[8 + g] = (uint8_t)((k_high & 15) | (m_high & 15) << 4);
    }
}

static void load_scales_k4(const uint8_t *in, optk_part_params *p) {
    for (int g = 0; g < 4; g++) {
        p->integer[g] = in[g] & 63;
        p->integer_min[g] = in[4 + g] & 63;
        p->integer[g + 4] = (int16_t)((in[8 + g] & 15) | in[g] >> 6 << 4);
        p->integer_min[g + 4] = (int16_t)(in[8 + g] >> 4 | in[4 + g] >> 6 << 4);
    }
}

/** Bits of 2 at a time: bits [shift, shift + 2) of codes of 128 elements, 32 bytes of 4 planes. */
static void pack_planes(const uint8_t *codes, int shift, uint8_t *out) {
    for (int j = 0; j < 32; j++) {
        out[j] = (uint8_t)((codes[j] >> shift & 3) | (codes[j + 32] >> shift & 3) << 2 |
                           (codes[j + 64] >> shift & 3) << 4 | (codes[j + 96] >> shift & 3) << 6);
    }
}

static void pack_q2_k(const optk_part_params *p, const uint8_t *codes, optk_q2_k *b) {
    optk_st_f16(b->d, p->d);
    optk_st_f16(b->dmin, p->dmin);
    for (int g = 0; g < 16; g++) {
        b->scales[g] = (uint8_t)(p->integer[g] | p->integer_min[g] << 4);
    }
    pack_planes(codes, 0, b->qs);
    pack_planes(codes + 128, 0, b->qs + 32);
}

static void pack_q3_k(const optk_part_params *p, const uint8_t *codes, optk_q3_k *b) {
    optk_st_f16(b->d, p->d);
    memset(b->scales, 0, sizeof b->scales);
    memset(b->hmask, 0, sizeof b->hmask);
    for (int g = 0; g < 16; g++) {
        const int k = p->integer[g] + 32;
        b->scales[g % 8] = (uint8_t)(b->scales[g % 8] | (k & 15) << (g / 8 * 4));
        b->scales[8 + g % 4] = (uint8_t)(b->scales[8 + g % 4] | k >> 4 << (g / 4 * 2));
    }
    for (int j = 0; j < OPTK_SUPER; j++) {
        b->hmask[j % 32] = (uint8_t)(b->hmask[j % 32] | codes[j] >> 2 << (j / 32));
    }
    pack_planes(codes, 0, b->qs);
    pack_planes(codes + 128, 0, b->qs + 32);
}

static void load_q3_k(const optk_q3_k *b, optk_part_params *p) {
    p->d = optk_ld_f16(b->d);
    for (int g = 0; g < 16; g++) {
        const int low = b->scales[g % 8] >> (g / 8 * 4) & 15;
        const int high = b->scales[8 + g % 4] >> (g / 4 * 2) & 3;
        p->integer[g] = (int16_t)((low | high << 4) - 32);
    }
}

static void pack_q4_k(const optk_part_params *p, const uint8_t *codes, optk_q4_k *b) {
    optk_st_f16(b->d, p->d);
    optk_st_f16(b->dmin, p->dmin);
    pack_scales_k4(p, b->scales);
    for (int g = 0; g < 4; g++) {
        optk_pack4(codes + 64 * g, 32, b->qs + 32 * g);
    }
}

static void pack_q5_k(const optk_part_params *p, const uint8_t *codes, optk_q5_k *b) {
    optk_st_f16(b->d, p->d);
    optk_st_f16(b->dmin, p->dmin);
    pack_scales_k4(p, b->scales);
    memset(b->qh, 0, sizeof b->qh);
    for (int j = 0; j < OPTK_SUPER; j++) {
        b->qh[j % 32] = (uint8_t)(b->qh[j % 32] | codes[j] >> 4 << (j / 32));
    }
    for (int g = 0; g < 4; g++) {
        for (int j = 0; j < 32; j++) {
            const uint8_t *c = codes + 64 * g + j;
            b->qs[32 * g + j] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
        }
    }
}

static void pack_q6_k(const optk_part_params *p, const uint8_t *codes, optk_q6_k *b) {
    optk_st_f16(b->d, p->d);
    for (int g = 0; g < 16; g++) {
        b->scales[g] = (int8_t)p->integer[g];
    }
    for (int half = 0; half < 2; half++) {
        const uint8_t *c = codes + 128 * half;
        for (int j = 0; j < 64; j++) {
            b->ql[64 * half + j] = (uint8_t)((c[j] & 15) | (c[j + 64] & 15) << 4);
        }
        pack_planes(c, 4, b->qh + 32 * half);
    }
}

static void pack_iq4_xs(const optk_part_params *p, const uint8_t *codes, optk_iq4_xs *b) {
    int high = 0;
    optk_st_f16(b->d, p->d);
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int g = 0; g < 8; g++) {
        const int k = p->integer[g] + 32;
        b->scales_l[g / 2] = (uint8_t)(b->scales_l[g / 2] | (k & 15) << (g % 2 * 4));
        high |= k >> 4 << (2 * g);
        optk_pack4(codes + 32 * g, 16, b->qs + 16 * g);
    }
    opt_wr_u16le(b->scales_h, (uint16_t)high);
}

static void load_iq4_xs(const optk_iq4_xs *b, optk_part_params *p) {
    const int high = opt_rd_u16le(b->scales_h);
    p->d = optk_ld_f16(b->d);
    for (int g = 0; g < 8; g++) {
        const int low = b->scales_l[g / 2] >> (g % 2 * 4) & 15;
        p->integer[g] = (int16_t)((low | (high >> (2 * g) & 3) << 4) - 32);
    }
}

/** Exponent code of the power of two 2 s; the scale of no weights at all is the smallest. */
static uint8_t e8m0_code(float s) {
    const uint32_t exponent = optk_f32_bits(s) >> 23;
    return (uint8_t)(s < 0x1p-120f ? 0 : exponent + 1);
}

static float e8m0_scale(uint8_t e) {
    return e < 2 ? (float)(e + 1) * 0x1p-128f : ldexpf(1.0f, e - 128);
}

static uint8_t ue4m3_code(float v) {
    return (uint8_t)(v < 0x1p-6f ? (uint32_t)(v * 512.0f) : (optk_f32_bits(v) >> 20) - (120u << 3));
}

static void pack_nvfp4(const optk_part_params *p, const uint8_t *codes, optk_nvfp4 *b) {
    for (int g = 0; g < 4; g++) {
        b->d[g] = ue4m3_code(2.0f * p->scale[g]);
        optk_pack4(codes + 16 * g, 8, b->qs + 8 * g);
    }
}

/** Five digits a byte, see kern/blocks.h. */
static void pack_ternary(const uint8_t *codes, int group, uint8_t *out) {
    const int n = OPTK_TERNARY_DIGIT_BYTES(group);
    for (int j = 0; j < n; j++) {
        int number = 0;
        for (int k = 0; k < 5; k++) {
            number = 3 * number + (j + k * n < group ? codes[j + k * n] : 0);
        }
        out[j] = (uint8_t)((number * 256 + 242) / 243);
    }
}

void optk_parts_emit(const opt_kspec *s, const optk_part_params *p, const uint8_t *codes,
                     void *block) {
    uint8_t *out = block;
    switch (s->kfmt) {
    case OPT_KFMT_Q2_K: pack_q2_k(p, codes, block); break;
    case OPT_KFMT_Q3_K: pack_q3_k(p, codes, block); break;
    case OPT_KFMT_Q4_K: pack_q4_k(p, codes, block); break;
    case OPT_KFMT_Q5_K: pack_q5_k(p, codes, block); break;
    case OPT_KFMT_Q6_K: pack_q6_k(p, codes, block); break;
    case OPT_KFMT_IQ4_XS: pack_iq4_xs(p, codes, block); break;
    case OPT_KFMT_NVFP4: pack_nvfp4(p, codes, block); break;
    case OPT_KFMT_TQ2_0:
        optk_st_f16(((optk_tq2_0 *)block)->d, p->d);
        pack_planes(codes, 0, ((optk_tq2_0 *)block)->qs);
        pack_planes(codes + 128, 0, ((optk_tq2_0 *)block)->qs + 32);
        break;
    case OPT_KFMT_MXFP4:
        ((optk_mxfp4 *)block)->e = e8m0_code(p->scale[0]);
        optk_pack4(codes, 16, ((optk_mxfp4 *)block)->qs);
        break;
    case OPT_KFMT_IQ4_NL:
        optk_st_f16(out, p->d);
        optk_pack4(codes, 16, out + 2);
        break;
    case OPT_KFMT_NF4:
        optk_st_f16(out, p->d);
        optk_pack4(codes, 32, out + 2);
        break;
    case OPT_KFMT_FP8:
        optk_st_f16(out, p->d);
        memcpy(out + 2, codes, 128);
        break;
    default:
        optk_st_f16(out, p->d);
        pack_ternary(codes, s->group, out + 2);
        break;
    }
}

void optk_parts_load(const opt_kspec *s, const void *block, optk_part_params *p) {
    const uint8_t *in = block;
    memset(p, 0, sizeof *p);
    switch (s->kfmt) {
    case OPT_KFMT_Q2_K:
        p->d = optk_ld_f16(((const optk_q2_k *)block)->d);
        p->dmin = optk_ld_f16(((const optk_q2_k *)block)->dmin);
        for (int g = 0; g < 16; g++) {
            p->integer[g] = in[g] & 15;
            p->integer_min[g] = in[g] >> 4;
        }
        break;
    case OPT_KFMT_Q3_K: load_q3_k(block, p); break;
    case OPT_KFMT_Q4_K:
    case OPT_KFMT_Q5_K: /* the same head */
        p->d = optk_ld_f16(((const optk_q4_k *)block)->d);
        p->dmin = optk_ld_f16(((const optk_q4_k *)block)->dmin);
        load_scales_k4(((const optk_q4_k *)block)->scales, p);
        break;
    case OPT_KFMT_Q6_K:
        p->d = optk_ld_f16(((const optk_q6_k *)block)->d);
        for (int g = 0; g < 16; g++) {
            p->integer[g] = ((const optk_q6_k *)block)->scales[g];
        }
        break;
    case OPT_KFMT_IQ4_XS: load_iq4_xs(block, p); break;
    case OPT_KFMT_TQ2_0: p->d = optk_ld_f16(((const optk_tq2_0 *)block)->d); break;
    case OPT_KFMT_MXFP4: p->scale[0] = e8m0_scale(in[0]); break;
    case OPT_KFMT_NVFP4:
        for (int g = 0; g < 4; g++) {
            p->scale[g] = 0.5f * optk_e4m3_to_f32(in[g] & 0x7f);
        }
        break;
    default: p->d = optk_ld_f16(in); break; /* one half, then codes */
    }
    optk_parts_derive(optk_parts_of(s), p);
}
