/*
 * Gives every file of the given directories to a fuzz target, so that the corpus runs in every
 * build, without libFuzzer. usage: fuzz_<parser> DIRECTORY...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Reads a file into a block of exactly its size, so that a sanitizer sees reads behind the end. */
static uint8_t *read_file(const char *path, size_t *size) {
    uint8_t *data = NULL;
    struct stat info;
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        *size = (size_t)info.st_size;
        data = malloc(*size > 0 ? *size : 1);
    }
    if (data != NULL && fread(data, 1, *size, f) != *size) {
        free(data);
        data = NULL;
    }
    (void)fclose(f);
    return data;
}

static int replay_file(const char *dir, const char *name) {
    char path[4096];
    size_t size = 0;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return -1;
    }
    uint8_t *data = read_file(path, &size);
    if (data == NULL) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

/** Number of files that were replayed, or -1. In name order: a crash is then easy to find again. */
static int replay_dir(const char *dir) {
    struct dirent **entries = NULL;
    int n_replayed = 0;
    const int n = scandir(dir, &entries, NULL, alphasort);
    if (n < 0) {
        (void)fprintf(stderr, "%s: cannot be read\n", dir);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.' && n_replayed >= 0) {
            n_replayed = replay_file(dir, entries[i]->d_name) == 0 ? n_replayed + 1 : -1;
        }
        free(entries[i]);
    }
    free(entries);
    return n_replayed;
}

int main(int argc, char **argv) {
    int failed = argc < 2;
    for (int i = 1; i < argc; i++) {
        const int n = replay_dir(argv[i]);
        if (n == 0) {
            (void)fprintf(stderr, "%s: no file to replay\n", argv[i]);
        } else if (n > 0) {
            (void)printf("%s: %d inputs replayed\n", argv[i], n);
        }
        failed = failed || n <= 0;
    }
    return failed;
}
