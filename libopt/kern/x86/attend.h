/** What the x86 rows of attention share: a call, and the functions of the kernel list around it. */
#ifndef OPT_KERN_X86_ATTEND_H
#define OPT_KERN_X86_ATTEND_H

#include "kern/rows.h"

/* How keys and values are stored; constant after inlining. */
typedef enum store { STORE_F32, STORE_F16, STORE_I8 } store;

/* One call over keys and values, with strides in bytes. */
typedef struct job {
    const opt_queries *s;
    const uint8_t *k;
    const uint8_t *v;
    size_t k_bytes;
    size_t v_bytes;
    int64_t d;
    int64_t d_v;
    float scale;
    int64_t n_scores;     /* stride of the scratch */
    const float *k_scale; /* of rows in int8 */
    const float *v_scale;
} job;

static inline int64_t n_scores(const opt_queries *s) { return s->n_keys + (s->n - 1) * s->n_more; }

/* A row for floats of either width. */
#define ATTEND_FLOATS(name, isa, type, kind, run)                                                  \
    void optk_attend_##name##__##isa(const opt_queries *s, const type *k, int64_t k_stride,        \
                                     const type *v, int64_t v_stride, int64_t d, int64_t d_v,      \
                                     float scale) {                                                \
        const job j = {.s = s,                                                                     \
                       .k = (const uint8_t *)k,                                                    \
                       .v = (const uint8_t *)v,                                                    \
                       .k_bytes = (size_t)k_stride * sizeof *k,                                    \
                       .v_bytes = (size_t)v_stride * sizeof *v,                                    \
                       .d = d,                                                                     \
                       .d_v = d_v,                                                                 \
                       .scale = scale,                                                             \
                       .n_scores = n_scores(s)};                                                   \
        run(kind, &j);                                                                             \
    }

/** Defines optk_attend_{f32,f16,i8}__<isa>; run(store, const job *) computes. */
#define ATTEND_ROWS(isa, run)                                                                      \
    ATTEND_FLOATS(f32, isa, float, STORE_F32, run)                                                 \
    ATTEND_FLOATS(f16, isa, uint16_t, STORE_F16, run)                                              \
    void optk_attend_i8__##isa(const opt_queries *s, const opt_rows_i8 *k, const opt_rows_i8 *v,   \
                               int64_t d, int64_t d_v, float scale) {                              \
        const job j = {.s = s,                                                                     \
                       .k = (const uint8_t *)k->x,                                                 \
                       .v = (const uint8_t *)v->x,                                                 \
                       .k_bytes = (size_t)k->stride,                                               \
                       .v_bytes = (size_t)v->stride,                                               \
                       .d = d,                                                                     \
                       .d_v = d_v,                                                                 \
                       .scale = scale,                                                             \
                       .n_scores = n_scores(s),                                                    \
                       .k_scale = k->scale,                                                        \
                       .v_scale = v->scale};                                                       \
        run(STORE_I8, &j);                                                                         \
    }

#endif
