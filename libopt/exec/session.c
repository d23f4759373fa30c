#include "exec/session.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "exec/session_impl.h"

enum {
    DEFAULT_BATCH = 512,
    MAX_BATCH = 1 << 20,
    LOGITS_BYTES = 16 << 20 /* of one piece that the callback is given, unless told otherwise */
};

/* ---- what ops use ---- */

opt_ctx *opt_exec_ctx(const opt_session *s) { return s->ctx; }

const opt_model *opt_exec_model(const opt_session *s) { return s->model; }

const opt_kern *opt_exec_kern(const opt_session *s) { return s->kern; }

bool opt_exec_is_exact(const opt_session *s) { return s->exact; }

bool opt_exec_is_i16(const opt_session *s) { return s->act.wide && !s->act.bf16; }

bool opt_exec_is_bf16(const opt_session *s) { return s->act.bf16; }

bool opt_exec_reverses(const opt_session *s) { return s->trains != NULL; }

int64_t opt_exec_n_batch(const opt_session *s) { return s->n_batch; }

const opt_exec_node *opt_exec_node_at(const opt_session *s, int idx) { return &s->nodes[idx]; }

opt_cache *opt_exec_cache(const opt_session *s, int seq, int idx) {
    return &s->caches[seq * s->model->n_caches + idx];
}

void *opt_exec_alloc(opt_session *s, size_t n, size_t size) {
    void *p = opt_arena_array(s->arena, n, size);
    if (p != NULL) {
        s->bytes += n * size;
    }
    return p;
}

void *opt_exec_scratch(const opt_session *s, int worker) {
    return s->scratch + (size_t)worker * s->scratch_bytes;
}

void opt_exec_need_scratch(opt_session *s, size_t bytes) {
    const size_t rounded = (bytes + 63) & ~(size_t)63;
    s->scratch_bytes = rounded > s->scratch_bytes ? rounded : s->scratch_bytes;
}

void opt_exec_count_linear(opt_session *s, bool int8) { *(int8 ? &s->n_int8 : &s->n_f32) += 1; }

opt_status opt_exec_vector(opt_session *s, const opt_exec_node *x, int weight, const float **out) {
    const opt_weight *w = opt_node_weight(s->model, x->node, weight);
    if (w == NULL) {
        *out = NULL;
        return OPT_OK;
    }
    if (w->tensor->format == &opt_format_f32 && (uintptr_t)w->tensor->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)w->tensor->data;
        return OPT_OK;
    }
    float *values = opt_exec_alloc(s, (size_t)w->dims[0], sizeof *values);
    if (values == NULL) {
        return OPT_ERR_MEMORY;
    }
    opt_tensor_decode_rows(w->tensor, s->kern, 0, 1, values);
    *out = values;
    return OPT_OK;
}

opt_status opt_exec_for(opt_session *s, int64_t n_tiles, opt_tile_fn fn, void *user) {
    return n_tiles == 1 ? fn(user, 0, 0) : opt_parallel_for(s->ctx, n_tiles, fn, user);
}

/* ---- making a session ---- */

const opt_exec_op *opt_exec_row_of(const opt_op *op) {
    for (size_t i = 0; opt_exec_ops[i] != NULL; i++) {
        if (opt_exec_ops[i]->op == op) {
            return opt_exec_ops[i];
        }
    }
    return NULL;
}

static opt_status bind_nodes(opt_session *s) {
    opt_status st = OPT_OK;
    const opt_model *m = s->model;
    OPT_TRY_PTR(s->nodes = opt_exec_alloc(s, (size_t)m->n_nodes, sizeof *s->nodes));
    for (int i = 0; i < m->n_nodes; i++) {
        opt_exec_node *x = &s->nodes[i];
        x->node = &m->nodes[i];
        x->idx = i;
        x->row = opt_exec_row_of(x->node->op);
        OPT_REQUIRE(x->row != NULL, s->ctx, OPT_ERR_UNSUPPORTED, x->node->name,
                    "op %s cannot be executed", x->node->op->name);
        for (int j = 0; j < x->node->n_in; j++) {
            x->in_width[j] = opt_node_in_width(m, x->node, j);
        }
    }
    for (int i = 0; i < m->n_nodes; i++) {
        if (s->nodes[i].row->prepare != NULL) {
            OPT_TRY(s->nodes[i].row->prepare(s, &s->nodes[i]));
        }
    }
done:
    return st;
}

/* The caches' shapes, from the attention nodes that own them. */
static opt_status shape_caches(opt_session *s) {
    const opt_model *m = s->model;
    s->caches = opt_exec_alloc(s, (size_t)m->n_caches, (size_t)s->n_seqs * sizeof *s->caches);
    if (s->caches == NULL) {
        return OPT_ERR_MEMORY;
    }
    if (s->cache_type == OPT_CACHE_AUTO) { /* a session with a reverse pass is exact, too */
        s->cache_type = s->exact ? OPT_CACHE_F32 : OPT_CACHE_F16;
    }
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_node *node = &m->nodes[i];
        if (node->op != &opt_op_attention) {
            continue;
        }
        const int c = node->p.attention.cache;
        if (c < 0 || c >= m->n_caches || s->caches[c].n_heads != 0) {
            return opt_fail(s->ctx, OPT_ERR_BUG, node->name, "cache %d is not this node's own", c);
        }
        s->caches[c] = (opt_cache){
            .type = s->cache_type,
            .n_heads = node->p.attention.n_heads_kv,
            .n_rows = opt_cache_rows_needed(node->p.attention.window, s->n_ctx, s->n_batch),
            .window = node->p.attention.window,
            .d = node->p.attention.head_dim,
            .d_v = node->p.attention.head_dim_v};
    }
    for (int seq = 1; seq < s->n_seqs; seq++) {
        memcpy(&s->caches[seq * m->n_caches], s->caches, (size_t)m->n_caches * sizeof *s->caches);
    }
    return OPT_OK;
}

/* Offsets of everything in the one block. */
typedef struct block_layout {
    size_t cache, activations, act, scratch, logits, grads, grad_logits, total;
    size_t cache_bytes, activation_bytes, grad_bytes;
} block_layout;

static bool append(size_t *total, size_t bytes, size_t *off) {
    *off = *total;
    return opt_add_size(*total, bytes, total) && opt_align_size(*total, 64, total);
}

static bool lay_out(const opt_session *s, int n_workers, block_layout *l) {
    size_t bytes = 0, caches = 0;
    for (int c = 0; c < s->n_seqs * s->model->n_caches; c++) {
        if (!opt_cache_bytes(&s->caches[c], &bytes) || !opt_add_size(caches, bytes, &caches)) {
            return false;
        }
    }
    l->cache_bytes = caches;
    const int64_t logits_dims[] = {s->logits_rows, s->model->nodes[s->model->logits].width,
                                   (int64_t)sizeof(float)};
    int64_t logits = 0;
    size_t act = 0, scratch = 0;
    return opt_mul_dims(logits_dims, 3, &logits) && opt_act_bytes(&s->act, s->n_batch, &act) &&
           opt_mul_size((size_t)n_workers, s->scratch_bytes, &scratch) &&
           append(&l->total, caches, &l->cache) &&
           append(&l->total, l->activation_bytes, &l->activations) &&
           append(&l->total, act, &l->act) && append(&l->total, scratch, &l->scratch) &&
           append(&l->total, (size_t)logits, &l->logits) &&
           append(&l->total, l->grad_bytes, &l->grads) &&
           append(&l->total, s->trains != NULL ? (size_t)logits : 0, &l->grad_logits);
}

static void bind_block(opt_session *s, const block_layout *l, const size_t *off) {
    char *base = s->block;
    size_t at = l->cache;
    for (int c = 0; c < s->n_seqs * s->model->n_caches; c++) {
        size_t bytes = 0;
        opt_cache_bind(&s->caches[c], base + at);
        at += opt_cache_bytes(&s->caches[c], &bytes) ? bytes : 0; /* it was asked before */
    }
    opt_act_bind(&s->act, s->n_batch, base + l->act);
    s->scratch = (uint8_t *)base + l->scratch;
    s->logits = (float *)(void *)(base + l->logits);
    s->grads = (float *)(void *)(base + l->grads);
    s->grad_logits = (float *)(void *)(base + l->grad_logits);
    char *activations = base + l->activations;
    for (int i = 0; i < s->model->n_nodes; i++) {
        s->nodes[i].out =
            i == s->model->logits ? s->logits : (float *)(void *)(activations + off[i]);
    }
    for (int i = 0; i < s->model->n_nodes; i++) {
        for (int j = 0; j < s->nodes[i].node->n_in; j++) {
            const int from = s->nodes[i].node->in[j];
            s->nodes[i].in[j] = from == OPT_NODE_TOKENS ? NULL : s->nodes[from].out;
        }
    }
}

static opt_status allocate(opt_session *s) {
    opt_status st = OPT_OK;
    const opt_model *m = s->model;
    block_layout l = {0};
    const uint64_t limit = opt_ctx_max_memory(s->ctx);
    size_t *off = opt_alloc_array(s->ctx, (size_t)m->n_nodes, sizeof *off);
    OPT_TRY_PTR(off);
    OPT_TRY_PTR(s->steps = opt_exec_alloc(s, (size_t)m->n_nodes, sizeof *s->steps));
    opt_plan_steps(s->nodes, m->n_nodes, s->steps, &s->n_steps);
    OPT_TRY(opt_plan_buffers(s->ctx, m, s->nodes, s->steps, s->n_steps, s->n_batch,
                             s->trains != NULL, off, &l.activation_bytes));
    if (s->trains != NULL) {
        OPT_TRY_PTR(s->grad_off = opt_exec_alloc(s, (size_t)m->n_nodes, sizeof *s->grad_off));
        OPT_TRY(opt_plan_gradients(s->ctx, m, s->nodes, s->needs_grad, s->n_batch, s->grad_off,
                                   &l.grad_bytes));
    }
    OPT_TRY(shape_caches(s));
    OPT_REQUIRE(lay_out(s, opt_ctx_n_threads(s->ctx), &l), s->ctx, OPT_ERR_MEMORY, m->name,
                "a context of %" PRId64 " positions does not fit in the address space", s->n_ctx);
    OPT_REQUIRE(
        limit == 0 || l.total <= limit, s->ctx, OPT_ERR_MEMORY, m->name,
        "%zu bytes needed to run it (%zu for the cache of %" PRId64
        " positions, %zu for the activations of %" PRId64 " tokens), but %" PRIu64 " are allowed",
        l.total, l.cache_bytes, s->n_ctx, l.activation_bytes + l.grad_bytes, s->n_batch, limit);
    OPT_TRY_PTR(s->block = opt_alloc(s->ctx, l.total));
    s->bytes += l.total;
    s->cache_bytes = l.cache_bytes;
    bind_block(s, &l, off);
    if (s->trains != NULL) {
        opt_reverse_bind(s);
    }
done:
    opt_free(s->ctx, off);
    return st;
}

static opt_status set_options(opt_session *s, const opt_session_options *options) {
    s->exact = options != NULL && options->compute != OPT_COMPUTE_FAST;
    s->act.bf16 = options != NULL && options->compute == OPT_COMPUTE_BF16;
    s->act.wide = s->act.bf16 || (options != NULL && options->compute == OPT_COMPUTE_I16);
    s->cache_type = options != NULL ? options->cache : OPT_CACHE_AUTO;
    s->n_ctx = options != NULL && options->n_ctx != 0 ? options->n_ctx : s->model->hp.n_ctx_train;
    s->n_batch = options != NULL && options->n_batch != 0 ? options->n_batch : DEFAULT_BATCH;
    if (s->n_ctx < 1 || s->n_batch < 1) {
        return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                        "context %" PRId64 " and batch %" PRId64 " must be positive", s->n_ctx,
                        s->n_batch);
    }
    s->n_seqs = options != NULL && options->n_seqs != 0 ? options->n_seqs : 1;
    if (s->n_seqs < 1 || s->n_seqs > OPT_MAX_SEQS) {
        return opt_fail(s->ctx, OPT_ERR_USAGE, NULL, "%d sequences, expected 1 to %d", s->n_seqs,
                        OPT_MAX_SEQS);
    }
    int64_t positions = 0;
    if (!opt_mul_i64(s->n_ctx, s->n_seqs, &positions)) {
        positions = INT64_MAX;
    }
    s->n_batch = opt_min_i64(opt_min_i64(s->n_batch, positions), MAX_BATCH);
    if (s->n_seqs > 1) {
        s->batch_tokens = opt_exec_alloc(s, (size_t)s->n_batch, sizeof *s->batch_tokens);
        if (s->batch_tokens == NULL) {
            return OPT_ERR_MEMORY;
        }
    }
    const int64_t row_bytes = s->model->nodes[s->model->logits].width * (int64_t)sizeof(float);
    const bool own_rows = options != NULL && options->n_logits > 0;
    const int64_t rows = own_rows ? options->n_logits : LOGITS_BYTES / row_bytes;
    s->logits_rows = opt_max_i64(1, opt_min_i64(s->n_batch, rows));
    s->capture_node = -1;
    return options != NULL && options->reverse != NULL ? opt_reverse_prepare(s, options->reverse)
                                                       : OPT_OK;
}

opt_status opt_session_new(opt_ctx *ctx, const opt_model *model, const opt_session_options *options,
                           opt_session **out) {
    opt_status st = OPT_OK;
    opt_session *s = opt_alloc_zero(ctx, sizeof *s);
    OPT_TRY_PTR(s);
    s->ctx = ctx;
    s->model = model;
    OPT_TRY_PTR(s->kern = opt_kern_get(ctx));
    OPT_TRY(opt_arena_new(ctx, &s->arena));
    OPT_TRY(set_options(s, options));
    OPT_TRY(bind_nodes(s));
    OPT_TRY(allocate(s));
    *out = s;
    s = NULL;
done:
    opt_session_free(s);
    return st;
}

void opt_session_free(opt_session *s) {
    if (s != NULL) {
        opt_free(s->ctx, s->block);
        opt_arena_free(s->arena);
        opt_free(s->ctx, s);
    }
}

/* ---- questions ---- */

int64_t opt_session_n_past(const opt_session *s) { return s->past[0]; }

int64_t opt_session_seq_past(const opt_session *s, int seq) { return s->past[seq]; }

int opt_session_n_seqs(const opt_session *s) { return s->n_seqs; }

int64_t opt_session_n_batch(const opt_session *s) { return s->n_batch; }

void opt_session_truncate(opt_session *s, int64_t n_past) {
    opt_session_seq_truncate(s, 0, n_past);
}

void opt_session_seq_truncate(opt_session *s, int seq, int64_t n_past) {
    opt_cache *caches = &s->caches[seq * s->model->n_caches];
    if (n_past < 0 || n_past >= s->past[seq]) {
        return;
    }
    for (int i = 0; i < s->model->n_caches; i++) {
        n_past = opt_cache_can_resume(&caches[i], n_past) ? n_past : 0;
    }
    for (int i = 0; i < s->model->n_caches && n_past == 0; i++) {
        opt_cache_begin(&caches[i], 0);
    }
    s->past[seq] = n_past;
}

int64_t opt_session_n_ctx(const opt_session *s) { return s->n_ctx; }

int64_t opt_session_n_vocab(const opt_session *s) { return s->model->hp.n_vocab; }

void opt_session_compute_counts(const opt_session *s, int64_t *n_int8, int64_t *n_f32) {
    *n_int8 = s->n_int8;
    *n_f32 = s->n_f32;
}

uint64_t opt_session_bytes(const opt_session *s) { return s->bytes; }

opt_cache_type opt_session_cache_type(const opt_session *s) { return s->cache_type; }

uint64_t opt_session_cache_bytes(const opt_session *s) { return s->cache_bytes; }

void opt_session_observe(opt_session *s, opt_observe_fn fn, void *user) {
    s->observe = fn;
    s->observe_user = user;
}

opt_status opt_session_capture(opt_session *s, const char *node, opt_capture_fn fn, void *user) {
    int idx = -1;
    if (node != NULL) {
        idx = opt_model_find_node(s->model, node);
        if (idx < 0) {
            return opt_fail(s->ctx, OPT_ERR_USAGE, node, "the model has no such node");
        }
    }
    s->capture = fn;
    s->capture_user = user;
    s->capture_node = idx;
    return OPT_OK;
}
