/* Whether blocks can run step by step: the order of the plan has to be that of the graph. */
#include "flow/block.h"
#include "flow/transforms.h"

/* The linear node that uses a weight, -1 if there is not exactly one. */
static int node_of(const opt_model *m, int weight) {
    int found = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op == &opt_op_linear && m->nodes[i].weights[0] == weight) {
            if (found >= 0) {
                return -1;
            }
            found = i;
        }
    }
    return found;
}

static int weight_of(const opt_plan *plan, int64_t i) {
    return (int)(plan->tensors[i].weight - plan->model->weights);
}

/* Whether everything that runs before the input of tensor i stands before it in the plan. */
static bool comes_behind(const opt_plan *plan, int64_t i, int input) {
    for (int64_t k = i + 1; k < plan->n; k++) {
        const opt_plan_tensor *t = &plan->tensors[k];
        const int node = t->stage == plan->tensors[i].stage && opt_calibration_keeps(t)
                             ? node_of(plan->model, weight_of(plan, k))
                             : input;
        if (node < input) {
            return false;
        }
    }
    return true;
}

static bool order_fits(const opt_plan *plan, int unit, bool *wanted) {
    const opt_model *m = plan->model;
    int last = -1;
    bool padded = false;
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        if (t->stage != unit || !opt_calibrates(t)) {
            continue;
        }
        const int node = node_of(m, weight_of(plan, i));
        const int input = node >= 0 ? m->nodes[node].in[0] : -1;
        if (input < last || input < 0 || (padded && input > last) ||
            !comes_behind(plan, i, input)) {
            return false;
        }
        last = input;
        padded = padded || t->n_cols != t->src_cols; /* it is cropped when the block is done */
        wanted[weight_of(plan, i)] = true;
    }
    return true;
}

/* Whether everything that is calibrated in blocks is solved with them, before any of it is written.
 */
static bool blocks_solve_all(const opt_plan *plan) {
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        if (opt_calibrates(t) && t->stage >= 0 && t->stage < plan->model->n_units &&
            !opt_block_solves(t)) {
            return false;
        }
    }
    return true;
}

opt_status opt_calibration_plan_steps(const opt_plan *plan, const opt_calibration_options *options,
                                      opt_steps *steps, bool *in_steps) {
    opt_status st = OPT_OK;
    const opt_model *m = plan->model;
    const int embedding = opt_model_unit_end(m, -1);
    bool *wanted = NULL;
    *in_steps = !options->one_pass && options->transforms == NULL && embedding >= 0 &&
                (options->block_steps == 0 || blocks_solve_all(plan));
    OPT_TRY_PTR(wanted = opt_alloc_zero(plan->ctx, (size_t)m->n_weights * sizeof *wanted));
    for (int unit = 0; *in_steps && unit < m->n_units; unit++) {
        *in_steps = order_fits(plan, unit, wanted) &&
                    opt_steps_plan(m, unit, m->nodes[embedding].width, wanted, &steps[unit]);
    }
done:
    opt_free(plan->ctx, wanted);
    return st;
}
