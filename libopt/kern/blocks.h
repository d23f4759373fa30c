/**
 * Block layouts of the quantized formats, byte for byte as they lie in files (little-endian, packed
 * by construction: every member is a byte or an array of bytes, so a block may start at any
 * address). `d` is a half-precision scale, `m` and `dmin` half-precision offsets; read them with
 * optk_ld_f16 (kern/half.h).
 *
 * ggml's types keep ggml's layout. In the 4-bit types byte j of `qs` holds element j (low nibble)
 * and element j + half (high nibble) of its group, where a group is 32 elements unless said
 * otherwise.
 */
#ifndef OPT_KERN_BLOCKS_H
#define OPT_KERN_BLOCKS_H

#include <assert.h>
#include <stdint.h>

/** Elements of a super-block (K, IQ and ternary types). */
#define OPTK_SUPER 256

/** w = d (q - 8) */
typedef struct optk_q4_0 {
    uint8_t d[2];
    uint8_t qs[16];
} optk_q4_0;
/** w = d q + m */
typedef struct optk_q4_1 {
    uint8_t d[2];
    uint8_t m[2];
    uint8_t qs[16];
} optk_q4_1;
/** w = d (q - 16); bit j of qh (u32) is the fifth bit of element j */
typedef struct optk_q5_0 {
    uint8_t d[2];
    uint8_t qh[4];
    uint8_t qs[16];
} optk_q5_0;
/** w = d q + m */
typedef struct optk_q5_1 {
    uint8_t d[2];
    uint8_t m[2];
    uint8_t qh[4];
    uint8_t qs[16];
} optk_q5_1;
/** w = d q */
typedef struct optk_q8_0 {
    uint8_t d[2];
    int8_t qs[32];
} optk_q8_0;
/** w = d q; s = d * sum(q) serves dot products only */
typedef struct optk_q8_1 {
    uint8_t d[2];
    uint8_t s[2];
    int8_t qs[32];
} optk_q8_1;

/** 16 groups of 16: w = d (scales & 15) q - dmin (scales >> 4); each 32 bytes of qs hold 4 planes
 * of 32 elements */
typedef struct optk_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint8_t d[2];
    uint8_t dmin[2];
} optk_q2_k;
/** 16 groups of 16: w = d (scale - 32) (q - 4 (1 - hmask bit)); 6-bit scales: 4 low bits in 8
 * bytes, 2 high in 4 */
typedef struct optk_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint8_t d[2];
} optk_q3_k;
/** 8 groups of 32: w = d sc q - dmin m; 6-bit sc and m packed into scales; each 32 bytes of qs hold
 * two groups */
typedef struct optk_q4_k {
    uint8_t d[2];
    uint8_t dmin[2];
    uint8_t scales[12];
    uint8_t qs[128];
} optk_q4_k;
/** as q4_k; bit g of qh[j] is the fifth bit of element j of group g */
typedef struct optk_q5_k {
    uint8_t d[2];
    uint8_t dmin[2];
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} optk_q5_k;
/** 16 groups of 16: w = d scale (q - 32) */
typedef struct optk_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint8_t d[2];
} optk_q6_k;
/** w = d q with a float scale; bsums serve dot products only */
typedef struct optk_q8_k {
    uint8_t d[4];
    int8_t qs[256];
    uint8_t bsums[32];
} optk_q8_k;

/** 8 groups of 32, each 4 byte indices into iq2xxs and a u32: 4 x 7 sign-pattern bits and a 4-bit
 * scale */
typedef struct optk_iq2_xxs {
    uint8_t d[2];
    uint8_t qs[64];
} optk_iq2_xxs;
/** 32 u16: 9-bit index into iq2xs and 7 sign-pattern bits; 4-bit scales per 16 */
typedef struct optk_iq2_xs {
    uint8_t d[2];
    uint8_t qs[64];
    uint8_t scales[8];
} optk_iq2_xs;
/** 10-bit indices into iq2s (8 bits in qs, 2 in qh), plain sign bits, 4-bit scales per 16 */
typedef struct optk_iq2_s {
    uint8_t d[2];
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
} optk_iq2_s;
/** byte indices into iq3xxs (4 elements each), then per 32 elements a u32 as in iq2_xxs */
typedef struct optk_iq3_xxs {
    uint8_t d[2];
    uint8_t qs[64];
    uint8_t gas[32];
} optk_iq3_xxs;
/** 9-bit indices into iq3s (8 bits in qs, 1 in qh), plain sign bits, 4-bit scales per 32 */
typedef struct optk_iq3_s {
    uint8_t d[2];
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
} optk_iq3_s;
/** 11-bit indices into iq1 (8 bits in qs, 3 in qh); qh (8 u16) also has a 3-bit scale and the sign
 * of delta per 32 */
typedef struct optk_iq1_s {
    uint8_t d[2];
    uint8_t qs[32];
    uint8_t qh[16];
} optk_iq1_s;
/** as iq1_s with 3-bit scales per 16 and delta signs per 8; d is spread over the top nibbles of the
 * four u16 scales */
typedef struct optk_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint8_t scales[8];
} optk_iq1_m;
/** w = d value[q] */
typedef struct optk_iq4_nl {
    uint8_t d[2];
    uint8_t qs[16];
} optk_iq4_nl;
/** 8 groups of 32: w = d (scale - 32) value[q]; 6-bit scales: 2 high bits in scales_h (u16), 4 low
 * in scales_l */
typedef struct optk_iq4_xs {
    uint8_t d[2];
    uint8_t scales_h[2];
    uint8_t scales_l[4];
    uint8_t qs[128];
} optk_iq4_xs;

/** Ternary, 5 digits of base 3 a byte (as a fraction of 256): 32 bytes x 5 planes, 16 x 5, then 4 x
 * 4 */
typedef struct optk_tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint8_t d[2];
} optk_tq1_0;
/** w = d (q - 1); each 32 bytes hold 4 planes of 32 elements */
typedef struct optk_tq2_0 {
    uint8_t qs[64];
    uint8_t d[2];
} optk_tq2_0;
/** w = +-d; bit set: plus; 128 elements */
typedef struct optk_q1_0 {
    uint8_t d[2];
    uint8_t qs[16];
} optk_q1_0;
/** w = d (q - 1); 64 elements, element 4 j + i in bits 2 i of byte j */
typedef struct optk_q2_0 {
    uint8_t d[2];
    uint8_t qs[16];
} optk_q2_0;

/** w = 2^(e - 127) fp4(q), OCP microscaling v1.0 */
typedef struct optk_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} optk_mxfp4;
/** 4 groups of 16: w = ue4m3(d[g]) fp4(q); in a group byte j holds elements j and j + 8 */
typedef struct optk_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
} optk_nvfp4;

/**
 * Own integer groups have no struct, since their size varies: a half-precision scale d, one byte
 * `zero` if they have a zero point, then the codes of `group` elements, unsigned. w = d (q - zero
 * 2^(bits - 8)), that is the zero point is a position in the range of codes in steps of 1/256 of
 * it; symmetric groups have it in the middle, w = d (q - 2^(bits-1)). 8 bits: a byte each. 4 bits:
 * group/2 bytes; byte j holds element j (low) and j + group/2 (high nibble). 2 bits: group/4 bytes;
 * bits 2 i of byte j hold element j + i group/4. 3 bits: the two low bits as above, then group/8
 * bytes of third bits: bit i of byte j belongs to element 8 j + i.
 */
#define OPTK_INT_HEAD(symmetric) ((symmetric) ? 2 : 3)
#define OPTK_INT_BYTES(bits, group, symmetric) (OPTK_INT_HEAD(symmetric) + (bits) * (group) / 8)

/** QLoRA's NormalFloat (Dettmers et al. 2023, appendix E): w = d level[q]; byte j holds elements j
 * (low nibble) and j + 32 */
typedef struct optk_nf4 {
    uint8_t d[2];
    uint8_t qs[32];
} optk_nf4;
/** w = d e4m3(q) */
typedef struct optk_fp8 {
    uint8_t d[2];
    uint8_t qs[128];
} optk_fp8;

/**
 * Own ternary groups: a half-precision scale d, then ceil(group / 5) bytes with five digits each.
 * Digit k (0 .. 4) of byte j belongs to element j + k ceil(group / 5); w = d (digit - 1). A byte is
 * the number with these digits (digit 0 first, that is most significant), divided by 243 and
 * multiplied by 256, rounded up: as in tq1_0. Digits beyond the group are 0.
 */
#define OPTK_TERNARY_DIGIT_BYTES(group) (((group) + 4) / 5)
#define OPTK_TERNARY_BYTES(group) (2 + OPTK_TERNARY_DIGIT_BYTES(group))

static_assert(sizeof(optk_nf4) == 34 && sizeof(optk_fp8) == 130, "layout");
static_assert(sizeof(optk_q4_0) == 18 && sizeof(optk_q4_1) == 20, "layout");
static_assert(sizeof(optk_q5_0) == 22 && sizeof(optk_q5_1) == 24, "layout");
static_assert(sizeof(optk_q8_0) == 34 && sizeof(optk_q8_1) == 36, "layout");
static_assert(sizeof(optk_q2_k) == 84 && sizeof(optk_q3_k) == 110, "layout");
static_assert(sizeof(optk_q4_k) == 144 && sizeof(optk_q5_k) == 176, "layout");
static_assert(sizeof(optk_q6_k) == 210 && sizeof(optk_q8_k) == 292, "layout");
static_assert(sizeof(optk_iq2_xxs) == 66 && sizeof(optk_iq2_xs) == 74, "layout");
static_assert(sizeof(optk_iq2_s) == 82 && sizeof(optk_iq3_xxs) == 98, "layout");
static_assert(sizeof(optk_iq3_s) == 110 && sizeof(optk_iq1_s) == 50, "layout");
static_assert(sizeof(optk_iq1_m) == 56 && sizeof(optk_iq4_nl) == 18, "layout");
static_assert(sizeof(optk_iq4_xs) == 136 && sizeof(optk_tq1_0) == 54, "layout");
static_assert(sizeof(optk_tq2_0) == 66 && sizeof(optk_q1_0) == 18, "layout");
static_assert(sizeof(optk_q2_0) == 18 && sizeof(optk_mxfp4) == 17, "layout");
static_assert(sizeof(optk_nvfp4) == 36, "layout");

#endif
