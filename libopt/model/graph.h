/**
 * The graph of a model: nodes of coarse ops over activations [n_tokens, width] in f32, and the
 * weights that they use. One graph serves calibration, inference and training. An architecture
 * (model/arch.h) builds it from a configuration; the executor (exec/) runs it. Nodes are stored in
 * an order in which they can run.
 */
#ifndef OPT_MODEL_GRAPH_H
#define OPT_MODEL_GRAPH_H

#include "base/mem.h"
#include "io/source.h"
#include "tensor/tensor.h"

typedef struct opt_model opt_model;
typedef struct opt_node opt_node;
typedef struct opt_arch opt_arch;

#define OPT_NODE_MAX_IN 3
#define OPT_NODE_MAX_WEIGHTS 3
#define OPT_NODE_TOKENS (-1) /* as an input: the token ids */
#define OPT_NO_WEIGHT (-1)

/** What a weight is for: decides the default format of quantize and what people mean by "norms" or
 * "embeddings". */
typedef enum opt_role {
    OPT_ROLE_LINEAR,    /**< [n_out, n_in] matrix of a block */
    OPT_ROLE_EMBEDDING, /**< token embedding [n_vocab, n_embd] */
    OPT_ROLE_HEAD,      /**< output projection [n_vocab, n_embd] */
    OPT_ROLE_NORM,
    OPT_ROLE_BIAS,
    OPT_ROLE_OTHER /**< rotary frequency factors and the like: copied */
} opt_role;

/** A weight of the model, bound to a tensor of the source. */
typedef struct opt_weight {
    const char *name; /* canonical = GGUF name: "blk.0.attn_q.weight" */
    const char *kind; /* the same without block and suffix: "attn_q", "token_embd", "ffn_down" */
    const opt_tensor *tensor; /* in the source, or the model's own if `computed`; shape was checked
                                 against dims */
    opt_role role;
    int unit; /* block index; -1 outside blocks */
    int n_dims;
    int64_t dims[4];   /* outermost first */
    int permute_heads; /* > 0: the canonical (GGUF) row order of this source tensor is, inside each
                          of this many heads, halves interleaved: row h*hd + s*hd/2 + i -> h*hd + 2i
                          + s. 0: as it is */
    bool tied;         /* an embedding that is also the head */
    bool computed; /* made from the configuration (rotary frequency factors): not in the source's
                      index */
} opt_weight;

/** A kind of node. Rows live with the ops; an architecture refers to them by address (model/ops.h).
 */
typedef struct opt_op {
    const char *name; /* "linear" */
    const char *help;
    int n_in_min, n_in_max;
    const char *weight_roles[OPT_NODE_MAX_WEIGHTS +
                             1]; /* "weight", "bias", NULL; a leading '?' marks an optional one */
    /** Sets node->width from the inputs' widths and the weights' shapes, or records an error. */
    opt_status (*shape)(opt_ctx *ctx, const opt_model *m, opt_node *node);
} opt_op;

/** Parameters of the ops of model/ops.h. An op of its own keeps its parameters behind `custom`. */
typedef union opt_node_params {
    struct {
        float eps;
        int64_t group;
    } norm; /* group: elements normalised together (0: the whole row) */
    struct {
        int n_heads;
        int64_t head_dim, n_rot;
        bool halves;
        double freq_base;
        double attn_factor;
        const float *freq_factors; /* [n_rot/2] divisors of the frequencies, or NULL */
    } rope;
    struct {
        int n_heads, n_heads_kv;
        int64_t head_dim, head_dim_v;
        float scale;
        int64_t window; /* positions that a query sees, itself included; 0: all */
        int cache;
    } attention;
    struct {
        float scale;
    } embed;
    const void *custom;
} opt_node_params;

struct opt_node {
    const char *name; /* "blk.0.attn_q": unique; what capture hooks and reports use */
    const opt_op *op;
    int unit; /* block index; -1 before the first block, n_units after the last */
    int n_in;
    int in[OPT_NODE_MAX_IN];
    int weights[OPT_NODE_MAX_WEIGHTS]; /* indices into opt_model.weights, in the order of
                                          op->weight_roles, or OPT_NO_WEIGHT */
    int64_t width;                     /* columns of the output */
    opt_node_params p;
};

/** Hyper-parameters of a dense decoder. */
typedef struct opt_hparams {
    int64_t n_vocab, n_embd, n_ff, n_layers, n_heads, n_heads_kv, head_dim, n_ctx_train;
    double norm_eps, rope_theta;
    enum { OPT_ROPE_NONE, OPT_ROPE_LINEAR, OPT_ROPE_LLAMA3 } rope_scaling;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_ctx;
    int64_t sliding_window; /* 0: none */
    const bool
        *layer_slides; /* [n_layers]: which layers use the window; NULL: all, if there is one */
    bool tied;
    bool bias_qkv, bias_o,
        bias_ffn; /* biases that the configuration asks for; a GGUF may bring more */
} opt_hparams;

/** A model: owns the graph, borrows the source (which must outlive it). */
struct opt_model {
    opt_ctx *ctx;
    opt_arena *arena;
    const opt_source *source;
    const opt_arch *arch;
    const char *name; /* general.name or the directory's name: never a path */
    opt_hparams hp;
    int n_units; /* transformer blocks */
    int n_nodes, n_weights, n_caches;
    opt_node *nodes;
    opt_weight
        *weights; /* in canonical file order: token_embd, blocks in order, output_norm, output */
    int logits;   /* node whose output are the logits */
    int n_dropped;
    struct {
        const char *tensor, *reason;
    } * dropped; /* source tensors left out on purpose (rotary inv_freq, tied copies) */
};

/**
 * Reads the configuration, finds the architecture, builds the graph, binds and checks every weight.
 * Every source tensor is bound or dropped for a stated reason; any other is an INPUT error naming
 * it, as is a missing one or a wrong shape.
 */
OPT_MUST_USE opt_status opt_model_open(opt_ctx *ctx, const opt_source *source, opt_model **out);
void opt_model_free(opt_model *m);

/** Metadata of a GGUF of this model: general.* and architecture keys, without tokenizer and without
 * lathe.* keys. */
OPT_MUST_USE opt_status opt_model_to_kv(opt_ctx *ctx, const opt_model *m, opt_kv *kv);

/** Node or weight by name, -1 if absent. */
int opt_model_find_node(const opt_model *m, const char *name);
int opt_model_find_weight(const opt_model *m, const char *name);
/** Lower-case name of a role. */
const char *opt_role_name(opt_role role);
/** Decodes rows [row0, row0+n) of a weight in its canonical row order (permute_heads applied) to
   dst [n, n_cols]. A vector is one row; its elements are permuted. */
void opt_weight_decode_rows(const opt_weight *w, const opt_kern *k, int64_t row0, int64_t n,
                            float *dst);
/** Copies stored rows in canonical order to dst. */
void opt_weight_copy_rows(const opt_weight *w, int64_t row0, int64_t n, uint8_t *dst);
/** The same with rows 16 together in dst if `runs`; then row0 and n are multiples of 16. */
void opt_weight_copy_runs(const opt_weight *w, bool runs, int64_t row0, int64_t n, uint8_t *dst);
/** Row of the source tensor that is row r of a matrix in canonical order. */
int64_t opt_weight_source_row(const opt_weight *w, int64_t r);

#endif
