/** AVX2 encoder of scalar grids: 8 blocks at once. Reference: ref/encode_scalar.c, same bytes. */
#include "kern/x86/lanes_avx2.h"

#include "kern/x86/encode_lanes.inc"

ENCODE_ALL(avx2)
ROUND_ALL(avx2)
