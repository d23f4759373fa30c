#include "flow/importance.h"

#include <string.h>

static bool is_linear(const opt_plan_tensor *t) {
    return t->weight->role == OPT_ROLE_LINEAR || t->weight->role == OPT_ROLE_HEAD;
}

static opt_status read_tensor(opt_plan *plan, const opt_imatrix *im, opt_plan_tensor *t,
                              bool *found) {
    opt_status st = OPT_OK;
    float *values = opt_arena_array(plan->arena, (size_t)t->n_cols, sizeof *values);
    OPT_TRY_PTR(values); /* zeros: of appended columns */
    OPT_TRY(opt_imatrix_get(im, t->weight->name, t->src_cols, values, found));
    t->importance = *found ? values : NULL;
done:
    return st;
}

opt_status opt_importance_read(opt_plan *plan, const char *path) {
    opt_status st = OPT_OK;
    opt_imatrix *im = NULL;
    int64_t n_found = 0, n_missing = 0;
    const char *missing = NULL;
    OPT_TRY(opt_imatrix_open(plan->ctx, path, &im));
    for (int64_t i = 0; i < plan->n; i++) {
        opt_plan_tensor *t = &plan->tensors[i];
        bool found = false;
        if (t->method == NULL || t->weight->n_dims != 2) {
            continue;
        }
        OPT_TRY(read_tensor(plan, im, t, &found));
        n_found += found;
        if (!found && is_linear(t)) {
            missing = missing == NULL ? t->weight->name : missing;
            n_missing++;
        }
    }
    OPT_REQUIRE(n_found > 0 || n_missing == 0, plan->ctx, OPT_ERR_INPUT, path,
                "knows none of the model's %lld quantized matrices, such as %s",
                (long long)n_missing, missing);
    if (n_missing > 0) {
        opt_warn(
            plan->ctx, path,
            "says nothing about %lld quantized matrices, such as %s: their columns count alike",
            (long long)n_missing, missing);
    }
done:
    opt_imatrix_free(im);
    return st;
}

opt_status opt_importance_write(const opt_plan *plan, const opt_corpus_options *text,
                                const char *path, bool force) {
    opt_status st = OPT_OK;
    int64_t n_windows = 0;
    opt_imatrix_entry *entries = opt_alloc_zero(plan->ctx, (size_t)plan->n * sizeof *entries);
    OPT_TRY_PTR(entries);
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        if (t->mean_square != NULL) {
            entries[i] = (opt_imatrix_entry){t->weight->name, t->mean_square, t->src_cols,
                                             t->n_calib_tokens};
            n_windows = t->n_calib_tokens / text->n_ctx;
        }
    }
    OPT_TRY(opt_imatrix_write(plan->ctx, path, force, entries, plan->n, text->paths, text->n_paths,
                              n_windows, text->n_ctx));
done:
    opt_free(plan->ctx, entries);
    return st;
}
