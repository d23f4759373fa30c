#include "exec/cache.h"

#include <string.h>

#include "base/num.h"

const char *opt_cache_type_name(opt_cache_type type) {
    static const char *const names[] = {"auto", "f32", "f16", "int8"};
    return names[type];
}

static size_t item_bytes(const opt_cache *c) {
    return c->type == OPT_CACHE_F32   ? sizeof(float)
           : c->type == OPT_CACHE_F16 ? sizeof(uint16_t)
                                      : sizeof(int8_t);
}

/* Bytes of one position of a head in a plane. */
static size_t row_bytes(const opt_cache *c, int plane) {
    switch (plane) {
    case OPT_CACHE_K: return (size_t)c->d * item_bytes(c);
    case OPT_CACHE_V: return (size_t)c->d_v * item_bytes(c);
    default: return c->type == OPT_CACHE_I8 ? sizeof(float) : 0;
    }
}

static uint8_t *row_at(const opt_cache *c, int plane, int64_t head, int64_t pos) {
    return c->plane[plane] + (size_t)(head * c->n_rows + pos - c->base) * row_bytes(c, plane);
}

/* Bytes of n positions of all heads in a plane. */
static bool plane_bytes(const opt_cache *c, int plane, int64_t n, size_t *out) {
    const int64_t dims[] = {c->n_heads, n, (int64_t)row_bytes(c, plane)};
    int64_t bytes = 0;
    const bool ok = c->d >= 0 && c->d <= INT32_MAX && c->d_v >= 0 && c->d_v <= INT32_MAX &&
                    opt_mul_dims(dims, 3, &bytes);
    *out = (size_t)bytes;
    return ok;
}

bool opt_cache_bytes(const opt_cache *c, size_t *out) {
    size_t total = 0, bytes = 0;
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        if (!plane_bytes(c, i, c->n_rows, &bytes) || !opt_align_size(bytes, 64, &bytes) ||
            !opt_add_size(total, bytes, &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

void opt_cache_bind(opt_cache *c, void *memory) {
    uint8_t *at = memory;
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        size_t bytes = 0;
        c->plane[i] = at;
        /* opt_cache_bytes was asked before */
        at += plane_bytes(c, i, c->n_rows, &bytes) && opt_align_size(bytes, 64, &bytes) ? bytes : 0;
    }
}

int64_t opt_cache_rows_needed(int64_t window, int64_t n_ctx, int64_t n_batch) {
    int64_t n = 0;
    const bool ok =
        window > 0 && opt_add_i64(window, n_batch, &n) && opt_add_i64(n, OPT_CACHE_SLACK, &n);
    return ok ? opt_min_i64(n, n_ctx) : n_ctx;
}

/* First position that is kept when the sequence goes on at pos0. */
static int64_t first_kept(const opt_cache *c, int64_t pos0) {
    return opt_max_i64(0, pos0 - (c->window - 1) - OPT_CACHE_SLACK);
}

void opt_cache_make_room(opt_cache *c, int64_t pos0, int64_t n) {
    if (pos0 + n - c->base <= c->n_rows) {
        return;
    }
    const int64_t base = first_kept(c, pos0);
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        const size_t row = row_bytes(c, i);
        for (int64_t head = 0; head < c->n_heads && row > 0; head++) {
            memmove(row_at(c, i, head, c->base), row_at(c, i, head, base),
                    (size_t)(pos0 - base) * row);
        }
    }
    c->base = base;
}

bool opt_cache_can_resume(const opt_cache *c, int64_t pos0) {
    return c->base == 0 || pos0 - (c->window - 1) >= c->base;
}

void opt_cache_begin(opt_cache *c, int64_t pos0) {
    c->base = pos0 <= c->n_rows ? 0 : first_kept(c, pos0);
}

static void store_rows(const opt_cache *c, const opt_kern *kern, int plane, int64_t head,
                       int64_t pos0, int64_t n, const float *x, int64_t stride) {
    const int64_t width = plane == OPT_CACHE_K ? c->d : c->d_v;
    for (int64_t t = 0; t < n; t++) {
        uint8_t *row = row_at(c, plane, head, pos0 + t);
        if (c->type == OPT_CACHE_I8) {
            uint8_t *scale = row_at(c, plane + OPT_CACHE_K_SCALE, head, pos0 + t);
            kern->quantize_row(x + t * stride, width, (int8_t *)row, (float *)(void *)scale);
        } else if (c->type == OPT_CACHE_F16) {
            kern->f32_to_f16(x + t * stride, (uint16_t *)(void *)row, width);
        } else {
            memcpy(row, x + t * stride, (size_t)width * sizeof(float));
        }
    }
}

void opt_cache_store(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t pos0,
                     int64_t n, const float *k, int64_t k_stride, const float *v,
                     int64_t v_stride) {
    store_rows(c, kern, OPT_CACHE_K, head, pos0, n, k, k_stride);
    store_rows(c, kern, OPT_CACHE_V, head, pos0, n, v, v_stride);
}

bool opt_cache_rows_bytes(const opt_cache *c, int64_t n, size_t *out) {
    size_t total = 0, bytes = 0;
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        if (!plane_bytes(c, i, n, &bytes) || !opt_add_size(total, bytes, &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

void opt_cache_read_rows(const opt_cache *c, int64_t pos0, int64_t n, void *out) {
    uint8_t *to = out;
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        const size_t bytes = (size_t)n * row_bytes(c, i);
        for (int64_t head = 0; head < c->n_heads && bytes > 0; head++) {
            memcpy(to, row_at(c, i, head, pos0), bytes);
            to += bytes;
        }
    }
}

void opt_cache_write_rows(const opt_cache *c, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data) {
    const uint8_t *from = data;
    const int64_t skip = opt_min_i64(n, opt_max_i64(0, c->base - pos0));
    for (int i = 0; i < OPT_CACHE_PLANES; i++) {
        const size_t row = row_bytes(c, i);
        for (int64_t head = 0; head < c->n_heads && row > 0; head++) {
            if (skip < n) {
                memcpy(row_at(c, i, head, pos0 + skip), from + (size_t)skip * row,
                       (size_t)(n - skip) * row);
            }
            from += (size_t)n_data * row;
        }
    }
}

void opt_cache_attend(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t begin,
                      const opt_queries *queries, float scale) {
    const void *k = row_at(c, OPT_CACHE_K, head, begin);
    const void *v = row_at(c, OPT_CACHE_V, head, begin);
    if (c->type == OPT_CACHE_I8) {
        const void *k_scale = row_at(c, OPT_CACHE_K_SCALE, head, begin);
        const void *v_scale = row_at(c, OPT_CACHE_V_SCALE, head, begin);
        const opt_rows_i8 keys = {k, c->d, k_scale}, values = {v, c->d_v, v_scale};
        kern->attend_i8(queries, &keys, &values, c->d, c->d_v, scale);
    } else if (c->type == OPT_CACHE_F16) {
        kern->attend_f16(queries, k, c->d, v, c->d_v, c->d, c->d_v, scale);
    } else {
        kern->attend_f32(queries, k, c->d, v, c->d_v, c->d, c->d_v, scale);
    }
}
