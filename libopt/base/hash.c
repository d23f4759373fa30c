#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"

uint64_t opt_xxh3(const void *data, size_t bytes) { return XXH3_64bits(data, bytes); }

struct opt_xxh3_state {
    opt_ctx *ctx;
    XXH3_state_t *xxh;
};

opt_status opt_xxh3_new(opt_ctx *ctx, opt_xxh3_state **out) {
    opt_xxh3_state *state = opt_alloc_zero(ctx, sizeof *state);
    if (state == NULL) {
        return OPT_ERR_MEMORY;
    }
    state->ctx = ctx;
    state->xxh = XXH3_createState();
    if (state->xxh == NULL) {
        opt_free(ctx, state);
        return opt_fail(ctx, OPT_ERR_MEMORY, NULL, "out of memory: no room for a checksum");
    }
    opt_xxh3_reset(state);
    *out = state;
    return OPT_OK;
}

/* The library's return values report NULL states only. */
void opt_xxh3_reset(opt_xxh3_state *state) { (void)XXH3_64bits_reset(state->xxh); }

void opt_xxh3_update(opt_xxh3_state *state, const void *data, size_t bytes) {
    (void)XXH3_64bits_update(state->xxh, data, bytes);
}

uint64_t opt_xxh3_digest(const opt_xxh3_state *state) { return XXH3_64bits_digest(state->xxh); }

void opt_xxh3_free(opt_xxh3_state *state) {
    if (state != NULL) {
        (void)XXH3_freeState(state->xxh);
        opt_free(state->ctx, state);
    }
}

static void to_hex(const unsigned char digest[32], char out[65]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[64] = '\0';
}

opt_status opt_sha256_hex(opt_ctx *ctx, const void *data, size_t bytes, char out[65]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(data, bytes, digest, &n, EVP_sha256(), NULL) != 1 || n != 32) {
        return opt_fail(ctx, OPT_ERR_MEMORY, NULL, "the crypto library could not compute SHA-256");
    }
    to_hex(digest, out);
    return OPT_OK;
}

opt_status opt_sha256_file(opt_ctx *ctx, const char *path, char out[65]) {
    enum { CHUNK = 1 << 20 };
    opt_status st = OPT_OK;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    uint8_t *chunk = NULL;
    EVP_MD_CTX *md = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return opt_fail_errno(ctx, errno, path, "cannot open");
    }
    chunk = opt_alloc(ctx, CHUNK);
    OPT_TRY_PTR(chunk);
    md = EVP_MD_CTX_new();
    OPT_REQUIRE(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1, ctx, OPT_ERR_MEMORY,
                path, "the crypto library could not start SHA-256");
    for (;;) {
        const ssize_t got = read(fd, chunk, CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            st = opt_fail_errno(ctx, errno, path, "cannot read");
            goto done;
        }
        if (got == 0) {
            break;
        }
        OPT_TRY(opt_check_cancel(ctx));
        OPT_REQUIRE(EVP_DigestUpdate(md, chunk, (size_t)got) == 1, ctx, OPT_ERR_BUG, path,
                    "SHA-256 failed");
    }
    OPT_REQUIRE(EVP_DigestFinal_ex(md, digest, &n) == 1 && n == 32, ctx, OPT_ERR_BUG, path,
                "SHA-256 failed");
    to_hex(digest, out);
done:
    EVP_MD_CTX_free(md);
    opt_free(ctx, chunk);
    (void)close(fd);
    return st;
}
