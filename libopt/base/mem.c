#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/ctx_impl.h"
#include "base/num.h"

#if defined(__SANITIZE_ADDRESS__)
#define USE_MAPPINGS 0 /* the sanitizer must see the end of every block */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define USE_MAPPINGS 0
#endif
#endif
#ifndef USE_MAPPINGS
#define USE_MAPPINGS 1
#endif

enum {
    BLOCK_ALIGN = 64,
    PAGE_BYTES = 4096,
    HUGE_PAGE = 2 << 20,   /* blocks from here on are mappings, which go back at once when freed */
    ARENA_CHUNK = 32 << 10 /* first chunk of an arena; later ones grow */
};

/** Stands right before every block. */
typedef struct block_header {
    size_t bytes;   /* what the caller asked for */
    size_t counted; /* what was added to mem_bytes: the whole mapping, or header and block */
    bool mapped;
} block_header;

static_assert(sizeof(block_header) <= BLOCK_ALIGN, "the header must fit before an aligned block");

static block_header *header_of(void *p) {
    return (block_header *)(void *)((char *)p - BLOCK_ALIGN);
}

static void *block_of(block_header *h) { return (char *)h + BLOCK_ALIGN; }

static bool fault_due(opt_ctx *ctx) {
    return ctx->fault_alloc != 0 && atomic_fetch_add(&ctx->n_allocs, 1) + 1 == ctx->fault_alloc;
}

/** Adds to the counted bytes; false (nothing added) when that goes over the limit. */
static bool count_up(opt_ctx *ctx, size_t bytes) {
    const uint64_t now = atomic_fetch_add(&ctx->mem_bytes, bytes) + bytes;
    if (ctx->options.max_memory != 0 && now > ctx->options.max_memory) {
        atomic_fetch_sub(&ctx->mem_bytes, bytes);
        return false;
    }
    uint64_t peak = atomic_load_explicit(&ctx->mem_peak, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak(&ctx->mem_peak, &peak, now)) {
    }
    return true;
}

static void count_down(opt_ctx *ctx, size_t bytes) { atomic_fetch_sub(&ctx->mem_bytes, bytes); }

static void *fail_memory(opt_ctx *ctx, size_t bytes) {
    const uint64_t used = atomic_load(&ctx->mem_bytes);
    if (ctx->options.max_memory != 0 &&
        bytes > ctx->options.max_memory - opt_min_u64(used, ctx->options.max_memory)) {
        opt_ignore(
            opt_fail(ctx, OPT_ERR_MEMORY, NULL,
                     "%zu bytes needed, but %llu of the allowed %llu are in use (see --max-memory)",
                     bytes, (unsigned long long)used, (unsigned long long)ctx->options.max_memory));
    } else {
        opt_ignore(opt_fail(ctx, OPT_ERR_MEMORY, NULL,
                            "out of memory: %zu bytes needed, %llu in use", bytes,
                            (unsigned long long)used));
    }
    return NULL;
}

/** A mapping that starts at a huge-page border, or NULL. `bytes` is a multiple of the page size. */
static void *map_huge(size_t bytes) {
    const size_t padded = bytes + HUGE_PAGE;
    char *base = mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    const size_t head = (size_t)(-(uintptr_t)base & (HUGE_PAGE - 1));
    if (head > 0) {
        (void)munmap(base, head);
    }
    if (HUGE_PAGE - head > 0) {
        (void)munmap(base + head + bytes, HUGE_PAGE - head);
    }
    (void)madvise(base + head, bytes, MADV_HUGEPAGE); /* only a hint */
    return base + head;
}

/**
 * Bytes that a block takes: header and block, in whole pages for mappings. False on overflow.
 */
static bool block_size(size_t bytes, size_t *out, bool *mapped) {
    size_t total = 0;
    if (!opt_add_size(bytes, BLOCK_ALIGN, &total) || total > PTRDIFF_MAX - 2 * (size_t)HUGE_PAGE) {
        return false;
    }
    *mapped = USE_MAPPINGS && total >= HUGE_PAGE;
    *out = total;
    return !*mapped || opt_align_size(total, PAGE_BYTES, out);
}

static void *alloc_block(opt_ctx *ctx, size_t bytes, bool zero) {
    size_t total = 0;
    bool mapped = false;
    if (fault_due(ctx) || !block_size(bytes, &total, &mapped) || !count_up(ctx, total)) {
        return fail_memory(ctx, bytes);
    }
    void *base = NULL;
    if (mapped) {
        base = map_huge(total);
    } else if (posix_memalign(&base, BLOCK_ALIGN, total) != 0) {
        base = NULL;
    }
    if (base == NULL) {
        count_down(ctx, total);
        return fail_memory(ctx, bytes);
    }
    block_header *h = base;
    *h = (block_header){.bytes = bytes, .counted = total, .mapped = mapped};
    if (zero && !mapped) {
        memset(block_of(h), 0, bytes);
    }
    return block_of(h);
}

void *opt_alloc(opt_ctx *ctx, size_t bytes) { return alloc_block(ctx, bytes, false); }

void *opt_alloc_zero(opt_ctx *ctx, size_t bytes) { return alloc_block(ctx, bytes, true); }

void *opt_alloc_array(opt_ctx *ctx, size_t n, size_t size) {
    size_t bytes = 0;
    if (!opt_mul_size(n, size, &bytes)) {
        return fail_memory(ctx, SIZE_MAX);
    }
    return alloc_block(ctx, bytes, false);
}

/** Lets the kernel move the pages of a mapping instead of copying bytes. */
static void *remap_block(opt_ctx *ctx, block_header *h, size_t bytes, size_t total) {
    const size_t old = h->counted;
    if (fault_due(ctx) || (total > old && !count_up(ctx, total - old))) {
        return fail_memory(ctx, bytes);
    }
    block_header *moved = mremap(h, old, total, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
        if (total > old) {
            count_down(ctx, total - old);
        }
        return fail_memory(ctx, bytes);
    }
    if (total < old) {
        count_down(ctx, old - total);
    }
    moved->bytes = bytes;
    moved->counted = total;
    return block_of(moved);
}

void *opt_realloc(opt_ctx *ctx, void *p, size_t bytes) {
    if (p == NULL) {
        return opt_alloc(ctx, bytes);
    }
    block_header *h = header_of(p);
    size_t total = 0;
    bool mapped = false;
    if (h->mapped && block_size(bytes, &total, &mapped) && mapped) {
        return remap_block(ctx, h, bytes, total);
    }
    void *grown = opt_alloc(ctx, bytes);
    if (grown != NULL) {
        memcpy(grown, p, bytes < h->bytes ? bytes : h->bytes);
        opt_free(ctx, p);
    }
    return grown;
}

void opt_free(opt_ctx *ctx, void *p) {
    if (p == NULL) {
        return;
    }
    block_header *h = header_of(p);
    count_down(ctx, h->counted);
    if (h->mapped) {
        (void)munmap(h, h->counted);
    } else {
        free(h);
    }
}

/* ---- arena ---- */

typedef struct arena_chunk {
    struct arena_chunk *next;
    size_t cap; /* bytes behind this header */
    size_t used;
    size_t unused; /* keeps the payload 16-byte aligned */
} arena_chunk;

struct opt_arena {
    opt_ctx *ctx;
    arena_chunk *chunks; /* newest first */
    size_t next_cap;
};

opt_status opt_arena_new(opt_ctx *ctx, opt_arena **out) {
    opt_arena *arena = opt_alloc_zero(ctx, sizeof *arena);
    if (arena == NULL) {
        return OPT_ERR_MEMORY;
    }
    arena->ctx = ctx;
    arena->next_cap = ARENA_CHUNK;
    *out = arena;
    return OPT_OK;
}

void opt_arena_free(opt_arena *arena) {
    if (arena == NULL) {
        return;
    }
    while (arena->chunks != NULL) {
        arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        opt_free(arena->ctx, chunk);
    }
    opt_free(arena->ctx, arena);
}

/**
 * A chunk that has room for `bytes`. A large piece gets a chunk of its own behind the current one.
 */
static arena_chunk *arena_grow(opt_arena *arena, size_t bytes) {
    const bool large = bytes > arena->next_cap / 4;
    const size_t cap = large ? bytes : arena->next_cap;
    size_t total = 0;
    if (!opt_add_size(cap, sizeof(arena_chunk), &total)) {
        return fail_memory(arena->ctx, bytes);
    }
    arena_chunk *chunk = opt_alloc_zero(arena->ctx, total);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->cap = cap;
    if (large && arena->chunks != NULL) {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    } else {
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    if (!large && arena->next_cap < (size_t)1 << 20) {
        arena->next_cap *= 2;
    }
    return chunk;
}

void *opt_arena_alloc(opt_arena *arena, size_t bytes) {
    size_t rounded = 0;
    if (!opt_align_size(bytes == 0 ? 1 : bytes, 16, &rounded)) {
        return fail_memory(arena->ctx, bytes);
    }
    arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->cap - chunk->used < rounded) {
        chunk = arena_grow(arena, rounded);
        if (chunk == NULL) {
            return NULL;
        }
    }
    void *p = (char *)(chunk + 1) + chunk->used;
    chunk->used += rounded;
    return p;
}

void *opt_arena_array(opt_arena *arena, size_t n, size_t size) {
    size_t bytes = 0;
    if (!opt_mul_size(n, size, &bytes)) {
        return fail_memory(arena->ctx, SIZE_MAX);
    }
    return opt_arena_alloc(arena, bytes);
}

char *opt_arena_strndup(opt_arena *arena, const char *s, size_t n) {
    size_t bytes = 0;
    if (!opt_add_size(n, 1, &bytes)) {
        return fail_memory(arena->ctx, n);
    }
    char *copy = opt_arena_alloc(arena, bytes);
    if (copy != NULL && n > 0) {
        memcpy(copy, s, n); /* the byte behind it is zero already */
    }
    return copy;
}

char *opt_arena_strdup(opt_arena *arena, const char *s) {
    return opt_arena_strndup(arena, s, strlen(s));
}

char *opt_arena_printf(opt_arena *arena, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n >= 0 ? opt_arena_alloc(arena, (size_t)n + 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return text;
}
