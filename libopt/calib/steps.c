#include "calib/steps.h"

#include "base/num.h"
#include "model/cut.h"

static bool reads(const opt_node *node, int from) {
    for (int j = 0; j < node->n_in; j++) {
        if (node->in[j] == from) {
            return true;
        }
    }
    return false;
}

/* Whether a node is read at or behind `first` in the unit. */
static bool is_live(const opt_model *m, int unit, int node, int first) {
    for (int i = first; i < m->n_nodes; i++) {
        if (m->nodes[i].unit == unit && reads(&m->nodes[i], node)) {
            return true;
        }
    }
    return false;
}

/* The next node behind `from` that a wanted linear node of the unit reads, or OPT_NO_NODE. */
static int next_input(const opt_model *m, int unit, const bool *wanted, int from) {
    int next = OPT_NO_NODE;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        if (node->unit == unit && node->op == &opt_op_linear && wanted[node->weights[0]] &&
            node->in[0] > from && (next == OPT_NO_NODE || node->in[0] < next)) {
            next = node->in[0];
        }
    }
    return next;
}

static int find_catcher(const opt_model *m, const opt_step_cut *c, int node) {
    for (int i = c->first; i <= c->last; i++) {
        if (m->nodes[i].unit == c->unit && m->nodes[i].n_in > 0 && m->nodes[i].in[0] == node) {
            return i;
        }
    }
    return OPT_NO_NODE;
}

/*
 * What is held behind a step when the unit goes on with node `next`. A value that was held stays in
 * its place; one that is new takes the first place if that is free.
 */
static bool hold(const opt_model *m, int64_t width, int next, opt_step_cut *c) {
    c->after[0] = is_live(m, c->unit, c->before[0], next) ? c->before[0] : OPT_NO_NODE;
    c->after[1] = c->catcher = OPT_NO_NODE;
    if (c->before[1] != OPT_NO_NODE && is_live(m, c->unit, c->before[1], next)) {
        return false;
    }
    for (int i = c->first; i < next; i++) {
        if (m->nodes[i].unit != c->unit || !is_live(m, c->unit, i, next)) {
            continue;
        }
        if (c->after[0] == OPT_NO_NODE && m->nodes[i].width == width) {
            c->after[0] = i;
            c->catcher = i == c->last ? OPT_NO_NODE : find_catcher(m, c, i);
            if (i != c->last && c->catcher == OPT_NO_NODE) {
                return false;
            }
        } else if (c->after[1] == OPT_NO_NODE && i == c->last) {
            c->after[1] = i;
        } else {
            return false;
        }
    }
    return c->after[0] != OPT_NO_NODE;
}

/* The one node before the unit that it reads; false if there are more, or linear nodes read it. */
static bool find_outside(const opt_model *m, int unit, int *out) {
    *out = OPT_NO_NODE;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        for (int j = 0; node->unit == unit && j < node->n_in; j++) {
            const int from = node->in[j];
            if (from == OPT_NODE_TOKENS || m->nodes[from].unit == unit) {
                continue;
            }
            if ((*out != OPT_NO_NODE && *out != from) || node->op == &opt_op_linear) {
                return false;
            }
            *out = from;
        }
    }
    return *out != OPT_NO_NODE;
}

bool opt_steps_plan(const opt_model *m, int unit, int64_t width, const bool *wanted,
                    opt_steps *out) {
    int outside = OPT_NO_NODE;
    const int end = opt_model_unit_end(m, unit);
    *out = (opt_steps){0};
    if (!find_outside(m, unit, &outside) || m->nodes[outside].width != width || end < 0 ||
        m->nodes[end].width != width) {
        return false;
    }
    opt_step_cut c = {.unit = unit, .before = {outside, OPT_NO_NODE}};
    while (m->nodes[c.first].unit != unit) {
        c.first++;
    }
    for (int input = outside; out->n < OPT_MAX_STEPS;) {
        input = next_input(m, unit, wanted, input);
        c.ends = input == OPT_NO_NODE;
        c.last = c.ends ? end : input;
        if (c.ends) {
            c.after[0] = end;
            c.after[1] = c.catcher = OPT_NO_NODE;
            out->cuts[out->n++] = c;
            return true;
        }
        const bool again = m->nodes[input].op == &opt_op_rms_norm;
        const int next = again ? input : input + 1;
        if (!hold(m, width, next, &c)) {
            return false;
        }
        out->cuts[out->n++] = c;
        c.first = next;
        c.before[0] = c.after[0];
        c.before[1] = c.after[1];
    }
    return false;
}

int64_t opt_steps_width(const opt_model *m, const opt_steps *steps) {
    int64_t width = 0;
    for (int i = 0; i < steps->n; i++) {
        const int node = steps->cuts[i].after[1];
        width = node == OPT_NO_NODE ? width : opt_max_i64(width, m->nodes[node].width);
    }
    return width;
}
