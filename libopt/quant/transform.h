/**
 * Transforms: rewrites of the float weights of a model before its codes are chosen. They see the
 * graph and the statistics and know no solver; all but those marked OPT_TRANSFORM_LOSSY leave the
 * float model's function as it is. One file per transform, one const row each, listed in
 * flow/methods.c.
 */
#ifndef OPT_QUANT_TRANSFORM_H
#define OPT_QUANT_TRANSFORM_H

#include "calib/gram.h"
#include "model/rewrite.h"
#include "quant/method.h"

enum {
    OPT_TRANSFORM_FITTED = 1 << 0, /**< looks at the inputs that calibration shows */
    OPT_TRANSFORM_LOSSY = 1 << 1   /**< changes the float function on purpose */
};

/** What a transform did to one group of weights. NaN where a figure says nothing. */
typedef struct opt_transform_effect {
    const char *transform;
    const char *group; /* the node whose columns it works on, or the weight */
    double value;      /* of the parameter that was chosen */
    double before, after;
} opt_transform_effect;

/** Everything that transforms see. The arrays are owned by the caller. */
typedef struct opt_transform_job {
    opt_ctx *ctx;
    const opt_kern *kern;
    opt_model *model;
    const double *params; /* in the order of the row's table */
    uint64_t seed;
    int stage;            /* apply: unit of the nodes to work on; n_units: behind the blocks */
    opt_rewrite *rewrite; /* apply */
    const opt_format *const *formats; /* [n_weights] apply: of the output; NULL: stays plain */
    opt_gram *grams;                  /* [n_nodes] apply: of the inputs of linear nodes, in what
                                         the weights are now; sum NULL: not known */
    bool *touched;                    /* [n_weights] plan: will be rewritten */
    bool *late;                       /* [n_weights] plan: rewritten by finish */
    bool *wanted;                     /* [n_weights] plan: Gram matrix of their inputs is needed */
    opt_transform_effect *effects;    /* [n_effects], made by plan, filled by apply */
    int n_effects, max_effects;
    opt_arena *arena; /* of the effects' names */
    uint64_t bytes;   /* plan: scratch of apply */
} opt_transform_job;

typedef struct opt_transform {
    const char *name, *help;
    const opt_method_param *params;
    unsigned flags; /* OPT_TRANSFORM_* */
    int rank;       /* transforms run by increasing rank, equal ones as they are given */
    /**
     * Changes the graph, before anything is planned, where the transform needs it: indices of
     * weights move. NULL: it does not. Errors: UNSUPPORTED and USAGE with the reason.
     */
    opt_status (*edit)(opt_transform_job *job);
    /** Marks what it will touch and wants, and opens an effect for every group. */
    opt_status (*plan)(opt_transform_job *job);
    /** Rewrites the weights of the nodes of one stage; with FLAG_FITTED, scales job->grams along.
     */
    opt_status (*apply)(opt_transform_job *job);
    /**
     * For rows that mark weights as late: rewrites them for linear node `node`, whose weight is
     * stored as `solved` (the source's order of rows) and whose inputs have the mean `mean`. NULL:
     * none is late.
     */
    opt_status (*finish)(opt_transform_job *job, int node, const opt_tensor *solved,
                         const double *mean);
} opt_transform;

/** For plan: opens an effect. `group` is copied. */
OPT_MUST_USE opt_status opt_transform_add_effect(opt_transform_job *job, const char *transform,
                                                 const char *group);
/** For apply: the effect of a group; NULL if plan opened none. */
opt_transform_effect *opt_transform_find_effect(opt_transform_job *job, const char *transform,
                                                const char *group);
/** Rows and columns of a weight's matrix (a vector is one row). */
int64_t opt_transform_n_cols(const opt_model *m, int weight);
int64_t opt_transform_n_rows(const opt_model *m, int weight);

extern const opt_transform opt_transform_fold_norms, opt_transform_rotate,
    opt_transform_rotate_heads, opt_transform_awq, opt_transform_smoothquant, opt_transform_clip,
    opt_transform_bias_correction;

#endif
