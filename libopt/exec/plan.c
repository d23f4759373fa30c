#include "exec/plan.h"

#include <limits.h>

#include "base/num.h"

static bool reads_any_of(const opt_node *node, int first, int n) {
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] >= first && node->in[i] < first + n) {
            return true;
        }
    }
    return false;
}

void opt_plan_steps(const opt_exec_node *nodes, int n_nodes, opt_step *steps, int *n_steps) {
    int count = 0;
    for (int i = 0; i < n_nodes;) {
        const opt_exec_node *first = &nodes[i];
        int n = 1;
        while (n < OPT_STEP_MAX_NODES && i + n < n_nodes - 1 && nodes[i + n].row == first->row &&
               first->row->joins != NULL && first->row->joins(first, &nodes[i + n]) &&
               !reads_any_of(nodes[i + n].node, i, n)) {
            n++;
        }
        steps[count++] = (opt_step){.first = i, .n = n};
        i += n;
    }
    *n_steps = count;
}

/* A buffer that is in use at the current step. */
typedef struct live_block {
    size_t off, bytes;
    int last_step; /* after which it is free */
} live_block;

typedef struct planner {
    const opt_exec_node *nodes;
    int64_t n_batch;
    const int *last_step; /* [n_nodes] */
    live_block *live;     /* sorted by offset */
    int n_live;
    size_t *off;
    size_t peak;
} planner;

static void drop_dead(planner *p, int step) {
    int kept = 0;
    for (int i = 0; i < p->n_live; i++) {
        if (p->live[i].last_step >= step) {
            p->live[kept++] = p->live[i];
        }
    }
    p->n_live = kept;
}

/* First gap that is large enough. */
static bool place(planner *p, int node, size_t bytes) {
    size_t at = 0, end = 0;
    int i = 0;
    for (; i < p->n_live; i++) {
        if (p->live[i].off - at >= bytes) {
            break;
        }
        at = p->live[i].off + p->live[i].bytes;
    }
    for (int j = p->n_live; j > i; j--) {
        p->live[j] = p->live[j - 1];
    }
    p->live[i] = (live_block){.off = at, .bytes = bytes, .last_step = p->last_step[node]};
    p->n_live++;
    p->off[node] = at;
    if (!opt_add_size(at, bytes, &end)) {
        return false;
    }
    p->peak = end > p->peak ? end : p->peak;
    return true;
}

/* How often the nodes of a step read an output. */
static int count_reads(const planner *p, opt_step step, int from) {
    int n = 0;
    for (int i = step.first; i < step.first + step.n; i++) {
        for (int j = 0; j < p->nodes[i].node->n_in; j++) {
            n += p->nodes[i].node->in[j] == from;
        }
    }
    return n;
}

/* Lets the output take over the buffer of input 0, which must die here and be read once only. */
static bool take_over(planner *p, int node, const opt_step *steps, int s) {
    const opt_exec_node *x = &p->nodes[node];
    const int from = x->node->n_in > 0 ? x->node->in[0] : OPT_NODE_TOKENS;
    if (!x->row->in_place || from == OPT_NODE_TOKENS || p->last_step[from] != s ||
        p->nodes[from].node->width != x->node->width || count_reads(p, steps[s], from) != 1) {
        return false;
    }
    for (int i = 0; i < p->n_live; i++) {
        if (p->live[i].off == p->off[from]) {
            p->live[i].last_step = p->last_step[node];
            p->off[node] = p->off[from];
            return true;
        }
    }
    return false;
}

static bool buffer_bytes(int64_t n_batch, int64_t width, size_t *out) {
    const int64_t dims[] = {n_batch, width, (int64_t)sizeof(float)};
    int64_t n = 0;
    return opt_mul_dims(dims, 3, &n) && opt_align_size((size_t)n, 64, out);
}

static bool plan_steps(planner *p, const opt_model *m, const opt_step *steps, int n_steps) {
    for (int s = 0; s < n_steps; s++) {
        drop_dead(p, s);
        for (int i = steps[s].first; i < steps[s].first + steps[s].n; i++) {
            size_t bytes = 0;
            p->off[i] = SIZE_MAX;
            if (i == m->logits || take_over(p, i, steps, s)) {
                continue;
            }
            if (!buffer_bytes(p->n_batch, m->nodes[i].width, &bytes) || !place(p, i, bytes)) {
                return false;
            }
        }
    }
    return true;
}

opt_status opt_plan_buffers(opt_ctx *ctx, const opt_model *m, const opt_exec_node *nodes,
                            const opt_step *steps, int n_steps, int64_t n_batch, bool keep,
                            size_t *off, size_t *bytes) {
    opt_status st = OPT_OK;
    int *last_step = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *last_step);
    live_block *live = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *live);
    OPT_TRY_PTR(last_step);
    OPT_TRY_PTR(live);
    for (int s = 0; s < n_steps; s++) {
        for (int i = steps[s].first; i < steps[s].first + steps[s].n; i++) {
            last_step[i] = keep ? INT_MAX : s;
            for (int j = 0; j < m->nodes[i].n_in; j++) {
                if (m->nodes[i].in[j] != OPT_NODE_TOKENS && !keep) {
                    last_step[m->nodes[i].in[j]] = s;
                }
            }
        }
    }
    planner p = {
        .nodes = nodes, .n_batch = n_batch, .last_step = last_step, .live = live, .off = off};
    OPT_REQUIRE(plan_steps(&p, m, steps, n_steps), ctx, OPT_ERR_MEMORY, m->name,
                "the activations of %lld tokens do not fit in the address space",
                (long long)n_batch);
    *bytes = p.peak;
done:
    opt_free(ctx, live);
    opt_free(ctx, last_step);
    return st;
}

/* Places the gradients that node i adds to and nobody behind it has added to. Time runs backwards:
 * step n_nodes - 1 - i. */
static bool place_inputs(planner *p, const opt_model *m, int i) {
    for (int j = 0; j < m->nodes[i].n_in; j++) {
        const int from = m->nodes[i].in[j];
        size_t bytes = 0;
        if (from == OPT_NODE_TOKENS || p->last_step[from] < 0 || p->off[from] != SIZE_MAX) {
            continue;
        }
        if (!buffer_bytes(p->n_batch, m->nodes[from].width, &bytes) || !place(p, from, bytes)) {
            return false;
        }
    }
    return true;
}

opt_status opt_plan_gradients(opt_ctx *ctx, const opt_model *m, const opt_exec_node *nodes,
                              const bool *needs, int64_t n_batch, size_t *off, size_t *bytes) {
    opt_status st = OPT_OK;
    int *last_step = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *last_step);
    live_block *live = opt_alloc_array(ctx, (size_t)m->n_nodes, sizeof *live);
    OPT_TRY_PTR(last_step);
    OPT_TRY_PTR(live);
    planner p = {
        .nodes = nodes, .n_batch = n_batch, .last_step = last_step, .live = live, .off = off};
    for (int i = 0; i < m->n_nodes; i++) {
        last_step[i] = needs[i] && i != m->logits ? m->n_nodes - 1 - i : -1;
        off[i] = SIZE_MAX;
    }
    for (int i = m->n_nodes - 1; i >= 0; i--) {
        drop_dead(&p, m->n_nodes - 1 - i);
        if (needs[i]) {
            OPT_REQUIRE(place_inputs(&p, m, i), ctx, OPT_ERR_MEMORY, m->name,
                        "the gradients of %lld tokens do not fit in the address space",
                        (long long)n_batch);
        }
    }
    *bytes = p.peak;
done:
    opt_free(ctx, live);
    opt_free(ctx, last_step);
    return st;
}
