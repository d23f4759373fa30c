/**
 * What the AMX kernels share. Tiles 0 to 3 are accumulators of 16 x 16 numbers; 4, 5 hold 16 rows
 * of some bytes, 6, 7 as many bytes of 16 columns, 4 of each column side by side in a row. A kernel
 * loads the configuration when it begins, on whatever thread it runs, and releases the tiles when
 * it ends, so nothing is kept between calls. opt_cpu_detect has asked for the permission.
 */
#ifndef OPT_KERN_X86_AMX_TILES_H
#define OPT_KERN_X86_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

#define AMX_ROWS 16 /* of tiles 0 .. 5, and columns of tiles 0 .. 3, 6, 7 */

/* What was written before lies in memory: gcc 12 does not know that these instructions read it. */
#define AMX_WRITTEN() __asm__ volatile("" : : : "memory")

/** Rows of tiles 4, 5 and columns of tiles 6, 7 have k_bytes bytes, a multiple of 4 up to 64. */
static inline void amx_begin(int k_bytes) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) {
        config.rows[i] = (uint8_t)(i < 6 ? AMX_ROWS : k_bytes / 4);
        config.bytes[i] = (uint16_t)(i < 4 || i > 5 ? 64 : k_bytes);
    }
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}
static inline void amx_end(void) { _tile_release(); }

/* Rows `stride` bytes apart. */
#define AMX_LOAD(tile, from, stride)                                                               \
    do {                                                                                           \
        AMX_WRITTEN();                                                                             \
        _tile_loadd(tile, from, (int)(stride));                                                    \
    } while (0)
#define AMX_STORE(tile, to, stride) _tile_stored(tile, to, (int)(stride))

#endif
