/**
 * An entry of a prefix cache: keys and values of some positions behind given tokens. The same bytes
 * lie in memory and in a file. Layout, little-endian: magic "LATHEKV1", u64 key, u64 n_before, u64
 * n, u64 data bytes, i32 tokens [n_before + n], data, u64 XXH3 of all bytes before it.
 */
#ifndef OPT_RUNTIME_PREFIX_ENTRY_H
#define OPT_RUNTIME_PREFIX_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Positions of an entry at most; entries begin at multiples of it. */
#define OPT_PREFIX_BLOCK 64
/** Room for the reason why an entry is refused. */
#define OPT_PREFIX_REASON 128

typedef struct opt_prefix_entry {
    uint64_t key;
    int64_t n_before, n;   /* tokens in front of it, and its own: 1 to OPT_PREFIX_BLOCK */
    const uint8_t *tokens; /* i32 [n_before + n], at any address */
    const uint8_t *data;   /* [data_bytes]; see opt_session_kv_read */
    size_t data_bytes;
} opt_prefix_entry;

/** Bytes of an entry; false on overflow. */
bool opt_prefix_entry_bytes(int64_t n_before, int64_t n, size_t data_bytes, size_t *out);
/** Bytes up to the data. */
size_t opt_prefix_head_bytes(int64_t n_before, int64_t n);
/** Writes everything but data and checksum to out [opt_prefix_head_bytes]. */
void opt_prefix_entry_head(uint64_t key, const int32_t *tokens, int64_t n_before, int64_t n,
                           size_t data_bytes, uint8_t *out);
/** Writes the checksum behind bytes [n - 8]. */
void opt_prefix_entry_seal(uint8_t *bytes, size_t n);
/**
 * Reads an entry of n bytes; `out` points into them. False: it is none, `reason` says why. With
 * `head_only` they may be its beginning, up to the tokens at least, and data and checksum are not
 * looked at.
 */
bool opt_prefix_entry_parse(const uint8_t *bytes, size_t n, bool head_only, opt_prefix_entry *out,
                            char reason[OPT_PREFIX_REASON]);
/**
 * How many of the entry's own tokens are those of ids [n_ids] at its place, when all tokens in
 * front are the same; 0 if not.
 */
int64_t opt_prefix_entry_match(const opt_prefix_entry *e, const int32_t *ids, int64_t n_ids);

#endif
