/* A small file must not take much memory or time, whatever it claims: at most 64 MiB + 20 times its
 * size, and 2 s. */
#include "gguf_build.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* A sanitizer takes memory and time of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { SIZE = 1 << 20 };

/* ---- files of about 1 MiB, made of the smallest records ---- */

static void gguf_tensors(bytes *b) {
    uint64_t n = 0;
    add_head(b, 0, 0);
    for (; b->n < SIZE - 40; n++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%llx", (unsigned long long)n);
        add_info_dims(b, name, 1, (const uint64_t[]){0}, T_F32, 0);
    }
    memcpy(b->data + 8, &n, sizeof n);
    add_body(b, 0);
}

static void gguf_keys(bytes *b) {
    uint64_t n = 0;
    add_head(b, 0, 0);
    for (; b->n < SIZE - 32; n++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%llx", (unsigned long long)n);
        add_key(b, key, OPT_KV_U8);
        add_u8(b, 1);
    }
    memcpy(b->data + 16, &n, sizeof n);
}

static void gguf_strings(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_STRING, (SIZE - 64) / 8);
    add_zeros(b, (SIZE - 64) / 8 * 8);
}

static void gguf_claims(bytes *b) {
    add_head(b, 0, 1);
    add_kv_array(b, "a", OPT_KV_U8, (uint64_t)1 << 40);
    add_zeros(b, SIZE - b->n);
}

/* A safetensors file whose header repeats a piece; "%x" in it becomes a number. */
static void header_of(bytes *b, const char *start, const char *piece, const char *end) {
    add_u64(b, 0);
    add_text(b, start);
    for (unsigned i = 0; b->n < SIZE - 100; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, piece, i);
        if (i > 0) {
            add_text(b, ",");
        }
        add_text(b, text);
    }
    add_text(b, end);
    const uint64_t n = b->n - 8;
    memcpy(b->data, &n, sizeof n);
}

static void st_tensors(bytes *b) {
    header_of(b, "{", "\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", "}");
}
static void st_metadata(bytes *b) { header_of(b, "{\"__metadata__\":{", "\"%x\":\"\"", "}}"); }
static void st_numbers(bytes *b) { header_of(b, "{\"a\":[", "%u", "]}"); }
static void st_lists(bytes *b) { header_of(b, "{\"a\":[", "[]", "]}"); }

static void st_objects(bytes *b) { header_of(b, "{\"a\":[", "{}", "]}"); }

static const struct {
    const char *name;
    void (*build)(bytes *b);
    opt_status status;
} files[] = {
    {"tensors.gguf", gguf_tensors, OPT_OK},
    {"keys.gguf", gguf_keys, OPT_OK},
    {"strings.gguf", gguf_strings, OPT_OK},
    {"claims.gguf", gguf_claims, OPT_ERR_INPUT},
    {"tensors.safetensors", st_tensors, OPT_OK},
    {"metadata.safetensors", st_metadata, OPT_OK},
    {"numbers.safetensors", st_numbers, OPT_ERR_INPUT},
    {"lists.safetensors", st_lists, OPT_ERR_INPUT},
    {"objects.safetensors", st_objects, OPT_ERR_INPUT},
};

/* Opens a file in a process of its own; its peak of resident memory and its processor time. */
static int open_apart(const char *path, struct rusage *usage) {
    int status = 0;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        opt_ctx *ctx = NULL;
        opt_source *source = NULL;
        const opt_ctx_options options = {.n_threads = 1};
        if (opt_ctx_new(&options, &ctx) != OPT_OK) {
            _exit(99);
        }
        const opt_status st = opt_source_open(ctx, path, &source);
        opt_source_close(source);
        _exit((int)st);
    }
    assert_int_equal(wait4(pid, &status, 0, usage), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_limits__small_files_take_little_memory_and_time(void **state) {
    scratch s;
    (void)state;
    scratch_new(&s);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        bytes b = {0};
        struct rusage usage;
        files[i].build(&b);
        write_file(scratch_path(&s, files[i].name), b.data, b.n);
        const size_t n = b.n;
        free(b.data);
        const int st = open_apart(s.path, &usage);
        const double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                               1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
        const size_t peak = (size_t)usage.ru_maxrss << 10;
        print_message("%-22s %7zu bytes: peak %5.1f MiB, %.3f s\n", files[i].name, n,
                      (double)peak / (1 << 20), seconds);
        assert_int_equal(st, files[i].status);
        if (!SANITIZED) {
            assert_true(peak <= ((size_t)64 << 20) + 20 * n);
            assert_true(seconds <= 2);
        }
    }
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits__small_files_take_little_memory_and_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
