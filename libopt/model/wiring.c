#include "model/wiring.h"

#include <string.h>

int opt_weight_n_uses(const opt_model *m, int weight) {
    int n = 0;
    for (int i = 0; i < m->n_nodes; i++) {
        for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && m->nodes[i].op->weight_roles[j] != NULL; j++) {
            n += m->nodes[i].weights[j] == weight;
        }
    }
    return n;
}

int opt_weight_stage(const opt_model *m, int weight) {
    for (int i = 0; i < m->n_nodes; i++) {
        for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && m->nodes[i].op->weight_roles[j] != NULL; j++) {
            if (m->nodes[i].weights[j] == weight) {
                return m->nodes[i].unit;
            }
        }
    }
    return m->weights[weight].unit;
}

static bool is_linear(const opt_node *n) { return n->op == &opt_op_linear; }

static bool reads(const opt_node *n, int input) {
    for (int j = 0; j < n->n_in; j++) {
        if (n->in[j] == input) {
            return true;
        }
    }
    return false;
}

/* The one node that reads `input`, or -1. */
static int only_reader(const opt_model *m, int input) {
    int found = -1;
    for (int i = 0; i < m->n_nodes; i++) {
        if (reads(&m->nodes[i], input)) {
            if (found >= 0) {
                return -1;
            }
            found = i;
        }
    }
    return m->logits == input ? -1 : found;
}

/* Collects the readers of s->input; false unless all are linear nodes with weights of their own. */
static bool find_readers(const opt_model *m, opt_scaling *s, const char **reason) {
    bool all = m->logits != s->input, any = false;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *n = &m->nodes[i];
        if (!reads(n, s->input)) {
            continue;
        }
        any = any || is_linear(n);
        all = all && is_linear(n) && s->n_readers < OPT_WIRING_MAX_READERS;
        if (all && opt_weight_n_uses(m, n->weights[0]) > 1) {
            *reason = "the weight of a reader serves another node too";
            return false;
        }
        if (all) {
            s->readers[s->n_readers++] = i;
        }
    }
    *reason = any ? "not only linear layers read these columns" : NULL;
    return any && all;
}

/* The linear node behind input `from`, if its output has no other reader and its weight no other
 * use. */
static bool find_linear(const opt_model *m, int from, opt_scaling *s, const char **reason) {
    if (from == OPT_NODE_TOKENS || !is_linear(&m->nodes[from])) {
        *reason = "no linear layer makes these columns";
        return false;
    }
    const opt_node *n = &m->nodes[from];
    if (only_reader(m, from) < 0 || opt_weight_n_uses(m, n->weights[0]) > 1 ||
        m->weights[n->weights[0]].permute_heads != 0) {
        *reason = "the layer that makes these columns serves another node too";
        return false;
    }
    s->producer = from;
    s->n_channels = n->width;
    return true;
}

bool opt_scaling_find(const opt_model *m, int input, opt_scaling *out, const char **reason) {
    const opt_node *n = &m->nodes[input];
    opt_scaling s = {
        .input = input, .n_columns = n->width, .head_dim = n->width > 0 ? n->width : 1};
    s.n_repeat = 1;
    if (!find_readers(m, &s, reason)) {
        return false;
    }
    *reason = NULL;
    bool found = true;
    if (n->op == &opt_op_rms_norm && n->p.norm.group == 0 &&
        opt_weight_n_uses(m, n->weights[0]) == 1) {
        s.producer = input;
        s.n_channels = n->width;
    } else if (n->op == &opt_op_swiglu) { /* linear in its second input */
        found = find_linear(m, n->in[1], &s, reason);
    } else if (n->op == &opt_op_attention) { /* linear in the values */
        found = find_linear(m, n->in[2], &s, reason);
        s.head_dim = n->p.attention.head_dim_v;
        s.n_repeat = n->p.attention.n_heads / n->p.attention.n_heads_kv;
    } else if (is_linear(n)) { /* nothing stands between the two */
        if (opt_weight_n_uses(m, n->weights[0]) > 1 ||
            m->weights[n->weights[0]].permute_heads != 0) {
            *reason = "the layer that makes these columns serves another node too";
            return false;
        }
        s.producer = input;
        s.n_channels = n->width;
    } else {
        *reason = "what makes these columns does not scale";
        found = false;
    }
    if (found && m->nodes[s.producer].unit != n->unit) {
        *reason = "they are made in another block";
        found = false;
    }
    for (int i = 0; found && i < s.n_readers; i++) {
        if (m->nodes[s.readers[i]].unit != n->unit) {
            *reason = "they are read in another block";
            found = false;
        }
    }
    *out = s;
    return found;
}

int64_t opt_scaling_channel(const opt_scaling *s, int64_t c) {
    return c / s->head_dim / s->n_repeat * s->head_dim + c % s->head_dim;
}

bool opt_norm_folds(const opt_model *m, int node, const char **reason) {
    opt_scaling s = {.input = node};
    const opt_node *n = &m->nodes[node];
    if (n->op != &opt_op_rms_norm || n->p.norm.group != 0) {
        *reason = "it is no norm of whole rows";
        return false;
    }
    if (opt_weight_n_uses(m, n->weights[0]) != 1) {
        *reason = "its weight serves another node too";
        return false;
    }
    return find_readers(m, &s, reason);
}

/* ---- the residual stream ---- */

/* A node that adds its output to the stream: nobody else may read it. */
static opt_status mark_writer(opt_ctx *ctx, const opt_model *m, int i, unsigned *parts) {
    const opt_node *n = &m->nodes[i];
    if (!is_linear(n) || only_reader(m, i) < 0) {
        return opt_fail(ctx, OPT_ERR_UNSUPPORTED, n->name,
                        "%s is added to the residual stream: only linear layers with one reader "
                        "can be rotated",
                        n->op->name);
    }
    parts[i] |= OPT_RESIDUAL_WRITES;
    return OPT_OK;
}

static opt_status mark_node(opt_ctx *ctx, const opt_model *m, int i, unsigned *parts) {
    opt_status st = OPT_OK;
    const opt_node *n = &m->nodes[i];
    bool stream = false, normed = false;
    for (int j = 0; j < n->n_in; j++) {
        const unsigned from = n->in[j] == OPT_NODE_TOKENS ? 0 : parts[n->in[j]];
        stream = stream || (from & OPT_RESIDUAL_STREAM) != 0;
        normed = normed || (from & OPT_RESIDUAL_NORM) != 0;
    }
    if (n->op == &opt_op_embed) {
        parts[i] = OPT_RESIDUAL_STREAM | OPT_RESIDUAL_WRITES;
    } else if (stream && n->op == &opt_op_add) {
        for (int j = 0; j < 2; j++) {
            if ((parts[n->in[j]] & OPT_RESIDUAL_STREAM) == 0) {
                OPT_TRY(mark_writer(ctx, m, n->in[j], parts));
            }
        }
        parts[i] |= OPT_RESIDUAL_STREAM;
    } else if (stream && n->op == &opt_op_rms_norm && n->p.norm.group == 0) {
        parts[i] |= OPT_RESIDUAL_NORM;
    } else if (normed && is_linear(n)) {
        parts[i] |= OPT_RESIDUAL_READS;
    } else {
        OPT_REQUIRE(!stream && !normed, ctx, OPT_ERR_UNSUPPORTED, n->name,
                    "%s reads the residual stream: it cannot be rotated", n->op->name);
    }
done:
    return st;
}

opt_status opt_residual_find(opt_ctx *ctx, const opt_model *m, unsigned *parts, int64_t *width) {
    opt_status st = OPT_OK;
    memset(parts, 0, (size_t)m->n_nodes * sizeof *parts);
    *width = 0;
    for (int i = 0; i < m->n_nodes; i++) {
        OPT_TRY(mark_node(ctx, m, i, parts));
        if ((parts[i] & OPT_RESIDUAL_STREAM) != 0) {
            OPT_REQUIRE(*width == 0 || *width == m->nodes[i].width, ctx, OPT_ERR_UNSUPPORTED,
                        m->nodes[i].name, "the residual stream changes its width");
            *width = m->nodes[i].width;
        }
    }
    OPT_REQUIRE(*width > 0 && (parts[m->logits] & OPT_RESIDUAL_STREAM) == 0, ctx,
                OPT_ERR_UNSUPPORTED, m->name, "it has no residual stream that could be rotated");
done:
    return st;
}
