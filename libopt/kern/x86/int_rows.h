/** Rows of own integer groups, whose width of codes is known at run time only. */
#ifndef OPT_KERN_X86_INT_ROWS_H
#define OPT_KERN_X86_INT_ROWS_H

#include "kern/kern.h"

/**
 * Row `slot` (linear_i8, linear_run) for groups of an instruction set: MAKE(function, layout)
 * defines the function of one width, stem2 to stem8, and the spec chooses among them.
 */
/* The formatter takes the functions for one declaration. */
/* clang-format off */
#define OPTK_INT_ROW(MAKE, slot, stem, isa)                                                        \
    static MAKE(stem##2, CODES_INT2)                                                               \
    static MAKE(stem##3, CODES_INT3)                                                               \
    static MAKE(stem##4, CODES_INT4)                                                               \
    static MAKE(stem##8, CODES_INT8)                                                               \
    void optk_##slot##_int__##isa(const opt_kspec *s, const void *w, size_t row_bytes,             \
                                  const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,      \
                                  int64_t n_tokens, int64_t k) {                                   \
        opt_kern_##slot##_fn *const by_bits[9] = {                                                 \
            [2] = stem##2, [3] = stem##3, [4] = stem##4, [8] = stem##8};                           \
        by_bits[s->bits](s, w, row_bytes, x, y, ldy, n_rows, n_tokens, k);                         \
    }
/* clang-format on */

#endif
