#include "exec/reverse.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "exec/session_impl.h"

/* Whether the gradient of a node's output leads to something that is wanted. */
static bool leads_to_wanted(const opt_session *s, const opt_node *node) {
    bool wanted = node->op == &opt_op_feed && s->input_grad;
    for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && node->op->weight_roles[j] != NULL; j++) {
        wanted = wanted || (node->weights[j] != OPT_NO_WEIGHT && s->trains[node->weights[j]]);
    }
    for (int j = 0; j < node->n_in; j++) {
        wanted = wanted || (node->in[j] != OPT_NODE_TOKENS && s->needs_grad[node->in[j]]);
    }
    return wanted;
}

opt_status opt_reverse_prepare(opt_session *s, const opt_reverse_options *options) {
    opt_status st = OPT_OK;
    const opt_model *m = s->model;
    OPT_TRY_PTR(s->trains = opt_exec_alloc(s, (size_t)m->n_weights + 1, sizeof *s->trains));
    OPT_TRY_PTR(s->needs_grad = opt_exec_alloc(s, (size_t)m->n_nodes, sizeof *s->needs_grad));
    if (options->weights != NULL) {
        memcpy(s->trains, options->weights, (size_t)m->n_weights * sizeof *s->trains);
    }
    s->input_grad = options->input;
    s->exact = true;
    s->act.wide = s->act.wide && !s->act.bf16;
    s->act.bf16 = false;
    for (int i = 0; i < m->n_nodes; i++) {
        const opt_exec_op *row = opt_exec_row_of(m->nodes[i].op);
        s->needs_grad[i] = leads_to_wanted(s, &m->nodes[i]);
        OPT_REQUIRE(!s->needs_grad[i] || row == NULL || row->reverse != NULL, s->ctx,
                    OPT_ERR_UNSUPPORTED, m->nodes[i].name, "op %s has no reverse pass yet",
                    m->nodes[i].op->name);
    }
    OPT_REQUIRE(s->needs_grad[m->logits], s->ctx, OPT_ERR_USAGE, m->name,
                "none of the weights whose gradients are wanted has a part in the outputs");
done:
    return st;
}

static float *gradient_of(const opt_session *s, int node) {
    if (node == s->model->logits) {
        return s->grad_logits;
    }
    return s->grad_off[node] == SIZE_MAX ? NULL
                                         : (float *)(void *)((char *)s->grads + s->grad_off[node]);
}

void opt_reverse_bind(opt_session *s) {
    for (int i = 0; i < s->model->n_nodes; i++) {
        opt_exec_node *x = &s->nodes[i];
        x->grad_out = s->needs_grad[i] ? gradient_of(s, i) : NULL;
        for (int j = 0; j < x->node->n_in; j++) {
            x->grad_in[j] =
                x->node->in[j] == OPT_NODE_TOKENS ? NULL : gradient_of(s, x->node->in[j]);
        }
    }
}

/* Gradients share memory: each is cleared when the last reader of its output comes first to add. */
static void clear_inputs(const opt_session *s, const opt_exec_node *x, int64_t n_tokens,
                         bool *begun) {
    for (int j = 0; j < x->node->n_in; j++) {
        const int from = x->node->in[j];
        if (x->grad_in[j] != NULL && !begun[from]) {
            memset(x->grad_in[j], 0,
                   (size_t)(n_tokens * s->model->nodes[from].width) * sizeof(float));
            begun[from] = true;
        }
    }
}

/* The logits' node, in the pieces of rows that its buffer holds: forward, loss, reverse. */
static opt_status reverse_logits(opt_session *s, const opt_run *run, opt_loss_fn loss, void *user) {
    opt_status st = OPT_OK;
    opt_exec_node *x = &s->nodes[s->model->logits];
    for (int64_t row = 0; row < run->n_tokens; row += s->logits_rows) {
        const opt_run piece = {.tokens = run->tokens + row,
                               .n_tokens = opt_min_i64(s->logits_rows, run->n_tokens - row),
                               .pos0 = row,
                               .row0 = row};
        s->act.producer = -1; /* other rows than those of the piece before */
        OPT_TRY(x->row->forward(s, x, 1, &piece));
        OPT_TRY(loss(user, row, piece.n_tokens, x->out, x->grad_out));
        OPT_TRY(x->row->reverse(s, x, &piece));
    }
done:
    return st;
}

static opt_status forward_steps(opt_session *s, const opt_run *run) {
    opt_status st = OPT_OK;
    s->act.producer = -1;
    for (int i = 0; i < s->n_steps; i++) {
        opt_exec_node *x = &s->nodes[s->steps[i].first];
        if (x->idx != s->model->logits) {
            OPT_TRY(x->row->forward(s, x, s->steps[i].n, run));
        }
    }
done:
    return st;
}

static opt_status walk_back(opt_session *s, const opt_run *run, opt_loss_fn loss, void *user,
                            const opt_gradients *gradients) {
    opt_status st = OPT_OK;
    const opt_model *m = s->model;
    bool *begun = opt_alloc_zero(s->ctx, (size_t)m->n_nodes * sizeof *begun);
    OPT_TRY_PTR(begun);
    for (int i = m->n_nodes - 1; i >= 0; i--) {
        opt_exec_node *x = &s->nodes[i];
        if (!s->needs_grad[i] || (i != m->logits && !begun[i])) {
            continue; /* nothing behind it reads it */
        }
        clear_inputs(s, x, run->n_tokens, begun);
        if (i == m->logits) {
            OPT_TRY(reverse_logits(s, run, loss, user));
        } else if (x->node->op == &opt_op_feed) {
            if (gradients->input != NULL) {
                memcpy(gradients->input, x->grad_out,
                       (size_t)(run->n_tokens * x->node->width) * sizeof(float));
            }
        } else {
            OPT_TRY(x->row->reverse(s, x, run));
        }
    }
    st = opt_check_cancel(s->ctx);
done:
    opt_free(s->ctx, begun);
    return st;
}

static opt_status check_request(const opt_session *s, const int32_t *tokens, int64_t n) {
    if (s->trains == NULL || n < 1 || n > s->n_batch) {
        return opt_fail(s->ctx, OPT_ERR_USAGE, s->model->name,
                        "%" PRId64 " tokens in reverse, expected 1 to %" PRId64
                        " in a session with a reverse pass",
                        n, s->trains != NULL ? s->n_batch : 0);
    }
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= s->model->hp.n_vocab) {
            return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                            "token %" PRId64 " is %" PRId32 ", outside the vocabulary of %" PRId64,
                            i, tokens[i], s->model->hp.n_vocab);
        }
    }
    return OPT_OK;
}

opt_status opt_session_reverse(opt_session *s, const int32_t *tokens, int64_t n, opt_loss_fn loss,
                               void *user, const opt_gradients *gradients) {
    opt_status st = OPT_OK;
    const opt_run run = {.tokens = tokens, .n_tokens = n};
    OPT_TRY(check_request(s, tokens, n));
    s->past[0] = 0;
    for (int i = 0; i < s->model->n_nodes; i++) {
        opt_exec_node *x = &s->nodes[i];
        for (int j = 0; j < OPT_NODE_MAX_WEIGHTS && x->node->op->weight_roles[j] != NULL; j++) {
            const int w = x->node->weights[j];
            const bool wanted = w != OPT_NO_WEIGHT && s->trains[w] && gradients->weights != NULL;
            x->grad_w[j] = wanted ? gradients->weights[w] : NULL;
        }
    }
    OPT_TRY(forward_steps(s, &run));
    OPT_TRY(walk_back(s, &run, loss, user, gradients));
done:
    return st;
}
