/** The grid interface of formats whose block has scales for parts of it, over kern/parts.h. */
#include "tensor/rows.h"

#include <assert.h>

#include "kern/parts.h"

static_assert(sizeof(optk_part_params) <= OPT_GRID_PARAMS_MAX, "solvers reserve this much");

static const optk_parts *grid_of(const opt_format *f) {
    const opt_kspec spec = opt_format_kspec(f);
    return optk_parts_of(&spec);
}

static void fit(const opt_format *f, const float *w, const float *importance, int64_t n,
                void *params) {
    const opt_kspec spec = opt_format_kspec(f);
    optk_parts_fit(&spec, w, importance, n, params);
}

static void round_one(const opt_format *f, const void *params, int64_t i, const float *w,
                      int32_t *codes, float *values) {
    codes[0] = optk_parts_round(grid_of(f), params, i, w[0], &values[0]);
}

static void emit(const opt_format *f, const void *params, const int32_t *codes, int64_t n,
                 void *block) {
    const opt_kspec spec = opt_format_kspec(f);
    uint8_t bytes[OPTK_PARTS_MAX_BLOCK] = {0};
    for (int64_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)codes[i];
    }
    optk_parts_emit(&spec, params, bytes, block);
}

static void move(const opt_format *f, const void *params, int64_t part, float scale, float shift,
                 void *moved) {
    optk_parts_move(grid_of(f), params, part, scale, shift, moved);
}

static_assert(sizeof(optk_part_params) % sizeof(float) == 0, "round_parts counts in floats");

static void round_many(const opt_format *f, const opt_kern *k, const void *params, size_t stride,
                       int64_t i, int64_t n, const float *w, int32_t *codes, float *values) {
    k->round_parts(grid_of(f), params, (int64_t)(stride / sizeof(float)), i, w, n, codes, values);
}

static void load(const opt_format *f, const void *block, void *params) {
    const opt_kspec spec = opt_format_kspec(f);
    optk_parts_load(&spec, block, params);
}

const opt_grid opt_grid_parts = {
    .dim = 1,
    .params_bytes = sizeof(optk_part_params),
    .fit = fit,
    .round = round_one,
    .emit = emit,
    .move = move,
    .round_many = round_many,
    .load = load,
};
