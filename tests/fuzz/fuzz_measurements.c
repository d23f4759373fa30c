#include "io_fuzz.h"

#include "flow/measurements.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *const ctx = fuzz_ctx();
    opt_measurements m = {0};
    const opt_status st = opt_measurements_parse(ctx, "fuzz", (const char *)data, size, &m);
    check_status(ctx, st);
    for (int i = 0; i < m.n; i++) { /* whatever the file says, costs can be added up */
        for (int k = 0; k < m.tensors[i].n; k++) {
            const opt_format_cost *c = &m.tensors[i].formats[k];
            if (c->format == NULL || !(c->kld >= 0.0 && c->kld <= 1e6) || !(c->error >= 0.0) ||
                opt_measurements_format(&m.tensors[i], c->format) != c) {
                abort();
            }
        }
    }
    opt_measurements_free(&m);
    return 0;
}
