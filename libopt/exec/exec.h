/**
 * Inside of the executor: what the file of an op needs. An op has one row here beside its row in
 * model/ops.h; rows are listed in exec/ops.def, and adding an op is one new file and one line
 * there.
 *
 * A session is made in this order: every node's `prepare` (binds weights and kernels, says what
 * scratch it needs), steps (nodes that run in one parallel section), the plan of the activation
 * buffers, and then one allocation for all.
 */
#ifndef OPT_EXEC_EXEC_H
#define OPT_EXEC_EXEC_H

#include "base/pool.h"
#include "exec/cache.h"
#include "exec/session.h"
#include "kern/kern.h"
#include "model/ops.h"

#define OPT_STEP_MAX_NODES 4

typedef struct opt_exec_node opt_exec_node;

/** Tokens of a run that follow each other in one sequence. */
typedef struct opt_run_part {
    int seq;
    int64_t row, n; /* rows of the run */
    int64_t pos0;   /* position of the first one in the sequence */
} opt_run_part;

/** The tokens that run through the graph at once. */
typedef struct opt_run {
    const int32_t *tokens; /* [n_tokens] */
    int64_t n_tokens;
    int64_t pos0;              /* position of the first one in the sequence */
    int64_t row0;              /* its row in the input buffers: 0 but for pieces of the logits */
    const opt_run_part *parts; /* [n_parts] of several sequences; NULL: all are of sequence 0 */
    int n_parts;
    uint64_t serial; /* another number for each run with parts; 0 without */
} opt_run;

/** Part i of a run, also of one of a single sequence. */
static inline opt_run_part opt_run_get_part(const opt_run *run, int i) {
    return run->parts != NULL ? run->parts[i]
                              : (opt_run_part){.n = run->n_tokens, .pos0 = run->pos0};
}
static inline int opt_run_n_parts(const opt_run *run) {
    return run->parts != NULL ? run->n_parts : 1;
}
/** Position of row t in its sequence. */
static inline int64_t opt_run_pos(const opt_run *run, int64_t t) {
    for (int i = 0; run->parts != NULL && i < run->n_parts; i++) {
        if (t < run->parts[i].row + run->parts[i].n) {
            return run->parts[i].pos0 + t - run->parts[i].row;
        }
    }
    return run->pos0 + t;
}

/** How an op is executed. All rows are static const. */
typedef struct opt_exec_op {
    const opt_op *op;
    /** Whether the output may take over the buffer of input 0 where nobody needs that any more. */
    bool in_place;
    /** Whether `next` may run together with `first` in one call of forward (never with an input of
     * its own making). */
    bool (*joins)(const opt_exec_node *first, const opt_exec_node *next);
    /** Binds the node: weights, kernels, state, scratch. May be NULL. Errors: MEMORY, UNSUPPORTED.
     */
    opt_status (*prepare)(opt_session *s, opt_exec_node *x);
    /** Computes nodes x[0] .. x[n-1] for the run. Works in fixed tiles. */
    opt_status (*forward)(opt_session *s, opt_exec_node *x, int n, const opt_run *run);
    /**
     * Adds what the gradient of the node's output (grad_out) is worth to its inputs (grad_in) and
     * weights (grad_w), those that are not NULL. The run is a whole sequence from position 0, or,
     * at the logits, a piece of its rows. Works in fixed tiles, so the bits do not depend on the
     * threads. NULL: training cannot pass this op yet.
     */
    opt_status (*reverse)(opt_session *s, opt_exec_node *x, const opt_run *run);
} opt_exec_op;

/** The table, terminated by NULL (exec/ops_table.c from exec/ops.def). */
extern const opt_exec_op *const opt_exec_ops[];

/** A node at run time. */
struct opt_exec_node {
    const opt_node *node;
    const opt_exec_op *row;
    int idx;
    void *state;                      /* the op's own, from opt_exec_alloc */
    const float *in[OPT_NODE_MAX_IN]; /* [n_batch, in_width]; NULL for token ids */
    int64_t in_width[OPT_NODE_MAX_IN];
    float *out; /* [n_batch, node->width] */

    /* Sessions with a reverse pass; NULL where nobody wants the gradient. */
    float *grad_out;                     /* [n_batch, node->width] */
    float *grad_in[OPT_NODE_MAX_IN];     /* [n_batch, in_width] */
    float *grad_w[OPT_NODE_MAX_WEIGHTS]; /* of the weight's shape, the caller's */
};

/** First row of input i for the run. */
static inline const float *opt_exec_in(const opt_exec_node *x, int i, const opt_run *run) {
    return x->in[i] + run->row0 * x->in_width[i];
}

/** The same of a gradient that is wanted. */
static inline float *opt_exec_grad_in(const opt_exec_node *x, int i, const opt_run *run) {
    return x->grad_in[i] + run->row0 * x->in_width[i];
}

/* ---- for prepare ---- */

/** Zeroed memory that lives as long as the session and counts as its own. NULL with a recorded
 * error. */
void *opt_exec_alloc(opt_session *s, size_t n, size_t size);
/** A vector weight (norm, bias) in f32; *out is NULL where the node has none. An f32 tensor is used
 * where it lies, so that a step of training changes it. */
OPT_MUST_USE opt_status opt_exec_vector(opt_session *s, const opt_exec_node *x, int weight,
                                        const float **out);
/** Makes sure that every worker has this much scratch during forward. */
void opt_exec_need_scratch(opt_session *s, size_t bytes);
/** Makes sure that inputs of this width can be quantized (opt_exec_quantized, _i16). */
void opt_exec_need_act(opt_session *s, int64_t width);
/** Counts a weight as computed in int8 or in f32. */
void opt_exec_count_linear(opt_session *s, bool int8);

/* ---- for forward ---- */

/** Scratch of a worker, aligned to 64 bytes, as large as the largest need. */
void *opt_exec_scratch(const opt_session *s, int worker);
/** Input 0 of the node in int8, groups with outliers in two planes (rest.c). Made once for all
 * nodes that read the same rows. */
OPT_MUST_USE opt_status opt_exec_quantized(opt_session *s, const opt_exec_node *x,
                                           const opt_run *run, opt_act_i8 *out);

/** The same in a session of OPT_COMPUTE_I16: the tokens are rows. */
OPT_MUST_USE opt_status opt_exec_quantized_i16(opt_session *s, const opt_exec_node *x,
                                               const opt_run *run, opt_i16 *out);
/** The same in a session of OPT_COMPUTE_BF16. */
OPT_MUST_USE opt_status opt_exec_quantized_bf16(opt_session *s, const opt_exec_node *x,
                                                const opt_run *run, opt_bf16 *out);
/** opt_parallel_for, but a single tile runs at once on the calling thread. */
OPT_MUST_USE opt_status opt_exec_for(opt_session *s, int64_t n_tiles, opt_tile_fn fn, void *user);

/** Tokens of a tile for ops whose work for a token is about `width` elements. */
static inline int64_t opt_exec_token_tile(int64_t width) {
    const int64_t tile = 16384 / (width > 0 ? width : 1);
    return tile < 1 ? 1 : tile;
}

opt_ctx *opt_exec_ctx(const opt_session *s);
const opt_model *opt_exec_model(const opt_session *s);
const opt_kern *opt_exec_kern(const opt_session *s);
bool opt_exec_is_exact(const opt_session *s);
/** Whether linear layers run on 16-bit block integers. */
bool opt_exec_is_i16(const opt_session *s);
/** Whether they run in bf16. */
bool opt_exec_is_bf16(const opt_session *s);
/** Rounds x [n] to bf16 pairs [n_padded / 2], zeros behind n. */
void opt_exec_to_bf16(const opt_kern *kern, const float *x, int64_t n, int64_t n_padded,
                      int32_t *pairs);
/** Whether the session has a reverse pass: then all outputs are kept, and inputs are where they
 * were in the forward pass. */
bool opt_exec_reverses(const opt_session *s);
int64_t opt_exec_n_batch(const opt_session *s);
/** Cache of an attention node for a sequence; bound to its memory when forward is called. */
opt_cache *opt_exec_cache(const opt_session *s, int seq, int idx);
/** An earlier or later node of the session, by its index in the model. */
const opt_exec_node *opt_exec_node_at(const opt_session *s, int idx);

#endif
