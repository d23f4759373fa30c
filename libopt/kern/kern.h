/**
 * Kernels: numeric work over raw pointers. kern/kernels.def is the one list of rows (slot,
 * instruction set, CPU bits); prototypes, the dispatch table, the tests and the benchmark are made
 * from it.
 *
 * Contract of every slot: the result for one output element depends on its own inputs only, through
 * a fixed order of accumulation of that row; never on how many rows or tokens are computed at once,
 * nor on alignment or thread count.
 */
#ifndef OPT_KERN_KERN_H
#define OPT_KERN_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

/**
 * Storage kinds that kernels know. Own integer groups share one kind and bring bits, group and
 * symmetry along.
 */
typedef enum opt_kfmt {
    OPT_KFMT_F32,
    OPT_KFMT_F16,
    OPT_KFMT_BF16,
    OPT_KFMT_F64,
    OPT_KFMT_F8_E4M3,
    OPT_KFMT_F8_E5M2,
    OPT_KFMT_I8,
    OPT_KFMT_I16,
    OPT_KFMT_I32,
    OPT_KFMT_I64,
    OPT_KFMT_U8,
    OPT_KFMT_U16,
    OPT_KFMT_U32,
    OPT_KFMT_U64,
    OPT_KFMT_BOOL,
    OPT_KFMT_Q4_0,
    OPT_KFMT_Q4_1,
    OPT_KFMT_Q5_0,
    OPT_KFMT_Q5_1,
    OPT_KFMT_Q8_0,
    OPT_KFMT_Q8_1,
    OPT_KFMT_Q2_K,
    OPT_KFMT_Q3_K,
    OPT_KFMT_Q4_K,
    OPT_KFMT_Q5_K,
    OPT_KFMT_Q6_K,
    OPT_KFMT_Q8_K,
    OPT_KFMT_IQ2_XXS,
    OPT_KFMT_IQ2_XS,
    OPT_KFMT_IQ2_S,
    OPT_KFMT_IQ3_XXS,
    OPT_KFMT_IQ3_S,
    OPT_KFMT_IQ1_S,
    OPT_KFMT_IQ1_M,
    OPT_KFMT_IQ4_NL,
    OPT_KFMT_IQ4_XS,
    OPT_KFMT_TQ1_0,
    OPT_KFMT_TQ2_0,
    OPT_KFMT_MXFP4,
    OPT_KFMT_NVFP4,
    OPT_KFMT_Q1_0,
    OPT_KFMT_Q2_0,
    OPT_KFMT_INT, /**< own groups: bits 2 3 4 8, group 32 64 128, with or without zero point */
    OPT_KFMT_NF4,
    OPT_KFMT_FP8,     /**< own groups of E4M3 numbers with a scale */
    OPT_KFMT_TERNARY, /**< own groups of -1, 0, 1 with a scale */
    OPT_KFMT_NONE,    /**< a format whose row does everything: no kernels */
    OPT_KFMT_COUNT
} opt_kfmt;

/** Layout facts that a kernel needs about the rows it reads. */
typedef struct opt_kspec {
    opt_kfmt kfmt;
    int bits;       /* OPT_KFMT_INT only */
    int group;      /* elements of a block; of interest for own groups */
    bool symmetric; /* OPT_KFMT_INT only */
    size_t block_bytes;
    int64_t n_cols; /* encode only: elements of a row, 0 if all is one row */
} opt_kspec;

/**
 * Activations quantized to int8 in groups of 32 (the fast path's input), n_tokens rows of n_cols
 * elements, each padded with zeros to a multiple of 64:  x[t, i] ~ scale[t, i/32] * q[t, i]. Groups
 * that have a second plane have 16 bits:  x[t, i] ~ scale[t, i/32] * (q[t, i] + q_low[t, i] / 256).
 */
typedef struct opt_act_i8 {
    const int8_t *q;         /* [n_tokens, n_padded], in [-127, 127] */
    const float *scale;      /* [n_tokens, n_padded / 32] */
    const int16_t *sum4;     /* [n_tokens, n_padded / 4]: sums of 4 neighbouring q */
    const float *scaled_sum; /* [n_tokens, n_padded / 32]: scale * sum of the group's q, for formats
                                with an offset; with both planes */
    int64_t n_padded;
    /* Second planes; NULL: there are none. */
    const uint16_t *low; /* [n_tokens, n_padded / 512 rounded up]: bit i of word w: group 16 w + i
                            has one */
    const int8_t *q_low; /* [n_tokens, n_padded], in [-127, 127], of groups that have one */
    const int16_t *sum_low; /* [n_tokens, n_padded / 16]: sums of 16 neighbouring q_low */
} opt_act_i8;

/**
 * Numbers as 16-bit integers in groups of 64 that share a scale, n rows of k elements (a multiple
 * of 64), two neighbouring elements a pair: pair p of row i lies at pairs[i * row + p * step], the
 * first element in its low half, and the scale of group g at scale[i * scale_row + g * scale_step].
 * One of row and step is 1. The Euclidean norm of a group's integers is below 2^15.5, so that a dot
 * product of two groups fits 32 bits (Cauchy-Schwarz).
 */
typedef struct opt_i16 {
    const int32_t *pairs;
    int64_t row, step;
    const float *scale;
    int64_t scale_row, scale_step;
} opt_i16;
/**
 * Numbers in bf16, n rows of k elements (a multiple of 32), two neighbouring elements a pair as in
 * opt_i16: pair p of row i lies at pairs[i * row + p * step]. One of row and step is 1.
 */
typedef struct opt_bf16 {
    const int32_t *pairs;
    int64_t row, step;
} opt_bf16;
#define OPT_BF16_GROUP 32

#define OPT_I16_GROUP 64
#define OPT_I16_MAX 32767

struct optk_scalar; /* kern/scalar.h */
struct optk_parts;  /* kern/parts.h */
struct optk_part_params;

/*
 * One function type for each slot, so that prototypes of rows can be made from kernels.def.
 * Pointers may have any alignment that their element type allows; stored blocks may lie at any
 * address.
 */

/** Decodes n elements from the start of a block: src blocks -> dst [n]. */
typedef void opt_kern_decode_fn(const opt_kspec *s, const void *src, float *dst, int64_t n);
/**
 * Encodes with the scale search of the format: w [n], rows of s->n_cols -> dst blocks; importance
 * [n_cols] or NULL.
 */
typedef void opt_kern_encode_fn(const opt_kspec *s, const float *w, const float *importance,
                                void *dst, int64_t n);

/**
 * y[t, r] = sum_k w[r, k] * x[t, k] in f32: w [n_rows, k] (stride ldw), x [n_tokens, k] (ldx), y
 * (ldy).
 */
typedef void opt_kern_linear_f32_fn(const float *w, int64_t ldw, const float *x, int64_t ldx,
                                    float *y, int64_t ldy, int64_t n_rows, int64_t n_tokens,
                                    int64_t k);
/**
 * The same on stored rows (n_rows rows of row_bytes), for few tokens: bit-identical to decoding
 * the rows and calling linear_f32 of the same table, without the detour through memory.
 */
typedef void opt_kern_linear_direct_fn(const opt_kspec *s, const void *w, size_t row_bytes,
                                       const float *x, int64_t ldx, float *y, int64_t ldy,
                                       int64_t n_rows, int64_t n_tokens, int64_t k);
/**
 * The fast path on stored rows: w has n_rows rows of row_bytes, activations are int8. For every
 * unit of elements that share a scale (32, or 16 in q2_k, q3_k, q6_k and nvfp4) the dot product of
 * codes is exact in integers; the units are added in increasing order with one f32 fused
 * multiply-add each (and one for an offset per unit), so every instruction set gives the same bits.
 * Units of second planes are added in the same way to a sum of their own, which begins anew every
 * OPT_ACT_LOW_SPAN groups and is added to the other one when these are done.
 * k may be less than a row has: then w begins with whole blocks of the first of k columns.
 */
typedef void opt_kern_linear_i8_fn(const opt_kspec *s, const void *w, size_t row_bytes,
                                   const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                   int64_t n_tokens, int64_t k);
/**
 * The same on rows that lie 16 together (kern/interleave.h): w begins with a run, or inside of one
 * with the first of k columns; the next run is 16 row_bytes behind. n_rows is a multiple of 16. The
 * bits are those of linear_i8 on the rows in their own order.
 */
typedef void opt_kern_linear_run_fn(const opt_kspec *s, const void *w, size_t row_bytes,
                                    const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                    int64_t n_tokens, int64_t k);
/**
 * Quantizes one row of activations x [n] for linear_i8: q, sum4, scale, scaled_sum sized by
 * n_padded (a multiple of 64 >= n; the tail is zero). Per group of 32: scale = max|x| / 127, q =
 * round to nearest even of x * (127 / max|x|). A group below 2^-100 counts as zero; one with a NaN
 * or an infinity gets a NaN scale, so that the result shows it.
 */
typedef void opt_kern_quantize_act_fn(const float *x, int64_t n, int64_t n_padded, int8_t *q,
                                      float *scale, int16_t *sum4, float *scaled_sum);

/**
 * y[r, c] += sum_i a[r, i] b[i, c]: element (r, i) of a lies at a[r * a_row + i * a_col], b [k,
 * n_cols] (stride ldb), y [n_rows, n_cols] (ldy). One chain of fused multiply-adds an output, in
 * increasing i, beginning with what y held: a product may be cut along k into several calls. The
 * reference accumulates in double.
 */
typedef void opt_kern_gemm_add_f32_fn(const float *a, int64_t a_row, int64_t a_col, const float *b,
                                      int64_t ldb, float *y, int64_t ldy, int64_t n_rows,
                                      int64_t n_cols, int64_t k);
/** The same in double precision, subtracted: y[r, c] -= sum_i a[r, i] b[i, c]. */
typedef void opt_kern_gemm_sub_f64_fn(const double *a, int64_t a_row, int64_t a_col,
                                      const double *b, int64_t ldb, double *y, int64_t ldy,
                                      int64_t n_rows, int64_t n_cols, int64_t k);
/**
 * y[r, c] = sum_i a[r, i] b[c, i] over k elements: dot products of groups are exact in integers,
 * converted to float and added in increasing order with one fused multiply-add each, whose factor
 * is the rounded product of both scales. So every instruction set gives the same bits. With both
 * sides from quantize_i16 the error of a product is about 1e-5 of the product of its groups'
 * norms.
 */
typedef void opt_kern_gemm_i16_fn(const opt_i16 *a, const opt_i16 *b, float *y, int64_t ldy,
                                  int64_t n_rows, int64_t n_cols, int64_t k);
/**
 * One row x [n] to pairs [n_padded / 2] (step 1) and scale [n_padded / 64]; n_padded is a multiple
 * of 64 >= n, the tail is zero. Scale: about the smallest with which no element exceeds OPT_I16_MAX
 * and the norm of the group 46330; an element = nearest even of x / scale. A group below 2^-100
 * counts as zero; one with a NaN or an infinity gets a NaN scale.
 */
typedef void opt_kern_quantize_i16_fn(const float *x, int64_t n, int64_t n_padded, int32_t *pairs,
                                      float *scale);
/**
 * The columns of x [n_rows, n_cols] (stride ldx) as rows of an opt_i16 (row 1, step ld, scale_row
 * 1, scale_step ld): pairs [n_padded / 2, ld], scale [n_padded / 64, ld], n_padded being n_rows
 * rounded up to a multiple of 64.
 */
typedef void opt_kern_quantize_i16_columns_fn(const float *x, int64_t ldx, int64_t n_rows,
                                              int64_t n_cols, int32_t *pairs, float *scale,
                                              int64_t ld);
/**
 * y[r, c] = sum_i a[r, i] b[c, i] over k elements, accumulated in f32 in increasing order of i,
 * neighbouring elements (AMX: groups of 32) together as the instruction set does it. An output does
 * not depend on what lies beside it; instruction sets differ in the last bits. The reference
 * accumulates in double.
 */
typedef void opt_kern_gemm_bf16_fn(const opt_bf16 *a, const opt_bf16 *b, float *y, int64_t ldy,
                                   int64_t n_rows, int64_t n_cols, int64_t k);
/**
 * y[c] += sum_i a[i] x[idx[i], c] over n_terms rows of x (stride ldx), n columns: a chain in
 * increasing i as in gemm_add_f32.
 */
typedef void opt_kern_add_rows_fn(float *y, int64_t n, const float *a, const int32_t *idx,
                                  int64_t n_terms, const float *x, int64_t ldx);
/**
 * Rounds x [n] to scalar grids: codes [n] as stored, and the values [n] that they decode to. The
 * parameters of element i (an optk_scalar_params) begin `stride` floats behind those of element i -
 * 1; 0: all have the same. The same bits on every instruction set.
 */
typedef void opt_kern_round_scalar_fn(const struct optk_scalar *g, const float *params,
                                      int64_t stride, const float *x, int64_t n, int32_t *codes,
                                      float *values);
/**
 * The same for grids of parts: x are elements i .. i + n - 1 of the block of `p` if stride is 0,
 * otherwise element i of n blocks whose parameters lie `stride` floats apart. The same bits on
 * every instruction set, those of optk_parts_round.
 */
typedef void opt_kern_round_parts_fn(const struct optk_parts *g, const struct optk_part_params *p,
                                     int64_t stride, int64_t i, const float *x, int64_t n,
                                     int32_t *codes, float *values);

/**
 * y[i] = x[i] * w[i] / sqrt(mean(x^2) + eps), n elements (Zhang & Sennrich 2019, eq. 4). y may be
 * x.
 */
typedef void opt_kern_rms_norm_fn(const float *x, const float *w, float *y, int64_t n, float eps);
/**
 * Rotates pairs of one head in place: (x[i], x[i + n_rot/2]) if `halves`, otherwise (x[2i],
 * x[2i+1]), by the angle whose cosine and sine are cos[i], sin[i], i < n_rot/2 (Su et al. 2021, eq.
 * 34).
 */
typedef void opt_kern_rope_fn(float *x, const float *cos, const float *sin, int64_t n_rot,
                              bool halves);
/** y[i] = silu(gate[i]) * up[i]; silu(z) = z / (1 + exp(-z)). y may be gate or up. */
typedef void opt_kern_swiglu_fn(const float *gate, const float *up, float *y, int64_t n);
/**
 * Reverse of swiglu: adds to d_gate [n] and d_up [n] what a gradient dy [n] of y is worth to them.
 * With s = 1 / (1 + exp(-gate)): d_gate += dy up s (1 + gate (1 - s)), d_up += dy gate s.
 */
typedef void opt_kern_swiglu_grad_fn(const float *gate, const float *up, const float *dy,
                                     float *d_gate, float *d_up, int64_t n);
/** x[i] = exp(scale x[i]) / sum_j exp(scale x[j]), n >= 1 elements in place. */
typedef void opt_kern_softmax_fn(float *x, int64_t n, float scale);
/** y[i] += x[i]. */
typedef void opt_kern_add_fn(float *y, const float *x, int64_t n);
/** Queries that attend to the same keys and values: tokens of one head, or heads of one group. */
typedef struct opt_queries {
    int64_t n;
    const float *q; /* [n, d], stride q_stride */
    float *out;     /* [n, d_v], stride out_stride */
    int64_t q_stride;
    int64_t out_stride;
    int64_t n_keys; /* >= 1: the first query sees keys 0 .. n_keys - 1 */
    int64_t n_more; /* what each query sees more than the one before: 1 for tokens in order, 0 for
                       heads */
    float *scores;  /* scratch [min(n, OPT_ATTEND_QUERIES), n_keys + (n - 1) * n_more] */
} opt_queries;

#define OPT_ATTEND_QUERIES 4

/**
 * out = softmax(scale * q k) v for every query, in two passes over the keys in increasing order
 * (Vaswani et al. 2017, eq. 1): k rows [d] at k + j * k_stride, v rows [d_v] at v + j * v_stride. A
 * query's result does not depend on the others.
 */
typedef void opt_kern_attend_f32_fn(const opt_queries *s, const float *k, int64_t k_stride,
                                    const float *v, int64_t v_stride, int64_t d, int64_t d_v,
                                    float scale);
/** The same over half-precision keys and values. */
typedef void opt_kern_attend_f16_fn(const opt_queries *s, const uint16_t *k, int64_t k_stride,
                                    const uint16_t *v, int64_t v_stride, int64_t d, int64_t d_v,
                                    float scale);
/** Rows in int8 that have a scale each: row j is scale[j] * x[j * stride ..]. */
typedef struct opt_rows_i8 {
    const int8_t *x;
    int64_t stride;
    const float *scale;
} opt_rows_i8;
/** The same over keys and values in int8: products with their integers, scales behind them. */
typedef void opt_kern_attend_i8_fn(const opt_queries *s, const opt_rows_i8 *k, const opt_rows_i8 *v,
                                   int64_t d, int64_t d_v, float scale);
/**
 * One row of attend_i8's keys or values: q [n] = nearest even of x * (127 / max|x|), *scale =
 * max|x| / 127. A row below 2^-100 counts as zero; one with a NaN or an infinity gets a NaN scale.
 * The same bits on every instruction set.
 */
typedef void opt_kern_quantize_row_fn(const float *x, int64_t n, int8_t *q, float *scale);
/** Rounds to half precision, nearest even; NaN stays NaN (quiet), overflow gives infinity. */
typedef void opt_kern_f32_to_f16_fn(const float *x, uint16_t *y, int64_t n);
/**
 * log(sum(exp(x[i]))) with double accumulation, n >= 1, and the index of the largest element (the
 * first of equals; NaN elements are passed over, 0 if there are no others, but make the result
 * NaN). argmax may be NULL.
 */
typedef double opt_kern_logsumexp_fn(const float *x, int64_t n, int64_t *argmax);

/**
 * *err += sum (w[i] - v[i])^2 and *ref += sum w[i]^2, n elements in double: element i goes to lane
 * i mod 16 (product and sum rounded each), the lanes are added in increasing order. Same bits on
 * every instruction set.
 */
typedef void opt_kern_add_errors_fn(const float *w, const float *v, int64_t n, double *err,
                                    double *ref);

/** The sum of n words, as fast as memory gives them: a probe of its bandwidth. */
typedef uint64_t opt_kern_sum_words_fn(const uint64_t *x, int64_t n);
#define OPT_PEAK_DOTS 16
/**
 * rounds * OPT_PEAK_DOTS times the dot product of u [64] and s [64], modulo 2^32, all of them
 * computed, in registers: a probe of the peak of int8 arithmetic. Every u[i] * s[i] + u[i+1] *
 * s[i+1] must fit in 16 bits.
 */
typedef uint32_t opt_kern_peak_i8_fn(const uint8_t *u, const int8_t *s, int64_t rounds);

/**
 * The dispatch table of one instruction-set level: for every slot the strongest row that the
 * machine can run.
 */
typedef struct opt_kern {
    opt_isa isa;      /**< the level asked for */
    opt_isa rows_isa; /**< the highest level that a row of the table belongs to */
    unsigned features;

    opt_kern_decode_fn *decode[OPT_KFMT_COUNT]; /**< NULL: see format rows */
    opt_kern_encode_fn *encode[OPT_KFMT_COUNT]; /**< NULL: format rows do it */

    opt_kern_linear_f32_fn *linear_f32;
    opt_kern_linear_direct_fn *linear_direct[OPT_KFMT_COUNT]; /**< NULL: decode + linear_f32 */
    opt_kern_linear_i8_fn
        *linear_i8[OPT_KFMT_COUNT]; /**< NULL: decode + linear_f32, which the executor reports */
    opt_kern_linear_run_fn *linear_run[OPT_KFMT_COUNT]; /**< where opt_run_has says so */
    opt_kern_quantize_act_fn *quantize_act;

    opt_kern_gemm_add_f32_fn *gemm_add_f32;
    opt_kern_gemm_sub_f64_fn *gemm_sub_f64;
    opt_kern_gemm_i16_fn *gemm_i16;
    opt_kern_gemm_bf16_fn *gemm_bf16;
    opt_kern_quantize_i16_fn *quantize_i16;
    opt_kern_quantize_i16_columns_fn *quantize_i16_columns;
    opt_kern_add_rows_fn *add_rows;
    opt_kern_round_scalar_fn *round_scalar;
    opt_kern_round_parts_fn *round_parts;

    opt_kern_rms_norm_fn *rms_norm;
    opt_kern_rope_fn *rope;
    opt_kern_swiglu_fn *swiglu;
    opt_kern_swiglu_grad_fn *swiglu_grad;
    opt_kern_softmax_fn *softmax;
    opt_kern_add_fn *add;
    opt_kern_attend_f32_fn *attend_f32;
    opt_kern_attend_f16_fn *attend_f16;
    opt_kern_attend_i8_fn *attend_i8;
    opt_kern_quantize_row_fn *quantize_row;
    opt_kern_f32_to_f16_fn *f32_to_f16;
    opt_kern_sum_words_fn *sum_words;
    opt_kern_peak_i8_fn *peak_i8;
    opt_kern_logsumexp_fn *logsumexp;

    opt_kern_add_errors_fn *add_errors;
} opt_kern;

/**
 * The table for the context's level, made once per context. NULL with a recorded error when out of
 * memory.
 */
const opt_kern *opt_kern_get(opt_ctx *ctx);

/**
 * Fills `out` with the strongest rows for a level and feature bits (tests and benchmarks compare
 * levels with it).
 */
void opt_kern_fill(opt_kern *out, opt_isa isa, unsigned features);

/**
 * Whether the table's tile kernels compute small products as the reference does.
 * opt_kern_get asks before it hands out rows of AMX, and takes those of AVX-512 if they do not
 * (rows_isa says so).
 */
bool opt_kern_tiles_work(const opt_kern *k);

#endif
