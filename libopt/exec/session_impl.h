/** The session's fields. Included by session.c, eval.c and act.c only; ops go through exec/exec.h.
 */
#ifndef OPT_EXEC_SESSION_IMPL_H
#define OPT_EXEC_SESSION_IMPL_H

#include "exec/cache.h"
#include "exec/exec.h"
#include "exec/plan.h"
#include "exec/reverse.h"

/** Activations in int8, as 16-bit block integers or in bf16, of one producer's rows at a time. */
typedef struct opt_act_buffer {
    bool wide;          /* 16 bits: pairs and scale only, whose groups have 64 elements */
    bool bf16;          /* wide, and in bf16: no scale */
    int64_t max_padded; /* widest input that is ever quantized, padded to 64; 0: none is */
    int32_t *pairs;     /* [n_batch, max_padded / 2] */
    int8_t *q;          /* [n_batch, max_padded] */
    float *scale;       /* [n_batch, max_padded / 32] */
    int16_t *sum4;      /* [n_batch, max_padded / 4] */
    float *scaled_sum;  /* [n_batch, max_padded / 32] */
    int producer;       /* node whose rows are in there; -1: none */

    /* The second plane of outliers (rest.c). */
    uint16_t *low;    /* [n_batch, max_padded / 512 rounded up] */
    int8_t *q_low;    /* [n_batch, max_padded] */
    int16_t *sum_low; /* [n_batch, max_padded / 16] */
} opt_act_buffer;

struct opt_session {
    opt_ctx *ctx;
    const opt_model *model;
    const opt_kern *kern;
    opt_arena *arena;
    bool exact; /* but for linear layers if act.wide */
    int64_t n_ctx, n_batch;
    int n_seqs;
    int64_t past[OPT_MAX_SEQS]; /* positions in the cache of each sequence */
    int32_t *batch_tokens;      /* [n_batch]; NULL: one sequence */
    uint64_t serial;            /* of the last run of several sequences */

    opt_exec_node *nodes; /* [model->n_nodes] */
    opt_step *steps;      /* [n_steps] */
    int n_steps;
    opt_cache_type cache_type; /* not OPT_CACHE_AUTO */
    opt_cache *caches;         /* [n_seqs, model->n_caches] */
    uint64_t cache_bytes;

    opt_act_buffer act;
    size_t scratch_bytes; /* of each worker */
    uint8_t *scratch;     /* [n_workers, scratch_bytes] */
    float *logits;        /* [logits_rows, width of the logits] */
    int64_t logits_rows;
    void *block;    /* the one allocation behind caches, activations, scratch and logits */
    uint64_t bytes; /* block and what the ops hold */

    /* Sessions with a reverse pass. */
    bool *trains;       /* [model->n_weights], or NULL: no reverse pass */
    bool *needs_grad;   /* [model->n_nodes]: whether the gradient of its output is wanted */
    bool input_grad;    /* of opt_op_feed nodes */
    size_t *grad_off;   /* [model->n_nodes] into `grads`; SIZE_MAX: none */
    float *grads;       /* gradients of outputs */
    float *grad_logits; /* [logits_rows, width of the logits] */

    int64_t n_int8, n_f32;
    opt_observe_fn observe;
    void *observe_user;
    opt_capture_fn capture;
    void *capture_user;
    int capture_node; /* -1: every node */
};

/** The row of an op; NULL if it cannot be executed. */
const opt_exec_op *opt_exec_row_of(const opt_op *op);

/** Sizes of the quantized activations, and their pointers into a block. */
bool opt_act_bytes(const opt_act_buffer *act, int64_t n_batch, size_t *out);
void opt_act_bind(opt_act_buffer *act, int64_t n_batch, void *memory);

/** Gives groups of row x [n], which quantize_act has made row t of, a second plane where they have
 * outliers. */
void opt_rest_split(const opt_act_buffer *act, int64_t t, const float *x, int64_t n,
                    int64_t n_padded);

#endif
