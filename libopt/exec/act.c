#include "exec/session_impl.h"

#include <string.h>

#include "base/num.h"
#include "kern/act.h"

enum { ACT_TILE = 16, N_ARRAYS = 7 };

/* Bytes of all arrays for one token. */
static size_t token_bytes(const opt_act_buffer *act) {
    const size_t n = (size_t)act->max_padded;
    if (act->wide) {
        return n * sizeof(int16_t) + n / OPT_I16_GROUP * sizeof(float);
    }
    return 2 * n + 2 * (n / OPT_ACT_GROUP) * sizeof(float) +
           (n / 4 + n / 16 + (size_t)opt_act_low_words(act->max_padded)) * sizeof(int16_t);
}

void opt_exec_need_act(opt_session *s, int64_t width) {
    const int64_t padded = opt_ceil_div(width, OPT_ACT_PAD) * OPT_ACT_PAD;
    s->act.max_padded = opt_max_i64(s->act.max_padded, padded);
}

bool opt_act_bytes(const opt_act_buffer *act, int64_t n_batch, size_t *out) {
    size_t bytes = 0;
    return opt_mul_size((size_t)n_batch, token_bytes(act), &bytes) &&
           opt_add_size(bytes, N_ARRAYS * 64, &bytes) && opt_align_size(bytes, 64, out);
}

static void *carve(char **at, size_t bytes) {
    char *p = *at;
    *at += (bytes + 63) & ~(size_t)63;
    return p;
}

void opt_act_bind(opt_act_buffer *act, int64_t n_batch, void *memory) {
    const size_t n = (size_t)n_batch * (size_t)act->max_padded;
    char *at = memory;
    act->producer = -1;
    if (act->wide) {
        act->pairs = carve(&at, n / 2 * sizeof *act->pairs);
        act->scale = carve(&at, n / OPT_I16_GROUP * sizeof *act->scale);
        return;
    }
    act->q = carve(&at, n);
    act->scale = carve(&at, n / OPT_ACT_GROUP * sizeof(float));
    act->sum4 = carve(&at, n / 4 * sizeof(int16_t));
    act->scaled_sum = carve(&at, n / OPT_ACT_GROUP * sizeof(float));
    act->low =
        carve(&at, (size_t)(n_batch * opt_act_low_words(act->max_padded)) * sizeof *act->low);
    act->q_low = carve(&at, n);
    act->sum_low = carve(&at, n / 16 * sizeof *act->sum_low);
}

typedef struct quantize_job {
    const opt_session *s;
    const float *x;
    int64_t width, n_padded, n_tokens;
} quantize_job;

static opt_status quantize_tile(void *user, int64_t tile, int worker) {
    const quantize_job *job = user;
    const opt_act_buffer *act = &job->s->act;
    (void)worker;
    const int64_t end = opt_min_i64(job->n_tokens, (tile + 1) * ACT_TILE);
    for (int64_t t = tile * ACT_TILE; t < end; t++) {
        const int64_t at = t * job->n_padded;
        if (act->bf16) {
            opt_exec_to_bf16(job->s->kern, job->x + t * job->width, job->width, job->n_padded,
                             act->pairs + at / 2);
            continue;
        }
        if (act->wide) {
            job->s->kern->quantize_i16(job->x + t * job->width, job->width, job->n_padded,
                                       act->pairs + at / 2, act->scale + at / OPT_I16_GROUP);
            continue;
        }
        job->s->kern->quantize_act(job->x + t * job->width, job->width, job->n_padded, act->q + at,
                                   act->scale + at / OPT_ACT_GROUP, act->sum4 + at / 4,
                                   act->scaled_sum + at / OPT_ACT_GROUP);
        opt_rest_split(act, t, job->x + t * job->width, job->width, job->n_padded);
    }
    return OPT_OK;
}

/* Makes input 0 of the node unless it is there. */
static opt_status quantize(opt_session *s, const opt_exec_node *x, const opt_run *run,
                           int64_t *n_padded) {
    const int64_t width = x->in_width[0];
    *n_padded = opt_ceil_div(width, OPT_ACT_PAD) * OPT_ACT_PAD;
    if (s->act.producer != x->node->in[0]) {
        quantize_job job = {.s = s,
                            .x = opt_exec_in(x, 0, run),
                            .width = width,
                            .n_padded = *n_padded,
                            .n_tokens = run->n_tokens};
        s->act.producer = -1;
        const opt_status st =
            opt_exec_for(s, opt_ceil_div(run->n_tokens, ACT_TILE), quantize_tile, &job);
        if (st != OPT_OK) {
            return st;
        }
        s->act.producer = x->node->in[0];
    }
    return OPT_OK;
}

void opt_exec_to_bf16(const opt_kern *kern, const float *x, int64_t n, int64_t n_padded,
                      int32_t *pairs) {
    const opt_kspec spec = opt_format_kspec(&opt_format_bf16);
    if (n < n_padded) {
        memset(pairs + n / 2, 0, (size_t)(n_padded / 2 - n / 2) * sizeof *pairs);
    }
    kern->encode[OPT_KFMT_BF16](&spec, x, NULL, pairs, n);
}

opt_status opt_exec_quantized_bf16(opt_session *s, const opt_exec_node *x, const opt_run *run,
                                   opt_bf16 *out) {
    opt_status st = OPT_OK;
    int64_t n_padded = 0;
    OPT_TRY(quantize(s, x, run, &n_padded));
    *out = (opt_bf16){.pairs = s->act.pairs, .row = n_padded / 2, .step = 1};
done:
    return st;
}

opt_status opt_exec_quantized_i16(opt_session *s, const opt_exec_node *x, const opt_run *run,
                                  opt_i16 *out) {
    opt_status st = OPT_OK;
    int64_t n_padded = 0;
    OPT_TRY(quantize(s, x, run, &n_padded));
    *out = (opt_i16){.pairs = s->act.pairs,
                     .row = n_padded / 2,
                     .step = 1,
                     .scale = s->act.scale,
                     .scale_row = n_padded / OPT_I16_GROUP,
                     .scale_step = 1};
done:
    return st;
}

opt_status opt_exec_quantized(opt_session *s, const opt_exec_node *x, const opt_run *run,
                              opt_act_i8 *out) {
    opt_status st = OPT_OK;
    int64_t n_padded = 0;
    OPT_TRY(quantize(s, x, run, &n_padded));
    *out = (opt_act_i8){.q = s->act.q,
                        .scale = s->act.scale,
                        .sum4 = s->act.sum4,
                        .scaled_sum = s->act.scaled_sum,
                        .n_padded = n_padded,
                        .low = s->act.low,
                        .q_low = s->act.q_low,
                        .sum_low = s->act.sum_low};
done:
    return st;
}
