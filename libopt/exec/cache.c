#include "exec/cache.h"

#include <string.h>

#include "base/num.h"

static size_t item_bytes(const opt_cache *c) { return c->half ? sizeof(uint16_t) : sizeof(float); }

/* Bytes of the keys, rounded up so that the values behind them are aligned. */
static bool key_bytes(const opt_cache *c, size_t *out) {
    const int64_t dims[] = {c->n_heads, c->n_ctx, c->d};
    int64_t n = 0;
    size_t bytes = 0;
    return opt_mul_dims(dims, 3, &n) && opt_mul_size((size_t)n, item_bytes(c), &bytes) &&
           opt_align_size(bytes, 64, out);
}

bool opt_cache_bytes(const opt_cache *c, size_t *out) {
    const int64_t dims[] = {c->n_heads, c->n_ctx, c->d_v};
    int64_t n = 0;
    size_t keys = 0, values = 0;
    return key_bytes(c, &keys) && opt_mul_dims(dims, 3, &n) &&
           opt_mul_size((size_t)n, item_bytes(c), &values) && opt_add_size(keys, values, &keys) &&
           opt_align_size(keys, 64, out);
}

void opt_cache_bind(opt_cache *c, void *memory) {
    size_t keys = 0;
    c->k = memory;
    c->v =
        key_bytes(c, &keys) ? (char *)memory + keys : NULL; /* opt_cache_bytes was asked before */
}

static void store_rows(const opt_cache *c, const opt_kern *kern, void *base, int64_t width,
                       int64_t head, int64_t pos0, int64_t n, const float *x, int64_t stride) {
    const int64_t at = (head * c->n_ctx + pos0) * width;
    for (int64_t t = 0; t < n; t++) {
        if (c->half) {
            kern->f32_to_f16(x + t * stride, (uint16_t *)base + at + t * width, width);
        } else {
            memcpy((float *)base + at + t * width, x + t * stride, (size_t)width * sizeof(float));
        }
    }
}

void opt_cache_store(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t pos0,
                     int64_t n, const float *k, int64_t k_stride, const float *v,
                     int64_t v_stride) {
    store_rows(c, kern, c->k, c->d, head, pos0, n, k, k_stride);
    store_rows(c, kern, c->v, c->d_v, head, pos0, n, v, v_stride);
}

void opt_cache_attend(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t begin,
                      const opt_queries *queries, float scale) {
    const int64_t k_at = (head * c->n_ctx + begin) * c->d,
                  v_at = (head * c->n_ctx + begin) * c->d_v;
    if (c->half) {
        kern->attend_f16(queries, (const uint16_t *)c->k + k_at, c->d,
                         (const uint16_t *)c->v + v_at, c->d_v, c->d, c->d_v, scale);
    } else {
        kern->attend_f32(queries, (const float *)c->k + k_at, c->d, (const float *)c->v + v_at,
                         c->d_v, c->d, c->d_v, scale);
    }
}
