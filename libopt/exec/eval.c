/* Running tokens through the graph. */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "exec/session_impl.h"

/* Whether all values are finite; looks at the exponents only, which vectorises. */
static bool all_finite(const float *x, int64_t n) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000U) == 0x7f800000U;
    }
    return bad == 0;
}

static opt_status show(opt_session *s, const opt_exec_node *x, const opt_run *run) {
    if (s->capture == NULL || (s->capture_node >= 0 && s->capture_node != x->idx)) {
        return OPT_OK;
    }
    return s->capture(s->capture_user, x->node, x->in[0], run->n_tokens, x->in_width[0], run->pos0);
}

static opt_status check_outputs(opt_session *s, const opt_exec_node *x, const opt_run *run) {
    for (int64_t t = 0; t < run->n_tokens; t++) {
        if (!all_finite(x->out + t * x->node->width, x->node->width)) {
            return opt_fail(s->ctx, OPT_ERR_NUMERIC, x->node->name,
                            "its output at position %" PRId64 " is not finite",
                            opt_run_pos(run, t));
        }
    }
    return OPT_OK;
}

/* Forward of nodes x [n], under the eyes of whoever asked for it. */
static opt_status run_nodes(opt_session *s, opt_exec_node *x, int n, const opt_run *run) {
    if (s->observe == NULL) {
        return x->row->forward(s, x, n, run);
    }
    const opt_node *nodes[OPT_STEP_MAX_NODES];
    for (int i = 0; i < n; i++) {
        nodes[i] = x[i].node;
    }
    const double start = opt_seconds();
    const opt_status st = x->row->forward(s, x, n, run);
    s->observe(s->observe_user, nodes, n, run->n_tokens, opt_run_pos(run, run->n_tokens - 1) + 1,
               opt_seconds() - start);
    return st;
}

/* All steps but the logits. `check` looks at every output: it is slow, and only used to find where
 * things went wrong. */
static opt_status run_steps(opt_session *s, const opt_run *run, bool check, bool capture) {
    opt_status st = OPT_OK;
    s->act.producer = -1;
    for (int i = 0; i < s->n_steps; i++) {
        opt_exec_node *x = &s->nodes[s->steps[i].first];
        const int n = s->steps[i].n;
        for (int j = 0; capture && j < n; j++) {
            OPT_TRY(show(s, &x[j], run));
        }
        if (x->idx == s->model->logits) {
            continue;
        }
        OPT_TRY(run_nodes(s, x, n, run));
        for (int j = 0; check && j < n; j++) {
            OPT_TRY(check_outputs(s, &x[j], run));
        }
    }
    st = opt_check_cancel(s->ctx);
done:
    return st;
}

/* Names the node where non-finite values begin: runs the batch again and looks at everything. */
static opt_status blame_non_finite(opt_session *s, const opt_run *run, int64_t row) {
    const opt_status st = run_steps(s, run, true, false);
    if (st != OPT_OK) {
        return st;
    }
    return opt_fail(s->ctx, OPT_ERR_NUMERIC, s->model->nodes[s->model->logits].name,
                    "the logits at position %" PRId64 " are not finite", opt_run_pos(run, row));
}

enum { CHECK_ELEMS = 1 << 16 }; /* of a tile */

/* Looks for values that are not finite in rows of logits. */
typedef struct finite_job {
    const float *x;
    int64_t n;
    _Atomic bool bad;
} finite_job;

static opt_status check_tile(void *user, int64_t tile, int worker) {
    finite_job *job = user;
    const int64_t at = tile * CHECK_ELEMS;
    (void)worker;
    if (!all_finite(job->x + at, opt_min_i64(CHECK_ELEMS, job->n - at))) {
        job->bad = true;
    }
    return OPT_OK;
}

/* The first of n rows of logits that is not finite goes to *row; n if there is none. */
static opt_status find_non_finite(opt_session *s, int64_t n, int64_t width, int64_t *row) {
    opt_status st = OPT_OK;
    finite_job job = {.x = s->logits, .n = n * width};
    OPT_TRY(opt_exec_for(s, opt_ceil_div(job.n, CHECK_ELEMS), check_tile, &job));
    *row = n;
    for (int64_t t = n; job.bad && t-- > 0;) {
        *row = all_finite(s->logits + t * width, width) ? *row : t;
    }
done:
    return st;
}

/* Logits of rows first .. n_tokens-1 of the run, in pieces. `done_rows` were in earlier batches of
 * the same call. */
static opt_status give_logits(opt_session *s, const opt_run *run, int64_t first, int64_t done_rows,
                              opt_logits_fn fn, void *user) {
    opt_status st = OPT_OK;
    opt_exec_node *x = &s->nodes[s->model->logits];
    const int64_t width = x->node->width;
    int64_t bad = 0;
    for (int64_t row = first; row < run->n_tokens; row += s->logits_rows) {
        const int64_t n = opt_min_i64(s->logits_rows, run->n_tokens - row);
        const opt_run piece = {
            .tokens = run->tokens + row, .n_tokens = n, .pos0 = run->pos0 + row, .row0 = row};
        s->act.producer = -1;
        OPT_TRY(run_nodes(s, x, 1, &piece));
        OPT_TRY(find_non_finite(s, n, width, &bad));
        if (bad < n) {
            return blame_non_finite(s, run, row + bad);
        }
        OPT_TRY(fn(user, done_rows + row, n, s->logits));
    }
done:
    return st;
}

static opt_status check_tokens(const opt_session *s, int seq, const int32_t *tokens, int64_t n) {
    const int64_t n_vocab = s->model->hp.n_vocab;
    if (n > s->n_ctx - s->past[seq]) {
        return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                        "the context of %" PRId64 " positions is full: %" PRId64 " used, %" PRId64
                        " more asked for",
                        s->n_ctx, s->past[seq], n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= n_vocab) {
            return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                            "token %" PRId64 " is %" PRId32 ", outside the vocabulary of %" PRId64,
                            i, tokens[i], n_vocab);
        }
    }
    return OPT_OK;
}

static opt_status check_request(const opt_session *s, const int32_t *tokens, int64_t n,
                                int64_t first_logits, opt_logits_fn fn) {
    if (n < 0 || first_logits < 0 || (first_logits < n && fn == NULL)) {
        return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                        "%" PRId64 " tokens with logits from row %" PRId64 " on", n, first_logits);
    }
    return check_tokens(s, 0, tokens, n);
}

opt_status opt_session_eval(opt_session *s, const int32_t *tokens, int64_t n, int64_t first_logits,
                            opt_logits_fn fn, void *user) {
    opt_status st = OPT_OK;
    const int64_t n_past = s->past[0];
    OPT_TRY(check_request(s, tokens, n, first_logits, fn));
    for (int64_t at = 0; at < n; at += s->n_batch) {
        const opt_run run = {
            .tokens = tokens + at, .n_tokens = opt_min_i64(s->n_batch, n - at), .pos0 = s->past[0]};
        OPT_TRY(run_steps(s, &run, false, true));
        OPT_TRY(give_logits(s, &run, opt_max_i64(0, first_logits - at), at, fn, user));
        s->past[0] += run.n_tokens;
    }
done:
    if (st != OPT_OK) {
        opt_session_truncate(s, n_past);
    }
    return st;
}

/* ---- several sequences ---- */

static opt_status check_pieces(const opt_session *s, const opt_seq_piece *pieces, int n_pieces,
                               opt_seq_logits_fn fn) {
    bool seen[OPT_MAX_SEQS] = {false};
    int64_t total = 0;
    for (int i = 0; i < n_pieces; i++) {
        const opt_seq_piece *p = &pieces[i];
        if (p->seq < 0 || p->seq >= s->n_seqs || seen[p->seq] || p->n < 1 ||
            (p->logits && fn == NULL) || p->n > s->n_batch - total) {
            return opt_fail(s->ctx, OPT_ERR_USAGE, NULL,
                            "piece %d: %" PRId64 " tokens of sequence %d, expected each of %d "
                            "sequences once and %" PRId64 " tokens at most",
                            i, p->n, p->seq, s->n_seqs, s->n_batch);
        }
        seen[p->seq] = true;
        total += p->n;
        const opt_status st = check_tokens(s, p->seq, p->tokens, p->n);
        if (st != OPT_OK) {
            return st;
        }
    }
    return OPT_OK;
}

/* Rows of the last tokens move to the front of what the head reads, so that it runs once for all.
 */
static int gather_rows(opt_session *s, const opt_run *run, const opt_seq_piece *pieces, int *of) {
    const opt_exec_node *x = &s->nodes[s->model->logits];
    const int64_t width = x->in_width[0];
    float *rows = s->nodes[x->node->in[0]].out;
    int n = 0;
    for (int i = 0; i < run->n_parts; i++) {
        if (pieces[i].logits) {
            const int64_t row = run->parts[i].row + run->parts[i].n - 1;
            memmove(rows + n * width, rows + row * width, (size_t)width * sizeof *rows);
            of[n++] = i;
        }
    }
    return n;
}

static opt_status give_seq_logits(opt_session *s, const opt_run *run, const opt_seq_piece *pieces,
                                  opt_seq_logits_fn fn, void *user) {
    opt_status st = OPT_OK;
    opt_exec_node *x = &s->nodes[s->model->logits];
    const int64_t width = x->node->width;
    int of[OPT_MAX_SEQS];
    const int n = gather_rows(s, run, pieces, of);
    for (int64_t row = 0; row < n; row += s->logits_rows) {
        const opt_run piece = {
            .tokens = run->tokens, .n_tokens = opt_min_i64(s->logits_rows, n - row), .row0 = row};
        s->act.producer = -1;
        OPT_TRY(run_nodes(s, x, 1, &piece));
        for (int64_t t = 0; t < piece.n_tokens; t++) {
            const opt_run_part *part = &run->parts[of[row + t]];
            if (!all_finite(s->logits + t * width, width)) {
                return blame_non_finite(s, run, part->row + part->n - 1);
            }
            OPT_TRY(fn(user, of[row + t], s->logits + t * width));
        }
    }
done:
    return st;
}

opt_status opt_session_eval_seqs(opt_session *s, const opt_seq_piece *pieces, int n_pieces,
                                 opt_seq_logits_fn fn, void *user) {
    opt_status st = OPT_OK;
    opt_run_part parts[OPT_MAX_SEQS];
    int32_t *tokens = s->batch_tokens;
    opt_run run = {.parts = parts, .n_parts = n_pieces, .serial = ++s->serial};
    OPT_TRY(check_pieces(s, pieces, n_pieces, fn));
    if (n_pieces == 0) {
        return OPT_OK;
    }
    for (int i = 0; i < n_pieces; i++) {
        const opt_seq_piece *p = &pieces[i];
        parts[i] =
            (opt_run_part){.seq = p->seq, .row = run.n_tokens, .n = p->n, .pos0 = s->past[p->seq]};
        if (tokens != NULL) {
            memcpy(tokens + run.n_tokens, p->tokens, (size_t)p->n * sizeof *tokens);
        }
        run.n_tokens += p->n;
    }
    run.tokens = tokens != NULL ? tokens : pieces[0].tokens;
    OPT_TRY(run_steps(s, &run, false, true));
    OPT_TRY(give_seq_logits(s, &run, pieces, fn, user));
    for (int i = 0; i < n_pieces; i++) {
        s->past[pieces[i].seq] += pieces[i].n;
    }
done:
    return st;
}
