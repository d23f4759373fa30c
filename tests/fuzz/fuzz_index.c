#include <string.h>

#include "io_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *const ctx = fuzz_ctx();
    opt_arena *arena = NULL;
    opt_hf_index index = {0};
    opt_status st = opt_arena_new(ctx, &arena);
    if (st == OPT_OK) {
        st = opt_hf_index_parse(ctx, arena, "fuzz", (const char *)data, size, &index);
    }
    check_status(ctx, st);
    for (size_t i = 0; i < index.n_entries; i++) {
        /* whatever the file says, its shards stay in the directory */
        if (strchr(index.shards[index.entries[i].shard], '/') != NULL) {
            abort();
        }
    }
    opt_arena_free(arena);
    return 0;
}
