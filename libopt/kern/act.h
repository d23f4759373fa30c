/**
 * Constants of the int8 activations (opt_act_i8) that all rows of quantize_act and linear_i8 share.
 */
#ifndef OPT_KERN_ACT_H
#define OPT_KERN_ACT_H

#include <float.h>

#define OPT_ACT_GROUP 32        /* elements that share a scale */
#define OPT_ACT_PAD 64          /* rows are padded to a multiple of this */
#define OPT_ACT_TINY 0x1p-100f  /* groups below it count as zero, so that 127 / max stays finite */
#define OPT_ACT_LARGEST FLT_MAX /* groups above it hold an infinity or a NaN */

#endif
