/* The prefix cache: the same bits with and without it, what is damaged or foreign is named and
 * computed again, sizes are kept, a full disk changes nothing, several users of one directory. */
#include "support.h"

#include "golden/golden.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/num.h"
#include "runtime/prefix.h"
#include "runtime/prefix_entry.h"

#define STORIES OPT_TESTDATA "/stories260K"
#define SLIDING OPT_TESTDATA "/families/qwen2-sliding"

enum { N_CTX = 256, N_IDS = 230, MAX_FILES = 64 };

static void fill_ids(int32_t *ids, int64_t n, int seed, int64_t n_vocab) {
    for (int64_t t = 0; t < n; t++) {
        ids[t] = (int32_t)((t * t * 31 + t * (7 + seed) + 3 * seed) % n_vocab);
    }
}

static opt_prefix *open_cache(rig *r, const opt_prefix_options *o) {
    opt_prefix *p = NULL;
    GOLDEN_OK(r->ctx, opt_prefix_new(r->ctx, o, 42, r->session, &p));
    return p;
}

/* Logits behind ids [n] with whatever the cache gives; what is new is kept. Returns the tokens
 * that were there. */
static int64_t read_ids(rig *r, opt_prefix *p, const int32_t *ids, int64_t n, float *logits) {
    logits_sink to = {logits, rig_n_vocab(r)};
    int64_t past = 0;
    opt_session_truncate(r->session, 0);
    if (p != NULL) {
        GOLDEN_OK(r->ctx, opt_prefix_load(p, r->session, 0, ids, n - 1, &past));
    }
    assert_int_equal(opt_session_n_past(r->session), past);
    const int64_t found = past;
    if (p != NULL) {
        GOLDEN_OK(r->ctx, opt_prefix_read(p, r->session, ids, n));
        past = opt_session_n_past(r->session);
    }
    GOLDEN_OK(r->ctx,
              opt_session_eval(r->session, ids + past, n - past, n - past - 1, keep_last, &to));
    if (p != NULL) {
        GOLDEN_OK(r->ctx, opt_prefix_save(p, r->session, 0, ids, n));
    }
    return found;
}

/* A chain of texts, each with what the cache has of it afterwards. */
static void check_bits(const char *path, opt_compute compute, opt_cache_type cache,
                       const opt_prefix_options *o, int64_t n_batch, int n_threads) {
    static const struct {
        int64_t n, same; /* tokens, and how many of them are those of the first text */
        int64_t found;
    } texts[] = {
        {200, 200, 0},   {200, 200, 199}, {150, 150, 149}, {230, 200, 200},
        {230, 130, 130}, {230, 40, 40},   {64, 64, 63},    {65, 64, 64},
        {230, 0, 0},     {2, 2, 1},       {1, 1, 0},       {230, 200, 229},
    };
    rig r = rig_open_cache(path, compute, cache, N_CTX, n_batch, n_threads);
    rig plain = rig_open_cache(path, compute, cache, N_CTX, 0, 1);
    const int64_t n_vocab = rig_n_vocab(&r);
    opt_prefix *p = open_cache(&r, o);
    float *found = calloc((size_t)n_vocab, sizeof *found);
    float *expected = calloc((size_t)n_vocab, sizeof *expected);
    assert_non_null(found);
    assert_non_null(expected);
    for (int i = 0; i < COUNT_OF(texts); i++) {
        int32_t ids[N_IDS];
        fill_ids(ids, N_IDS, (int)texts[i].same + 1, n_vocab);
        fill_ids(ids, texts[i].same, 0, n_vocab);
        const int64_t n = read_ids(&r, p, ids, texts[i].n, found);
        if (n < texts[i].found) { /* more by chance: ids of different seeds may agree */
            fail_msg("text %d: %d tokens were there, expected %d", i, (int)n, (int)texts[i].found);
        }
        (void)read_ids(&plain, NULL, ids, texts[i].n, expected);
        assert_memory_equal(found, expected, (size_t)n_vocab * sizeof *found);
    }
    assert_int_equal(opt_prefix_get_counts(p)->n_bad, 0);
    assert_int_equal(opt_prefix_get_counts(p)->n_unsaved, 0);
    free(found);
    free(expected);
    opt_prefix_free(p);
    rig_close(&plain);
    rig_close(&r);
}

static void test_prefix__the_same_bits(void **state) {
    char dir[256];
    (void)state;
    static const opt_compute computes[] = {OPT_COMPUTE_FAST, OPT_COMPUTE_EXACT};
    for (int i = 0; i < 2; i++) {
        test_make_dir(dir, sizeof dir);
        const opt_prefix_options on_disk = {.dir = dir};
        const opt_prefix_options in_memory = {.memory_bytes = 64 << 20};
        check_bits(STORIES, computes[i], OPT_CACHE_AUTO, &on_disk, i == 0 ? 0 : 7, 1 + i);
        check_bits(STORIES, computes[i], OPT_CACHE_I8, &in_memory, 16, 3);
        test_remove_dir(dir);
        test_make_dir(dir, sizeof dir);
        const opt_prefix_options both = {.dir = dir, .memory_bytes = 100000};
        check_bits(STORIES, computes[i], OPT_CACHE_I8, &both, 64, 2);
        test_remove_dir(dir);
        test_make_dir(dir, sizeof dir);
        const opt_prefix_options sliding = {.dir = dir};
        check_bits(SLIDING, computes[i], i == 0 ? OPT_CACHE_AUTO : OPT_CACHE_I8, &sliding, 9, 2);
        test_remove_dir(dir);
    }
}

/* Another way to compute, and another model, find nothing. */
static void test_prefix__the_key(void **state) {
    char dir[256];
    int32_t ids[100];
    (void)state;
    test_make_dir(dir, sizeof dir);
    const opt_prefix_options o = {.dir = dir};
    rig a = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    rig b = rig_open(STORIES, OPT_COMPUTE_EXACT, N_CTX, 0, 1);
    float *logits = calloc((size_t)rig_n_vocab(&a), sizeof *logits);
    opt_prefix *pa = open_cache(&a, &o), *pb = open_cache(&b, &o), *other = NULL;
    fill_ids(ids, 100, 0, rig_n_vocab(&a));
    assert_int_equal(read_ids(&a, pa, ids, 100, logits), 0);
    assert_int_equal(read_ids(&b, pb, ids, 100, logits), 0);
    GOLDEN_OK(a.ctx, opt_prefix_new(a.ctx, &o, 43, a.session, &other));
    assert_int_equal(read_ids(&a, other, ids, 100, logits), 0);
    assert_int_equal(read_ids(&a, pa, ids, 100, logits), 99);
    assert_int_equal(read_ids(&b, pb, ids, 100, logits), 99);
    assert_int_equal(read_ids(&a, other, ids, 100, logits), 99);
    opt_prefix_free(pa);
    opt_prefix_free(pb);
    opt_prefix_free(other);
    free(logits);
    rig_close(&a);
    rig_close(&b);
    test_remove_dir(dir);
}

/* ---- damaged entries ---- */

enum { DATA_BYTES = 24, ENTRY_BYTES = 40 + 4 * 66 + DATA_BYTES + 8 };

static void make_entry(uint8_t bytes[ENTRY_BYTES]) {
    int32_t ids[66];
    fill_ids(ids, 66, 0, 500);
    opt_prefix_entry_head(7, ids, 64, 2, DATA_BYTES, bytes);
    memset(bytes + opt_prefix_head_bytes(64, 2), 0x5a, DATA_BYTES);
    opt_prefix_entry_seal(bytes, ENTRY_BYTES);
}

/* Puts a number somewhere; sealed again, so that only this number is wrong. */
typedef struct damage {
    int at;
    uint64_t value;
    const char *reason; /* NULL: still an entry */
} damage;

static void test_prefix_entry__damaged(void **state) {
    static const damage rows[] = {
        {0, 1, "does not begin with LATHEKV1"},
        {16, 65, "tokens in front: found 65, expected 64"},
        {16, UINT64_MAX - 63, "tokens in front"},
        {16, 128, "bytes: found 336, expected 592"},
        {16, 0, "bytes: found 336, expected 80"},
        {24, 0, "tokens of its own: found 0"},
        {24, 65, "tokens of its own: found 65"},
        {24, UINT64_MAX, "tokens of its own"},
        {24, 3, "bytes: found 336, expected 340"},
        {32, 0, "bytes: found 336, expected 312"},
        {32, UINT64_MAX, "bytes of data"},
        {32, UINT64_MAX - 400, "bytes: found 336"},
        {8, 9, NULL}, /* the key is the caller's business */
    };
    uint8_t bytes[ENTRY_BYTES];
    char reason[OPT_PREFIX_REASON];
    opt_prefix_entry e;
    (void)state;
    make_entry(bytes);
    assert_true(opt_prefix_entry_parse(bytes, ENTRY_BYTES, false, &e, reason));
    assert_int_equal(e.key, 7);
    assert_int_equal(e.n_before, 64);
    assert_int_equal(e.n, 2);
    assert_int_equal(e.data_bytes, DATA_BYTES);
    for (size_t n = 0; n < ENTRY_BYTES; n++) { /* cut off anywhere */
        assert_false(opt_prefix_entry_parse(bytes, n, false, &e, reason));
    }
    for (size_t i = 0; i < ENTRY_BYTES; i++) { /* any bit */
        bytes[i] ^= (uint8_t)(1U << i % 8);
        assert_false(opt_prefix_entry_parse(bytes, ENTRY_BYTES, false, &e, reason));
        bytes[i] ^= (uint8_t)(1U << i % 8);
    }
    for (int i = 0; i < COUNT_OF(rows); i++) {
        make_entry(bytes);
        opt_wr_u64le(bytes + rows[i].at, rows[i].value);
        opt_prefix_entry_seal(bytes, ENTRY_BYTES);
        const bool ok = opt_prefix_entry_parse(bytes, ENTRY_BYTES, false, &e, reason);
        assert_int_equal(ok, rows[i].reason == NULL);
        if (!ok && strstr(reason, rows[i].reason) == NULL) {
            fail_msg("row %d: %s", i, reason);
        }
    }
}

static void test_prefix_entry__match(void **state) {
    uint8_t bytes[ENTRY_BYTES];
    char reason[OPT_PREFIX_REASON];
    int32_t ids[70];
    opt_prefix_entry e;
    (void)state;
    make_entry(bytes);
    assert_true(opt_prefix_entry_parse(bytes, ENTRY_BYTES, false, &e, reason));
    fill_ids(ids, 70, 0, 500);
    assert_int_equal(opt_prefix_entry_match(&e, ids, 70), 2);
    assert_int_equal(opt_prefix_entry_match(&e, ids, 65), 1);
    assert_int_equal(opt_prefix_entry_match(&e, ids, 64), 0);
    assert_int_equal(opt_prefix_entry_match(&e, ids, 3), 0);
    ids[65]++;
    assert_int_equal(opt_prefix_entry_match(&e, ids, 70), 1);
    ids[0]++;
    assert_int_equal(opt_prefix_entry_match(&e, ids, 70), 0);
}

/* Paths of the entries in a directory, sorted by name. */
static int list_entries(const char *dir, char paths[MAX_FILES][512]) {
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strstr(e->d_name, ".kv") != NULL) {
            assert_true(n < MAX_FILES);
            assert_true(snprintf(paths[n++], 512, "%s/%s", dir, e->d_name) < 512);
        }
    }
    (void)closedir(d);
    qsort(paths, (size_t)n, 512, (int (*)(const void *, const void *))strcmp);
    return n;
}

static void flip_byte(const char *path, long at) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    const int c = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    assert_int_equal(fputc(c ^ 1, f), c ^ 1);
    assert_int_equal(fclose(f), 0);
}

static void damage_file(const char *path, int how) {
    static const char text[] = "not an entry at all, but something longer than its head";
    if (how == 0) {
        flip_byte(path, -100);
    } else if (how == 1) {
        assert_int_equal(truncate(path, 1000), 0);
    } else if (how == 2) {
        assert_int_equal(truncate(path, 3), 0);
    } else {
        test_write_file(path, text, sizeof text);
    }
}

static void test_prefix__damaged_files(void **state) {
    char dir[256], paths[MAX_FILES][512];
    int32_t ids[200];
    (void)state;
    test_make_dir(dir, sizeof dir);
    opt_prefix_options o = {.dir = dir};
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 2);
    const size_t row = (size_t)rig_n_vocab(&r) * sizeof(float);
    float *expected = malloc(row), *found = malloc(row);
    opt_prefix *p = open_cache(&r, &o);
    fill_ids(ids, 200, 0, rig_n_vocab(&r));
    (void)read_ids(&r, p, ids, 200, expected);
    opt_prefix_free(p);
    const int n = list_entries(dir, paths);
    assert_int_equal(n, 4);
    for (int i = 0; i < n; i++) {
        for (int how = 0; how < 4; how++) {
            const int warnings = opt_ctx_n_warnings(r.ctx);
            damage_file(paths[i], how);
            p = open_cache(&r, &o);
            const int64_t n_found = read_ids(&r, p, ids, 200, found);
            assert_true(n_found < 199 && n_found % OPT_PREFIX_BLOCK == 0);
            assert_memory_equal(found, expected, row);
            assert_int_equal(opt_prefix_get_counts(p)->n_bad, 1);
            assert_int_equal(opt_prefix_get_counts(p)->n_saved, 1); /* this one, anew */
            assert_int_equal(opt_ctx_n_warnings(r.ctx), warnings + 1);
            opt_prefix_free(p);
            const char *text = opt_ctx_warning(r.ctx, warnings);
            assert_non_null(strstr(text, strrchr(paths[i], '/') + 1));
            assert_non_null(strstr(text, "is damaged ("));
            p = open_cache(&r, &o);
            assert_int_equal(read_ids(&r, p, ids, 200, found), 199);
            assert_int_equal(opt_prefix_get_counts(p)->n_bad, 0);
            opt_prefix_free(p);
        }
    }
    /* One entry in the place of another, whole but foreign; and the strict way. */
    char other[600];
    snprintf(other, sizeof other, "%s.old", paths[1]);
    assert_int_equal(rename(paths[1], other), 0);
    assert_int_equal(link(paths[0], paths[1]), 0);
    o.strict = true;
    p = open_cache(&r, &o);
    int64_t n_out = 0;
    opt_session_truncate(r.session, 0);
    assert_int_equal(opt_prefix_load(p, r.session, 0, ids, 199, &n_out), OPT_ERR_INPUT);
    assert_error(r.ctx, OPT_ERR_INPUT, paths[1], "is damaged: belongs to another model or text");
    assert_int_equal(opt_session_n_past(r.session), 64); /* up to there it is right */
    opt_prefix_free(p);
    free(expected);
    free(found);
    rig_close(&r);
    test_remove_dir(dir);
}

/* ---- sizes ---- */

static uint64_t bytes_in(const char *dir) {
    char paths[MAX_FILES][512];
    uint64_t total = 0;
    const int n = list_entries(dir, paths);
    for (int i = 0; i < n; i++) {
        struct stat s;
        assert_int_equal(stat(paths[i], &s), 0);
        total += (uint64_t)s.st_size;
    }
    return total;
}

static void test_prefix__keeps_to_its_size(void **state) {
    char dir[256];
    int32_t ids[2][200];
    (void)state;
    test_make_dir(dir, sizeof dir);
    const opt_prefix_options o = {.dir = dir,
                                  .dir_bytes = 250000}; /* 5 blocks of 42 KB and a bit */
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    float *logits = calloc((size_t)rig_n_vocab(&r), sizeof *logits);
    opt_prefix *p = open_cache(&r, &o);
    for (int i = 0; i < 2; i++) {
        fill_ids(ids[i], 200, 11 + i, rig_n_vocab(&r));
    }
    (void)read_ids(&r, p, ids[0], 200, logits);
    assert_true(bytes_in(dir) <= o.dir_bytes);
    (void)read_ids(&r, p, ids[1], 200, logits);
    assert_true(bytes_in(dir) <= o.dir_bytes);
    assert_int_equal(opt_prefix_get_counts(p)->n_removed, 3);
    /* The end of the older text went first, its beginning is still of use. */
    assert_int_equal(read_ids(&r, p, ids[1], 200, logits), 199);
    int64_t n = 0;
    opt_session_truncate(r.session, 0);
    GOLDEN_OK(r.ctx, opt_prefix_load(p, r.session, 0, ids[0], 199, &n));
    assert_int_equal(n, 64);
    opt_prefix_free(p);
    const opt_prefix_options tiny = {.dir = dir, .dir_bytes = 1000};
    const int warnings = opt_ctx_n_warnings(r.ctx);
    p = open_cache(&r, &tiny);
    (void)read_ids(&r, p, ids[1], 200, logits);
    assert_int_equal(opt_prefix_get_counts(p)->n_unsaved, 1);
    assert_int_equal(opt_ctx_n_warnings(r.ctx), warnings + 1);
    assert_non_null(strstr(opt_ctx_warning(r.ctx, warnings), "more than the directory may hold"));
    opt_prefix_free(p);
    free(logits);
    rig_close(&r);
    test_remove_dir(dir);
}

/* Every step of writing fails once: the text is right, the failure is named, nothing is left
 * behind, and the next run writes what is missing. */
static void test_prefix__a_full_disk(void **state) {
    char dir[256], text[32], paths[MAX_FILES][512];
    int32_t ids[100];
    (void)state;
    rig plain = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    const size_t row = (size_t)rig_n_vocab(&plain) * sizeof(float);
    float *expected = malloc(row), *found = malloc(row);
    int n_failed = 0;
    fill_ids(ids, 100, 0, rig_n_vocab(&plain));
    (void)read_ids(&plain, NULL, ids, 100, expected);
    for (int n = 1; n < 100; n++) {
        test_make_dir(dir, sizeof dir);
        opt_prefix_options o = {.dir = dir, .strict = n % 2 == 0};
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(setenv("OPT_FAULT_WRITE", text, 1), 0);
        rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
        assert_int_equal(unsetenv("OPT_FAULT_WRITE"), 0);
        opt_prefix *p = open_cache(&r, &o);
        (void)read_ids(&r, NULL, ids, 100, found);
        const opt_status st = opt_prefix_save(p, r.session, 0, ids, 100);
        const bool failed = opt_prefix_get_counts(p)->n_unsaved > 0;
        assert_memory_equal(found, expected, row);
        assert_int_equal(st, failed && o.strict ? OPT_ERR_IO : OPT_OK);
        if (failed && !o.strict) {
            assert_int_equal(opt_ctx_n_warnings(r.ctx), 1);
            assert_non_null(strstr(opt_ctx_warning(r.ctx, 0), "the prefix is not kept: "));
        }
        opt_ctx_clear_error(r.ctx);
        n_failed += failed;
        (void)read_ids(&r, p, ids, 100, found);
        assert_memory_equal(found, expected, row);
        assert_int_equal(read_ids(&r, p, ids, 100, found), 99);
        assert_int_equal(list_entries(dir, paths), 2); /* and no temporary file */
        opt_prefix_free(p);
        rig_close(&r);
        test_remove_dir(dir);
        if (!failed) {
            assert_true(n_failed >= 8);
            break;
        }
    }
    free(expected);
    free(found);
    rig_close(&plain);
}

/* ---- several users ---- */

enum { N_ROUNDS = 6, N_TEXTS = 5 };

/* Reads texts with common beginnings; the directory is too small for all of them. Returns how many
 * had other bits than without the cache. */
static int use_cache(const char *dir, int seed) {
    const opt_prefix_options o = {.dir = dir, .dir_bytes = 300000};
    rig r = rig_open(STORIES, OPT_COMPUTE_FAST, N_CTX, 0, 1);
    const size_t row = (size_t)rig_n_vocab(&r) * sizeof(float);
    float *expected = malloc(row), *found = malloc(row);
    opt_prefix *p = open_cache(&r, &o);
    int n_wrong = 0;
    for (int i = 0; i < N_ROUNDS * N_TEXTS; i++) {
        int32_t ids[N_IDS];
        const int which = (i * 3 + seed) % N_TEXTS;
        fill_ids(ids, N_IDS, which, rig_n_vocab(&r));
        fill_ids(ids, 70, 0, rig_n_vocab(&r));
        const int64_t n = 150 + 10 * which;
        (void)read_ids(&r, NULL, ids, n, expected);
        (void)read_ids(&r, p, ids, n, found);
        n_wrong += memcmp(expected, found, row) != 0;
    }
    n_wrong += opt_prefix_get_counts(p)->n_bad != 0 || opt_prefix_get_counts(p)->n_unsaved != 0 ||
               opt_prefix_get_counts(p)->n_loaded == 0;
    opt_prefix_free(p);
    free(expected);
    free(found);
    rig_close(&r);
    return n_wrong;
}

typedef struct user_job {
    const char *dir;
    int seed, n_wrong;
} user_job;

static void *use_in_thread(void *user) {
    user_job *job = user;
    job->n_wrong = use_cache(job->dir, job->seed);
    return NULL;
}

static void test_prefix__two_threads(void **state) {
    char dir[256];
    pthread_t threads[2];
    (void)state;
    test_make_dir(dir, sizeof dir);
    user_job jobs[2] = {{dir, 0, -1}, {dir, 2, -1}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_in_thread, &jobs[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].n_wrong, 0);
    }
    assert_true(bytes_in(dir) <= 300000);
    test_remove_dir(dir);
}

static void test_prefix__two_processes(void **state) {
    char dir[256];
    pid_t pids[3];
    (void)state;
    test_make_dir(dir, sizeof dir);
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            _exit(use_cache(dir, i) == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(bytes_in(dir) <= 300000);
    test_remove_dir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix__two_processes), /* first: it forks */
        cmocka_unit_test(test_prefix__the_same_bits),
        cmocka_unit_test(test_prefix__the_key),
        cmocka_unit_test(test_prefix_entry__damaged),
        cmocka_unit_test(test_prefix_entry__match),
        cmocka_unit_test(test_prefix__damaged_files),
        cmocka_unit_test(test_prefix__keeps_to_its_size),
        cmocka_unit_test(test_prefix__a_full_disk),
        cmocka_unit_test(test_prefix__two_threads),
    };
    return cmocka_run_group_tests_name("prefix", tests, NULL, NULL);
}
