#include "flow/runner.h"

#include <string.h>

#include "base/hash.h"
#include "base/pool.h"
#include "io/gguf.h"

opt_status opt_runner_open(opt_ctx *ctx, const char *path, const opt_runner_options *options,
                           opt_runner **out) {
    opt_status st = OPT_OK;
    opt_runner *r = opt_alloc_zero(ctx, sizeof *r);
    OPT_TRY_PTR(r);
    r->ctx = ctx;
    r->options = options != NULL ? *options : (opt_runner_options){0};
    OPT_TRY(opt_open(ctx, path, &r->opened));
    *out = r;
    r = NULL;
done:
    opt_runner_close(r);
    return st;
}

void opt_runner_close(opt_runner *r) {
    if (r != NULL) {
        opt_prefix_free(r->prefix);
        opt_session_free(r->session);
        opt_opened_close(&r->opened);
        opt_free(r->ctx, r);
    }
}

opt_session_options opt_runner_session_options(const opt_runner *r, int64_t n_ctx) {
    return (opt_session_options){.compute = r->options.exact ? OPT_COMPUTE_EXACT : OPT_COMPUTE_FAST,
                                 .cache = r->options.cache,
                                 .n_ctx = n_ctx};
}

opt_status opt_runner_session(opt_runner *r, int64_t n_ctx, opt_session **out) {
    opt_status st = OPT_OK;
    if (r->session != NULL && opt_session_n_ctx(r->session) < n_ctx) {
        opt_session_free(r->session);
        r->session = NULL;
    }
    if (r->session == NULL) {
        const opt_session_options o = opt_runner_session_options(r, n_ctx);
        OPT_TRY(opt_session_new(r->ctx, r->opened.model, &o, &r->session));
    }
    opt_session_truncate(r->session, 0);
    *out = r->session;
done:
    return st;
}

opt_status opt_runner_prefix(opt_runner *r, const opt_session *session, opt_prefix **out) {
    opt_status st = OPT_OK;
    const opt_prefix_options *o = &r->options.prefix;
    uint64_t model = 0;
    if (r->prefix == NULL && (o->dir != NULL || o->memory_bytes > 0)) {
        OPT_TRY(opt_runner_fingerprint(r, &model));
        OPT_TRY(opt_prefix_new(r->ctx, o, model, session, &r->prefix));
    }
    *out = r->prefix;
done:
    return st;
}

const opt_prefix_counts *opt_runner_prefix_counts(const opt_runner *r) {
    return r->prefix != NULL ? opt_prefix_get_counts(r->prefix) : NULL;
}

opt_status opt_runner_tokenize(opt_runner *r, const char *text, size_t n, opt_bos bos,
                               bool parse_special, opt_tokens *out) {
    opt_status st = OPT_OK;
    const unsigned flags = (bos == OPT_BOS_AUTO ? (unsigned)OPT_ENCODE_ADD_SPECIAL : 0) |
                           (parse_special ? (unsigned)OPT_ENCODE_PARSE_SPECIAL : 0);
    OPT_REQUIRE(r->opened.tokenizer != NULL, r->ctx, OPT_ERR_USAGE,
                opt_source_path(r->opened.source),
                "the model has no tokenizer, so it cannot read a text");
    OPT_TRY(opt_tokenizer_encode(r->ctx, r->opened.tokenizer, text, n, flags, out));
done:
    return st;
}

/** Guesses are ids: they mean nothing to a model that has other tokens. */
static opt_status check_same_tokenizer(opt_runner *r, const opt_runner *draft) {
    opt_status st = OPT_OK;
    const opt_tokenizer *a = r->opened.tokenizer, *b = draft->opened.tokenizer;
    const char *name = opt_source_path(draft->opened.source);
    OPT_REQUIRE(draft->opened.model->hp.n_vocab == r->opened.model->hp.n_vocab, r->ctx,
                OPT_ERR_USAGE, name,
                "has a vocabulary of %lld tokens, the model that it is to guess for one of %lld",
                (long long)draft->opened.model->hp.n_vocab, (long long)r->opened.model->hp.n_vocab);
    OPT_REQUIRE(a != NULL && b != NULL, r->ctx, OPT_ERR_USAGE, name,
                "guessing needs a tokenizer in both models");
    for (int64_t id = 0; id < r->opened.model->hp.n_vocab; id++) {
        size_t n = 0, m = 0;
        const char *x = opt_tokenizer_piece(a, (int32_t)id, &n);
        const char *y = opt_tokenizer_piece(b, (int32_t)id, &m);
        const bool same =
            (x == NULL && y == NULL) || (x != NULL && y != NULL && n == m && memcmp(x, y, n) == 0);
        OPT_REQUIRE(same, r->ctx, OPT_ERR_USAGE, name,
                    "token %lld is another one than in the model that it is to guess for",
                    (long long)id);
    }
done:
    return st;
}

opt_status opt_runner_speculator(opt_runner *r, const opt_speculation *options,
                                 const opt_sampling *sampling, int64_t n_ctx,
                                 opt_speculator **out) {
    opt_status st = OPT_OK;
    opt_session *session = NULL;
    *out = NULL;
    if (options->draft != NULL) {
        OPT_TRY(check_same_tokenizer(r, options->draft));
        OPT_TRY(opt_runner_session(options->draft, n_ctx, &session));
    }
    if (options->draft != NULL || options->lookup) {
        OPT_TRY(opt_speculator_new(r->ctx, session, r->opened.model->hp.n_vocab, sampling, out));
    }
done:
    return st;
}

typedef struct hash_job {
    const opt_source *source;
    uint64_t *sums; /* of each tensor */
} hash_job;

static opt_status hash_tensor(void *user, int64_t tile, int worker) {
    const hash_job *job = user;
    const opt_tensor *t = opt_source_tensor(job->source, tile);
    (void)worker;
    job->sums[tile] = opt_xxh3(t->data, t->bytes);
    return OPT_OK;
}

/** Shapes and hyper-parameters, as text. */
static opt_status describe(const opt_runner *r, opt_str *out) {
    opt_status st = OPT_OK;
    const opt_hparams *h = &r->opened.model->hp;
    OPT_TRY(opt_str_printf(
        r->ctx, out, "%lld %lld %lld %lld %lld %lld %lld %a %a %d %a %a %a %a %lld",
        (long long)h->n_vocab, (long long)h->n_embd, (long long)h->n_ff, (long long)h->n_layers,
        (long long)h->n_heads, (long long)h->n_heads_kv, (long long)h->head_dim, h->norm_eps,
        h->rope_theta, (int)h->rope_scaling, h->rope_factor, h->rope_low_freq_factor,
        h->rope_high_freq_factor, h->rope_original_ctx, (long long)h->sliding_window));
    for (int64_t i = 0; i < opt_source_n_tensors(r->opened.source); i++) {
        const opt_tensor *t = opt_source_tensor(r->opened.source, i);
        OPT_TRY(opt_str_printf(r->ctx, out, "\n%s %s %zu", t->name, t->format->name, t->bytes));
    }
done:
    return st;
}

/** Checksums of all tensors that the file carries, or NULL. */
static const void *stored_sums(const opt_source *source) {
    const opt_kv *kv = opt_source_kv(source);
    const opt_kv_entry *e = kv != NULL ? opt_kv_find(kv, OPT_GGUF_KEY_CHECKSUM) : NULL;
    return e != NULL && e->elem == OPT_KV_U64 && opt_source_n_files(source) == 1 &&
                   e->n == (size_t)opt_source_n_tensors(source)
               ? e->data
               : NULL;
}

opt_status opt_runner_fingerprint(opt_runner *r, uint64_t *out) {
    opt_status st = OPT_OK;
    opt_str text = {0};
    hash_job job = {.source = r->opened.source};
    const int64_t n = opt_source_n_tensors(job.source);
    if (r->fingerprint == 0) {
        const void *stored = stored_sums(job.source);
        job.sums = opt_alloc_array(r->ctx, (size_t)n, sizeof *job.sums);
        OPT_TRY_PTR(job.sums);
        if (stored != NULL) {
            memcpy(job.sums, stored, (size_t)n * sizeof *job.sums);
        } else {
            OPT_TRY(opt_parallel_for(r->ctx, n, hash_tensor, &job));
        }
        OPT_TRY(describe(r, &text));
        OPT_TRY(opt_str_append(r->ctx, &text, job.sums, (size_t)n * sizeof *job.sums));
        r->fingerprint = opt_xxh3(text.data, text.len);
    }
    *out = r->fingerprint;
done:
    opt_str_free(r->ctx, &text);
    opt_free(r->ctx, job.sums);
    return st;
}
