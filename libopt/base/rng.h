/**
 * Counter-based random numbers: value i of a stream is a function of (key, i) alone, so order and
 * threads do not matter.
 */
#ifndef OPT_BASE_RNG_H
#define OPT_BASE_RNG_H

#include <stdint.h>

/**
 * Key of a stream from the run's seed, an object's name (tensor, ...) and a purpose ("sample",
 * "shuffle", ...).
 */
uint64_t opt_rng_key(uint64_t seed, const char *object, const char *purpose);
/** One block of Philox 4x32-10 (Salmon et al. 2011): 128 random bits from a counter and a key. */
void opt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/** 64 random bits: value `i` of the stream (Philox 4x32-10, Salmon et al. 2011). */
uint64_t opt_rng_u64(uint64_t key, uint64_t i);
/** Uniform in [0, 1), 53 bits. */
double opt_rng_uniform(uint64_t key, uint64_t i);
/** Standard normal (Box-Muller on values 2i and 2i+1). The same bits on every machine. */
double opt_rng_normal(uint64_t key, uint64_t i);

#endif
