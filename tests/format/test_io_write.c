#include "gguf_build.h"

#include <pthread.h>

#include "base/num.h"
#include "io/container.h"
#include "io/gguf_write.h"
#include "io/safetensors_write.h"

/* ---- GGUF ---- */

/* Tensors of a small model: ggml types, an own format with a partial group, an empty tensor. */
enum { N_DECLS = 5 };

static void make_decls(opt_gguf_decl *d) {
    d[0] = (opt_gguf_decl){"token_embd.weight", opt_format_by_name("q8_0"), 2, {7, 64}, false};
    d[1] =
        (opt_gguf_decl){"blk.0.ffn_up.weight", opt_format_by_name("int4_g32"), 2, {3, 40}, false};
    d[2] = (opt_gguf_decl){"blk.0.norm.weight", opt_format_by_name("f32"), 1, {5}, false};
    d[3] = (opt_gguf_decl){"empty", opt_format_by_name("f16"), 3, {2, 0, 4}, false};
    d[4] = (opt_gguf_decl){"experts", opt_format_by_name("int2_g64_zp"), 3, {2, 3, 65}, false};
}

static opt_kv *make_kv(opt_ctx *ctx) {
    opt_kv *kv = NULL;
    static const opt_kv_str strings[] = {{"a", 1}, {"", 0}, {"\xff\0z", 3}};
    static const double doubles[] = {1.5, -2};
    static const uint8_t flags[] = {1, 0, 1};
    assert_int_equal(opt_kv_new(ctx, &kv), OPT_OK);
    assert_int_equal(opt_kv_set_str(kv, "general.architecture", "llama"), OPT_OK);
    assert_int_equal(opt_kv_set_u32(kv, "llama.block_count", 1), OPT_OK);
    assert_int_equal(opt_kv_set_i32(kv, "i32", -5), OPT_OK);
    assert_int_equal(opt_kv_set_u64(kv, "u64", UINT64_MAX), OPT_OK);
    assert_int_equal(opt_kv_set_f32(kv, "f32", 0.25F), OPT_OK);
    assert_int_equal(opt_kv_set_bool(kv, "bool", true), OPT_OK);
    assert_int_equal(opt_kv_set_str_array(kv, "strings", strings, 3), OPT_OK);
    assert_int_equal(opt_kv_set_array(kv, "doubles", OPT_KV_F64, doubles, 2), OPT_OK);
    assert_int_equal(opt_kv_set_array(kv, "flags", OPT_KV_BOOL, flags, 3), OPT_OK);
    assert_int_equal(opt_kv_set_array(kv, "nothing", OPT_KV_U16, NULL, 0), OPT_OK);
    return kv;
}

static size_t decl_bytes(const opt_gguf_decl *d) {
    size_t n = 0;
    int64_t n_rows = 1;
    assert_true(opt_mul_dims(d->dims, d->n_dims - 1, &n_rows));
    assert_true(opt_format_bytes(d->format, n_rows, d->dims[d->n_dims - 1], &n));
    return n;
}

/* Any bytes serve as stored blocks here. */
static uint8_t byte_of(int64_t tensor, size_t i) { return (uint8_t)(17 * (size_t)tensor + 3 * i); }

/* Writes the model in pieces of `piece` bytes, the tensors from last to first. */
static opt_status write_model(opt_ctx *ctx, const char *path, const opt_kv *kv, size_t piece,
                              bool force) {
    opt_status st = OPT_OK;
    opt_gguf_decl decls[N_DECLS];
    opt_gguf_writer *w = NULL;
    uint8_t data[4096];
    make_decls(decls);
    OPT_TRY(opt_gguf_create(ctx, path, force, kv, decls, N_DECLS, &w));
    for (int64_t t = N_DECLS - 1; t >= 0; t--) {
        const size_t n = decl_bytes(&decls[t]);
        assert_true(n <= sizeof data);
        for (size_t i = 0; i < n; i++) {
            data[i] = byte_of(t, i);
        }
        for (size_t i = 0; i < n; i += piece) {
            OPT_TRY(opt_gguf_append(w, t, data + i, piece < n - i ? piece : n - i));
        }
    }
    opt_gguf_writer *const whole = w;
    w = NULL;
    OPT_TRY(opt_gguf_commit(whole));
done:
    opt_gguf_discard(w);
    return st;
}

static void read_whole(const char *path, bytes *b) {
    uint8_t chunk[4096];
    FILE *const f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n = 0; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) {
        add(b, chunk, n);
    }
    assert_int_equal(fclose(f), 0);
}

static void check_same_kv(const opt_kv *expected, const opt_kv *found) {
    for (size_t i = 0; i < opt_kv_count(expected); i++) {
        const opt_kv_entry *const a = opt_kv_at(expected, i);
        const opt_kv_entry *const b = opt_kv_at(found, i);
        assert_string_equal(a->key, b->key);
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->elem, b->elem);
        assert_int_equal(a->n, b->n);
        if (a->elem != OPT_KV_STRING) {
            assert_memory_equal(a->data, b->data, a->n * opt_kv_type_bytes(a->elem));
            continue;
        }
        for (size_t j = 0; j < a->n; j++) {
            const opt_kv_str *const x = (const opt_kv_str *)a->data + j;
            const opt_kv_str *const y = (const opt_kv_str *)b->data + j;
            assert_int_equal(x->len, y->len);
            assert_memory_equal(x->data, y->data, x->len);
        }
    }
}

static void test_gguf_write__reads_back_what_was_written(void **state) {
    scratch s;
    opt_gguf_decl decls[N_DECLS];
    opt_source *source = NULL;
    int64_t n_checked = 0;
    opt_ctx *const ctx = new_ctx(2);
    opt_kv *const kv = make_kv(ctx);
    (void)state;
    scratch_new(&s);
    make_decls(decls);
    assert_int_equal(write_model(ctx, scratch_path(&s, "m.gguf"), kv, 7, false), OPT_OK);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    assert_int_equal(opt_source_n_tensors(source), N_DECLS);
    for (int64_t t = 0; t < N_DECLS; t++) {
        const opt_tensor *const found = opt_source_find(source, decls[t].name);
        assert_non_null(found);
        assert_ptr_equal(found->format, decls[t].format);
        assert_int_equal(found->n_dims, decls[t].n_dims);
        assert_memory_equal(found->dims, decls[t].dims,
                            (size_t)found->n_dims * sizeof *found->dims);
        assert_int_equal(found->bytes, decl_bytes(&decls[t]));
        for (size_t i = 0; i < found->bytes; i++) {
            assert_int_equal(found->data[i], byte_of(t, i));
        }
    }
    check_same_kv(kv, opt_source_kv(source));
    assert_int_equal(opt_source_verify(source, &n_checked), OPT_OK);
    assert_int_equal(n_checked, N_DECLS);
    const char *generator = NULL;
    assert_int_equal(
        opt_kv_get_str(ctx, opt_source_kv(source), "lathe.generator", true, &generator), OPT_OK);
    assert_non_null(strstr(generator, opt_version()));
    opt_source_close(source);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* The predicted size is the size of the file, whatever the alignment and the keys. */
static void test_gguf_write__predicts_the_size_exactly(void **state) {
    static const uint32_t alignments[] = {0, 8, 16, 64, 4096, 1u << 20};
    (void)state;
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        scratch s;
        opt_gguf_decl decls[N_DECLS];
        uint64_t predicted = 0;
        bytes b = {0};
        opt_ctx *const ctx = new_ctx(1);
        opt_kv *const kv = make_kv(ctx);
        scratch_new(&s);
        make_decls(decls);
        if (alignments[i] != 0) {
            assert_int_equal(opt_kv_set_u32(kv, "general.alignment", alignments[i]), OPT_OK);
        }
        const opt_kv *const given = i == 0 ? NULL : kv;
        assert_int_equal(opt_gguf_predict_bytes(ctx, given, decls, N_DECLS, &predicted), OPT_OK);
        assert_int_equal(write_model(ctx, scratch_path(&s, "m.gguf"), given, 100, false), OPT_OK);
        read_whole(s.path, &b);
        assert_int_equal(b.n, predicted);
        free(b.data);
        opt_kv_free(kv);
        opt_ctx_free(ctx);
        scratch_remove(&s);
    }
}

/* Old keys about one file do not survive, and neither pieces nor the path change a byte. */
static void test_gguf_write__same_bytes_for_same_content(void **state) {
    scratch s;
    bytes a = {0};
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    opt_kv *const kv = make_kv(ctx);
    (void)state;
    scratch_new(&s);
    assert_int_equal(write_model(ctx, scratch_path(&s, "a.gguf"), kv, 1, false), OPT_OK);
    read_whole(s.path, &a);
    assert_int_equal(opt_kv_set_u32(kv, "split.count", 3), OPT_OK);
    assert_int_equal(opt_kv_set_u32(kv, "split.no", 0), OPT_OK);
    assert_int_equal(opt_kv_set_u32(kv, "lathe.format_version", 9), OPT_OK);
    assert_int_equal(opt_kv_set_str(kv, "lathe.tensor.xxh3", "old"), OPT_OK);
    assert_int_equal(write_model(ctx, scratch_path(&s, "b.gguf"), kv, 4096, false), OPT_OK);
    read_whole(s.path, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    free(a.data);
    free(b.data);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

typedef struct writer_thread {
    opt_gguf_writer *w;
    int64_t tensor;
    size_t n;
    opt_status st;
} writer_thread;

static void *append_all(void *arg) {
    writer_thread *const t = arg;
    for (size_t i = 0; i < t->n && t->st == OPT_OK; i++) {
        const uint8_t byte = byte_of(t->tensor, i);
        t->st = opt_gguf_append(t->w, t->tensor, &byte, 1);
    }
    return NULL;
}

static void test_gguf_write__tensors_may_come_from_threads(void **state) {
    scratch s;
    opt_gguf_decl decls[N_DECLS];
    opt_gguf_writer *w = NULL;
    pthread_t ids[N_DECLS];
    writer_thread threads[N_DECLS];
    bytes a = {0};
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(2);
    (void)state;
    scratch_new(&s);
    make_decls(decls);
    assert_int_equal(write_model(ctx, scratch_path(&s, "a.gguf"), NULL, 64, false), OPT_OK);
    read_whole(s.path, &a);
    assert_int_equal(
        opt_gguf_create(ctx, scratch_path(&s, "b.gguf"), false, NULL, decls, N_DECLS, &w), OPT_OK);
    for (int64_t i = 0; i < N_DECLS; i++) {
        threads[i] = (writer_thread){.w = w, .tensor = i, .n = decl_bytes(&decls[i])};
        assert_int_equal(pthread_create(&ids[i], NULL, append_all, &threads[i]), 0);
    }
    for (int64_t i = 0; i < N_DECLS; i++) {
        assert_int_equal(pthread_join(ids[i], NULL), 0);
        assert_int_equal(threads[i].st, OPT_OK);
    }
    assert_int_equal(opt_gguf_commit(w), OPT_OK);
    read_whole(scratch_path(&s, "b.gguf"), &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    free(a.data);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* Bytes in any order, checksums in order: the file is that of appending. */
static void test_gguf_write__puts_in_any_order(void **state) {
    scratch s;
    opt_gguf_decl decls[N_DECLS];
    opt_gguf_writer *w = NULL;
    uint8_t data[4096];
    bytes a = {0};
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    make_decls(decls);
    assert_int_equal(write_model(ctx, scratch_path(&s, "a.gguf"), NULL, 64, false), OPT_OK);
    read_whole(s.path, &a);
    assert_int_equal(
        opt_gguf_create(ctx, scratch_path(&s, "b.gguf"), false, NULL, decls, N_DECLS, &w), OPT_OK);
    for (int64_t t = 0; t < N_DECLS; t++) {
        const size_t n = decl_bytes(&decls[t]);
        const size_t half = n / 2;
        for (size_t i = 0; i < n; i++) {
            data[i] = byte_of(t, i);
        }
        assert_int_equal(opt_gguf_put(w, t, half, data + half, n - half), OPT_OK);
        assert_int_equal(opt_gguf_account(w, t, data, n / 3), OPT_OK);
        assert_int_equal(opt_gguf_account(w, t, data + n / 3, n - n / 3), OPT_OK);
        assert_int_equal(opt_gguf_put(w, t, 0, data, half), OPT_OK);
        assert_int_equal(opt_gguf_put(w, t, half, data, n - half + 1), OPT_ERR_BUG);
        opt_ctx_clear_error(ctx);
        assert_int_equal(opt_gguf_account(w, t, data, 1), OPT_ERR_BUG);
        opt_ctx_clear_error(ctx);
    }
    assert_int_equal(opt_gguf_commit(w), OPT_OK);
    read_whole(scratch_path(&s, "b.gguf"), &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    /* Bytes that were accounted for but not written do not pass for a file. */
    assert_int_equal(
        opt_gguf_create(ctx, scratch_path(&s, "b.gguf"), true, NULL, decls, N_DECLS, &w), OPT_OK);
    for (int64_t t = 0; t < N_DECLS; t++) {
        memset(data, 1, sizeof data);
        assert_int_equal(opt_gguf_account(w, t, data, decl_bytes(&decls[t])), OPT_OK);
    }
    assert_int_equal(opt_gguf_commit(w), OPT_ERR_IO);
    expect_error(ctx, "not written", OPT_ERR_IO, "does not read back as it was written");
    free(a.data);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* ---- damage ---- */

/* Opens and verifies. */
static opt_status check_file(opt_ctx *ctx, const char *path, int64_t *n_checked) {
    opt_source *source = NULL;
    opt_status st = opt_source_open(ctx, path, &source);
    if (st == OPT_OK) {
        st = opt_source_verify(source, n_checked);
    }
    opt_source_close(source);
    return st;
}

/* Marks the bytes of the file that belong to no tensor and not to the header: padding behind
 * tensors. */
static void mark_padding(opt_ctx *ctx, const char *path, uint8_t *is_padding, size_t n) {
    opt_source *source = NULL;
    assert_int_equal(opt_source_open(ctx, path, &source), OPT_OK);
    const uint8_t *const base = source->files[0].buf->data;
    memset(is_padding, 1, n);
    memset(is_padding, 0, source->files[0].header_bytes);
    for (int64_t i = 0; i < opt_source_n_tensors(source); i++) {
        const opt_tensor *const t = opt_source_tensor(source, i);
        memset(is_padding + (t->data - base), 0, t->bytes);
    }
    opt_source_close(source);
}

static void test_gguf_write__every_flipped_bit_is_found(void **state) {
    scratch s;
    bytes b = {0};
    int64_t n_checked = 0;
    opt_ctx *const ctx = new_ctx(1);
    opt_kv *const kv = make_kv(ctx);
    (void)state;
    scratch_new(&s);
    assert_int_equal(write_model(ctx, scratch_path(&s, "m.gguf"), kv, 64, false), OPT_OK);
    read_whole(s.path, &b);
    uint8_t *const is_padding = malloc(b.n);
    assert_non_null(is_padding);
    mark_padding(ctx, s.path, is_padding, b.n);
    assert_int_equal(check_file(ctx, s.path, &n_checked), OPT_OK);
    assert_int_equal(n_checked, N_DECLS);
    FILE *const f =
        fopen(s.path, "r+b"); /* one byte is written in place: a new file a bit is slow */
    assert_non_null(f);
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        const uint8_t flipped = (uint8_t)(b.data[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(pwrite(fileno(f), &flipped, 1, (off_t)(bit / 8)), 1);
        const opt_status st = check_file(ctx, s.path, &n_checked);
        assert_int_equal(pwrite(fileno(f), &b.data[bit / 8], 1, (off_t)(bit / 8)), 1);
        if (is_padding[bit / 8] ? st != OPT_OK : st != OPT_ERR_INPUT && st != OPT_ERR_UNSUPPORTED) {
            fail_msg("bit %zu of byte %zu: %s", bit % 8, bit / 8, opt_status_name(st));
        }
        opt_ctx_clear_error(ctx);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(check_file(ctx, s.path, &n_checked), OPT_OK);
    free(is_padding);
    free(b.data);
    opt_kv_free(kv);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf_write__damage_names_the_tensor(void **state) {
    scratch s;
    bytes b = {0};
    int64_t n_checked = 0;
    opt_ctx *const ctx = new_ctx(2);
    (void)state;
    scratch_new(&s);
    assert_int_equal(write_model(ctx, scratch_path(&s, "m.gguf"), NULL, 64, false), OPT_OK);
    read_whole(s.path, &b);
    b.data[b.n - 40] ^= 1; /* in the last tensor: its padding has fewer bytes */
    write_file(s.path, b.data, b.n);
    assert_int_equal(check_file(ctx, s.path, &n_checked), OPT_ERR_INPUT);
    expect_error(ctx, "flip", OPT_ERR_INPUT, "tensor 'experts' is damaged: its checksum is ");
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf_write__a_file_that_shrinks_is_noticed(void **state) {
    scratch s;
    opt_source *source = NULL;
    int64_t n_checked = 0;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    assert_int_equal(write_model(ctx, scratch_path(&s, "m.gguf"), NULL, 64, false), OPT_OK);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    assert_int_equal(truncate(s.path, 100), 0);
    assert_int_equal(opt_source_verify(source, &n_checked), OPT_ERR_INPUT);
    expect_error(ctx, "shrunk", OPT_ERR_INPUT, "the file changed while it was in use");
    opt_source_close(source);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* ---- misuse and refusals ---- */

static void test_gguf_write__refuses_what_gguf_cannot_hold(void **state) {
    static const struct {
        const char *name;
        const char *format;
        int n_dims;
        int64_t dims[4];
        opt_status status;
        const char *message;
    } rows[] = {
        {"", "f32", 1, {1}, OPT_ERR_UNSUPPORTED, "a tensor name of 0 bytes"},
        {"0123456789012345678901234567890123456789012345678901234567890123",
         "f32",
         1,
         {1},
         OPT_ERR_UNSUPPORTED,
         "a tensor name of 64 bytes; GGUF allows 1 to 63"},
        {"t", "f32", 5, {1, 1, 1, 1}, OPT_ERR_UNSUPPORTED, "a tensor of 5 dimensions"},
        {"t", "f32", 0, {0}, OPT_ERR_UNSUPPORTED, "a tensor of 0 dimensions; GGUF allows 1 to 4"},
        {"t", "u8", 1, {4}, OPT_ERR_UNSUPPORTED, "GGUF has no type for u8"},
        {"t",
         "q8_0",
         2,
         {2, 33},
         OPT_ERR_UNSUPPORTED,
         "rows of 33 elements cannot be stored as q8"},
        {"t", "f32", 2, {-1, 4}, OPT_ERR_BUG, "the shape is negative or overflows"},
        {"t", "f32", 2, {INT64_MAX, 4}, OPT_ERR_BUG, "the shape is negative or overflows"},
        {"t", "i8", 1, {INT64_MAX}, OPT_ERR_UNSUPPORTED, "the file would be too large"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_ctx *const ctx = new_ctx(1);
        uint64_t size = 0;
        opt_gguf_decl d[3] = {
            {rows[i].name, opt_format_by_name(rows[i].format), rows[i].n_dims, {0}, false}};
        memcpy(d[0].dims, rows[i].dims, sizeof d[0].dims);
        d[1] = d[0];
        d[2] = d[0];
        assert_int_equal(opt_gguf_predict_bytes(ctx, NULL, d, 3, &size), rows[i].status);
        expect_error(ctx, rows[i].message, rows[i].status, rows[i].message);
        opt_ctx_free(ctx);
    }
}

/* Nothing is left of a file that was not finished. */
static void expect_no_file(const scratch *s) {
    char command[300];
    (void)snprintf(command, sizeof command, "test -z \"$(ls -A '%s')\"", s->dir);
    assert_int_equal(system(command), 0);
}

static void test_gguf_write__misuse_is_an_error_and_leaves_nothing(void **state) {
    scratch s;
    opt_gguf_writer *w = NULL;
    opt_ctx *const ctx = new_ctx(1);
    opt_gguf_decl d[2] = {{"a", &opt_format_f32, 1, {2}, false},
                          {"a", &opt_format_f32, 1, {2}, false}};
    (void)state;
    scratch_new(&s);
    const char *const path = scratch_path(&s, "m.gguf");
    assert_int_equal(opt_gguf_create(ctx, path, false, NULL, d, 2, &w), OPT_ERR_BUG);
    expect_error(ctx, "name twice", OPT_ERR_BUG, "two tensors of the name 'a'");
    opt_ctx_clear_error(ctx);
    d[1].name = "b";
    assert_int_equal(opt_gguf_create(ctx, path, false, NULL, d, 2, &w), OPT_OK);
    assert_int_equal(opt_gguf_append(w, 0, "12345678", 8), OPT_OK);
    assert_int_equal(opt_gguf_append(w, 1, "1234", 4), OPT_OK);
    assert_int_equal(opt_gguf_append(w, 1, "12345", 5), OPT_ERR_BUG);
    expect_error(ctx, "too much", OPT_ERR_BUG, "tensor 'b' gets 5 bytes at offset 4; it has 8");
    opt_ctx_clear_error(ctx);
    assert_int_equal(opt_gguf_append(w, 2, "1", 1), OPT_ERR_BUG);
    opt_ctx_clear_error(ctx);
    assert_int_equal(opt_gguf_commit(w), OPT_ERR_BUG);
    expect_error(ctx, "incomplete", OPT_ERR_BUG, "tensor 'b' got 4 of its 8 bytes");
    opt_ctx_clear_error(ctx);
    assert_int_equal(opt_gguf_create(ctx, path, false, NULL, d, 2, &w), OPT_OK);
    opt_gguf_discard(w);
    opt_gguf_discard(NULL);
    expect_no_file(&s);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_gguf_write__replaces_only_when_forced(void **state) {
    scratch s;
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    write_file(scratch_path(&s, "m.gguf"), "old", 3);
    assert_int_equal(write_model(ctx, s.path, NULL, 64, false), OPT_ERR_USAGE);
    opt_ctx_clear_error(ctx);
    read_whole(s.path, &b);
    assert_int_equal(b.n, 3);
    assert_int_equal(write_model(ctx, s.path, NULL, 64, true), OPT_OK);
    expect_open("replaced", s.path, OPT_OK, NULL);
    free(b.data);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* ---- safetensors ---- */

static const char *const plain[] = {"f64", "f32", "f16", "bf16", "f8_e4m3", "f8_e5m2", "i64", "i32",
                                    "i16", "i8",  "u64", "u32",  "u16",     "u8",      "bool"};
enum { N_PLAIN = sizeof plain / sizeof plain[0], N_ST = N_PLAIN + 2 };

/* A tensor of every dtype, a scalar, and an empty one; names need escapes. */
static void make_st_decls(opt_st_decl *d, char names[][64]) {
    for (int i = 0; i < N_ST; i++) {
        (void)snprintf(names[i], 64, "layer \"%d\"/\xc3\xa4\\\n", i);
        d[i] = (opt_st_decl){names[i], opt_format_by_name(plain[i % N_PLAIN]), 2, {3, 5}};
    }
    d[N_PLAIN].n_dims = 0;
    d[N_PLAIN + 1].dims[1] = 0;
}

static size_t st_bytes(const opt_st_decl *d) {
    int64_t n = 0;
    assert_true(opt_mul_dims(d->dims, d->n_dims, &n));
    return (size_t)n * d->format->block_bytes;
}

static void write_st(opt_ctx *ctx, const char *path, const opt_kv *metadata, size_t piece) {
    opt_st_decl d[N_ST];
    char names[N_ST][64];
    opt_st_writer *w = NULL;
    make_st_decls(d, names);
    assert_int_equal(opt_st_create(ctx, path, false, metadata, d, N_ST, &w), OPT_OK);
    for (int64_t t = 0; t < N_ST; t++) {
        uint8_t data[256];
        const size_t n = st_bytes(&d[t]);
        for (size_t i = 0; i < n; i++) {
            data[i] = byte_of(t, i);
        }
        for (size_t i = 0; i < n; i += piece) {
            assert_int_equal(opt_st_append(w, t, data + i, piece < n - i ? piece : n - i), OPT_OK);
        }
    }
    assert_int_equal(opt_st_commit(w), OPT_OK);
}

static void test_safetensors_write__reads_back_what_was_written(void **state) {
    scratch s;
    opt_st_decl d[N_ST];
    char names[N_ST][64];
    opt_source *source = NULL;
    bytes a = {0};
    bytes b = {0};
    opt_ctx *const ctx = new_ctx(1);
    opt_kv *metadata = NULL;
    (void)state;
    scratch_new(&s);
    assert_int_equal(opt_kv_new(ctx, &metadata), OPT_OK);
    assert_int_equal(opt_kv_set_str(metadata, "format", "pt"), OPT_OK);
    write_st(ctx, scratch_path(&s, "a.safetensors"), metadata, 1);
    make_st_decls(d, names);
    assert_int_equal(opt_source_open(ctx, s.path, &source), OPT_OK);
    assert_int_equal(opt_source_n_tensors(source), N_ST);
    for (int64_t t = 0; t < N_ST; t++) {
        const opt_tensor *const found = opt_source_find(source, d[t].name);
        assert_non_null(found);
        assert_ptr_equal(found->format, d[t].format);
        assert_int_equal(found->n_dims, d[t].n_dims);
        assert_int_equal(found->bytes, st_bytes(&d[t]));
        for (size_t i = 0; i < found->bytes; i++) {
            assert_int_equal(found->data[i], byte_of(t, i));
        }
    }
    opt_source_close(source);
    read_whole(s.path, &a);
    assert_int_equal(opt_rd_u64le(a.data) % 8, 0);
    assert_memory_equal(a.data + 8, "{\"__metadata__\":{\"format\":\"pt\"},", 32);
    write_st(ctx, scratch_path(&s, "b.safetensors"), metadata, 1000);
    read_whole(s.path, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    free(a.data);
    free(b.data);
    opt_kv_free(metadata);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_safetensors_write__refuses_what_it_cannot_hold(void **state) {
    static const struct {
        const char *name;
        const char *format;
        int64_t dim;
        opt_status status;
        const char *message;
    } rows[] = {
        {"t", "q8_0", 32, OPT_ERR_UNSUPPORTED, "safetensors has no dtype for q8_0"},
        {"\xff", "f32", 1, OPT_ERR_UNSUPPORTED, "safetensors cannot hold a tensor of this name"},
        {"__metadata__", "f32", 1, OPT_ERR_UNSUPPORTED, "cannot hold a tensor of this name"},
        {"t", "f32", -1, OPT_ERR_BUG, "the shape is negative or overflows"},
    };
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_st_writer *w = NULL;
        opt_ctx *const ctx = new_ctx(1);
        const opt_st_decl d = {rows[i].name, opt_format_by_name(rows[i].format), 1, {rows[i].dim}};
        assert_int_equal(opt_st_create(ctx, scratch_path(&s, "x"), false, NULL, &d, 1, &w),
                         rows[i].status);
        expect_error(ctx, rows[i].message, rows[i].status, rows[i].message);
        opt_ctx_free(ctx);
    }
    expect_no_file(&s);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_write__reads_back_what_was_written),
        cmocka_unit_test(test_gguf_write__predicts_the_size_exactly),
        cmocka_unit_test(test_gguf_write__same_bytes_for_same_content),
        cmocka_unit_test(test_gguf_write__tensors_may_come_from_threads),
        cmocka_unit_test(test_gguf_write__puts_in_any_order),
        cmocka_unit_test(test_gguf_write__every_flipped_bit_is_found),
        cmocka_unit_test(test_gguf_write__damage_names_the_tensor),
        cmocka_unit_test(test_gguf_write__a_file_that_shrinks_is_noticed),
        cmocka_unit_test(test_gguf_write__refuses_what_gguf_cannot_hold),
        cmocka_unit_test(test_gguf_write__misuse_is_an_error_and_leaves_nothing),
        cmocka_unit_test(test_gguf_write__replaces_only_when_forced),
        cmocka_unit_test(test_safetensors_write__reads_back_what_was_written),
        cmocka_unit_test(test_safetensors_write__refuses_what_it_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
