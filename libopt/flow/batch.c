/*
 * infer-run batch: requests, one JSON object a line, to results in the same order. A result row
 * carries the key of its request, so that an interrupted run is continued and a file of another
 * job is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/batch.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/num.h"
#include "flow/runner.h"

enum { DEFAULT_PARALLEL = 8, DEFAULT_MAX_TOKENS = 128, KEY_DIGITS = 16, MAX_ROW_HEAD = 64 };

/** A line of the file of requests. */
typedef struct line {
    const char *text; /* [n] */
    size_t n;
    int64_t number; /* in the file, from 1 */
    char key[KEY_DIGITS + 1];
    opt_json *json;
    const opt_json *id;
    opt_batch_request request;
    opt_status status; /* of a request that cannot be run, with the message */
    char *message;
    int64_t same_as; /* an earlier line that asks for the same; -1: none */
    bool done;
} line;

typedef struct batch {
    opt_ctx *ctx;
    opt_runner *r;
    const opt_batch_options *o;
    opt_batch_result *result;
    line *lines; /* [n] */
    int64_t n;
    int64_t n_written; /* rows that stand in the output */
    int fd;            /* of the output; -1: on_row */
    opt_batch_request **requests;
    int64_t *line_of; /* of a request */
    opt_str row;
} batch;

/* ---- reading requests ---- */

/** Keeps the recorded error as the outcome of a line and forgets it. Errors that are not the
 * line's own end the job. */
static opt_status keep_error(batch *b, line *l, opt_status st) {
    if (st != OPT_ERR_INPUT && st != OPT_ERR_USAGE && st != OPT_ERR_UNSUPPORTED) {
        return st;
    }
    opt_str text = {0};
    const char *object = opt_ctx_error_object(b->ctx);
    const opt_status made = opt_str_printf(
        b->ctx, &text, "%s%s%s", object, object[0] != 0 ? ": " : "", opt_ctx_error_message(b->ctx));
    if (made != OPT_OK) {
        return made;
    }
    l->status = st;
    l->message = text.data;
    opt_ctx_clear_error(b->ctx);
    return OPT_OK;
}

static const char *const known_keys[] = {
    "id",   "prompt",         "max_tokens",       "temperature",      "top_k", "top_p", "min_p",
    "seed", "repeat_penalty", "presence_penalty", "frequency_penalty"};

static opt_status check_keys(batch *b, const char *name, const opt_json *json) {
    opt_status st = OPT_OK;
    void *it = NULL;
    const char *key;
    const opt_json *value;
    OPT_REQUIRE(opt_json_type_of(json) == OPT_JSON_OBJECT, b->ctx, OPT_ERR_INPUT, name,
                "found %s, expected an object with the member prompt",
                opt_json_type_name(opt_json_type_of(json)));
    while (opt_json_next(json, &it, &key, &value)) {
        bool known = false;
        for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
            known = known || strcmp(key, known_keys[i]) == 0;
        }
        OPT_REQUIRE(known, b->ctx, OPT_ERR_INPUT, name, "unknown member '%s'", key);
    }
done:
    return st;
}

static opt_status read_sampling(batch *b, const char *name, line *l) {
    opt_status st = OPT_OK;
    opt_ctx *ctx = b->ctx;
    const opt_json *j = l->json;
    opt_sampling *s = &l->request.sampling;
    int64_t seed = (int64_t)(b->o->sampling.seed & INT64_MAX);
    *s = b->o->sampling;
    l->request.max_tokens = b->o->max_tokens > 0 ? b->o->max_tokens : DEFAULT_MAX_TOKENS;
    OPT_TRY(opt_json_need_i64(ctx, name, j, "max_tokens", false, 1, 1000000000,
                              &l->request.max_tokens));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "temperature", false, 0, 100, &s->temperature));
    OPT_TRY(opt_json_need_i64(ctx, name, j, "top_k", false, 0, INT32_MAX, &s->top_k));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "top_p", false, 0, 1, &s->top_p));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "min_p", false, 0, 1, &s->min_p));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "repeat_penalty", false, 0.01, 100,
                              &s->repetition_penalty));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "presence_penalty", false, -100, 100,
                              &s->presence_penalty));
    OPT_TRY(opt_json_need_f64(ctx, name, j, "frequency_penalty", false, -100, 100,
                              &s->frequency_penalty));
    OPT_TRY(opt_json_need_i64(ctx, name, j, "seed", false, 0, INT64_MAX, &seed));
    s->seed = (uint64_t)seed;
done:
    return st;
}

/** One request; the errors of the line are recorded ones. */
static opt_status read_request(batch *b, line *l) {
    opt_status st = OPT_OK;
    char name[64];
    const char *prompt = NULL;
    const int64_t trained = b->r->opened.model->hp.n_ctx_train;
    const int64_t limit = b->r->options.n_ctx > 0 ? b->r->options.n_ctx : trained;
    snprintf(name, sizeof name, "line %" PRId64, l->number);
    OPT_TRY(opt_json_parse(b->ctx, name, l->text, l->n, &l->json));
    OPT_TRY(check_keys(b, name, l->json));
    l->id = opt_json_get(l->json, "id");
    OPT_REQUIRE(l->id == NULL || opt_json_type_of(l->id) == OPT_JSON_STRING ||
                    opt_json_type_of(l->id) == OPT_JSON_INT,
                b->ctx, OPT_ERR_INPUT, name, "id: found %s, expected a string or an integer",
                opt_json_type_name(opt_json_type_of(l->id)));
    OPT_TRY(opt_json_need_str(b->ctx, name, l->json, "prompt", true, &prompt));
    OPT_TRY(read_sampling(b, name, l));
    OPT_TRY(
        opt_runner_tokenize(b->r, prompt, strlen(prompt), b->o->bos, false, &l->request.tokens));
    const int64_t n = (int64_t)l->request.tokens.n;
    OPT_REQUIRE(n > 0, b->ctx, OPT_ERR_INPUT, name, "the prompt has no tokens");
    OPT_REQUIRE(limit <= 0 || n < limit, b->ctx, OPT_ERR_INPUT, name,
                "the prompt has %" PRId64 " tokens, but the context only %" PRId64 " positions", n,
                limit);
done:
    return st;
}

/** The key of a line: what its result depends on. */
static opt_status make_key(batch *b, const opt_str *job, line *l) {
    opt_status st = OPT_OK;
    opt_str text = {0};
    OPT_TRY(opt_str_append(b->ctx, &text, job->data, job->len));
    OPT_TRY(opt_str_append(b->ctx, &text, l->text, l->n));
    snprintf(l->key, sizeof l->key, "%016" PRIx64, opt_xxh3(text.data, text.len));
done:
    opt_str_free(b->ctx, &text);
    return st;
}

/** What is the same for all lines, as text. */
static opt_status job_text(batch *b, opt_str *out) {
    opt_status st = OPT_OK;
    uint64_t model = 0;
    const opt_sampling *s = &b->o->sampling;
    OPT_TRY(opt_runner_fingerprint(b->r, &model));
    OPT_TRY(opt_str_printf(b->ctx, out,
                           "%016" PRIx64 " %d %d %s %" PRId64 " %" PRId64 " %d %d %a %" PRId64
                           " %a %a %a %" PRId64 " %a %a %" PRIu64,
                           model, b->r->options.exact, (int)b->r->options.cache,
                           opt_ctx_isa(b->ctx), b->r->options.n_ctx, b->o->max_tokens, b->o->bos,
                           b->o->ignore_eos, s->temperature, s->top_k, s->top_p, s->min_p,
                           s->repetition_penalty, s->repetition_window, s->presence_penalty,
                           s->frequency_penalty, s->seed));
    for (size_t i = 0; i < s->n_bias; i++) {
        OPT_TRY(opt_str_printf(b->ctx, out, " %d=%a", s->bias[i].id, (double)s->bias[i].bias));
    }
    for (size_t i = 0; i < b->o->n_stops; i++) {
        OPT_TRY(opt_str_printf(b->ctx, out, " %zu:%s", strlen(b->o->stops[i]), b->o->stops[i]));
    }
done:
    return st;
}

static bool is_blank_line(const char *text, size_t n) { return strspn(text, " \t\r") >= n; }

static opt_status split_lines(batch *b) {
    opt_status st = OPT_OK;
    const char *text = b->o->text, *end = text + b->o->text_bytes;
    int64_t n = 1, number = 0;
    for (const char *p = text; p < end; p++) {
        n += *p == '\n';
    }
    b->lines = opt_alloc_zero(b->ctx, (size_t)n * sizeof *b->lines);
    OPT_TRY_PTR(b->lines);
    while (text < end) {
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        const size_t len = (size_t)((nl != NULL ? nl : end) - text);
        number++;
        if (!is_blank_line(text, len)) {
            b->lines[b->n++] = (line){.text = text, .n = len, .number = number, .same_as = -1};
        }
        text += len + (nl != NULL);
    }
done:
    return st;
}

static bool same_sampling(const opt_sampling *a, const opt_sampling *c) {
    return a->temperature == c->temperature && a->top_k == c->top_k && a->top_p == c->top_p &&
           a->min_p == c->min_p && a->repetition_penalty == c->repetition_penalty &&
           a->presence_penalty == c->presence_penalty &&
           a->frequency_penalty == c->frequency_penalty && a->seed == c->seed;
}

static bool same_request(const opt_batch_request *a, const opt_batch_request *c) {
    return a->tokens.n == c->tokens.n && a->max_tokens == c->max_tokens &&
           memcmp(a->tokens.ids, c->tokens.ids, a->tokens.n * sizeof *a->tokens.ids) == 0 &&
           same_sampling(&a->sampling, &c->sampling);
}

/** Finds requests that an earlier line makes, too: a table by hash of their tokens. */
static opt_status find_same(batch *b) {
    opt_status st = OPT_OK;
    size_t size = 16;
    while (size < 2 * (size_t)b->n) {
        size *= 2;
    }
    int64_t *table = opt_alloc_array(b->ctx, size, sizeof *table);
    OPT_TRY_PTR(table);
    memset(table, -1, size * sizeof *table);
    for (int64_t i = 0; i < b->n; i++) {
        line *l = &b->lines[i];
        if (l->status != OPT_OK) {
            continue;
        }
        size_t at =
            opt_xxh3(l->request.tokens.ids, l->request.tokens.n * sizeof *l->request.tokens.ids) &
            (size - 1);
        while (table[at] >= 0 && !same_request(&b->lines[table[at]].request, &l->request)) {
            at = (at + 1) & (size - 1);
        }
        l->same_as = table[at];
        b->result->n_same += table[at] >= 0;
        table[at] = table[at] >= 0 ? table[at] : i;
    }
done:
    opt_free(b->ctx, table);
    return st;
}

static opt_status read_all(batch *b) {
    opt_status st = OPT_OK;
    opt_str job = {0};
    OPT_TRY(split_lines(b));
    OPT_TRY(job_text(b, &job));
    for (int64_t i = 0; i < b->n; i++) {
        line *l = &b->lines[i];
        OPT_TRY(make_key(b, &job, l));
        const opt_status read = read_request(b, l);
        if (read != OPT_OK) {
            OPT_TRY(keep_error(b, l, read));
        }
        b->result->n_failed += l->status != OPT_OK;
    }
    b->result->n_requests = b->n;
    OPT_TRY(find_same(b));
done:
    opt_str_free(b->ctx, &job);
    return st;
}

/* ---- writing rows ---- */

static void put_ok(opt_jsonw *w, const opt_batch_request *r) {
    opt_jsonw_key(w, "text");
    opt_jsonw_strn(w, r->text.data != NULL ? r->text.data : "", r->text.len);
    opt_jsonw_put_i64(w, "prompt_tokens", r->n_prompt);
    opt_jsonw_put_i64(w, "generated_tokens", (int64_t)r->tokens.n - r->n_prompt);
    opt_jsonw_put_str(w, "stop_reason", r->outcome.stop_reason);
}

static void put_error(opt_jsonw *w, const line *l) {
    opt_jsonw_key(w, "error");
    opt_jsonw_begin_object(w);
    opt_jsonw_put_str(w, "status", opt_status_name(l->status));
    opt_jsonw_put_str(w, "message", l->message);
    opt_jsonw_end_object(w);
}

/** The row of line i with its line end. */
static opt_status make_row(batch *b, int64_t i) {
    const line *l = &b->lines[i];
    const line *source = l->same_as >= 0 ? &b->lines[l->same_as] : l;
    opt_jsonw w;
    int64_t id = 0;
    b->row.len = 0;
    opt_jsonw_init(&w, b->ctx, &b->row, 0);
    opt_jsonw_begin_object(&w);
    opt_jsonw_put_i64(&w, "line", l->number);
    opt_jsonw_put_str(&w, "key", l->key);
    if (opt_json_i64(l->id, &id)) {
        opt_jsonw_put_i64(&w, "id", id);
    } else if (opt_json_str(l->id, NULL) != NULL) {
        opt_jsonw_put_str(&w, "id", opt_json_str(l->id, NULL));
    }
    if (l->status == OPT_OK) {
        put_ok(&w, &source->request);
    } else {
        put_error(&w, l);
    }
    opt_jsonw_end_object(&w);
    const opt_status st = opt_jsonw_finish(&w);
    return st == OPT_OK ? opt_str_append(b->ctx, &b->row, "\n", 1) : st;
}

static opt_status write_row(batch *b) {
    if (b->fd < 0) {
        return b->o->on_row(b->o->user, b->row.data, b->row.len);
    }
    size_t at = 0;
    while (at < b->row.len) {
        const ssize_t n = write(b->fd, b->row.data + at, b->row.len - at);
        if (n < 0 && errno != EINTR) {
            return opt_fail_errno(b->ctx, errno, b->o->output, "cannot be written");
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return OPT_OK;
}

/** Writes all rows that are complete and whose predecessors are written. */
static opt_status write_ready(batch *b) {
    opt_status st = OPT_OK;
    while (b->n_written < b->n) {
        const line *l = &b->lines[b->n_written];
        const line *source = l->same_as >= 0 ? &b->lines[l->same_as] : l;
        if (l->status == OPT_OK && !source->done) {
            break;
        }
        OPT_TRY(make_row(b, b->n_written));
        OPT_TRY(write_row(b));
        b->n_written++;
    }
done:
    return st;
}

/* ---- continuing ---- */

/** How row i begins; returns the length. */
static size_t row_head(const batch *b, int64_t i, char head[MAX_ROW_HEAD]) {
    const int n = snprintf(head, MAX_ROW_HEAD, "{\"line\":%" PRId64 ",\"key\":\"%s\"",
                           b->lines[i].number, b->lines[i].key);
    return n > 0 && n < MAX_ROW_HEAD ? (size_t)n : 0;
}

/** Bytes of the rows that this job has written into text[n]; *rows of them. */
static size_t own_rows(const batch *b, const char *text, size_t n, int64_t *rows) {
    size_t at = 0;
    *rows = 0;
    while (at < n && *rows < b->n) {
        const char *nl = memchr(text + at, '\n', n - at);
        char head[MAX_ROW_HEAD];
        const size_t len = row_head(b, *rows, head);
        if (nl == NULL || n - at < len || memcmp(text + at, head, len) != 0) {
            break;
        }
        at = (size_t)(nl - text) + 1;
        (*rows)++;
    }
    return at;
}

/** Whether text[n], behind the own rows, is nothing or the beginning of the next one. */
static bool is_torn_row(const batch *b, const char *text, size_t n) {
    char head[MAX_ROW_HEAD];
    if (n == 0) {
        return true;
    }
    const size_t len = b->n_written < b->n ? row_head(b, b->n_written, head) : 0;
    return len > 0 && memchr(text, '\n', n) == NULL && memcmp(text, head, n < len ? n : len) == 0;
}

/** Opens the output and finds out what of it is done. */
static opt_status open_output(batch *b) {
    opt_status st = OPT_OK;
    opt_buf *old = NULL;
    size_t keep = 0;
    const char *path = b->o->output;
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (b->fd < 0) {
        return opt_fail_errno(b->ctx, errno, path, "cannot be opened for writing");
    }
    OPT_REQUIRE(flock(b->fd, LOCK_EX | LOCK_NB) == 0, b->ctx, OPT_ERR_USAGE, path,
                "another process writes into it");
    OPT_TRY(opt_buf_read(b->ctx, path, SIZE_MAX / 2, &old));
    if (!b->o->force) {
        keep = own_rows(b, (const char *)old->data, old->bytes, &b->n_written);
        OPT_REQUIRE(is_torn_row(b, (const char *)old->data + keep, old->bytes - keep), b->ctx,
                    OPT_ERR_USAGE, path,
                    "holds other results behind %" PRId64 " rows of this job; --force replaces it",
                    b->n_written);
    }
    if (ftruncate(b->fd, (off_t)keep) != 0 || lseek(b->fd, (off_t)keep, SEEK_SET) < 0) {
        st = opt_fail_errno(b->ctx, errno, path, "cannot be written");
    }
    b->result->n_resumed = b->n_written;
done:
    opt_buf_release(old);
    return st;
}

/* ---- running ---- */

/** The requests that have to be run: not written yet, and not asked for before. A row that is
 * written may be the source of one that is not. */
static opt_status choose_requests(batch *b, size_t *n, int64_t *n_ctx) {
    opt_status st = OPT_OK;
    const int64_t trained = b->r->opened.model->hp.n_ctx_train;
    b->requests = opt_alloc_array(b->ctx, (size_t)b->n, sizeof(opt_batch_request *));
    OPT_TRY_PTR(b->requests);
    b->line_of = opt_alloc_array(b->ctx, (size_t)b->n, sizeof *b->line_of);
    OPT_TRY_PTR(b->line_of);
    for (int64_t i = b->n_written; i < b->n; i++) {
        const line *l = &b->lines[i];
        const int64_t source = l->same_as >= 0 ? l->same_as : i;
        opt_batch_request *r = &b->lines[source].request;
        if (l->status != OPT_OK || r->n_prompt != 0) {
            continue;
        }
        r->n_prompt = (int64_t)r->tokens.n;
        r->stops = b->o->stops;
        r->n_stops = b->o->n_stops;
        b->line_of[*n] = source;
        b->requests[(*n)++] = r;
        int64_t need = INT64_MAX;
        if (!opt_add_i64(r->n_prompt, r->max_tokens, &need)) {
            need = INT64_MAX;
        }
        *n_ctx = opt_max_i64(*n_ctx, need);
    }
    const int64_t limit = b->r->options.n_ctx > 0 ? b->r->options.n_ctx : trained;
    *n_ctx = limit > 0 ? opt_min_i64(*n_ctx, limit) : *n_ctx;
done:
    return st;
}

static opt_status on_done(void *user, size_t i) {
    batch *b = user;
    line *l = &b->lines[b->line_of[i]];
    l->done = true;
    b->result->n_prompt_tokens += l->request.n_prompt;
    b->result->n_generated += (int64_t)l->request.tokens.n - l->request.n_prompt;
    return write_ready(b);
}

static opt_status run_requests(batch *b) {
    opt_status st = OPT_OK;
    opt_session *session = NULL;
    opt_prefix *prefix = NULL;
    opt_batch_counts counts = {0};
    size_t n = 0;
    int64_t n_ctx = 2;
    OPT_TRY(choose_requests(b, &n, &n_ctx));
    OPT_TRY(write_ready(b));
    if (n == 0) {
        goto done;
    }
    const int64_t parallel = b->o->n_parallel > 0 ? b->o->n_parallel : DEFAULT_PARALLEL;
    opt_session_options options = opt_runner_session_options(b->r, n_ctx);
    options.n_seqs = (int)opt_min_i64(opt_min_i64(parallel, (int64_t)n), OPT_MAX_SEQS);
    OPT_TRY(opt_session_new(b->ctx, b->r->opened.model, &options, &session));
    OPT_TRY(opt_runner_prefix(b->r, session, &prefix));
    const opt_batch_job job = {.session = session,
                               .tokenizer = b->r->opened.tokenizer,
                               .n_vocab = b->r->opened.model->hp.n_vocab,
                               .ignore_eos = b->o->ignore_eos,
                               .prefix = prefix,
                               .requests = b->requests,
                               .n = n,
                               .on_done = on_done,
                               .user = b};
    OPT_TRY(opt_batch_run(b->ctx, &job, &counts));
    b->result->n_steps = counts.n_steps;
done:
    opt_session_free(session);
    return st;
}

static void free_batch(batch *b) {
    for (int64_t i = 0; b->lines != NULL && i < b->n; i++) {
        opt_json_free(b->lines[i].json);
        opt_tokens_free(b->ctx, &b->lines[i].request.tokens);
        opt_str_free(b->ctx, &b->lines[i].request.text);
        opt_free(b->ctx, b->lines[i].message);
    }
    opt_free(b->ctx, b->lines);
    opt_free(b->ctx, b->requests);
    opt_free(b->ctx, b->line_of);
    opt_str_free(b->ctx, &b->row);
    if (b->fd >= 0) {
        (void)close(b->fd);
    }
}

opt_status opt_batch(opt_ctx *ctx, opt_runner *r, const opt_batch_options *options,
                     opt_batch_result *result) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    batch b = {.ctx = ctx, .r = r, .o = options, .result = result, .fd = -1};
    *result = (opt_batch_result){0};
    OPT_REQUIRE(r->opened.tokenizer != NULL, ctx, OPT_ERR_USAGE, opt_source_path(r->opened.source),
                "the model has no tokenizer, so it cannot read a text");
    OPT_TRY(read_all(&b));
    if (options->output != NULL) {
        OPT_TRY(open_output(&b));
    }
    OPT_TRY(run_requests(&b));
    if (b.fd >= 0 && fsync(b.fd) != 0) {
        st = opt_fail_errno(ctx, errno, options->output, "cannot be written");
    }
    result->seconds = opt_seconds() - start;
done:
    free_batch(&b);
    return st;
}
