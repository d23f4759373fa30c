/* Pieces of GGUF files for tests. */
#ifndef OPT_TESTS_GGUF_BUILD_H
#define OPT_TESTS_GGUF_BUILD_H

#include "io_test.h"

enum { T_F32 = 0, T_Q4_0 = 2, T_Q8_0 = 8, T_I8 = 24 };

static inline void add_head(bytes *b, uint64_t n_tensors, uint64_t n_kv) {
    add_text(b, "GGUF");
    add_u32(b, 3);
    add_u64(b, n_tensors);
    add_u64(b, n_kv);
}

/** Key and type of an entry; the value follows. */
static inline void add_key(bytes *b, const char *key, opt_kv_type type) {
    add_str(b, key);
    add_u32(b, type);
}

static inline void add_kv_u32(bytes *b, const char *key, uint32_t v) {
    add_key(b, key, OPT_KV_U32);
    add_u32(b, v);
}

static inline void add_kv_str(bytes *b, const char *key, const char *v) {
    add_key(b, key, OPT_KV_STRING);
    add_str(b, v);
}

/** Head of an array; n elements follow. */
static inline void add_kv_array(bytes *b, const char *key, uint32_t elem, uint64_t n) {
    add_key(b, key, OPT_KV_ARRAY);
    add_u32(b, elem);
    add_u64(b, n);
}

static inline void add_info_dims(bytes *b, const char *name, uint32_t n_dims, const uint64_t *ne,
                                 uint32_t type, uint64_t off) {
    add_str(b, name);
    add_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        add_u64(b, ne[i]);
    }
    add_u32(b, type);
    add_u64(b, off);
}

/** Record of a tensor with one dimension. */
static inline void add_info(bytes *b, const char *name, uint64_t n, uint32_t type, uint64_t off) {
    add_info_dims(b, name, 1, &n, type, off);
}

/** Padding of the header, and n bytes of data. */
static inline void add_body(bytes *b, size_t n) {
    add_padding(b, 32);
    for (size_t i = 0; i < n; i++) {
        add_u8(b, (uint8_t)(i + 1));
    }
}

#endif
