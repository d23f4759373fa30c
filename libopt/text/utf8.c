#include "text/utf8.h"

#include <string.h>

#include <utf8proc.h>

opt_utf8_kind opt_utf8_next(const char *s, size_t n, size_t *len, uint32_t *cp) {
    const unsigned char *p = (const unsigned char *)s;
    const unsigned lead = p[0];
    *len = 1;
    if (lead < 0x80) {
        *cp = lead;
        return OPT_UTF8_VALID;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return OPT_UTF8_INVALID;
    }
    const size_t need = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    /* The second byte's range keeps out overlong forms, surrogates and code points above U+10FFFF.
     */
    const unsigned lo = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned hi = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    uint32_t value = lead & (0x7FU >> need);
    for (size_t i = 1; i < need; i++) {
        if (i == n) {
            *len = n;
            return OPT_UTF8_INCOMPLETE;
        }
        if (p[i] < (i == 1 ? lo : 0x80) || p[i] > (i == 1 ? hi : 0xBF)) {
            *len = i;
            return OPT_UTF8_INVALID;
        }
        value = value << 6 | (p[i] & 0x3FU);
    }
    *len = need;
    *cp = value;
    return OPT_UTF8_VALID;
}

size_t opt_utf8_valid_prefix(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) { /* eight ASCII bytes at a time */
            memcpy(&word, s + i, sizeof word);
            if ((word & 0x8080808080808080ULL) == 0) {
                i += sizeof word;
                continue;
            }
        }
        size_t len;
        uint32_t cp;
        if (opt_utf8_next(s + i, n - i, &len, &cp) != OPT_UTF8_VALID) {
            break;
        }
        i += len;
    }
    return i;
}

opt_status opt_utf8_append_lossy(opt_ctx *ctx, opt_str *out, const char *s, size_t n) {
    opt_status st = OPT_OK;
    size_t i = 0;
    while (i < n) {
        const size_t good = opt_utf8_valid_prefix(s + i, n - i);
        OPT_TRY(opt_str_append(ctx, out, s + i, good));
        i += good;
        if (i < n) {
            size_t len;
            uint32_t cp;
            (void)opt_utf8_next(s + i, n - i, &len, &cp);
            OPT_TRY(opt_str_append(ctx, out, "\xEF\xBF\xBD", 3));
            i += len;
        }
    }
done:
    return st;
}

size_t opt_utf8_put(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool opt_utf8_is_space(uint32_t cp) {
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

bool opt_utf8_is_word(uint32_t cp) {
    if (cp == 0x200C || cp == 0x200D) {
        return true; /* Join_Control */
    }
    if ((cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
        (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189)) {
        return true; /* symbols that are Alphabetic: circled and squared letters */
    }
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}
