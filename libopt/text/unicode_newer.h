/** Characters that were assigned after the Unicode version of PCRE2 10.42, see regex.h. */
#ifndef OPT_TEXT_UNICODE_NEWER_H
#define OPT_TEXT_UNICODE_NEWER_H

#include <stddef.h>
#include <stdint.h>

/** The characters first .. last behave like `like`, which takes as many bytes in UTF-8. */
typedef struct opt_unicode_range {
    uint32_t first;
    uint32_t last;
    uint32_t like;
} opt_unicode_range;

extern const opt_unicode_range opt_unicode_newer[]; /* sorted */
extern const size_t opt_unicode_newer_n;

#endif
