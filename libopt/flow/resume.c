/*
 * A stage file: magic, stage, number of tensors, then a record for each tensor, the bytes of all
 * tensors in the source's order of rows, those of all that is kept besides, and the checksum of all
 * that. Numbers are little-endian.
 * What it must look like is known from the plan, to the byte.
 */
#include "flow/resume.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/num.h"

#define MAGIC "LATHEST3"

enum {
    HEAD_BYTES = 24,    /* magic, stage, n */
    RECORD_BYTES = 104, /* index, bytes, 9 reals, 2 counts */
    SAMPLE_BYTES = 4096 /* of every tensor of the source */
};

static void mix(opt_xxh3_state *h, const void *data, size_t bytes) {
    const uint64_t n = bytes;
    opt_xxh3_update(h, &n, sizeof n);
    opt_xxh3_update(h, data, bytes);
}

static void mix_text(opt_xxh3_state *h, const char *text) { mix(h, text, strlen(text)); }

static opt_status hash_source(opt_ctx *ctx, const opt_source *source, opt_xxh3_state *h) {
    opt_status st = OPT_OK;
    for (int64_t i = 0; i < opt_source_n_tensors(source); i++) {
        const opt_tensor *t = opt_source_tensor(source, i);
        const int64_t shape[] = {opt_tensor_n_rows(t), opt_tensor_n_cols(t)};
        mix_text(h, t->name);
        mix_text(h, t->format->name);
        mix(h, shape, sizeof shape);
        mix(h, t->data, t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES);
    }
    for (size_t i = 0; i < opt_source_n_files(source); i++) {
        opt_file_stamp stamp;
        OPT_TRY(opt_file_stamp_of(ctx, opt_source_file(source, i), &stamp));
        opt_xxh3_update(h, &stamp.bytes, sizeof stamp.bytes);
        opt_xxh3_update(h, &stamp.modified_ns, sizeof stamp.modified_ns);
    }
done:
    return st;
}

static void hash_entry(const opt_kv_entry *e, opt_xxh3_state *h) {
    const uint32_t types[] = {(uint32_t)e->type, (uint32_t)e->elem};
    mix_text(h, e->key);
    mix(h, types, sizeof types);
    if (e->elem != OPT_KV_STRING) {
        mix(h, e->data, e->n * opt_kv_type_bytes(e->elem));
        return;
    }
    const opt_kv_str *const strings = e->data;
    for (size_t i = 0; i < e->n; i++) {
        mix(h, strings[i].data, strings[i].len);
    }
}

static void hash_plan(const opt_plan *plan, opt_xxh3_state *h) {
    for (size_t i = 0; i < opt_kv_count(plan->kv); i++) {
        hash_entry(opt_kv_at(plan->kv, i), h);
    }
    for (int64_t i = 0; i < plan->n; i++) {
        const opt_plan_tensor *t = &plan->tensors[i];
        const int64_t shape[] = {t->n_rows, t->n_cols, t->stage};
        mix_text(h, t->weight->name);
        mix_text(h, t->format->name);
        mix_text(h, t->method != NULL ? t->method->name : "");
        mix(h, shape, sizeof shape);
        if (t->importance != NULL) {
            mix(h, t->importance, (size_t)t->n_cols * sizeof *t->importance);
        }
    }
}

opt_status opt_resume_open(const opt_plan *plan, const opt_corpus *corpus, const char *options,
                           const char *output, bool fresh, opt_workdir **out) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = plan->ctx;
    opt_str journal = {0};
    opt_xxh3_state *h = NULL;
    OPT_TRY(opt_xxh3_new(ctx, &h));
    OPT_TRY(hash_source(ctx, plan->model->source, h));
    const uint64_t source = opt_xxh3_digest(h);
    opt_xxh3_reset(h);
    hash_plan(plan, h);
    const uint64_t rules = opt_xxh3_digest(h);
    const uint64_t text = opt_xxh3(corpus->tokens, (size_t)(corpus->n_windows * corpus->n_ctx) *
                                                       sizeof *corpus->tokens);
    OPT_TRY(opt_str_printf(ctx, &journal,
                           "version: %s\ninstruction set: %s\nsource: %016" PRIx64
                           "\ncalibration text: %016" PRIx64 " %" PRId64 " x %" PRId64
                           "\nplan: %016" PRIx64 "\noptions: %s\n",
                           opt_version(), opt_ctx_isa(ctx), source, text, corpus->n_windows,
                           corpus->n_ctx, rules, options));
    OPT_TRY(opt_workdir_open(ctx, output, journal.data, fresh, out));
done:
    opt_xxh3_free(h);
    opt_str_free(ctx, &journal);
    return st;
}

static const opt_tensor *tensor_of(const opt_stage_state *s, int64_t i) {
    const opt_plan_tensor *t = &s->plan->tensors[i];
    return t->stage == s->stage ? s->tensors[t->weight - s->plan->model->weights] : NULL;
}

/* Bytes up to the data, and of everything. */
static size_t sizes(const opt_stage_state *s, size_t *head, uint64_t *n) {
    size_t data = 0;
    *n = 0;
    for (int64_t i = 0; i < s->plan->n; i++) {
        const opt_tensor *t = tensor_of(s, i);
        if (t != NULL) {
            data += t->bytes; /* they lie in memory */
            (*n)++;
        }
    }
    for (size_t i = 0; i < s->n_more; i++) {
        data += s->more[i].bytes;
    }
    *head = HEAD_BYTES + (size_t)*n * RECORD_BYTES;
    return *head + data + sizeof(uint64_t);
}

static void put_real(uint8_t **at, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    opt_wr_u64le(*at, bits);
    *at += sizeof bits;
}

static double get_real(const uint8_t **at) {
    const uint64_t bits = opt_rd_u64le(*at);
    double v;
    memcpy(&v, &bits, sizeof v);
    *at += sizeof bits;
    return v;
}

static void put_record(uint8_t **at, const opt_stage_state *s, int64_t i, size_t bytes) {
    const opt_plan_tensor *t = &s->plan->tensors[i];
    const opt_plan_sums *sums = &s->sums[i];
    opt_wr_u64le(*at, (uint64_t)i);
    opt_wr_u64le(*at + 8, bytes);
    *at += 16;
    put_real(at, sums->err);
    put_real(at, sums->ref);
    put_real(at, sums->out_err);
    put_real(at, sums->out_nearest);
    put_real(at, sums->out_ref);
    put_real(at, t->damping);
    put_real(at, t->condition);
    put_real(at, t->block_error_before);
    put_real(at, t->block_error);
    opt_wr_u64le(*at, (uint64_t)t->n_dead);
    opt_wr_u64le(*at + 8, (uint64_t)t->n_calib_tokens);
    *at += 16;
}

static void get_record(const uint8_t *at, const opt_stage_state *s, int64_t i) {
    opt_plan_tensor *t = &s->plan->tensors[i];
    opt_plan_sums *sums = &s->sums[i];
    at += 16;
    sums->err = get_real(&at);
    sums->ref = get_real(&at);
    sums->out_err = get_real(&at);
    sums->out_nearest = get_real(&at);
    sums->out_ref = get_real(&at);
    t->damping = get_real(&at);
    t->condition = get_real(&at);
    t->block_error_before = get_real(&at);
    t->block_error = get_real(&at);
    t->n_dead = (int64_t)opt_rd_u64le(at);
    t->n_calib_tokens = (int64_t)opt_rd_u64le(at + 8);
}

static void stage_name(int stage, char out[32]) { (void)snprintf(out, 32, "stage%+04d", stage); }

opt_status opt_resume_save(opt_workdir *w, const opt_stage_state *s) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = s->plan->ctx;
    opt_xxh3_state *h = NULL;
    opt_piece *pieces = NULL;
    uint8_t *head = NULL;
    size_t head_bytes, n_pieces = 1;
    uint64_t n;
    uint8_t sum[sizeof(uint64_t)];
    char name[32];
    (void)sizes(s, &head_bytes, &n);
    if (n == 0) {
        return OPT_OK;
    }
    OPT_TRY_PTR(pieces = opt_alloc_array(ctx, (size_t)n + s->n_more + 2, sizeof *pieces));
    OPT_TRY_PTR(head = opt_alloc(ctx, head_bytes));
    OPT_TRY(opt_xxh3_new(ctx, &h));
    memcpy(head, MAGIC, 8);
    opt_wr_u64le(head + 8, (uint64_t)(int64_t)s->stage);
    opt_wr_u64le(head + 16, n);
    uint8_t *at = head + HEAD_BYTES;
    for (int64_t i = 0; i < s->plan->n; i++) {
        const opt_tensor *t = tensor_of(s, i);
        if (t != NULL) {
            put_record(&at, s, i, t->bytes);
            pieces[n_pieces++] = (opt_piece){t->data, t->bytes};
        }
    }
    for (size_t i = 0; i < s->n_more; i++) {
        pieces[n_pieces++] = s->more[i];
    }
    pieces[0] = (opt_piece){head, head_bytes};
    for (size_t i = 0; i < n_pieces; i++) {
        opt_xxh3_update(h, pieces[i].data, pieces[i].bytes);
    }
    opt_wr_u64le(sum, opt_xxh3_digest(h));
    pieces[n_pieces++] = (opt_piece){sum, sizeof sum};
    stage_name(s->stage, name);
    OPT_TRY(opt_workdir_put(w, name, pieces, n_pieces));
done:
    opt_xxh3_free(h);
    opt_free(ctx, head);
    opt_free(ctx, pieces);
    return st;
}

opt_status opt_resume_parse(const opt_stage_state *s, const char *name, const uint8_t *data,
                            size_t bytes) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = s->plan->ctx;
    size_t head_bytes;
    uint64_t n;
    const size_t expected = sizes(s, &head_bytes, &n);
    OPT_REQUIRE(bytes == expected, ctx, OPT_ERR_INPUT, name,
                "is damaged: it has %zu bytes, expected %zu; --fresh begins anew", bytes, expected);
    const uint64_t sum = opt_xxh3(data, bytes - sizeof sum);
    OPT_REQUIRE(
        memcmp(data, MAGIC, 8) == 0 && opt_rd_u64le(data + 8) == (uint64_t)(int64_t)s->stage &&
            opt_rd_u64le(data + 16) == n && opt_rd_u64le(data + bytes - sizeof sum) == sum,
        ctx, OPT_ERR_INPUT, name, "is damaged: its checksum does not fit; --fresh begins anew");
    const uint8_t *record = data + HEAD_BYTES, *at = data + head_bytes;
    for (int64_t i = 0; i < s->plan->n; i++) {
        const opt_tensor *t = tensor_of(s, i);
        if (t == NULL) {
            continue;
        }
        OPT_REQUIRE(opt_rd_u64le(record) == (uint64_t)i && opt_rd_u64le(record + 8) == t->bytes,
                    ctx, OPT_ERR_INPUT, name, "is of another plan; --fresh begins anew");
        get_record(record, s, i);
        memcpy((void *)(uintptr_t)t->data, at, t->bytes); /* the caller's own memory */
        record += RECORD_BYTES;
        at += t->bytes;
    }
    for (size_t i = 0; i < s->n_more; i++) {
        memcpy((void *)(uintptr_t)s->more[i].data, at, s->more[i].bytes); /* the caller's, too */
        at += s->more[i].bytes;
    }
done:
    return st;
}

opt_status opt_resume_load(const opt_workdir *w, const opt_stage_state *s, bool *found) {
    opt_status st = OPT_OK;
    opt_buf *buf = NULL;
    opt_str path = {0};
    size_t head_bytes;
    uint64_t n;
    char name[32];
    *found = false;
    (void)sizes(s, &head_bytes, &n);
    if (n == 0) {
        return OPT_OK;
    }
    stage_name(s->stage, name);
    OPT_TRY(opt_workdir_get(w, name, &buf));
    if (buf != NULL) {
        OPT_TRY(opt_str_printf(s->plan->ctx, &path, "%s/%s", opt_workdir_path(w), name));
        OPT_TRY(opt_resume_parse(s, path.data, buf->data, buf->bytes));
        *found = true;
    }
done:
    opt_str_free(s->plan->ctx, &path);
    opt_buf_release(buf);
    return st;
}
