#include "runtime/prefix_entry.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/num.h"

#define MAGIC "LATHEKV1"

enum { FIXED_BYTES = 40, SUM_BYTES = 8, TOKEN_BYTES = 4, MAX_BEFORE = 1 << 30 };

size_t opt_prefix_head_bytes(int64_t n_before, int64_t n) {
    return FIXED_BYTES + TOKEN_BYTES * (size_t)(n_before + n);
}

bool opt_prefix_entry_bytes(int64_t n_before, int64_t n, size_t data_bytes, size_t *out) {
    return opt_add_size(opt_prefix_head_bytes(n_before, n) + SUM_BYTES, data_bytes, out);
}

void opt_prefix_entry_head(uint64_t key, const int32_t *tokens, int64_t n_before, int64_t n,
                           size_t data_bytes, uint8_t *out) {
    memcpy(out, MAGIC, 8);
    opt_wr_u64le(out + 8, key);
    opt_wr_u64le(out + 16, (uint64_t)n_before);
    opt_wr_u64le(out + 24, (uint64_t)n);
    opt_wr_u64le(out + 32, data_bytes);
    for (int64_t i = 0; i < n_before + n; i++) {
        opt_wr_u32le(out + FIXED_BYTES + TOKEN_BYTES * i, (uint32_t)tokens[i]);
    }
}

void opt_prefix_entry_seal(uint8_t *bytes, size_t n) {
    opt_wr_u64le(bytes + n - SUM_BYTES, opt_xxh3(bytes, n - SUM_BYTES));
}

static bool refuse(char reason[OPT_PREFIX_REASON], const char *what, uint64_t found,
                   uint64_t expected) {
    (void)snprintf(reason, OPT_PREFIX_REASON, "%s: found %" PRIu64 ", expected %" PRIu64, what,
                   found, expected);
    return false;
}

bool opt_prefix_entry_parse(const uint8_t *bytes, size_t n, bool head_only, opt_prefix_entry *out,
                            char reason[OPT_PREFIX_REASON]) {
    size_t total = 0;
    if (n < FIXED_BYTES + SUM_BYTES) {
        return refuse(reason, "bytes", n, FIXED_BYTES + SUM_BYTES);
    }
    if (memcmp(bytes, MAGIC, 8) != 0) {
        (void)snprintf(reason, OPT_PREFIX_REASON, "does not begin with %s", MAGIC);
        return false;
    }
    const uint64_t n_before = opt_rd_u64le(bytes + 16), own = opt_rd_u64le(bytes + 24);
    const uint64_t data_bytes = opt_rd_u64le(bytes + 32);
    if (own < 1 || own > OPT_PREFIX_BLOCK) {
        return refuse(reason, "tokens of its own", own, OPT_PREFIX_BLOCK);
    }
    if (n_before > MAX_BEFORE || n_before % OPT_PREFIX_BLOCK != 0) {
        return refuse(reason, "tokens in front", n_before,
                      n_before > MAX_BEFORE ? MAX_BEFORE
                                            : n_before / OPT_PREFIX_BLOCK * OPT_PREFIX_BLOCK);
    }
    *out = (opt_prefix_entry){.key = opt_rd_u64le(bytes + 8),
                              .n_before = (int64_t)n_before,
                              .n = (int64_t)own,
                              .tokens = bytes + FIXED_BYTES,
                              .data_bytes = data_bytes};
    const size_t head = opt_prefix_head_bytes(out->n_before, out->n);
    if (!opt_prefix_entry_bytes(out->n_before, out->n, data_bytes, &total)) {
        return refuse(reason, "bytes of data", data_bytes, n);
    }
    if (head_only ? n < head : n != total) {
        return refuse(reason, "bytes", n, head_only ? head : total);
    }
    out->data = head_only ? NULL : bytes + head;
    if (!head_only && opt_rd_u64le(bytes + n - SUM_BYTES) != opt_xxh3(bytes, n - SUM_BYTES)) {
        (void)snprintf(reason, OPT_PREFIX_REASON, "its checksum does not fit");
        return false;
    }
    return true;
}

int64_t opt_prefix_entry_match(const opt_prefix_entry *e, const int32_t *ids, int64_t n_ids) {
    int64_t n = 0;
    while (n < e->n_before + e->n && n < n_ids &&
           opt_rd_u32le(e->tokens + TOKEN_BYTES * n) == (uint32_t)ids[n]) {
        n++;
    }
    return opt_max_i64(0, n - e->n_before);
}
