#include "flow/runner.h"

#include <time.h>

double opt_flow_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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
        opt_session_free(r->session);
        opt_opened_close(&r->opened);
        opt_free(r->ctx, r);
    }
}

opt_status opt_runner_session(opt_runner *r, int64_t n_ctx, opt_session **out) {
    opt_status st = OPT_OK;
    if (r->session != NULL && opt_session_n_ctx(r->session) < n_ctx) {
        opt_session_free(r->session);
        r->session = NULL;
    }
    if (r->session == NULL) {
        const opt_session_options o = {
            .compute = r->options.exact ? OPT_COMPUTE_EXACT : OPT_COMPUTE_FAST,
            .n_ctx = n_ctx,
        };
        OPT_TRY(opt_session_new(r->ctx, r->opened.model, &o, &r->session));
    }
    opt_session_truncate(r->session, 0);
    *out = r->session;
done:
    return st;
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
