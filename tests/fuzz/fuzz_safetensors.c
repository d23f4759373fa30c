#include <string.h>

#include "io_fuzz.h"

static void parse(const uint8_t *data, size_t size) {
    opt_ctx *const ctx = fuzz_ctx();
    opt_arena *arena = NULL;
    opt_tensor_list list = {0};
    opt_status st = opt_arena_new(ctx, &arena);
    if (st == OPT_OK) {
        st = opt_st_parse(ctx, arena, "fuzz", data, size, &list);
    }
    check_status(ctx, st);
    touch(&list, data, size);
    opt_arena_free(arena);
}

/**
 * An input that starts with '{' is a header without its length, up to the first 0 byte, and the
 * tensor bytes behind it: mutations of text would otherwise nearly always contradict the length.
 * Any other input is a whole file.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || data[0] != '{') {
        parse(data, size);
        return 0;
    }
    const uint8_t *const zero = memchr(data, 0, size);
    const uint64_t n_header = zero != NULL ? (uint64_t)(zero - data) : size;
    const size_t n_data = zero != NULL ? size - n_header - 1 : 0;
    uint8_t *const file = malloc(sizeof n_header + n_header + n_data);
    if (file == NULL) {
        return 0;
    }
    memcpy(file, &n_header, sizeof n_header);
    memcpy(file + sizeof n_header, data, n_header);
    if (n_data > 0) {
        memcpy(file + sizeof n_header + n_header, zero + 1, n_data);
    }
    parse(file, sizeof n_header + n_header + n_data);
    free(file);
    return 0;
}
