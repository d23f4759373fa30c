/**
 * KV cache: keys and values of every attention node, head by head, in f32, f16 or int8. In int8
 * the key or value of a head at a position has a scale of its own (kern.h, quantize_row).
 *
 * A node with a window needs only the last positions. Its cache holds so many more that they need
 * not be moved with every token: when it is full, those that are still of use move to the front. So
 * keys and values of a window always lie side by side, and attention computes what it would over
 * all of them, bit for bit.
 */
#ifndef OPT_EXEC_CACHE_H
#define OPT_EXEC_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "kern/kern.h"
#include "opt/infer.h"

/** Positions before the window that are kept, too: so far can a sequence with a window be cut back
 * without losing anything. More than guesses that turn out wrong, and than the beginning of a block
 * of the prefix cache that is not complete yet. */
#define OPT_CACHE_SLACK 64

/** Planes of a cache: keys, values, and in int8 the scales of both. */
enum { OPT_CACHE_K, OPT_CACHE_V, OPT_CACHE_K_SCALE, OPT_CACHE_V_SCALE, OPT_CACHE_PLANES };

/** Cache of one attention node. A plane is [n_heads, n_rows, width]. */
typedef struct opt_cache {
    opt_cache_type type; /* not OPT_CACHE_AUTO */
    int64_t n_heads;     /* key/value heads */
    int64_t n_rows;      /* positions that it holds */
    int64_t window;      /* positions that a query sees; 0: all in front of it */
    int64_t base;        /* position of the first row: 0 without a window */
    int64_t d, d_v;
    uint8_t *plane[OPT_CACHE_PLANES];
} opt_cache;

/** "f16" and the like. */
const char *opt_cache_type_name(opt_cache_type type);
/** Bytes of all planes; false on overflow. */
bool opt_cache_bytes(const opt_cache *c, size_t *out);
/** Gives the cache its memory (64-byte aligned). */
void opt_cache_bind(opt_cache *c, void *memory);
/** Positions that a cache needs to hold for a context of n_ctx, of which at most n_batch are stored
 * between two calls of opt_cache_make_room. */
int64_t opt_cache_rows_needed(int64_t window, int64_t n_ctx, int64_t n_batch);
/** Before positions pos0 .. pos0 + n - 1 are stored: what nobody needs any more makes room. */
void opt_cache_make_room(opt_cache *c, int64_t pos0, int64_t n);
/** Whether everything is there that positions from pos0 on need of those before them. */
bool opt_cache_can_resume(const opt_cache *c, int64_t pos0);
/** Before positions are written from elsewhere (opt_cache_write_rows) to go on at pos0. */
void opt_cache_begin(opt_cache *c, int64_t pos0);

/** Stores keys [n, k_stride] and values [n, v_stride] of one head at positions pos0 .. . */
void opt_cache_store(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t pos0,
                     int64_t n, const float *k, int64_t k_stride, const float *v, int64_t v_stride);
/** Bytes of n positions, keys and values of all heads; false on overflow. */
bool opt_cache_rows_bytes(const opt_cache *c, int64_t n, size_t *out);
/** Copies positions pos0 .. pos0 + n - 1 out: plane after plane, head after head. They must be
 * there: pos0 >= base. */
void opt_cache_read_rows(const opt_cache *c, int64_t pos0, int64_t n, void *out);
/** Copies the first n of the n_data positions that opt_cache_read_rows wrote to pos0 .. ; those
 * before `base` are passed over. */
void opt_cache_write_rows(const opt_cache *c, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data);
/** Queries over positions begin .. of a key/value head; see opt_kern.attend_f32. */
void opt_cache_attend(const opt_cache *c, const opt_kern *kern, int64_t head, int64_t begin,
                      const opt_queries *queries, float scale);

#endif
