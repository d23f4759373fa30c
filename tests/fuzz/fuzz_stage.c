/* Fuzz target: a file of intermediate results (flow/resume.h) for a plan of two tensors. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "flow/resume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const opt_ctx_options options = {.n_threads = 1};
    opt_ctx *ctx = NULL;
    if (opt_ctx_new(&options, &ctx) != OPT_OK) {
        return 0;
    }
    uint8_t bytes[2][16];
    opt_weight weights[2] = {{.name = "a"}, {.name = "b"}};
    opt_tensor tensors[2] = {{.data = bytes[0], .bytes = 16}, {.data = bytes[1], .bytes = 8}};
    const opt_tensor *const kept[2] = {&tensors[0], &tensors[1]};
    opt_model model = {.weights = weights, .n_weights = 2};
    opt_plan_tensor planned[2] = {{.weight = &weights[0]}, {.weight = &weights[1]}};
    opt_plan plan = {.ctx = ctx, .model = &model, .tensors = planned, .n = 2};
    opt_plan_sums sums[2];
    double more[3];
    const opt_piece pieces[1] = {{more, sizeof more}};
    const opt_stage_state state = {&plan, 0, kept, sums, pieces, 1};
    (void)(opt_resume_parse(&state, "stage", data, size) == OPT_OK);
    opt_ctx_free(ctx);
    return 0;
}
