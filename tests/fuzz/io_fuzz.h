/* What the fuzz targets of io share: one context for the process, and a look at every byte that a
 * parser hands out. */
#ifndef OPT_TESTS_IO_FUZZ_H
#define OPT_TESTS_IO_FUZZ_H

#include <stdint.h>
#include <stdlib.h>

#include "io/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline opt_ctx *fuzz_ctx(void) {
    static opt_ctx *ctx = NULL;
    const opt_ctx_options options = {.n_threads = 1};
    if (ctx == NULL && opt_ctx_new(&options, &ctx) != OPT_OK) {
        abort();
    }
    opt_ctx_clear_error(ctx);
    return ctx;
}

/** A refusal comes with a message, success without. */
static inline void check_status(const opt_ctx *ctx, opt_status st) {
    if (st != opt_ctx_status(ctx) || (st != OPT_OK) != (opt_ctx_error_message(ctx)[0] != 0)) {
        abort();
    }
}

/** Reads the ends of every tensor, so that a sanitizer sees pointers that lead out of the file. */
static inline void touch(const opt_tensor_list *list, const uint8_t *data, size_t size) {
    uint8_t sum = 0;
    for (int64_t i = 0; i < list->n; i++) {
        const opt_tensor *const t = &list->tensors[i];
        if (t->data < data || t->bytes > size || (size_t)(t->data - data) > size - t->bytes) {
            abort();
        }
        if (t->bytes > 0) {
            sum = (uint8_t)(sum + t->data[0] + t->data[t->bytes - 1]);
        }
    }
    static volatile uint8_t sink;
    sink = sum;
    (void)sink;
}

#endif
