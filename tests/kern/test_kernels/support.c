#include "kern/test_kernels/checks.h"

#include <math.h>

#include "base/rng.h"

void *exact(int64_t n, size_t size) {
    void *p = malloc((size_t)n * size + (n == 0));
    assert_non_null(p);
    return p;
}

float *integers(int64_t n, int range, uint64_t seed) {
    float *x = exact(n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)((int)(opt_rng_u64(seed, (uint64_t)i) % (2 * (unsigned)range + 1)) - range);
    }
    return x;
}

float *normals(int64_t n, uint64_t seed) {
    float *x = exact(n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)opt_rng_normal(seed, (uint64_t)i);
    }
    return x;
}

float *copy_floats(const float *x, int64_t n) {
    float *copy = exact(n, sizeof *copy);
    memcpy(copy, x, (size_t)n * sizeof *x);
    return copy;
}

void assert_same_floats(const float *found, const float *expected, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++) {
        const bool same = memcmp(&found[i], &expected[i], sizeof *found) == 0;
        if (!same && !(isnan(found[i]) && isnan(expected[i]))) {
            fail_msg("%s: element %lld is %a, expected %a", what, (long long)i, (double)found[i],
                     (double)expected[i]);
        }
    }
}

void assert_close(double found, double expected, double bound, const char *what, int64_t i) {
    if (isnan(found) && isnan(expected)) {
        return;
    }
    if (!(fabs(found - expected) <= bound) && found != expected) {
        fail_msg("%s: element %lld is %.9g, expected %.9g (bound %.3g)", what, (long long)i, found,
                 expected, bound);
    }
}
