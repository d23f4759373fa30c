/*
 * What int8 leaves of activations with outliers. The step of a group is a 127th of its largest
 * magnitude, so one element far above the others takes their precision. A unit (elements that can
 * be multiplied on their own) with an element above OUTLIER times the root mean square of its row
 * gets a second int8 plane, of what the first has left: 16 bits in effect. Outliers are told by
 * their magnitude as by Dettmers et al. 2022 (LLM.int8, section 3.2), who keep whole columns of
 * them in half precision.
 *
 * Which units these are depends on the row alone, and a product adds them in increasing order, so
 * a token gets the same bits in any company.
 */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "exec/session_impl.h"

enum { GROUP = 32, LANES = 16, ROW_PAD = 64, RARE_SHARE = 128 };

#define OUTLIER 7.0f
/* Squared magnitude by mean square, where OUTLIER finds more units than there is room for: of n
 * elements fewer than n / RARE_SHARE can be so large. */
#define RARE_SQUARE ((float)RARE_SHARE)

/* Units that a row of n elements can have at most. */
static int64_t units_of_row(int64_t n) { return n / RARE_SHARE + 1; }

static int64_t entries_of_block(const opt_act_buffer *act, int64_t n_batch) {
    return opt_min_i64(OPT_REST_TOKENS, n_batch) * units_of_row(act->max_padded);
}

static int64_t n_blocks(int64_t n_tokens) { return opt_ceil_div(n_tokens, OPT_REST_TOKENS); }

/* Elements of an entry: kernels read rows that are padded. */
static int64_t padded(int64_t unit) { return opt_max_i64(unit, ROW_PAD); }

/* Bytes of an entry of n elements: codes, scales, sums of scaled codes, sums of four. */
static size_t entry_bytes(int64_t n) {
    return (size_t)n + 2 * sizeof(float) * (size_t)(n / GROUP) + sizeof(int16_t) * (size_t)(n / 4);
}

static size_t round_up(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Bytes of everything that one block of tokens has. */
static size_t block_bytes(const opt_act_buffer *act, int64_t n_batch) {
    const size_t n = (size_t)entries_of_block(act, n_batch);
    const size_t n_firsts = (size_t)(act->max_padded / GROUP) + 1;
    return round_up(n_firsts * sizeof(int32_t)) + round_up(n * sizeof(int32_t)) +
           n * entry_bytes(padded(act->max_unit)) + 4 * 64;
}

opt_status opt_exec_need_rest(opt_session *s, const opt_exec_node *x, int64_t block_elems) {
    opt_act_buffer *act = &s->act;
    if (act->unit == NULL) {
        act->unit = opt_exec_alloc(s, (size_t)s->model->n_nodes, sizeof *act->unit);
        if (act->unit == NULL) {
            return OPT_ERR_MEMORY;
        }
    }
    int64_t *unit = &act->unit[x->node->in[0]];
    *unit = opt_max_i64(opt_max_i64(*unit, GROUP), block_elems);
    act->max_unit = opt_max_i64(act->max_unit, *unit);
    return OPT_OK;
}

bool opt_rest_bytes(const opt_act_buffer *act, int64_t n_batch, size_t *out) {
    size_t blocks = 0, flags = 0;
    *out = 0;
    return act->unit == NULL ||
           (opt_mul_size((size_t)n_blocks(n_batch), round_up(block_bytes(act, n_batch)), &blocks) &&
            opt_mul_size((size_t)n_batch, (size_t)(act->max_padded / GROUP), &flags) &&
            opt_add_size(blocks, round_up(flags), out));
}

void opt_rest_bind(opt_act_buffer *act, int64_t n_batch, void *memory) {
    if (act->unit != NULL) {
        act->rest_block = round_up(block_bytes(act, n_batch));
        act->rest = memory;
        act->marks = act->rest + act->rest_block * (size_t)n_blocks(n_batch);
    }
}

/* Sum of squares in a fixed order. */
static float square_sum(const float *x, int64_t n) {
    float lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += x[i + j] * x[i + j];
        }
    }
    for (int j = 0; i + j < n; j++) {
        lane[j] += x[i + j] * x[i + j];
    }
    for (int j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

/* Marks the units that have a group of a largest magnitude above `limit`; counts them. */
static int64_t mark_above(const float *scale, int64_t n_groups, int64_t per_unit, float limit,
                          uint8_t *marks) {
    int64_t n = 0;
    for (int64_t g = 0; g < n_groups; g++) {
        const float largest = 127.0f * scale[g];
        if (largest * largest > limit && marks[g / per_unit] == 0) { /* never of NaN */
            marks[g / per_unit] = 1;
            n++;
        }
    }
    return n;
}

void opt_rest_mark(const opt_act_buffer *act, int64_t t, const float *x, int64_t n, int64_t unit) {
    const int64_t n_units = opt_ceil_div(n, unit), n_groups = opt_ceil_div(n, GROUP);
    const int64_t n_padded = opt_ceil_div(n, ROW_PAD) * ROW_PAD;
    const float *scale = act->scale + t * n_padded / GROUP;
    uint8_t *marks = act->marks + t * n_units;
    const float mean = square_sum(x, n) / (float)n;
    const float limits[] = {OUTLIER * OUTLIER * mean, RARE_SQUARE * mean, INFINITY};
    for (int i = 0; i < 3; i++) { /* the last finds none: squares that are too small for float */
        memset(marks, 0, (size_t)n_units);
        if (mark_above(scale, n_groups, unit / GROUP, limits[i], marks) <= units_of_row(n)) {
            return;
        }
    }
}

/* Where the parts of a block lie. */
static opt_act_rest lay_out(const opt_act_buffer *act, int64_t n_batch, int64_t block,
                            int64_t unit) {
    const size_t n = (size_t)entries_of_block(act, n_batch);
    uint8_t *at = act->rest + act->rest_block * (size_t)block;
    const size_t n_elems = (size_t)padded(unit);
    opt_act_rest r = {.unit = unit, .n_padded = padded(unit)};
    r.first = (int32_t *)(void *)at;
    at += round_up(((size_t)(act->max_padded / GROUP) + 1) * sizeof(int32_t));
    r.token = (int32_t *)(void *)at;
    at += round_up(n * sizeof(int32_t));
    r.q = (int8_t *)at;
    at += round_up(n * n_elems);
    r.scale = (float *)(void *)at;
    at += round_up(n * (n_elems / GROUP) * sizeof(float));
    r.scaled_sum = (float *)(void *)at;
    at += round_up(n * (n_elems / GROUP) * sizeof(float));
    r.sum4 = (int16_t *)(void *)at;
    return r;
}

opt_act_rest opt_exec_rest(const opt_session *s, const opt_exec_node *x, int64_t t0) {
    const int64_t unit = s->act.unit[x->node->in[0]];
    opt_act_rest r = lay_out(&s->act, s->n_batch, t0 / OPT_REST_TOKENS, unit);
    r.n_units = opt_ceil_div(x->in_width[0], unit);
    return r;
}

/* The second plane of unit u of token t becomes entry e. */
static void fill(const opt_rest_job *job, const opt_act_rest *r, int64_t t, int64_t u, int64_t e) {
    const opt_act_buffer *act = &job->s->act;
    float left[OPT_REST_MAX_UNIT];
    const int64_t begin = u * r->unit, n = opt_min_i64(r->unit, job->width - begin);
    const float *x = job->x + t * job->width + begin;
    const int8_t *q = act->q + t * job->n_padded + begin;
    const float *scale = act->scale + (t * job->n_padded + begin) / GROUP;
    for (int64_t i = 0; i < n; i++) {
        left[i] = x[i] - scale[i / GROUP] * (float)q[i];
    }
    r->token[e] = (int32_t)(t % OPT_REST_TOKENS);
    job->s->kern->quantize_act(left, n, r->n_padded, r->q + e * r->n_padded,
                               r->scale + e * r->n_padded / GROUP, r->sum4 + e * r->n_padded / 4,
                               r->scaled_sum + e * r->n_padded / GROUP);
}

opt_status opt_rest_tile(void *user, int64_t tile, int worker) {
    const opt_rest_job *job = user;
    const opt_act_buffer *act = &job->s->act;
    (void)worker;
    const opt_act_rest r = lay_out(act, job->s->n_batch, tile, job->unit);
    const int64_t n_units = opt_ceil_div(job->width, job->unit);
    const int64_t t0 = tile * OPT_REST_TOKENS;
    const int64_t end = opt_min_i64(job->n_tokens, t0 + OPT_REST_TOKENS);
    int32_t n = 0;
    for (int64_t u = 0; u < n_units; u++) {
        r.first[u] = n;
        for (int64_t t = t0; t < end; t++) {
            if (act->marks[t * n_units + u] != 0) {
                fill(job, &r, t, u, n++);
            }
        }
    }
    r.first[n_units] = n;
    return OPT_OK;
}
