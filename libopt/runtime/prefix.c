#include "runtime/prefix.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/pool.h"
#include "runtime/prefix_dir.h"
#include "runtime/prefix_entry.h"

enum {
    BLOCK = OPT_PREFIX_BLOCK,
    MAX_CHILDREN = 64, /* files behind one block that are compared with a text */
    FORMAT = 1         /* another number when the same options give other bits */
};

static const uint64_t default_dir_bytes = (uint64_t)1 << 30;

/** An entry in memory. */
typedef struct kept {
    opt_prefix_name name;
    uint8_t *bytes; /* [n], as in a file */
    size_t n;
    uint64_t used; /* the clock when it was used last */
} kept;

struct opt_prefix {
    opt_ctx *ctx;
    opt_prefix_options o;
    opt_prefix_dir *dir; /* or NULL */
    uint64_t key;
    kept *kept; /* [n_kept] */
    size_t n_kept, cap_kept;
    uint64_t memory_used, clock;
    opt_prefix_name *bad; /* [n_bad]: files to be written anew */
    size_t n_bad, cap_bad;
    opt_prefix_counts counts;
};

opt_status opt_prefix_new(opt_ctx *ctx, const opt_prefix_options *options, uint64_t model,
                          const opt_session *session, opt_prefix **out) {
    opt_status st = OPT_OK;
    opt_str text = {0};
    opt_prefix *p = opt_alloc_zero(ctx, sizeof *p);
    OPT_TRY_PTR(p);
    p->ctx = ctx;
    p->o = *options;
    p->o.dir_bytes = options->dir_bytes > 0 ? options->dir_bytes : default_dir_bytes;
    OPT_TRY(opt_str_printf(ctx, &text, "%d %d %016llx ", FORMAT, BLOCK, (unsigned long long)model));
    OPT_TRY(opt_session_kv_layout(session, &text));
    p->key = opt_xxh3(text.data, text.len);
    if (options->dir != NULL) {
        OPT_TRY(opt_prefix_dir_open(ctx, options->dir, p->o.dir_bytes, &p->dir));
    }
    *out = p;
    p = NULL;
done:
    opt_str_free(ctx, &text);
    opt_prefix_free(p);
    return st;
}

void opt_prefix_free(opt_prefix *p) {
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->n_kept; i++) {
        opt_free(p->ctx, p->kept[i].bytes);
    }
    opt_free(p->ctx, p->kept);
    opt_free(p->ctx, p->bad);
    opt_prefix_dir_close(p->dir);
    opt_free(p->ctx, p);
}

const opt_prefix_counts *opt_prefix_get_counts(const opt_prefix *p) { return &p->counts; }

/** The name of what stands behind `parent` and has tokens ids [n]; a text begins behind 0. */
static opt_prefix_name name_of(const opt_prefix *p, uint64_t parent, const int32_t *ids,
                               int64_t n) {
    uint8_t bytes[sizeof(uint64_t) + BLOCK * sizeof(int32_t)];
    opt_wr_u64le(bytes, parent);
    for (int64_t i = 0; i < n; i++) {
        opt_wr_u32le(bytes + sizeof parent + sizeof *ids * (size_t)i, (uint32_t)ids[i]);
    }
    return (opt_prefix_name){p->key, parent,
                             opt_xxh3(bytes, sizeof parent + sizeof *ids * (size_t)n)};
}

static bool same_name(const opt_prefix_name *a, const opt_prefix_name *b) {
    return a->key == b->key && a->parent == b->parent && a->self == b->self;
}

static bool is_bad(const opt_prefix *p, const opt_prefix_name *name) {
    for (size_t i = 0; i < p->n_bad; i++) {
        if (same_name(&p->bad[i], name)) {
            return true;
        }
    }
    return false;
}

static void forget_bad(opt_prefix *p, const opt_prefix_name *name) {
    for (size_t i = 0; i < p->n_bad; i++) {
        if (same_name(&p->bad[i], name)) {
            p->bad[i--] = p->bad[--p->n_bad];
        }
    }
}

/** A damaged entry is named, once, and will be written anew. */
static opt_status report_bad(opt_prefix *p, const opt_prefix_name *name, const char *reason) {
    opt_status st = OPT_OK;
    const char *path = p->dir != NULL ? opt_prefix_dir_path(p->dir, name) : "memory";
    if (is_bad(p, name)) {
        return OPT_OK;
    }
    p->counts.n_bad++;
    if (p->n_bad == p->cap_bad) {
        const size_t cap = 2 * p->cap_bad + 16;
        void *more = opt_realloc(p->ctx, p->bad, cap * sizeof *p->bad);
        OPT_TRY_PTR(more);
        p->bad = more;
        p->cap_bad = cap;
    }
    p->bad[p->n_bad++] = *name;
    OPT_REQUIRE(!p->o.strict, p->ctx, OPT_ERR_INPUT, path, "is damaged: %s", reason);
    opt_warn(p->ctx, path, "is damaged (%s); computed again", reason);
done:
    return st;
}

/* ---- memory ---- */

static kept *find_kept(opt_prefix *p, const opt_prefix_name *name) {
    for (size_t i = 0; i < p->n_kept; i++) {
        if (same_name(&p->kept[i].name, name)) {
            return &p->kept[i];
        }
    }
    return NULL;
}

static void drop_oldest(opt_prefix *p) {
    size_t oldest = 0;
    for (size_t i = 1; i < p->n_kept; i++) {
        oldest = p->kept[i].used < p->kept[oldest].used ? i : oldest;
    }
    p->memory_used -= p->kept[oldest].n;
    opt_free(p->ctx, p->kept[oldest].bytes);
    p->kept[oldest] = p->kept[--p->n_kept];
}

/** Keeps a copy of an entry if that is allowed. */
static opt_status keep(opt_prefix *p, const opt_prefix_name *name, const uint8_t *bytes, size_t n) {
    opt_status st = OPT_OK;
    kept *old = find_kept(p, name);
    if (old != NULL || n > p->o.memory_bytes) {
        return OPT_OK;
    }
    while (p->memory_used > p->o.memory_bytes - n) {
        drop_oldest(p);
    }
    if (p->n_kept == p->cap_kept) {
        const size_t cap = 2 * p->cap_kept + 16;
        void *more = opt_realloc(p->ctx, p->kept, cap * sizeof *p->kept);
        OPT_TRY_PTR(more);
        p->kept = more;
        p->cap_kept = cap;
    }
    uint8_t *copy = opt_alloc(p->ctx, n);
    OPT_TRY_PTR(copy);
    memcpy(copy, bytes, n);
    p->kept[p->n_kept++] = (kept){.name = *name, .bytes = copy, .n = n, .used = ++p->clock};
    p->memory_used += n;
done:
    return st;
}

/* ---- finding ---- */

/** A block of a text that the cache seems to have. */
typedef struct found {
    opt_prefix_name name;
    int64_t pos0, n; /* positions that are of use */
    int64_t n_own;   /* positions of the entry; 0: not known yet */
    bool in_memory;
    bool gone; /* it was not there after all */
    bool bad;
    char reason[OPT_PREFIX_REASON];
} found;

static bool has(opt_prefix *p, const opt_prefix_name *name, bool *in_memory) {
    *in_memory = find_kept(p, name) != NULL;
    return *in_memory || (p->dir != NULL && opt_prefix_dir_size(p->dir, name) > 0);
}

/** The entry behind a block whose tokens agree longest with a text. */
typedef struct search {
    opt_prefix *p;
    const int32_t *ids;
    int64_t n_ids, pos0;
    uint64_t parent;
    bool memory, dir; /* where */
    uint8_t *head;    /* [head_bytes]: scratch */
    size_t head_bytes;
    int n_looked;
    opt_status st;
    found best;
} search;

static void consider(search *s, const opt_prefix_name *name, const opt_prefix_entry *e,
                     bool in_memory) {
    const int64_t n = e->key == s->p->key && e->n_before == s->pos0
                          ? opt_prefix_entry_match(e, s->ids, s->n_ids)
                          : 0;
    if (n > s->best.n || (n == s->best.n && n > 0 && in_memory)) {
        s->best =
            (found){.name = *name, .pos0 = s->pos0, .n = n, .n_own = e->n, .in_memory = in_memory};
    }
}

static void look_at_file(void *user, uint64_t self) {
    search *s = user;
    const opt_prefix_name name = {s->p->key, s->parent, self};
    opt_prefix_entry e;
    char reason[OPT_PREFIX_REASON];
    size_t n = 0;
    if (s->st != OPT_OK || s->n_looked++ >= MAX_CHILDREN ||
        opt_prefix_dir_read(s->p->dir, &name, s->head, s->head_bytes, &n) != 0) {
        return;
    }
    if (opt_prefix_entry_parse(s->head, n, true, &e, reason)) {
        consider(s, &name, &e, false);
    } else {
        s->st = report_bad(s->p, &name, reason);
    }
}

/** Looks at everything behind `parent`. */
static opt_status search_children(search *s) {
    opt_status st = OPT_OK;
    opt_prefix *p = s->p;
    for (size_t i = 0; s->memory && i < p->n_kept; i++) {
        opt_prefix_entry e;
        char reason[OPT_PREFIX_REASON];
        if (p->kept[i].name.parent == s->parent &&
            opt_prefix_entry_parse(p->kept[i].bytes, p->kept[i].n, true, &e, reason)) {
            consider(s, &p->kept[i].name, &e, true);
        }
    }
    if (s->dir && p->dir != NULL) {
        s->head_bytes = opt_prefix_head_bytes(s->pos0, BLOCK);
        OPT_TRY_PTR(s->head = opt_alloc(p->ctx, s->head_bytes));
        opt_prefix_dir_children(p->dir, p->key, s->parent, look_at_file, s);
        st = s->st;
    }
done:
    opt_free(p->ctx, s->head);
    return st;
}

/** Lists the blocks that ids [n] begin with: out [n / BLOCK + 1]. */
static opt_status find_blocks(opt_prefix *p, const int32_t *ids, int64_t n, found *out,
                              size_t *n_out) {
    opt_status st = OPT_OK;
    uint64_t parent = 0;
    int64_t pos0 = 0;
    bool in_memory = false;
    *n_out = 0;
    for (; pos0 + BLOCK <= n; pos0 += BLOCK) {
        const opt_prefix_name name = name_of(p, parent, ids + pos0, BLOCK);
        if (!has(p, &name, &in_memory)) {
            break;
        }
        out[(*n_out)++] =
            (found){.name = name, .pos0 = pos0, .n = BLOCK, .n_own = BLOCK, .in_memory = in_memory};
        parent = name.self;
    }
    search s = {.p = p,
                .ids = ids,
                .n_ids = n,
                .pos0 = pos0,
                .parent = parent,
                .memory = true,
                .dir = true};
    if (pos0 < n) {
        OPT_TRY(search_children(&s));
    }
    if (s.best.n > 0) {
        out[(*n_out)++] = s.best;
    }
done:
    return st;
}

/* ---- bringing back ---- */

typedef struct load_job {
    opt_prefix *p;
    opt_session *s;
    int seq;
    const int32_t *ids;
    found *blocks; /* [n] */
    size_t n;
    uint8_t *buffers; /* [n_workers, bytes] */
    size_t bytes;
} load_job;

/** Whether an entry is what its name says, and of the size that the session's layout asks for. */
static bool fits(const load_job *job, const found *f, const opt_prefix_entry *e,
                 char reason[OPT_PREFIX_REASON]) {
    size_t expected = 0;
    if (e->key != job->p->key || e->n_before != f->pos0 || e->n != f->n_own ||
        opt_prefix_entry_match(e, job->ids, f->pos0 + f->n) != f->n) {
        (void)snprintf(reason, OPT_PREFIX_REASON, "belongs to another model or text");
        return false;
    }
    if (!opt_session_kv_bytes(job->s, e->n, &expected) || e->data_bytes != expected) {
        (void)snprintf(reason, OPT_PREFIX_REASON, "has %zu bytes of keys and values, expected %zu",
                       e->data_bytes, expected);
        return false;
    }
    return true;
}

static opt_status load_block(void *user, int64_t tile, int worker) {
    const load_job *job = user;
    found *f = &job->blocks[tile];
    const uint8_t *bytes = job->buffers + (size_t)worker * job->bytes;
    size_t n = 0;
    opt_prefix_entry e;
    if (f->in_memory) {
        const kept *k = find_kept(job->p, &f->name);
        bytes = k->bytes;
        n = k->n;
    } else {
        const int err =
            opt_prefix_dir_read(job->p->dir, &f->name, (uint8_t *)(uintptr_t)bytes, job->bytes, &n);
        if (err != 0) {
            f->gone = err == ENOENT;
            f->bad = err != ENOENT;
            (void)snprintf(f->reason, OPT_PREFIX_REASON, "cannot be read: %s",
                           strerrordesc_np(err));
            return OPT_OK;
        }
    }
    f->bad =
        !opt_prefix_entry_parse(bytes, n, false, &e, f->reason) || !fits(job, f, &e, f->reason);
    if (!f->bad) {
        opt_session_kv_write(job->s, job->seq, f->pos0, f->n, e.data, e.n);
    }
    return OPT_OK;
}

/** Copies what came from files into memory, if there is any for it. */
static opt_status keep_loaded(const load_job *job, size_t n) {
    opt_status st = OPT_OK;
    for (size_t i = 0; i < n; i++) {
        found *f = &job->blocks[i];
        kept *k = find_kept(job->p, &f->name);
        size_t bytes = 0;
        if (k != NULL) {
            k->used = ++job->p->clock;
        } else if (job->p->o.memory_bytes > 0 &&
                   opt_prefix_dir_read(job->p->dir, &f->name, job->buffers, job->bytes, &bytes) ==
                       0) {
            OPT_TRY(keep(job->p, &f->name, job->buffers, bytes));
        }
    }
done:
    return st;
}

/** The first blocks that are there: *n_good of them, *n_out positions. Names those that are
 * damaged. */
static opt_status count_good(const load_job *job, size_t *n_good, int64_t *n_out) {
    opt_status st = OPT_OK;
    *n_good = 0;
    *n_out = 0;
    while (*n_good < job->n && !job->blocks[*n_good].bad && !job->blocks[*n_good].gone) {
        *n_out = job->blocks[*n_good].pos0 + job->blocks[*n_good].n;
        (*n_good)++;
    }
    for (size_t i = *n_good; i < job->n; i++) {
        if (job->blocks[i].bad) {
            OPT_TRY(report_bad(job->p, &job->blocks[i].name, job->blocks[i].reason));
        }
    }
done:
    return st;
}

/** Reads the blocks into the sequence; *n_out positions in front are good. */
static opt_status load_blocks(load_job *job, int64_t *n_out) {
    opt_status st = OPT_OK;
    opt_prefix *p = job->p;
    const found *last = &job->blocks[job->n - 1];
    opt_prefix_name names[256];
    size_t data = 0, good = 0;
    OPT_REQUIRE(opt_session_kv_bytes(job->s, BLOCK, &data) &&
                    opt_prefix_entry_bytes(last->pos0, BLOCK, data, &job->bytes) &&
                    opt_align_size(job->bytes + 1, 64, &job->bytes),
                p->ctx, OPT_ERR_MEMORY, NULL, "an entry does not fit in memory");
    OPT_TRY_PTR(job->buffers =
                    opt_alloc_array(p->ctx, (size_t)opt_ctx_n_threads(p->ctx), job->bytes));
    for (bool again = true; again;) {
        const int64_t end =
            job->n > 0 ? job->blocks[job->n - 1].pos0 + job->blocks[job->n - 1].n : 0;
        opt_session_kv_begin(job->s, job->seq, end);
        OPT_TRY(opt_parallel_for(p->ctx, (int64_t)job->n, load_block, job));
        OPT_TRY(count_good(job, &good, n_out));
        opt_session_seq_truncate(job->s, job->seq, *n_out);
        again = opt_session_seq_past(job->s, job->seq) < *n_out; /* windows: not what came back */
        job->n = good;
    }
    OPT_TRY(keep_loaded(job, good));
    for (size_t at = 0; p->dir != NULL && at < good; at += 256) {
        const size_t n = good - at < 256 ? good - at : 256;
        for (size_t i = 0; i < n; i++) {
            names[i] = job->blocks[at + i].name;
        }
        opt_prefix_dir_touch(p->dir, names, n);
    }
done:
    opt_free(p->ctx, job->buffers);
    return st;
}

opt_status opt_prefix_load(opt_prefix *p, opt_session *s, int seq, const int32_t *ids, int64_t n,
                           int64_t *n_out) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    const int64_t past = opt_session_seq_past(s, seq);
    load_job job = {.p = p, .s = s, .seq = seq, .ids = ids};
    int64_t n_good = past;
    OPT_TRY_PTR(job.blocks = opt_alloc_array(p->ctx, (size_t)(n / BLOCK + 1), sizeof *job.blocks));
    OPT_TRY(find_blocks(p, ids, n, job.blocks, &job.n));
    const found *last = job.n > 0 ? &job.blocks[job.n - 1] : NULL;
    if (last != NULL && last->pos0 + last->n > past) {
        n_good = 0;
        OPT_TRY(load_blocks(&job, &n_good));
        if (!opt_session_kv_windowed(s) && n_good < past) {
            n_good = past; /* nothing but the same bits was written over those */
            opt_session_kv_begin(s, seq, past);
        }
    }
    *n_out = n_good;
    p->counts.n_loaded += n_good > past ? n_good - past : 0;
done:
    opt_session_seq_truncate(s, seq, n_good);
    opt_free(p->ctx, job.blocks);
    p->counts.load_seconds += opt_seconds() - start;
    return st;
}

/* ---- keeping ---- */

typedef struct save_job {
    opt_prefix *p;
    opt_session *s;
    int seq;
    const int32_t *ids;
    int64_t n;
    uint8_t *buffer; /* [bytes]: an entry */
    size_t bytes;
} save_job;

/** Whether a block is there already; the last one of a text also as the beginning of another. */
static opt_status is_there(const save_job *job, const opt_prefix_name *name, int64_t pos0,
                           int64_t n, bool in_memory, bool *out) {
    opt_status st = OPT_OK;
    opt_prefix *p = job->p;
    *out = in_memory ? find_kept(p, name) != NULL
                     : opt_prefix_dir_size(p->dir, name) > 0 && !is_bad(p, name);
    if (*out || n == BLOCK) {
        return OPT_OK;
    }
    search s = {.p = p,
                .ids = job->ids,
                .n_ids = pos0 + n,
                .pos0 = pos0,
                .parent = name->parent,
                .memory = in_memory,
                .dir = !in_memory};
    OPT_TRY(search_children(&s));
    *out = s.best.n == n && !is_bad(p, &s.best.name);
done:
    return st;
}

/** The bytes of an entry, into the buffer. */
static size_t make_entry(const save_job *job, int64_t pos0, int64_t n) {
    size_t data = 0, total = 0;
    if (!opt_session_kv_bytes(job->s, n, &data) || !opt_prefix_entry_bytes(pos0, n, data, &total)) {
        return 0; /* smaller than the buffer, so it cannot be */
    }
    opt_prefix_entry_head(job->p->key, job->ids, pos0, n, data, job->buffer);
    opt_session_kv_read(job->s, job->seq, pos0, n, job->buffer + opt_prefix_head_bytes(pos0, n));
    opt_prefix_entry_seal(job->buffer, total);
    return total;
}

/** A directory that cannot be written to is no reason to stop, unless it was said to be. */
static opt_status soften(opt_prefix *p, opt_status st) {
    p->counts.n_unsaved++;
    if (p->o.strict || (st != OPT_ERR_IO && st != OPT_ERR_USAGE)) {
        return st;
    }
    opt_str text = {0};
    if (opt_str_printf(p->ctx, &text, "%s", opt_ctx_error_message(p->ctx)) == OPT_OK) {
        opt_ctx_clear_error(p->ctx);
        opt_warn(p->ctx, p->o.dir, "the prefix is not kept: %s", text.data);
        st = OPT_OK;
    }
    opt_str_free(p->ctx, &text);
    return st;
}

static opt_status save_to_memory(const save_job *job) {
    opt_status st = OPT_OK;
    uint64_t parent = 0;
    for (int64_t pos0 = 0; pos0 < job->n; pos0 += BLOCK) {
        const int64_t n = opt_min_i64(BLOCK, job->n - pos0);
        const opt_prefix_name name = name_of(job->p, parent, job->ids + pos0, n);
        bool there = false;
        OPT_TRY(is_there(job, &name, pos0, n, true, &there));
        if (!there && pos0 < opt_session_kv_first(job->s, job->seq)) {
            break; /* forgotten */
        }
        if (!there) {
            OPT_TRY(keep(job->p, &name, job->buffer, make_entry(job, pos0, n)));
        }
        parent = name.self;
    }
done:
    return st;
}

/** Blocks of the text that fit into the directory, none of which may push out another one. */
static int64_t n_fitting(const opt_prefix *p, const save_job *job) {
    return opt_min_i64(opt_ceil_div(job->n, BLOCK),
                       (int64_t)opt_min_u64(p->o.dir_bytes / job->bytes, INT64_MAX));
}

/** The files of a text, first block first: which of them are missing. */
static opt_status list_missing(const save_job *job, int64_t *n_blocks, opt_prefix_name *names,
                               bool *missing, int64_t *n_missing) {
    opt_status st = OPT_OK;
    uint64_t parent = 0;
    for (int64_t i = 0; i < *n_blocks; i++) {
        const int64_t pos0 = i * BLOCK, n = opt_min_i64(BLOCK, job->n - pos0);
        bool there = false;
        names[i] = name_of(job->p, parent, job->ids + pos0, n);
        OPT_TRY(is_there(job, &names[i], pos0, n, false, &there));
        if (!there && pos0 < opt_session_kv_first(job->s, job->seq)) {
            *n_blocks = i; /* forgotten, and what stands behind is of no use */
            break;
        }
        missing[i] = !there;
        *n_missing += !there;
        parent = names[i].self;
    }
done:
    return st;
}

static opt_status save_to_dir(const save_job *job) {
    opt_status st = OPT_OK;
    opt_prefix *p = job->p;
    int64_t n_blocks = n_fitting(p, job);
    int64_t n_missing = 0, n_removed = 0;
    if (n_blocks == 0 && job->n > 0) {
        opt_warn(p->ctx, p->o.dir,
                 "the prefix is not kept: an entry needs %zu bytes, more than "
                 "the directory may hold",
                 job->bytes);
        p->counts.n_unsaved++;
        return OPT_OK;
    }
    bool *missing = opt_alloc_array(p->ctx, (size_t)n_blocks, sizeof *missing);
    opt_prefix_name *names = opt_alloc_array(p->ctx, (size_t)n_blocks, sizeof *names);
    OPT_TRY_PTR(missing);
    OPT_TRY_PTR(names);
    OPT_TRY(list_missing(job, &n_blocks, names, missing, &n_missing));
    if (n_missing == 0) {
        goto done;
    }
    opt_prefix_dir_touch(p->dir, names, (size_t)n_blocks); /* so that they do not make room */
    st = opt_prefix_dir_begin(p->dir, (uint64_t)n_missing * job->bytes, &n_removed);
    p->counts.n_removed += n_removed;
    for (int64_t i = 0; i < n_blocks && st == OPT_OK; i++) {
        const int64_t pos0 = i * BLOCK, n = opt_min_i64(BLOCK, job->n - pos0);
        if (missing[i]) {
            st = opt_prefix_dir_put(p->dir, &names[i], job->buffer, make_entry(job, pos0, n));
            if (st == OPT_OK) {
                p->counts.n_saved++;
                forget_bad(p, &names[i]);
            }
        }
    }
    opt_prefix_dir_touch(p->dir, names, (size_t)n_blocks);
    opt_prefix_dir_end(p->dir);
    if (st != OPT_OK) {
        st = soften(p, st);
    }
done:
    opt_free(p->ctx, missing);
    opt_free(p->ctx, names);
    return st;
}

opt_status opt_prefix_save(opt_prefix *p, opt_session *s, int seq, const int32_t *ids, int64_t n) {
    opt_status st = OPT_OK;
    const double start = opt_seconds();
    save_job job = {.p = p, .s = s, .seq = seq, .ids = ids, .n = n};
    size_t data = 0;
    OPT_REQUIRE(opt_session_kv_bytes(s, BLOCK, &data) &&
                    opt_prefix_entry_bytes(n, BLOCK, data, &job.bytes),
                p->ctx, OPT_ERR_MEMORY, NULL, "an entry does not fit in memory");
    OPT_TRY_PTR(job.buffer = opt_alloc(p->ctx, job.bytes));
    if (p->o.memory_bytes > 0) {
        OPT_TRY(save_to_memory(&job));
    }
    if (p->dir != NULL) {
        OPT_TRY(save_to_dir(&job));
    }
done:
    opt_free(p->ctx, job.buffer);
    p->counts.save_seconds += opt_seconds() - start;
    return st;
}

opt_status opt_prefix_read(opt_prefix *p, opt_session *s, const int32_t *ids, int64_t n) {
    opt_status st = OPT_OK;
    const int64_t stride = opt_session_n_batch(s);
    int64_t past = opt_session_n_past(s);
    for (; opt_session_kv_windowed(s) && n - past > stride; past += stride) {
        OPT_TRY(opt_session_eval(s, ids + past, stride, stride, NULL, NULL));
        OPT_TRY(opt_prefix_save(p, s, 0, ids, (past + stride) / BLOCK * BLOCK));
    }
done:
    return st;
}
