/**
 * Codebooks of ggml's IQ types, in iq_tables.c made by scripts/make_iq_tables.py. An entry packs
 * the codes of one vector: 8 codes of 2 bits (iq2_*, iq1), or 4 codes in nibbles (iq3_*), first
 * code in the lowest bits.
 */
#ifndef OPT_KERN_REF_IQ_TABLES_H
#define OPT_KERN_REF_IQ_TABLES_H

#include <stdint.h>

extern const uint16_t optk_iq2_xxs_grid[256];
extern const uint16_t optk_iq2_xs_grid[512];
extern const uint16_t optk_iq2_s_grid[1024];
extern const uint16_t optk_iq3_xxs_grid[256];
extern const uint16_t optk_iq3_s_grid[512];
extern const uint16_t optk_iq1_grid[2048];
/** The 16 levels of iq4_nl and iq4_xs. */
extern const int8_t optk_iq4_values[16];

#endif
