/** Prototypes of all kernel rows, made from kernels.def. Only the files that define rows, and
 * kern.c, include it. */
#ifndef OPT_KERN_ROWS_H
#define OPT_KERN_ROWS_H

#include "kern/kern.h"

#define OPT_KERN(slot, suffix, isa, needs) opt_kern_##slot##_fn optk_##slot##__##suffix;
#define OPT_KERN_FMT(slot, kfmt, name, suffix, isa, needs)                                         \
    opt_kern_##slot##_fn optk_##slot##_##name##__##suffix;
#include "kern/kernels.def"

#endif
