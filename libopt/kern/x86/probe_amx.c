/* What the machine can do at best, with AMX; the reference is in ref/probe_ref.c, bound 0. */
#include "kern/rows.h"
#include "kern/x86/amx_tiles.h"

enum {
    TILES = 4, /* of sums, so that no product waits for the one before it */
    TILE_DOTS = AMX_ROWS * 16,
    ROUNDS = TILES * TILE_DOTS / OPT_PEAK_DOTS /* that one product into each tile makes */
};

/** Every row of one tile is u, every column of the other is s: each of their products is the dot
 * product. The rounds that are left over are done with AVX-512. */
uint32_t optk_peak_i8__amx(const uint8_t *u, const int8_t *s, int64_t rounds) {
    OPT_ALIGNED(64) uint8_t a[AMX_ROWS][64], b[AMX_ROWS][64];
    OPT_ALIGNED(64) uint32_t sums[TILES][TILE_DOTS];
    uint32_t total = optk_peak_i8__avx512(u, s, rounds % ROUNDS);
    for (int i = 0; i < AMX_ROWS; i++) {
        memcpy(a[i], u, 64);
        for (int c = 0; c < 16; c++) {
            memcpy(b[i] + 4 * c, s + 4 * i, 4);
        }
    }
    amx_begin(64);
    AMX_LOAD(4, a, 64);
    AMX_LOAD(6, b, 64);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < rounds / ROUNDS; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 6);
        _tile_dpbusd(2, 4, 6);
        _tile_dpbusd(3, 4, 6);
    }
    AMX_STORE(0, sums[0], 64);
    AMX_STORE(1, sums[1], 64);
    AMX_STORE(2, sums[2], 64);
    AMX_STORE(3, sums[3], 64);
    amx_end();
    for (int t = 0; t < TILES; t++) {
        for (int i = 0; i < TILE_DOTS; i++) {
            total += sums[t][i];
        }
    }
    return total;
}
