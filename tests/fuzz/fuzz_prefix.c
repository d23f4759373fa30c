/* Fuzz target: an entry of a prefix cache (runtime/prefix_entry.h). With a right checksum, too, so
 * that the rest of the reader is reached. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/prefix_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const uint8_t *bytes, size_t n, bool head_only) {
    char reason[OPT_PREFIX_REASON];
    int32_t ids[OPT_PREFIX_BLOCK * 4] = {0};
    opt_prefix_entry e;
    reason[0] = 0;
    if (!opt_prefix_entry_parse(bytes, n, head_only, &e, reason)) {
        if (reason[0] == 0) {
            abort();
        }
        return;
    }
    if (e.n < 1 || e.n > OPT_PREFIX_BLOCK || e.n_before < 0 ||
        (!head_only && (e.data < bytes || (size_t)(e.data - bytes) + e.data_bytes + 8 != n))) {
        abort();
    }
    if (opt_prefix_entry_match(&e, ids, OPT_PREFIX_BLOCK * 4) > e.n) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    use(data, size, false);
    use(data, size, true);
    uint8_t *copy = malloc(size + 1);
    if (copy != NULL && size >= 8) {
        memcpy(copy, data, size);
        opt_prefix_entry_seal(copy, size);
        use(copy, size, false);
    }
    free(copy);
    return 0;
}
