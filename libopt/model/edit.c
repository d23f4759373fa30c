#include "model/edit.h"

#include <string.h>

#include "model/ops.h"

/* Opens a gap at `at` in the weights; nodes keep pointing at what they pointed at. */
static opt_weight *insert_weight(opt_model *m, int at) {
    opt_weight *weights =
        opt_arena_array(m->arena, (size_t)m->n_weights + 1, sizeof *weights); /* the old ones stay
                                                                                  in the arena */
    if (weights == NULL) {
        return NULL;
    }
    memcpy(weights, m->weights, (size_t)at * sizeof *weights);
    memcpy(weights + at + 1, m->weights + at, (size_t)(m->n_weights - at) * sizeof *weights);
    m->weights = weights;
    m->n_weights++;
    for (int i = 0; i < m->n_nodes; i++) {
        for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && m->nodes[i].op->weight_roles[j] != NULL; j++) {
            m->nodes[i].weights[j] += m->nodes[i].weights[j] >= at;
        }
    }
    return &weights[at];
}

opt_status opt_model_untie(opt_model *m) {
    opt_node *head = &m->nodes[m->logits];
    const int embedding = head->weights[0];
    if (head->op != &opt_op_linear || embedding < 0 || !m->weights[embedding].tied) {
        return OPT_OK;
    }
    opt_weight *w = insert_weight(m, m->n_weights);
    if (w == NULL) {
        return OPT_ERR_MEMORY;
    }
    m->weights[embedding].tied = false;
    *w = m->weights[embedding];
    w->name = "output.weight";
    w->kind = "output";
    w->role = OPT_ROLE_HEAD;
    head->weights[0] = m->n_weights - 1;
    m->hp.tied = false;
    return OPT_OK;
}

opt_status opt_model_add_bias(opt_model *m, int node) {
    opt_status st = OPT_OK;
    const opt_node *n = &m->nodes[node];
    if (n->weights[1] != OPT_NO_WEIGHT) {
        return OPT_OK;
    }
    const int at = n->weights[0] + 1;
    opt_tensor *zeros = opt_arena_alloc(m->arena, sizeof *zeros);
    OPT_TRY_PTR(zeros);
    const char *name = opt_arena_printf(m->arena, "%s.bias", n->name);
    OPT_TRY_PTR(name);
    const float *data = opt_arena_array(m->arena, (size_t)n->width, sizeof *data);
    OPT_TRY_PTR(data);
    opt_weight *w = insert_weight(m, at);
    OPT_TRY_PTR(w);
    *zeros = (opt_tensor){.name = name,
                          .format = &opt_format_f32,
                          .n_dims = 1,
                          .dims = {n->width},
                          .bytes = (size_t)n->width * sizeof *data,
                          .data = (const uint8_t *)data};
    *w = (opt_weight){.name = name,
                      .kind = m->weights[at - 1].kind,
                      .tensor = zeros,
                      .role = OPT_ROLE_BIAS,
                      .unit = m->weights[at - 1].unit,
                      .n_dims = 1,
                      .dims = {n->width},
                      .permute_heads = m->weights[at - 1].permute_heads,
                      .computed = true};
    m->nodes[node].weights[1] = at;
done:
    return st;
}
