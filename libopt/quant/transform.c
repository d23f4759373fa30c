#include "quant/transform.h"

#include <math.h>
#include <string.h>

opt_status opt_transform_add_effect(opt_transform_job *job, const char *transform,
                                    const char *group) {
    opt_status st = OPT_OK;
    OPT_REQUIRE(job->n_effects < job->max_effects, job->ctx, OPT_ERR_BUG, group,
                "more effects than there is room for");
    const char *copy = opt_arena_strdup(job->arena, group);
    OPT_TRY_PTR(copy);
    job->effects[job->n_effects++] = (opt_transform_effect){transform, copy, NAN, NAN, NAN};
done:
    return st;
}

opt_transform_effect *opt_transform_find_effect(opt_transform_job *job, const char *transform,
                                                const char *group) {
    for (int i = 0; i < job->n_effects; i++) {
        if (strcmp(job->effects[i].group, group) == 0 &&
            strcmp(job->effects[i].transform, transform) == 0) {
            return &job->effects[i];
        }
    }
    return NULL;
}

int64_t opt_transform_n_cols(const opt_model *m, int weight) {
    const opt_weight *w = &m->weights[weight];
    return w->dims[w->n_dims - 1];
}

int64_t opt_transform_n_rows(const opt_model *m, int weight) {
    return m->weights[weight].n_dims == 1 ? 1 : m->weights[weight].dims[0];
}
