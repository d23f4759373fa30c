#include "base/hash.h"

#include "support.h"

/* Values of `xxhsum -H3` and `sha256sum`. */
static void test_hash__known_values(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t xxh3;
        const char *sha256;
    } rows[] = {
        {"", 0x2d06800538d394c2u,
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 0x78af5f94892f3950u,
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    };
    opt_ctx *ctx = test_ctx(1);
    for (int i = 0; i < COUNT_OF(rows); i++) {
        char hex[65];
        assert_true(opt_xxh3(rows[i].text, strlen(rows[i].text)) == rows[i].xxh3);
        assert_int_equal(opt_sha256_hex(ctx, rows[i].text, strlen(rows[i].text), hex), OPT_OK);
        assert_string_equal(hex, rows[i].sha256);
    }
    opt_ctx_free(ctx);
}

static void test_hash__pieces_give_the_same(void **state) {
    (void)state;
    static unsigned char data[100000];
    opt_ctx *ctx = test_ctx(1);
    opt_xxh3_state *h = NULL;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    assert_int_equal(opt_xxh3_new(ctx, &h), OPT_OK);
    for (size_t piece = 1; piece <= sizeof data; piece *= 7) {
        opt_xxh3_reset(h);
        for (size_t i = 0; i < sizeof data; i += piece) {
            opt_xxh3_update(h, data + i, sizeof data - i < piece ? sizeof data - i : piece);
        }
        assert_true(opt_xxh3_digest(h) == opt_xxh3(data, sizeof data));
    }
    opt_xxh3_free(h);
    opt_xxh3_free(NULL);
    opt_ctx_free(ctx);
}

static void test_hash__file(void **state) {
    (void)state;
    char dir[256];
    char path[300];
    char of_file[65];
    char of_bytes[65];
    static char data[(1 << 20) + 12345];
    opt_ctx *ctx = test_ctx(1);
    test_make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/f", dir);
    memset(data, 'q', sizeof data);
    test_write_file(path, data, sizeof data);
    assert_int_equal(opt_sha256_file(ctx, path, of_file), OPT_OK);
    assert_int_equal(opt_sha256_hex(ctx, data, sizeof data, of_bytes), OPT_OK);
    assert_string_equal(of_file, of_bytes);
    assert_int_equal(opt_sha256_file(ctx, "/nonexistent", of_file), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, "/nonexistent", "cannot open");
    assert_int_equal(opt_sha256_file(ctx, dir, of_file), OPT_ERR_IO);
    assert_error(ctx, OPT_ERR_IO, dir, "cannot read");
    test_remove_dir(dir);
    opt_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash__known_values),
        cmocka_unit_test(test_hash__pieces_give_the_same),
        cmocka_unit_test(test_hash__file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
