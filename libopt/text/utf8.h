/** UTF-8: decoding one character at a time, and replacing what is not UTF-8 by U+FFFD as Python and
 * Rust do. */
#ifndef OPT_TEXT_UTF8_H
#define OPT_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/** What opt_utf8_next found. */
typedef enum opt_utf8_kind {
    OPT_UTF8_VALID,     /**< one character */
    OPT_UTF8_INVALID,   /**< a maximal ill-formed part, to be replaced by one U+FFFD */
    OPT_UTF8_INCOMPLETE /**< all n bytes are the beginning of a character */
} opt_utf8_kind;

/** Looks at the first character of s[n], n >= 1. Writes the bytes that it takes, and the code point
 * when it is valid. */
opt_utf8_kind opt_utf8_next(const char *s, size_t n, size_t *len, uint32_t *cp);

/** Bytes at the start of s[n] that are well-formed UTF-8. */
size_t opt_utf8_valid_prefix(const char *s, size_t n);

/** Appends s[n]; every maximal ill-formed part becomes U+FFFD. Errors: MEMORY. */
OPT_MUST_USE opt_status opt_utf8_append_lossy(opt_ctx *ctx, opt_str *out, const char *s, size_t n);

/** Writes the 1 to 4 bytes of a code point and returns how many. */
size_t opt_utf8_put(uint32_t cp, char out[4]);

/** Bytes of the character that begins with `lead` (the text is known to be valid). */
static inline size_t opt_utf8_size(char lead) {
    const unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/** Decodes the character at s (the text is known to be valid) and moves *pos behind it. */
static inline uint32_t opt_utf8_get(const char *s, size_t *pos) {
    const unsigned char *p = (const unsigned char *)s + *pos;
    if (p[0] < 0x80) {
        *pos += 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *pos += 2;
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3FU);
    }
    if (p[0] < 0xF0) {
        *pos += 3;
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3FU);
    }
    *pos += 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
           (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3FU);
}

/** Start of the last character of s[0, end), end > 0 (the text is known to be valid). */
static inline size_t opt_utf8_back(const char *s, size_t end) {
    end--;
    while (end > 0 && ((unsigned char)s[end] & 0xC0) == 0x80) {
        end--;
    }
    return end;
}

/** Unicode White_Space. */
bool opt_utf8_is_space(uint32_t cp);
/** What `\w` matches in Unicode regular expressions (UTS 18): letters, marks, decimal digits,
 * connectors, joiners. */
bool opt_utf8_is_word(uint32_t cp);

/** The character by which byte-level BPE writes a byte (GPT-2's table), below 324. */
static inline uint32_t opt_byte_to_cp(unsigned b) {
    if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE) {
        return b;
    }
    return b <= 0x20 ? 256 + b : b == 0xAD ? 323 : b + 162;
}

/** The inverse of opt_byte_to_cp, or -1. */
static inline int opt_cp_to_byte(uint32_t cp) {
    if (cp < 256) {
        return (cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xAC) || cp >= 0xAE ? (int)cp
                                                                                      : -1;
    }
    return cp <= 288 ? (int)cp - 256 : cp <= 322 ? (int)cp - 162 : cp == 323 ? 0xAD : -1;
}

#endif
