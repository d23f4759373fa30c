#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

int opt_utf8_decode(const char *s, size_t n, uint32_t *codepoint) {
    static const uint32_t min_of_length[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (n == 0) {
        return 0;
    }
    const uint8_t b0 = (uint8_t)s[0];
    if (b0 < 0x80) {
        *codepoint = b0;
        return 1;
    }
    const int len = b0 >= 0xf0 ? 4 : b0 >= 0xe0 ? 3 : 2;
    if (b0 < 0xc2 || b0 > 0xf4 || n < (size_t)len) {
        return 0;
    }
    uint32_t cp = b0 & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        const uint8_t b = (uint8_t)s[i];
        if ((b & 0xc0) != 0x80) {
            return 0;
        }
        cp = cp << 6 | (b & 0x3fu);
    }
    if (cp < min_of_length[len] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
        return 0;
    }
    *codepoint = cp;
    return len;
}

int opt_utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
        return 0;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool opt_utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        const int len = opt_utf8_decode(s + i, n - i, &cp);
        if (len == 0) {
            return false;
        }
        i += (size_t)len;
    }
    return true;
}

/** Characters that move the cursor, hide text or turn its direction. */
static bool is_unsafe(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x61c || cp == 0x200e || cp == 0x200f ||
           (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

size_t opt_printable_char(const char *s, size_t n, char out[OPT_PRINTABLE_MAX], size_t *n_out) {
    uint32_t cp = 0;
    const int len = opt_utf8_decode(s, n, &cp);
    int written = 0;
    if (len > 0 && !is_unsafe(cp)) {
        memcpy(out, s, (size_t)len);
        *n_out = (size_t)len;
        return (size_t)len;
    }
    if (len == 0) {
        written = snprintf(out, OPT_PRINTABLE_MAX, "\\x%02x", (unsigned)(uint8_t)s[0]);
    } else if (cp == '\n' || cp == '\t' || cp == '\r') {
        written = snprintf(out, OPT_PRINTABLE_MAX, "\\%c",
                           cp == '\n'   ? 'n'
                           : cp == '\t' ? 't'
                                        : 'r');
    } else if (cp < 0x80) {
        written = snprintf(out, OPT_PRINTABLE_MAX, "\\x%02x", (unsigned)cp);
    } else {
        written = snprintf(out, OPT_PRINTABLE_MAX, "\\u{%x}", (unsigned)cp);
    }
    *n_out = (size_t)written;
    return len == 0 ? 1 : (size_t)len;
}
