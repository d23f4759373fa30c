#include "model/ops.h"

int64_t opt_node_in_width(const opt_model *m, const opt_node *node, int i) {
    return node->in[i] == OPT_NODE_TOKENS ? 0 : m->nodes[node->in[i]].width;
}

const opt_weight *opt_node_weight(const opt_model *m, const opt_node *node, int j) {
    return node->weights[j] == OPT_NO_WEIGHT ? NULL : &m->weights[node->weights[j]];
}

/* A mismatch here is a mistake of the architecture file: configurations and tensors were checked
 * before. */
#define REQUIRE_SHAPE(cond)                                                                        \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            return opt_fail(ctx, OPT_ERR_BUG, node->name, "op %s: shapes do not agree: %s",        \
                            node->op->name, #cond);                                                \
        }                                                                                          \
    } while (0)

static opt_status shape_embed(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const opt_weight *w = opt_node_weight(m, node, 0);
    REQUIRE_SHAPE(node->in[0] == OPT_NODE_TOKENS);
    REQUIRE_SHAPE(w->n_dims == 2);
    node->width = w->dims[1];
    return OPT_OK;
}

static opt_status shape_linear(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const opt_weight *w = opt_node_weight(m, node, 0);
    const opt_weight *bias = opt_node_weight(m, node, 1);
    REQUIRE_SHAPE(w->n_dims == 2);
    REQUIRE_SHAPE(w->dims[1] == opt_node_in_width(m, node, 0));
    REQUIRE_SHAPE(bias == NULL || (bias->n_dims == 1 && bias->dims[0] == w->dims[0]));
    node->width = w->dims[0];
    return OPT_OK;
}

static opt_status shape_rms_norm(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const opt_weight *w = opt_node_weight(m, node, 0);
    const int64_t width = opt_node_in_width(m, node, 0);
    const int64_t group = node->p.norm.group != 0 ? node->p.norm.group : width;
    REQUIRE_SHAPE(group > 0 && width % group == 0);
    REQUIRE_SHAPE(w->n_dims == 1 && w->dims[0] == group);
    node->width = width;
    return OPT_OK;
}

static opt_status shape_rope(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const int64_t width = opt_node_in_width(m, node, 0);
    REQUIRE_SHAPE(width == node->p.rope.n_heads * node->p.rope.head_dim);
    REQUIRE_SHAPE(node->p.rope.n_rot % 2 == 0 && node->p.rope.n_rot <= node->p.rope.head_dim);
    node->width = width;
    return OPT_OK;
}

static opt_status shape_attention(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const int64_t n_heads = node->p.attention.n_heads, n_heads_kv = node->p.attention.n_heads_kv;
    const int64_t d = node->p.attention.head_dim, d_v = node->p.attention.head_dim_v;
    REQUIRE_SHAPE(n_heads_kv > 0 && n_heads % n_heads_kv == 0);
    REQUIRE_SHAPE(opt_node_in_width(m, node, 0) == n_heads * d);
    REQUIRE_SHAPE(opt_node_in_width(m, node, 1) == n_heads_kv * d);
    REQUIRE_SHAPE(opt_node_in_width(m, node, 2) == n_heads_kv * d_v);
    node->width = n_heads * d_v;
    return OPT_OK;
}

static opt_status shape_same(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    const int64_t width = opt_node_in_width(m, node, 0);
    REQUIRE_SHAPE(opt_node_in_width(m, node, 1) == width);
    node->width = width;
    return OPT_OK;
}

const opt_op opt_op_embed = {
    .name = "embed",
    .help = "rows of the token embedding",
    .n_in_min = 1,
    .n_in_max = 1,
    .weight_roles = {"weight"},
    .shape = shape_embed,
};
const opt_op opt_op_linear = {
    .name = "linear",
    .help = "matrix product, with an optional bias",
    .n_in_min = 1,
    .n_in_max = 1,
    .weight_roles = {"weight", "?bias"},
    .shape = shape_linear,
};
const opt_op opt_op_rms_norm = {
    .name = "rms_norm",
    .help = "root-mean-square norm of a row or of its groups",
    .n_in_min = 1,
    .n_in_max = 1,
    .weight_roles = {"weight"},
    .shape = shape_rms_norm,
};
const opt_op opt_op_rope = {
    .name = "rope",
    .help = "rotary position embedding",
    .n_in_min = 1,
    .n_in_max = 1,
    .shape = shape_rope,
};
const opt_op opt_op_attention = {
    .name = "attention",
    .help = "causal attention with grouped heads and a cache",
    .n_in_min = 3,
    .n_in_max = 3,
    .shape = shape_attention,
};
const opt_op opt_op_swiglu = {
    .name = "swiglu",
    .help = "silu(gate) * up",
    .n_in_min = 2,
    .n_in_max = 2,
    .shape = shape_same,
};
const opt_op opt_op_add = {
    .name = "add",
    .help = "sum of two inputs",
    .n_in_min = 2,
    .n_in_max = 2,
    .shape = shape_same,
};

static opt_status shape_feed(opt_ctx *ctx, const opt_model *m, opt_node *node) {
    (void)m;
    return opt_fail(ctx, OPT_ERR_BUG, node->name, "only a part of a graph is fed");
}

const opt_op opt_op_feed = {
    .name = "feed",
    .help = "rows that the caller holds",
    .n_in_min = 0,
    .n_in_max = 0,
    .shape = shape_feed,
};
