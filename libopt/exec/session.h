/**
 * Running a model: a session holds the KV cache and the activations of one sequence. The same code
 * runs a prompt, one token after the other, or windows of a text, and gives the same bits for all
 * of them.
 */
#ifndef OPT_EXEC_SESSION_H
#define OPT_EXEC_SESSION_H

#include "base/mem.h"
#include "model/graph.h"
#include "opt/infer.h"

typedef struct opt_session opt_session;

/** Sequences of a session at most. */
#define OPT_MAX_SEQS 64

typedef enum opt_compute {
    OPT_COMPUTE_FAST,  /**< int8 activations where the format has such a kernel: what is deployed */
    OPT_COMPUTE_EXACT, /**< f32 activations and cache everywhere: what verification uses */
    OPT_COMPUTE_BF16,  /**< the same in bf16: for machines with AMX */
    OPT_COMPUTE_I16    /**< exact but for linear layers, whose weights and inputs become 16-bit
                          integers in groups of 64 (kern.h, opt_i16): twice as fast for many tokens */
} opt_compute;

/** What gradients are wanted of. */
typedef struct opt_reverse_options {
    const bool *weights; /**< [model->n_weights], copied */
    bool input;          /**< of the rows of an opt_op_feed node */
} opt_reverse_options;

typedef struct opt_session_options {
    opt_compute compute;
    opt_cache_type cache;
    int64_t n_ctx;    /**< positions of a sequence's cache; 0: the model's training context */
    int n_seqs;       /**< sequences with a cache each; 0: 1 */
    int64_t n_batch;  /**< tokens that run through the graph at once; 0: 512 */
    int64_t n_logits; /**< rows of logits that the callback gets at once; 0: what fits in 16 MiB */
    /** Not NULL: the session can be run in reverse (exec/reverse.h). It holds all activations of
     * n_batch tokens and their gradients, and computes exactly but for OPT_COMPUTE_I16, where
     * forward products are of 16-bit integers and those of gradients in f32. */
    const opt_reverse_options *reverse;
} opt_session_options;

/** Plans the memory, allocates it, binds kernels. Errors: MEMORY (with the bytes needed),
 * UNSUPPORTED. */
OPT_MUST_USE opt_status opt_session_new(opt_ctx *ctx, const opt_model *model,
                                        const opt_session_options *options, opt_session **out);
void opt_session_free(opt_session *s);

/** Receives logits [n_rows, n_vocab] of the rows row0 .. of the tokens given to opt_session_eval;
 * valid during the call. */
typedef opt_status (*opt_logits_fn)(void *user, int64_t row0, int64_t n_rows, const float *logits);

/**
 * Runs n tokens behind those already in the cache. Logits are computed for rows >= first_logits (n:
 * none; n - 1: the last) and handed to fn (which may be NULL when no logits are asked for) in
 * pieces of bounded size. Token ids outside the vocabulary and a full cache are USAGE errors.
 */
OPT_MUST_USE opt_status opt_session_eval(opt_session *s, const int32_t *tokens, int64_t n,
                                         int64_t first_logits, opt_logits_fn fn, void *user);

/** Tokens of a sequence that come next; no two pieces of a call are of the same one. */
typedef struct opt_seq_piece {
    int seq;
    const int32_t *tokens; /* [n], n > 0 */
    int64_t n;
    bool logits; /* whether those behind the last token are wanted */
} opt_seq_piece;

/** Receives the logits [n_vocab] behind the last token of a piece; valid during the call. */
typedef opt_status (*opt_seq_logits_fn)(void *user, int piece, const float *logits);

/**
 * Runs tokens of several sequences at once: every weight is read once for all of them. A sequence
 * gets the same bits as alone. At most opt_session_n_batch tokens together. Errors as of
 * opt_session_eval; after one nothing was added to any sequence.
 */
OPT_MUST_USE opt_status opt_session_eval_seqs(opt_session *s, const opt_seq_piece *pieces,
                                              int n_pieces, opt_seq_logits_fn fn, void *user);
int opt_session_n_seqs(const opt_session *s);
int64_t opt_session_n_batch(const opt_session *s);
/** Positions in the cache of a sequence; cut it back to n_past, or to 0 where a layer with a window
 * does not hold what is needed there any more (OPT_CACHE_SLACK positions back are always there). */
int64_t opt_session_seq_past(const opt_session *s, int seq);
void opt_session_seq_truncate(opt_session *s, int seq, int64_t n_past);

/**
 * Keys and values of a sequence as bytes, for keeping and bringing back. What one session has
 * written another one reads if opt_session_kv_layout says the same for both.
 */

/** Appends a text that says how keys and values are stored, and everything else but the model's
 * weights that their bits depend on. */
OPT_MUST_USE opt_status opt_session_kv_layout(const opt_session *s, opt_str *out);
/** Bytes of n positions in all layers; false on overflow. */
bool opt_session_kv_bytes(const opt_session *s, int64_t n, size_t *out);
/** Whether some layer holds less than the whole context. */
bool opt_session_kv_windowed(const opt_session *s);
/** First position that all layers still hold: 0 without windows. */
int64_t opt_session_kv_first(const opt_session *s, int seq);
/** Copies positions pos0 .. pos0 + n - 1, which must be in the cache. */
void opt_session_kv_read(const opt_session *s, int seq, int64_t pos0, int64_t n, void *out);
/**
 * Begins to bring back a sequence of n_past <= n_ctx positions in place of what it held: all of
 * them have to be written before the next run. Those that no layer needs any more are passed over.
 */
void opt_session_kv_begin(opt_session *s, int seq, int64_t n_past);
/** Writes the first n of n_data positions that opt_session_kv_read gave, to pos0 .. . Threads may
 * write different positions. */
void opt_session_kv_write(const opt_session *s, int seq, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data);

/** Past and truncation of sequence 0, which opt_session_eval runs. */
int64_t opt_session_n_past(const opt_session *s);
void opt_session_truncate(opt_session *s, int64_t n_past);
int64_t opt_session_n_ctx(const opt_session *s);
/** Columns of the logits. */
int64_t opt_session_n_vocab(const opt_session *s);

/**
 * Capture hook: fn sees the node before it runs: its first input x [n_tokens, width_in] at
 * positions pos0 .. (NULL and 0 where that input are the token ids). The node of the logits is
 * shown all rows, whether or not logits are asked for. One hook for each session; `node` NULL means
 * every node, fn NULL removes the hook. fn runs on the calling thread; a status other than OPT_OK
 * ends opt_session_eval with it. An unknown node is a USAGE error.
 */
typedef opt_status (*opt_capture_fn)(void *user, const opt_node *node, const float *x,
                                     int64_t n_tokens, int64_t width_in, int64_t pos0);
OPT_MUST_USE opt_status opt_session_capture(opt_session *s, const char *node, opt_capture_fn fn,
                                            void *user);

/**
 * Profiling: fn sees every part of a pass that has been run: n nodes [n] that ran together (q, k
 * and v, for example) for n_tokens tokens, the last one at position pos_end - 1 of its sequence, in
 * `seconds`. NULL: no more.
 */
typedef void (*opt_observe_fn)(void *user, const opt_node *const *nodes, int n, int64_t n_tokens,
                               int64_t pos_end, double seconds);
void opt_session_observe(opt_session *s, opt_observe_fn fn, void *user);

/** How many linear weights run with int8 activations, and how many in f32 for want of a kernel
 * (fast mode only). */
void opt_session_compute_counts(const opt_session *s, int64_t *n_int8, int64_t *n_f32);
/** Bytes of cache and activations. */
uint64_t opt_session_bytes(const opt_session *s);
/** How keys and values are kept (not OPT_CACHE_AUTO), and the bytes of all of them. */
opt_cache_type opt_session_cache_type(const opt_session *s);
uint64_t opt_session_cache_bytes(const opt_session *s);

#endif
