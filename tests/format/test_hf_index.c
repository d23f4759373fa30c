#include "io_test.h"

#include "io/parse.h"

#define SHARD_A "model-00001-of-00002.safetensors"
#define SHARD_B "model-00002-of-00002.safetensors"
#define SCALAR(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}"
#define MAP(entries) "{\"weight_map\":{" entries "}}"
#define GOOD MAP("\"a\":\"" SHARD_A "\",\"b\":\"" SHARD_B "\"")
#define I OPT_ERR_INPUT
#define U OPT_ERR_UNSUPPORTED

/* A directory: the index, and the header of each shard (NULL: no such file). */
typedef struct row {
    const char *name;
    const char *index;
    const char *shard_a;
    const char *shard_b;
    opt_status status;
    const char *message;
} row;

static const row rows[] = {
    {"empty", "", NULL, NULL, I, "line 1 column 0"},
    {"cut", "{\"weight_map\":", NULL, NULL, I, "line 1 column"},
    {"bytes behind", GOOD "x", NULL, NULL, I, "end of file expected"},
    {"an array", "[]", NULL, NULL, I, "the index is an array; expected an object"},
    {"a number", "1", NULL, NULL, I, "the index is an integer; expected an object"},
    {"no map", "{\"metadata\":{}}", NULL, NULL, I, "the member weight_map is missing"},
    {"map is null", "{\"weight_map\":null}", NULL, NULL, I, "weight_map is null; expected an obj"},
    {"map is a list", "{\"weight_map\":[]}", NULL, NULL, I, "weight_map is an array; expected an"},
    {"empty map", "{\"weight_map\":{}}", NULL, NULL, I, "weight_map lists no tensor"},
    {"double map", "{\"weight_map\":{},\"weight_map\":{}}", NULL, NULL, I, "duplicate"},
    {"double tensor", MAP("\"a\":\"x\",\"a\":\"y\""), NULL, NULL, I, "duplicate"},
    {"bad UTF-8", MAP("\"\xc3\x28\":\"x\""), NULL, NULL, I, "unable to decode byte 0xc3"},
    {"0 in a file name", MAP("\"a\":\"x\\u0000\""), NULL, NULL, I, "\\u0000 is not allowed"},
    {"file is a number", MAP("\"a\":1"), NULL, NULL, I,
     "weight_map member 'a' is an integer; expected a file name"},
    {"file is null", MAP("\"a\":null"), NULL, NULL, I, "member 'a' is null; expected a file name"},
    {"file is an object", MAP("\"a\":{}"), NULL, NULL, I,
     "member 'a' is an object; expected a file name"},
    {"empty file name", MAP("\"a\":\"\""), NULL, NULL, I, "weight_map puts tensor 'a' into ''"},
    {"parent", MAP("\"a\":\"../x.safetensors\""), NULL, NULL, I,
     "weight_map puts tensor 'a' into '../x.safetensors'; expected the plain name"},
    {"absolute", MAP("\"a\":\"/etc/passwd\""), NULL, NULL, I, "into '/etc/passwd'"},
    {"folder", MAP("\"a\":\"sub/x.safetensors\""), NULL, NULL, I, "into 'sub/x.safetensors'"},
    {"dot", MAP("\"a\":\".\""), NULL, NULL, I, "weight_map puts tensor 'a' into '.';"},
    {"dot dot", MAP("\"a\":\"..\""), NULL, NULL, I, "weight_map puts tensor 'a' into '..';"},
    {"metadata is a list", "{\"metadata\":[],\"weight_map\":{\"a\":\"x\"}}", NULL, NULL, I,
     "metadata is an array; expected an object"},
    {"size is text", "{\"metadata\":{\"total_size\":\"9\"},\"weight_map\":{\"a\":\"x\"}}", NULL,
     NULL, I, "metadata.total_size is a string; expected a number"},
    {"first shard missing", GOOD, NULL, SCALAR("b"), I,
     "weight_map names the file " SHARD_A ", which does not exist"},
    {"last shard missing", GOOD, SCALAR("a"), NULL, I,
     "weight_map names the file " SHARD_B ", which does not exist"},
    {"tensor in the other shard", GOOD, SCALAR("b"), SCALAR("a"), I,
     "tensor 'b' is here, but model.safetensors.index.json puts it into " SHARD_B},
    {"tensor in both shards", GOOD, SCALAR("a"), SCALAR("a"), I,
     "tensor 'a' is here, but model.safetensors.index.json puts it into " SHARD_A},
    {"tensor not listed", GOOD, SCALAR("a"), SCALAR("c"), I,
     "tensor 'c' is not listed in model.safetensors.index.json"},
    {"tensor in no shard", MAP("\"a\":\"" SHARD_A "\",\"c\":\"" SHARD_A "\""), SCALAR("a"), NULL, I,
     "tensor 'c' is not in " SHARD_A ", where weight_map puts it"},
    {"damaged shard", GOOD, SCALAR("a"), "{", I, "the header does not end with '}'"},
    {"neither index nor weights", NULL, SCALAR("a"), NULL, I,
     "neither model.safetensors nor model.safetensors.index.json"},
};

static void write_shard(const char *path, const char *json) {
    bytes b = {0};
    add_u64(&b, strlen(json));
    add_text(&b, json);
    add_u8(&b, 7);
    write_file(path, b.data, b.n);
    free(b.data);
}

static void write_dir(scratch *s, const row *r) {
    scratch_new(s);
    if (r->index != NULL) {
        write_file(scratch_path(s, "model.safetensors.index.json"), r->index, strlen(r->index));
    }
    if (r->shard_a != NULL) {
        write_shard(scratch_path(s, SHARD_A), r->shard_a);
    }
    if (r->shard_b != NULL) {
        write_shard(scratch_path(s, SHARD_B), r->shard_b);
    }
}

static void test_hf_index__corrupt_directories_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        scratch s;
        write_dir(&s, &rows[i]);
        expect_open(rows[i].name, s.dir, rows[i].status, rows[i].message);
        scratch_remove(&s);
    }
}

static void test_hf_index__shards_are_read(void **state) {
    const row good = {.index = GOOD, .shard_a = SCALAR("a"), .shard_b = SCALAR("b")};
    scratch s;
    opt_source *source = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    write_dir(&s, &good);
    assert_int_equal(opt_source_open(ctx, s.dir, &source), OPT_OK);
    assert_int_equal(opt_source_kind_of(source), OPT_SOURCE_HF);
    assert_string_equal(opt_source_path(source), s.dir);
    assert_null(opt_source_kv(source));
    assert_int_equal(opt_source_n_tensors(source), 2);
    assert_string_equal(opt_source_tensor(source, 0)->name, "a");
    assert_int_equal(opt_source_find(source, "b")->data[0], 7);
    assert_null(opt_source_find(source, "c"));
    assert_int_equal(opt_source_n_files(source), 2);
    assert_string_equal(opt_source_file(source, 1), scratch_path(&s, SHARD_B));
    assert_int_equal(opt_source_file_bytes(source), 2 * (8 + strlen(SCALAR("a")) + 1));
    opt_source_will_need(source, opt_source_find(source, "b"));
    opt_source_dont_need(source, opt_source_find(source, "b"));
    opt_source_close(source);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

/* The cache of huggingface_hub holds links to blobs elsewhere. */
static void test_hf_index__linked_shards_are_followed(void **state) {
    const row good = {.index = GOOD, .shard_a = SCALAR("a"), .shard_b = NULL};
    scratch s;
    scratch blobs;
    char target[512];
    (void)state;
    write_dir(&s, &good);
    scratch_new(&blobs);
    write_shard(scratch_path(&blobs, "0123abcd"), SCALAR("b"));
    (void)snprintf(target, sizeof target, "%s", blobs.path);
    assert_int_equal(symlink(target, scratch_path(&s, SHARD_B)), 0);
    expect_open("link", s.dir, OPT_OK, NULL);
    scratch_remove(&blobs);
    expect_open("dangling link", s.dir, OPT_ERR_INPUT, SHARD_B ", which does not exist");
    scratch_remove(&s);
}

static void test_hf_index__a_shard_that_is_a_directory_is_refused(void **state) {
    const row good = {.index = GOOD, .shard_a = SCALAR("a"), .shard_b = NULL};
    scratch s;
    (void)state;
    write_dir(&s, &good);
    assert_int_equal(mkdir(scratch_path(&s, SHARD_B), 0777), 0);
    expect_open("directory", s.dir, OPT_ERR_IO, "is a directory, expected a regular file");
    scratch_remove(&s);
}

static void test_hf_index__a_huge_index_is_refused_unread(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    write_file(scratch_path(&s, "model.safetensors.index.json"), "{", 1);
    assert_int_equal(truncate(s.path, 100000001), 0);
    expect_open("huge", s.dir, OPT_ERR_INPUT, "100000000");
    scratch_remove(&s);
}

/* total_size is advice: a wrong one is worth a warning, not a refusal. */
static void test_hf_index__a_wrong_total_size_warns(void **state) {
    static const struct {
        const char *size;
        int n_warnings;
    } sizes[] = {{"2", 0}, {"2.0", 0}, {"3", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char index[256];
        (void)snprintf(index, sizeof index,
                       "{\"metadata\":{\"total_size\":%s},\"weight_map\":{\"a\":\"" SHARD_A
                       "\",\"b\":\"" SHARD_B "\"}}",
                       sizes[i].size);
        const row r = {.index = index, .shard_a = SCALAR("a"), .shard_b = SCALAR("b")};
        scratch s;
        opt_source *source = NULL;
        opt_ctx *const ctx = new_ctx(1);
        write_dir(&s, &r);
        assert_int_equal(opt_source_open(ctx, s.dir, &source), OPT_OK);
        assert_int_equal(opt_ctx_n_warnings(ctx), sizes[i].n_warnings);
        opt_source_close(source);
        opt_ctx_free(ctx);
        scratch_remove(&s);
    }
}

static void test_hf_index__a_single_file_and_its_directory(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    write_shard(scratch_path(&s, "model.safetensors"), SCALAR("a"));
    expect_open("file", s.path, OPT_OK, NULL);
    expect_open("directory", s.dir, OPT_OK, NULL);
    write_shard(scratch_path(&s, SHARD_A), SCALAR("a"));
    expect_open("one shard", s.path, OPT_ERR_INPUT, "one shard of a checkpoint; give its dir");
    scratch_remove(&s);
}

static void test_hf_index__side_files_are_read_by_plain_name(void **state) {
    scratch s;
    opt_source *source = NULL;
    opt_buf *buf = NULL;
    opt_ctx *const ctx = new_ctx(1);
    (void)state;
    scratch_new(&s);
    write_shard(scratch_path(&s, "model.safetensors"), SCALAR("a"));
    write_file(scratch_path(&s, "config.json"), "{}", 2);
    assert_int_equal(opt_source_open(ctx, s.dir, &source), OPT_OK);
    assert_int_equal(opt_source_side_file(source, "config.json", &buf), OPT_OK);
    assert_int_equal(buf->bytes, 2);
    assert_memory_equal(buf->data, "{}", 2);
    opt_buf_release(buf);
    assert_int_equal(opt_source_side_file(source, "absent.json", &buf), OPT_OK);
    assert_null(buf);
    assert_int_equal(opt_source_side_file(source, "../config.json", &buf), OPT_ERR_BUG);
    opt_source_close(source);
    opt_ctx_free(ctx);
    scratch_remove(&s);
}

static void test_hf_index__other_files_are_named(void **state) {
    static const struct {
        const char *file;
        const char *content;
        opt_status status;
        const char *message;
    } others[] = {
        {"pytorch_model.bin", "PK\x03\x04rest", U, "this is a zip archive (PyTorch"},
        {"model.h5", "\x89HDF\r\n\x1a\n", U, "this is an HDF5 file"},
        {"old.bin", "\x80\x02rest", U, "this is a Python pickle"},
        {"old-model.bin", "tjgg", U, "this is a GGJT file"},
        {"notes.txt", "hello", I, "not a model: expected a GGUF file"},
        {"nothing", "", I, "not a model: expected a GGUF file"},
    };
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        write_file(scratch_path(&s, others[i].file), others[i].content, strlen(others[i].content));
        expect_open(others[i].file, s.path, others[i].status, others[i].message);
    }
    expect_open("only PyTorch", s.dir, U, "the weights are in pytorch_model.bin");
    expect_open("absent", scratch_path(&s, "absent"), OPT_ERR_IO, "No such file");
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hf_index__corrupt_directories_are_refused),
        cmocka_unit_test(test_hf_index__shards_are_read),
        cmocka_unit_test(test_hf_index__linked_shards_are_followed),
        cmocka_unit_test(test_hf_index__a_shard_that_is_a_directory_is_refused),
        cmocka_unit_test(test_hf_index__a_huge_index_is_refused_unread),
        cmocka_unit_test(test_hf_index__a_wrong_total_size_warns),
        cmocka_unit_test(test_hf_index__a_single_file_and_its_directory),
        cmocka_unit_test(test_hf_index__side_files_are_read_by_plain_name),
        cmocka_unit_test(test_hf_index__other_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
