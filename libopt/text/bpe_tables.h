/** What building and using the merge tables share. */
#ifndef OPT_TEXT_BPE_TABLES_H
#define OPT_TEXT_BPE_TABLES_H

#include "text/bpe.h"

/** Bits of the filter of joins: a false positive only costs a cut that is not made. */
#define OPT_BPE_JOIN_BITS (1U << 19)

static inline uint64_t opt_bpe_hash(uint32_t left, uint32_t right) {
    uint64_t x = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15ULL;
    x ^= x >> 32;
    return x * 0xD6E8FEB86659FD93ULL >> 24;
}

/** Whether a merge can join two neighbours of which `left` and `right` are the adjacent first
 * symbols. */
static inline bool opt_bpe_joins(const opt_bpe *bpe, uint32_t left, uint32_t right) {
    const uint64_t bit = opt_bpe_hash(left, right) % OPT_BPE_JOIN_BITS;
    return (bpe->joins[bit / 64] >> (bit % 64) & 1) != 0;
}

#endif
