#include "flow/width.h"

#include <stdint.h>
#include <stdlib.h>

#include "model/ops.h"

/** Marks the weights of one linear node: its bias is padded only along rows. */
static void mark(const opt_node *node, opt_pad_side side, opt_pad_side *sides) {
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS; j++) {
        if (node->weights[j] != OPT_NO_WEIGHT && (j == 0 || side == OPT_PAD_ROWS)) {
            sides[node->weights[j]] = side;
        }
    }
}

/** Number of nodes that read node i; *all_linear: whether each is a linear node. */
static int consumers(const opt_model *m, int i, bool *all_linear) {
    int n = 0;
    *all_linear = m->logits != i;
    for (int k = 0; k < m->n_nodes; k++) {
        for (int j = 0; j < m->nodes[k].n_in; j++) {
            if (m->nodes[k].in[j] == i) {
                n++;
                *all_linear = *all_linear && m->nodes[k].op == &opt_op_linear;
            }
        }
    }
    return n;
}

static bool can_pad(const opt_model *m, int activation) {
    bool all_linear;
    if (consumers(m, activation, &all_linear) == 0 || !all_linear) {
        return false;
    }
    const opt_node *node = &m->nodes[activation];
    for (int j = 0; j < node->n_in; j++) {
        const int in = node->in[j];
        bool unused;
        if (in < 0 || m->nodes[in].op != &opt_op_linear || consumers(m, in, &unused) != 1) {
            return false;
        }
    }
    return true;
}

opt_status opt_pad_sides(opt_ctx *ctx, const opt_model *m, opt_pad_side *sides) {
    (void)ctx;
    for (int i = 0; i < m->n_weights; i++) {
        sides[i] = OPT_PAD_NONE;
    }
    for (int i = 0; i < m->n_nodes; i++) {
        if (m->nodes[i].op != &opt_op_swiglu || !can_pad(m, i)) {
            continue;
        }
        for (int j = 0; j < m->nodes[i].n_in; j++) {
            mark(&m->nodes[m->nodes[i].in[j]], OPT_PAD_ROWS, sides);
        }
        for (int k = i + 1; k < m->n_nodes; k++) {
            for (int j = 0; j < m->nodes[k].n_in; j++) {
                if (m->nodes[k].in[j] == i) {
                    mark(&m->nodes[k], OPT_PAD_COLS, sides);
                }
            }
        }
    }
    return OPT_OK;
}

/** A ggml type that may stand for another one; those of 4-bit floating point stand for themselves,
 * as machines are built for them. */
static bool is_stock(const opt_format *f) {
    return f->kfmt != OPT_KFMT_MXFP4 && f->kfmt != OPT_KFMT_NVFP4 &&
           (f->flags & OPT_FORMAT_ENCODES) != 0 && f->ggml_type >= 0 &&
           (f->flags & OPT_FORMAT_OWN) == 0 &&
           ((f->flags & OPT_FORMAT_QUANT) != 0 || f == &opt_format_f16);
}

const opt_format *opt_width_own(const opt_format *f) {
    const bool symmetric = (f->flags & OPT_FORMAT_ZERO_POINT) == 0;
    const opt_format *best = NULL;
    int64_t best_cost = INT64_MAX;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *o = opt_formats[i];
        if (o->kfmt != OPT_KFMT_INT || o->bits < f->bits) {
            continue;
        }
        /* fewest bits, then the same kind of grid, then the nearest group size */
        const int64_t cost = (o->bits - f->bits) * 100000 + (o->symmetric != symmetric) * 10000 +
                             llabs(o->block_elems - f->block_elems);
        if (cost < best_cost) {
            best_cost = cost;
            best = o;
        }
    }
    return best;
}

const opt_format *opt_width_next(const opt_format *f, int64_t n_cols) {
    const opt_format *best = &opt_format_f16;
    for (int i = 0; opt_formats[i] != NULL; i++) {
        const opt_format *o = opt_formats[i];
        if (is_stock(o) && opt_format_fits(o, n_cols) && opt_format_bpw(o) > opt_format_bpw(f) &&
            opt_format_bpw(o) <= opt_format_bpw(best)) { /* of equals the last: iq4_nl, not q4_0 */
            best = o;
        }
    }
    return best;
}
