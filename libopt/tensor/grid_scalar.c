/** The grid interface of formats with one integer code per element, over kern/scalar.h. */
#include "tensor/rows.h"

#include <assert.h>
#include <stddef.h>

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

static_assert(sizeof(optk_scalar_params) == 3 * sizeof(float) &&
                  offsetof(optk_scalar_params, offset) == sizeof(float),
              "round_scalar reads them as floats");

static void round_many(const opt_format *f, const opt_kern *k, const void *params, size_t stride,
                       int64_t i, int64_t n, const float *w, int32_t *codes, float *values) {
    (void)f;
    (void)i;
    const scalar_state *state = params;
    k->round_scalar(&state->grid, &state->params.d, (int64_t)(stride / sizeof(float)), w, n, codes,
                    values);
}

static void load(const opt_format *f, const void *block, void *params) {
    const opt_kspec spec = opt_format_kspec(f);
    scalar_state *state = params;
    state->grid = optk_scalar_of(&spec);
    state->params = optk_scalar_load(&state->grid, block);
}

const opt_grid opt_grid_scalar = {
    .dim = 1,
    .params_bytes = sizeof(scalar_state),
    .fit = fit,
    .round = round_one,
    .emit = emit,
    .move = move,
    .round_many = round_many,
    .load = load,
};
