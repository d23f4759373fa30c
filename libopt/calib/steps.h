/**
 * A block in steps: its nodes are cut behind every node that linear nodes read, so that these can
 * be solved before anything that reads their outputs runs. Every node then runs once for all
 * windows, with the weights that were solved, but for norms in front of linear nodes, which run
 * twice.
 */
#ifndef OPT_CALIB_STEPS_H
#define OPT_CALIB_STEPS_H

#include "model/ops.h"

#define OPT_MAX_STEPS 16
#define OPT_NO_NODE (-2)

/** Nodes first .. last of a unit. Between steps, outputs of at most two nodes are held. */
typedef struct opt_step_cut {
    int unit, first, last;
    bool ends;     /* the unit's last step: what it gives is what the next unit reads */
    int before[2]; /* nodes whose outputs are held before it; [0] of the stream's width.
                      OPT_NO_NODE: none */
    int after[2];  /* and behind it */
    int catcher;   /* node of the step whose first input is after[0], or OPT_NO_NODE: it was held
                      before, or it is the last node */
} opt_step_cut;

typedef struct opt_steps {
    int n;
    opt_step_cut cuts[OPT_MAX_STEPS];
} opt_steps;

/**
 * Cuts a unit behind the nodes that linear nodes with `wanted` [m->n_weights] weights read; `width`
 * is that of the rows between units. False if it cannot be cut so: more than two outputs, or one of
 * another width, would have to be held, or the unit reads more than one node from before.
 */
bool opt_steps_plan(const opt_model *m, int unit, int64_t width, const bool *wanted,
                    opt_steps *out);

/** Columns of the widest second output that is held; 0: none is. */
int64_t opt_steps_width(const opt_model *m, const opt_steps *steps);

#endif
