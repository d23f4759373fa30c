#include "base/rng.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/hash.h"

/*
 * Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC'11), table 2 and
 * section 4.3.
 */
void opt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    static const uint32_t mul0 = 0xd2511f53u;
    static const uint32_t mul1 = 0xcd9e8d57u;
    static const uint32_t weyl0 = 0x9e3779b9u; /* golden ratio */
    static const uint32_t weyl1 = 0xbb67ae85u; /* sqrt(3) - 1 */
    uint32_t c0 = counter[0];
    uint32_t c1 = counter[1];
    uint32_t c2 = counter[2];
    uint32_t c3 = counter[3];
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)mul0 * c0;
        const uint64_t p1 = (uint64_t)mul1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += weyl0;
        k1 += weyl1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t opt_rng_key(uint64_t seed, const char *object, const char *purpose) {
    /* Hashing the parts first keeps ("ab", "c") and ("a", "bc") apart. */
    const uint64_t parts[3] = {seed, opt_xxh3(object, strlen(object)),
                               opt_xxh3(purpose, strlen(purpose))};
    return opt_xxh3(parts, sizeof parts);
}

/** The two values of block `i`: values 2i and 2i + 1 of the stream. */
static void pair(uint64_t key, uint64_t i, uint64_t out[2]) {
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), 0, 0};
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint32_t r[4];
    opt_philox4x32(counter, k, r);
    out[0] = (uint64_t)r[1] << 32 | r[0];
    out[1] = (uint64_t)r[3] << 32 | r[2];
}

uint64_t opt_rng_u64(uint64_t key, uint64_t i) {
    uint64_t v[2];
    pair(key, i >> 1, v);
    return v[i & 1];
}

static double to_uniform(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

double opt_rng_uniform(uint64_t key, uint64_t i) { return to_uniform(opt_rng_u64(key, i)); }

/*
 * Logarithm and cosine from basic operations only: libm picks variants by processor, and a sample
 * must be the same bits on every machine. Errors stay below 2e-15 relative (log) and 1e-15 absolute
 * (cosine), far below what sampling needs.
 */

/**
 * Natural logarithm of x in (0, 1]: x = m 2^e, m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) /
 * (m + 1)).
 */
static double portable_log(double x) {
    static const double ln2_hi = 0x1.62e42fefa0000p-1; /* 33 bits: e * ln2_hi is exact */
    static const double ln2_lo = 0x1.cf79abc9e3b3ap-40;
    int e = 0;
    double m = frexp(x, &e); /* [1/2, 1) */
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2.0;
        e--;
    }
    const double s = (m - 1.0) / (m + 1.0); /* |s| < 0.1716 */
    const double s2 = s * s;
    double sum = 0.0;
    for (int k = 21; k >= 3; k -= 2) { /* the rest is below s2^11 = 2e-17 */
        sum = (sum + 1.0 / k) * s2;
    }
    return e * ln2_hi + (2.0 * s * (1.0 + sum) + e * ln2_lo);
}

/** cos(2 pi u) for u in [0, 1): the octant is folded exactly, then Taylor series on [0, pi/4]. */
static double portable_cos_turn(double u) {
    static const double two_pi = 0x1.921fb54442d18p+2;
    const double folded = u > 0.5 ? 1.0 - u : u; /* [0, 1/2], exact: u is a multiple of 2^-53 */
    const bool negative = folded > 0.25;
    const double quarter = negative ? 0.5 - folded : folded; /* [0, 1/4] */
    const bool use_sin = quarter > 0.125;
    const double x = two_pi * (use_sin ? 0.25 - quarter : quarter);
    const double x2 = x * x;
    double sum = 1.0;
    for (int k = use_sin ? 19 : 18; k >= 2; k -= 2) {
        sum = 1.0 - sum * x2 / ((double)k * (k - 1));
    }
    const double value = use_sin ? x * sum : sum;
    return negative ? -value : value;
}

double opt_rng_normal(uint64_t key, uint64_t i) {
    uint64_t v[2];
    pair(key, i, v);
    const double u = 1.0 - to_uniform(v[0]); /* (0, 1] */
    return sqrt(-2.0 * portable_log(u)) * portable_cos_turn(to_uniform(v[1]));
}
