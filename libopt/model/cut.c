#include "model/cut.h"

#include <string.h>

int opt_model_unit_end(const opt_model *m, int unit) {
    int last = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        last = m->nodes[i].unit == unit ? i : last;
    }
    return last;
}

/* Nodes from .. last of the units first .. end - 1. */
typedef struct range {
    int first, end, from, last;
} range;

static bool is_inside(const opt_model *m, const range *r, int i) {
    return i >= r->from && i <= r->last && m->nodes[i].unit >= r->first &&
           m->nodes[i].unit < r->end;
}

/* Marks the nodes before the range that it reads, in `outside` [m->n_nodes]; returns how many. */
static int find_outside(const opt_model *m, const range *r, bool *outside) {
    int n = 0;
    for (int i = r->from; i <= r->last; i++) {
        const opt_node *node = &m->nodes[i];
        for (int j = 0; is_inside(m, r, i) && j < node->n_in; j++) {
            const int from = node->in[j];
            if (from != OPT_NODE_TOKENS && !is_inside(m, r, from) && !outside[from]) {
                outside[from] = true;
                n++;
            }
        }
    }
    return n;
}

/* Copies the nodes; `place` [m->n_nodes]: the index of each in the cut. */
static void copy_nodes(const opt_model *m, const range *r, int *place, opt_model *cut) {
    for (int i = r->from; i <= r->last; i++) {
        if (!is_inside(m, r, i)) {
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

/* Takes the place of what is read from before the range. */
static opt_status add_feeds(opt_ctx *ctx, const opt_model *m, const range *r, const bool *outside,
                            const opt_feed *const *feeds, int *place, opt_model *cut) {
    for (int i = 0; i < m->n_nodes; i++) {
        if (!outside[i]) {
            continue;
        }
        if (feeds[i] == NULL) {
            return opt_fail(ctx, OPT_ERR_UNSUPPORTED, m->nodes[i].name,
                            "nodes %s to %s read it, too: they cannot run on their own",
                            m->nodes[r->from].name, m->nodes[r->last].name);
        }
        place[i] = cut->n_nodes;
        cut->nodes[cut->n_nodes++] = (opt_node){.name = m->nodes[i].name,
                                                .op = &opt_op_feed,
                                                .unit = r->first,
                                                .width = m->nodes[i].width,
                                                .p = {.custom = feeds[i]}};
    }
    return OPT_OK;
}

/* feeds [m->n_nodes], or NULL: `only` serves the one node that is read. */
static opt_status cut_range(opt_ctx *ctx, const opt_model *m, const range *r,
                            const opt_tensor *const *replaced, const opt_feed *const *feeds,
                            const opt_feed *only, opt_model **out) {
    opt_status st = OPT_OK;
    int *place = NULL;
    bool *outside = NULL;
    const opt_feed **one = NULL;
    opt_model *cut = opt_alloc_zero(ctx, sizeof *cut);
    OPT_TRY_PTR(cut);
    *cut = *m;
    cut->arena = NULL;
    cut->ctx = ctx;
    cut->n_nodes = cut->n_caches = cut->n_dropped = 0;
    OPT_TRY(opt_arena_new(ctx, &cut->arena));
    OPT_REQUIRE(r->last >= 0 && is_inside(m, r, r->last), ctx, OPT_ERR_BUG, m->name,
                "node %d is not of unit %d", r->last, r->first);
    OPT_TRY_PTR(place = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *place));
    OPT_TRY_PTR(outside = opt_alloc_zero(ctx, (size_t)m->n_nodes * sizeof *outside));
    OPT_TRY_PTR(one = opt_alloc_zero(ctx, (size_t)m->n_nodes * sizeof *one));
    const int n_outside = find_outside(m, r, outside);
    for (int i = 0, n = 0; feeds == NULL && i < m->n_nodes; i++) {
        if (outside[i] && n++ == 0) {
            one[i] = only;
        }
    }
    cut->nodes =
        opt_arena_array(cut->arena, (size_t)m->n_nodes + (size_t)n_outside, sizeof *cut->nodes);
    OPT_TRY_PTR(cut->nodes);
    cut->weights = opt_arena_array(cut->arena, (size_t)m->n_weights, sizeof *cut->weights);
    OPT_TRY_PTR(cut->weights);
    memcpy(cut->weights, m->weights, (size_t)m->n_weights * sizeof *cut->weights);
    for (int i = 0; replaced != NULL && i < m->n_weights; i++) {
        cut->weights[i].tensor = replaced[i] != NULL ? replaced[i] : m->weights[i].tensor;
    }
    OPT_TRY(add_feeds(ctx, m, r, outside, feeds != NULL ? feeds : one, place, cut));
    copy_nodes(m, r, place, cut);
    *out = cut;
    cut = NULL;
done:
    opt_free(ctx, place);
    opt_free(ctx, outside);
    opt_free(ctx, (void *)one);
    opt_model_free(cut);
    return st;
}

opt_status opt_model_cut(opt_ctx *ctx, const opt_model *m, int unit, int last,
                         const opt_tensor *const *replaced, const opt_feed *feed, opt_model **out) {
    const range r = {unit, unit + 1, 0, last < 0 ? opt_model_unit_end(m, unit) : last};
    return cut_range(ctx, m, &r, replaced, NULL, feed, out);
}

opt_status opt_model_cut_part(opt_ctx *ctx, const opt_model *m, int unit, int first, int last,
                              const opt_tensor *const *replaced, const opt_feed *const *feeds,
                              opt_model **out) {
    const range r = {unit, unit + 1, first, last};
    return cut_range(ctx, m, &r, replaced, feeds, NULL, out);
}

opt_status opt_model_tail(opt_ctx *ctx, const opt_model *m, int unit,
                          const opt_tensor *const *replaced, const opt_feed *feed,
                          opt_model **out) {
    const range r = {unit, m->n_units + 1, 0, m->logits};
    return cut_range(ctx, m, &r, replaced, NULL, feed, out);
}
