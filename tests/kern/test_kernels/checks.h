/**
 * One check for each slot of kernels.def: it compares a row with the reference. Data are small
 * integers, where any order of summation agrees bit for bit, and random numbers with a stated
 * bound; sizes include all tails, and arrays are exact-size heap blocks, so that the address
 * sanitizer sees what is read or written beyond.
 */
#ifndef OPT_TESTS_KERN_CHECKS_H
#define OPT_TESTS_KERN_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kern/kern.h"

/** What a check needs to know of the row beside its function. */
typedef struct row_info {
    const char *name;
    opt_kfmt kfmt;         /**< OPT_KFMT_COUNT for slots that are not by format */
    const opt_kern *ref;   /**< the reference rows */
    const opt_kern *level; /**< the table of the row's own level */
    bool slow;             /**< done by the tile machine: fewer cases */
} row_info;

void check_decode(opt_kern_decode_fn *fn, const row_info *row);
void check_encode(opt_kern_encode_fn *fn, const row_info *row);
void check_linear_f32(opt_kern_linear_f32_fn *fn, const row_info *row);
void check_linear_direct(opt_kern_linear_direct_fn *fn, const row_info *row);
void check_linear_i8(opt_kern_linear_i8_fn *fn, const row_info *row);
void check_linear_run(opt_kern_linear_run_fn *fn, const row_info *row);
void check_quantize_act(opt_kern_quantize_act_fn *fn, const row_info *row);
void check_gemm_add_f32(opt_kern_gemm_add_f32_fn *fn, const row_info *row);
void check_gemm_sub_f64(opt_kern_gemm_sub_f64_fn *fn, const row_info *row);
void check_gemm_i16(opt_kern_gemm_i16_fn *fn, const row_info *row);
void check_gemm_bf16(opt_kern_gemm_bf16_fn *fn, const row_info *row);
void check_quantize_i16(opt_kern_quantize_i16_fn *fn, const row_info *row);
void check_quantize_i16_columns(opt_kern_quantize_i16_columns_fn *fn, const row_info *row);
void check_add_rows(opt_kern_add_rows_fn *fn, const row_info *row);
void check_round_scalar(opt_kern_round_scalar_fn *fn, const row_info *row);
void check_round_parts(opt_kern_round_parts_fn *fn, const row_info *row);
void check_rms_norm(opt_kern_rms_norm_fn *fn, const row_info *row);
void check_rope(opt_kern_rope_fn *fn, const row_info *row);
void check_swiglu(opt_kern_swiglu_fn *fn, const row_info *row);
void check_swiglu_grad(opt_kern_swiglu_grad_fn *fn, const row_info *row);
void check_softmax(opt_kern_softmax_fn *fn, const row_info *row);
void check_add(opt_kern_add_fn *fn, const row_info *row);
void check_attend_f32(opt_kern_attend_f32_fn *fn, const row_info *row);
void check_attend_f16(opt_kern_attend_f16_fn *fn, const row_info *row);
void check_attend_i8(opt_kern_attend_i8_fn *fn, const row_info *row);
void check_quantize_row(opt_kern_quantize_row_fn *fn, const row_info *row);
void check_f32_to_f16(opt_kern_f32_to_f16_fn *fn, const row_info *row);
void check_sum_words(opt_kern_sum_words_fn *fn, const row_info *row);
void check_peak_i8(opt_kern_peak_i8_fn *fn, const row_info *row);
void check_logsumexp(opt_kern_logsumexp_fn *fn, const row_info *row);
void check_add_errors(opt_kern_add_errors_fn *fn, const row_info *row);

/** Heap block of n elements of `size` bytes, no byte more; free with free. Never NULL. */
void *exact(int64_t n, size_t size);
/** n floats: integers in [-range, range], or normal numbers. */
float *integers(int64_t n, int range, uint64_t seed);
float *normals(int64_t n, uint64_t seed);
float *copy_floats(const float *x, int64_t n);
/** Same bits, or both NaN. */
void assert_same_floats(const float *found, const float *expected, int64_t n, const char *what);
/** |found - expected| <= bound, or both NaN. */
void assert_close(double found, double expected, double bound, const char *what, int64_t i);

#endif
