/* Checks of what the reverse pass needs: swiglu_grad, softmax. */
#include "kern/test_kernels/checks.h"

#include <math.h>

#define ULP 0x1p-23

void check_swiglu_grad(opt_kern_swiglu_grad_fn *fn, const row_info *row) {
    static const float odd[] = {0.0F, -0.0F, 87.0F, -87.0F, 104.0F, -104.0F, 1e4F, -1e4F};
    for (int64_t n = 1; n < 80; n++) {
        float *gate = normals(n, 1), *up = normals(n, 2), *dy = normals(n, 3);
        float *d_gate = normals(n, 4), *d_up = normals(n, 5);
        for (int64_t j = 0; j < n; j++) {
            gate[j] *= 8;
        }
        gate[n / 2] = odd[n % 8];
        float *e_gate = copy_floats(d_gate, n), *e_up = copy_floats(d_up, n);
        float *before_gate = copy_floats(d_gate, n), *before_up = copy_floats(d_up, n);
        fn(gate, up, dy, d_gate, d_up, n);
        row->ref->swiglu_grad(gate, up, dy, e_gate, e_up, n);
        for (int64_t j = 0; j < n; j++) {
            /* 1 - s loses digits where s is near 1: an absolute error of an ulp there, times z. */
            const double z = fabs((double)gate[j]), d = fabs((double)dy[j]);
            const double s = 1.0 / (1.0 + exp(-(double)gate[j]));
            const double terms = d * fabs((double)up[j]) * s * (1.0 + z) + 0x1p-110;
            assert_close((double)d_gate[j], (double)e_gate[j],
                         8 * ULP * (terms + fabs((double)before_gate[j])), row->name, j);
            assert_close((double)d_up[j], (double)e_up[j],
                         8 * ULP * (d * z * s + fabs((double)before_up[j])) + 0x1p-110, row->name,
                         j);
        }
        free(gate);
        free(up);
        free(dy);
        free(d_gate);
        free(d_up);
        free(e_gate);
        free(e_up);
        free(before_gate);
        free(before_up);
    }
}

void check_softmax(opt_kern_softmax_fn *fn, const row_info *row) {
    for (int64_t n = 1; n < 140; n++) {
        const float scale = n % 2 == 0 ? 0.125F : 3.0F;
        float *x = normals(n, (uint64_t)n);
        for (int64_t j = 0; j < n; j++) {
            x[j] *= n % 3 == 0 ? 40.0F : 4.0F;
        }
        float *before = copy_floats(x, n), *expected = copy_floats(x, n);
        fn(x, n, scale);
        row->ref->softmax(expected, n, scale);
        for (int64_t j = 0; j < n; j++) {
            const double argument = 1.0 + fabs((double)before[j] * (double)scale) + 200.0;
            assert_close((double)x[j], (double)expected[j],
                         (double)expected[j] * argument * ULP + 0x1p-125, row->name, j);
        }
        free(x);
        free(before);
        free(expected);
    }
}
