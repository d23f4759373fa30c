/* Reference row of the squared error of a reconstruction. */
#include "kern/rows.h"

void optk_add_errors__ref(const float *w, const float *v, int64_t n, double *err, double *ref) {
    enum { LANES = 16 };
    double e[LANES] = {0}, r[LANES] = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        for (int64_t k = 0; k < LANES && i + k < n; k++) {
            const double a = (double)w[i + k];
            const double d = a - (double)v[i + k];
            e[k] += d * d;
            r[k] += a * a;
        }
    }
    for (int k = 0; k < LANES; k++) {
        *err += e[k];
        *ref += r[k];
    }
}
