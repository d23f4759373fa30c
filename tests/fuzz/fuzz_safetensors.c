#include "io_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
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
    return 0;
}
