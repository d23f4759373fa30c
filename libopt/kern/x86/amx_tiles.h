/**
 * The few tile operations that the AMX kernels are made of, as functions: the instructions, or
 * (OPT_AMX_EMULATE, for a test that compiles the same kernel on machines without them) plain C.
 * Tiles 0 to 3 are accumulators of 16 x 16 numbers; 4, 5 hold 16 rows of 16 pairs (or quadruples of
 * bytes), 6, 7 16 steps of pairs of 16 columns. One configuration serves all kernels: a kernel
 * loads it when it begins and releases the tiles when it ends, so nothing is kept between calls.
 */
#ifndef OPT_KERN_X86_AMX_TILES_H
#define OPT_KERN_X86_AMX_TILES_H

#include <stdint.h>
#include <string.h>

#include "base/attr.h"

#ifdef OPT_AMX_EMULATE

#include "kern/half.h"

typedef struct amx_state {
    int32_t tile[8][16][16];
} amx_state;

static inline void amx_begin(amx_state *s) { memset(s, 0, sizeof *s); }
static inline void amx_end(amx_state *s) { memset(s, 0x7f, sizeof *s); } /* nothing survives */
static inline void amx_zero(amx_state *s, int tile) {
    memset(s->tile[tile], 0, sizeof s->tile[tile]);
}
#define AMX_ZERO(s, tile) amx_zero(s, tile)

static inline void amx_load(amx_state *s, int tile, const void *from, int64_t stride) {
    for (int i = 0; i < 16; i++) {
        memcpy(s->tile[tile][i], (const char *)from + i * stride, 64);
    }
}
#define AMX_LOAD(s, tile, from, stride) amx_load(s, tile, from, stride)

static inline void amx_store(amx_state *s, int tile, void *to, int64_t stride) {
    for (int i = 0; i < 16; i++) {
        memcpy((char *)to + i * stride, s->tile[tile][i], 64);
    }
}
#define AMX_STORE(s, tile, to, stride) amx_store(s, tile, to, stride)

/** tdpbf16ps as Intel describes it: even and odd products apart, then both added. */
static inline void amx_dot_bf16(amx_state *s, int sum, int a, int b) {
    for (int r = 0; r < 16; r++) {
        for (int c = 0; c < 16; c++) {
            float even = 0.0F, odd = 0.0F, total;
            for (int p = 0; p < 16; p++) {
                const uint32_t x = (uint32_t)s->tile[a][r][p], y = (uint32_t)s->tile[b][p][c];
                even += optk_bits_f32(x << 16) * optk_bits_f32(y << 16);
                odd += optk_bits_f32(x & 0xffff0000u) * optk_bits_f32(y & 0xffff0000u);
            }
            memcpy(&total, &s->tile[sum][r][c], sizeof total);
            total += even + odd;
            memcpy(&s->tile[sum][r][c], &total, sizeof total);
        }
    }
}
#define AMX_DOT_BF16(s, sum, a, b) amx_dot_bf16(s, sum, a, b)

#else

#include <immintrin.h>

typedef struct amx_state {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} amx_state;

/** All 8 tiles have 16 rows of 64 bytes. */
static inline void amx_begin(amx_state *s) {
    memset(s, 0, sizeof *s);
    s->palette = 1;
    for (int i = 0; i < 8; i++) {
        s->bytes[i] = 64;
        s->rows[i] = 16;
    }
    _tile_loadconfig(s);
}
static inline void amx_end(amx_state *s) {
    (void)s;
    _tile_release();
}
#define AMX_ZERO(s, tile) _tile_zero(tile)
#define AMX_LOAD(s, tile, from, stride) _tile_loadd(tile, from, (int)(stride))
#define AMX_STORE(s, tile, to, stride) _tile_stored(tile, to, (int)(stride))
#define AMX_DOT_BF16(s, sum, a, b) _tile_dpbf16ps(sum, a, b)

#endif

#endif
