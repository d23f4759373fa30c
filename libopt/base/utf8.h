/** UTF-8 as Unicode 15 defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef OPT_BASE_UTF8_H
#define OPT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Decodes the first character of s[0, n). Returns its length in bytes (1..4), or 0 if n is 0 or the
 * bytes are wrong.
 */
int opt_utf8_decode(const char *s, size_t n, uint32_t *codepoint);
/**
 * Writes the character to out[4]; returns its length, 0 for surrogates and values above U+10FFFF.
 */
int opt_utf8_encode(uint32_t codepoint, char out[4]);
/** True if all of s[0, n) is valid. */
bool opt_utf8_valid(const char *s, size_t n);

enum { OPT_PRINTABLE_MAX = 12 };
/**
 * Makes the first character of s[0, n), n > 0, safe for a terminal: itself, or an escape for C0,
 * DEL, C1, bidi controls, line and paragraph separators, U+FEFF (as \n, \t, \r, \xNN, \u{NNNN}) and
 * wrong bytes (\xNN). `*n_out` bytes go to `out` (no 0 at the end). Returns the number of input
 * bytes that were used.
 */
size_t opt_printable_char(const char *s, size_t n, char out[OPT_PRINTABLE_MAX], size_t *n_out);

#endif
