/** Rows of the 4-bit floating-point types. */
#include "tensor/rows.h"

#include "kern/blocks.h"

OPT_ROW_PARTS(mxfp4, MXFP4, 39, 32, 32, 4, 0, 0x1.8p127f,
              "4-bit floating point, power-of-two scale of 32 elements")
OPT_ROW_PARTS(nvfp4, NVFP4, 40, 64, 16, 4, 0, 6 * 448,
              "4-bit floating point, 8-bit floating-point scale of 16 elements")
