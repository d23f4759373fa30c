/** Characters whose normalization the reference implementation does not know, see normalize.c. */
#ifndef OPT_TEXT_UNICODE_LATE_H
#define OPT_TEXT_UNICODE_LATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct opt_unicode_late_range {
    uint32_t first;
    uint32_t last;
} opt_unicode_late_range;

extern const opt_unicode_late_range opt_unicode_late[]; /* sorted */
extern const size_t opt_unicode_late_n;

#endif
