/** Checked arithmetic for every number that comes from a file, and little-endian access. */
#ifndef OPT_BASE_NUM_H
#define OPT_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * True and the result in *out, or false on overflow (then *out is untouched by contract, do not use
 * it).
 */
static inline bool opt_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool opt_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool opt_add_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool opt_mul_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/** Rounds up to a multiple of `align` (a power of two); false on overflow. */
static inline bool opt_align_size(size_t a, size_t align, size_t *out) {
    if (!opt_add_size(a, align - 1, &a)) {
        return false;
    }
    *out = a & ~(align - 1);
    return true;
}

/** Product of `n` dimensions, each >= 0; false on overflow or a negative dimension. */
static inline bool opt_mul_dims(const int64_t *dims, int n, int64_t *out) {
    int64_t product = 1;
    bool zero = false;
    for (int i = 0; i < n; i++) {
        if (dims[i] < 0) {
            return false;
        }
        if (dims[i] == 0) {
            zero = true;
        } else if (!opt_mul_i64(product, dims[i], &product)) {
            return false;
        }
    }
    *out = zero ? 0 : product;
    return true;
}

/** ceil(a / b) for a >= 0, b > 0. */
static inline int64_t opt_ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
static inline int64_t opt_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline uint64_t opt_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline int64_t opt_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/*
 * Unaligned little-endian loads and stores; the supported hosts are little-endian (checked at
 * configure time).
 */
static inline uint16_t opt_rd_u16le(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t opt_rd_u32le(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t opt_rd_u64le(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void opt_wr_u16le(void *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void opt_wr_u32le(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void opt_wr_u64le(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }

#endif
