/*
 * json_check FILE [MEMBER.MEMBER...]    checks that FILE (- is standard input) is one JSON
 * document, and prints a value json_check FILE --without MEMBER      prints the document without a
 * member of its top level, one value a line Exit code 1 if the document is not valid or the member
 * is not there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void print_value(const opt_json *v, int depth) {
    int64_t i;
    double d;
    size_t len;
    const char *s = opt_json_str(v, &len);
    if (s != NULL) {
        printf("%.*s\n", (int)len, s);
    } else if (opt_json_i64(v, &i)) {
        printf("%" PRId64 "\n", i);
    } else if (opt_json_f64(v, &d)) {
        printf("%.17g\n", d);
    } else if (opt_json_type_of(v) == OPT_JSON_BOOL) {
        puts(opt_json_bool(v, false) ? "true" : "false");
    } else if (opt_json_type_of(v) == OPT_JSON_ARRAY) {
        for (size_t k = 0; k < opt_json_size(v); k++) {
            print_value(opt_json_at(v, k), depth + 1);
        }
    } else if (opt_json_type_of(v) == OPT_JSON_OBJECT) {
        void *it = NULL;
        const char *key;
        const opt_json *member;
        while (opt_json_next(v, &it, &key, &member)) {
            printf("%*s%s: ", depth, "", key);
            print_value(member, depth + 1);
        }
    } else {
        puts("null");
    }
}

/** Follows "a.b.0"; NULL if a member is missing. */
static const opt_json *follow(const opt_json *v, const char *path) {
    char name[128];
    while (v != NULL && *path != 0) {
        const size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        v = opt_json_type_of(v) == OPT_JSON_ARRAY ? opt_json_at(v, (size_t)strtoul(name, NULL, 10))
                                                  : opt_json_get(v, name);
        path += n + (path[n] == '.');
    }
    return v;
}

static void print_without(const opt_json *root, const char *skip) {
    void *it = NULL;
    const char *key;
    const opt_json *member;
    while (opt_json_next(root, &it, &key, &member)) {
        if (strcmp(key, skip) != 0) {
            printf("%s: ", key);
            print_value(member, 1);
        }
    }
}

int main(int argc, char **argv) {
    opt_ctx *ctx = NULL;
    opt_buf *text = NULL;
    opt_json *root = NULL;
    int code = 1;
    if (argc < 2 || opt_ctx_new(NULL, &ctx) != OPT_OK) {
        return 2;
    }
    if (opt_buf_read(ctx, argv[1], (size_t)1 << 30, &text) != OPT_OK ||
        opt_json_parse(ctx, argv[1], (const char *)text->data, text->bytes, &root) != OPT_OK) {
        fprintf(stderr, "%s: %s\n", opt_ctx_error_object(ctx), opt_ctx_error_message(ctx));
    } else if (argc > 3 && strcmp(argv[2], "--without") == 0) {
        print_without(root, argv[3]);
        code = 0;
    } else {
        const opt_json *v = argc > 2 ? follow(root, argv[2]) : root;
        if (v != NULL) {
            print_value(v, 0);
            code = 0;
        }
    }
    opt_json_free(root);
    opt_buf_release(text);
    opt_ctx_free(ctx);
    return code;
}
