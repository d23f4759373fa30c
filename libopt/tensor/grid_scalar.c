/** The grid interface of formats with one integer code per element, over kern/scalar.h. */
#include "tensor/rows.h"

#include <assert.h>

#include "kern/scalar.h"

typedef struct scalar_state {
    optk_scalar grid;
    optk_scalar_params params;
} scalar_state;

static_assert(sizeof(scalar_state) <= OPT_GRID_PARAMS_MAX, "solvers reserve this much");

static void fit(const opt_format *f, const float *w, const float *importance, int64_t n,
                void *params) {
    const opt_kspec spec = opt_format_kspec(f);
    scalar_state *state = params;
    state->grid = optk_scalar_of(&spec);
    state->params = optk_scalar_fit(&state->grid, w, importance, n);
}

static void round_one(const opt_format *f, const void *params, int64_t i, const float *w,
                      int32_t *codes, float *values) {
    (void)f;
    (void)i; /* all elements of a block share one grid */
    const scalar_state *state = params;
    codes[0] = optk_scalar_round(&state->grid, &state->params, w[0], &values[0]);
}

static void emit(const opt_format *f, const void *params, const int32_t *codes, int64_t n,
                 void *block) {
    const opt_kspec spec = opt_format_kspec(f);
    const scalar_state *state = params;
    uint8_t bytes[128] = {0};
    for (int64_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)codes[i];
    }
    optk_scalar_emit(&spec, &state->params, bytes, n, block);
}

static void move(const opt_format *f, const void *params, int64_t part, float scale, float shift,
                 void *moved) {
    (void)f;
    (void)part; /* a block is one part */
    const scalar_state *from = params;
    scalar_state *to = moved;
    to->grid = from->grid;
    to->params = optk_scalar_move(&from->grid, &from->params, scale, shift);
}

const opt_grid opt_grid_scalar = {
    .dim = 1,
    .params_bytes = sizeof(scalar_state),
    .fit = fit,
    .round = round_one,
    .emit = emit,
    .move = move,
};
