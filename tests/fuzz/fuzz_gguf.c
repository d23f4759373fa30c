#include "io_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *const ctx = fuzz_ctx();
    opt_arena *arena = NULL;
    opt_gguf g = {0};
    const uint8_t *checksums = NULL;
    opt_status st = opt_arena_new(ctx, &arena);
    if (st == OPT_OK) {
        st = opt_gguf_parse(ctx, arena, "fuzz", data, size, &g);
    }
    if (st == OPT_OK) {
        st = opt_gguf_apply_own(ctx, g.kv, g.list.tensors, g.list.n, &checksums);
    }
    check_status(ctx, st);
    touch(&g.list, data, size);
    if (g.header_sum_off != 0 && g.header_bytes < g.header_sum_off + 8) {
        abort();
    }
    opt_kv_free(g.kv);
    opt_arena_free(arena);
    return 0;
}
