/* Keys and values of a sequence as bytes. */
#include <inttypes.h>

#include "base/num.h"
#include "exec/session_impl.h"

opt_status opt_session_kv_layout(const opt_session *s, opt_str *out) {
    opt_status st = OPT_OK;
    OPT_TRY(opt_str_printf(s->ctx, out, "%s %s %#x %d %d %d", opt_version(),
                           opt_isa_name(s->kern->rows_isa), s->kern->features, s->exact,
                           s->act.wide, s->act.bf16));
    for (int i = 0; i < s->model->n_caches; i++) {
        const opt_cache *c = &s->caches[i];
        OPT_TRY(opt_str_printf(s->ctx, out, "\n%s %" PRId64 " %" PRId64 " %" PRId64,
                               opt_cache_type_name(c->type), c->n_heads, c->d, c->d_v));
    }
done:
    return st;
}

bool opt_session_kv_bytes(const opt_session *s, int64_t n, size_t *out) {
    size_t total = 0;
    for (int i = 0; i < s->model->n_caches; i++) {
        size_t bytes = 0;
        if (!opt_cache_rows_bytes(&s->caches[i], n, &bytes) ||
            !opt_add_size(total, bytes, &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

static const opt_cache *caches_of(const opt_session *s, int seq) {
    return &s->caches[seq * s->model->n_caches];
}

void opt_session_kv_read(const opt_session *s, int seq, int64_t pos0, int64_t n, void *out) {
    uint8_t *at = out;
    for (int i = 0; i < s->model->n_caches; i++) {
        const opt_cache *c = &caches_of(s, seq)[i];
        size_t bytes = 0;
        opt_cache_read_rows(c, pos0, n, at);
        at += opt_cache_rows_bytes(c, n, &bytes) ? bytes : 0; /* the caller has asked before */
    }
}

bool opt_session_kv_windowed(const opt_session *s) {
    bool windowed = false;
    for (int i = 0; i < s->model->n_caches; i++) {
        windowed = windowed || s->caches[i].n_rows < s->n_ctx;
    }
    return windowed;
}

int64_t opt_session_kv_first(const opt_session *s, int seq) {
    int64_t first = 0;
    for (int i = 0; i < s->model->n_caches; i++) {
        first = opt_max_i64(first, caches_of(s, seq)[i].base);
    }
    return first;
}

void opt_session_kv_begin(opt_session *s, int seq, int64_t n_past) {
    for (int i = 0; i < s->model->n_caches; i++) {
        opt_cache_begin(&s->caches[seq * s->model->n_caches + i], n_past);
    }
    s->past[seq] = n_past;
}

void opt_session_kv_write(const opt_session *s, int seq, int64_t pos0, int64_t n, const void *data,
                          int64_t n_data) {
    const uint8_t *at = data;
    for (int i = 0; i < s->model->n_caches; i++) {
        const opt_cache *c = &caches_of(s, seq)[i];
        size_t bytes = 0;
        opt_cache_write_rows(c, pos0, n, at, n_data);
        at += opt_cache_rows_bytes(c, n_data, &bytes) ? bytes : 0; /* the same */
    }
}
