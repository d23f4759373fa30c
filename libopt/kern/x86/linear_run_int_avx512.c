/*
 * Own integer groups of linear_run with AVX-512 VNNI: linear_run_avx512.h made for each width and
 * size of group. Whether they are symmetric is seen at run time.
 */
#include "kern/x86/linear_run_avx512.h"

#define RUN_GROUPS(bits)                                                                           \
    RUN_ALL(int##bits##_g32, CODES_INT##bits, 32, (void)0)                                         \
    RUN_ALL(int##bits##_g64, CODES_INT##bits, 64, (void)0)                                         \
    RUN_ALL(int##bits##_g128, CODES_INT##bits, 128, (void)0)                                       \
    static void run_int##bits(const run_call *c, int64_t n_tokens) {                               \
        if (c->s->group == 32) {                                                                   \
            run_int##bits##_g32(c, n_tokens);                                                      \
        } else if (c->s->group == 64) {                                                            \
            run_int##bits##_g64(c, n_tokens);                                                      \
        } else {                                                                                   \
            run_int##bits##_g128(c, n_tokens);                                                     \
        }                                                                                          \
    }

RUN_GROUPS(2)
RUN_GROUPS(3)
RUN_GROUPS(4)
RUN_GROUPS(8)

void optk_linear_run_int__avx512(const opt_kspec *s, const void *w, size_t row_bytes,
                                 const opt_act_i8 *x, float *y, int64_t ldy, int64_t n_rows,
                                 int64_t n_tokens, int64_t k) {
    const run_call c = {s, w, row_bytes, x, y, ldy, n_rows, k};
    void (*const by_bits[9])(const run_call *, int64_t) = {
        [2] = run_int2, [3] = run_int3, [4] = run_int4, [8] = run_int8};
    by_bits[s->bits](&c, n_tokens);
}
