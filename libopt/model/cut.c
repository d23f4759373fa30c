#include "model/cut.h"

#include <string.h>

int opt_model_unit_end(const opt_model *m, int unit) {
    int last = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        last = m->nodes[i].unit == unit ? i : last;
    }
    return last;
}

/* Nodes up to `last` of the units first .. end - 1. */
typedef struct range {
    int first, end, last;
} range;

static bool is_inside(const range *r, const opt_node *node) {
    return node->unit >= r->first && node->unit < r->end;
}

/* The one node of an earlier unit that these read; -1 if they read none. */
static opt_status find_outside(opt_ctx *ctx, const opt_model *m, const range *r, int *out) {
    int outside = -1;
    for (int i = 0; i <= r->last; i++) {
        const opt_node *node = &m->nodes[i];
        for (int j = 0; is_inside(r, node) && j < node->n_in; j++) {
            const int from = node->in[j];
            if (from == OPT_NODE_TOKENS || is_inside(r, &m->nodes[from])) {
                continue;
            }
            if (outside >= 0 && outside != from) {
                return opt_fail(ctx, OPT_ERR_UNSUPPORTED, node->name,
                                "its unit reads both %s and %s: it cannot run on its own",
                                m->nodes[outside].name, m->nodes[from].name);
            }
            outside = from;
        }
    }
    *out = outside;
    return OPT_OK;
}

/* Copies the nodes; `place` [m->n_nodes]: the index of each in the cut. */
static void copy_nodes(const opt_model *m, const range *r, int *place, opt_model *cut) {
    for (int i = 0; i <= r->last; i++) {
        if (!is_inside(r, &m->nodes[i])) {
            continue;
        }
        opt_node *node = &cut->nodes[cut->n_nodes];
        *node = m->nodes[i];
        for (int j = 0; j < node->n_in; j++) {
            node->in[j] = node->in[j] == OPT_NODE_TOKENS ? OPT_NODE_TOKENS : place[node->in[j]];
        }
        if (node->op == &opt_op_attention) {
            node->p.attention.cache = cut->n_caches++;
        }
        place[i] = cut->n_nodes++;
    }
    cut->logits = place[r->last];
}

static opt_status cut_range(opt_ctx *ctx, const opt_model *m, const range *r,
                            const opt_tensor *const *replaced, const opt_feed *feed,
                            opt_model **out) {
    opt_status st = OPT_OK;
    int *place = NULL;
    int outside = -1;
    opt_model *cut = opt_alloc_zero(ctx, sizeof *cut);
    OPT_TRY_PTR(cut);
    *cut = *m;
    cut->arena = NULL;
    cut->ctx = ctx;
    cut->n_nodes = cut->n_caches = cut->n_dropped = 0;
    OPT_TRY(opt_arena_new(ctx, &cut->arena));
    OPT_REQUIRE(r->last >= 0 && is_inside(r, &m->nodes[r->last]), ctx, OPT_ERR_BUG, m->name,
                "node %d is not of unit %d", r->last, r->first);
    OPT_TRY(find_outside(ctx, m, r, &outside));
    OPT_TRY_PTR(place = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *place));
    cut->nodes = opt_arena_array(cut->arena, (size_t)m->n_nodes + 1, sizeof *cut->nodes);
    OPT_TRY_PTR(cut->nodes);
    cut->weights = opt_arena_array(cut->arena, (size_t)m->n_weights, sizeof *cut->weights);
    OPT_TRY_PTR(cut->weights);
    memcpy(cut->weights, m->weights, (size_t)m->n_weights * sizeof *cut->weights);
    for (int i = 0; replaced != NULL && i < m->n_weights; i++) {
        cut->weights[i].tensor = replaced[i] != NULL ? replaced[i] : m->weights[i].tensor;
    }
    if (outside >= 0) {
        cut->nodes[0] = (opt_node){.name = m->nodes[outside].name,
                                   .op = &opt_op_feed,
                                   .unit = r->first,
                                   .width = m->nodes[outside].width,
                                   .p = {.custom = feed}};
        place[outside] = cut->n_nodes++;
    }
    copy_nodes(m, r, place, cut);
    *out = cut;
    cut = NULL;
done:
    opt_free(ctx, place);
    opt_model_free(cut);
    return st;
}

opt_status opt_model_cut(opt_ctx *ctx, const opt_model *m, int unit, int last,
                         const opt_tensor *const *replaced, const opt_feed *feed, opt_model **out) {
    const range r = {unit, unit + 1, last < 0 ? opt_model_unit_end(m, unit) : last};
    return cut_range(ctx, m, &r, replaced, feed, out);
}

opt_status opt_model_tail(opt_ctx *ctx, const opt_model *m, int unit,
                          const opt_tensor *const *replaced, const opt_feed *feed,
                          opt_model **out) {
    const range r = {unit, m->n_units + 1, m->logits};
    return cut_range(ctx, m, &r, replaced, feed, out);
}
