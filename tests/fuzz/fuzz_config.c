/* config.json: whatever it says, it is refused with a message or gives numbers within bounds. */
#include "io_fuzz.h"

#include <math.h>

#include "model/arch.h"

static void check(int condition) {
    if (!condition) {
        abort();
    }
}

static void check_numbers(const opt_hparams *hp) {
    check(hp->n_vocab > 0 && hp->n_embd > 0 && hp->n_ff > 0 && hp->n_layers > 0 && hp->n_heads > 0);
    check(hp->n_heads_kv > 0 && hp->n_heads % hp->n_heads_kv == 0);
    check(hp->head_dim > 0 && hp->head_dim % 2 == 0 && hp->n_ctx_train > 0);
    check(hp->norm_eps >= 0 && hp->norm_eps <= 1 && hp->rope_theta >= 1 &&
          isfinite(hp->rope_theta));
    check(hp->rope_scaling == OPT_ROPE_NONE || hp->rope_factor > 0);
    check(hp->sliding_window >= 0);
    for (int64_t i = 0; hp->layer_slides != NULL && i < hp->n_layers; i++) {
        check(hp->layer_slides[i] == 0 || hp->layer_slides[i] == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    opt_ctx *const ctx = fuzz_ctx();
    opt_arena *arena = NULL;
    const opt_arch *arch = NULL;
    opt_hparams hp = {0};
    opt_status st = opt_arena_new(ctx, &arena);
    if (st == OPT_OK) {
        st = opt_config_read_hf(ctx, arena, "fuzz", (const char *)data, size, &arch, &hp);
    }
    check_status(ctx, st);
    check((st == OPT_OK) == (arch != NULL));
    if (st == OPT_OK) {
        check_numbers(&hp);
    }
    opt_arena_free(arena);
    return 0;
}
