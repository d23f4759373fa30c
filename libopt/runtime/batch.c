#include "runtime/batch.h"

#include "base/num.h"
#include "runtime/prefix_entry.h"

/** A sequence of the session at work. */
typedef struct slot {
    opt_ctx *ctx;
    bool busy;
    size_t request;
    opt_str *text; /* of the request */
    opt_generate_job job;
    opt_generation generation;
    int64_t n_loaded; /* positions that came from the prefix cache */
} slot;

typedef struct scheduler {
    opt_ctx *ctx;
    const opt_batch_job *job;
    opt_sampler *sampler; /* one for all: they pick one after the other */
    slot *slots;          /* [n_slots] */
    int n_slots;
    size_t next; /* request */
    opt_seq_piece pieces[OPT_MAX_SEQS];
    int32_t picked[OPT_MAX_SEQS]; /* behind each piece that asked for it */
    int n_pieces;
} scheduler;

static opt_status keep_text(void *user, const char *text, size_t n) {
    const slot *x = user;
    return opt_str_append(x->ctx, x->text, text, n);
}

/** Gives a free sequence the next request. */
static opt_status begin_request(scheduler *s, int i) {
    opt_status st = OPT_OK;
    slot *x = &s->slots[i];
    x->request = s->next++;
    opt_batch_request *r = s->job->requests[x->request];
    OPT_REQUIRE((int64_t)r->tokens.n < opt_session_n_ctx(s->job->session) && r->tokens.n > 0,
                s->ctx, OPT_ERR_USAGE, NULL, "a prompt of %zu tokens, expected 1 to %lld",
                r->tokens.n, (long long)opt_session_n_ctx(s->job->session) - 1);
    x->ctx = s->ctx;
    x->text = &r->text;
    x->job = (opt_generate_job){.session = s->job->session,
                                .tokenizer = s->job->tokenizer,
                                .tokens = &r->tokens,
                                .n_vocab = s->job->n_vocab,
                                .max_tokens = r->max_tokens,
                                .stopper = {.stops = r->stops, .n = r->n_stops},
                                .ignore_eos = s->job->ignore_eos,
                                .end_token = -1,
                                .on_text = keep_text,
                                .user = x};
    r->n_prompt = (int64_t)r->tokens.n;
    opt_session_seq_truncate(s->job->session, i, 0);
    x->busy = true;
    OPT_TRY(opt_generation_begin(s->ctx, &x->job, &r->outcome, &x->generation));
    x->n_loaded = 0;
    if (s->job->prefix != NULL) {
        OPT_TRY(opt_prefix_load(s->job->prefix, s->job->session, i, r->tokens.ids, r->n_prompt - 1,
                                &x->n_loaded));
    }
    r->outcome.n_read = r->n_prompt - x->n_loaded;
done:
    return st;
}

/** Whether a sequence is reading the beginning of the next request, so that it pays to wait until
 * that stands in the prefix cache. */
static bool is_being_read(const scheduler *s) {
    const opt_tokens *next = &s->job->requests[s->next]->tokens;
    for (int i = 0; s->job->prefix != NULL && i < s->n_slots; i++) {
        const slot *x = &s->slots[i];
        if (!x->busy || x->generation.n_generated > 0) {
            continue;
        }
        const opt_tokens *t = x->job.tokens;
        int64_t n = 0;
        while (n + 1 < (int64_t)next->n && n < (int64_t)t->n && next->ids[n] == t->ids[n]) {
            n++;
        }
        if (n / OPT_PREFIX_BLOCK > x->n_loaded / OPT_PREFIX_BLOCK) {
            return true;
        }
    }
    return false;
}

/** Keeps the whole blocks of a prompt when it was read, and before where layers with a window
 * forget its beginning. */
static opt_status keep_prompt(const scheduler *s, int seq, bool complete) {
    const slot *x = &s->slots[seq];
    const int64_t past = opt_session_seq_past(s->job->session, seq);
    const int64_t n = past / OPT_PREFIX_BLOCK * OPT_PREFIX_BLOCK;
    if (!complete && !opt_session_kv_windowed(s->job->session)) {
        return OPT_OK;
    }
    return s->job->prefix != NULL && x->generation.n_generated == 0 && n > x->n_loaded
               ? opt_prefix_save(s->job->prefix, s->job->session, seq, x->job.tokens->ids, n)
               : OPT_OK;
}

static void release(scheduler *s, slot *x) {
    if (x->busy) {
        opt_generation_free(&x->generation);
        opt_stopper_free(s->ctx, &x->job.stopper);
        x->busy = false;
    }
}

static opt_status end_request(scheduler *s, slot *x) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_generation_finish(&x->generation));
    release(s, x);
    OPT_TRY(s->job->on_done(s->job->user, x->request));
done:
    return st;
}

static void add_piece(scheduler *s, int i, int64_t most) {
    const opt_tokens *t = s->slots[i].job.tokens;
    const int64_t past = opt_session_seq_past(s->job->session, i);
    const int64_t n = opt_min_i64((int64_t)t->n - past, most);
    if (n > 0) {
        s->pieces[s->n_pieces++] = (opt_seq_piece){
            .seq = i, .tokens = t->ids + past, .n = n, .logits = past + n == (int64_t)t->n};
    }
}

/** Tokens that a sequence has still to run: 1 for one that writes. */
static int64_t behind(const scheduler *s, int i) {
    return s->slots[i].busy
               ? (int64_t)s->slots[i].job.tokens->n - opt_session_seq_past(s->job->session, i)
               : 0;
}

/** The tokens of the next pass: those that write, then prompts as far as they fit. */
static int64_t fill_step(scheduler *s) {
    int64_t room = opt_session_n_batch(s->job->session), total = 0;
    s->n_pieces = 0;
    for (int writing = 1; writing >= 0; writing--) {
        for (int i = 0; i < s->n_slots; i++) {
            const int64_t n = behind(s, i);
            if (n > 0 && (n == 1) == (writing == 1)) {
                const int before = s->n_pieces;
                add_piece(s, i, room - total);
                total += s->n_pieces > before ? s->pieces[before].n : 0;
            }
        }
    }
    return total;
}

static opt_status pick(void *user, int piece, const float *logits) {
    scheduler *s = user;
    opt_status st = OPT_OK;
    const slot *x = &s->slots[s->pieces[piece].seq];
    const opt_tokens *t = x->job.tokens;
    OPT_TRY(opt_sampler_set(s->sampler, &s->job->requests[x->request]->sampling));
    OPT_TRY(opt_sampler_pick(s->sampler, logits, t->ids, (int64_t)t->n, &s->picked[piece]));
done:
    return st;
}

/** Takes what the pass gave; sequences that have ended become free. */
static opt_status take_tokens(scheduler *s) {
    opt_status st = OPT_OK;
    for (int p = 0; p < s->n_pieces; p++) {
        const int seq = s->pieces[p].seq;
        slot *x = &s->slots[seq];
        if (!s->pieces[p].logits) {
            OPT_TRY(keep_prompt(s, seq, false));
            continue;
        }
        OPT_TRY(keep_prompt(s, seq, true));
        OPT_TRY(opt_generation_take(&x->generation, s->picked[p]));
        x->generation.out->n_passes += x->generation.n_generated > 1;
        if (!x->generation.ended &&
            opt_session_seq_past(s->job->session, seq) == opt_session_n_ctx(s->job->session)) {
            x->generation.out->stop_reason = "context";
            x->generation.ended = true;
        }
        if (x->generation.ended) {
            OPT_TRY(end_request(s, x));
        }
    }
done:
    return st;
}

static opt_status run_steps(scheduler *s, opt_batch_counts *counts) {
    opt_status st = OPT_OK;
    for (;;) {
        for (int i = 0; i < s->n_slots && s->next < s->job->n; i++) {
            if (!s->slots[i].busy && !is_being_read(s)) {
                OPT_TRY(begin_request(s, i));
            }
        }
        const int64_t n = fill_step(s);
        if (n == 0) {
            break;
        }
        OPT_TRY(opt_session_eval_seqs(s->job->session, s->pieces, s->n_pieces, pick, s));
        counts->n_steps++;
        counts->n_tokens += n;
        counts->largest = opt_max_i64(counts->largest, n);
        OPT_TRY(take_tokens(s));
        opt_progress(s->ctx, "requests", (double)s->next, (double)s->job->n);
    }
done:
    return st;
}

opt_status opt_batch_run(opt_ctx *ctx, const opt_batch_job *job, opt_batch_counts *counts) {
    opt_status st = OPT_OK;
    scheduler s = {.ctx = ctx, .job = job, .n_slots = opt_session_n_seqs(job->session)};
    const opt_sampling greedy = {0};
    *counts = (opt_batch_counts){0};
    s.slots = opt_alloc_zero(ctx, (size_t)s.n_slots * sizeof *s.slots);
    OPT_TRY_PTR(s.slots);
    OPT_TRY(opt_sampler_new(ctx, &greedy, job->n_vocab, &s.sampler));
    OPT_TRY(run_steps(&s, counts));
done:
    for (int i = 0; s.slots != NULL && i < s.n_slots; i++) {
        release(&s, &s.slots[i]);
    }
    opt_sampler_free(s.sampler);
    opt_free(ctx, s.slots);
    return st;
}
