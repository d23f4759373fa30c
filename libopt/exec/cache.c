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

bool opt_cache_rows_bytes(const opt_cache *c, int64_t n, size_t *out) {
    const int64_t dims[] = {c->n_heads, n, c->d + c->d_v};
    int64_t elements = 0;
    return opt_mul_dims(dims, 3, &elements) && opt_mul_size((size_t)elements, item_bytes(c), out);
}

/* Rows pos0 .. pos0 + n - 1 of every head, from a plane of the cache to `data` [n_heads, n_data]
 * or back. */
static void move_plane(const opt_cache *c, void *plane, int64_t width, int64_t pos0, int64_t n,
                       uint8_t *data, int64_t n_data, bool in) {
    const size_t row = (size_t)width * item_bytes(c);
    for (int64_t head = 0; head < c->n_heads; head++) {
        uint8_t *at = (uint8_t *)plane + (size_t)(head * c->n_ctx + pos0) * row;
        uint8_t *there = data + (size_t)(head * n_data) * row;
        memcpy(in ? at : there, in ? there : at, (size_t)n * row);
    }
}

void opt_cache_read_rows(const opt_cache *c, int64_t pos0, int64_t n, void *out) {
    const size_t keys = (size_t)(c->n_heads * n * c->d) * item_bytes(c);
    move_plane(c, c->k, c->d, pos0, n, out, n, false);
    move_plane(c, c->v, c->d_v, pos0, n, (uint8_t *)out + keys, n, false);
}

void opt_cache_write_rows(const opt_cache *c, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data) {
    const size_t keys = (size_t)(c->n_heads * n_data * c->d) * item_bytes(c);
    uint8_t *from = (uint8_t *)(uintptr_t)data; /* read only with `in` */
    move_plane(c, c->k, c->d, pos0, n, from, n_data, true);
    move_plane(c, c->v, c->d_v, pos0, n, from + keys, n_data, true);
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
