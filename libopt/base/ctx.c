#include "base/ctx_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

const char *opt_version(void) { return OPT_VERSION; }

/** A positive decimal number from the environment, otherwise 0. */
static uint64_t env_count(const char *name) {
    const char *text = getenv(name);
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return 0;
    }
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : 0;
}

opt_status opt_ctx_new(const opt_ctx_options *options, opt_ctx **out) {
    static const opt_ctx_options defaults = {0};
    const opt_ctx_options *o = options != NULL ? options : &defaults;
    opt_cpu cpu = {0};
    if (!opt_cpu_detect(&cpu) || o->n_threads < 0 || o->n_threads > OPT_MAX_THREADS) {
        return OPT_ERR_USAGE;
    }
    opt_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL) {
        return OPT_ERR_MEMORY;
    }
    ctx->options = *o;
    ctx->cpu = cpu;
    ctx->n_threads = o->n_threads > 0 ? o->n_threads : opt_cpu_count();
    if (ctx->n_threads > OPT_MAX_THREADS) {
        ctx->n_threads = OPT_MAX_THREADS;
    }
    ctx->fault_alloc = env_count("OPT_FAULT_ALLOC");
    ctx->fault_write = env_count("OPT_FAULT_WRITE");
    ctx->fault_kill = env_count("OPT_FAULT_KILL");
    /* Default mutexes of Linux: initialisation cannot fail. */
    (void)pthread_mutex_init(&ctx->error_lock, NULL);
    (void)pthread_mutex_init(&ctx->log_lock, NULL);
    (void)pthread_mutex_init(&ctx->attach_lock, NULL);
    (void)pthread_mutex_init(&ctx->pool_lock, NULL);
    *out = ctx;
    return OPT_OK;
}

void opt_ctx_free(opt_ctx *ctx) {
    if (ctx == NULL) {
        return;
    }
    opt_pool_free(ctx->pool);
    ctx->pool = NULL;
    while (ctx->attachments != NULL) { /* newest first; they may still use the context */
        opt_attachment *a = ctx->attachments;
        ctx->attachments = a->next;
        if (a->free_fn != NULL) {
            a->free_fn(a->value);
        }
        free(a);
    }
    for (int i = 0; i < ctx->n_warnings; i++) {
        free(ctx->warnings[i].text);
    }
    free(ctx->warnings);
    (void)pthread_mutex_destroy(&ctx->error_lock);
    (void)pthread_mutex_destroy(&ctx->log_lock);
    (void)pthread_mutex_destroy(&ctx->attach_lock);
    (void)pthread_mutex_destroy(&ctx->pool_lock);
    free(ctx);
}

void opt_ctx_cancel(opt_ctx *ctx, int signal_number) {
    atomic_store(&ctx->cancel_signal, signal_number == 0 ? SIGINT : signal_number);
}

int opt_ctx_n_threads(const opt_ctx *ctx) { return ctx->n_threads; }

const char *opt_ctx_isa(const opt_ctx *ctx) { return opt_isa_name(ctx->cpu.isa); }

const char *opt_ctx_features(const opt_ctx *ctx) { return ctx->cpu.names; }

opt_isa opt_ctx_isa_level(const opt_ctx *ctx) { return ctx->cpu.isa; }

const opt_cpu *opt_ctx_cpu(const opt_ctx *ctx) { return &ctx->cpu; }

uint64_t opt_ctx_seed(const opt_ctx *ctx) { return ctx->options.seed; }

uint64_t opt_ctx_max_memory(const opt_ctx *ctx) { return ctx->options.max_memory; }

uint64_t opt_ctx_memory(const opt_ctx *ctx) { return atomic_load(&ctx->mem_bytes); }
uint64_t opt_ctx_peak_memory(const opt_ctx *ctx) { return atomic_load(&ctx->mem_peak); }

static void *find_attachment(const opt_ctx *ctx, const void *key) {
    for (const opt_attachment *a = ctx->attachments; a != NULL; a = a->next) {
        if (a->key == key) {
            return a->value;
        }
    }
    return NULL;
}

void *opt_ctx_attached(opt_ctx *ctx, const void *key) {
    pthread_mutex_lock(&ctx->attach_lock);
    void *value = find_attachment(ctx, key);
    pthread_mutex_unlock(&ctx->attach_lock);
    return value;
}

void *opt_ctx_attach(opt_ctx *ctx, const void *key, void *value, void (*free_fn)(void *value)) {
    opt_attachment *a = malloc(sizeof *a);
    void *kept = NULL;
    pthread_mutex_lock(&ctx->attach_lock);
    kept = find_attachment(ctx, key);
    if (kept == NULL && a != NULL) {
        *a = (opt_attachment){
            .key = key, .value = value, .free_fn = free_fn, .next = ctx->attachments};
        ctx->attachments = a;
        a = NULL;
        kept = value;
    }
    pthread_mutex_unlock(&ctx->attach_lock);
    free(a);
    if (kept != value && free_fn != NULL) {
        free_fn(value);
    }
    if (kept == NULL) {
        opt_ignore(opt_fail(ctx, OPT_ERR_MEMORY, NULL, "out of memory"));
    }
    return kept;
}

int opt_fault_write(opt_ctx *ctx) {
    const uint64_t step = atomic_fetch_add(&ctx->n_writes, 1) + 1;
    if (OPT_UNLIKELY(step == ctx->fault_kill)) {
        (void)kill(getpid(), SIGKILL);
        (void)pause(); /* the signal may take a moment to arrive */
    }
    if (OPT_UNLIKELY(step == ctx->fault_write)) {
        return step % 2 == 0 ? EIO : ENOSPC;
    }
    return 0;
}
