/** KV cache: keys and values of every attention node, head by head, in f32 or f16. */
#ifndef OPT_EXEC_CACHE_H
#define OPT_EXEC_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "kern/kern.h"

/** Cache of one attention node. Keys [n_heads_kv, n_ctx, d], values [n_heads_kv, n_ctx, d_v]. */
typedef struct opt_cache {
    bool half;       /* f16 instead of f32 */
    int64_t n_heads; /* key/value heads */
    int64_t n_ctx, d, d_v;
    void *k, *v;
} opt_cache;

/** Bytes of keys and of values together; false on overflow. */
bool opt_cache_bytes(const opt_cache *c, size_t *out);
/** Gives the cache its memory (64-byte aligned). */
void opt_cache_bind(opt_cache *c, void *memory);
/** Stores keys [n, k_stride] and values [n, v_stride] of one head at positions pos0 .. . */
void opt_cache_store(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t pos0,
                     int64_t n, const float *k, int64_t k_stride, const float *v, int64_t v_stride);
/** Bytes of n positions, keys and values of all heads; false on overflow. */
bool opt_cache_rows_bytes(const opt_cache *c, int64_t n, size_t *out);
/** Copies positions pos0 .. pos0 + n - 1 out: the keys of head after head, then the values. */
void opt_cache_read_rows(const opt_cache *c, int64_t pos0, int64_t n, void *out);
/** Copies the first n of the n_data positions that opt_cache_read_rows wrote to pos0 .. . */
void opt_cache_write_rows(const opt_cache *c, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data);
/** Queries over positions begin .. of a key/value head; see opt_kern.attend_f32. */
void opt_cache_attend(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t begin,
                      const opt_queries *queries, float scale);

#endif
