/** The only compiler extensions that the project uses, behind macros. */
#ifndef OPT_BASE_ATTR_H
#define OPT_BASE_ATTR_H

#include "opt/status.h"

#if defined(__GNUC__) || defined(__clang__)
#define OPT_PRINTF(fmt_idx, first_arg) __attribute__((format(printf, fmt_idx, first_arg)))
#define OPT_LIKELY(x) __builtin_expect(!!(x), 1)
#define OPT_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define OPT_ALIGNED(n) __attribute__((aligned(n)))
#define OPT_NOINLINE __attribute__((noinline))
#define OPT_ALWAYS_INLINE __attribute__((always_inline))
#else
#error "a compiler with GNU attributes is required (gcc or clang)"
#endif

#endif
