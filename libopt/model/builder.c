#include "model/builder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "model/arch.h"

struct opt_builder {
    opt_ctx *ctx;
    opt_model *m; /* nodes and weights grow on the heap and point into its arena for all else */
    opt_status status;
    bool is_gguf;
    size_t cap_nodes, cap_weights;
    const opt_tensor **bound; /* [n_bound], source tensors that weights use */
    size_t n_bound, cap_bound;
};

opt_status opt_builder_new(opt_ctx *ctx, opt_model *m, opt_builder **out) {
    opt_builder *b = opt_alloc_zero(ctx, sizeof *b);
    if (b == NULL) {
        return OPT_ERR_MEMORY;
    }
    b->ctx = ctx;
    b->m = m;
    b->is_gguf = opt_source_kind_of(m->source) == OPT_SOURCE_GGUF;
    *out = b;
    return OPT_OK;
}

void opt_builder_free(opt_builder *b) {
    if (b != NULL) {
        opt_free(b->ctx, b->bound);
        opt_free(b->ctx, b);
    }
}

opt_ctx *opt_builder_ctx(const opt_builder *b) { return b->ctx; }

opt_model *opt_builder_model(const opt_builder *b) { return b->m; }

int opt_builder_fail(opt_builder *b, opt_status st) {
    if (b->status == OPT_OK) {
        b->status = st;
    }
    return -1;
}

/* Makes room for one more element behind n; NULL (and a sticky error) when there is no memory. */
static void *grow(opt_builder *b, void *array, size_t n, size_t *cap, size_t size) {
    if (n < *cap) {
        return array;
    }
    const size_t cap_new = *cap == 0 ? 64 : *cap * 2;
    size_t bytes = 0;
    void *p = NULL;
    if (opt_mul_size(cap_new, size, &bytes)) {
        p = opt_realloc(b->ctx, array, bytes);
    }
    if (p == NULL) {
        (void)opt_builder_fail(b, OPT_ERR_MEMORY);
        return NULL;
    }
    *cap = cap_new;
    return p;
}

const char *opt_build_name(opt_builder *b, int unit, const char *kind) {
    if (b->status != OPT_OK) {
        return NULL;
    }
    const char *name = unit < 0 ? kind : opt_arena_printf(b->m->arena, "blk.%d.%s", unit, kind);
    if (name == NULL) {
        (void)opt_builder_fail(b, OPT_ERR_MEMORY);
    }
    return name;
}

int opt_build_cache(opt_builder *b) { return b->status == OPT_OK ? b->m->n_caches++ : -1; }

/* ---- weights ---- */

/* Replaces '#' of a pattern by the block number and appends ".suffix". */
static const char *expand_hf_name(opt_builder *b, const char *pattern, int unit,
                                  const char *suffix) {
    const char *mark = strchr(pattern, '#');
    if (mark == NULL) {
        return opt_arena_printf(b->m->arena, "%s.%s", pattern, suffix);
    }
    return opt_arena_printf(b->m->arena, "%.*s%d%s.%s", (int)(mark - pattern), pattern, unit,
                            mark + 1, suffix);
}

static const char *source_name(opt_builder *b, const char *kind, const char *suffix, int unit) {
    const char *name = NULL;
    if (b->is_gguf) {
        name = unit < 0 ? opt_arena_printf(b->m->arena, "%s.%s", kind, suffix)
                        : opt_arena_printf(b->m->arena, "blk.%d.%s.%s", unit, kind, suffix);
    } else {
        for (const opt_tensor_name *row = b->m->arch->names; row->kind != NULL; row++) {
            if (strcmp(row->kind, kind) == 0) {
                name = expand_hf_name(b, row->hf, unit, suffix);
                break;
            }
        }
        if (name == NULL && b->status == OPT_OK) {
            name = kind; /* no such tensor in these checkpoints: a name that is not found */
        }
    }
    if (name == NULL) {
        (void)opt_builder_fail(b, OPT_ERR_MEMORY);
    }
    return name;
}

const opt_tensor *opt_build_find(opt_builder *b, const char *kind, const char *suffix, int unit) {
    if (b->status != OPT_OK) {
        return NULL;
    }
    const char *name = source_name(b, kind, suffix, unit);
    return name == NULL ? NULL : opt_source_find(b->m->source, name);
}

static bool same_shape(const opt_tensor *t, const opt_weight_decl *d) {
    if (t->n_dims != d->n_dims) {
        return false;
    }
    for (int i = 0; i < d->n_dims; i++) {
        if (t->dims[i] != d->dims[i]) {
            return false;
        }
    }
    return true;
}

static opt_status check_tensor(opt_builder *b, const opt_tensor *t, const opt_weight_decl *d) {
    if (!same_shape(t, d)) {
        char found[128], expected[128];
        opt_tensor want = {.n_dims = d->n_dims};
        memcpy(want.dims, d->dims, sizeof d->dims);
        return opt_fail(b->ctx, OPT_ERR_INPUT, t->name,
                        "shape is %s, but the configuration says %s",
                        opt_tensor_shape_text(t, found, sizeof found),
                        opt_tensor_shape_text(&want, expected, sizeof expected));
    }
    if ((t->format->flags & (OPT_FORMAT_FLOAT | OPT_FORMAT_QUANT)) == 0) {
        return opt_fail(b->ctx, OPT_ERR_UNSUPPORTED, t->name, "weights of type %s cannot be used",
                        t->format->name);
    }
    if (d->permute_heads > 0 && d->n_dims == 1 && t->format->block_elems != 1) {
        return opt_fail(b->ctx, OPT_ERR_UNSUPPORTED, t->name,
                        "a vector of type %s cannot be reordered", t->format->name);
    }
    return OPT_OK;
}

static int append_weight(opt_builder *b, const opt_weight_decl *d, const opt_tensor *t) {
    opt_model *m = b->m;
    opt_weight *weights =
        grow(b, m->weights, (size_t)m->n_weights, &b->cap_weights, sizeof *weights);
    if (weights == NULL) {
        return -1;
    }
    m->weights = weights;
    const char *stem = opt_build_name(b, d->unit, d->kind);
    const char *name = stem == NULL ? NULL : opt_arena_printf(m->arena, "%s.%s", stem, d->suffix);
    if (name == NULL) {
        return opt_builder_fail(b, OPT_ERR_MEMORY);
    }
    opt_weight *w = &weights[m->n_weights];
    *w = (opt_weight){.name = name,
                      .kind = d->kind,
                      .tensor = t,
                      .role = d->role,
                      .unit = d->unit,
                      .n_dims = d->n_dims,
                      .permute_heads = d->permute_heads};
    memcpy(w->dims, d->dims, sizeof w->dims);
    return m->n_weights++;
}

int opt_build_weight(opt_builder *b, const opt_weight_decl *d) {
    if (b->status != OPT_OK) {
        return -1;
    }
    const char *name = source_name(b, d->kind, d->suffix, d->unit);
    if (name == NULL) {
        return -1;
    }
    const opt_tensor *t = opt_source_find(b->m->source, name);
    if (t == NULL) {
        return opt_builder_fail(b, opt_fail(b->ctx, OPT_ERR_INPUT, opt_source_path(b->m->source),
                                            "tensor \"%s\" is missing (architecture %s)", name,
                                            b->m->arch->name));
    }
    const opt_status st = check_tensor(b, t, d);
    if (st != OPT_OK) {
        return opt_builder_fail(b, st);
    }
    const opt_tensor **bound = grow(b, b->bound, b->n_bound, &b->cap_bound, sizeof *bound);
    if (bound == NULL) {
        return -1;
    }
    b->bound = bound;
    b->bound[b->n_bound++] = t;
    return append_weight(b, d, t);
}

int opt_build_computed(opt_builder *b, const opt_weight_decl *d, const float *values) {
    if (b->status != OPT_OK) {
        return -1;
    }
    const size_t n = (size_t)d->dims[0];
    opt_tensor *t = opt_arena_alloc(b->m->arena, sizeof *t);
    float *data = opt_arena_array(b->m->arena, n, sizeof *data);
    if (t == NULL || data == NULL) {
        return opt_builder_fail(b, OPT_ERR_MEMORY);
    }
    memcpy(data, values, n * sizeof *data);
    *t = (opt_tensor){.format = &opt_format_f32,
                      .n_dims = 1,
                      .dims = {d->dims[0]},
                      .bytes = n * sizeof *data,
                      .data = (const uint8_t *)data};
    const int index = append_weight(b, d, t);
    if (index >= 0) {
        t->name = b->m->weights[index].name;
        b->m->weights[index].computed = true;
    }
    return index;
}

void opt_build_tie(opt_builder *b, int weight) {
    if (b->status == OPT_OK) {
        b->m->weights[weight].tied = true;
    }
}

/* ---- nodes ---- */

/* Weights as the op's roles ask for; a missing optional one is OPT_NO_WEIGHT. */
static opt_status check_node(opt_builder *b, const opt_node *node) {
    const opt_op *op = node->op;
    if (node->n_in < op->n_in_min || node->n_in > op->n_in_max) {
        return opt_fail(b->ctx, OPT_ERR_BUG, node->name, "op %s does not take %d inputs", op->name,
                        node->n_in);
    }
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] != OPT_NODE_TOKENS && (node->in[i] < 0 || node->in[i] >= b->m->n_nodes)) {
            return opt_fail(b->ctx, OPT_ERR_BUG, node->name, "input %d is no earlier node", i);
        }
    }
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && op->weight_roles[j] != NULL; j++) {
        if (node->weights[j] == OPT_NO_WEIGHT && op->weight_roles[j][0] != '?') {
            return opt_fail(b->ctx, OPT_ERR_BUG, node->name, "op %s needs its %s", op->name,
                            op->weight_roles[j]);
        }
    }
    if (opt_model_find_node(b->m, node->name) >= 0) {
        return opt_fail(b->ctx, OPT_ERR_BUG, node->name, "two nodes have this name");
    }
    return OPT_OK;
}

int opt_build_node(opt_builder *b, const opt_op *op, int unit, const char *name, const int *in,
                   int n_in, const int *weights, int n_weights, opt_node_params p) {
    if (b->status != OPT_OK) {
        return -1;
    }
    opt_model *m = b->m;
    opt_node *nodes = grow(b, m->nodes, (size_t)m->n_nodes, &b->cap_nodes, sizeof *nodes);
    if (nodes == NULL) {
        return -1;
    }
    m->nodes = nodes;
    opt_node *node = &nodes[m->n_nodes];
    *node = (opt_node){.name = name, .op = op, .unit = unit, .n_in = n_in, .p = p};
    for (int i = 0; i < OPT_NODE_MAX_IN && i < n_in; i++) {
        node->in[i] = in[i];
    }
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS; j++) {
        node->weights[j] = j < n_weights ? weights[j] : OPT_NO_WEIGHT;
    }
    opt_status st = check_node(b, node);
    if (st == OPT_OK) {
        st = op->shape(b->ctx, m, node);
    }
    if (st != OPT_OK) {
        return opt_builder_fail(b, st);
    }
    return m->n_nodes++;
}

/* ---- the end ---- */

static int compare_pointers(const void *a, const void *b) {
    const uintptr_t x = (uintptr_t) * (const void *const *)a,
                    y = (uintptr_t) * (const void *const *)b;
    return (x > y) - (x < y);
}

/* Matches a tensor name with a pattern in which '#' stands for a decimal number. */
static bool name_matches(const char *pattern, const char *name) {
    for (; *pattern != 0; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern) {
                return false;
            }
            continue;
        }
        const size_t n_digits = strspn(name, "0123456789");
        if (n_digits == 0) {
            return false;
        }
        name += n_digits;
    }
    return *name == 0;
}

static const char *drop_reason(const opt_builder *b, const char *name) {
    const opt_drop_rule *rule = b->m->arch->drops;
    for (; rule != NULL && rule->tensor != NULL; rule++) {
        if ((!rule->tied_only || b->m->hp.tied) && name_matches(rule->tensor, name)) {
            return rule->reason;
        }
    }
    return NULL;
}

/* Every source tensor is bound, or dropped for a reason; anything else means that we do not
 * understand the file. */
static opt_status account_for_tensors(opt_builder *b) {
    opt_model *m = b->m;
    const int64_t n = opt_source_n_tensors(m->source);
    const char *first_unknown = NULL;
    int64_t n_unknown = 0;
    qsort(b->bound, b->n_bound, sizeof *b->bound, compare_pointers);
    m->dropped = opt_arena_array(m->arena, (size_t)n + 1 - b->n_bound, sizeof *m->dropped);
    if (m->dropped == NULL) {
        return OPT_ERR_MEMORY;
    }
    for (int64_t i = 0; i < n; i++) {
        const opt_tensor *t = opt_source_tensor(m->source, i);
        if (bsearch(&t, b->bound, b->n_bound, sizeof *b->bound, compare_pointers) != NULL) {
            continue;
        }
        const char *reason = drop_reason(b, t->name);
        if (reason != NULL) {
            m->dropped[m->n_dropped].tensor = t->name;
            m->dropped[m->n_dropped++].reason = reason;
        } else if (n_unknown++ == 0) {
            first_unknown = t->name;
        }
    }
    if (n_unknown > 0) {
        return opt_fail(b->ctx, OPT_ERR_INPUT, opt_source_path(m->source),
                        "%" PRId64
                        " tensor(s) are not part of architecture %s, the first is \"%s\"",
                        n_unknown, m->arch->name, first_unknown);
    }
    return OPT_OK;
}

static void *to_arena(opt_builder *b, void *array, size_t n, size_t size) {
    void *copy = opt_arena_array(b->m->arena, n, size);
    if (copy != NULL && n > 0) {
        memcpy(copy, array, n * size);
    }
    opt_free(b->ctx, array);
    return copy;
}

opt_status opt_builder_finish(opt_builder *b, int logits) {
    opt_model *m = b->m;
    m->nodes = to_arena(b, m->nodes, (size_t)m->n_nodes, sizeof *m->nodes);
    m->weights = to_arena(b, m->weights, (size_t)m->n_weights, sizeof *m->weights);
    b->cap_nodes = b->cap_weights = 0;
    m->logits = logits;
    if (b->status != OPT_OK) {
        return b->status;
    }
    if (m->nodes == NULL || m->weights == NULL) {
        return OPT_ERR_MEMORY;
    }
    if (logits < 0 || logits != m->n_nodes - 1) {
        return opt_fail(b->ctx, OPT_ERR_BUG, m->arch->name, "the logits must be the last node");
    }
    return account_for_tensors(b);
}
